// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

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
	const (
		isGuest = iota // and not asked again for a while
		noGuest        // likewise
		notNow         // and asked again soon, two times
		later          // and asked again once
	)
	good := manifestOf(`{"services": {"SERVICE": {"answer": 1}}}`)
	status := func(status int) testbackend.Response { return testbackend.Response{Status: status} }
	type test struct {
		response   testbackend.Response
		directives string // instead of the application, for the first time
		is         int
		result     wsgiparty.InviteResult
		status     float64
		err        string
		hint       string
	}
	redirect := func(status int) testbackend.Response {
		return testbackend.Response{Status: status, Header: map[string]string{"Location": "/there/"}}
	}
	retryLater := status(503)
	retryLater.Header = map[string]string{"Retry-After": "3"}
	const none = "the application has no manifest"
	tests := map[string]test{
		"manifest":            {response: good, is: isGuest},
		"manifest-parameters": {response: testbackend.Response{Body: good.Body, Header: map[string]string{"Content-Type": `application/vnd.wsgi-party+json; charset="utf-8"`}}, is: isGuest},

		"404":        {response: status(404), is: noGuest, status: 404, hint: none},
		"405":        {response: status(405), is: noGuest, status: 405, hint: none},
		"410":        {response: status(410), is: noGuest, status: 410, hint: none},
		"501":        {response: status(501), is: noGuest, status: 501, hint: none},
		"204":        {response: status(204), is: noGuest, status: 204, hint: none},
		"html":       {response: ofType("text/html", "<!DOCTYPE html>"), is: noGuest, status: 200, hint: "at /html/__invite__/, where it answers with text/html"},
		"plain-json": {response: jsonOf(good.Body), is: noGuest, status: 200, hint: "with its manifest, but as application/json: send it with `Content-Type: application/vnd.wsgi-party+json`"},
		"no-type":    {response: ofType("", good.Body), is: noGuest, status: 200, hint: "as no media type: send it with"},
		"201": {response: testbackend.Response{Status: 201, Body: good.Body, Header: good.Header}, is: noGuest,
			status: 201, hint: "but with status 201: answer it with 200"},
		"404-of-caddy": {directives: "error 404", is: noGuest, status: 404, hint: none},
		"501-of-caddy": {directives: "error 501", is: noGuest, status: 501, hint: none},

		"301": {response: redirect(301), is: notNow, result: wsgiparty.InviteFailed, status: 301, hint: "a redirect, to /there/, is not followed: invite the URI where it leads"},
		"303": {response: redirect(303), is: notNow, result: wsgiparty.InviteFailed, status: 303, hint: "/there/"},
		"308": {response: redirect(308), is: notNow, result: wsgiparty.InviteFailed, status: 308, hint: "/there/"},
		"304": {response: status(304), is: notNow, result: wsgiparty.InviteFailed, status: 304},
		"400": {response: status(400), is: notNow, result: wsgiparty.InviteRefused, status: 400, hint: "does the application know the host of the invite? It was localhost"},
		"401": {response: status(401), is: notNow, result: wsgiparty.InviteRefused, status: 401, hint: "`not vars partyline "},
		"403": {response: status(403), is: notNow, result: wsgiparty.InviteRefused, status: 403, hint: "`not vars partyline "},
		"401-of-caddy": {directives: "basic_auth {\nu $2a$14$ANZXnjQ6Fc3b.6WqRKZAsu/0Vv4LnLYrHG6vYsLsp0E/bXjLQNJpy\n}\nreverse_proxy UPSTREAM",
			is: notNow, result: wsgiparty.InviteRefused, status: 401, hint: "`not vars partyline "},
		"429":     {response: status(429), is: notNow, result: wsgiparty.InviteRefused, status: 429, hint: "with status 429"},
		"500":     {response: status(500), is: notNow, result: wsgiparty.InviteFailed, status: 500, hint: "the application answers GET /500/__invite__/ with status 500: its own log may say why; it is asked again in "},
		"503":     {response: retryLater, is: later, result: wsgiparty.InviteFailed, status: 503},
		"down":    {directives: "reverse_proxy NOWHERE", is: notNow, result: wsgiparty.InviteFailed, status: 502, err: "connect", hint: "is the application running?"},
		"nothing": {directives: "vars a b", is: notNow, result: wsgiparty.InviteFailed, err: "answer nothing", hint: "write the one that leads to the application there"},
		"reset":   {response: testbackend.Response{Reset: true}, is: notNow, result: wsgiparty.InviteFailed, status: 502},
		"garbage": {response: testbackend.Response{Raw: "SSH-2.0-OpenSSH_9.2\r\n"}, is: notNow, result: wsgiparty.InviteFailed, status: 502, err: "malformed HTTP"},
		"cut":     {response: testbackend.Response{Body: good.Body, Header: good.Header, Cut: true}, is: notNow, result: wsgiparty.InviteFailed, err: "the response broke off", hint: "in the middle of its answer to GET /cut/__invite__/"},
		"no-json": {response: manifestOf("{"), is: notNow, result: wsgiparty.InviteFailed, status: 200, err: "manifest: byte", hint: "correct the application's manifest"},
		"bad":     {response: manifestOf(`{"services": {"a": {"href": "https://evil/"}}}`), is: notNow, result: wsgiparty.InviteFailed, status: 200, err: "services.a.href", hint: "correct the application's manifest"},
		"long":    {response: manifestOf(`{"more": "` + strings.Repeat("x", 64<<10) + `"}`), is: notNow, result: wsgiparty.InviteFailed, status: 200, err: "no more than 65536 may be"},
		"deep":    {response: manifestOf(`{"services": {"a": {"answer": ` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}}}`), is: notNow, result: wsgiparty.InviteFailed, status: 200, err: "nested more than 64 deep"},
		"endless": {response: testbackend.Response{Body: strings.Repeat(" ", 1<<12), Header: good.Header, Endless: true}, is: notNow, result: wsgiparty.InviteFailed, err: "longer than 1048576 bytes"},

		"slow-header": {response: testbackend.Response{Body: good.Body, Header: good.Header, Wait: 3 * time.Second}, is: later, result: wsgiparty.InviteFailed, err: "it took longer than 1.5s"},
		"slow-body":   {response: testbackend.Response{Body: good.Body, Header: good.Header, Pause: 3 * time.Second}, is: later, result: wsgiparty.InviteFailed, err: "it took longer than 1.5s"},
	}
	httpguest.Waits{Answered: time.Second, Denied: time.Hour, Broken: time.Second}.Set(t)
	c := newGuestTest(t)
	b := testbackend.Start(t, testport.Address(t))
	nowhere := testport.Address(t)
	config := "invite_timeout 1500ms\n"
	for name, test := range tests {
		path := "/" + name + "/__invite__/"
		config += "invite " + path + "\nhandle /" + name + "/* {\nwsgi_party_guest\n"
		good := good
		good.Body = strings.ReplaceAll(good.Body, "SERVICE", name)
		responses := []testbackend.Response{test.response}
		responses[0].Body = strings.ReplaceAll(test.response.Body, "SERVICE", name)
		switch test.is {
		case notNow:
			responses = append(responses, test.response, good)
		case later:
			responses = append(responses, good)
		}
		b.On(path, responses...)
		if test.directives == "" {
			test.directives = "reverse_proxy UPSTREAM"
		}
		config += strings.NewReplacer("UPSTREAM", b.Upstream(), "NOWHERE", nowhere).Replace(test.directives) + "\n}\n"
	}
	c.load(config)
	for name, test := range tests {
		if test.is != noGuest && test.directives == "" {
			c.await(name)
			partytest.Eventually(t, name+" has joined, as the log says", func() bool {
				entries := partytest.InvitesLogged(t, name)
				return len(entries) > 0 && entries[len(entries)-1]["msg"] == partytest.Message(wsgiparty.InviteJoined)
			})
		}
	}
	check.Equal(t, len(b.Requests("/there/")), 0, "times that redirects are followed")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			entries := partytest.InvitesLogged(t, name)
			requests := b.Requests("/" + name + "/__invite__/")
			for i := 1; i < len(requests); i++ {
				last, r := requests[i-1], requests[i]
				check.ErrorIf(t, r.Began.Before(last.Ended) && !strings.HasPrefix(name, "slow"), "it was asked while it was being asked")
				apart := r.Began.Sub(last.Began)
				check.ErrorIf(t, apart < 500*time.Millisecond || name == "503" && apart < 3*time.Second, "it was asked again after %v", apart)
			}
			var first partytest.Entry
			if len(entries) > 0 {
				first = entries[0]
			}
			wantRequests, wantEntries := 1, 1
			switch {
			case test.is == isGuest:
				test.result, test.status = wsgiparty.InviteJoined, 0
			case test.is == noGuest:
				test.result = wsgiparty.InviteNotAnswered
			case test.directives == "":
				wantEntries = 2
				if wantRequests = 3; test.is == later {
					wantRequests = 2
				}
				if last := entries[len(entries)-1]; last["msg"] != "guest joined" || fmt.Sprint(last["services"]) != "["+name+"]" {
					t.Errorf("in the end %v", last)
				}
			}
			if test.directives != "" {
				wantRequests = 0
			}
			check.ErrorIf(t, len(requests) != wantRequests || len(entries) != wantEntries, "%d requests and %d log entries, want %d and %d: %v", len(requests), len(entries), wantRequests, wantEntries, entries)
			if first["msg"] != partytest.Message(test.result) || test.result != wsgiparty.InviteJoined && first["status"] != test.status {
				t.Errorf("it is told as %v, want %s with status %v", first, partytest.Message(test.result), test.status)
			}
			text := fmt.Sprint(first["error"])
			check.ErrorIf(t, test.err == "" && first["error"] != nil && test.status < 500 || !strings.Contains(text, test.err), "the error is %s, want %s", text, test.err)
			check.Has(t, fmt.Sprint(first["hint"]), test.hint, "the hint")
		})
	}
}

// TestAManifestIsAskedForAgainWhenItIsStale also reloads the config meanwhile. It
// takes ten seconds, which is the least that a manifest is fresh.
func TestAManifestIsAskedForAgainWhenItIsStale(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`, "ETag", `"1"`, "Cache-Control", "private, max-age=1"))
	b.On("/long/__invite__/", manifestOf(`{"urls": {"long": "/long/"}}`))
	config := blogAt(b) + `
	invite /long/__invite__/
	handle /long/* {
		wsgi_party_guest
		reverse_proxy ` + b.Upstream() + `
	}`
	c.load(config)
	c.await("url")
	first := awaitRequests(t, b, "/__invite__/", 1)[0]
	if first.Header["If-None-Match"] != nil {
		t.Errorf("the first time it is asked for with %q", first.Header["If-None-Match"])
	}
	awaitRequests(t, b, "/long/__invite__/", 1)
	partytest.Eventually(t, "both are links", func() bool { return len(c.partyline().Services()["url"]) == 2 })
	time.Sleep(time.Second)
	c.load(config)
	c.expectLink("home", "/blog/")

	again := awaitRequests(t, b, "/__invite__/", 1)
	for deadline := time.Now().Add(time.Minute); len(again) < 2; again = b.Requests("/__invite__/") {
		check.FatalIf(t, time.Now().After(deadline), "it is not asked for again")
		time.Sleep(10 * time.Millisecond)
	}
	apart := again[1].Began.Sub(first.Began)
	check.ErrorIf(t, apart < 9*time.Second, "it is asked for again after %v", apart)
	check.Slices(t, again[1].Header["If-None-Match"], []string{`"1"`}, "it is asked for again with If-None-Match")
	c.expectLink("home", "/blog/")
	check.Equal(t, len(b.Requests("/long/__invite__/")), 1, "times that one that is fresh for a minute is asked for")
	time.Sleep(50 * time.Millisecond)                                     // for what must not happen, in the background
	if entries := partytest.InvitesLogged(t, "blog"); len(entries) != 2 { // one for each config
		t.Errorf("logged %d times: %v", len(entries), entries)
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
		if _, err := c.ask("gone", nil); err == nil {
			t.Error("it answers")
		}
	}
	checkOnceASecond(t, b)
}
