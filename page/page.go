// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package page shows a party to those who run it, on one web page: who is on the line, who asks whom
// for what, and what went wrong.
package page

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/party"
)

func init() {
	caddy.RegisterModule(new(Page))
}

// Page is an HTTP handler that shows a party on a web page: its guests, who asks whom for what, what failed,
// and which invites nobody joined by. The page updates itself every second.
//
// It shows the names, paths, errors and traffic of all applications of the party, and changes nothing. It is
// for those who run Caddy, so put it behind a password, such as `basic_auth`. When the config loads, Page
// logs a warning if other machines can reach it and no authentication stands in front of it.
//
// A request whose `Accept` header lists `application/json` gets the page's data as JSON. The admin API has
// the same at `/wsgi_party/<party>/page`. Page never calls the next handler.
type Page struct {
	// The name of the party. Default: the party in whose routes the handler is, or else `default`.
	Party string `json:"party,omitempty"`

	entry *party.Entry
}

// CaddyModule returns the Caddy module information.
func (*Page) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.wsgi_party_page", New: func() caddy.Module { return new(Page) }}
}

// Provision finds the party.
func (p *Page) Provision(ctx caddy.Context) error {
	if h := party.Around(ctx); p.Party == "" && h != nil {
		p.Party = h.Name()
	}
	if p.Party == "" {
		p.Party = party.DefaultParty
	}
	operator, err := party.Join(ctx, p.Party, "")
	if err != nil {
		return err
	}
	p.entry = operator.Partyline().Owner().(*party.Entry)
	app, err := party.AppOf(ctx)
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && err == nil {
		logger := ctx.Logger()
		app.WarnAtStart(func() { p.warnOfOpen(logger, server) })
	}
	return err
}

// ServeHTTP serves the page, or its JSON.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return caddyhttp.Error(http.StatusMethodNotAllowed, fmt.Errorf("method %s is not allowed here, only GET and HEAD", r.Method))
	}
	if !wantsJSON(r) {
		return serveHTML(w)
	}
	v, err := viewOf(r)
	if err != nil {
		return caddyhttp.Error(http.StatusBadRequest, err)
	}
	document, err := documentOf(p.entry, v)
	if err != nil {
		return err
	}
	return serveJSON(w, r, document)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Page)(nil)
	_ caddyhttp.MiddlewareHandler = (*Page)(nil)
)
