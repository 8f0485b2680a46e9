// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// hostileValues would lead out of a mount, or do worse, where they came into a URL as
// they are.
var hostileValues = []string{
	"..", "../..", "../evil", "/../evil", "..\\evil", "\\\\evil", "//evil", "///evil", "/evil", "%2e%2e", "%2e%2e%2fevil", "%252e%252e/evil", "%2f%2fevil",
	"\u2e2e", "\u2e2e/evil", "..;/evil", "..;x", ".", "", "a\r\nEvil: 1", "\r\n\r\nGET /evil HTTP/1.1", "a\nb", "a\x00b", "a\u0085b", "a\u2028b", "?evil", "#evil", "a b", "{evil}",
	"javascript:alert(1)", "http://evil/", "@evil", "x:y", "a/b", "\xff",
}

// TestHostileValuesStayBelowTheMount has them in all places of the templates of pages and
// hrefs.
func TestHostileValuesStayBelowTheMount(t *testing.T) {
	c := newGuestTest(t)
	a, other := partytest.NewApplication(t, "", partytest.JSON("1")), partytest.NewApplication(t, "", nil)
	services := []string{"in-path", "in-list", "in-query"}
	c.load("invite http://" + c.Address + "/a/__invite__/ as a\n" + partytest.Mounted("a", `
		service in-path  /api/{v}
		service in-list  /api{/v*}
		service in-query /api{?v}
		timeout 5s
		url path  /p/{v}
		url label /p/x{.v}
		url list  /p{/v*}
		url semi  /p{;v}
		url query /p{?v}
		url hash  /p#{v}
		url at    /{v}
		url bare  {v}`, a) + "reverse_proxy " + other.Address())
	links := 0
	for _, value := range hostileValues {
		for _, v := range []any{value, []any{value, value}, []any{"x", value}, map[string]any{value: value}} {
			for _, service := range services {
				_, _ = c.ask(service, map[string]any{"v": v})
			}
			for _, page := range []string{"path", "label", "list", "semi", "query", "hash", "at", "bare"} {
				if link, err := wsgiparty.URLFor(t.Context(), operatorOf(c, c.party), page, map[string]any{"v": v}); err == nil {
					links++
					checkBelow(t, link, "http://"+c.Address+"/a/")
				}
			}
		}
	}
	check.ErrorIf(t, links < 100 || len(a.Requests()) < 50, "only %d links were made, and %d asks", links, len(a.Requests()))
	for _, r := range a.Requests() {
		check.ErrorIf(t, !strings.HasPrefix(r.RequestURI, "/api/") && !strings.HasPrefix(r.RequestURI, "/api?") || r.Header.Get("Evil") != "", "the application was asked %s %s", r.Method, r.RequestURI)
		checkBelow(t, r.RequestURI, "/api")
	}
	check.Equal(t, len(other.Requests()), 0, "requests of another application")
}

// checkBelow fails the test unless the link begins with base, and leads nowhere else however
// often what follows is unescaped.
func checkBelow(t *testing.T, link, base string) {
	t.Helper()
	below, ok := strings.CutPrefix(link, base)
	check.ErrorIf(t, !ok || strings.ContainsFunc(link, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }), "%q", link)
	below, _, _ = strings.Cut(below, "?")
	below, _, _ = strings.Cut(below, "#")
	for range 3 {
		for _, segment := range strings.FieldsFunc(below, func(r rune) bool { return r == '/' || r == '\\' }) {
			segment, _, _ = strings.Cut(segment, ";")
			check.ErrorIf(t, segment == ".." || segment == ".", "%q climbs", link)
		}
		check.ErrorIf(t, strings.HasPrefix(below, "/") && strings.HasSuffix(base, "/") || strings.Contains(below, "//"), "%q has an empty segment", link)
		if unescaped, err := url.PathUnescape(below); err == nil {
			below = unescaped
		}
	}
}

// hostileLinks are no answers to the service url: neither of an application, whose are
// relative to its mount, nor of anybody else.
var hostileLinks = []string{
	"javascript:alert(1)", "JavaScript:alert(1)", "java\tscript:alert(1)", " javascript:alert(1)", "data:text/html,x", "//evil", "///evil", "/\\evil", "\\\\evil", "/\t/evil", "http://evil/", "https://evil/",
	"/a\r\nb", "/../evil\r\n", "http:evil", "",
}

