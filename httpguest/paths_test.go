// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

func TestTheBaseOfAGuest(t *testing.T) {
	for invite, want := range map[string]string{
		"/__invite__/":             "",
		"/__invite__":              "",
		"/blog/__invite__/":        "/blog",
		"/a/b/__invite__/x":        "/a/b",
		"/a//b//__invite__":        "/a/b",
		"/a/__invite__/__invite__": "/a",
		"/blog/":                   "/blog",
		"/blog/join":               "/blog",
		"/join":                    "",
	} {
		check.Equal(t, invitepath.Base(invite), want, invite)
	}
}

// basesTest is a site with four guests: site at the root, wiki under its full path,
// shop, and admin below shop.
type basesTest struct {
	*guestTest
	site, wiki, shop, admin *testbackend.Backend
	origin                  string // of site and shop
}

func newBasesTest(t *testing.T) *basesTest {
	t.Helper()
	c := &basesTest{guestTest: newGuestTest(t)}
	for _, b := range []**testbackend.Backend{&c.site, &c.wiki, &c.shop, &c.admin} {
		*b = testbackend.Start(t, "")
		(*b).On("", jsonOf("1"))
	}
	return c
}

// start starts it with options of wsgi_party_guest by guest.
func (c *basesTest) start(options map[string]string) {
	c.Helper()
	guest := func(name string, b *testbackend.Backend) string {
		return "wsgi_party_guest {\nfetch_manifest\n" + options[name] + "\n}\nreverse_proxy " + b.Upstream()
	}
	c.load(`
	invite ` + c.origin + `/__invite__/ as site
	invite /wiki/__invite__/ ` + c.origin + `/shop/__invite__/
	invite /shop/admin/__invite__/ as admin
	handle_path /shop/admin/* {
		` + guest("admin", c.admin) + `
	}
	handle_path /shop/* {
		` + guest("shop", c.shop) + `
	}
	handle /wiki/* {
		` + guest("wiki", c.wiki) + `
	}
	handle {
		` + guest("site", c.site) + `
	}`)
}

