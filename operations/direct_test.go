// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestAnAdminAskOfOneGuest(t *testing.T) {
	c := newAdminTest(t, "wsgi_party main")
	shop := c.connect("main", "shop", "price", partytest.Answers(7))
	partytest.Connect(t, shop, "price", partytest.Declines)
	partytest.Connect(t, shop, "price", partytest.Fails)
	partytest.Connect(t, shop, "price", func(_ context.Context, payload any) (any, error) { return payload, nil })
	c.connect("main", "blog", "price", func(context.Context, any) (any, error) { t.Error("the blog is asked"); return nil, nil })
	const all = `[7 hi]; shop answered; shop declined; shop failed guest "shop" failed to answer "price": oh no; shop answered`
	for query, want := range map[string]string{
		"?guest=shop": all, "?first=false&guest=shop": all, "?guest=shop&first": "[7]; shop answered", "?guest=sh%6fp": all,
	} {
		check.Equal(t, c.ask("main/ask/price"+query, `"hi"`).String(), want, query)
	}
	for query, want := range map[string]string{
		"?guest=": "guest is empty: write the guest's name", "?guest": "guest is empty", "?guest=shop&guest=blog": "guest is written 2 times", "?guest=%zz": "%zz",
	} {
		c.expectError(query, c.Call("POST", "/wsgi_party/main/ask/price"+query, ""), http.StatusBadRequest, want)
	}
	c.connect("main", `"<b>&`, "price", partytest.Answers("quoted"))
	check.Equal(t, c.ask("main/ask/price?guest="+url.QueryEscape(`"<b>&`), "").String(), `[quoted]; "<b>& answered`)
}

// TestAnAdminAskOfAGuestThatIsNotConnected says whom else to ask, also in a party that ignores missing services.
func TestAnAdminAskOfAGuestThatIsNotConnected(t *testing.T) {
	for _, option := range []string{"", " {\nignore_missing_services\n}"} {
		c := newAdminTest(t, "wsgi_party main"+option)
		never := func(context.Context, any) (any, error) { t.Error("somebody is asked"); return nil, nil }
		c.connect("main", "shop", "price", never)
		c.connect("main", "blog", "price", never)
		c.connect("main", "wiki", "page", never)
		partytest.Connect(t, c.connect("main", "shops", "url", never), "ping", never)
		const missing = `guest %q on partyline "main" is not connected under service %q`
		for _, test := range []struct{ service, guest, hint string }{
			{"price", "shpo", ": did you mean shop?"},
			{"price", "Blog", ": did you mean blog?"},
			{"price", "wiki", ", but under page"},
			{"price", "shops", ", but under ping, url"}, // which is not a mistake for shop
			{"price", "nobody", ": the connected guests are shop, blog"},
			{"page", "nobody", ": the only connected guest is wiki"},
			{"price", strings.Repeat("x", 1000), ": the connected guests are shop, blog"},
		} {
			response := c.Call("POST", "/wsgi_party/main/ask/"+test.service+"?first&guest="+test.guest, "")
			c.expectError(test.guest, response, http.StatusNotFound, fmt.Sprintf(missing, test.guest, test.service)+test.hint)
		}
		c.expectError("missing", c.Call("POST", "/wsgi_party/main/ask/missing?guest=shop", ""), http.StatusNotFound, `no service is called "missing"`)
	}
}

// TestAGuestThatLeavesWhileAnAdminAskOfItArrivesIsNotThere although others are.
func TestAGuestThatLeavesWhileAnAdminAskOfItArrivesIsNotThere(t *testing.T) {
	c := newAdminTest(t, "wsgi_party main\nwsgi_party quiet {\nignore_missing_services\n}")
	never := func(context.Context, any) (any, error) { t.Error("another one is asked"); return nil, nil }
	for _, party := range []string{"main", "quiet"} {
		c.connect(party, "other", "ping", never)
	}
	response := c.askAfter("main/ask/ping?guest=app", c.connect("main", "app", "ping", wsgiparty.Handler(never)).Leave)
	c.expectError("main", response, http.StatusNotFound, `guest "app" on partyline "main" is not connected under service "ping"`)
	c.isJSON("quiet", c.askAfter("quiet/ask/ping?guest=app", c.connect("quiet", "app", "ping", never).Leave), `{"answers": [], "replies": [], "duration": "DURATION"}`)
}
