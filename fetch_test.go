// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

// guestTest is a Caddy with a party of which nothing is kept yet.
type guestTest struct {
	*partytest.Caddy
	party string
}

// newGuestTest is to be called before applications are started: Caddy keeps its
// connections to them until they end.
func newGuestTest(t testing.TB) *guestTest {
	t.Helper()
	return &guestTest{partytest.NewCaddy(t), partytest.FreshParty()}
}

// inParty returns the config of one site with the party.
func (c *guestTest) inParty(directives string) string {
	return "ADDRESS {\nwsgi_party " + c.party + " {\n" + directives + "\n}\n}"
}

func (c *guestTest) load(directives string) {
	c.Helper()
	c.Caddy.Load(c.inParty(directives))
}

// blogAt is the config of a guest, with options, that is mounted at /blog.
func blogAt(b *testbackend.Backend, options ...string) string {
	return `
	invite /blog/__invite__/
	handle_path /blog/* {
		wsgi_party_guest {
			` + strings.Join(options, "\n") + `
		}
		reverse_proxy ` + b.Upstream() + `
	}`
}

// manifestOf is a response with a manifest, and with headers.
func manifestOf(body string, headers ...string) testbackend.Response {
	r := testbackend.Response{Body: body, Header: map[string]string{"Content-Type": partytest.ManifestType}}
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = headers[i+1]
	}
	return r
}

// ofType is a response of another type.
func ofType(mediaType, body string) testbackend.Response {
	return testbackend.Response{Body: body, Header: map[string]string{"Content-Type": mediaType}}
}

// partyline returns that of the running config.
func (c *guestTest) partyline() *Partyline {
	c.Helper()
	return operatorOf(c, c.party).Partyline()
}

// ask returns what comes of asking around as nobody.
func (c *guestTest) ask(service string, payload any) (string, error) {
	c.Helper()
	answers, err := operatorOf(c, c.party).AskAround(context.Background(), service, payload)
	return joinAnswers(answers), err
}

func joinAnswers(answers []any) string {
	texts := make([]string, len(answers))
	for i, answer := range answers {
		if raw, ok := answer.(json.RawMessage); ok {
			answer = string(raw)
		}
		texts[i] = fmt.Sprint(answer)
	}
	return strings.Join(texts, " ")
}

// expectAsk fails the test unless asking gives these answers, and no error.
func (c *guestTest) expectAsk(service string, payload any, want string) {
	c.Helper()
	if got, err := c.ask(service, payload); got != want || err != nil {
		c.Errorf("asking for %s with %v: %s %v, want %s", service, payload, got, err, want)
	}
}

// expectLink fails the test unless that is where the page is, and "" unless nobody
// says so.
func (c *guestTest) expectLink(page, want string) {
	c.Helper()
	got, err := URLFor(context.Background(), operatorOf(c, c.party), page, nil)
	if got != want || (err != nil) != (want == "") {
		c.Errorf("the URL for %s is %q, %v, want %q", page, got, err, want)
	}
}

// await waits until guests are connected under these services.
func (c *guestTest) await(services ...string) {
	c.Helper()
	partytest.Eventually(c, fmt.Sprintf("%q are on the line", services), func() bool {
		all := c.partyline().Services()
		return !slices.ContainsFunc(services, func(service string) bool { return all[service] == nil })
	})
}

// awaitRequests waits until the application was sent that many requests to a path.
func awaitRequests(t testing.TB, b *testbackend.Backend, path string, n int) []testbackend.Request {
	t.Helper()
	var requests []testbackend.Request
	partytest.Eventually(t, fmt.Sprintf("%d requests to %s", n, path), func() bool {
		requests = b.Requests(path)
		return len(requests) >= n
	})
	return requests
}