// TestAManifestNamesNothingOfOthers has each manifest judged that a guest may send.
func TestAManifestNamesNothingOfOthers(t *testing.T) {
	tests := []struct {
		guest, options, manifest string
		want                     string // in the error; empty if it is taken
	}{
		// At the root, hrefs are private, or where the operator says.
		{"site", "", `{"services": {"x": {"href": "/__invite__/x{?y}"}, "y": {"href": "__invite__"}}}`, ""},
		{"site", "", `{"services": {"x": {"href": "/api/x"}}}`, `the href of service "x": "/api/x" is neither under the path of the invite, /__invite__/, nor under a path that hrefs in wsgi_party_guest lists: correct it, or have the operator write ` + "`service x POST /api/x`"},
		{"site", "", `{"services": {"x": [{"answer": 1}, {"href": "/admin/shutdown"}]}}`, `"/admin/shutdown" is neither`},
		{"site", "", `{"services": {"x": {"href": "/shop/admin/delete{?id}"}}}`, "`service x GET /shop/admin/delete{?id}`"},
		{"site", "", `{"services": {"x": {"href": "/{x}/y"}}}`, `"/" is neither`},
		{"site", "", `{"services": {"x": {"href": "/__invite__x"}}}`, "is neither"},
		{"site", "", `{"services": {"x": {"href": "/__INVITE__/x"}}}`, "is neither"},
		{"site", "hrefs /api /caf%C3%A9/", `{"services": {"x": {"href": "/api/x"}, "y": {"href": "/api{?y}"}, "z": {"href": "/café/{z}"}, "p": {"href": "/__invite__/p"}}}`, ""},
		{"site", "hrefs /api", `{"services": {"x": {"href": "/apis/x"}}}`, "is neither"},
		{"site", "hrefs /api", `{"services": {"x": {"href": "/api{x}"}}}`, `"/" is neither`},
		{"site", "hrefs /", `{"services": {"x": {"href": "/shop/cart"}}}`, `"/shop/cart" is under /shop, which is guest "shop"'s`},
		{"site", "hrefs /", `{"services": {"x": {"href": "/SHOP;v=1/%61dmin/"}}}`, `is under /shop, which is guest "shop"'s`},
		{"site", "hrefs /", `{"services": {"x": {"href": "/s%2568op"}}}`, `is under /shop, which`},
		{"site", "hrefs /", `{"services": {"x": {"href": "/shopping"}, "y": {"href": "/{y}"}}}`, ""},

		// Its pages are where nobody else's are.
		{"site", "", `{"urls": {"a": "/", "b": "/{slug}", "c": "/shopping/{x}", "d": "/wik{i}"}}`, ""},
		{"site", "", `{"urls": {"cart": "/shop/cart"}}`, `url "cart": "/shop/cart" is under /shop, which is guest "shop"'s: correct it, or have the operator write ` + "`url cart /shop/cart`"},
		{"site", "", `{"urls": {"cart": "/shop{?x}"}}`, `is under /shop,`},
		{"site", "", `{"urls": {"wiki": "wiki/{page}"}}`, `is under /wiki,`},
		{"site", "", `{"services": {"url": {"answer": "/shop/cart?x"}}}`, `the answer of service "url": "/shop/cart" is under /shop,`},
		{"site", "", `{"services": {"url": {"answer": "/about"}}}`, ""},

		// What is not taken is not judged.
		{"site", "allow ping", `{"urls": {"cart": "/shop/cart"}, "services": {"ping": {"answer": 1}, "x": {"href": "/shop"}}}`, ""},
		{"site", "url cart /shop/cart\nservice x /shop/x", `{"urls": {"cart": "/shop"}, "services": {"x": {"href": "/shop/y"}}}`, ""},
		// A constant link may be absolute.
		{"site", "", `{"services": {"url": {"answer": "http://example.com/about"}}}`, ""},
		{"site", "", `{"services": {"url": {"answer": "http://example.com/shop/cart"}}}`, `"/shop/cart" is under /shop, which is guest "shop"'s`},
		{"site", "", `{"services": {"url": {"answer": "http://example.com/SHOP?x"}}}`, "is under /shop,"},
		{"shop", "", `{"services": {"url": {"answer": "http://example.com/shop/cart"}}}`, ""},
		{"shop", "", `{"services": {"url": {"answer": "http://example.com/about"}}}`, `"/about" is not under /shop`},
		{"shop", "", `{"services": {"url": {"answer": "http://example.com/shop/admin/users"}}}`, "is under /shop/admin,"},

		// A base counts whether it is stripped or not.
		{"wiki", "", `{"urls": {"page": "/wiki/{page}", "home": "wiki"}, "services": {"x": {"href": "/wiki/api"}, "y": {"href": "/wiki{?y}"}}}`, ""},
		{"wiki", "", `{"urls": {"page": "/{page}"}}`, `url "page": "/" is not under /wiki, which comes before __invite__ in the path of the guest's invite; if the application's own paths do not begin with that, write ` + "`handle_path /wiki/*` instead of `handle`, which leaves it in the path: correct it"},
		{"wiki", "", `{"urls": {"page": "/Wiki/{page}"}}`, "is not under /wiki"},
		{"wiki", "", `{"urls": {"page": "/wiki{x}"}}`, "is not under /wiki"},
		{"wiki", "", `{"services": {"x": {"href": "/admin/shutdown"}}}`, `the href of service "x": "/admin/shutdown" is not under /wiki`},
		{"wiki", "hrefs /", `{"services": {"x": {"href": "/admin/shutdown"}}}`, "is not under /wiki"},
		{"shop", "", `{"urls": {"cart": "/cart", "home": "/"}, "services": {"x": {"href": "/api/{x}"}}}`, ""},
		{"shop", "", `{"urls": {"users": "/admin/users"}}`, `"/shop/admin/users" is under /shop/admin, which is guest "admin"'s`},
		{"shop", "", `{"services": {"x": {"href": "/admin"}}}`, `"/shop/admin" is under /shop/admin,`},
		{"shop", "", `{"services": {"url": {"answer": "/cart"}}}`, ""},
		{"shop", "", `{"services": {"url": {"answer": "/shop/cart"}}}`, ""},
		{"shop", "", `{"services": {"url": {"answer": "/shop/admin/users"}}}`, `"/shop/admin/users" is under /shop/admin,`},
		{"shop", "", `{"services": {"url": {"answer": "/shop/Admin;x/users"}}}`, `is under /shop/admin,`},
		{"admin", "", `{"urls": {"users": "/users"}, "services": {"x": {"href": "/admin/"}}}`, ""},
	}
	c := newBasesTest(t)
	for _, test := range tests {
		t.Run(strings.TrimSpace(fmt.Sprint(test.guest, " ", test.options, " ", test.manifest)), func(t *testing.T) {
			c.party = partytest.FreshParty() // nothing is kept of this one
			for name, b := range map[string]*testbackend.Backend{"site": c.site, "wiki": c.wiki, "shop": c.shop, "admin": c.admin} {
				b.On("", manifestOf(`{}`))
				if name == test.guest {
					b.On("", manifestOf(test.manifest))
				}
			}
			c.origin = ""
			if strings.Contains(test.manifest, "http:") {
				c.origin = "http://example.com"
			}
			c.start(map[string]string{test.guest: test.options})
			var info wsgiparty.InviteInfo
			partytest.Eventually(t, "it is judged", func() bool { info = invitesOf(t, c.party, false)[test.guest]; return info.Status == 200 })
			if test.want == "" {
				check.Nil(t, info.Err)
			} else {
				check.Fails(t, info.Err, test.want)
			}
		})
	}
}

