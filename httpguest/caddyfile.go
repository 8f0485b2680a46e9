// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/wsgiparty/wsgiparty/internal/caddytokens"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/nearest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("wsgi_party_guest", caddytokens.ParseHandler[Guest])
	httpcaddyfile.RegisterDirectiveOrder("wsgi_party_guest", httpcaddyfile.After, "uri")
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	wsgi_party_guest [<name>] {
//		key            <secret>...
//		url            <name> <template>
//		answer         <service> <json>
//		service        <service> [GET|POST] <href>
//		fetch_manifest [on|off]
//		hrefs          <path>...
//		allow          <service>...
//		timeout        <duration>
//		max_asks       <n>
//		max_answer     <size>
//		forward        <header>...
//	}
//
// Of these, url, answer, service, key, hrefs, allow and forward may be repeated: several
// answers and hrefs of one service are handlers of their own.
func (g *Guest) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		if g.Name = d.Val(); g.Name == "" {
			return d.Err("the guest's name is empty: write that of its invite, or leave it out")
		}
		if d.NextArg() {
			return d.ArgErr()
		}
	}
	services := make(map[string][]map[string]any)
	given := make(map[string]bool)
	for d.NextBlock(0) {
		name := d.Val()
		option, ok := guestOptions[name]
		if !ok {
			return d.Errf("unrecognized subdirective %q of wsgi_party_guest%s; it has %s", name, nearest.DidYouMean(name, slices.Sorted(maps.Keys(guestOptions))...), caddytokens.ListOf(guestOptions))
		}
		if given[name] && !option.repeatable {
			return d.Errf("%s already specified", name)
		}
		given[name] = true
		args := d.RemainingArgs()
		if caddytokens.OpensBlock(d) {
			return d.Errf("%s takes no block", name)
		}
		if name == "key" && !slices.ContainsFunc(args, func(arg string) bool { return arg != "" }) {
			return d.Err("key is empty: if it is written {$VARIABLE}, that variable is unset in the environment of Caddy; write {env.VARIABLE}, which stays out of the config, and set it")
		}
		if len(args) < option.least || option.most >= 0 && len(args) > option.most {
			return d.ArgErr()
		}
		if err := option.set(g, services, args); err != nil {
			return d.WrapErr(err)
		}
	}
	if len(services) == 0 {
		return nil
	}
	var err error
	g.Services, err = json.Marshal(services)
	return err
}

type guestOption struct {
	least, most int // arguments; any number if most is negative
	repeatable  bool
	set         func(g *Guest, services map[string][]map[string]any, args []string) error
}

