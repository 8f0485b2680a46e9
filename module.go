// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package wsgiparty registers the http.handlers.wsgi_party module. With it the
// applications behind one Caddy tell each other what only they know, above all
// their URLs.
package wsgiparty

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/vars"
)

func init() {
	caddy.RegisterModule(new(Party))
}

// Party is an HTTP handler that lets the applications in its routes talk to each other. While the
// config loads, the handler invites each of them: it sends a GET request through these routes that
// carries an operator. With the operator the application, now a guest, connects handlers for named
// services and asks the other guests for theirs. So an application can link to a page of another one
// without knowing how the other one lays out its URLs.
//
// Ordinary requests just pass through the routes, which are compiled once. The cost of that does not
// grow with the number of routes. A request that no route ends goes to the next handler. Errors are
// left to the site's `handle_errors`. Requests from outside to an invite's path, or below it, get an
// empty 404 response.
//
// Invites enter at the beginning of these routes. Whatever stands before the handler (a site's `root`
// or `vars`, authentication, rewrites) does not apply to them, so put what the guests need into the
// party's routes. An invite comes from an address in 192.0.2.0/24 and never leaves the process: a
// handler that would send it over the network, such as `reverse_proxy`, ends it. Named routes are set
// up later and cannot be invited.
//
// Each time a config is loaded, also by `caddy validate`, it gets new partylines and sends new
// invites. Each guest that joins is logged at info level. An invite that was not answered, was refused
// or failed is logged as a warning that says what to do; everything else goes on as usual.
//
// In a guest's invites and asks, the request variable `{http.vars.partyline}` holds the guest's name;
// elsewhere it is empty. Use it to let the invites and asks of guests pass authentication, here those
// of the guests `blog` and `shop`:
//
//	@people not vars partyline blog shop
//	basic_auth @people { … }
//
// In the routes, and behind them, the placeholder `{http.wsgi_party.url.<page>}` is the URL of a
// guest's page, as in `{http.wsgi_party.url.shop:cart}`. Values follow a `?`. Each is a
// percent-encoded constant, or an `@` and the name of a placeholder, as in
// `{http.wsgi_party.url.blog:post?lang=en&slug=@http.regexp.old.1}`. Values are encoded once, in the
// URL. The guests are asked when the placeholder is needed, once for each request and set of values.
// If nobody answers, the placeholder is empty. Where an empty URL would do harm, as in `redir`, use
// `wsgi_party_vars`, which can answer with a status instead. A party whose
// routes, and the named routes that they `invoke`, use none of these placeholders costs requests
// nothing extra.
type Party struct {
	// The name of the party. Handlers with the same name share a partyline, also across sites.
	// Different handlers must not invite the same guest. Default: `default`. Only one party may
	// leave the name out.
	Name string `json:"name,omitempty"`

	// The applications to invite, in this order. Each is an object, or the plain
	// string of its URI. Default: none.
	Invites []party.Invite `json:"invites,omitempty"`

	// Whether an ask for a service that nobody is connected under returns no answers instead of an
	// error. Handlers that share a partyline must agree on this. Default: false.
	IgnoreMissingServices bool `json:"ignore_missing_services,omitempty"`

	// Whether an invite that no guest accepts makes the config fail to load. Default: false.
	StrictInvites bool `json:"strict_invites,omitempty"`

	// How long each invite may take. Invites are sent one after the other. A guest that takes
	// longer leaves the partyline, even if it has connected something already, and gets a tenth of
	// this time when the config is loaded again: Caddy loads one config at a time, and other
	// changes have to wait. Default: `5s`.
	InviteTimeout caddy.Duration `json:"invite_timeout,omitempty"`

	// The request variable that holds the operator during an invite.
	// Default: `partyline`.
	PartylineKey string `json:"partyline_key,omitempty"`

	// The path prefix that was stripped before requests reach this handler, by a `handle_path`
	// around it or by a proxy in front of Caddy. Guests have to put it before the paths of their
	// links. If the prefix differs between requests, write the placeholder of a header that a
	// trusted proxy sets, `{http.request.header.X-Forwarded-Prefix}`. The header counts only in
	// requests that came through one of the server's `trusted_proxies`, and only if it is a path
	// that could be written here. Links that are made outside of a request then have no prefix.
	// Default: none.
	Prefix string `json:"prefix,omitempty"`

	// Where the guests can ask. Every request tells a guest that has a key this address, in the
	// header `Party-Ask: <url>; line=<version>; mac=<an HMAC of its key>`. The guest then needs no
	// setting but its key, and no site with `wsgi_party_ask`. Guests of the same party in other
	// handlers are told, too, unless those handlers name another address. Two parties cannot
	// listen on the same address. Default: nowhere.
	AskOn *party.AskOn `json:"ask_on,omitempty"`

	// The routes that the guests are in.
	Routes caddyhttp.RouteList `json:"routes,omitempty"`

	host         *party.Host
	chain        caddyhttp.Handler  // the routes
	placeholders *vars.Placeholders // nil where the routes have none
	nextKey      string             // of the request variable that holds the next handler
	guests       party.GuestList    // while a Caddyfile is parsed
}

