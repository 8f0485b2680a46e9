// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestAnAskerSaysWhatGoesOn has a guest ask, with headers of a visitor's, one that
// wants some of them and one that wants none, directly and by way of others.
func TestAnAskerSaysWhatGoesOn(t *testing.T) {
	c := partytest.NewCaddy(t)
	wants, none := partytest.NewApplication(t, "", partytest.JSON("1")), partytest.NewApplication(t, "", partytest.JSON("1"))
	key := partytest.Key(t, "asker")
	partytest.App(t, "page", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		w.Header().Set("Content-Type", "application/json")
		answers, err := operatorOf(c, "main").AskAround(r.Context(), "s", nil)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(w, len(answers))
		return err
	})
	c.Around(partytest.Asker + "invite /wants/__invite__/ /none/__invite__/ /page/__invite__/\n" +
		partytest.Mounted("wants", "forward Cookie X-Thing Authorization\nservice s /s", wants) + partytest.Mounted("none", "service s /s", none) + `
		handle_path /page/* {
			wsgi_party_guest {
				forward Cookie X-Thing Authorization
				service by-page /
			}
			test_app page
		}`)
	operator := connectMain(c, "go", "by-go", partytest.Answers(nil))
	partytest.Connect(t, operator, "by-handler", func(ctx context.Context, _ any) (any, error) {
		answers, err := operator.AskAround(ctx, "s", nil)
		return len(answers), err
	})
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	header := http.Header{
		"Party-Forward-Cookie": {"session=1"}, "Party-Forward-X-Thing": {"a", "b"}, "Party-Forward-Authorization": {"Basic eDp5"}, "Party-Forward-Other": {"other"},
		"Party-Forward-Party-Token": {"forged"}, "Party-Forward-Accept": {"forged"},
		"Cookie": {"own=1"}, "X-Thing": {"own"}, "Other": {"own"}, "Traceparent": {trace},
	}
	for _, a := range []partytest.Asking{{Path: "/s"}, {Path: "/", Body: `[{"service": "s"}]`}, {Path: "/by-handler"}, {Path: "/by-page"}} {
		a.Key, a.Header = key, header
		response := c.Ask(a)
		check.FatalIf(t, response.Status != http.StatusOK || strings.Contains(response.Body, "failed"), "%s: %d %s", a.Path, response.Status, response.Body)
		got := wants.Requests()[len(wants.Requests())-1].Header
		if got.Get("Cookie") != "session=1" || got.Get("X-Thing") != "a,b" || got.Get("Authorization") != "Basic eDp5" || got.Get("Traceparent") != trace || got.Get("Accept") != "application/json" {
			t.Errorf("%s: what it wants: %v", a.Path, got)
		}
		for _, h := range []http.Header{got, none.Requests()[len(none.Requests())-1].Header} {
			for name, values := range h {
				if strings.HasPrefix(name, "Party-") || slices.Contains(values, "other") || slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, "own") || strings.Contains(v, key) }) {
					t.Errorf("%s: %s: %q", a.Path, name, values)
				}
			}
		}
		got = none.Requests()[len(none.Requests())-1].Header
		check.ErrorIf(t, got.Get("Cookie")+got.Get("X-Thing")+got.Get("Authorization") != "" || got.Get("Traceparent") != trace, "%s: what it does not want: %v", a.Path, got)
	}
}

// TestVisitorsCannotSayWhatGoesOn has a visitor send the headers of guests.
func TestVisitorsCannotSayWhatGoesOn(t *testing.T) {
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", partytest.JSON("1"))
	partytest.App(t, "page", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		answers, err := operatorOf(c, "main").AskAround(r.Context(), "s", nil)
		_, _ = io.WriteString(w, fmt.Sprint(len(answers)))
		return err
	})
	c.Site("wsgi_party main {\ninvite /a/__invite__/\n" + partytest.Mounted("a", "forward X-Thing\nservice s /s", a) + "handle /page {\ntest_app page\n}\n}")
	header := http.Header{"Party-Forward-X-Thing": {"forged"}, "Party-Forward-Cookie": {"forged"}, "party_forward.x_thing": {"forged"}, "Party-Ask": {"forged"}, "PARTY-ask": {"forged"}}
	for _, path := range []string{"/page", "/a/"} {
		status, body := c.Do("GET", path, "", header)
		check.ErrorIf(t, status != http.StatusOK || body != "1", "%s: %d %s", path, status, body)
	}
	check.FatalIf(t, len(a.Requests()) != 2, a.Requests())
	for _, r := range a.Requests() {
		text := fmt.Sprint(r.Header)
		check.ErrorIf(t, strings.Contains(text, "forged"), "%s: %s", r.URL, text)
	}
}

// TestWhatIsForwardedIsEachRequestsOwn has a handler change it behind the guest's.
func TestWhatIsForwardedIsEachRequestsOwn(t *testing.T) {
	partytest.TemplateApp(t)
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", partytest.JSON("1"))
	c.Site(`
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
				reverse_proxy ` + a.Address() + `
			}
		}
		` + partytest.Pages + `
	}`)
	status, body := c.Do("GET", partytest.Page(`{{askAround . "s"}}`), "", http.Header{"X-Thing": {"x"}})
	check.FatalIf(t, status != http.StatusOK || body != "[1 1]", "%d %s", status, body)
	for _, r := range a.Requests() {
		check.Equal(t, r.Header.Get("X-Thing"), "xx", r.URL)
	}
}
