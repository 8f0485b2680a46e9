// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

// TestTheMount has an application mounted in all ways. The link to its page leads
// there, and it is told where it is.
func TestTheMount(t *testing.T) {
	const guest = "wsgi_party_guest {\nurl page /page/{id}\n}\nreverse_proxy UPSTREAM\n"
	for name, test := range map[string]struct {
		invite     string
		directives string
		link       string
		seen       string // by the application
		mount      string
		prefix     string // of the party
	}{
		"handle_path":  {"/blog/__invite__/", "handle_path /blog/* {\n" + guest + "}", "/blog/page/1", "/page/1", "/blog", ""},
		"strip_prefix": {"/blog/__invite__/", "handle /blog/* {\nuri strip_prefix /blog\n" + guest + "}", "/blog/page/1", "/page/1", "/blog", ""},
		"two levels": {"/a/b/__invite__/", "handle_path /a/* {\nhandle_path /b/* {\n" + guest + "}\n}",
			"/a/b/page/1", "/page/1", "/a/b", ""},
		"part of it stripped": {"/a/b/__invite__/", "handle_path /a/* {\n" + guest + "}",
			"/a/page/1", "/page/1", "/a", ""},
		"nothing stripped":  {"/blog/__invite__/", "handle {\n" + guest + "}", "/page/1", "/page/1", "", ""},
		"another path":      {"/blog/join", "handle_path /blog/* {\n" + guest + "}", "/blog/page/1", "/page/1", "/blog", ""},
		"letters":           {"/caf%C3%A9/__invite__/", "handle {\nuri strip_prefix /caf%C3%A9\n" + guest + "}", "/caf%C3%A9/page/1", "/page/1", "/caf%C3%A9", ""},
		"space":             {"/a%20b/__invite__/", "handle_path \"/a b/*\" {\n" + guest + "}", "/a%20b/page/1", "/page/1", "/a%20b", ""},
		"prefix":            {"/blog/__invite__/", "prefix /apps\nhandle_path /blog/* {\n" + guest + "}", "/apps/blog/page/1", "/page/1", "/apps/blog", "/apps"},
		"prefix of letters": {"/__invite__/", "prefix /é\nhandle {\n" + guest + "}", "/%C3%A9/page/1", "/page/1", "/%C3%A9", "/%C3%A9"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newGuestTest(t) // one after another's reload may still answer as before
			b := testbackend.Start(t, "")
			b.On("", ofType("text/plain", "page"))
			directives := "invite " + test.invite + " as guest\n" + test.directives
			config := c.inParty(directives)
			if test.prefix != "" {
				config = "ADDRESS {\nroute {\nuri strip_prefix " + test.prefix + "\nwsgi_party " + c.party + " {\n" + directives + "\n}\n}\n}"
			}
			c.Caddy.Load(strings.ReplaceAll(config, "UPSTREAM", b.Upstream()))
			link, err := wsgiparty.URLFor(context.Background(), operatorOf(c, c.party), "page", map[string]any{"id": 1})
			check.FatalIf(t, err != nil || link != test.link, "the link is %q %v, want %s", link, err, test.link)
			r := check.Value(http.NewRequest("GET", "http://"+c.Address+link, nil))(t)
			r.Header = http.Header{"X-Forwarded-Prefix": {"/evil"}, "X_forwarded.prefix": {"/evil"}, "Party-Token": {"forged"}}
			response := check.Value(http.DefaultClient.Do(r))(t)
			response.Body.Close()
			seen := b.Requests("")
			check.FatalIf(t, len(seen) != 1 || seen[0].URI != test.seen, "the link leads to %v", seen)
			want := []string{test.mount}
			if test.mount == "" {
				want = nil
			}
			for name, values := range seen[0].Header {
				folded := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
				check.ErrorIf(t, folded == "party-token" || folded == "x-forwarded-prefix" && name != "X-Forwarded-Prefix", "%s is passed on: %q", name, values)
			}
			check.Slices(t, seen[0].Header["X-Forwarded-Prefix"], want, "X-Forwarded-Prefix")
		})
	}
}