var guestOptions = map[string]guestOption{
	"key": {1, -1, true, func(g *Guest, _ map[string][]map[string]any, args []string) error {
		g.Keys = append(g.Keys, args...)
		return checkKeys(g.Keys)
	}},
	"url": {2, 2, true, func(g *Guest, _ map[string][]map[string]any, args []string) error {
		if _, ok := g.URLs[args[0]]; ok {
			return errors.New("url " + args[0] + " already specified")
		}
		if g.URLs == nil {
			g.URLs = make(map[string]string)
		}
		g.URLs[args[0]] = args[1]
		return checkDeclared("urls", args[0], args[1])
	}},
	"answer": {2, 2, true, func(_ *Guest, services map[string][]map[string]any, args []string) error {
		var answer any = args[1]
		if text := []byte(args[1]); json.Valid(text) {
			value, err := wire.ParseJSON(text)
			if err == nil {
				err = checkNumbers(value)
			}
			if err != nil {
				return fmt.Errorf("answer %s: %w", args[0], err)
			}
			answer = json.RawMessage(text)
		}
		return declareService(services, args[0], map[string]any{"answer": answer})
	}},
	"service": {2, 3, true, func(_ *Guest, services map[string][]map[string]any, args []string) error {
		href := args[len(args)-1]
		if strings.ContainsAny(href[:min(1, len(href))], `{["`) && json.Valid([]byte(href)) {
			return fmt.Errorf("service %s has JSON for its href: a constant is written `answer %[1]s …`", args[0])
		}
		handler := map[string]any{"href": href}
		switch {
		case len(args) == 3:
			handler["method"] = args[1]
		case href == http.MethodGet || href == http.MethodPost:
			return fmt.Errorf("service %s has no href: write `service %[1]s %s <href>`", args[0], href)
		}
		return declareService(services, args[0], handler)
	}},
	"fetch_manifest": {0, 1, false, func(g *Guest, _ map[string][]map[string]any, args []string) error {
		on := len(args) == 0 || args[0] == "on"
		if !on && args[0] != "off" {
			return errors.New("fetch_manifest is " + args[0] + ": write on or off")
		}
		g.FetchManifest = &on
		return nil
	}},
	"hrefs": {1, -1, true, func(g *Guest, _ map[string][]map[string]any, args []string) error {
		g.Hrefs = append(g.Hrefs, args...)
		_, err := parseHrefs(args)
		return err
	}},
	"allow": {1, -1, true, func(g *Guest, _ map[string][]map[string]any, args []string) error {
		g.Allow = append(g.Allow, args...)
		for _, service := range args {
			if err := checkDeclared("services", service, map[string]any{"answer": nil}); err != nil {
				return err
			}
		}
		return nil
	}},
	"timeout": {1, 1, false, func(g *Guest, _ map[string][]map[string]any, args []string) error {
		timeout, err := caddy.ParseDuration(args[0])
		if err != nil || timeout <= 0 {
			return errors.New("timeout is " + args[0] + ": write a duration above zero, such as 2s")
		}
		g.Timeout = caddy.Duration(timeout)
		return nil
	}},
	"max_asks": {1, 1, false, func(g *Guest, _ map[string][]map[string]any, args []string) error {
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 1 || n > maxMaxAsks {
			return fmt.Errorf("max_asks is %s: write a number from 1 to %d", args[0], maxMaxAsks)
		}
		g.MaxAsks = n
		return nil
	}},
	"max_answer": {1, 1, false, func(g *Guest, _ map[string][]map[string]any, args []string) (err error) {
		g.MaxAnswer, err = caddytokens.ParseSize("max_answer", args[0], "1MiB")
		return err
	}},
	"forward": {1, -1, true, func(g *Guest, _ map[string][]map[string]any, args []string) error {
		g.Forward = append(g.Forward, args...)
		return checkForwarded(args)
	}},
}

func declareService(services map[string][]map[string]any, name string, handler map[string]any) error {
	services[name] = append(services[name], handler)
	if err := checkDeclared("services", name, handler); err != nil || len(services[name]) == 1 {
		return err
	}
	return checkDeclared("services", name, services[name])
}

// checkNumbers refuses numbers that Caddy would round: it takes those of a config for
// float64.
func checkNumbers(value any) error {
	switch value := value.(type) {
	case json.Number:
		number, err := value.Float64()
		if err != nil || digitsOf(value.String()) != digitsOf(strconv.FormatFloat(number, 'e', -1, 64)) {
			return fmt.Errorf(`the number %s has more digits than Caddy's config keeps: write it as a string, "%[1]s"`, value)
		}
	case []any:
		for _, element := range value {
			if err := checkNumbers(element); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			if err := checkNumbers(value[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// digitsOf returns the significant digits of a JSON number.
func digitsOf(number string) string {
	mantissa, _, _ := strings.Cut(strings.ToLower(number), "e")
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(mantissa, "-"), ".")
	return strings.Trim(whole+fraction, "0")
}

// checkDeclared checks one line by itself, which Provision would do without saying
// which line it is.
func checkDeclared(member, name string, value any) error {
	encoded, err := json.Marshal(map[string]any{member: map[string]any{name: value}})
	if err != nil {
		return err
	}
	_, err = manifest.Parse(encoded)
	return err
}

var _ caddyfile.Unmarshaler = (*Guest)(nil)