// visitOf returns the guest's of the running config.
func visitOf(t testing.TB, guest string) *visit {
	t.Helper()
	a, ok := running()
	if !ok {
		t.Fatal("nothing runs")
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, g := range a.guests {
		if v := g.visit.Load(); v != nil && v.guest() == guest {
			return v
		}
	}
	t.Fatalf("guest %q is not invited", guest)
	return nil
}

const testGuestKey = "0123456789abcdef0123456789abcdef"

// TestTheApplicationIsAskedForItsManifest looks at what it is sent.
func TestTheApplicationIsAskedForItsManifest(t *testing.T) {
	t.Setenv("TEST_GUEST_KEY", testGuestKey)
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
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
		if r.Method != "GET" || r.URI != uri || r.Body != "" {
			t.Errorf("%s %s %q, want a GET of %s", r.Method, r.URI, r.Body, uri)
		}
		for name, value := range want {
			if got := r.Header[name]; len(got) != 1 || got[0] != value {
				t.Errorf("%s: %s: %q, want %s", uri, name, got, value)
			}
		}
		tokens := r.Header[tokenHeader]
		if !https {
			if tokens != nil {
				t.Error("a guest without a key is sent a token")
			}
			continue
		}
		keys, err := token.NewKeys([]string{testGuestKey})
		if err != nil || len(tokens) != 1 {
			t.Fatalf("%q %v", tokens, err)
		}
		proof, err := keys.Verify("blog", tokens[0], time.Now())
		if err != nil || proof.Mount != "/apps/blog" || len(proof.Path) != 0 || !proof.IsFor("GET", "/apps/blog"+uri, nil) || !proof.IsFor("GET", uri, nil) {
			t.Errorf("%+v %v", proof, err)
		}
	}
}

