// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package upstreams

import (
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/wsgiparty/wsgiparty/internal/caddytokens"
	"github.com/wsgiparty/wsgiparty/internal/nearest"
)

// UnmarshalCaddyfile sets up the source from Caddyfile tokens. Syntax:
//
//	dynamic wsgi_party <service> {
//		party  <party>
//		guests <name>...
//		allow  <cidr|host:port|unix path>...
//	}
//
// guests and allow are required, and may be repeated.
func (u *Upstreams) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume source name
	if !d.NextArg() {
		return caddytokens.ArgErr(d, "dynamic wsgi_party <service>")
	}
	u.Service = d.Val()
	if d.NextArg() {
		return caddytokens.ArgErr(d, "dynamic wsgi_party <service>")
	}
	for d.NextBlock(0) {
		name := d.Val()
		args := d.RemainingArgs()
		if caddytokens.OpensBlock(d) {
			return d.Errf("%s takes no block", name)
		}
		switch name {
		case "party":
			if u.Party != "" {
				return d.Err("party already specified")
			}
			if len(args) != 1 || args[0] == "" {
				return caddytokens.ArgErr(d, "party <party>")
			}
			u.Party = args[0]
		case "guests":
			if len(args) == 0 {
				return caddytokens.ArgErr(d, "guests <name>...")
			}
			u.Guests = append(u.Guests, args...)
		case "allow":
			if len(args) == 0 {
				return caddytokens.ArgErr(d, "allow <cidr|host:port|unix path>...")
			}
			u.Allow = append(u.Allow, args...)
		default:
			return d.Errf("unrecognized subdirective %q of dynamic wsgi_party%s; it has allow, guests, party", name, nearest.DidYouMean(name, "allow", "guests", "party"))
		}
	}
	if _, err := u.check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// textsOf returns the addresses of an answer, a string or a list of them.
func textsOf(answer any) ([]string, error) {
	switch answer := answer.(type) {
	case string:
		return []string{answer}, nil
	case []string:
		return bounded(answer)
	}
	encoded, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	var text string
	if json.Unmarshal(encoded, &text) == nil && encoded[0] == '"' {
		return []string{text}, nil
	}
	var texts []string
	if encoded[0] != '[' || json.Unmarshal(encoded, &texts) != nil {
		return nil, fmt.Errorf("the answer is neither an address nor a list of them: %.100s", encoded)
	}
	return bounded(texts)
}

func bounded(texts []string) ([]string, error) {
	if len(texts) > maxAnswered {
		return nil, fmt.Errorf("the answer has %d addresses: up to %d count", len(texts), maxAnswered)
	}
	return texts, nil
}

var _ caddyfile.Unmarshaler = (*Upstreams)(nil)
