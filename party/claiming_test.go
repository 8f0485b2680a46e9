// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// claiming is a guest in Go that has pages, and claims some of them.
type claiming struct {
	urls   map[string]string
	claims atomic.Pointer[[]string] // a method, and a path as the guest sees it; nil if it never says
	asked  atomic.Int64             // how often it was asked for claims
}

func (g *claiming) setClaims(claims ...string) { g.claims.Store(&claims) }

// app makes `test_app key` the guest.
func (g *claiming) app(t testing.TB, key string) {
	partytest.App(t, key, func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		i, ok := party.InvitationFrom(r)
		if !ok {
			_, err := w.Write([]byte(key + " " + r.URL.Path))
			return err
		}
		if g.claims.Load() != nil {
			if err := i.Operator.Connect(party.ClaimsService, g.claim); err != nil {
				return err
			}
		}
		return i.Operator.Connect(party.URLService, func(_ context.Context, payload any) (any, error) {
			request, err := party.URLRequestOf(payload)
			link, ok := g.urls[strings.TrimPrefix(request.Name, key+":")]
			if !ok || err != nil {
				return nil, partyline.ErrHighAndDry
			}
			return link, nil
		})
	})
}

func (g *claiming) claim(_ context.Context, payload any) (any, error) {
	g.asked.Add(1)
	request, err := party.ClaimRequestOf(payload)
	if err != nil || request.Path == "/fails" {
		return nil, errors.New("oh no")
	}
	return slices.Contains(*g.claims.Load(), strings.TrimSpace(request.Method+" "+request.Host+request.Path)), nil
}

func TestLinksFollowClaims(t *testing.T) {
	c := partytest.NewCaddy(t)
	legacy := &claiming{urls: map[string]string{"invoice": "/old/invoices/7", "home": "/old/", "abroad": "/old/x", "new:invoice": "/old/no"}}
	fresh := &claiming{urls: map[string]string{"invoice": "/new/invoices/7?q=1", "home": "/new/", "abroad": "https://new.example.com/new/x", "only": "/new/only", "broken": "/new/fails"}}
	other := &claiming{urls: map[string]string{"broken": "/broken", "only": "relative", "home": "/%zz"}}
	other.setClaims("GET /broken-not")
	legacy.app(t, "legacy")
	fresh.app(t, "new")
	other.app(t, "other")
	fresh.setClaims("GET /invoices/7", "GET 127.0.0.1/", "GET new.example.com/x")
	c.Site(`wsgi_party main {
		invite /old/__invite__/ as legacy
		invite https://new.example.com/new/__invite__/ as new
		invite /__invite__/other as other
		handle_path /old/* {
			test_app legacy
		}
		handle_path /new/* {
			test_app new
		}
		handle {
			test_app other
		}
	}`)
	anyone, _ := wsgiparty.Lookup("main")
	wants := func(name string, want ...string) {
		t.Helper()
		answers, err := anyone.AskAround(t.Context(), "url", []any{name, nil})
		var got []string
		for _, answer := range answers {
			got = append(got, answer.(string))
		}
		check.ErrorIf(t, err != nil || !slices.Equal(got, want), "%s: %q, %v, want %q", name, got, err, want)
		first, err := wsgiparty.First[string](t.Context(), anyone, "url", []any{name, nil})
		check.ErrorIf(t, err != nil || first != want[0], "first %s: %q, %v", name, first, err)
		first, err = wsgiparty.URLFor(t.Context(), anyone, name, nil)
		check.ErrorIf(t, err != nil || first != want[0], "URL for %s: %q, %v", name, first, err)
		for reply := range anyone.Replies(t.Context(), "url", []any{name, nil}) {
			if reply.Err == nil {
				check.ErrorIf(t, reply.Answer != want[0], "first reply for %s: %+v", name, reply)
				break
			}
		}
	}
	wants("invoice", "/new/invoices/7?q=1", "/old/invoices/7")
	wants("abroad", "https://new.example.com/new/x", "/old/x")
	wants("broken", "/new/fails", "/broken") // a failure to claim is not a claim
	wants("new:invoice", "/new/invoices/7?q=1")
	wants("legacy:invoice", "/old/invoices/7")
	fresh.setClaims()
	wants("invoice", "/old/invoices/7", "/new/invoices/7?q=1")
	wants("abroad", "/old/x", "https://new.example.com/new/x")
	fresh.setClaims("POST /invoices/7", "GET /new/invoices/7", "GET /INVOICES/7")
	wants("invoice", "/old/invoices/7", "/new/invoices/7?q=1")

	// Links to this site are visited by its host.
	ctx := context.WithValue(t.Context(), caddyhttp.OriginalRequestCtxKey, http.Request{Host: "Shop.example.com:8443", URL: new(url.URL)})
	fresh.setClaims("GET shop.example.com/invoices/7")
	wants("invoice", "/old/invoices/7", "/new/invoices/7?q=1")
	link, err := wsgiparty.URLFor(ctx, anyone, "invoice", nil)
	check.ErrorIf(t, err != nil || link != "/new/invoices/7?q=1", "%q, %v", link, err)
}

