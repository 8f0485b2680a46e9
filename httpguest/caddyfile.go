// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/wsgiparty/wsgiparty/internal/caddytokens"
	"github.com/wsgiparty/wsgiparty/internal/claimpattern"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/nearest"
	"github.com/wsgiparty/wsgiparty/internal/reservedheader"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
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
//		key            auto [<file> [<mode>]]
//		url            <name> <template>
//		answer         <service> <json>
//		service        <service> [GET|POST] <href> [type <media type>]
//		claim          <pattern>...|urls
//		claim_cache    <duration>
//		unavailable    pass
//		host           <name>...
//		fetch_manifest [on|off]
//		mount_responses
//		hrefs          <path>...
//		allow          <service>...
//		timeout        <duration>
//		max_asks       <n>
//		max_answer     <size>
//		forward        <header>...
//	}
//
// The subdirectives url, answer, service, claim, host, key, hrefs, allow and forward may be repeated.
// Several answers and hrefs of one service are separate handlers. Quote a pattern with a method, as in
// claim "GET /users/{id}".
func (g *Guest) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		if g.Name = d.Val(); g.Name == "" {
			return d.Err("the guest's name is empty: write that of its invite, or leave it out")
		}
		if d.NextArg() {
			return caddytokens.ArgErr(d, "wsgi_party_guest [<name>]")
		}
	}
	parsed := options{g, make(map[string][]map[string]any)}
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
		if name == "direct" {
			if err := g.unmarshalDirect(d.NewFromNextSegment()); err != nil {
				return err
			}
			continue
		}
		args := d.RemainingArgs()
		if caddytokens.OpensBlock(d) {
			return d.Errf("%s takes no block", name)
		}
		if name == "key" && !slices.ContainsFunc(args, func(arg string) bool { return arg != "" }) {
			return d.Err("key is empty: if you wrote {$VARIABLE}, that variable is unset in Caddy's environment; set it, and write {env.VARIABLE}, which keeps the key out of the config")
		}
		if len(args) < option.least || option.most >= 0 && len(args) > option.most {
			return caddytokens.ArgErr(d, name+" "+option.usage)
		}
		if err := option.set(parsed, args); err != nil {
			return d.WrapErr(err)
		}
	}
	if _, err := g.parseDeclared(); err != nil && len(g.Claims)+len(g.Hosts) > 0 { // as of claims that conflict
		return d.WrapErr(err)
	}
	var err error
	if len(parsed.services) > 0 {
		g.Services, err = json.Marshal(parsed.services)
	}
	return err
}

// options are what has been parsed of a directive. The services become JSON in the end.
type options struct {
	*Guest
	services map[string][]map[string]any
}