// wait changes how long applications are waited for, until the test ends.
func wait(t testing.TB, change func(*waits)) {
	t.Helper()
	before := fetchWaits
	t.Cleanup(func() { fetchWaits = before })
	change(&fetchWaits)
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
		result     InviteResult
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
		"plain-json": {response: ofType("application/json", good.Body), is: noGuest, status: 200, hint: "with its manifest, but as application/json: send it with `Content-Type: application/vnd.wsgi-party+json`"},
		"no-type":    {response: ofType("", good.Body), is: noGuest, status: 200, hint: "as no media type: send it with"},
		"201": {response: testbackend.Response{Status: 201, Body: good.Body, Header: good.Header}, is: noGuest,
			status: 201, hint: "but with status 201: answer it with 200"},
		"404-of-caddy": {directives: "error 404", is: noGuest, status: 404, hint: none},
		"501-of-caddy": {directives: "error 501", is: noGuest, status: 501, hint: none},

		"301": {response: redirect(301), is: notNow, result: InviteFailed, status: 301, hint: "a redirect, to /there/, is not followed: invite the URI where it leads"},
		"303": {response: redirect(303), is: notNow, result: InviteFailed, status: 303, hint: "/there/"},
		"308": {response: redirect(308), is: notNow, result: InviteFailed, status: 308, hint: "/there/"},
		"304": {response: status(304), is: notNow, result: InviteFailed, status: 304},
		"400": {response: status(400), is: notNow, result: InviteRefused, status: 400, hint: "does the application know the host of the invite? It was localhost"},
		"401": {response: status(401), is: notNow, result: InviteRefused, status: 401, hint: "`not vars partyline "},
		"403": {response: status(403), is: notNow, result: InviteRefused, status: 403, hint: "`not vars partyline "},
		"401-of-caddy": {directives: "basic_auth {\nu $2a$14$ANZXnjQ6Fc3b.6WqRKZAsu/0Vv4LnLYrHG6vYsLsp0E/bXjLQNJpy\n}\nreverse_proxy UPSTREAM",
			is: notNow, result: InviteRefused, status: 401, hint: "`not vars partyline "},
		"429":     {response: status(429), is: notNow, result: InviteRefused, status: 429, hint: "with status 429"},
		"500":     {response: status(500), is: notNow, result: InviteFailed, status: 500, hint: "the application answers GET /500/__invite__/ with status 500: its own log may say why; it is asked again in "},
		"503":     {response: retryLater, is: later, result: InviteFailed, status: 503},
		"down":    {directives: "reverse_proxy NOWHERE", is: notNow, result: InviteFailed, status: 502, err: "connect", hint: "is the application running?"},
		"nothing": {directives: "vars a b", is: notNow, result: InviteFailed, err: "answer nothing", hint: "write the one that leads to the application there"},
		"reset":   {response: testbackend.Response{Reset: true}, is: notNow, result: InviteFailed, status: 502},
		"garbage": {response: testbackend.Response{Raw: "SSH-2.0-OpenSSH_9.2\r\n"}, is: notNow, result: InviteFailed, status: 502, err: "malformed HTTP"},
		"cut":     {response: testbackend.Response{Body: good.Body, Header: good.Header, Cut: true}, is: notNow, result: InviteFailed, err: "the response broke off", hint: "in the middle of its answer to GET /cut/__invite__/"},
		"no-json": {response: manifestOf("{"), is: notNow, result: InviteFailed, status: 200, err: "manifest: byte", hint: "correct the application's manifest"},
		"bad":     {response: manifestOf(`{"services": {"a": {"href": "https://evil/"}}}`), is: notNow, result: InviteFailed, status: 200, err: "services.a.href", hint: "correct the application's manifest"},
		"long":    {response: manifestOf(`{"more": "` + strings.Repeat("x", 64<<10) + `"}`), is: notNow, result: InviteFailed, status: 200, err: "no more than 65536 may be"},
		"endless": {response: testbackend.Response{Body: strings.Repeat(" ", 1<<12), Header: good.Header, Endless: true}, is: notNow, result: InviteFailed, err: "longer than 1048576 bytes"},

		"slow-header": {response: testbackend.Response{Body: good.Body, Header: good.Header, Wait: 3 * time.Second}, is: later, result: InviteFailed, err: "it took longer than 1.5s"},
		"slow-body":   {response: testbackend.Response{Body: good.Body, Header: good.Header, Pause: 3 * time.Second}, is: later, result: InviteFailed, err: "it took longer than 1.5s"},
	}
	wait(t, func(w *waits) {
		w.answered = [2]time.Duration{time.Second, time.Second}
		w.denied = [2]time.Duration{time.Hour, time.Hour}
		w.broken = time.Second
	})
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
				return len(entries) > 0 && entries[len(entries)-1]["msg"] == InviteJoined.message()
			})
		}
	}
	if n := len(b.Requests("/there/")); n != 0 {
		t.Errorf("redirects are followed %d times", n)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			entries := partytest.InvitesLogged(t, name)
			requests := b.Requests("/" + name + "/__invite__/")
			for i := 1; i < len(requests); i++ {
				last, r := requests[i-1], requests[i]
				if r.Began.Before(last.Ended) && !strings.HasPrefix(name, "slow") {
					t.Error("it was asked while it was being asked")
				}
				if apart := r.Began.Sub(last.Began); apart < 500*time.Millisecond || name == "503" && apart < 3*time.Second {
					t.Errorf("it was asked again after %v", apart)
				}
			}
			var first partytest.Entry
			if len(entries) > 0 {
				first = entries[0]
			}
			wantRequests, wantEntries := 1, 1
			switch {
			case test.is == isGuest:
				test.result, test.status = InviteJoined, 0
			case test.is == noGuest:
				test.result = InviteNotAnswered
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
			if len(requests) != wantRequests || len(entries) != wantEntries {
				t.Errorf("%d requests and %d log entries, want %d and %d: %v", len(requests), len(entries), wantRequests, wantEntries, entries)
			}
			if first["msg"] != test.result.message() || test.result != InviteJoined && first["status"] != test.status {
				t.Errorf("it is told as %v, want %s with status %v", first, test.result.message(), test.status)
			}
			if text := fmt.Sprint(first["error"]); test.err == "" && first["error"] != nil && test.status < 500 || !strings.Contains(text, test.err) {
				t.Errorf("the error is %s, want %s", text, test.err)
			}
			if text := fmt.Sprint(first["hint"]); !strings.Contains(text, test.hint) {
				t.Errorf("the hint is %s, want %s", text, test.hint)
			}
		})
	}
}

