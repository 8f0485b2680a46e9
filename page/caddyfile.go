// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/wsgiparty/wsgiparty/internal/caddytokens"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("wsgi_party_page", caddytokens.ParseHandler[Page])
	// Behind a password, and in front of parties and handles that may have a guest for all paths.
	httpcaddyfile.RegisterDirectiveOrder("wsgi_party_page", httpcaddyfile.Before, "invoke")
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	wsgi_party_page [<matcher>] [<party>]
func (p *Page) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := caddytokens.ParseParty(d, &p.Party, "wsgi_party_page [<party>]"); err != nil {
		return err
	}
	if d.NextBlock(0) {
		return d.Errf("unrecognized subdirective %q of wsgi_party_page: it has none", d.Val())
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*Page)(nil)