// TestURLAnswersThatLeadElsewhereAreRefused has them come from an application, from what is
// declared, and from a Go guest.
func TestURLAnswersThatLeadElsewhereAreRefused(t *testing.T) {
	c := newGuestTest(t)
	var link, module atomic.Value // the latter the Go guest's, which declines for "-"
	partytest.GuestWith(t, "module", map[string]wsgiparty.Handler{"url": func(context.Context, any) (any, error) {
		if text := module.Load(); text != "-" {
			return text, nil
		}
		return nil, wsgiparty.ErrHighAndDry
	}})
	quoted := func(text string) string { return string(check.Value(json.Marshal(text))(t)) }
	a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) { partytest.JSON(quoted(link.Load().(string)))(w, r) })
	constants := ""
	for _, hostile := range hostileLinks {
		constants += "answer url `" + quoted(hostile) + "`\n"
	}
	partytest.TemplateApp(t)
	c.load("invite /a/__invite__/ /constant/__invite__/ /module/__invite__/\nhandle /module/* {\ntest_app module\n}\n" + partytest.Pages +
		partytest.Mounted("a", "service url /api/url", a) + partytest.Mounted("constant", constants, a))
	for _, hostile := range append([]string{"/../evil", "/%2e%2e/evil", "x/../../evil", "mailto:a@b"}, hostileLinks...) {
		link.Store(hostile)
		module.Store("-")
		answers, err := c.ask("url", wsgiparty.URLRequest{Name: "home"})
		check.ErrorIf(t, err == nil || answers != "", "%q: an application's is the answer %q", hostile, answers)
		if slices.Contains(hostileLinks, hostile) {
			module.Store(hostile)
		}
		got, err := wsgiparty.URLFor(t.Context(), operatorOf(c, c.party), "home", nil)
		check.ErrorIf(t, err == nil, "%q: URLFor gives %q", hostile, got)
		status, body := c.Get(partytest.Page(`{{urlFor "home"}}`))
		check.ErrorIf(t, status != 500 || body != "", "%q: the page is %d %q", hostile, status, body)
	}
	link.Store("/home")
	module.Store("-")
	c.expectLink("home", "/a/home")
}

// TestAGuestsURLs asks for pages in the ways there are.
func TestAGuestsURLs(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/links", jsonOf(`"/by/service"`))
	b.On("/evil", jsonOf(`"//evil.example/"`))
	b.On("/up", jsonOf(`"/../up"`))
	b.On("/object", jsonOf(`{}`))
	c.load(blogAt(b, "url post /posts/{slug}", "url search /search{?q,page}", "url blog:both /whole", "url both /part", "url a:b /ab"))
	request := func(name string, pairs ...any) wsgiparty.URLRequest {
		values := make(map[string]any)
		for i := 0; i < len(pairs); i += 2 {
			values[pairs[i].(string)] = pairs[i+1]
		}
		return wsgiparty.URLRequest{Name: name, Values: values}
	}
	for _, test := range []struct {
		payload any
		want    string // empty if it declines
	}{
		{request("post", "slug", "a b"), "/blog/posts/a%20b"},
		{request("post", "slug", 7, "more", 1), "/blog/posts/7"},
		{wsgiparty.URLRequest{Name: "post", Values: nil}, ""},
		{request("post", "slug", nil), ""},
		{request("blog:post", "slug", "x"), "/blog/posts/x"},
		{request("shop:post", "slug", "x"), ""},
		{request("post:post", "slug", "x"), ""},
		{request("blog:blog:post", "slug", "x"), ""},
		{wsgiparty.URLRequest{Name: "blog:", Values: nil}, ""},
		{wsgiparty.URLRequest{Name: "blog:both", Values: nil}, "/blog/whole"},
		{wsgiparty.URLRequest{Name: "both", Values: nil}, "/blog/part"},
		{wsgiparty.URLRequest{Name: "a:b", Values: nil}, "/blog/ab"},
		{wsgiparty.URLRequest{Name: "blog:a:b", Values: nil}, "/blog/ab"},
		{wsgiparty.URLRequest{Name: "search", Values: nil}, "/blog/search"},
		{request("search", "q", "ü", "page", json.Number("12345678901234567890")), "/blog/search?q=%C3%BC&page=12345678901234567890"},
		{wsgiparty.URLRequest{Name: "nothing", Values: nil}, ""},
		{wsgiparty.URLRequest{Name: "", Values: nil}, ""},
		{[]any{"post", map[string]any{"slug": "x"}}, "/blog/posts/x"},
		{map[string]any{"name": "post", "kwargs": map[string]any{"slug": "x"}}, "/blog/posts/x"},
		{json.RawMessage(`{"name": "post", "values": {"slug": 12345678901234567890}}`), "/blog/posts/12345678901234567890"},
	} {
		c.expectAsk("url", test.payload, test.want)
	}
	check.Equal(t, len(b.Requests("")), 0, "a link needs a request")
	for href, want := range map[string]string{"/links": "/blog/by/service", "/evil": "", "/up": "", "/object": ""} {
		c.load(blogAt(b, "service url "+href))
		got, err := c.ask("url", wsgiparty.URLRequest{Name: "x"})
		check.ErrorIf(t, got != want || (err == nil) != (want != ""), "%s: %q %v, want %q", href, got, err, want)
	}
}

