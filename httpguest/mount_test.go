// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
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
		invite, directives string
		mount              string // with the party's prefix
		prefix             string // of the party
	}{
		"handle_path":         {"/blog/__invite__/", "handle_path /blog/* {\n" + guest + "}", "/blog", ""},
		"strip_prefix":        {"/blog/__invite__/", "handle /blog/* {\nuri strip_prefix /blog\n" + guest + "}", "/blog", ""},
		"two levels":          {"/a/b/__invite__/", "handle_path /a/* {\nhandle_path /b/* {\n" + guest + "}\n}", "/a/b", ""},
		"part of it stripped": {"/a/b/__invite__/", "handle_path /a/* {\n" + guest + "}", "/a", ""},
		"nothing stripped":    {"/blog/__invite__/", "handle {\n" + guest + "}", "", ""},
		"another path":        {"/blog/join", "handle_path /blog/* {\n" + guest + "}", "/blog", ""},
		"letters":             {"/caf%C3%A9/__invite__/", "handle {\nuri strip_prefix /caf%C3%A9\n" + guest + "}", "/caf%C3%A9", ""},
		"space":               {"/a%20b/__invite__/", "handle_path \"/a b/*\" {\n" + guest + "}", "/a%20b", ""},
		"prefix":              {"/blog/__invite__/", "prefix /apps\nhandle_path /blog/* {\n" + guest + "}", "/apps/blog", "/apps"},
		"prefix of letters":   {"/__invite__/", "prefix /é\nhandle {\n" + guest + "}", "/%C3%A9", "/%C3%A9"},
	} {
		t.Run(name, func(t *testing.T) {
			c, b := newBlogTest(t) // one after another's reload may still answer as before
			b.On("", ofType("text/plain", "page"))
			directives := "invite " + test.invite + " as guest\n" + test.directives
			config := c.inParty(directives)
			if test.prefix != "" {
				config = "ADDRESS {\nroute {\nuri strip_prefix " + test.prefix + "\nwsgi_party " + c.party + " {\n" + directives + "\n}\n}\n}"
			}
			c.Caddy.Load(strings.ReplaceAll(config, "UPSTREAM", b.Upstream()))
			link := check.Value(wsgiparty.URLFor(t.Context(), operatorOf(c, c.party), "page", map[string]any{"id": 1}))(t)
			check.Equal(t, link, test.mount+"/page/1", "the link")
			c.Do("GET", link, "", http.Header{"X-Forwarded-Prefix": {"/evil"}, "X_forwarded.prefix": {"/evil"}, "Party-Token": {"forged"}})
			seen := b.Requests("")
			check.FatalIf(t, len(seen) != 1 || seen[0].URI != "/page/1", "the link leads to %v", seen)
			want := reservedSeen{Prefix: []string{test.mount}}
			if test.mount == "" {
				want.Prefix = nil
			}
			check.Deep(t, reservedIn(seen[0].Header), want)
		})
	}
}

// TestTheOrigin invites by URL and by path.
func TestTheOrigin(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/who", jsonOf("true"))
	b.On("/link", jsonOf(`"/below?a=b"`))
	for invite, test := range map[string]struct{ origin, host, proto string }{
		"/blog/__invite__/":                          {"", "localhost", "http"},
		"https://example.com/blog/__invite__/":       {"https://example.com", "example.com", "https"},
		"http://EXAMPLE.com/blog/__invite__/":        {"http://example.com", "EXAMPLE.com", "http"},
		"https://example.com:443/blog/__invite__/":   {"https://example.com", "example.com:443", "https"},
		"https://[2001:db8::1]:8443/blog/__invite__": {"https://[2001:db8::1]:8443", "[2001:db8::1]:8443", "https"},
	} {
		c.load(strings.Replace(blogAt(b, "url page /page", "service who /who", "service url /link"), "/blog/__invite__/", invite, 1))
		before := len(b.Requests(""))
		c.expectAsk("who", nil, "true")
		c.expectAsk("url", wsgiparty.URLRequest{Name: "page"}, test.origin+"/blog/page "+test.origin+"/blog/below?a=b")
		c.expectLink("page", test.origin+"/blog/page")
		for _, r := range b.Requests("")[before:] {
			check.Equal(t, r.Host+" "+r.Header.Get("X-Forwarded-Proto"), test.host+" "+test.proto, "%s: the application is asked as", invite)
		}
	}
}