// TestAManifestIsAskedForAgainWhenItIsStale also reloads the config meanwhile. It
// takes ten seconds, which is the least that a manifest is fresh.
func TestAManifestIsAskedForAgainWhenItIsStale(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
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
		if time.Now().After(deadline) {
			t.Fatal("it is not asked for again")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if apart := again[1].Began.Sub(first.Began); apart < 9*time.Second {
		t.Errorf("it is asked for again after %v", apart)
	}
	if got := again[1].Header["If-None-Match"]; !slices.Equal(got, []string{`"1"`}) {
		t.Errorf("it is asked for again with If-None-Match %q", got)
	}
	c.expectLink("home", "/blog/")
	if n := len(b.Requests("/long/__invite__/")); n != 1 {
		t.Errorf("one that is fresh for a minute is asked for %d times", n)
	}
	time.Sleep(50 * time.Millisecond)                                     // for what must not happen, in the background
	if entries := partytest.InvitesLogged(t, "blog"); len(entries) != 2 { // one for each config
		t.Errorf("logged %d times: %v", len(entries), entries)
	}
}

func TestHowLongAManifestIsFresh(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":                                time.Minute,
		"no-cache":                        time.Minute,
		"max-age=100":                     100 * time.Second,
		"public, MAX-AGE=100, a":          100 * time.Second,
		`max-age="100"`:                   100 * time.Second,
		"s-maxage=5000, max-age=100":      100 * time.Second,
		"max-age=0":                       10 * time.Second,
		"max-age=9":                       10 * time.Second,
		"max-age=10":                      10 * time.Second,
		"max-age=86400":                   24 * time.Hour,
		"max-age=86401":                   24 * time.Hour,
		"max-age=99999999999999999999999": 24 * time.Hour,
		"max-age=-1":                      time.Minute,
		"max-age=long":                    time.Minute,
		"max-age":                         time.Minute,
	} {
		if got := maxAgeOf(http.Header{"Cache-Control": {header}}); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

// judged is a guest whose application's answers the test invents, and the times at
// which they come.
type judged struct {
	*fetching
	t    testing.TB
	time time.Time
}

// lastManifestOf returns the one that a config would begin with.
func lastManifestOf(key manifestKey) (*lastManifest, bool) {
	a, ok := applications.lookup(key)
	if !ok {
		return nil, false
	}
	last := a.last.Load()
	return last, last != nil
}

// clear forgets everything, as a new process has.
func (k *kept[K, V]) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.values)
}

// newJudged returns one whose application has answered this.
func newJudged(t *testing.T, c *guestTest, response testbackend.Response, options ...string) *judged {
	t.Helper()
	b := testbackend.Start(t, "")
	b.On("/__invite__/", response)
	c.load(blogAt(b, options...))
	partytest.Eventually(t, "it is judged", func() bool {
		_, ok := lastManifestOf(manifestKey{c.party, "blog", "/blog/__invite__/"})
		return ok && len(partytest.InvitesLogged(t, "blog")) > 0
	})
	return &judged{newFetching(visitOf(t, "blog")), t, time.Now()}
}

// answers has the application answer, so long after it did before, and returns when
// it is to be asked again.
func (j *judged) answers(after time.Duration, status int, headers ...string) time.Duration {
	h := make(http.Header)
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return j.judges(after, &http.Response{StatusCode: status, Header: h, Body: http.NoBody}, nil)
}

func (j *judged) answersManifest(body string) time.Duration {
	return j.judges(0, &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {partytest.ManifestType}}, Body: io.NopCloser(strings.NewReader(body))}, nil)
}

func (j *judged) judges(after time.Duration, response *http.Response, err error) time.Duration {
	j.time = j.time.Add(after)
	return j.hear(answerOf(response, err, j.time))
}

