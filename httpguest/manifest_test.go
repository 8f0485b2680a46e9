// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

// TestTheApplicationIsAskedForItsManifest looks at what it is sent.
func TestTheApplicationIsAskedForItsManifest(t *testing.T) {
	t.Setenv("TEST_GUEST_KEY", testGuestKey)
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"services": {"ping": {"answer": "pong"}}}`))
	c.load(`
	prefix /apps
	invite https://example.com/blog/__invite__/?a=b%20c
	invite /plain/__invite__/
	handle_path /blog/* {
		wsgi_party_guest {
			key {env.TEST_GUEST_KEY}
		}
		reverse_proxy ` + b.Upstream() + `
	}
	handle_path /plain/* {
		wsgi_party_guest
		reverse_proxy ` + b.Upstream() + `
	}`)
	awaitRequests(t, b, "/__invite__/", 2)
	partytest.Eventually(t, "both have joined", func() bool { return len(c.partyline().Services()["ping"]) == 2 })
	for _, r := range b.Requests("/__invite__/") {
		https := r.Host == "example.com"
		want := map[string]string{
			"Accept":             "application/vnd.wsgi-party+json",
			"Cache-Control":      "no-store",
			"X-Forwarded-Prefix": "/apps/plain",
			"X-Forwarded-Proto":  "http",
			"X-Forwarded-Host":   "localhost",
			"X-Forwarded-For":    "192.0.2.1",
		}
		uri := "/__invite__/"
		if https {
			uri += "?a=b%20c"
			want["X-Forwarded-Prefix"], want["X-Forwarded-Proto"], want["X-Forwarded-Host"] = "/apps/blog", "https", "example.com"
		}
		check.ErrorIf(t, r.Method != "GET" || r.URI != uri || r.Body != "", "%s %s %q, want a GET of %s", r.Method, r.URI, r.Body, uri)
		for name, value := range want {
			got := r.Header[name]
			check.ErrorIf(t, len(got) != 1 || got[0] != value, "%s: %s: %q, want %s", uri, name, got, value)
		}
		tokens := r.Header["Party-Token"]
		if !https {
			check.ErrorIf(t, tokens != nil, "a guest without a key is sent a token")
			continue
		}
		keys, err := token.NewKeys([]string{testGuestKey})
		check.FatalIf(t, err != nil || len(tokens) != 1, "%q %v", tokens, err)
		proof, err := keys.Verify("blog", tokens[0], time.Now())
		check.ErrorIf(t, err != nil || proof.Mount != "/apps/blog" || len(proof.Path) != 0 || !proof.IsFor("GET", "/apps/blog"+uri, nil) || !proof.IsFor("GET", uri, nil), "%+v %v", proof, err)
	}
}

// TestWhatTheApplicationAnswers has all it may answer its invite, what becomes of it,
// and when it is asked again.
func TestWhatTheApplicationAnswers(t *testing.T) {
	good := manifestOf(`{"services": {"SERVICE": {"answer": 1}}}`)
	status := func(status int) testbackend.Response { return testbackend.Response{Status: status} }
	redirect := func(status int) testbackend.Response {
		return testbackend.Response{Status: status, Header: map[string]string{"Location": "/there/"}}
	}
	retryLater := testbackend.Response{Status: 503, Header: map[string]string{"Retry-After": "3"}}
	const (
		joined  = wsgiparty.InviteJoined
		none    = wsgiparty.InviteNotAnswered
		refused = wsgiparty.InviteRefused
		failed  = wsgiparty.InviteFailed
	)
	tests := map[string]struct {
		response   testbackend.Response
		directives string // instead of the application
		asked      int    // how often the application is, which answers well the last time if that is not the first
		result     wsgiparty.InviteResult
		status     float64
		err        string
		hint       string
	}{
		"manifest":            {response: good, asked: 1, result: joined},
		"manifest-parameters": {response: ofType(`application/vnd.wsgi-party+json; charset="utf-8"`, good.Body), asked: 1, result: joined},

		"404":          {response: status(404), asked: 1, result: none, status: 404, hint: "the application has no manifest"},
		"405":          {response: status(405), asked: 1, result: none, status: 405, hint: "the application has no manifest"},
		"410":          {response: status(410), asked: 1, result: none, status: 410, hint: "the application has no manifest"},
		"501":          {response: status(501), asked: 1, result: none, status: 501, hint: "the application has no manifest"},
		"204":          {response: status(204), asked: 1, result: none, status: 204, hint: "the application has no manifest"},
		"html":         {response: ofType("text/html", "<!DOCTYPE html>"), asked: 1, result: none, status: 200, hint: "at /html/__invite__/, where it answers with text/html"},
		"plain-json":   {response: jsonOf(good.Body), asked: 1, result: none, status: 200, hint: "with its manifest, but as application/json: send it with `Content-Type: application/vnd.wsgi-party+json`"},
		"no-type":      {response: ofType("", good.Body), asked: 1, result: none, status: 200, hint: "as no media type: send it with"},
		"201":          {response: testbackend.Response{Status: 201, Body: good.Body, Header: good.Header}, asked: 1, result: none, status: 201, hint: "but with status 201: answer with 200"},
		"404-of-caddy": {directives: "error 404", result: none, status: 404, hint: "the application has no manifest"},
		"501-of-caddy": {directives: "error 501", result: none, status: 501, hint: "the application has no manifest"},

		"301":          {response: redirect(301), asked: 3, result: failed, status: 301, hint: "a redirect, to /there/, is not followed: invite the URI that it leads to"},
		"303":          {response: redirect(303), asked: 3, result: failed, status: 303, hint: "/there/"},
		"308":          {response: redirect(308), asked: 3, result: failed, status: 308, hint: "/there/"},
		"304":          {response: status(304), asked: 3, result: failed, status: 304},
		"400":          {response: status(400), asked: 3, result: refused, status: 400, hint: "does the application know the host of the invite? It was localhost"},
		"401":          {response: status(401), asked: 3, result: refused, status: 401, hint: "`not vars partyline "},
		"403":          {response: status(403), asked: 3, result: refused, status: 403, hint: "`not vars partyline "},
		"429":          {response: status(429), asked: 3, result: refused, status: 429, hint: "with status 429"},
		"500":          {response: status(500), asked: 3, result: failed, status: 500, hint: "the application answers GET /500/__invite__/ with status 500: its own log may say why; Caddy asks again in "},
		"503":          {response: retryLater, asked: 2, result: failed, status: 503},
		"401-of-caddy": {directives: "basic_auth {\nu " + password + "\n}\nreverse_proxy UPSTREAM", result: refused, status: 401, hint: "`not vars partyline "},
		"down":         {directives: "reverse_proxy NOWHERE", result: failed, status: 502, err: "connect", hint: "is the application running?"},
		"nothing":      {directives: "vars a b", result: failed, err: "answer nothing", hint: "write the one that leads to the application there"},
		"reset":        {response: testbackend.Response{Reset: true}, asked: 3, result: failed, status: 502, err: "reset"},
		"garbage":      {response: testbackend.Response{Raw: "SSH-2.0-OpenSSH_9.2\r\n"}, asked: 3, result: failed, status: 502, err: "malformed HTTP"},
		"cut":          {response: testbackend.Response{Body: good.Body, Header: good.Header, Cut: true}, asked: 3, result: failed, err: "the response broke off", hint: "in the middle of its answer to GET /cut/__invite__/"},
		"no-json":      {response: manifestOf("{"), asked: 3, result: failed, status: 200, err: "manifest: byte", hint: "correct the application's manifest"},
		"bad":          {response: manifestOf(`{"services": {"a": {"href": "https://evil/"}}}`), asked: 3, result: failed, status: 200, err: "services.a.href", hint: "correct the application's manifest"},
		"long":         {response: manifestOf(`{"more": "` + strings.Repeat("x", 64<<10) + `"}`), asked: 3, result: failed, status: 200, err: "write at most 65536"},
		"deep":         {response: manifestOf(`{"services": {"a": {"answer": ` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}}}`), asked: 3, result: failed, status: 200, err: "nested more than 64 levels deep"},
		"endless":      {response: testbackend.Response{Body: strings.Repeat(" ", 1<<12), Header: good.Header, Endless: true}, asked: 3, result: failed, err: "longer than 1048576 bytes"},
		"slow-header":  {response: testbackend.Response{Body: good.Body, Header: good.Header, Wait: 10 * time.Second}, asked: 2, result: failed, err: "it took longer than 5s"},
		"slow-body":    {response: testbackend.Response{Body: good.Body, Header: good.Header, Pause: 10 * time.Second}, asked: 2, result: failed, err: "it took longer than 5s"},
	}
	httpguest.Waits{Answered: time.Second, Denied: time.Hour, Broken: time.Second}.Set(t)
	c := newGuestTest(t)
	b := testbackend.Start(t, testport.Address(t))
	config, nowhere := "invite_timeout 5s\n", testport.Address(t)
	for name, test := range tests {
		response, good := test.response, good
		response.Body, good.Body = strings.ReplaceAll(response.Body, "SERVICE", name), strings.ReplaceAll(good.Body, "SERVICE", name)
		responses := []testbackend.Response{response}
		if test.asked > 1 {
			responses = append(slices.Repeat(responses, test.asked-1), good)
		}
		b.On("/"+name+"/__invite__/", responses...)
		directives := strings.NewReplacer("UPSTREAM", b.Upstream(), "NOWHERE", nowhere).Replace(cmp.Or(test.directives, "reverse_proxy UPSTREAM"))
		config += fmt.Sprintf("invite /%s/__invite__/\nhandle /%[1]s/* {\nwsgi_party_guest\n%s\n}\n", name, directives)
	}
	c.load(config)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wantEntries := min(max(test.asked, 1), 2)
			var entries []partytest.Entry
			partytest.Eventually(t, "it is logged", func() bool {
				entries = partytest.InvitesLogged(t, name)
				return len(entries) >= wantEntries
			})
			first, last := entries[0], entries[len(entries)-1]
			check.Equal(t, len(entries), wantEntries, "lines in the log")
			check.Equal(t, first["msg"], any(partytest.Message(test.result)), "in the log")
			if test.result != joined {
				check.Equal(t, first["status"], any(test.status), "the status")
			}
			check.ErrorIf(t, test.err == "" && first["error"] != nil, "the error is %v, want none", first["error"])
			check.Has(t, fmt.Sprint(first["error"]), test.err, "the error")
			check.Has(t, fmt.Sprint(first["hint"]), test.hint, "the hint")
			check.ErrorIf(t, test.asked > 1 && (last["msg"] != "guest joined" || fmt.Sprint(last["services"]) != "["+name+"]"), "in the end %v", last)
			requests := b.Requests("/" + name + "/__invite__/")
			check.Equal(t, len(requests), test.asked, "requests")
			for i := 1; i < len(requests); i++ {
				check.ErrorIf(t, requests[i].Began.Before(requests[i-1].Ended) && !strings.HasPrefix(name, "slow"), "it was asked while it was being asked")
				apart := requests[i].Began.Sub(requests[i-1].Began)
				check.ErrorIf(t, apart < 500*time.Millisecond || name == "503" && apart < 3*time.Second, "it was asked again after %v", apart)
			}
		})
	}
	check.Equal(t, len(b.Requests("/there/")), 0, "times that redirects are followed")
}

// TestAManifestIsAskedForAgainWhenItIsStale also reloads the config meanwhile.
func TestAManifestIsAskedForAgainWhenItIsStale(t *testing.T) {
	httpguest.Waits{Fresh: 2 * time.Second}.Set(t)
	c, b := newBlogTest(t)
	b.On("/blog/__invite__/", manifestOf(`{"urls": {"home": "/blog/"}}`, "ETag", `"1"`, "Cache-Control", "private, max-age=1"))
	b.On("/long/__invite__/", manifestOf(`{"urls": {"long": "/long/"}}`))
	config := unstripped(blogAt(b) + guestAt("long", b))
	c.load(config)
	partytest.Eventually(t, "both are links", func() bool { return len(c.partyline().Services()["url"]) == 2 })
	time.Sleep(200 * time.Millisecond)
	c.load(config)
	c.expectLink("home", "/blog/")
	requests := awaitRequests(t, b, "/blog/__invite__/", 2)
	apart := requests[1].Began.Sub(requests[0].Began)
	check.ErrorIf(t, apart < 1500*time.Millisecond, "it is asked for again after %v", apart)
	check.Slices(t, requests[0].Header["If-None-Match"], nil, "it is asked for with If-None-Match")
	check.Slices(t, requests[1].Header["If-None-Match"], []string{`"1"`}, "it is asked for again with If-None-Match")
	c.expectLink("home", "/blog/")
	check.Equal(t, len(b.Requests("/long/__invite__/")), 1, "times that one that is fresh for a minute is asked for")
	time.Sleep(50 * time.Millisecond) // for what must not happen, in the background
	check.Equal(t, len(partytest.InvitesLogged(t, "blog")), 2, "lines in the log, one for each config")
}

func checkOnceASecond(t *testing.T, b *testbackend.Backend) {
	t.Helper()
	requests := b.Requests("/__invite__/")
	for i := 1; i < len(requests); i++ {
		// Half a second may pass from when it is asked until it notices.
		apart := requests[i].Began.Sub(requests[i-1].Began)
		check.ErrorIf(t, apart < 500*time.Millisecond, "asked again after %v", apart)
		check.ErrorIf(t, requests[i].Began.Before(requests[i-1].Ended), "asked twice at a time")
	}
}

// TestTheManifestIsAskedForOnceASecond has an application that knows nothing of its
// own hrefs, so that each ask has its manifest asked for again.
func TestTheManifestIsAskedForOnceASecond(t *testing.T) {
	c, b := newBlogTest(t)
	slow := manifestOf(`{"services": {"gone": {"href": "/gone"}}}`)
	b.On("/__invite__/", slow, func() testbackend.Response { slow.Wait = 500 * time.Millisecond; return slow }())
	c.load(blogAt(b))
	c.await("gone")
	for deadline := time.Now().Add(time.Minute); len(b.Requests("/__invite__/")) < 4; time.Sleep(5 * time.Millisecond) {
		check.FatalIf(t, time.Now().After(deadline), "it is not asked for again")
		c.expectFailure("gone", nil)
	}
	checkOnceASecond(t, b)
}

// TestReloadsAskForTheManifestOnceASecond has each of several configs find that there is
// no manifest yet.
func TestReloadsAskForTheManifestOnceASecond(t *testing.T) {
	httpguest.Waits{Answered: time.Millisecond}.Set(t)
	c, b := newBlogTest(t)
	b.On("/__invite__/", testbackend.Response{Status: 403})
	for range 5 {
		c.load(blogAt(b))
	}
	awaitRequests(t, b, "/__invite__/", 3)
	checkOnceASecond(t, b)
}

// TestANewManifestReplacesTheOldWithoutAGap asks continuously while it does.
func TestANewManifestReplacesTheOldWithoutAGap(t *testing.T) {
	httpguest.Waits{Apart: time.Millisecond}.Set(t)
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/1"}, "services": {"version": {"answer": 1}, "old": {"answer": 1}}}`, "ETag", `"1"`),
		manifestOf(`{"urls": {"home": "/2"}, "services": {"version": {"answer": 2}, "new": {"answer": 1}}}`, "ETag", `"2"`),
		testbackend.Response{Status: 304}) // without the ETag
	c.load(blogAt(b) + guestAt("later", b, "url home /"))
	c.await("version")
	line := c.partyline()
	check.Equal(t, fmt.Sprint(line.Services()["url"]), "[blog later]", "of the URLs are asked")
	applicationOf(t, "blog").FetchSoon()
	partytest.Eventually(t, "it is asked for again", func() bool {
		link, err := wsgiparty.URLFor(t.Context(), line.Operator(""), "home", nil)
		check.ErrorIf(t, err != nil || link != "/blog/1" && link != "/blog/2", "%q %v", link, err)
		version, err := c.ask("version", nil)
		check.ErrorIf(t, err != nil || version != "1" && version != "2", "%q %v", version, err)
		return link == "/blog/2" && version == "2"
	})
	partytest.Eventually(t, "what it does not have any more is gone", func() bool { return line.Services()["old"] == nil })
	c.expectAsk("new", nil, "1")
	check.Equal(t, fmt.Sprint(line.Services()["url"]), "[blog later]", "of the URLs are asked")
	check.Equal(t, len(partytest.LogEntries(t, "guest left")), 0, "guests that left")
	check.Equal(t, line.Guests()[0].Replicas, 1, "it has operators")

	for n := 3; n <= 4; n++ {
		applicationOf(t, "blog").FetchSoon()
		awaitRequests(t, b, "/__invite__/", n)
	}
	for i, r := range b.Requests("/__invite__/") {
		want := []string{"", `"1"`, `"2"`, `"2"`}[i]
		check.Equal(t, r.Header.Get("If-None-Match"), want, "request %d has If-None-Match", i)
	}
	c.expectAsk("version", nil, "2")
}

// TestALongETagIsNotSentBack has an application send one that it would refuse itself.
func TestALongETagIsNotSentBack(t *testing.T) {
	httpguest.Waits{Apart: time.Millisecond}.Set(t)
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`, "ETag", `"`+strings.Repeat("x", 64<<10)+`"`))
	c.load(blogAt(b))
	c.await("url")
	applicationOf(t, "blog").FetchSoon()
	awaitRequests(t, b, "/__invite__/", 2)
	got := b.Requests("/__invite__/")[1].Header.Get("If-None-Match")
	check.ErrorIf(t, got != "", "If-None-Match of %d bytes", len(got))
	c.expectLink("home", "/blog/")
}

func TestA404ToAnAskHasTheManifestAskedForAgain(t *testing.T) {
	httpguest.Waits{Apart: time.Millisecond}.Set(t)
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"services": {"user": {"href": "/old"}}}`, "Cache-Control", "max-age=86400"),
		manifestOf(`{"services": {"user": {"href": "/new"}}}`))
	b.On("/new", jsonOf("1"))
	b.On("/old", testbackend.Response{Status: 400}, testbackend.Response{Status: 500}, testbackend.Response{Status: 404})
	c.load(blogAt(b))
	c.await("user")
	c.expectFailure("user", nil, "status 400")
	c.expectFailure("user", nil, "status 500")
	time.Sleep(100 * time.Millisecond) // for what must not happen, in the background
	check.Equal(t, len(b.Requests("/__invite__/")), 1, "times that it is asked for")
	c.expectFailure("user", nil, "status 404")
	partytest.Eventually(t, "its new manifest counts", func() bool { answers, err := c.ask("user", nil); return answers == "1" && err == nil })
}

// TestLastGoodManifestsPassFromConfigToConfig has configs that come one after the
// other, in which the guest is the same one, or another.
func TestLastGoodManifestsPassFromConfigToConfig(t *testing.T) {
	httpguest.Waits{Apart: time.Millisecond}.Set(t)
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}, "services": {"ping": {"href": "/ping"}}}`, "ETag", `"1"`, "Cache-Control", "max-age=3600"),
		testbackend.Response{Status: 403})
	b.On("/ping", jsonOf(`"pong"`))
	blog := blogAt(b)
	c.load(blog)
	c.await("url")
	requests := 1
	is := func(what, config, link string, asked int) {
		t.Helper()
		c.Caddy.Load(config)
		c.expectLink("home", link) // at once
		if requests += asked; asked > 0 {
			awaitRequests(t, b, "/__invite__/", requests)
			partytest.Eventually(t, "it is judged", func() bool { return len(partytest.LogEntries(t, "invite refused")) > 0 })
		} else {
			time.Sleep(50 * time.Millisecond) // for what must not happen, in the background
		}
		n := len(b.Requests("/__invite__/"))
		check.FatalIf(t, n != requests, "%s: %d requests, want %d", what, n, requests)
		if link != "" {
			c.expectAsk("ping", nil, `"pong"`)
		}
		partytest.ResetLog()
	}
	same := c.inParty(blog)
	other := *c
	other.party = partytest.FreshParty()
	is("the same", same, "/blog/", 0)
	is("the same again", same, "/blog/", 0)
	is("another name", c.inParty(strings.Replace(blog, "/__invite__/", "/__invite__/ as other", 1)), "", 1)
	is("another query", c.inParty(strings.Replace(blog, "/__invite__/", "/__invite__/?a as blog", 1)), "", 1)
	is("another path", c.inParty(strings.Replace(blog, "/__invite__/", "/__invite__/more as blog", 1)), "", 0)
	is("another host", c.inParty(strings.Replace(blog, "/blog/__invite__/", "http://localhost/blog/__invite__/", 1)), "", 1)
	is("options of the handler", c.inParty(blogAt(b, "timeout 3s")), "/blog/", 0)
	c.party, other.party = other.party, c.party
	is("another party", c.inParty(blog), "", 1)
	c.party = other.party
	is("nothing", "ADDRESS {\nwsgi_party "+c.party+"\n}", "", 0)
	is("the same at last", same, "/blog/", 0)

	// Once it has failed, it is stale.
	applicationOf(t, "blog").FetchSoon()
	requests++
	awaitRequests(t, b, "/__invite__/", requests)
	partytest.Eventually(t, "it is judged", func() bool { return len(partytest.LogEntries(t, "invite refused")) == 1 })
	is("a stale one", same, "/blog/", 1)
	all := b.Requests("/__invite__/")
	check.Equal(t, all[len(all)-1].Header.Get("If-None-Match"), `"1"`, "If-None-Match")
}

// TestAConfigThatFailsToLoadAsksNobody has one that would have asked for a manifest.
func TestAConfigThatFailsToLoadAsksNobody(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`))
	c.load(blogAt(b))
	c.await("url")
	partytest.OnProvision(t, "fails", func(caddy.Context) error { return errors.New("oh no") })
	for range 3 {
		check.Fails(t, c.TryLoad(strings.Replace(c.inParty(blogAt(b)), "/__invite__/", "/__invite__/?new", 1)+"\nhttp://localhost:1 {\ntest_app fails\n}"), "oh no")
	}
	c.expectLink("home", "/blog/")
	time.Sleep(50 * time.Millisecond) // for what must not happen, in the background
	check.Equal(t, len(b.Requests("")), 1, "requests")
}