// TestForgedHrefsReachNobody asks with all that could lead a template to another guest,
// past a password that knows guests by their names.
func TestForgedHrefsReachNobody(t *testing.T) {
	c := newBasesTest(t)
	c.site.On("/__invite__/", manifestOf(`{
		"urls": {"page": "/{x}", "deep": "/{x}/{y}", "list": "/x{/x*}", "split": "/sh{x}"},
		"services": {
			"one": {"href": "/{x}"}, "two": {"href": "/{x}/{y}", "method": "POST"}, "list": {"href": "/api{/x*}"}, "split": {"href": "/sho{x}/admin/delete{?id}"}, "dot": {"href": "/shop{.x}"},
			"fine": {"href": "/api/{x}"}
		}}`))
	for _, b := range []*testbackend.Backend{c.shop, c.admin} {
		b.On("/__invite__/", manifestOf(`{}`))
	}
	c.wiki.On("/wiki/__invite__/", manifestOf(`{}`))
	c.start(map[string]string{"site": "hrefs /"})
	c.await("one", "fine", "url")
	ctx := context.Background()
	operator := operatorOf(c, c.party)
	for _, x := range []string{"shop", "SHOP", "Shop", "s%68op", "s%2568op", "shop;a", "shop.", "shop ", "shop?", "shop#", "shop\x00", "wiki", "shop/admin", "shop?x=/"} {
		for service, payload := range map[string]map[string]any{
			"one": {"x": x}, "two": {"x": x, "y": "admin"}, "split": {"x": strings.TrimPrefix(strings.ToLower(x), "sho"), "id": 1},
		} {
			if service == "split" && !strings.HasPrefix(strings.ToLower(x), "sho") {
				continue
			}
			answers, err := operator.AskAround(ctx, service, payload)
			check.ErrorIf(t, err == nil || len(answers) > 0, "%s with %q: %v, %v", service, payload, answers, err)
		}
		for name, values := range map[string]map[string]any{"page": {"x": x}, "deep": {"x": x, "y": "admin"}, "split": {"x": strings.TrimPrefix(strings.ToLower(x), "sh")}} {
			if name == "split" && !strings.HasPrefix(strings.ToLower(x), "sh") {
				continue
			}
			link, err := wsgiparty.URLFor(ctx, operator, name, values)
			check.ErrorIf(t, err == nil, "the link for %s with %q is %s", name, values, link)
		}
	}
	for _, x := range []any{"shopping", "a", "sho", "wikis", "shop-x"} {
		c.expectAsk("one", map[string]any{"x": x}, "1")
		check.Value(wsgiparty.URLFor(ctx, operator, "page", map[string]any{"x": x}))(t)
	}
	c.expectAsk("list", map[string]any{"x": []any{"shop", "admin"}}, "1")
	c.expectAsk("fine", map[string]any{"x": "shop"}, "1")
	for name, b := range map[string]*testbackend.Backend{"wiki": c.wiki, "shop": c.shop, "admin": c.admin} {
		for _, r := range b.Requests("") {
			check.ErrorIf(t, !strings.HasSuffix(r.URI, "/__invite__/"), "%s was sent %s %s", name, r.Method, r.URI)
		}
	}
}