// TestAGuestThatIsNotOnTheLineJoinsByTheSameManifest has the operator of its invite leave,
// as that of an invite does which ends when the guest has just taken it.
func TestAGuestThatIsNotOnTheLineJoinsByTheSameManifest(t *testing.T) {
	c := newGuestTest(t)
	const same = `{"services": {"ping": {"answer": "pong"}}}`
	j := newJudged(t, c, manifestOf(same))
	c.expectAsk("ping", nil, `"pong"`)
	j.invitation.operator.Leave()
	if _, err := c.ask("ping", nil); err == nil {
		t.Error("it has not left")
	}
	j.answersManifest(same)
	c.expectAsk("ping", nil, `"pong"`)
}

// TestWhenAGuestLeaves has an application say that it is none, as an old version does
// that is still there while a new one is deployed.
func TestWhenAGuestLeaves(t *testing.T) {
	c := newGuestTest(t)
	j := newJudged(t, c, manifestOf(`{"urls": {"home": "/", "both": "/both"}}`))
	is404 := func(after time.Duration) {
		t.Helper()
		want := 30 * time.Second // until it has left
		if wait := j.answers(after, 404); wait != want && j.last != nil || j.last == nil && (wait < 10*time.Second || wait > 5*time.Minute) {
			t.Errorf("it is asked again after %v", wait)
		}
	}
	stays := func() {
		t.Helper()
		c.expectLink("home", "/blog/")
	}
	is404(0)
	stays()
	for range 5 {
		is404(29 * time.Second / 5) // these are one
		stays()
	}
	is404(2 * time.Second)
	stays()
	j.answers(time.Hour, 304) // not in a row
	is404(time.Minute)
	is404(time.Minute)
	stays()
	j.answers(time.Minute, 500) // likewise
	is404(time.Minute)
	is404(30 * time.Second)
	stays()
	if _, err := os.Stat(c.stored(j.key)); err != nil {
		t.Error(err)
	}
	if len(partytest.LogEntries(t, "guest left")) > 0 {
		t.Error("it leaves too early")
	}

	is404(30 * time.Second)
	c.expectLink("home", "")
	if all := c.partyline().Guests(); len(all) != 0 || len(partytest.LogEntries(t, "guest left")) != 1 {
		t.Errorf("on the line are %v", all)
	}
	if _, ok := lastManifestOf(j.key); ok {
		t.Error("the next config would have it")
	}
	if _, err := os.Stat(c.stored(j.key)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is in storage: %v", err)
	}
	is404(time.Minute)

	j.answersManifest(`{"urls": {"home": "/again"}}`)
	c.expectLink("home", "/blog/again")
	is404(time.Minute)
	is404(time.Minute)
	c.expectLink("home", "/blog/again")

	j = newJudged(t, c, manifestOf(`{"urls": {"home": "/", "both": "/both"}}`), "url both /declared", "fetch_manifest")
	for range 3 {
		is404(time.Minute)
	}
	c.expectLink("home", "")
	c.expectLink("both", "/blog/declared")
}

// stored is the file with a last good manifest of the running config's guest.
func (c *guestTest) stored(key manifestKey) string {
	return filepath.Join(caddy.DefaultStorage.Path, filepath.FromSlash(key.storageKey(visitOf(c, key.guest).surroundings())))
}

// TestTheLastGoodManifestStays has all answers come that are not the last word.
func TestTheLastGoodManifestStays(t *testing.T) {
	c := newGuestTest(t)
	j := newJudged(t, c, manifestOf(`{"urls": {"home": "/"}, "services": {"ping": {"answer": 1}}}`))
	stays := func(what string) {
		t.Helper()
		c.expectLink("home", "/blog/")
		c.expectAsk("ping", nil, "1")
		if t.Failed() {
			t.Fatal(what)
		}
	}
	for _, status := range []int{301, 302, 303, 307, 308, 400, 401, 403, 406, 429, 500, 502, 503, 504} {
		for range 4 {
			j.answers(time.Hour, status)
		}
		stays(fmt.Sprint(status))
	}
	for _, body := range []string{"", "{", "[]", `{"urls": {"home": "//evil"}}`, `{"urls": {"home": "/1", "home": "/2"}}`, `{"services": {"a b": {"answer": 1}}}`} {
		j.answersManifest(body)
		stays(body)
	}
	for _, err := range []error{errors.New("oh no"), ErrMisrouted, &statusError{502, errors.New("down")}, &timeoutError{time.Second}} {
		j.judges(0, nil, err)
		stays(err.Error())
	}
}