// TestTheOrigin invites by URL and by path.
func TestTheOrigin(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/who", ofType("application/json", "true"))
	b.On("/link", ofType("application/json", `"/below?a=b"`))
	for invite, test := range map[string]struct{ origin, host, proto string }{
		"/blog/__invite__/":                          {"", "localhost", "http"},
		"https://example.com/blog/__invite__/":       {"https://example.com", "example.com", "https"},
		"http://EXAMPLE.com/blog/__invite__/":        {"http://example.com", "EXAMPLE.com", "http"},
		"https://example.com:443/blog/__invite__/":   {"https://example.com", "example.com:443", "https"},
		"https://[2001:db8::1]:8443/blog/__invite__": {"https://[2001:db8::1]:8443", "[2001:db8::1]:8443", "https"},
	} {
		config := blogAt(b, "url page /page", "service who /who", "service url /link")
		c.load(strings.Replace(config, "/blog/__invite__/", invite, 1))
		before := len(b.Requests(""))
		c.expectAsk("who", nil, "true")
		c.expectAsk("url", wsgiparty.URLRequest{Name: "page"}, test.origin+"/blog/page "+test.origin+"/blog/below?a=b")
		c.expectLink("page", test.origin+"/blog/page")
		for _, r := range b.Requests("")[before:] {
			if r.Host != test.host || r.Header.Get("X-Forwarded-Proto") != test.proto {
				t.Errorf("%s: the application is asked as %s with %s", invite, r.Host, r.Header.Get("X-Forwarded-Proto"))
			}
		}
	}
}