// TestTwoGuestsShareOneMount has them in front of one application, each with a key.
func TestTwoGuestsShareOneMount(t *testing.T) {
	const other = "fedcba9876543210fedcba9876543210"
	t.Setenv("TEST_GUEST_KEY", testGuestKey)
	t.Setenv("TEST_OTHER_KEY", other)
	c, b := newBlogTest(t)
	b.On("/__invite__/one", manifestOf(`{"urls": {"home": "/one"}, "services": {"who": {"href": "/who/one"}}}`))
	b.On("/__invite__/two", manifestOf(`{"urls": {"home": "/two"}, "services": {"who": {"href": "/who/two"}}}`))
	b.On("/who/one", jsonOf("1"))
	b.On("/who/two", jsonOf("2"))
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

// TestWhatIsDeclaredWinsOverTheManifest merges them, name by name.
func TestWhatIsDeclaredWinsOverTheManifest(t *testing.T) {
	c, b := newBlogTest(t)
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

// TestOnlyItsOwnApplicationAnswersForAGuest has hrefs lead to other routes, and to pages and
// private paths of another guest.
func TestOnlyItsOwnApplicationAnswersForAGuest(t *testing.T) {
	t.Setenv("TEST_GUEST_KEY", testGuestKey)
	c, b := newBlogTest(t)
	root := testbackend.Start(t, "")
	b.On("", jsonOf("1"))
	root.On("", jsonOf("2"))
	c.load(`
	@misled {
		path /misled/*
		header Accept application/vnd.wsgi-party+json
	}
	handle @misled {
		header Content-Type application/vnd.wsgi-party+json
		respond "{}"
	}
	handle /blog/static {
		header Content-Type application/json
		respond 3
	}
	handle_path /blog/taken {
		reverse_proxy ` + root.Upstream() + `
	}
	` + blogAt(b, "service own /own", "service taken /taken", "service static /static") + guestAt("misled", b) + `
	invite /__invite__/ as root
	handle {
		wsgi_party_guest {
			key {env.TEST_GUEST_KEY}
			service own     /own
			service into    /blog/own
			service private /blog/__invite__/own
			service case    /blog/%5F_INVITE__/{x}
		}
		reverse_proxy ` + root.Upstream() + `
	}`)
	for _, service := range []string{"taken", "static", "into", "private", "case"} {
		for range httpguest.BreakerFailures + 1 {
			c.expectFailure(service, map[string]any{"x": "own"}, wsgiparty.ErrMisrouted.Error())
		}
	}
	check.ErrorIf(t, len(b.Requests("")) != len(b.Requests("/own")), "the guest's private paths are asked for: %v", b.Requests(""))
	for _, r := range b.Requests("/own") {
		check.ErrorIf(t, r.Header["Party-Token"] != nil || r.Header["X-Forwarded-Prefix"] != nil, "another guest's application is sent %v", r.Header)
	}
	c.expectAsk("own", nil, "1 2")
	partytest.Eventually(t, "the invite is told as misrouted", func() bool {
		entries := partytest.InvitesLogged(t, "misled")
		return len(entries) == 1 && entries[0]["error"] == wsgiparty.ErrMisrouted.Error() && strings.Contains(fmt.Sprint(entries[0]["hint"]), "another route answers at this path")
	})
}

// TestTokensNameThePathAsSent, also below a prefix that is escaped.
func TestTokensNameThePathAsSent(t *testing.T) {
	key := partytest.Key(t, "a")
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	a := partytest.NewApplication(t, "", partytest.JSON("1"))
	c.Site("handle_path /my%20apps/* {\nwsgi_party " + party + " {\nprefix \"/my apps\"\ninvite /a/__invite__/\n" + partytest.Mounted("a", "key {env.a_PARTY_KEY}\nservice own /own{?q}\nservice post /own", a) + "}\n}")
	for _, service := range []string{"own", "post"} {
		check.Equal(t, len(c.Answered(party, service, map[string]any{"q": "ä /"})), 1, service)
	}
	for _, r := range a.Requests() {
		got, err := partytest.Token(r, "a", partytest.Keys(t, key))
		check.ErrorIf(t, err != nil || got.Mount != "/my%20apps/a" || !strings.HasPrefix(got.URI, "/my%20apps/a/own"), "%s: %+v, %v", r.RequestURI, got, err)
	}
}

func TestAGuestBehindARewriteHasNotJoined(t *testing.T) {
	c := partytest.NewCaddy(t)
	refused := func(party, seen string) {
		t.Helper()
		expectTold(c, party, mistake{"ADDRESS {\nwsgi_party main {\ninvite /blog/__invite__/\n" + party + "\n}\nrespond up\n}", "invite failed",
			[]string{"guest:blog", "/blog/__invite__/", "as " + seen, "mount is unknown", "`route { … }`", "handle_path", "uri strip_prefix"}})
		check.Equal(t, len(partytest.LogEntries(t, noInvite)), 0, "%s: it is told twice", party)
		check.Equal(t, len(operatorOf(c, "main").Partyline().Guests()), 0, party)
		c.ExpectSoon("/", 200, "up")
	}
	refused("rewrite /blog/* /index.php\nroute {\nwsgi_party_guest\n}", "/index.php")
	refused("rewrite /blog/* /weblog{uri}\nhandle /weblog/* {\nwsgi_party_guest\n}", "/weblog/blog/__invite__/")
	root := t.TempDir()
	check.Must(t, os.WriteFile(filepath.Join(root, "index.html"), nil, 0o600))
	refused("handle /blog/* {\nroot "+filepath.ToSlash(root)+"\ntry_files {path} /index.html\nhandle {\nwsgi_party_guest\n}\n}", "/index.html")
	refused("uri /blog/* replace blog weblog\nhandle {\nwsgi_party_guest\n}", "/weblog/__invite__/")
	refused("uri /blog/* strip_suffix /\nhandle {\nwsgi_party_guest\n}", "/blog/__invite__")
	for _, fine := range []string{
		"handle {\nwsgi_party_guest {\nurl home /\n}\n}", "handle_path /blog/* {\nwsgi_party_guest {\nurl home /\n}\n}",
		"route {\nuri strip_prefix /blog\nwsgi_party_guest {\nurl home /\n}\ntry_files {path} /index.html\n}",
	} {
		c.Site("wsgi_party main {\ninvite /blog/__invite__/\n" + fine + "\n}")
		mount := "/blog"
		if strings.HasPrefix(fine, "handle {") {
			mount = ""
		}
		check.Equal(t, check.Value(wsgiparty.URLFor(t.Context(), operatorOf(c, "main"), "home", nil))(t), mount+"/", fine)
	}
}