// TestTheSameManifestIsNotTakenForANewOne has an application that sends no ETag.
func TestTheSameManifestIsNotTakenForANewOne(t *testing.T) {
	c := newGuestTest(t)
	j := newJudged(t, c, manifestOf(`{"urls": {"home": "/", "about": "/about"}, "services": {"ping": {"answer": 1}}}`))
	if err := os.Remove(c.stored(j.key)); err != nil {
		t.Fatal(err)
	}
	operator := j.invitation.operator
	j.answersManifest(`{"services": {"ping": {"answer": 1}}, "urls": {"about": "/about", "home": "/"}}`)
	if _, err := os.Stat(c.stored(j.key)); err == nil || j.invitation.operator != operator {
		t.Errorf("it is stored again, or connects again: %v", err)
	}
	j.answersManifest(`{"services": {"ping": {"answer": 2}}, "urls": {"about": "/about", "home": "/"}}`)
	if _, err := os.Stat(c.stored(j.key)); err != nil || j.invitation.operator == operator {
		t.Errorf("another one is not: %v", err)
	}
	c.expectAsk("ping", nil, "2")
}

// TestEachChangeIsLoggedOnce has the application answer one thing and another.
func TestEachChangeIsLoggedOnce(t *testing.T) {
	c := newGuestTest(t)
	j := newJudged(t, c, manifestOf("{}"))
	for _, status := range []int{304, 304, 500, 500, 503, 503, 403, 304, 304, 404, 404, 200, 304} {
		j.answers(time.Second, status)
	}
	var got []string
	for _, e := range partytest.InvitesLogged(t, "blog") {
		got = append(got, fmt.Sprint(e["msg"], " ", e["status"]))
	}
	if n := len(partytest.LogEntries(t, "manifest changed")); n != 0 {
		t.Errorf("the manifest changed %d times", n)
	}
	for _, path := range []string{"/1", "/1", "/2"} {
		j.answersManifest(`{"urls": {"home": "` + path + `"}}`)
	}
	changed := partytest.LogEntries(t, "manifest changed")
	if len(changed) != 2 || len(partytest.InvitesLogged(t, "blog")) != len(got) || changed[0]["guest"] != "blog" || changed[0]["party"] != c.party || fmt.Sprint(changed[0]["first"], changed[0]["services"], changed[0]["urls"]) != "[url] 1 1" {
		t.Errorf("of changes is logged %v", changed)
	}
	want := []string{"guest joined <nil>", "invite failed 500", "invite failed 503", "invite refused 403", "guest joined <nil>", "invite not answered 404", "invite not answered 200", "guest joined <nil>"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestTheManifestIsAskedForOnceASecond has an application that knows nothing of its
// own hrefs, so that each ask has its manifest asked for again.
func TestTheManifestIsAskedForOnceASecond(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	slow := manifestOf(`{"services": {"gone": {"href": "/gone"}}}`)
	b.On("/__invite__/", slow, func() testbackend.Response { slow.Wait = 500 * time.Millisecond; return slow }())
	c.load(blogAt(b))
	c.await("gone")
	for deadline := time.Now().Add(time.Minute); len(b.Requests("/__invite__/")) < 4; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not asked for again")
		}
		if _, err := c.ask("gone", nil); err == nil {
			t.Error("it answers")
		}
	}
	checkOnceASecond(t, b)
}