var guestOptions = map[string]struct {
	least, most int // arguments; any number if most is negative
	repeatable  bool
	usage       string
	set         func(o options, args []string) error
}{
	"key": {1, -1, true, "<secret>...", func(o options, args []string) error {
		if args[0] == "auto" || o.KeyAuto != nil {
			return o.setKeyAuto(args)
		}
		o.Keys = append(o.Keys, args...)
		return checkKeys(o.Keys)
	}},
	"url": {2, 2, true, "<name> <template>", func(o options, args []string) error {
		if _, ok := o.URLs[args[0]]; ok {
			return errors.New("url " + args[0] + " already specified")
		}
		if o.URLs == nil {
			o.URLs = make(map[string]string)
		}
		o.URLs[args[0]] = args[1]
		return checkDeclared("urls", args[0], args[1])
	}},
	"answer": {2, 2, true, "<service> <json>", func(o options, args []string) error {
		var answer any = args[1]
		if text := []byte(args[1]); json.Valid(text) {
			if err := checkAnswer(text); err != nil {
				return fmt.Errorf("answer %s: %w", args[0], err)
			}
			answer = json.RawMessage(text)
		}
		return o.addHandler(args[0], map[string]any{"answer": answer})
	}},
	"service": {2, 5, true, "<service> [GET|POST] <href> [type <media type>]", func(o options, args []string) error {
		handler := map[string]any{}
		if len(args) > 3 {
			if args[len(args)-2] != "type" {
				return fmt.Errorf("service %s has more than an href: write `service <service> [GET|POST] <href> [type <media type>]`", args[0])
			}
			handler["type"] = args[len(args)-1]
			args = args[:len(args)-2]
		}
		href := args[len(args)-1]
		if strings.ContainsAny(href[:min(1, len(href))], `{["`) && json.Valid([]byte(href)) {
			return fmt.Errorf("service %s has JSON as its href: write a constant as `answer %[1]s …`", args[0])
		}
		handler["href"] = href
		switch {
		case len(args) == 3:
			handler["method"] = args[1]
		case href == http.MethodGet || href == http.MethodPost:
			return fmt.Errorf("service %s has no href: write `service %[1]s %s <href>`", args[0], href)
		}
		return o.addHandler(args[0], handler)
	}},
	"claim": {1, -1, true, "<pattern>...|urls", func(o options, args []string) error {
		for i, arg := range args[1:] {
			if method := args[i]; claimpattern.IsMethod(method) && strings.Contains(arg, "/") {
				return fmt.Errorf("claim %s %s: a pattern with a method is one argument: write `claim \"%[1]s %[2]s\"`", method, arg)
			}
		}
		o.Claims = append(o.Claims, args...)
		return checkMember("claims", args)
	}},
	"claim_cache": {1, 1, false, "<duration>", func(o options, args []string) error {
		during, err := caddy.ParseDuration(args[0])
		if err != nil || during <= 0 || during > maxClaimCache {
			return fmt.Errorf("claim_cache is %s: write a duration above zero and up to 24h, such as 5s", args[0])
		}
		o.ClaimCache = caddy.Duration(during)
		return nil
	}},
	"unavailable": {1, 1, false, "pass", func(o options, args []string) error {
		if o.Unavailable = args[0]; !o.passes() {
			return errors.New("unavailable is " + args[0] + ": write pass, or leave it out")
		}
		return nil
	}},
	"host": {1, -1, true, "<name>...", func(o options, args []string) error {
		o.Hosts = append(o.Hosts, args...)
		return checkMember("hosts", args)
	}},
	"direct": {}, // which unmarshalDirect parses
	"fetch_manifest": {0, 1, false, "[on|off]", func(o options, args []string) error {
		on := len(args) == 0 || args[0] == "on"
		if !on && args[0] != "off" {
			return errors.New("fetch_manifest is " + args[0] + ": write on or off")
		}
		o.FetchManifest = &on
		return nil
	}},
	"mount_responses": {0, 0, false, "", func(o options, _ []string) error {
		o.MountResponses = true
		return nil
	}},
	"hrefs": {1, -1, true, "<path>...", func(o options, args []string) error {
		o.Hrefs = append(o.Hrefs, args...)
		_, err := parseHrefs(args)
		return err
	}},
	"allow": {1, -1, true, "<service>...", func(o options, args []string) error {
		o.Allow = append(o.Allow, args...)
		for _, service := range args {
			if err := checkDeclared("services", service, map[string]any{"answer": nil}); err != nil {
				return err
			}
		}
		return nil
	}},
	"timeout": {1, 1, false, "<duration>", func(o options, args []string) error {
		timeout, err := caddy.ParseDuration(args[0])
		if err != nil || timeout <= 0 {
			return errors.New("timeout is " + args[0] + ": write a duration above zero, such as 2s")
		}
		o.Timeout = caddy.Duration(timeout)
		return nil
	}},
	"max_asks": {1, 1, false, "<n>", func(o options, args []string) (err error) {
		if o.MaxAsks, err = strconv.Atoi(args[0]); err != nil || o.MaxAsks < 1 || o.MaxAsks > maxMaxAsks {
			return fmt.Errorf("max_asks is %s: write a number from 1 to %d", args[0], maxMaxAsks)
		}
		return nil
	}},
	"max_answer": {1, 1, false, "<size>", func(o options, args []string) (err error) {
		o.MaxAnswer, err = caddytokens.ParseSize("max_answer", args[0], "1MiB")
		return err
	}},
	"forward": {1, -1, true, "<header>...", func(o options, args []string) error {
		o.Forward = append(o.Forward, args...)
		return checkForwarded(args)
	}},
}

func (o options) addHandler(service string, handler map[string]any) error {
	handlers := append(o.services[service], handler)
	o.services[service] = handlers
	if err := checkDeclared("services", service, handler); err != nil || len(handlers) == 1 {
		return err
	}
	return checkDeclared("services", service, handlers)
}

// checkAnswer refuses JSON that not every parser would take, or with numbers that Caddy
// would round: it takes those of a config for float64.
func checkAnswer(text []byte) error {
	if _, err := wire.ParseJSON(text); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	for token, err := decoder.Token(); err == nil; token, err = decoder.Token() {
		if number, ok := token.(json.Number); ok {
			rounded, err := number.Float64()
			if err != nil || digitsOf(number.String()) != digitsOf(strconv.FormatFloat(rounded, 'e', -1, 64)) {
				return fmt.Errorf(`the number %s has more digits than Caddy's config keeps: write it as a string, "%[1]s"`, number)
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
	return checkMember(member, map[string]any{name: value})
}

func checkMember(member string, value any) error {
	encoded, err := json.Marshal(map[string]any{member: value})
	if err != nil {
		return err
	}
	_, err = manifest.Parse(encoded)
	return err
}

var checkForwarded = reservedheader.CheckForwarded

// parseHrefs checks the paths under which hrefs of a manifest may lead, and returns them unescaped.
func parseHrefs(paths []string) ([]string, error) {
	unescaped := make([]string, len(paths))
	for i, p := range paths {
		joined, err := urltemplate.Join("", p)
		if err == nil && (p[0] != '/' || strings.ContainsAny(p, "?#*")) {
			err = errors.New("it is not a path")
		}
		if err == nil {
			unescaped[i], err = url.PathUnescape(joined)
		}
		if err != nil {
			return nil, fmt.Errorf("hrefs: %q: write a path such as /api, which includes everything below it: %w", p, err)
		}
	}
	return unescaped, nil
}

var _ caddyfile.Unmarshaler = (*Guest)(nil)