// TestTheOrderOfURLsIsThatOfTheInvites has the first guest answer last.
func TestTheOrderOfURLsIsThatOfTheInvites(t *testing.T) {
	c, b := newBlogTest(t)
	held := manifestOf(`{"urls": {"home": "/one/"}}`)
	held.Hold = true
	b.On("/one/__invite__/", held)
	b.On("/two/__invite__/", manifestOf(`{"urls": {"home": "/two/"}}`))
	c.load(unstripped(guestAt("one", b)+guestAt("two", b)) + guestAt("three", b, "url home /"))
	order := func(want string) {
		t.Helper()
		partytest.Eventually(t, "asked are "+want, func() bool { return fmt.Sprint(c.partyline().Services()["url"]) == want })
	}
	order("[two three]")
	c.expectLink("home", "/two/")
	awaitRequests(t, b, "/one/__invite__/", 1)
	b.Release()
	order("[one two three]")
}

// TestAPageOfAGuestIsAskedOfThatGuestAlone has others declare, connect and answer for
// everything.
func TestAPageOfAGuestIsAskedOfThatGuestAlone(t *testing.T) {
	c := partytest.NewCaddy(t)
	greedy := partytest.NewApplication(t, `{"services": {"url": {"href": "/__invite__/url"}}}`, partytest.JSON(`"/stolen"`))
	site := partytest.NewApplication(t, `{"urls": {"polls:index": "/polls/", "polls:detail": "/polls/{id}", "home": "/"}}`, nil)
	polls := partytest.NewApplication(t, `{"urls": {"index": "/", "about": "/about"}}`, nil)
	liar := partytest.NewApplication(t, `{"urls": {"polls:index": "/lie", "polls:secret": "/lie", "silent:page": "/lie", "free:page": "/free"}, "services": {"url": [{"answer": "/lie"}]}}`, nil)
	silent := partytest.NewApplication(t, "", partytest.Status(503))
	c.Site("wsgi_party main {\ninvite /greedy/__invite__/ /liar/__invite__/ /site/__invite__/ /polls/__invite__/ /silent/__invite__/ /operator/__invite__/\n" +
		partytest.Mounted("greedy", "", greedy) + partytest.Mounted("liar", "", liar) + partytest.Mounted("site", "", site) +
		partytest.Mounted("polls", "", polls) + partytest.Mounted("silent", "", silent) + partytest.Mounted("operator", "url polls:moved /moved", silent) + "}")
	c.Connected("main", "url", "greedy", "liar", "operator", "polls", "site")
	operator := operatorOf(c, "main")
	partytest.Connect(t, operator.Partyline().Operator("module"), wsgiparty.URLService, partytest.Answers("/module"))
	ask := func(o *wsgiparty.Operator, payload any, want string) {
		t.Helper()
		got, err := wsgiparty.First[string](t.Context(), o, wsgiparty.URLService, payload)
		check.ErrorIf(t, got != want || want != "" && err != nil || want == "" && err != wsgiparty.ErrHighAndDry, "%v (%[1]T): %q, %v; want %q", payload, got, err, want)
	}
	for name, want := range map[string]string{
		"polls:index":       "/polls/",
		"polls:about":       "/polls/about",
		"site:polls:index":  "/site/polls/",
		"site:polls:detail": "/site/polls/7",
		"polls:moved":       "/operator/moved", // the operator's word
		"free:page":         "/greedy/stolen",  // no guest's: everybody may answer
		"home":              "/greedy/stolen",
	} {
		ask(operator, wsgiparty.URLRequest{Name: name, Values: map[string]any{"id": 7}}, want)
		ask(operator, map[string]any{"name": name, "values": map[string]any{"id": 7}}, want)
		ask(operator, []any{name, map[string]any{"id": 7}}, want)
		ask(operator, json.RawMessage(fmt.Sprintf(`{"name": %q, "kwargs": {"id": 7}}`, name)), want)
	}
	for _, name := range []string{"polls:secret", "polls:unknown", "silent:page", "site:unknown"} {
		ask(operator, wsgiparty.URLRequest{Name: name}, "")
	}
	// A guest does not ask itself, and nobody else is asked for its pages.
	ask(operator.Partyline().Operator("polls"), wsgiparty.URLRequest{Name: "polls:about"}, "")
	for _, r := range greedy.Requests() {
		var body struct{ Name string }
		err := json.NewDecoder(r.Body).Decode(&body)
		check.ErrorIf(t, err == nil && strings.HasPrefix(body.Name, "polls:"), "greedy is asked for %s", body.Name)
	}
	const message = "pages have the same names as those of another guest"
	partytest.Eventually(t, "a line in the log", func() bool { return len(partytest.LogEntries(t, message)) == 2 })
	for _, e := range partytest.LogEntries(t, message) {
		check.Has(t, fmt.Sprint(e["hint"]), fmt.Sprintf("%s:polls:", e["guest"]))
	}
}