func checkOnceASecond(t *testing.T, b *testbackend.Backend) {
	t.Helper()
	requests := b.Requests("/__invite__/")
	for i := 1; i < len(requests); i++ {
		// Half a second may pass from when it is asked until it notices.
		if apart := requests[i].Began.Sub(requests[i-1].Began); apart < 500*time.Millisecond {
			t.Errorf("asked again after %v", apart)
		}
		if requests[i].Began.Before(requests[i-1].Ended) {
			t.Error("asked twice at a time")
		}
	}
}

// TestReloadsAskForTheManifestOnceASecond has each of several configs find that there is
// no manifest yet.
func TestReloadsAskForTheManifestOnceASecond(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/__invite__/", testbackend.Response{Status: 403})
	for range 5 {
		c.load(blogAt(b))
	}
	partytest.Eventually(t, "it is asked three times", func() bool { return len(b.Requests("/__invite__/")) >= 3 })
	checkOnceASecond(t, b)
}

// TestANewManifestReplacesTheOldWithoutAGap asks continuously while it does.
func TestANewManifestReplacesTheOldWithoutAGap(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/1"}, "services": {"version": {"answer": 1}, "old": {"answer": 1}}}`, "ETag", `"1"`),
		manifestOf(`{"urls": {"home": "/2"}, "services": {"version": {"answer": 2}, "new": {"answer": 1}}}`, "ETag", `"2"`),
		testbackend.Response{Status: 304}) // without the ETag
	c.load(blogAt(b) + `
	invite /later/__invite__/
	handle_path /later/* {
		wsgi_party_guest {
			url home /later
		}
	}`)
	c.await("version")
	line := c.partyline()
	if got := fmt.Sprint(line.Services()["url"]); got != "[blog later]" {
		t.Errorf("of the URLs are asked %s", got)
	}
	visitOf(t, "blog").fetchSoon()
	for deadline := time.Now().Add(10 * time.Second); ; {
		link, err := URLFor(context.Background(), line.Operator(""), "home", nil)
		if err != nil || link != "/blog/1" && link != "/blog/2" {
			t.Errorf("%q %v", link, err)
		}
		version, err := c.ask("version", nil)
		if err != nil || version != "1" && version != "2" {
			t.Errorf("%q %v", version, err)
		}
		if link == "/blog/2" && version == "2" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it is not asked for again")
		}
	}
	partytest.Eventually(t, "what it does not have any more is gone", func() bool { return line.Services()["old"] == nil })
	c.expectAsk("new", nil, "1")
	if got := fmt.Sprint(line.Services()["url"]); got != "[blog later]" {
		t.Errorf("of the URLs are asked %s", got)
	}
	if n := len(partytest.LogEntries(t, "guest left")); n > 0 {
		t.Errorf("%d guests left", n)
	}
	if guests := line.Guests(); guests[0].Replicas != 1 {
		t.Errorf("it has %d operators", guests[0].Replicas)
	}

	for n := 3; n <= 4; n++ {
		visitOf(t, "blog").fetchSoon()
		awaitRequests(t, b, "/__invite__/", n)
	}
	for i, r := range b.Requests("/__invite__/") {
		want := []string{"", `"1"`, `"2"`, `"2"`}[i]
		if got := r.Header.Get("If-None-Match"); got != want {
			t.Errorf("request %d has If-None-Match %s, want %s", i, got, want)
		}
	}
	c.expectAsk("version", nil, "2")
}

