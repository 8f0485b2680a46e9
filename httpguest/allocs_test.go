// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
)

// TestAnAskAllocatesLittleBesideItsRequest compares an ask, by the routes and directly, with a plain subrequest through a
// reverse_proxy. All include what the application's server allocates, of which the headers of an ask are a good part.
func TestAnAskAllocatesLittleBesideItsRequest(t *testing.T) {
	c := newAllocations(t)
	proxied, ask, direct := testing.AllocsPerRun(200, c.proxied), testing.AllocsPerRun(200, c.ask("")), testing.AllocsPerRun(200, c.ask("direct"))
	t.Logf("a proxied request: %v, an ask: %v, a direct one: %v", proxied, ask, direct)
	if ask > 1.75*proxied || direct > 0.85*proxied {
		t.Errorf("a proxied request: %v, an ask: %v, a direct one: %v", proxied, ask, direct)
	}
}

// allocations is an application and a request to it.
type allocations struct {
	*guestTest
	application string // its address
	proxied     func()
}

func newAllocations(t *testing.T) *allocations {
	c := newGuestTest(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = []string{"application/json"}
		w.Write([]byte("true"))
	}))
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	ctx, end := caddy.NewContext(partytest.ProvisionContext(t))
	t.Cleanup(end) // and with it its connections
	handler := check.Value(ctx.LoadModuleByID("http.handlers.subroute", []byte(`{"routes": [{"match": [{"path": ["/app/*"]}], "handle": [
		{"handler": "rewrite", "strip_path_prefix": "/app"}, {"handler": "reverse_proxy", "upstreams": [{"dial": "`+address+`"}]}]}]}`)))(t)
	chain := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		return handler.(caddyhttp.MiddlewareHandler).ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil }))
	})
	origin, httpServer := &url.URL{Scheme: "http", Host: "localhost"}, new(caddyhttp.Server)
	return &allocations{c, address, func() {
		r := &http.Request{Method: "POST", URL: &url.URL{Path: "/app/ping"}, Header: http.Header{
			"Accept": {"application/json"}, "Content-Type": {"application/json"}, "Cache-Control": {"no-store"},
		}, Body: http.NoBody}
		r.Body, r.ContentLength = readCloser{strings.NewReader("null")}, 4
		w := subrequest.NewResponseWriter(1 << 20)
		if err := subrequest.Send(chain, subrequest.New(r.WithContext(t.Context()), httpServer, origin, "", w), w); err != nil || w.Status() != http.StatusOK {
			t.Fatal(w.Status(), err)
		}
	}}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// ask asks the application for ping.
func (c *allocations) ask(option string) func() {
	partytest.Key(c, "app")
	c.load("invite /app/__invite__/\nhandle_path /app/* {\nwsgi_party_guest {\nkey {env.app_PARTY_KEY}\nservice ping /ping\n" + option + "\n}\nreverse_proxy " + c.application + "\n}")
	operator := operatorOf(c, c.party)
	return func() {
		if answers, err := operator.AskAround(c.Context(), "ping", nil); len(answers) != 1 || err != nil {
			c.Fatal(answers, err)
		}
	}
}
