// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/caddytokens"
	"github.com/wsgiparty/wsgiparty/internal/nearest"
	"github.com/wsgiparty/wsgiparty/party"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("wsgi_party", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("wsgi_party", httpcaddyfile.After, "route")
}

// parseCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	wsgi_party [<matcher>] [<name>] {
//		invite           <uri>...
//		invite           <uri> as <guest>
//		ignore_missing_services
//		strict_invites
//		invite_timeout   <duration>
//		partyline_key    <name>
//		prefix           <path>|<placeholder of a header>
//		ask_on           <address> [<address as guests reach it>]
//		<directives...>
//	}
//
// Anything but the party's own subdirectives is an HTTP directive. It belongs to the
// routes that the party wraps, which are sorted as in handle.
func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // consume directive name
	p := new(Party)
	// The party's own tokens are deleted from this copy of the segment, so that
	// the rest can be parsed like that of any block of directives.
	d := h.NewFromNextSegment()
	d.Next()
	if d.NextArg() {
		if p.Name = d.Val(); p.Name == "" {
			return nil, d.Err("the party's name is empty: write a name, or leave it out")
		}
		if strings.Contains(p.Name, "\n") { // else deleting it moves the block to another line
			return nil, d.Err("the party's name has a line break: write it on one line")
		}
		if d.NextArg() {
			return nil, caddytokens.ArgErr(d, "wsgi_party [<name>]")
		}
		d.Delete()
	}
	given := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		option, ok := options[name]
		if !ok {
			d.NextSegment()
			continue
		}
		if given[name] && name != "invite" {
			return nil, d.Errf("%s already specified", name)
		}
		given[name] = true
		args := d.RemainingArgs()
		if caddytokens.OpensBlock(d) {
			return nil, d.Errf("%s takes no block", name)
		}
		if !option.takes(len(args)) {
			return nil, caddytokens.ArgErr(d, name+" "+option.usage)
		}
		if err := option.set(p, args); err != nil {
			return nil, d.WrapErr(err)
		}
		d.DeleteN(1 + len(args))
	}
	d.Reset()
	d.Next()
	words := d.NewFromNextSegment()
	d.Reset()
	handler, err := httpcaddyfile.ParseSegmentAsSubroute(h.WithDispenser(d))
	if err != nil {
		return nil, explain(err, words)
	}
	p.Routes = handler.(*caddyhttp.Subroute).Routes
	return p, nil
}

var unrecognizedDirective = regexp.MustCompile(`unrecognized directive: (\S+) - are you sure`)

// explain says of a word that is not a directive what is meant instead, and its line, where
// Caddy has that of the brace at the end. Other errors are as they are.
func explain(err error, d *caddyfile.Dispenser) error {
	found := unrecognizedDirective.FindStringSubmatch(err.Error())
	if found == nil {
		return err
	}
	word := found[1]
	for line := 0; d.Next(); line = d.Line() {
		if d.Val() != word || d.Line() == line {
			continue
		}
		if _, ok := options[word]; ok {
			return d.Errf("%s belongs to wsgi_party: write it directly in that block, not in one nested inside it", word)
		}
		return d.Errf("%q is neither a directive nor a subdirective of wsgi_party%s; wsgi_party has %s; directives of a party are %s",
			word, nearest.DidYouMean(word, append(partyDirectives, slices.Sorted(maps.Keys(options))...)...), caddytokens.ListOf(options), strings.Join(partyDirectives, ", "))
	}
	return err
}

var partyDirectives = []string{"wsgi_party_guest", "wsgi_party_ask", "wsgi_party_vars"}

// option is one of the party's own subdirectives. Only invite may be repeated.
type option struct {
	args  int // how many
	usage string
	set   func(p *Party, args []string) error
}

const (
	atLeastOne = -1
	oneOrTwo   = -2
)

func (o option) takes(args int) bool {
	switch o.args {
	case atLeastOne:
		return args > 0
	case oneOrTwo:
		return args == 1 || args == 2
	}
	return args == o.args
}

var options = map[string]option{
	"invite": {atLeastOne, "<uri> [as <guest>]", setInvites},
	"ignore_missing_services": {0, "", func(p *Party, _ []string) error {
		p.IgnoreMissingServices = true
		return nil
	}},
	"strict_invites": {0, "", func(p *Party, _ []string) error {
		p.StrictInvites = true
		return nil
	}},
	"invite_timeout": {1, "<duration>", func(p *Party, args []string) error {
		timeout, err := caddy.ParseDuration(args[0])
		if err != nil {
			return fmt.Errorf("invite_timeout %q is not a duration: write one such as 5s", args[0])
		}
		if timeout <= 0 {
			return fmt.Errorf("invite_timeout is %s: write a duration above zero, such as 5s", args[0])
		}
		p.InviteTimeout = caddy.Duration(timeout)
		return nil
	}},
	"partyline_key": {1, "<name>", func(p *Party, args []string) error {
		if p.PartylineKey = args[0]; p.PartylineKey == "" {
			return errors.New("partyline_key is empty: write the name of a request variable, or leave it out")
		}
		return checkPartylineKey(p.PartylineKey)
	}},
	"prefix": {1, "<path>", func(p *Party, args []string) error {
		if p.Prefix = args[0]; p.Prefix == "" {
			return errors.New("prefix is empty: write the path that was stripped, or leave it out")
		}
		_, err := party.CheckPrefix(p.Prefix)
		return err
	}},
	"ask_on": {oneOrTwo, "<address> [<address as guests reach it>]", func(p *Party, args []string) error {
		p.AskOn = &party.AskOn{Listen: args[0]}
		if len(args) == 2 {
			if p.AskOn.URL = args[1]; p.AskOn.URL == "" {
				return errors.New("the second address of ask_on is empty: write the one that guests use, or leave it out")
			}
		}
		return party.CheckAskOn(*p.AskOn)
	}},
}

func setInvites(p *Party, args []string) error {
	if len(args) == 3 && args[1] == "as" {
		if args[2] == "" {
			return fmt.Errorf(`the guest's name is empty: write "invite %s as <guest>", or leave out "as"`, args[0])
		}
		return addInvite(p, party.Invite{URI: args[0], Guest: args[2]})
	}
	for _, arg := range args {
		if arg == "as" {
			return errors.New(`"as" names the guest of one invite: write "invite <uri> as <guest>" on a line of its own`)
		}
		if err := addInvite(p, party.Invite{URI: arg}); err != nil {
			return err
		}
	}
	return nil
}

func addInvite(p *Party, invite party.Invite) error {
	p.Invites = append(p.Invites, invite)
	if strings.Contains(invite.URI+invite.Guest, "{") {
		return nil // has a placeholder, which Provision replaces
	}
	return p.guests.Add(invite)
}
