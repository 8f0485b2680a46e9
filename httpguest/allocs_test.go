// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"bytes"
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

// TestAnAskAllocatesLittleBesideItsRequest compares an ask, by the routes and directly, with a visitor's request to the same
// application behind the same routes without a party. All include what the application's server allocates, of which
// the headers of an ask are a good part.
func TestAnAskAllocatesLittleBesideItsRequest(t *testing.T) {
	c := newAllocations(t)
	proxied, ask, direct := testing.AllocsPerRun(200, c.proxied()), testing.AllocsPerRun(200, c.ask("")), testing.AllocsPerRun(200, c.ask("direct"))
	t.Logf("a proxied request: %v, an ask: %v, a direct one: %v", proxied, ask, direct)
	if ask > 1.3*proxied || direct > 0.6*proxied {
		t.Errorf("a proxied request: %v, an ask: %v, a direct one: %v", proxied, ask, direct)
	}
}

// allocations is an application.
type allocations struct {
	*guestTest
	application string // its address
}

func newAllocations(t *testing.T) *allocations {
	c := newGuestTest(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = []string{"application/json"}
		w.Write([]byte("true"))
	}))
	t.Cleanup(server.Close)
	return &allocations{c, strings.TrimPrefix(server.URL, "http://")}
}

// loadSite loads a config that logs as much as Caddy does by default.
func (c *allocations) loadSite(directives string) {
	c.Helper()
	c.LoadJSON(bytes.ReplaceAll(c.Adapt("ADDRESS {\n"+directives+"\n}"), []byte(`"DEBUG"`), []byte(`"INFO"`)))
}

// proxied requests ping of the application as a visitor does.
func (c *allocations) proxied() func() {
	c.loadSite("handle_path /app/* {\nreverse_proxy " + c.application + "\n}")
	app := check.Value(caddy.ActiveContext().App("http"))(c).(*caddyhttp.App)
	server := app.Servers["srv0"]
	chain := server.Routes.Compile(caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil }))
	origin := &url.URL{Scheme: "http", Host: c.Address}
	return func() {
		r := &http.Request{Method: "POST", URL: &url.URL{Path: "/app/ping"}, Header: http.Header{
			"Accept": {"application/json"}, "Content-Type": {"application/json"}, "Cache-Control": {"no-store"},
		}, Body: readCloser{strings.NewReader("null")}, ContentLength: 4}
		w := subrequest.NewResponseWriter(1 << 20)
		if err := subrequest.Send(chain, subrequest.New(c.Context(), r, server, origin, "", w), w); err != nil || w.Status() != http.StatusOK {
			c.Fatal(w.Status(), err)
		}
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// ask asks the application for ping.
func (c *allocations) ask(option string) func() {
	partytest.Key(c, "app")
	c.loadSite("wsgi_party " + c.party + " {\ninvite /app/__invite__/\nhandle_path /app/* {\nwsgi_party_guest {\nkey {env.app_PARTY_KEY}\nservice ping /ping\n" + option + "\n}\nreverse_proxy " + c.application + "\n}\n}")
	operator := operatorOf(c, c.party)
	return func() {
		if answers, err := operator.AskAround(c.Context(), "ping", nil); len(answers) != 1 || err != nil {
			c.Fatal(answers, err)
		}
	}
}
