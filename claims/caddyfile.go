// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package claims

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/wsgiparty/wsgiparty/internal/caddytokens"
	"github.com/wsgiparty/wsgiparty/internal/nearest"
)

// options are those of the matcher.
var options = []string{"claimed_by", "party", "share", "by"}

var usages = map[string]string{"claimed_by": "<guest>", "party": "<party>", "share": "<n>%", "by": "<placeholder>"}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	wsgi_party claimed_by <guest> [party <party>] [share <n>%] [by <placeholder>]
//
// or, as a block,
//
//	wsgi_party {
//		claimed_by <guest>
//		party      <party>
//		share      <n>%
//		by         <placeholder>
//	}
func (m *Matcher) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() { // the matcher's name, again if it is repeated
		for d.NextArg() {
			if err := m.unmarshalOption(d); err != nil {
				return err
			}
		}
		for d.NextBlock(0) {
			name := d.Val()
			if err := m.unmarshalOption(d); err != nil {
				return err
			}
			if d.NextArg() {
				return caddytokens.ArgErr(d, name+" "+usages[name])
			}
		}
	}
	if m.ClaimedBy == "" {
		return d.Err("claimed_by is missing: write whose requests to match, as in `wsgi_party claimed_by new`")
	}
	if _, err := parseShare(m.Share); m.Share != "" && err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// unmarshalOption sets the option at the cursor.
func (m *Matcher) unmarshalOption(d *caddyfile.Dispenser) error {
	name := d.Val()
	value, ok := map[string]*string{"claimed_by": &m.ClaimedBy, "party": &m.Party, "share": &m.Share, "by": &m.By}[name]
	switch {
	case !ok:
		return d.Errf("unrecognized option %q of the matcher wsgi_party%s; it has claimed_by, party, share and by", name, nearest.DidYouMean(name, options...))
	case *value != "":
		return d.Errf("%s already specified", name)
	case !d.NextArg():
		return caddytokens.ArgErr(d, name+" "+usages[name])
	case d.Val() == "":
		return d.Errf("%s is empty: write a value, or leave it out", name)
	}
	*value = d.Val()
	return nil
}

var _ caddyfile.Unmarshaler = (*Matcher)(nil)