// TestALongETagIsNotSentBack has an application send one that it would refuse itself.
func TestALongETagIsNotSentBack(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`, "ETag", `"`+strings.Repeat("x", 64<<10)+`"`))
	c.load(blogAt(b))
	c.await("url")
	visitOf(t, "blog").fetchSoon()
	awaitRequests(t, b, "/__invite__/", 2)
	if got := b.Requests("/__invite__/")[1].Header.Get("If-None-Match"); got != "" {
		t.Errorf("If-None-Match of %d bytes", len(got))
	}
	c.expectLink("home", "/blog/")
}

// TestLastGoodManifestsPassFromConfigToConfig has configs that come one after the
// other, in which the guest is the same one, or another.
func TestLastGoodManifestsPassFromConfigToConfig(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}, "services": {"ping": {"href": "/ping"}}}`, "ETag", `"1"`, "Cache-Control", "max-age=3600"),
		testbackend.Response{Status: 403})
	b.On("/ping", ofType("application/json", `"pong"`))
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
		if n := len(b.Requests("/__invite__/")); n != requests {
			t.Fatalf("%s: %d requests, want %d", what, n, requests)
		}
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
	visitOf(t, "blog").fetchSoon()
	requests++
	awaitRequests(t, b, "/__invite__/", requests)
	partytest.Eventually(t, "it is judged", func() bool { return len(partytest.LogEntries(t, "invite refused")) == 1 })
	is("a stale one", same, "/blog/", 1)
	all := b.Requests("/__invite__/")
	if got := all[len(all)-1].Header.Get("If-None-Match"); got != `"1"` {
		t.Errorf("If-None-Match: %s", got)
	}
}

// TestAConfigThatFailsToLoadAsksNobody has one that would have asked for a manifest.
func TestAConfigThatFailsToLoadAsksNobody(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`))
	c.load(blogAt(b))
	c.await("url")
	partytest.OnProvision(t, "fails", func(caddy.Context) error { return errors.New("oh no") })
	for range 3 {
		if err := c.TryLoad(strings.Replace(c.inParty(blogAt(b)), "/__invite__/", "/__invite__/?new", 1) + "\nhttp://localhost:1 {\ntest_app fails\n}"); err == nil {
			t.Error("it loads")
		}
	}
	c.expectLink("home", "/blog/")
	time.Sleep(50 * time.Millisecond) // for what must not happen, in the background
	if n := len(b.Requests("")); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// TestLastGoodManifestsAreKeptInStorage forgets what the process knows: Caddy in a
// process of its own does so in cmd/caddy.
func TestLastGoodManifestsAreKeptInStorage(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}, "services": {"ping": {"href": "/ping"}, "two": [{"answer": 1.50}, {"answer": "<&>"}]}}`))
	c.load(blogAt(b))
	c.await("url")
	key := manifestKey{c.party, "blog", "/blog/__invite__/"}
	var stored []byte
	partytest.Eventually(t, "it is stored", func() bool {
		var err error
		stored, err = os.ReadFile(c.stored(key))
		return err == nil
	})
	manifest := `{"urls":{"home":"/"},"services":{"ping":{"href":"/ping"},"two":[{"answer":1.50},{"answer":"<&>"}]}}`
	is := func(stored []byte) bool {
		return strings.HasPrefix(string(stored), `{"fetched":"20`) && strings.HasSuffix(string(stored), `Z","manifest":`+manifest+`}`)
	}
	if !is(stored) {
		t.Errorf("stored is %s", stored)
	}
	b.Kill()
	restart := func(directives string) {
		t.Helper()
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
		applications.clear()
		c.load(directives)
	}
	restart(blogAt(b))
	c.expectLink("home", "/blog/")
	c.expectAsk("two", nil, `1.50 "<&>"`)
	restart(strings.Replace(blogAt(b), "/__invite__/", "/__invite__/ as other", 1))
	c.expectLink("home", "")
	restart(strings.Replace(blogAt(b), "/__invite__/", "/__invite__/?a as blog", 1))
	c.expectLink("home", "")

	// What cannot be read is not there.
	if err := os.WriteFile(c.stored(key), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Start()
	restart(blogAt(b))
	warned := partytest.LogEntries(t, "the guest's last manifest cannot be read from storage")
	if len(warned) != 1 || warned[0]["guest"] != "blog" || !strings.Contains(fmt.Sprint(warned[0]["error"]), "JSON") {
		t.Errorf("warned of %v", warned)
	}
	c.await("url")
	c.expectLink("home", "/blog/")
	partytest.Eventually(t, "it is stored again", func() bool {
		stored, err := os.ReadFile(c.stored(key))
		return err == nil && is(stored)
	})
}
