// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package gather_test

import (
	"context"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestALinksetHasOrigins(t *testing.T) {
	g := newGuests(t)
	g.on("one", raw(`{"linkset": [{"anchor": "/one/api", "service-desc": [{"href": "/one/openapi.json", "type": "application/json"}]}]}`))
	g.on("two", raw(`{"anchor": "https://other.example/", "item": [{"href": "urn:isbn:1"}, {"href": "relative"}]}`))
	g.on("three", raw(`[{"item": []}, {}]`))
	g.on("text", "no")
	g.on("member", raw(`{"item": {"href": "/"}}`))
	g.on("script", raw(`{"item": [{"href": "JavaScript:alert(1)"}]}`))
	g.on("none", raw(`{"item": [{"type": "a/b"}]}`))
	g.serve("as linkset\nabsent note\ntype `application/linkset+json; profile=\"https://www.rfc-editor.org/info/rfc9727\"`", "one", "two", "three", "text", "member", "script", "none")
	r := g.doc()
	at := "http://" + g.Address
	check.Equal(t, r.Body, `{"linkset":[{"anchor":"`+at+`/one/api","service-desc":[{"href":"`+at+`/one/openapi.json","type":"application/json"}]},{"anchor":"https://other.example/","item":[{"href":"urn:isbn:1"},{"href":"relative"}]},{"item":[]},{}]}`)
	check.Equal(t, r.Header.Get("Content-Type"), `application/linkset+json; profile="https://www.rfc-editor.org/info/rfc9727"`)
	check.Equal(t, r.Header.Get("Party-Absent"), "text, member, script, none")
}

// TestASitemapIndexIsOfThePagesCalledSitemap has it ask everybody for one.
func TestASitemapIndexIsOfThePagesCalledSitemap(t *testing.T) {
	g := newGuests(t)
	page := func(_ context.Context, payload any) (any, error) {
		return "/one/sitemap.xml?a=1&b=" + payload.(map[string]any)["name"].(string), nil
	}
	g.on("one", page)
	g.on("two", []string{"/two/a.xml", "/two/b.xml"})
	g.on("elsewhere", "https://evil.example/sitemap.xml")
	g.on("markup", `/x"><loc></sitemap>`)
	g.on("script", "javascript:alert(1)")
	g.on("number", 7)
	g.serve("as sitemapindex\npayload `{\"name\": \"sitemap\"}`\nabsent note", "one", "two", "elsewhere", "markup", "script", "number")
	r := g.doc()
	at := "http://" + g.Address
	check.Equal(t, r.Body, `<?xml version="1.0" encoding="UTF-8"?>
<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
<sitemap><loc>`+at+`/one/sitemap.xml?a=1&amp;b=sitemap</loc></sitemap>
<sitemap><loc>`+at+`/two/a.xml</loc></sitemap>
<sitemap><loc>`+at+`/two/b.xml</loc></sitemap>
<sitemap><loc>`+at+`/x&#34;&gt;&lt;loc&gt;&lt;/sitemap&gt;</loc></sitemap>
</sitemapindex>
`)
	check.Equal(t, r.Header.Get("Content-Type"), "application/xml; charset=utf-8")
	check.Equal(t, r.Header.Get("Party-Absent"), "elsewhere, script, number")
	check.Equal(t, xml.Unmarshal([]byte(r.Body), new(struct{})), nil)
}

func TestOPML(t *testing.T) {
	g := newGuests(t)
	g.on("one", raw(`{"text": "Blog <&> \"posts\"", "type": "rss", "xmlUrl": "/one/feed", "outline": [{"text": "in\nside", "htmlUrl": "/one/"}]}`))
	g.on("two", "/two/atom.xml")
	g.on("script", raw(`{"text": "x", "htmlUrl": "javascript:alert(1)"}`))
	g.on("attribute", raw(`{"text": "x", "a=\"b\" c": "y"}`))
	g.on("deep", raw(`{"text": "x", "outline": [{"text": 1}]}`))
	g.on("xmlns", raw(`{"text": "x", "xmlns": "y"}`))
	g.on("case", raw(`{"text": "x", "XMLURL": "javascript:alert(1)"}`))
	g.serve("as opml\nabsent note", "one", "two", "script", "attribute", "deep", "xmlns", "case")
	r := g.doc()
	at := "http://" + g.Address
	check.Equal(t, r.Body, `<?xml version="1.0" encoding="UTF-8"?>
<opml version="2.0">
<head><title>`+g.party+`</title></head>
<body>
<outline text="Blog &lt;&amp;&gt; &#34;posts&#34;" type="rss" xmlUrl="`+at+`/one/feed">
<outline text="in&#xA;side" htmlUrl="`+at+`/one/"/>
</outline>
<outline text="two" type="rss" xmlUrl="`+at+`/two/atom.xml"/>
</body>
</opml>
`)
	check.Equal(t, r.Header.Get("Content-Type"), "text/x-opml; charset=utf-8")
	check.Equal(t, r.Header.Get("Party-Absent"), "script, attribute, deep, xmlns, case")
}

func TestLinksArePutUnderTheMount(t *testing.T) {
	g := newGuests(t)
	g.on("one", raw(`[{"href": "posts/1", "title": "/not", "in": [{"href": "/posts?a=/..#b"}, {"icon": ["/a.png", "/one/b.png", ""]}]}, {"href": {"href": "/x/"}, "icon": null}]`))
	g.Site(strings.Replace(g.config("rebase href icon", "one"), "{\n", "{\nprefix /apps\n", 1))
	g.expect(`[[{"href":"/apps/one/posts/1","in":[{"href":"/apps/one/posts?a=/..#b"},{"icon":["/apps/one/a.png","/apps/one/one/b.png","/apps/one/"]}],"title":"/not"},{"href":{"href":"/apps/one/x/"},"icon":null}]]`)
	g.Site(strings.Replace(g.config("rebase href icon", "one"), "invite /one/", "invite https://Office.example:443/one/", 1))
	g.expect(`[[{"href":"https://office.example/one/posts/1","in":[{"href":"https://office.example/one/posts?a=/..#b"},{"icon":["https://office.example/one/a.png","https://office.example/one/b.png","https://office.example/one/"]}],"title":"/not"},{"href":{"href":"https://office.example/one/x/"},"icon":null}]]`)
}

// TestLinksCannotLeaveTheMount has each guest try it in another way.
func TestLinksCannotLeaveTheMount(t *testing.T) {
	for _, url := range []string{
		"javascript:alert(1)", "JAVASCRIPT:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "data:text/html,x", "mailto:a@b", "https://evil.example/", "//evil.example/", `/\evil.example/`, `\\evil.example`,
		"../two/", "/../two/", "a/../../two", "/%2e%2e/two", "/%2E./two", "/.%252e/two", "/%25252e%25252e/two", "/..;/two", "/..;x=1/two", "/%5c..%5ctwo", "/..%2ftwo", "/a%2f..%2f..%2ftwo",
		"http:two", "http:/two", "https://user@evil.example", "/a b", "/a\tb", "/%zz", "/%252525252e%252525252e/",
	} {
		g := newGuests(t)
		g.on("one", map[string]any{"list": []any{map[string]any{"href": []any{url}}}})
		g.serve("rebase href\nabsent note", "one")
		r := g.doc()
		check.Equal(t, r.Body+r.Header.Get("Party-Absent"), "[]one", url)
	}
	for url, want := range map[string]string{"///evil.example/": "", "/a//evil.example": "/one/a/evil.example", "/a;b/...": "/one/a;b/...", "?x=javascript:": "/one/?x=javascript:", "/oneX": "/one/oneX", "/one": "/one", "/%C3%A9": "/one/%C3%A9", "/é": "/one/%C3%A9"} {
		g := newGuests(t)
		g.on("one", map[string]any{"href": url})
		g.serve("rebase href", "one")
		if want != "" {
			want = `{"href":"` + want + `"}`
		}
		g.expect("[" + want + "]")
	}
}

// TestLinksAreFoundByTheirPath has agents answer with cards that name their provider, which is elsewhere.
func TestLinksAreFoundByTheirPath(t *testing.T) {
	g := newGuests(t)
	const provider = `"provider": {"url": "https://provider.example/"}`
	g.on("one", raw(`{"url": "/a2a", `+provider+`, "interfaces": [{"url": "/rpc"}, {"url": ["/x", "y"], "in": {"url": "/not"}}], "in": {"interfaces": [{"url": "/not"}]}}`))
	g.on("two", raw(`[{"url": "/list", "interfaces": {"url": {"url": "/deeper", "href": "/h"}}}]`))
	g.on("evil", raw(`{"interfaces": [[{"url": "javascript:alert(1)"}]]}`))
	g.serve("rebase .url .interfaces.url href\nabsent note", "one", "two", "evil")
	g.expect(`[{"in":{"interfaces":[{"url":"/not"}]},"interfaces":[{"url":"/one/rpc"},{"in":{"url":"/not"},"url":["/one/x","/one/y"]}],"provider":{"url":"https://provider.example/"},"url":"/one/a2a"},` +
		`[{"interfaces":{"url":{"href":"/two/h","url":"/deeper"}},"url":"/two/list"}]]`)
	check.Equal(t, g.doc().Header.Get("Party-Absent"), "evil")
	partytest.ResetLog()
	g.serve("rebase url\nabsent note", "one")
	check.Equal(t, g.doc().Header.Get("Party-Absent"), "one")
	check.Has(t, partytest.LogEntries(t, "guest failed")[0]["error"].(string), `"https://provider.example/" does not lead to the guest`, "`rebase .url`")
}

// TestANameOfManyMembersIsNoBomb has an answer in which each of many members has a long path.
func TestANameOfManyMembersIsNoBomb(t *testing.T) {
	g := newGuests(t)
	const depth = 40
	name := strings.Repeat("x", 10<<10)
	g.on("one", raw(strings.Repeat(`{"`+name+`":`, depth)+"["+strings.Repeat(`{"a":"/x"},`, 40_000)+"0]"+strings.Repeat("}", depth)))
	g.serve("rebase .a.b "+strings.Repeat("."+name, 3), "one")
	check.Equal(t, g.doc().Status, 200)
}
