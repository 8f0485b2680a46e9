// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package claims_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// routed is what the endpoint says.
type routed struct {
	Party, Method, Host, Path, Guest, Pattern string
	Guests                                    []struct {
		Guest, Path, Pattern, Error string
		Claims                      bool
		Why                         []string
		Matchers                    []struct{ Server, Share, Configured, By string }
	}
}

func routeOf(c *partytest.Caddy, method, host, path string) (r routed, why map[string]string) {
	c.Helper()
	query := url.Values{"method": {method}, "host": {host}, "path": {path}}
	partytest.Decode(c, c.Call("GET", "/wsgi_party/main/route?"+query.Encode(), ""), &r)
	why = make(map[string]string)
	for _, g := range r.Guests {
		why[g.Guest] = strings.Join(g.Why, "; ")
	}
	return r, why
}

func TestTheRouteOfARequestIsTold(t *testing.T) {
	c := partytest.NewCaddyWithAdmin(t)
	newGuest(t, "legacy", "GET /invoices/7", "GET /old", "GET /fails")
	newGuest(t, "third", "GET /invoices/7", "GET /third")
	newGuest(t, "elsewhere", "GET /x")
	newGuest(t, "unmatched", "GET /invoices/7")
	partytest.Guest(t, "silent", "x", "ping")
	partytest.GuestWith(t, "fails", map[string]partytest.Handler{"claims": func(context.Context, any) (any, error) { return nil, errors.New("oh no") }})
	fresh := partytest.NewApplication(t, "", says("new"))
	c.Site(`wsgi_party main {
		invite /__invite__/ as new
		invite /__invite__/ as third
		invite /elsewhere/__invite__/ as elsewhere
		invite /__invite__/legacy as legacy
		invite /__invite__/unmatched as unmatched
		invite /__invite__/silent as silent
		@new wsgi_party claimed_by new share 10%
		@third wsgi_party claimed_by third
		@typo wsgi_party claimed_by noew
		@legacy wsgi_party claimed_by legacy
		handle @new {
			wsgi_party_guest new {
				claim "GET /invoices/{id}" "shop.example.com/cart/"
			}
			reverse_proxy ` + fresh.Address() + `
		}
		handle @third {
			test_app third
		}
		handle @typo {
			respond typo
		}
		handle_path /elsewhere/* {
			test_app elsewhere
		}
		handle /__invite__/unmatched {
			test_app unmatched
		}
		handle /__invite__/silent {
			test_app silent
		}
		handle @legacy {
			test_app legacy
		}
	}
	wsgi_party other {
	}`)
	r, why := routeOf(c, "get", "", "/invoices/7?a=b")
	check.ErrorIf(t, r.Party != "main" || r.Method != "GET" || r.Path != "/invoices/7?a=b" || r.Guest != "new" || r.Pattern != "GET /invoices/{id}", "%+v", r)
	order := make([]string, len(r.Guests))
	for i, g := range r.Guests {
		order[i] = g.Guest
	}
	check.Equal(t, strings.Join(order, " "), "new third noew legacy elsewhere unmatched silent")
	for guest, want := range map[string]string{
		"new":       "it claims the request; its matcher matches for 10% of the visitors (by {http.vars.client_ip})",
		"third":     "it claims the request; its matcher matches for all visitors that new leaves over",
		"legacy":    "it claims the request; but new and third come first",
		"noew":      "the party has no guest of this name: did you mean new?",
		"elsewhere": "the path is not below the guest's mount, /elsewhere",
		"unmatched": "it claims the request; but no matcher of the config says `claimed_by unmatched`",
		"silent":    "it claims nothing: it has no patterns, and answers for no service claims",
	} {
		check.Equal(t, why[guest], want, guest)
	}
	r, why = routeOf(c, "POST", "", "/invoices/7")
	check.ErrorIf(t, r.Guest != "" || r.Pattern != "", "%+v", r)
	check.Equal(t, why["new"], "none of its patterns matches")
	check.Equal(t, why["legacy"], "it is not in the list")
	r, why = routeOf(c, "GET", "shop.example.com:8443", "//elsewhere/./x")
	check.ErrorIf(t, r.Guest != "" || r.Host != "shop.example.com", "%+v", r)
	check.Has(t, why["elsewhere"], "no matcher")
	check.Has(t, why["new"], "no site of this Caddy has its host")

	said := command(c, "route", "main", "GET", "/invoices/7")
	check.Contains(t, said, []string{"GET /invoices/7 goes to new", "GUEST", "GET /invoices/{id}", "10% of the visitors", "not below the guest's mount"}, said)
	check.Contains(t, command(c, "route", "main", "GET", "/nobody", "--json"), []string{`"guest":""`, `"guests":[`})
	check.Contains(t, command(c, "route", "main", "GET", "https://shop.example.com/cart/?a=b"), []string{"GET shop.example.com/cart/?a=b goes to the routes after the matchers: none of their guests claims it"})
	check.Contains(t, command(c, "route", "main", "GET", "invoices"), []string{"begins with a slash", "exit status 1"})

	command(c, "share", "main", "new", "0%")
	r, why = routeOf(c, "GET", "", "/invoices/7")
	check.Equal(t, r.Guest, "third")
	check.Has(t, why["new"], "0% of the visitors")
}

func TestTheRouteOfARequestThatNobodyKnowsOfIsTold(t *testing.T) {
	c := partytest.NewCaddyWithAdmin(t)
	partytest.GuestWith(t, "new", map[string]partytest.Handler{"claims": func(context.Context, any) (any, error) { return nil, errors.New("oh no") }})
	newGuest(t, "legacy", "GET /")
	c.Site(strings.Replace(shared(""), "test_app legacy", "@legacy wsgi_party claimed_by legacy\nhandle @legacy {\ntest_app legacy\n}", 1))
	r, why := routeOf(c, "", "", "/")
	check.ErrorIf(t, r.Guest != "" || r.Guests[0].Error == "" || r.Guests[0].Claims, "%+v", r)
	check.Contains(t, why["new"], []string{"oh no", "all visitors get status 503"})
	check.Has(t, why["legacy"], "but new comes first")
	check.Contains(t, command(c, "route", "main", "GET", "/"), []string{"not known", "503"})

	command(c, "share", "main", "new", "0%")
	r, why = routeOf(c, "", "", "/")
	check.Equal(t, r.Guest, "legacy")
	check.Has(t, why["new"], "0% of the visitors")
	expect(c, map[string]string{"/": "legacy /"})
}