// TestWhatIsDeclaredMayLeadAnywhere: it is the operator's word.
func TestWhatIsDeclaredMayLeadAnywhere(t *testing.T) {
	c := newBasesTest(t)
	c.site.On("/__invite__/", manifestOf(`{"services": {"x": {"href": "/__invite__/x"}}}`))
	c.start(map[string]string{"site": "url cart /shop/{x}\nservice health GET /healthz"})
	c.await("x")
	c.expectAsk("health", nil, "1")
	check.Equal(t, check.Value(wsgiparty.URLFor(context.Background(), operatorOf(c, c.party), "cart", map[string]any{"x": "cart"}))(t), "/shop/cart")
}

// TestAPasswordLetsThroughOneGuestsAsks has another guest's come to the same path.
func TestAPasswordLetsThroughOneGuestsAsks(t *testing.T) {
	c := newBasesTest(t)
	c.shop.On("/__invite__/", manifestOf(`{"services": {"own": {"href": "/own"}}}`))
	var passed []string
	partytest.App(t, "past", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		passed = append(passed, fmt.Sprint(caddyhttp.GetVar(r.Context(), "partyline"), " ", r.URL.Path))
		return next.ServeHTTP(w, r)
	})
	c.load(`
	invite /__invite__/ as site
	invite /shop/__invite__/
	handle_path /shop/* {
		@people not vars partyline shop
		basic_auth @people {
			u $2a$14$ANZXnjQ6Fc3b.6WqRKZAsu/0Vv4LnLYrHG6vYsLsp0E/bXjLQNJpy
		}
		wsgi_party_guest
		test_app past
		reverse_proxy ` + c.shop.Upstream() + `
	}
	handle {
		wsgi_party_guest {
			service evil /shop/delete
		}
		reverse_proxy ` + c.site.Upstream() + `
	}`)
	c.await("own", "evil")
	c.expectAsk("own", nil, "1")
	answer, err := c.ask("evil", nil)
	check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), "401"), "%s, %v", answer, err)
	status, _ := c.Get("/shop/own")
	check.ErrorIf(t, status != 401, "people get %d", status)
	for _, p := range passed {
		check.ErrorIf(t, !strings.HasPrefix(p, "shop "), "past the password: %s", p)
	}
	check.Equal(t, len(c.shop.Requests("/delete")), 0, "requests")
}

