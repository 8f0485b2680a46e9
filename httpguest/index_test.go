// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// repliesTo returns who was asked, in order, and what each replied.
func (c *guestTest) repliesTo(service string, payload any) string {
	var replies []string
	for r := range operatorOf(c, c.party).Replies(c.Context(), service, payload) {
		reply := r.Guest + " " + joinAnswers([]any{r.Answer})
		switch {
		case r.Err == wsgiparty.ErrHighAndDry:
			reply = r.Guest + " declines"
		case r.Err != nil:
			reply = r.Guest + " fails"
		}
		replies = append(replies, reply)
	}
	return strings.Join(replies, ", ")
}

// TestOnlyWhoHasAPageIsAskedForItsLink has pages in manifests and in the Caddyfile, and guests that
// are asked for every page.
func TestOnlyWhoHasAPageIsAskedForItsLink(t *testing.T) {
	c := newGuestTest(t)
	blog := partytest.NewApplication(t, `{"urls": {"home": "/", "post": "/{id}", "shop:cart": "/not-ours"}}`, nil)
	shop := partytest.NewApplication(t, `{"urls": {"home": "/", "cart": "/cart", "shop:sale": "/sale"}}`, nil)
	wiki := partytest.NewApplication(t, `{"urls": {"page": "/{id}"}, "services": {"url": {"href": "/link"}}}`, partytest.JSON(`"/late"`))
	old := partytest.NewApplication(t, "", nil)
	c.load("invite /blog/__invite__/ /shop/__invite__/ /wiki/__invite__/ /old/__invite__/\n" +
		partytest.Mounted("blog", "", blog) + partytest.Mounted("shop", "", shop) + partytest.Mounted("wiki", "hrefs /link", wiki) +
		partytest.Mounted("old", "url shop:cart /old-cart\nurl home /", old))
	partytest.Eventually(t, "all have joined", func() bool { return len(c.partyline().Services()["url"]) == 4 })
	page := func(name string) any { return wsgiparty.URLRequest{Name: name} }
	want := func(payload any, replies string) {
		t.Helper()
		for range 2 {
			check.Equal(t, c.repliesTo("url", payload), replies, "asked for %v", payload)
		}
	}
	const everywhere = "blog /blog/, shop /shop/, wiki /wiki/late, old /old/"
	want(page("home"), everywhere)
	want(&wsgiparty.URLRequest{Name: "home"}, everywhere)
	want(json.RawMessage(`{"name": "home"}`), everywhere)
	want(map[string]any{"name": "home", "kwargs": map[string]any{"a": 1}}, everywhere)
	want([]any{"home", nil}, everywhere)
	want([]any{"home", map[string]any{}}, everywhere)
	want(page("cart"), "shop /shop/cart, wiki /wiki/late")
	want(page("post"), "blog declines, wiki /wiki/late") // without an id
	want(page("page"), "wiki declines, wiki /wiki/late")
	want(page("nobody's"), "wiki /wiki/late")
	want(page("blog:home"), "blog /blog/")
	want(page("wiki:home"), "wiki /wiki/late")
	want(page("shop:sale"), "shop /shop/sale")
	want(page("shop:cart"), "shop /shop/cart, old /old/old-cart") // the operator's word, not that of blog
	want(page("blog:shop:cart"), "blog /blog/not-ours")
	want(page("shop:nobody's"), "")
	want(page("nobody:home"), "wiki /wiki/late")
	want(page("home:"), "wiki /wiki/late")
	want(7, "blog fails, shop fails, wiki fails, wiki /wiki/late, old fails")
	want([]any{"home"}, "blog fails, shop fails, wiki fails, wiki /wiki/late, old fails")
	want([]any{"cart", 7}, "blog fails, shop fails, wiki fails, wiki /wiki/late, old fails")
	want(map[string]any{"name": "cart", "values": 7}, "blog fails, shop fails, wiki fails, wiki /wiki/late, old fails")
}

// TestANewManifestIsFoundByItsPages changes which pages an application has while it is asked for them.
func TestANewManifestIsFoundByItsPages(t *testing.T) {
	c := newGuestTest(t)
	blog := partytest.NewApplication(t, `{"urls": {"home": "/", "post": "/post"}}`, nil)
	shop := partytest.NewApplication(t, `{"urls": {"cart": "/cart"}}`, nil)
	c.load("invite /blog/__invite__/ /shop/__invite__/\n" + partytest.Mounted("blog", "", blog) + partytest.Mounted("shop", "", shop))
	partytest.Eventually(t, "both have joined", func() bool { return len(c.partyline().Services()["url"]) == 2 })
	c.expectLink("post", "/blog/post")
	c.expectLink("sale", "")
	shop.OnInvite(partytest.Manifest(`{"urls": {"sale": "/sale", "post": "/post"}}`))
	applicationOf(t, "shop").FetchSoon()
	partytest.Eventually(t, "the new manifest counts", func() bool {
		c.expectLink("home", "/blog/")
		c.expectLink("post", "/blog/post")
		return c.repliesTo("url", wsgiparty.URLRequest{Name: "sale"}) == "shop /shop/sale"
	})
	c.expectLink("cart", "")
	check.Equal(t, c.repliesTo("url", wsgiparty.URLRequest{Name: "post"}), "blog /blog/post, shop /shop/post")
}

// TestOnlyWhoHasAHostIsAskedForIt has hosts in manifests, in the Caddyfile, and a guest that has all.
func TestOnlyWhoHasAHostIsAskedForIt(t *testing.T) {
	c := newGuestTest(t)
	blog := partytest.NewApplication(t, `{"hosts": ["blog.example.com", "*.blogs.example"]}`, nil)
	shop := partytest.NewApplication(t, `{"hosts": ["shop.example.com", "a.blogs.example"]}`, nil)
	old := partytest.NewApplication(t, "", nil)
	site := c.inParty("invite /blog/__invite__/ /shop/__invite__/ /old/__invite__/ /all/__invite__/\n" + partytest.Mounted("blog", "", blog) + partytest.Mounted("shop", "", shop) +
		partytest.Mounted("old", "host old.example.com *.example.com", old) + partytest.Mounted("all", "answer hosts true", old))
	c.Caddy.Load(strings.Replace(site, "ADDRESS", "http://"+c.Address[strings.LastIndexByte(c.Address, ':'):], 1)) // which has every host
	partytest.Eventually(t, "all have joined", func() bool { return len(c.partyline().Services()["hosts"]) == 4 })
	for host, want := range map[string]string{
		"blog.example.com":  "blog true, old true, all true",
		"a.blogs.example":   "blog true, shop true, all true",
		"b.blogs.example":   "blog true, all true",
		"a.b.blogs.example": "all true",
		"blogs.example":     "all true",
		"old.example.com":   "old true, all true",
		"":                  "all true",
	} {
		check.Equal(t, c.repliesTo("hosts", host), want, host)
		check.Equal(t, c.repliesTo("hosts", json.RawMessage(fmt.Sprintf("%q", host))), want, host)
	}
	check.Equal(t, c.repliesTo("hosts", 7), "blog fails, shop fails, old fails, all fails")
}