func TestWhereNobodyClaimsAnythingLinksAreAsEver(t *testing.T) {
	c := partytest.NewCaddy(t)
	legacy := &claiming{urls: map[string]string{"invoice": "/invoices/7"}}
	fresh := &claiming{urls: map[string]string{"invoice": "/invoices/8"}}
	legacy.app(t, "legacy")
	fresh.app(t, "new")
	c.Site(`wsgi_party main {
		invite /__invite__/legacy as legacy
		invite /new/__invite__/ as new
		handle_path /new/* {
			test_app new
		}
		test_app legacy
	}`)
	anyone, _ := wsgiparty.Lookup("main")
	link, err := wsgiparty.URLFor(t.Context(), anyone, "invoice", nil)
	check.ErrorIf(t, err != nil || link != "/invoices/7", "%q, %v", link, err)
	_, replies := anyone.Partyline().Counts()
	for _, r := range replies {
		check.ErrorIf(t, r.Guest == "new" && r.Asked > 0, "%s was asked: %+v", r.Guest, r)
	}
}

func TestAClaimantSeesWhatItsGuestSees(t *testing.T) {
	c := partytest.NewCaddy(t)
	for _, guest := range []string{"stripped", "unstripped"} {
		g := new(claiming)
		g.setClaims()
		g.app(t, guest)
	}
	c.Site(`wsgi_party main {
		invite /a/caf%C3%A9/__invite__/ as stripped
		invite /shop/__invite__/ as unstripped
		handle_path /a/caf%C3%A9/* {
			test_app stripped
		}
		handle /shop/* {
			test_app unstripped
		}
	}`)
	app, _ := party.Running()
	for _, c := range []struct{ guest, path, stripped, want string }{
		{"stripped", "/a/café/x", "", "/x"},
		{"stripped", "/A/café//x/.././y/", "", "/y/"},
		{"stripped", "/a/café", "", "/"},
		{"stripped", "/a/caf%C3%A9", "", ""}, // escaped twice
		{"stripped", "/a/cafés", "", ""},
		{"stripped", "/a/café/../x", "", ""},
		{"stripped", "/x", "/a/caf%C3%A9", "/x"},
		{"stripped", "/café/x", "/a", "/x"},
		{"stripped", "/y/x", "/a/caf%C3%A9/b", "/b/y/x"},
		{"unstripped", "/shop/a/../b", "", "/shop/b"},
		{"unstripped", "/elsewhere", "", "/elsewhere"},
		{"unstripped", "/a", "/shop", "/shop/a"},
		{"unstripped", "*", "", ""},
		{"nobody", "/a//b", "", "/a/b"},
		{"nobody", "", "", "/"},
	} {
		got, ok := app.Entry("main").Claimant(c.guest).See(&url.URL{Path: c.path}, c.stripped)
		check.ErrorIf(t, got != c.want || ok != (c.want != ""), "%+v: %q %v", c, got, ok)
	}
}

func TestOnlyTrueIsAClaim(t *testing.T) {
	partytest.NewCaddy(t).Site("wsgi_party main {\n}")
	app, _ := party.Running()
	for i, c := range []struct {
		answers []any // errors are what handlers fail with
		claims  bool
		failure string
	}{
		{[]any{true}, true, ""},
		{[]any{json.RawMessage("true")}, true, ""},
		{[]any{false, true}, true, ""},
		{[]any{errors.New("oh no"), true}, true, ""},
		{[]any{partyline.ErrHighAndDry}, false, ""},
		{[]any{errors.New("oh no"), partyline.ErrHighAndDry}, false, "oh no"},
		{[]any{"true", 1, nil, json.RawMessage("1"), json.RawMessage(`"true"`)}, false, ""},
		{nil, false, ""},
	} {
		guest := string(rune('a' + i))
		operator := app.Entry("main").Operator(guest)
		for _, answer := range c.answers {
			check.Must(t, operator.Connect(party.ClaimsService, func(context.Context, any) (any, error) {
				err, _ := answer.(error)
				return answer, err
			}))
		}
		claims, err := app.Entry("main").Claimant(guest).Claims(t.Context(), new(party.Claim))
		check.ErrorIf(t, claims != c.claims || err == nil != (c.failure == "") || err != nil && !strings.Contains(err.Error(), c.failure), "%v: %v, %v", c.answers, claims, err)
	}
	none, err := app.Entry("main").Claimant("none").Claims(t.Context(), new(party.Claim))
	check.ErrorIf(t, none || err != nil, "%v, %v", none, err)
}