// TestGuestsOfOtherServersHaveTheirBases has a guest's server set up before or after
// the other's: Caddy does so in any order.
func TestGuestsOfOtherServersHaveTheirBases(t *testing.T) {
	shop := func(party, uri string) string {
		return testport.Address(t) + " {\nwsgi_party " + party + " {\ninvite " + uri + " as shop\nhandle_path /shop/* {\nwsgi_party_guest {\nanswer ping 1\n}\n}\n}\n}\n"
	}
	c, b := newBlogTest(t)
	for _, test := range []struct {
		site, shop string
		taken      bool
	}{
		{"/__invite__/", "/shop/__invite__/", false},
		{"https://a.example/__invite__/", "/shop/__invite__/", false},
		{"https://a.example/__invite__/", "http://A.example/shop/__invite__/", false},
		{"https://a.example/__invite__/", "https://b.example/shop/__invite__/", true},
	} {
		for range 4 {
			c.party = partytest.FreshParty()
			b.On("/__invite__/", manifestOf(`{"urls": {"cart": "/shop/cart"}, "services": {"here": {"answer": 1}}}`))
			config := "ADDRESS {\nwsgi_party " + c.party + " {\ninvite " + test.site + " as site\nwsgi_party_guest\nreverse_proxy " + b.Upstream() + "\n}\n}\n"
			c.Caddy.Load(config + shop(c.party, test.shop))
			var entries []partytest.Entry
			partytest.Eventually(t, "the manifest is judged", func() bool {
				entries = slices.DeleteFunc(partytest.InvitesLogged(t, "site"), func(e partytest.Entry) bool { return e["party"] != c.party })
				return len(entries) > 0
			})
			check.Equal(t, entries[len(entries)-1]["msg"] == "guest joined", test.taken, "%s beside %s: %v", test.site, test.shop, entries)
		}
	}
}

// TestALastGoodManifestMakesWayForANewGuest loads a config with a guest where another
// one's pages were.
func TestALastGoodManifestMakesWayForANewGuest(t *testing.T) {
	httpguest.Waits{Apart: time.Millisecond}.Set(t)
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"cart": "/shop/{x}", "home": "/"}}`, "Cache-Control", "max-age=3600"))
	site := "invite /__invite__/ as site\nhandle {\nwsgi_party_guest\nreverse_proxy " + b.Upstream() + "\n}\n"
	c.load(site)
	c.await("url")
	cart := func() string {
		link, _ := wsgiparty.URLFor(context.Background(), operatorOf(c, c.party), "cart", map[string]any{"x": "cart"})
		return link
	}
	check.Equal(t, cart(), "/shop/cart")
	c.load("invite /shop/__invite__/\nhandle_path /shop/* {\nwsgi_party_guest {\nurl cart /cart/{x}\n}\n}\n" + site)
	check.Equal(t, cart(), "/shop/cart/cart")
	partytest.Eventually(t, "it is said", func() bool {
		return strings.Contains(fmt.Sprint(partytest.LogEntries(t, "invite failed")), `is under /shop, which is guest "shop"'s`)
	})
	c.load(site)
	partytest.Eventually(t, "it is taken again", func() bool { return cart() == "/shop/cart" })
}

func TestLookingWhoseALinkIsAllocatesNothing(t *testing.T) {
	c := newBasesTest(t)
	c.start(nil)
	v := applicationOf(t, "site")
	for _, other := range []string{"/wiki/x", "/shop/x", "/shop/admin/x"} {
		check.Fails(t, v.CheckPage("post", other), "which is guest")
	}
	if n := testing.AllocsPerRun(100, func() {
		check.Nil(t, v.CheckPage("post", "/posts/hello-world.html?page=2"))
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHrefsThatDoNothingAreTold(t *testing.T) {
	c := newBasesTest(t)
	c.start(map[string]string{"shop": "hrefs /api", "site": "hrefs /api"})
	entries := partytest.LogEntries(t, "hrefs has no effect: this guest's hrefs lie under what comes before __invite__ in the path of its invite")
	check.ErrorIf(t, len(entries) != 1 || entries[0]["guest"] != "shop", "%v", entries)
}

// TestABaseWithoutInviteSegmentIsToldAsThat has an invite that leads to no __invite__.
func TestABaseWithoutInviteSegmentIsToldAsThat(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/manifest/", manifestOf(`{"services": {"x": {"href": "/api/x"}}}`))
	c.load(strings.Replace(blogAt(b), "/__invite__/", "/manifest/ as blog", 1))
	partytest.Eventually(t, "it is told", func() bool { return len(partytest.InvitesLogged(t, "blog")) > 0 })
	const want = `"/blog/api/x" is not under /blog/manifest, which comes before the last slash in the path of the guest's invite`
	check.Has(t, fmt.Sprint(partytest.InvitesLogged(t, "blog")[0]["error"]), want)
}