// TestTheOrderOfURLsIsThatOfTheInvites has the first guest answer last.
func TestTheOrderOfURLsIsThatOfTheInvites(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	held := manifestOf(`{"urls": {"home": "/one/"}}`)
	held.Hold = true
	b.On("/one/__invite__/", held)
	b.On("/two/__invite__/", manifestOf(`{"urls": {"home": "/two/"}}`))
	c.load(`
	invite /one/__invite__/ /two/__invite__/ /three/__invite__/
	handle /one/* {
		wsgi_party_guest
		reverse_proxy ` + b.Upstream() + `
	}
	handle /two/* {
		wsgi_party_guest
		reverse_proxy ` + b.Upstream() + `
	}
	handle_path /three/* {
		wsgi_party_guest {
			url home /
		}
	}`)
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

// TestWhatIsDeclaredWinsOverTheManifest merges them, name by name.
func TestWhatIsDeclaredWinsOverTheManifest(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/__invite__/", manifestOf(`{"urls": {"a": "/fetched-a", "b": "/fetched-b"},
		"services": {"one": {"answer": "fetched"}, "two": {"answer": "fetched"}, "three": {"answer": "fetched"}, "url": {"answer": "/by-service"}}}`))
	declared := []string{"url b /declared-b", "url c /declared-c", "answer two declared", "answer four declared"}
	fetched := func(options ...string) {
		t.Helper()
		before := len(b.Requests(""))
		c.load(blogAt(b, options...))
		awaitRequests(t, b, "/__invite__/", before+1)
		partytest.Eventually(t, "it has joined", func() bool {
			_, ok := httpguest.Remembered(c.party, "blog", "/blog/__invite__/")
			return ok
		})
	}
	services := func(want string) {
		t.Helper()
		check.Equal(t, fmt.Sprint(c.partyline().Services()), want, "services")
	}

	c.load(blogAt(b, declared...))
	services("map[four:[blog] two:[blog] url:[blog]]")
	time.Sleep(50 * time.Millisecond) // for what must not happen, in the background
	check.Equal(t, len(b.Requests("")), 0, "asked times though something is declared")

	fetched(append(declared, "fetch_manifest")...)
	services("map[four:[blog] one:[blog] three:[blog] two:[blog] url:[blog]]")
	c.expectAsk("two", nil, `"declared"`)
	c.expectAsk("three", nil, `"fetched"`)
	for name, want := range map[string]string{"a": "/blog/fetched-a", "b": "/blog/declared-b", "c": "/blog/declared-c"} {
		c.expectLink(name, want)
	}

	kept.Clear()
	fetched(append(declared, "fetch_manifest on", "allow one two", "allow other")...)
	services("map[four:[blog] one:[blog] two:[blog] url:[blog]]")
	c.expectAsk("two", nil, `"declared"`)
	c.expectLink("a", "")
	c.expectLink("c", "/blog/declared-c")

	// The last good manifest passes on as it was fetched.
	c.load(blogAt(b, "allow three url"))
	services("map[three:[blog] url:[blog]]")
	c.expectLink("a", "/blog/fetched-a")

	c.load(blogAt(b, "fetch_manifest off"))
	services("map[]")
}

func TestA404ToAnAskHasTheManifestAskedForAgain(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/__invite__/", manifestOf(`{"services": {"user": {"href": "/old"}}}`, "Cache-Control", "max-age=86400"),
		manifestOf(`{"services": {"user": {"href": "/new"}}}`))
	b.On("/new", ofType("application/json", "1"))
	b.On("/old", testbackend.Response{Status: 400}, testbackend.Response{Status: 500}, testbackend.Response{Status: 404})
	c.load(blogAt(b))
	c.await("user")
	for _, want := range []string{"status 400", "status 500"} {
		if _, err := c.ask("user", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Error(err)
		}
	}
	time.Sleep(1100 * time.Millisecond) // for what must not happen, in the background
	check.Equal(t, len(b.Requests("/__invite__/")), 1, "times that it is asked for")
	if _, err := c.ask("user", nil); err == nil || !strings.Contains(err.Error(), "status 404") {
		t.Error(err)
	}
	partytest.Eventually(t, "its new manifest counts", func() bool { answers, err := c.ask("user", nil); return answers == "1" && err == nil })
}

// TestAGuestsURLs asks for pages in the ways there are.
func TestAGuestsURLs(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/links", ofType("application/json", `"/by/service"`))
	b.On("/evil", ofType("application/json", `"//evil.example/"`))
	b.On("/up", ofType("application/json", `"/../up"`))
	b.On("/object", ofType("application/json", `{}`))
	c.load(blogAt(b, "url post /posts/{slug}", "url search /search{?q,page}", "url blog:both /whole", "url both /part", "url a:b /ab"))
	values := func(pairs ...any) map[string]any {
		m := make(map[string]any)
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
		return m
	}
	for _, test := range []struct {
		payload any
		want    string // empty if it declines
	}{
		{wsgiparty.URLRequest{Name: "post", Values: values("slug", "a b")}, "/blog/posts/a%20b"},
		{wsgiparty.URLRequest{Name: "post", Values: values("slug", 7, "more", 1)}, "/blog/posts/7"},
		{wsgiparty.URLRequest{Name: "post", Values: nil}, ""},
		{wsgiparty.URLRequest{Name: "post", Values: values("slug", nil)}, ""},
		{wsgiparty.URLRequest{Name: "blog:post", Values: values("slug", "x")}, "/blog/posts/x"},
		{wsgiparty.URLRequest{Name: "shop:post", Values: values("slug", "x")}, ""},
		{wsgiparty.URLRequest{Name: "post:post", Values: values("slug", "x")}, ""},
		{wsgiparty.URLRequest{Name: "blog:blog:post", Values: values("slug", "x")}, ""},
		{wsgiparty.URLRequest{Name: "blog:", Values: nil}, ""},
		{wsgiparty.URLRequest{Name: "blog:both", Values: nil}, "/blog/whole"},
		{wsgiparty.URLRequest{Name: "both", Values: nil}, "/blog/part"},
		{wsgiparty.URLRequest{Name: "a:b", Values: nil}, "/blog/ab"},
		{wsgiparty.URLRequest{Name: "blog:a:b", Values: nil}, "/blog/ab"},
		{wsgiparty.URLRequest{Name: "search", Values: nil}, "/blog/search"},
		{wsgiparty.URLRequest{Name: "search", Values: values("q", "ü", "page", json.Number("12345678901234567890"))}, "/blog/search?q=%C3%BC&page=12345678901234567890"},
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

// TestTwoGuestsShareOneMount has them in front of one application, each with a key.
func TestTwoGuestsShareOneMount(t *testing.T) {
	const other = "fedcba9876543210fedcba9876543210"
	t.Setenv("TEST_GUEST_KEY", testGuestKey)
	t.Setenv("TEST_OTHER_KEY", other)
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/__invite__/one", manifestOf(`{"urls": {"home": "/one"}, "services": {"who": {"href": "/who/one"}}}`))
	b.On("/__invite__/two", manifestOf(`{"urls": {"home": "/two"}, "services": {"who": {"href": "/who/two"}}}`))
	b.On("/who/one", ofType("application/json", "1"))
	b.On("/who/two", ofType("application/json", "2"))
	c.load(`
	invite /shared/__invite__/two as two
	invite /shared/__invite__/one as one
	handle_path /shared/* {
		wsgi_party_guest one {
			key {env.TEST_GUEST_KEY}
		}
		wsgi_party_guest two {
			key {env.TEST_OTHER_KEY}
		}
		reverse_proxy ` + b.Upstream() + `
	}`)
	partytest.Eventually(t, "both have joined", func() bool { return len(c.partyline().Services()["who"]) == 2 })
	c.expectAsk("url", wsgiparty.URLRequest{Name: "home"}, "/shared/two /shared/one")
	answers, err := c.ask("who", nil)
	check.ErrorIf(t, answers != "2 1" && answers != "1 2" || err != nil, "%s %v", answers, err)
	for guest, secret := range map[string]string{"one": testGuestKey, "two": other} {
		keys := check.Value(token.NewKeys([]string{secret}))(t)
		for _, path := range []string{"/__invite__/", "/who/"} {
			for _, r := range b.Requests(path + guest) {
				proof, err := keys.Verify(guest, r.Header.Get("Party-Token"), time.Now())
				check.ErrorIf(t, err != nil || proof.Guest != guest, "%s%s: %+v %v", path, guest, proof, err)
				check.Slices(t, r.Header["X-Forwarded-Prefix"], []string{"/shared"}, "X-Forwarded-Prefix")
			}
		}
	}
}

// TestAnAnswerOfAnotherRouteDoesNotCount has routes that take paths below a mount.
func TestAnAnswerOfAnotherRouteDoesNotCount(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	c.load(`
	invite /blog/__invite__/ /other/__invite__/
	@json path /blog/taken
	@manifest header Accept application/vnd.wsgi-party+json
	route {
		header @json Content-Type application/json
		respond @json 1
		header @manifest Content-Type application/vnd.wsgi-party+json
		respond @manifest "{}"
		handle_path /blog/* {
			wsgi_party_guest {
				service taken /taken
			}
			reverse_proxy ` + b.Upstream() + `
		}
		handle_path /other/* {
			wsgi_party_guest
			reverse_proxy ` + b.Upstream() + `
		}
	}`)
	for range httpguest.BreakerFailures + 1 {
		answers, err := c.ask("taken", nil)
		check.ErrorIf(t, answers != "" || !errors.Is(err, wsgiparty.ErrMisrouted), "%s %v", answers, err)
	}
	partytest.Eventually(t, "the invite is told as misrouted", func() bool {
		entries := partytest.InvitesLogged(t, "other")
		return len(entries) == 1 && entries[0]["error"] == wsgiparty.ErrMisrouted.Error() && strings.Contains(fmt.Sprint(entries[0]["hint"]), "another route answers at this path")
	})
	check.Equal(t, len(b.Requests("")), 0, "the application is sent requests")
}

// TestAnAnswerOfAnotherGuestDoesNotCount has a guest whose href leads into another's
// mount.
func TestAnAnswerOfAnotherGuestDoesNotCount(t *testing.T) {
	t.Setenv("TEST_GUEST_KEY", testGuestKey)
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/who", ofType("application/json", "1"))
	c.load(blogAt(b, "answer a b") + `
	invite /__invite__/
	handle {
		wsgi_party_guest {
			key {env.TEST_GUEST_KEY}
			service who /blog/who
		}
		reverse_proxy ` + b.Upstream() + `
	}`)
	answers, err := c.ask("who", nil)
	check.ErrorIf(t, answers != "" || !errors.Is(err, wsgiparty.ErrMisrouted), "%s %v", answers, err)
	for _, r := range b.Requests("") {
		check.ErrorIf(t, r.Header["Party-Token"] != nil || r.Header["X-Forwarded-Prefix"] != nil, "the other application is sent %v", r.Header)
	}
}
