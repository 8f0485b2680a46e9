// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/wsgiparty/wsgiparty/internal/caddytokens"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("wsgi_party_ask", caddytokens.ParseHandler[Ask])
	httpcaddyfile.RegisterDirectiveOrder("wsgi_party_ask", httpcaddyfile.Before, "respond")
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	wsgi_party_ask [<matcher>] [<party>] {
//		max_response <size>
//	}
func (a *Ask) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := caddytokens.ParseParty(d, &a.Party, "wsgi_party_ask [<party>]"); err != nil {
		return err
	}
	for d.NextBlock(0) {
		if d.Val() != "max_response" {
			return d.Errf("unrecognized subdirective %q of wsgi_party_ask; it has max_response", d.Val())
		}
		if a.MaxResponse != 0 {
			return d.Err("max_response already specified")
		}
		args := d.RemainingArgs()
		if caddytokens.OpensBlock(d) {
			return d.Err("max_response takes no block")
		}
		if len(args) != 1 {
			return caddytokens.ArgErr(d, "max_response <size>")
		}
		var err error
		if a.MaxResponse, err = caddytokens.ParseSize("max_response", args[0], "8MiB"); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*Ask)(nil)