// CaddyModule returns the Caddy module information.
func (*Party) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.wsgi_party", New: func() caddy.Module { return new(Party) }}
}

// instances numbers the handlers of this process.
var instances atomic.Uint64

// Provision sets up the routes and sends the invites.
func (p *Party) Provision(ctx caddy.Context) error {
	p.nextKey = "wsgi_party.next." + strconv.FormatUint(instances.Add(1), 10)
	identity, err := identityOf(p)
	if err != nil {
		return err
	}
	if err := p.checkSettings(); err != nil {
		return err
	}
	settings := party.Settings{Name: p.Name, Invites: p.Invites, IgnoreMissingServices: p.IgnoreMissingServices, StrictInvites: p.StrictInvites,
		InviteTimeout: time.Duration(p.InviteTimeout), PartylineKey: p.PartylineKey, Prefix: p.Prefix, AskOn: p.AskOn, Identity: identity}
	if p.host, err = party.Open(ctx, settings); err != nil {
		return err
	}
	if err := p.Routes.Provision(ctx); err != nil {
		return fmt.Errorf("setting up the routes of party %q: %w", p.host.Name(), err)
	}
	p.chain = p.Routes.Compile(caddyhttp.HandlerFunc(p.serveNext))
	if p.placeholders, err = vars.PlaceholdersIn(ctx, p.host.Name(), identity); err != nil {
		return err
	}
	if p.placeholders != nil {
		p.chain = p.placeholders.Around(p.chain)
	}
	return p.host.Invite(p.Routes, p.chain)
}

// Cleanup closes the party. It disconnects nobody: requests in flight outlive it.
func (p *Party) Cleanup() error {
	if p.host != nil {
		p.host.Close()
	}
	return nil
}

// Host returns the party that the handler gives, nil before Provision.
func (p *Party) Host() *party.Host { return p.host }

func (p *Party) checkSettings() error {
	if p.InviteTimeout < 0 {
		return fmt.Errorf("invite_timeout is %v: write a duration above zero, such as 5s", time.Duration(p.InviteTimeout))
	}
	p.InviteTimeout = cmp.Or(p.InviteTimeout, caddy.Duration(5*time.Second))
	p.PartylineKey = cmp.Or(p.PartylineKey, "partyline")
	return checkPartylineKey(p.PartylineKey)
}

func checkPartylineKey(key string) error {
	switch key {
	case caddyhttp.ClientIPVarKey, caddyhttp.TrustedProxyVarKey, "start_time", "uuid":
		return fmt.Errorf("partyline_key %q is one of Caddy's own variables: write another name", key)
	}
	return nil
}

// ServeHTTP passes the request through the routes.
func (p *Party) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if p.host.Hides(r) {
		// Not an error, which handle_errors might lead back to the guest.
		w.WriteHeader(http.StatusNotFound)
		return nil
	}
	// The next handler travels in the request's variables because neither the
	// request nor the routes need to be made anew for that.
	vars := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	outer, entered := vars[p.nextKey].(caddyhttp.Handler)
	again, _ := outer.(*enteredAgain)
	switch {
	case !entered:
		vars[p.nextKey] = next
	case again == nil:
		again = &enteredAgain{next}
		vars[p.nextKey] = again
	default:
		outer, again.Handler = again.Handler, next
	}
	err := p.chain.ServeHTTP(w, r)
	if entered {
		again.Handler = outer
	}
	if err != nil {
		err = party.WithStatus(err)
	}
	return err
}

// enteredAgain is the next handler of routes that a request has entered again, from within or from behind them. It
// changes when they return, as the variables must not then: a proxy that connects in the background may be reading them.
type enteredAgain struct{ caddyhttp.Handler }

// serveNext is the end of the routes.
func (p *Party) serveNext(w http.ResponseWriter, r *http.Request) error {
	next, ok := caddyhttp.GetVar(r.Context(), p.nextKey).(caddyhttp.Handler)
	if !ok {
		return nil // an invite: nobody answers
	}
	if p.placeholders != nil {
		p.placeholders.Behind(r)
	}
	return next.ServeHTTP(w, r)
}

// identityOf returns a handler's JSON, which is the same wherever a handler is
// repeated, but for the groups of routes: the Caddyfile numbers them through.
func identityOf(p *Party) (string, error) {
	encoded, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	var decoded any
	if err := decoder.Decode(&decoded); err != nil {
		return "", err
	}
	wire.EachObject(decoded, func(object map[string]any) {
		routes, _ := object["routes"].([]any)
		for _, route := range routes {
			if route, ok := route.(map[string]any); ok {
				delete(route, "group")
			}
		}
	})
	encoded, err = json.Marshal(decoded)
	return string(encoded), err
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Party)(nil)
	_ caddy.CleanerUpper          = (*Party)(nil)
	_ caddyhttp.MiddlewareHandler = (*Party)(nil)
)
