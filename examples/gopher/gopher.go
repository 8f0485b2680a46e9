// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package gopher registers http.handlers.gopher, an application to start your
// own from. It links to other applications' pages without knowing where they are.
package gopher

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgiparty/wsgiparty"
)

func init() {
	caddy.RegisterModule(new(Gopher))
	httpcaddyfile.RegisterHandlerDirective("gopher", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("gopher", httpcaddyfile.Before, "respond")
}

// Gopher is an application with a few pages, which all look the same. It does not
// call the next handler.
type Gopher struct {
	// The application's name.
	Name string `json:"name"`

	// The paths of its pages, by name. The page `news` of the application `two`
	// is `two:news` to everybody.
	Pages map[string]string `json:"pages,omitempty"`

	// The pages that each of its pages links to.
	Links []string `json:"links,omitempty"`

	joined atomic.Pointer[guest] // nil until the invite, which may come late
}

// guest is what the invite brought.
type guest struct {
	*Gopher
	operator *wsgiparty.Operator
	mount    string
}

// CaddyModule returns the Caddy module information.
func (*Gopher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.gopher", New: func() caddy.Module { return new(Gopher) }}
}

// ServeHTTP takes the invite, and serves the pages.
func (g *Gopher) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if g.joined.Load() == nil { // an invite that comes later is for somebody else
		if invitation, ok := wsgiparty.InvitationFrom(r); ok {
			if err := g.join(invitation); err != nil {
				return err
			}
			w.WriteHeader(http.StatusNoContent) // accepted
			return nil
		}
	}
	for name, path := range g.Pages {
		if r.URL.Path == path {
			return g.guest().servePage(w, r, name)
		}
	}
	return caddyhttp.Error(http.StatusNotFound, fmt.Errorf("%s has no such page", g.Name))
}

// join connects what the others can ask this application for.
func (g *Gopher) join(invitation *wsgiparty.Invitation) error {
	mount, _, _ := strings.Cut(invitation.URI.Path, "/__invite__")
	mount = invitation.Prefix + mount
	if host := invitation.URI.Host; host != "" {
		mount = invitation.URI.Scheme + "://" + host + mount
	}
	joined := &guest{g, invitation.Operator, mount}
	if err := joined.operator.Connect(wsgiparty.URLService, joined.answerURL); err != nil {
		return err
	}
	if err := joined.operator.Connect("ping", func(context.Context, any) (any, error) { return "pong", nil }); err != nil {
		return err
	}
	g.joined.Store(joined)
	return nil
}

// guest returns what the invite brought; without one the operator is nil, by which
// nobody can be asked.
func (g *Gopher) guest() *guest {
	if joined := g.joined.Load(); joined != nil {
		return joined
	}
	return &guest{Gopher: g}
}

func (g *guest) answerURL(_ context.Context, payload any) (any, error) {
	request, err := wsgiparty.PayloadAs[wsgiparty.URLRequest](payload)
	if err != nil {
		return nil, err
	}
	application, page, _ := strings.Cut(request.Name, ":")
	path, ok := g.Pages[page]
	if application != g.Name || !ok {
		return nil, wsgiparty.ErrHighAndDry // somebody else may know it
	}
	return g.mount + path, nil
}

// urlFor returns the URL of a page, its own or another application's.
func (g *guest) urlFor(ctx context.Context, name string) (string, error) {
	if url, err := g.answerURL(ctx, wsgiparty.URLRequest{Name: name}); err == nil {
		return url.(string), nil
	}
	return wsgiparty.URLFor(ctx, g.operator, name, nil)
}

func (g *guest) servePage(w http.ResponseWriter, r *http.Request, name string) error {
	shown := struct {
		Name    string
		Links   map[string]string
		Unknown []string
		Pongs   []any
	}{Name: g.Name + ":" + name, Links: make(map[string]string)}
	for _, link := range g.Links {
		url, err := g.urlFor(r.Context(), link)
		if err != nil {
			shown.Unknown = append(shown.Unknown, link)
			continue
		}
		shown.Links[link] = url
	}
	shown.Pongs, _ = g.operator.AskAround(r.Context(), "ping", nil)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	return pageTemplate.Execute(w, shown)
}

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<title>{{.Name}}</title>
<h1>{{.Name}}</h1>
{{range $name, $url := .Links}}<p><a href="{{$url}}">{{$name}}</a> is at {{$url}}</p>
{{end}}{{range .Unknown}}<p>Where {{.}} is, nobody knows.</p>
{{end}}<p>Others who answer: {{len .Pongs}}</p>
`))

// parseCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	gopher <name> {
//		page <name> <path>
//		link <page>...
//	}
func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	g := &Gopher{Pages: make(map[string]string)}
	h.Next() // consume directive name
	if !h.AllArgs(&g.Name) {
		return nil, h.ArgErr()
	}
	for h.NextBlock(0) {
		var name, path string
		switch option := h.Val(); {
		case option == "page" && h.AllArgs(&name, &path):
			g.Pages[name] = path
		case option == "link":
			g.Links = append(g.Links, h.RemainingArgs()...)
		default:
			return nil, h.Errf("write \"page <name> <path>\" or \"link <page>...\", not %q", option)
		}
	}
	return g, nil
}

var _ caddyhttp.MiddlewareHandler = (*Gopher)(nil)
