// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestAnAskerSaysWhatGoesOn has a guest ask, with headers of a visitor's, one that
// wants some of them and one that wants none, directly and by way of others.
func TestAnAskerSaysWhatGoesOn(t *testing.T) {
	c := newAskTest(t)
	wants, none := newAttackedApp(t, "", serveJSON("1")), newAttackedApp(t, "", serveJSON("1"))
	key := keyOf(t, "asker")
	app(t, "page", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		w.Header().Set("Content-Type", "application/json")
		answers, err := c.line("main").AskAround(r.Context(), "s", nil)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(w, len(answers))
		return err
	})
	c.around(guestThatAsks + "invite /wants/__invite__/ /none/__invite__/ /page/__invite__/\n" +
		mounted("wants", "forward Cookie X-Thing Authorization\nservice s /s", wants) + mounted("none", "service s /s", none) + `
		handle_path /page/* {
			wsgi_party_guest {
				forward Cookie X-Thing Authorization
				service by-page /
			}
			test_app page
		}`)
	operator := c.joined("go", "by-go", func(ctx context.Context, _ any) (any, error) { return nil, nil })
	connect(t, operator, "by-handler", func(ctx context.Context, _ any) (any, error) {
		answers, err := operator.AskAround(ctx, "s", nil)
		return len(answers), err
	})
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	header := http.Header{
		"Party-Forward-Cookie": {"session=1"}, "Party-Forward-X-Thing": {"a", "b"}, "Party-Forward-Authorization": {"Basic eDp5"}, "Party-Forward-Other": {"other"},
		"Party-Forward-Party-Token": {"forged"}, "Party-Forward-Accept": {"forged"},
		"Cookie": {"own=1"}, "X-Thing": {"own"}, "Other": {"own"}, "Traceparent": {trace},
	}
	for _, a := range []asking{{path: "/s"}, {path: "/", body: `[{"service": "s"}]`}, {path: "/by-handler"}, {path: "/by-page"}} {
		a.key, a.header = key, header
		if response := c.do(a); response.status != http.StatusOK || strings.Contains(response.body, "failed") {
			t.Fatalf("%s: %d %s", a.path, response.status, response.body)
		}
		got := wants.requests()[len(wants.requests())-1].Header
		if got.Get("Cookie") != "session=1" || got.Get("X-Thing") != "a,b" || got.Get("Authorization") != "Basic eDp5" || got.Get("Traceparent") != trace || got.Get("Accept") != "application/json" {
			t.Errorf("%s: what it wants: %v", a.path, got)
		}
		for _, h := range []http.Header{got, none.requests()[len(none.requests())-1].Header} {
			for name, values := range h {
				if strings.HasPrefix(name, "Party-") || slices.Contains(values, "other") || slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, "own") || strings.Contains(v, key) }) {
					t.Errorf("%s: %s: %q", a.path, name, values)
				}
			}
		}
		got = none.requests()[len(none.requests())-1].Header
		if got.Get("Cookie")+got.Get("X-Thing")+got.Get("Authorization") != "" || got.Get("Traceparent") != trace {
			t.Errorf("%s: what it does not want: %v", a.path, got)
		}
	}
}

// TestVisitorsCannotSayWhatGoesOn has a visitor send the headers of guests.
func TestVisitorsCannotSayWhatGoesOn(t *testing.T) {
	c := newCaddy(t)
	a := newAttackedApp(t, "", serveJSON("1"))
	app(t, "page", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		answers, err := c.line("main").AskAround(r.Context(), "s", nil)
		_, _ = io.WriteString(w, fmt.Sprint(len(answers)))
		return err
	})
	c.site("wsgi_party main {\ninvite /a/__invite__/\n" + mounted("a", "forward X-Thing\nservice s /s", a) + "handle /page {\ntest_app page\n}\n}")
	header := http.Header{"Party-Forward-X-Thing": {"forged"}, "Party-Forward-Cookie": {"forged"}, "party_forward.x_thing": {"forged"}, "Party-Ask": {"forged"}, "PARTY-ask": {"forged"}}
	for _, path := range []string{"/page", "/a/"} {
		if status, body := c.do("GET", path, "", header); status != http.StatusOK || body != "1" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if len(a.requests()) != 2 {
		t.Fatal(a.requests())
	}
	for _, r := range a.requests() {
		if text := fmt.Sprint(r.Header); strings.Contains(text, "forged") {
			t.Errorf("%s: %s", r.URL, text)
		}
	}
}

// TestWhatIsForwardedIsEachRequestsOwn has a handler change it behind the guest's.
func TestWhatIsForwardedIsEachRequestsOwn(t *testing.T) {
	templateApp(t)
	c := newCaddy(t)
	a := newAttackedApp(t, "", serveJSON("1"))
	c.site(`
	wsgi_party main {
		invite /a/__invite__/
		handle_path /a/* {
			route {
				wsgi_party_guest {
					forward X-Thing
					max_asks 1
					service s /1
					service s /2
				}
				request_header X-Thing x xx
				reverse_proxy ` + a.address() + `
			}
		}
		handle {
			templates {
				extensions {
					wsgi_party
				}
			}
			test_app template
		}
	}`)
	if status, body := c.do("GET", page(`{{askAround . "s"}}`), "", http.Header{"X-Thing": {"x"}}); status != http.StatusOK || body != "[1 1]" {
		t.Fatalf("%d %s", status, body)
	}
	for _, r := range a.requests() {
		if got := r.Header.Get("X-Thing"); got != "xx" {
			t.Errorf("%s: %q", r.URL, got)
		}
	}
}
