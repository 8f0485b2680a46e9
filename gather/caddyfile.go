// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/wsgiparty/wsgiparty/internal/caddytokens"
	"github.com/wsgiparty/wsgiparty/internal/jsonpayload"
	"github.com/wsgiparty/wsgiparty/internal/nearest"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("wsgi_party_gather", caddytokens.ParseHandler[Gather])
	httpcaddyfile.RegisterDirectiveOrder("wsgi_party_gather", httpcaddyfile.Before, "respond")
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	wsgi_party_gather [<matcher>] <service> {
//		party         <party>
//		as            list|map|merge|lines|linkset|sitemapindex|openapi|opml
//		payload       <json>
//		payload_types <member>...
//		rebase        <member>...
//		cache         <fresh> [<stale>]
//		cache         off
//		forward       <header>...
//		absent        omit|note|fail
//		type          <media type>
//		max_response  <size>
//	}
//
// The payload is one token of JSON, in backquotes.
func (g *Gather) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if !d.Args(&g.Service) || d.NextArg() {
		return caddytokens.ArgErr(d, "wsgi_party_gather <service>")
	}
	if g.Service == "" {
		return d.Err("the service is empty: write the one to ask the guests for")
	}
	given := make(map[string]bool)
	for d.NextBlock(0) {
		name := d.Val()
		option, ok := options[name]
		if !ok {
			return d.Errf("unrecognized subdirective %q of wsgi_party_gather%s; it has %s", name, nearest.DidYouMean(name, slices.Sorted(maps.Keys(options))...), caddytokens.ListOf(options))
		}
		if given[name] {
			return d.Errf("%s already specified", name)
		}
		given[name] = true
		args := d.RemainingArgs()
		if caddytokens.OpensBlock(d) {
			if name == "payload" {
				return d.Err("payload takes JSON in backquotes, as in payload `{\"name\": \"sitemap\"}`")
			}
			return d.Errf("%s takes no block", name)
		}
		if len(args) == 0 || option.most > 0 && len(args) > option.most {
			return caddytokens.ArgErr(d, name+" "+option.usage)
		}
		if slices.Contains(args, "") {
			return d.Errf("%s has an empty argument: write %s", name, option.usage)
		}
		if err := option.set(g, args); err != nil {
			return d.WrapErr(err)
		}
	}
	if err := new(Gather{Service: g.Service, As: g.As, Payload: g.Payload, PayloadTypes: g.PayloadTypes, Rebase: g.Rebase, Cache: g.Cache, Forward: g.Forward, Absent: g.Absent, Type: g.Type, MaxResponse: g.MaxResponse}).compile(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

var options = map[string]struct {
	most  int // arguments; any number if it is 0
	usage string
	set   func(g *Gather, args []string) error
}{
	"party":         {1, "<party>", func(g *Gather, args []string) error { g.Party = args[0]; return nil }},
	"as":            {1, "list|map|merge|lines|linkset|sitemapindex|openapi|opml", func(g *Gather, args []string) error { g.As = args[0]; return nil }},
	"payload":       {1, "<json>, in backquotes, as in payload `{\"name\": \"sitemap\"}`", (*Gather).setPayload},
	"payload_types": {0, "<member>...", func(g *Gather, args []string) error { g.PayloadTypes = args; return nil }},
	"rebase":        {0, "<member>...", func(g *Gather, args []string) error { g.Rebase = args; return nil }},
	"cache":         {2, "<fresh> [<stale>]|off", (*Gather).setCache},
	"forward":       {0, "<header>...", func(g *Gather, args []string) error { g.Forward = args; return nil }},
	"absent":        {1, "omit|note|fail", func(g *Gather, args []string) error { g.Absent = args[0]; return nil }},
	"type":          {1, "<media type>", func(g *Gather, args []string) error { g.Type = args[0]; return nil }},
	"max_response":  {1, "<size>", (*Gather).setMaxResponse},
}

func (g *Gather) setPayload(args []string) error {
	if _, err := jsonpayload.Parse([]byte(args[0]), nil); err != nil {
		return err // before it is put into JSON
	}
	g.Payload = json.RawMessage(args[0])
	return nil
}

func (g *Gather) setCache(args []string) error {
	if args[0] == "off" {
		if len(args) > 1 {
			return fmt.Errorf("cache off takes no duration: leave out %q", args[1])
		}
		g.Cache.Off = true
		return nil
	}
	for i, arg := range args {
		d, err := caddy.ParseDuration(arg)
		if err != nil || d < 0 || i == 0 && d == 0 {
			return fmt.Errorf("cache has %q: write how long answers are fresh, and how long they are kept after that, as in `cache 60s 24h`, or `cache off`", arg)
		}
		if i == 0 {
			g.Cache.Fresh = caddy.Duration(d)
		} else {
			g.Cache.Stale = new(caddy.Duration(d))
		}
	}
	return nil
}

func (g *Gather) setMaxResponse(args []string) (err error) {
	g.MaxResponse, err = caddytokens.ParseSize("max_response", args[0], "8MiB")
	return err
}

// unknown returns the error for a setting that is none of those there are.
func unknown[T any](setting, value string, known map[string]T) error {
	return fmt.Errorf("%s is %q%s; it may be %s", setting, value, nearest.DidYouMean(value, slices.Sorted(maps.Keys(known))...), caddytokens.ListOf(known))
}

var _ caddyfile.Unmarshaler = (*Gather)(nil)
