// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package vars

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"golang.org/x/net/http/httpguts"

	"github.com/wsgiparty/wsgiparty/internal/caddytokens"
	"github.com/wsgiparty/wsgiparty/internal/nearest"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("wsgi_party_vars", caddytokens.ParseHandler[Vars])
	httpcaddyfile.RegisterDirectiveOrder("wsgi_party_vars", httpcaddyfile.After, "vars")
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	wsgi_party_vars [<matcher>] [<party>] {
//		ask           <name> <service> [<json payload>]
//		payload_types <member>...
//		forward       <header>...
//		missing       empty|<status>
//	}
//
// All but missing may be repeated.
func (v *Vars) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := caddytokens.ParseParty(d, &v.Party, "wsgi_party_vars [<party>]"); err != nil {
		return err
	}
	missing := false
	for d.NextBlock(0) {
		name := d.Val()
		option, ok := varsOptions[name]
		if !ok {
			return d.Errf("unrecognized subdirective %q of wsgi_party_vars%s; it has %s", name, nearest.DidYouMean(name, slices.Sorted(maps.Keys(varsOptions))...), caddytokens.ListOf(varsOptions))
		}
		if name == "missing" {
			if missing {
				return d.Err("missing already specified")
			}
			missing = true
		}
		args := d.RemainingArgs()
		if caddytokens.OpensBlock(d) {
			return d.Errf("%s takes no block", name)
		}
		if len(args) < option.least || len(args) > option.most {
			return caddytokens.ArgErr(d, name+" "+option.usage)
		}
		if err := option.set(v, args); err != nil {
			return d.WrapErr(err)
		}
	}
	if len(v.Asks) == 0 {
		return d.Err("wsgi_party_vars asks for nothing: write a line such as `ask user whoami`")
	}
	if _, err := v.check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

const many = 1 << 16

var varsOptions = map[string]struct {
	least, most int // arguments
	usage       string
	set         func(v *Vars, args []string) error
}{
	"ask": {2, 3, "<name> <service> [<json payload>]", func(v *Vars, args []string) error {
		ask := Ask{Name: args[0], Service: args[1]}
		if len(args) == 3 {
			if !json.Valid([]byte(args[2])) {
				return fmt.Errorf("the payload of ask %s is not JSON: write it in backquotes: `{\"name\": \"home\"}`, or `\"home\"` for a string", ask.Name)
			}
			ask.Payload = json.RawMessage(args[2])
		}
		v.Asks = append(v.Asks, ask)
		return nil
	}},
	"payload_types": {1, many, "<member>...", func(v *Vars, args []string) error {
		v.PayloadTypes = append(v.PayloadTypes, args...)
		return nil
	}},
	"forward": {1, many, "<header>...", func(v *Vars, args []string) error {
		for _, header := range args {
			if !httpguts.ValidHeaderFieldName(header) {
				return fmt.Errorf("forward has %q, which is not a header: write a name such as Cookie", header)
			}
		}
		v.Forward = append(v.Forward, args...)
		return nil
	}},
	"missing": {1, 1, "empty|<status>", func(v *Vars, args []string) error {
		if args[0] == "empty" {
			return nil
		}
		status, err := strconv.Atoi(args[0])
		if err != nil || status < 400 || status > 599 {
			return fmt.Errorf("missing is %s: write empty, or a status from 400 to 599, such as 503", args[0])
		}
		v.Missing = status
		return nil
	}},
}

var _ caddyfile.Unmarshaler = (*Vars)(nil)