// TestALinkMadeOfALinkHasItsMountOnce has guests answer for URLs with what they got by
// asking for another page, and with URLs that a framework made which knows the mount.
func TestALinkMadeOfALinkHasItsMountOnce(t *testing.T) {
	c := partytest.NewCaddy(t)
	links := map[string]string{
		"new":        "/new-page?x=1",
		"mounted":    "/apps/GUEST/archive/",
		"mount":      "/apps/GUEST",
		"near":       "/apps/GUESTs/archive/",
		"out":        "/apps/GUEST/../../admin",
		"elsewhere":  "https://evil.example/", // which nobody gave out
		"origin":     "https://shop.example/apps/GUEST/cart",
		"origin-out": "https://shop.example/apps/GUEST/%2e%2e/cart",
	}
	serve := func(a *partytest.Application, r *http.Request, _ string) partytest.Reply {
		var payload wsgiparty.URLRequest
		if err := json.NewDecoder(r.Body).Decode(&payload); err != nil {
			return partytest.Answer(500, err.Error())
		}
		_, page, _ := strings.Cut(payload.Name, ":")
		if link, ok := links[page]; ok {
			return partytest.Answer(200, strings.ReplaceAll(link, "GUEST", a.Name))
		}
		other, ok := strings.CutPrefix(page, "old-")
		if !ok {
			return partytest.Answer(204, nil)
		}
		response, err := c.TryAsk(r.Context(), partytest.Asking{Key: a.Key, Path: "/url?first", Body: fmt.Sprintf(`{"name": %q}`, strings.ReplaceAll(other, ".", ":")), Header: http.Header{"Party-Token": r.Header["Party-Token"]}})
		var got struct{ Answers []string }
		if err != nil || json.Unmarshal([]byte(response.Body), &got) != nil || len(got.Answers) != 1 {
			return partytest.Answer(500, response.Body)
		}
		return partytest.Answer(200, got.Answers[0])
	}
	one, two, shop := c.NewGuest("one", serve), c.NewGuest("two", serve), c.NewGuest("shop", serve)
	c.Around("prefix /apps\n" + one.Directives("url") + two.Directives("url") +
		strings.Replace(shop.Directives("url"), "invite /shop/", "invite https://shop.example/shop/", 1))
	for name, want := range map[string]string{
		"one:new":                       "/apps/one/new-page?x=1",
		"one:old-two.new":               "/apps/two/new-page?x=1",
		"one:old-two.old-one.new":       "", // one asks already
		"one:old-two.old-shop.new":      "https://shop.example/apps/shop/new-page?x=1",
		"two:old-shop.origin":           "https://shop.example/apps/shop/cart",
		"one:mounted":                   "/apps/one/archive/",
		"one:mount":                     "/apps/one",
		"one:near":                      "/apps/one/apps/ones/archive/",
		"shop:mounted":                  "https://shop.example/apps/shop/archive/",
		"shop:origin":                   "https://shop.example/apps/shop/cart",
		"one:out":                       "",
		"one:elsewhere":                 "",
		"one:origin":                    "",
		"shop:origin-out":               "",
		"one:old-two.elsewhere":         "",
		"two:old-one.old-shop.mounted":  "https://shop.example/apps/shop/archive/",
		"shop:old-one.mounted":          "/apps/one/archive/",
		"shop:old-one.old-two.new":      "/apps/two/new-page?x=1",
		"shop:old-one.old-two.near":     "/apps/two/apps/twos/archive/",
		"shop:old-one.old-two.not-here": "",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := wsgiparty.URLFor(t.Context(), operatorOf(c, "main"), name, nil)
			check.ErrorIf(t, got != want || (err == nil) != (want != ""), "%s: %q, %v; want %q", name, got, err, want)
		})
	}
}
