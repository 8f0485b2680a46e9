// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/sync/errgroup"

	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/internal/testport"
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
			link, err := URLFor(context.Background(), operatorOf(c, c.party), "page", map[string]any{"id": 1})
			if err != nil || link != test.link {
				t.Fatalf("the link is %q %v, want %s", link, err, test.link)
			}
			r, err := http.NewRequest("GET", "http://"+c.Address+link, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{"X-Forwarded-Prefix": {"/evil"}, "X_forwarded.prefix": {"/evil"}, "Party-Token": {"forged"}}
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			seen := b.Requests("")
			if len(seen) != 1 || seen[0].URI != test.seen {
				t.Fatalf("the link leads to %v", seen)
			}
			want := []string{test.mount}
			if test.mount == "" {
				want = nil
			}
			for name, values := range seen[0].Header {
				if folded := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name)); folded == "party-token" || folded == "x-forwarded-prefix" && name != prefixHeader {
					t.Errorf("%s is passed on: %q", name, values)
				}
			}
			if got := seen[0].Header[prefixHeader]; !slices.Equal(got, want) {
				t.Errorf("X-Forwarded-Prefix is %q, want %q", got, want)
			}
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
		c.expectAsk("url", URLRequest{Name: "page"}, test.origin+"/blog/page "+test.origin+"/blog/below?a=b")
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
			_, ok := lastManifestOf(manifestKey{c.party, "blog", "/blog/__invite__/"})
			return ok
		})
	}
	services := func(want string) {
		t.Helper()
		if got := fmt.Sprint(c.partyline().Services()); got != want {
			t.Errorf("services: %s, want %s", got, want)
		}
	}

	c.load(blogAt(b, declared...))
	services("map[four:[blog] two:[blog] url:[blog]]")
	time.Sleep(50 * time.Millisecond) // for what must not happen, in the background
	if n := len(b.Requests("")); n != 0 {
		t.Errorf("asked %d times though something is declared", n)
	}

	fetched(append(declared, "fetch_manifest")...)
	services("map[four:[blog] one:[blog] three:[blog] two:[blog] url:[blog]]")
	c.expectAsk("two", nil, `"declared"`)
	c.expectAsk("three", nil, `"fetched"`)
	for name, want := range map[string]string{"a": "/blog/fetched-a", "b": "/blog/declared-b", "c": "/blog/declared-c"} {
		c.expectLink(name, want)
	}

	applications.clear()
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

// TestHowAnApplicationIsAsked has hrefs and payloads, and what the application is
// sent.
func TestHowAnApplicationIsAsked(t *testing.T) {
	t.Setenv("TEST_GUEST_KEY", testGuestKey)
	type user struct {
		ID   int64  `json:"id"`
		Name string `json:"name,omitempty"`
	}
	long := json.Number("12345678901234567890.10")
	tests := []struct {
		href    string
		payload any
		want    string // method, URI and body; empty if it declines
	}{
		{"/user{?id}", map[string]any{"id": 7}, "GET /user?id=7 "},
		{"/user{?id}", map[string]any{"id": long}, "GET /user?id=12345678901234567890.10 "},
		{"/user{?id}", json.RawMessage(`{"id": 12345678901234567890, "more": [1]}`), "GET /user?id=12345678901234567890 "},
		{"/user{?id,name}", user{ID: 9007199254740993, Name: "J. Ö/&"}, "GET /user?id=9007199254740993&name=J.%20%C3%96%2F%26 "},
		{"/user{?id}", map[string]any{}, "GET /user "},
		{"/user{?id}", map[string]any{"id": nil}, "GET /user "},
		{"/user{?id}", map[string]any{"id": true}, "GET /user?id=true "},
		{"/user{?id*}", map[string]any{"id": []any{1, json.Number("2.0")}}, "GET /user?id=1&id=2.0 "},
		{"/user/{id}", map[string]any{"id": "a b"}, "GET /user/a%20b "},
		{"/user/{id}", map[string]any{"name": 1}, ""},
		{"/user/{id}", map[string]any{"id": nil}, ""},
		{"/user{?id}", nil, "GET /user "},
		{"/user{?id}", json.RawMessage("null"), "GET /user "},
		{"/user/{id}", nil, ""},
		{"/user{?id}", "7", ""},
		{"/user{?id}", []any{7}, ""},
		{"/user{?id}", 7, ""},

		{"/user", nil, "POST /user null"},
		{"/user", map[string]any{"id": long, "b": "<&>"}, `POST /user {"b":"\u003c\u0026\u003e","id":12345678901234567890.10}`},
		{"/user", []any{1, "2"}, `POST /user [1,"2"]`},
		{"/user", "text", `POST /user "text"`},
		{"/user", json.RawMessage(`{"id": 1.50}`), `POST /user {"id":1.50}`},
		{"/user?fixed=1", user{ID: 1}, `POST /user?fixed=1 {"id":1}`},

		{"GET /healthz", nil, "GET /healthz "},
		{"GET /healthz?full=1", []any{1}, "GET /healthz?full=1 "},
		{"GET /user{?id}", map[string]any{"id": 7}, "GET /user?id=7 "},
		{"POST /user", "text", `POST /user "text"`},
		{"POST /user/{id}{?q}", map[string]any{"id": 7, "more": []any{1}}, `POST /user/7 {"id":7,"more":[1]}`},
		{"POST /user{?id}", nil, "POST /user null"},
		{"POST /user/{id}", nil, ""},
		{"POST /user{?id}", "7", ""},
	}
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("", ofType("application/json", "[1]"))
	var options []string
	for i, test := range tests {
		options = append(options, fmt.Sprintf("service s%d %s", i, test.href))
	}
	c.load("prefix /apps\n" + blogAt(b, append(options, "key {env.TEST_GUEST_KEY}")...))
	keys, err := token.NewKeys([]string{testGuestKey})
	if err != nil {
		t.Fatal(err)
	}
	asker := c.partyline().Operator("asker")
	for i, test := range tests {
		what := fmt.Sprintf("%s with %v", test.href, test.payload)
		service := fmt.Sprint("s", i)
		before := len(b.Requests(""))
		answers, err := asker.AskAround(context.Background(), service, test.payload)
		requests := b.Requests("")[before:]
		if test.want == "" {
			if err != nil || len(answers) != 0 || len(requests) != 0 {
				t.Errorf("%s: %v %v, and %d requests; want it to decline", what, answers, err, len(requests))
			}
			continue
		}
		if err != nil || joinAnswers(answers) != "[1]" || len(requests) != 1 {
			t.Errorf("%s: %v %v, and %d requests", what, answers, err, len(requests))
			continue
		}
		r := requests[0]
		if got := r.Method + " " + r.URI + " " + r.Body; got != test.want {
			t.Errorf("%s: the application is sent %s, want %s", what, got, test.want)
		}
		header := map[string]string{"Accept": "application/json", "Cache-Control": "no-store", "X-Forwarded-Prefix": "/apps/blog", "X-Forwarded-For": "192.0.2.1"}
		if r.Method == "POST" {
			header["Content-Type"], header["Content-Length"] = "application/json", fmt.Sprint(len(r.Body))
		}
		for name, value := range header {
			if got := r.Header[name]; !slices.Equal(got, []string{value}) {
				t.Errorf("%s: %s: %q, want %s", what, name, got, value)
			}
		}
		proof, err := keys.Verify("blog", r.Header.Get(tokenHeader), time.Now())
		if err != nil || !proof.IsFor(r.Method, r.URI, []byte(r.Body)) || !proof.IsFor(r.Method, "/apps/blog"+r.URI, []byte(r.Body)) ||
			!slices.Equal(proof.Path, []token.Ask{{Guest: "asker", Service: service}}) || proof.Mount != "/apps/blog" {
			t.Errorf("%s: the token says %+v %v", what, proof, err)
		}
	}
}

// TestWhatAnApplicationAnswersAnAsk has all it may answer, and what that means.
func TestWhatAnApplicationAnswersAnAsk(t *testing.T) {
	status := func(status int) testbackend.Response { return testbackend.Response{Status: status, Body: "1"} }
	moved := testbackend.Response{Status: 302, Header: map[string]string{"Location": "/blog/good"}}
	const null = "null"
	tests := map[string]struct {
		response testbackend.Response
		answer   string
		err      string // none of both: it declines
	}{
		"json":       {response: ofType("application/json", ` {"b": 12345678901234567890.10, "a": "<"}`), answer: ` {"b": 12345678901234567890.10, "a": "<"}`},
		"parameters": {response: ofType("application/json; charset=utf-8", null), answer: null},
		"json-ld":    {response: ofType("application/ld+json", null), answer: null},
		"204":        {response: testbackend.Response{Status: 204}},

		"200-empty":   {response: ofType("application/json", ""), err: "the answer is no JSON"},
		"no-json":     {response: ofType("application/json", "{'a': 1}"), err: "the answer is no JSON"},
		"two":         {response: ofType("application/json", "1 2"), err: "the answer is more than one JSON value"},
		"html":        {response: ofType("text/html", null), err: "the answer is no JSON"},
		"no-type":     {response: ofType("", null), err: "the answer is no JSON"},
		"201":         {response: testbackend.Response{Status: 201, Body: null, Header: map[string]string{"Content-Type": "application/json"}}, err: "status 201"},
		"302":         {response: moved, err: "status 302"},
		"304":         {response: testbackend.Response{Status: 304}, err: "status 304"},
		"400":         {response: status(400), err: "status 400"},
		"401":         {response: status(401), err: "status 401"},
		"404":         {response: status(404), err: "status 404"},
		"500":         {response: status(500), err: "status 500"},
		"503":         {response: status(503), err: "status 503"},
		"too-long":    {response: ofType("application/json", `"`+strings.Repeat("x", 99)+`"`), err: "longer than 100 bytes"},
		"as-long":     {response: ofType("application/json", `"`+strings.Repeat("x", 98)+`"`), answer: `"` + strings.Repeat("x", 98) + `"`},
		"endless":     {response: testbackend.Response{Body: strings.Repeat(" ", 1<<12), Header: map[string]string{"Content-Type": "application/json"}, Endless: true}, err: "longer than 100 bytes"},
		"reset":       {response: testbackend.Response{Reset: true}, err: "status 502"},
		"garbage":     {response: testbackend.Response{Raw: "garbage\n\n"}, err: "status 502"},
		"cut":         {response: testbackend.Response{Body: null, Header: map[string]string{"Content-Type": "application/json"}, Cut: true}, err: "the response broke off"},
		"slow-header": {response: testbackend.Response{Body: null, Hold: true}, err: "it took longer than 2s"},
		"slow-body":   {response: testbackend.Response{Body: null, Header: map[string]string{"Content-Type": "application/json"}, Pause: 5 * time.Second}, err: "it took longer than 2s"},
	}
	c := newGuestTest(t)
	b := testbackend.Start(t, testport.Address(t))
	b.On("/good", ofType("application/json", null))
	options := []string{"timeout 2s", "max_answer 100B"}
	for name, test := range tests {
		b.On("/"+name, test.response)
		options = append(options, "service "+name+" /"+name)
	}
	c.load(blogAt(b, options...))
	var asks sync.WaitGroup
	for name, test := range tests {
		asks.Go(func() {
			answers, err := operatorOf(c, c.party).AskAround(context.Background(), name, nil)
			var failed *HandlerError
			if test.err == "" && err != nil || test.err != "" && (!errors.As(err, &failed) || failed.Guest != "blog" || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("%s: the error is %v, want %s", name, err, test.err)
			}
			if got := joinAnswers(answers); got != test.answer || test.answer == "" && len(answers) != 0 {
				t.Errorf("%s: it answers %q, want %q", name, got, test.answer)
			}
		})
	}
	asks.Wait()
	if n := len(b.Requests("/good")); n > 0 {
		t.Error("a redirect is followed")
	}
}

// TestTheLimitsOfAnAskByDefault are 2s and 1MiB.
func TestTheLimitsOfAnAskByDefault(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	quoted := func(n int) testbackend.Response { return ofType("application/json", `"`+strings.Repeat("x", n-2)+`"`) }
	b.On("/slow", testbackend.Response{Hold: true})
	b.On("/as-long", quoted(1<<20))
	b.On("/too-long", quoted(1<<20+1))
	c.load(blogAt(b, "service slow /slow", "service as-long /as-long", "service too-long /too-long"))
	if answers, err := c.ask("as-long", nil); len(answers) != 1<<20 || err != nil {
		t.Errorf("%d bytes, %v", len(answers), err)
	}
	if answers, err := c.ask("too-long", nil); answers != "" || err == nil || !strings.Contains(err.Error(), "longer than 1048576 bytes") {
		t.Errorf("%d bytes, %v", len(answers), err)
	}
	began := time.Now()
	_, err := c.ask("slow", nil)
	if took := time.Since(began); err == nil || !strings.Contains(err.Error(), "it took longer than 2s") || took < 2*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
}

// TestAConnectionThatWasIdleMayEndWhenItIsUsed has an application, as gunicorn and Node
// do after some seconds, close a kept connection without having read the ask that was
// just sent. Behind each service there is one answer, to keep the connection, then such
// an end, then another answer.
func TestAConnectionThatWasIdleMayEndWhenItIsUsed(t *testing.T) {
	c := newGuestTest(t)
	for _, address := range []string{"", testport.Address(t)} {
		b := testbackend.Start(t, address)
		kept, ended, again := ofType("application/json", `"kept"`), testbackend.Response{Reset: true}, ofType("application/json", `"again"`)
		b.On("/posted", kept, ended, again)
		b.On("/got", kept, ended, again)
		b.On("/never", kept, ended)
		c.load(blogAt(b, "service posted /posted", "service got /got{?id}", "service never /never"))
		for _, service := range []string{"posted", "got"} {
			c.expectAsk(service, map[string]any{"id": 1}, `"kept"`)
			c.expectAsk(service, map[string]any{"id": 1}, `"again"`)
			asked := b.Requests("/" + service)
			if len(asked) != 3 || asked[2].Body != asked[1].Body || asked[2].Header["Idempotency-Key"] != nil {
				t.Errorf("%+v", asked)
			}
		}
		c.expectAsk("never", nil, `"kept"`)
		if _, err := c.ask("never", nil); err == nil || !strings.Contains(err.Error(), "status 502") {
			t.Error(err)
		}
		if n := len(b.Requests("/never")); n != 3 {
			t.Errorf("sent %d times: it is sent again once only, by a new connection", n)
		}
	}
}

// TestAServiceMayBeAList has one with several handlers.
func TestAServiceMayBeAList(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/a", ofType("application/json", `"a"`))
	b.On("/b", testbackend.Response{Status: 500})
	b.On("/c", ofType("application/json", `"c"`))
	list := `"list": [{"href": "/a"}, {"answer": "constant"}, {"href": "/b"}, {"href": "/c"}]`
	b.On("/__invite__/", manifestOf(`{"services": {`+list+`}}`))
	for _, config := range []string{blogAt(b), blogAt(b, "service list /a", "answer list constant", "service list /b", "service list /c")} {
		c.load(config)
		c.await("list")
		answers, err := c.ask("list", nil)
		if answers != `"a" "constant" "c"` || err == nil || !strings.Contains(err.Error(), "status 500") {
			t.Errorf("%s %v", answers, err)
		}
	}
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
	if n := len(b.Requests("/__invite__/")); n != 1 {
		t.Errorf("asked for %d times", n)
	}
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
		{URLRequest{"post", values("slug", "a b")}, "/blog/posts/a%20b"},
		{URLRequest{"post", values("slug", 7, "more", 1)}, "/blog/posts/7"},
		{URLRequest{"post", nil}, ""},
		{URLRequest{"post", values("slug", nil)}, ""},
		{URLRequest{"blog:post", values("slug", "x")}, "/blog/posts/x"},
		{URLRequest{"shop:post", values("slug", "x")}, ""},
		{URLRequest{"post:post", values("slug", "x")}, ""},
		{URLRequest{"blog:blog:post", values("slug", "x")}, ""},
		{URLRequest{"blog:", nil}, ""},
		{URLRequest{"blog:both", nil}, "/blog/whole"},
		{URLRequest{"both", nil}, "/blog/part"},
		{URLRequest{"a:b", nil}, "/blog/ab"},
		{URLRequest{"blog:a:b", nil}, "/blog/ab"},
		{URLRequest{"search", nil}, "/blog/search"},
		{URLRequest{"search", values("q", "ü", "page", json.Number("12345678901234567890"))}, "/blog/search?q=%C3%BC&page=12345678901234567890"},
		{URLRequest{"nothing", nil}, ""},
		{URLRequest{"", nil}, ""},
		{[]any{"post", map[string]any{"slug": "x"}}, "/blog/posts/x"},
		{map[string]any{"name": "post", "kwargs": map[string]any{"slug": "x"}}, "/blog/posts/x"},
		{json.RawMessage(`{"name": "post", "values": {"slug": 12345678901234567890}}`), "/blog/posts/12345678901234567890"},
	} {
		c.expectAsk("url", test.payload, test.want)
	}
	if len(b.Requests("")) != 0 {
		t.Error("a link needs a request")
	}
	for href, want := range map[string]string{"/links": "/blog/by/service", "/evil": "", "/up": "", "/object": ""} {
		c.load(blogAt(b, "service url "+href))
		if got, err := c.ask("url", URLRequest{Name: "x"}); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q %v, want %q", href, got, err, want)
		}
	}
}

// TestWhatAnAskTakesAlong asks while a visitor's request is handled, and by
// wsgi_party_ask.
func TestWhatAnAskTakesAlong(t *testing.T) {
	t.Setenv("TEST_GUEST_KEY", testGuestKey)
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/who", testbackend.Response{Body: "1", Header: map[string]string{"Content-Type": "application/json", "Set-Cookie": "a=b"}})
	b.On("/__invite__/", manifestOf("{}"))
	partytest.App(t, "asker", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		answers, err := operatorOf(c, c.party).AskAround(r.Context(), "who", nil)
		fmt.Fprint(w, joinAnswers(answers), err)
		return nil
	})
	c.load(blogAt(b, "service who /who?blog", "forward x-user X-Absent", "forward X-Two", "key {env.TEST_GUEST_KEY}") + `
	invite /shop/__invite__/ /fetched/__invite__/ /inside/__invite__/
	handle_path /shop/* {
		wsgi_party_guest {
			service who /who?shop
			forward Authorization
		}
		reverse_proxy ` + b.Upstream() + `
	}
	handle_path /fetched/* {
		wsgi_party_guest
		reverse_proxy ` + b.Upstream() + `
	}
	test_app /ask asker
	handle_path /endpoint/* {
		wsgi_party_ask
	}
	`)
	awaitRequests(t, b, "/__invite__/", 1)
	const trace, state = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=1"
	send := func(method, path, authorization, want string) {
		t.Helper()
		r, err := http.NewRequest(method, "http://"+c.Address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Traceparent": {trace}, "Tracestate": {state}, "Cookie": {"session=1"}, "Authorization": {authorization},
			"X-User": {"ann"}, "X-Two": {"2"}, "X-Other": {"3"}, "Accept-Language": {"de"}}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var body strings.Builder
		if _, err := fmt.Fprint(&body, partytest.ReadAll(t, response)); err != nil || !strings.Contains(body.String(), want) || response.Header["Set-Cookie"] != nil {
			t.Errorf("%s %v", &body, response.Header)
		}
	}
	send("GET", "/ask", "Basic dTpw", "1 1<nil>")
	send("POST", "/endpoint/who", "Bearer "+testGuestKey, `"answers":[1]`)
	for i, want := range []struct{ uri, user, two, authorization string }{
		{"/who?blog", "ann", "2", ""},
		{"/who?shop", "", "", "Basic dTpw"},
		{"/who?shop", "", "", ""}, // of the visitor of wsgi_party_ask: a guest's key
	} {
		requests := b.Requests("/who")
		slices.SortStableFunc(requests[:2], func(a, b testbackend.Request) int { return strings.Compare(a.URI, b.URI) }) // they are asked together
		if len(requests) != 3 {
			t.Fatalf("%d requests", len(requests))
		}
		r := requests[i]
		if r.URI != want.uri {
			t.Errorf("request %d is %s", i, r.URI)
		}
		for name, value := range map[string]string{"Traceparent": trace, "Tracestate": state, "X-User": want.user, "X-Two": want.two,
			"Authorization": want.authorization, "Cookie": "", "X-Other": "", "Accept-Language": "", "X-Absent": "", "User-Agent": ""} {
			if got := r.Header.Get(name); got != value {
				t.Errorf("%d: %s is %q, want %q", i, name, got, value)
			}
		}
	}
	for _, r := range b.Requests("/__invite__/") {
		if r.Header["Cookie"] != nil || r.Header["Authorization"] != nil || r.Header["Traceparent"] != nil {
			t.Errorf("asked for its manifest with %v", r.Header)
		}
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
	c.expectAsk("url", URLRequest{Name: "home"}, "/shared/two /shared/one")
	answers, err := c.ask("who", nil)
	if answers != "2 1" && answers != "1 2" || err != nil {
		t.Errorf("%s %v", answers, err)
	}
	for guest, secret := range map[string]string{"one": testGuestKey, "two": other} {
		keys, err := token.NewKeys([]string{secret})
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/__invite__/", "/who/"} {
			for _, r := range b.Requests(path + guest) {
				if proof, err := keys.Verify(guest, r.Header.Get(tokenHeader), time.Now()); err != nil || proof.Guest != guest {
					t.Errorf("%s%s: %+v %v", path, guest, proof, err)
				}
				if got := r.Header[prefixHeader]; !slices.Equal(got, []string{"/shared"}) {
					t.Errorf("X-Forwarded-Prefix: %q", got)
				}
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
	for range breakerFailures + 1 {
		if answers, err := c.ask("taken", nil); answers != "" || !errors.Is(err, ErrMisrouted) {
			t.Errorf("%s %v", answers, err)
		}
	}
	partytest.Eventually(t, "the invite is told as misrouted", func() bool {
		entries := partytest.InvitesLogged(t, "other")
		return len(entries) == 1 && entries[0]["error"] == ErrMisrouted.Error() && strings.Contains(fmt.Sprint(entries[0]["hint"]), "another route answers at this path")
	})
	if n := len(b.Requests("")); n != 0 {
		t.Errorf("the application is sent %d requests", n)
	}
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
	if answers, err := c.ask("who", nil); answers != "" || !errors.Is(err, ErrMisrouted) {
		t.Errorf("%s %v", answers, err)
	}
	for _, r := range b.Requests("") {
		if r.Header[tokenHeader] != nil || r.Header[prefixHeader] != nil {
			t.Errorf("the other application is sent %v", r.Header)
		}
	}
}

// TestHowManyAsksAreUnderWay fills the guest's slots.
func TestHowManyAsksAreUnderWay(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	held := ofType("application/json", "1")
	held.Hold = true
	b.On("/hold", held)
	c.load(blogAt(b, "service hold /hold", "service other /hold?other", "answer constant 1", "timeout 30s"))
	line := c.partyline()
	var asks sync.WaitGroup
	ask := func(guest string, n int) {
		for range n {
			asks.Go(func() {
				if answers, err := line.Operator(guest).AskAround(context.Background(), "hold", nil); joinAnswers(answers) != "1" || err != nil {
					t.Errorf("%v %v", answers, err)
				}
			})
		}
	}
	full := func(guest string) {
		t.Helper()
		before := len(b.Requests("/hold"))
		for _, service := range []string{"hold", "other"} {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			answers, err := line.Operator(guest).AskAround(ctx, service, nil)
			cancel()
			if len(answers) != 0 || err == nil {
				t.Errorf("%s: %v %v", service, answers, err)
			}
		}
		if n := len(b.Requests("/hold")); n != before {
			t.Error("it is asked nevertheless")
		}
	}
	ask("greedy", 48)
	awaitRequests(t, b, "/hold", 48)
	full("greedy")
	ask("modest", 1)
	ask("", 15)
	awaitRequests(t, b, "/hold", 64)
	full("modest")
	full("")
	c.expectAsk("constant", nil, "1")
	b.Release()
	asks.Wait()
	ask("greedy", 48)
	awaitRequests(t, b, "/hold", 112)
	b.Release()
	asks.Wait()
}

// TestAGuestThatDoesNotAnswerIsNotAskedForAWhile has services that fail in all ways.
func TestAGuestThatDoesNotAnswerIsNotAskedForAWhile(t *testing.T) {
	good := ofType("application/json", "1")
	held := good
	held.Hold = true
	type test struct {
		response testbackend.Response
		ask      func() (context.Context, context.CancelFunc) // nil: for ever
		counts   bool
	}
	status := func(status int) testbackend.Response { return testbackend.Response{Status: status} }
	within := func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), 100*time.Millisecond)
	}
	cancelled := func() (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(100*time.Millisecond, cancel)
		return ctx, cancel
	}
	tests := map[string]test{
		"502":     {response: status(502), counts: true},
		"503":     {response: status(503), counts: true},
		"504":     {response: status(504), counts: true},
		"reset":   {response: testbackend.Response{Reset: true}, counts: true},
		"timeout": {response: held, counts: true},

		"204":                          {response: status(204)},
		"400":                          {response: status(400)},
		"404":                          {response: status(404)},
		"429":                          {response: status(429)},
		"500":                          {response: status(500)},
		"501":                          {response: status(501)},
		"html":                         {response: ofType("text/html", "")},
		"long":                         {response: ofType("application/json", strings.Repeat(" ", 101))},
		"whoever-asks-is-gone":         {response: held, ask: cancelled},
		"whoever-asks-has-had-no-time": {response: held, ask: within},
	}
	c := newGuestTest(t)
	b := testbackend.Start(t, testport.Address(t))
	options := []string{"timeout 1m", "max_answer 100B"}
	for name := range tests {
		if name != "timeout" {
			options = append(options, "service "+name+" /"+name)
		}
	}
	hurried := strings.ReplaceAll(blogAt(b, "timeout 1s", "service timeout /timeout"), "/blog/", "/hurried/")
	// What is sent by a connection that was used before may be sent twice.
	upstream := "reverse_proxy " + b.Upstream()
	c.load(strings.ReplaceAll(blogAt(b, options...)+hurried, upstream, upstream+" {\ntransport http {\nkeepalive off\n}\n}"))
	ask := func(name string, n int) []error {
		errs := make([]error, n)
		var asks sync.WaitGroup
		for i := range errs {
			asks.Go(func() {
				ctx, cancel := context.Background(), func() {}
				if do := tests[name].ask; n > 1 && do != nil {
					var end context.CancelFunc
					ctx, end = do()
					cancel = end
				}
				defer cancel()
				_, errs[i] = operatorOf(c, c.party).AskAround(ctx, name, nil)
			})
		}
		asks.Wait()
		return errs
	}
	// each asks for all services, so many times at once.
	each := func(n int, answers bool, check func(name string, err error)) {
		for name, test := range tests {
			b.On("/"+name, test.response)
			if answers {
				b.On("/"+name, good)
			}
		}
		var all errgroup.Group
		all.SetLimit(defaultMaxAsks * 3 / 4 / 5) // no ask is to fail because of the others
		var checking sync.Mutex
		for name := range tests {
			all.Go(func() error {
				errs := ask(name, n)
				checking.Lock()
				defer checking.Unlock()
				for _, err := range errs {
					check(name, err)
				}
				return nil
			})
		}
		_ = all.Wait()
		time.Sleep(100 * time.Millisecond) // handlers of those who are gone have not been waited for
	}
	answered := func(name string, err error) {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	each(1, true, answered)
	each(4, false, func(string, error) {}) // and not five in a row
	each(1, true, answered)
	for tries := 10; ; tries-- {
		began := time.Now()
		each(5, false, func(string, error) {})
		requests := make(map[string]int)
		for name := range tests {
			requests[name] = len(b.Requests("/" + name))
		}
		errs := make(map[string]error)
		var mu sync.Mutex
		each(1, true, func(name string, err error) {
			mu.Lock()
			defer mu.Unlock()
			errs[name] = err
		})
		inTime := time.Since(began) < breakerPause // else the machine is busy
		var all sync.WaitGroup
		for name, test := range tests {
			if !test.counts {
				answered(name, errs[name])
			} else if inTime {
				if err := errs[name]; err == nil || !strings.Contains(err.Error(), "it did not answer 5 times in a row, and is not asked for 5s") {
					t.Errorf("%s: %v", name, err)
				}
			}
			if asked := len(b.Requests("/"+name)) > requests[name]; inTime && asked == test.counts {
				t.Errorf("%s: that it is asked is %v", name, asked)
			}
			if test.counts {
				all.Go(func() {
					for deadline := time.Now().Add(time.Minute); ask(name, 1)[0] != nil; time.Sleep(10 * time.Millisecond) {
						if time.Now().After(deadline) {
							t.Errorf("%s: it is not asked again", name)
							return
						}
					}
					if after := time.Since(began); after < breakerPause {
						t.Errorf("%s: it is asked again after %v", name, after)
					}
				})
			}
		}
		all.Wait()
		if inTime {
			return
		}
		if tries == 0 {
			t.Fatal("the machine is too busy")
		}
	}
}

// TestOneSlowGuestCostsItsTimeoutOnce asks many, of which one hangs.
func TestOneSlowGuestCostsItsTimeoutOnce(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/hang", testbackend.Response{Hold: true})
	b.On("/quick", ofType("application/json", "1"))
	config := ""
	for i, options := range []string{"service who /quick", "service who /hang\nservice who /hang?2\nservice who /hang?3", "service who /quick"} {
		config += fmt.Sprintf(`
	invite /%d/__invite__/
	handle_path /%d/* {
		wsgi_party_guest {
			timeout 2s
			%s
		}
		reverse_proxy %s
	}`, i, i, options, b.Upstream())
	}
	c.load(config)
	answers, err := c.ask("who", nil)
	if answers != "1 1" || strings.Count(fmt.Sprint(err), "it took longer than 2s") != 3 {
		t.Errorf("%s: %v", answers, err)
	}
	hung := b.Requests("/hang")
	for _, r := range hung {
		if slices.ContainsFunc(hung, func(other testbackend.Request) bool { return !r.Ended.IsZero() && other.Began.After(r.Ended) }) {
			t.Error("its handlers are asked one after the other")
		}
	}

	c.load(strings.ReplaceAll(config, "2s", "5m"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if answer, err := First[int](ctx, operatorOf(c, c.party), "who", nil); answer != 1 || err != nil {
		t.Errorf("the first is %v: %v", answer, err)
	}
}

// TestNoInviteReachesAnApplicationWhileTheConfigLoads has an application that never
// answers, and invites that are taken, and others that are not.
func TestNoInviteReachesAnApplicationWhileTheConfigLoads(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("", testbackend.Response{Hold: true})
	started := make(chan time.Time, 1)
	partytest.OnProvision(t, "start", partytest.DuringStart(t, func() error {
		time.Sleep(200 * time.Millisecond) // for what must not happen, in the background
		started <- time.Now()
		return nil
	}))
	c.load(`
	test_app /start start
	invite /taken/__invite__/ /wrong/__invite__/ /swapped/__invite__/ /nobody/__invite__/ /inside/__invite__/
	invite_timeout 30s
	handle /taken/* {
		wsgi_party_guest
		reverse_proxy ` + b.Upstream() + `
	}
	handle /wrong/* {
		wsgi_party_guest swapped
		reverse_proxy ` + b.Upstream() + `
	}
	handle /swapped/* {
		wsgi_party_guest wrong
		reverse_proxy ` + b.Upstream() + `
	}
	handle /nobody/* {
		wsgi_party_guest other
		reverse_proxy ` + b.Upstream() + `
	}
	handle /unused/* {
		wsgi_party_guest
		reverse_proxy ` + b.Upstream() + `
	}
	handle /inside/* {
		wsgi_party_guest taken
		wsgi_party_guest inside
		reverse_proxy ` + b.Upstream() + `
	}`)
	at := <-started
	awaitRequests(t, b, "/taken/__invite__/", 1)
	awaitRequests(t, b, "/inside/__invite__/", 1)
	for _, r := range b.Requests("") {
		if r.Began.Before(at) || r.URI != "/taken/__invite__/" && r.URI != "/inside/__invite__/" {
			t.Errorf("%s %v after the start", r.URI, r.Began.Sub(at))
		}
		if r.Header.Get("Accept") != partytest.ManifestType {
			t.Errorf("%s is no request for a manifest: %v", r.URI, r.Header)
		}
	}
}

func TestStrictInvitesLoadThoughTheApplicationIsDown(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.New(t, "")
	b.On("/__invite__/", manifestOf(`{"services": {"ping": {"answer": 1}}}`))
	c.load("strict_invites\n" + blogAt(b))
	partytest.Eventually(t, "it is not there", func() bool { return len(partytest.LogEntries(t, "invite failed")) == 1 })
	b.Start()
	c.await("ping")

	err := c.TryLoad(c.inParty("strict_invites\n" + strings.Replace(blogAt(b), "wsgi_party_guest", "wsgi_party_guest other", 1)))
	if err == nil || !strings.Contains(err.Error(), "strict_invites is set") {
		t.Error(err)
	}
}

// TestAGuestInTwoServersIsAskedOnce has a site with two ports.
func TestAGuestInTwoServersIsAskedOnce(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/1"}, "services": {"who": {"href": "/who"}}}`), manifestOf(`{"urls": {"home": "/1"}, "services": {"who": {"href": "/who"}}}`),
		manifestOf(`{"urls": {"home": "/2"}, "services": {"who": {"href": "/who"}}}`))
	b.On("/who", ofType("application/json", "1"))
	second := testport.Address(t)
	c.Caddy.Load("ADDRESS, http://" + second + " {\nwsgi_party " + c.party + " {\n" + blogAt(b) + "\n}\n}")
	replicas := func() int {
		guests := c.partyline().Guests()
		if len(guests) != 1 {
			return 0
		}
		return guests[0].Replicas
	}
	partytest.Eventually(t, "both servers have it", func() bool { return replicas() == 2 })
	c.expectAsk("who", nil, "1")
	c.expectAsk("url", URLRequest{Name: "home"}, "/blog/1")
	if n := len(b.Requests("/who")); n != 1 {
		t.Errorf("the application is asked %d times", n)
	}
	visitOf(t, "blog").fetchSoon()
	awaitRequests(t, b, "/__invite__/", 3)
	partytest.Eventually(t, "its new operator takes over from the old one", func() bool { return replicas() == 2 })
	c.expectAsk("who", nil, "1")
	if answers, err := c.ask("url", URLRequest{Name: "home"}); answers != "/blog/1" && answers != "/blog/2" || err != nil {
		t.Errorf("%s %v", answers, err)
	}
}

// TestMistakesOfTheFirstDayAreLogged has guests whose invite does not reach them.
func TestMistakesOfTheFirstDayAreLogged(t *testing.T) {
	const message = "no invite reached a wsgi_party_guest handler: its application is not on the line"
	c := newGuestTest(t)
	for name, test := range map[string]struct {
		directives string
		hints      []string
	}{
		"no invite":            {"handle_path /blog/* {\nwsgi_party_guest\n}", []string{"write `invite <mount>/__invite__/` in the wsgi_party block"}},
		"no invite for a name": {"handle_path /blog/* {\nwsgi_party_guest log\n}", []string{"write `invite <mount>/__invite__/ as log` in the wsgi_party block"}},
		"basic_auth": {"invite /blog/__invite__/\nhandle_path /blog/* {\nroute {\nbasic_auth {\nu $2a$14$ANZXnjQ6Fc3b.6WqRKZAsu/0Vv4LnLYrHG6vYsLsp0E/bXjLQNJpy\n}\nwsgi_party_guest\n}\n}",
			[]string{"/blog/__invite__/", "status 401", "`not vars partyline blog`"}},
		"redirect":   {"invite /blog/__invite__/\nhandle_path /blog/* {\nroute {\nredir * /there\nwsgi_party_guest\n}\n}", []string{"/blog/__invite__/", "status 302", "/there"}},
		"rate limit": {"invite /blog/__invite__/\nhandle_path /blog/* {\nroute {\nerror 429\nwsgi_party_guest\n}\n}", []string{"/blog/__invite__/", "status 429", "partyline"}},
	} {
		partytest.ResetLog()
		c.load(test.directives)
		warned := partytest.LogEntries(t, message)
		if len(warned) != 1 || warned[0]["level"] != "warn" || warned[0]["party"] != c.party {
			t.Errorf("%s: %v", name, warned)
			continue
		}
		for _, hint := range test.hints {
			if got := fmt.Sprint(warned[0]["hint"]); !strings.Contains(got, hint) {
				t.Errorf("%s: the hint is %q, want %s", name, got, hint)
			}
		}
	}
	c.load("invite /blog/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest {\nanswer a b\n}\n}")
	if len(partytest.LogEntries(t, "guest joined")) != 1 {
		t.Error("it has not joined")
	}
}

// TestThePartyPassesAuthentication has people log in, with the recipe of the hint.
func TestThePartyPassesAuthentication(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	b.On("/__invite__/", manifestOf(`{"services": {"who": {"href": "/who"}}}`))
	b.On("/who", ofType("application/json", "1"))
	partytest.App(t, "guest", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		if value := caddyhttp.GetVar(r.Context(), "partyline"); fmt.Sprint(value) != "blog" {
			t.Errorf("the variable partyline prints as %v", value)
		}
		return next.ServeHTTP(w, r)
	})
	c.load(`
	invite /blog/__invite__/
	handle_path /blog/* {
		@people not vars partyline blog
		basic_auth @people {
			u $2a$14$ANZXnjQ6Fc3b.6WqRKZAsu/0Vv4LnLYrHG6vYsLsp0E/bXjLQNJpy
		}
		wsgi_party_guest
		test_app guest
		reverse_proxy ` + b.Upstream() + `
	}`)
	c.await("who")
	c.expectAsk("who", nil, "1")
	if status, _ := c.Get("/blog/who"); status != 401 {
		t.Errorf("people get %d", status)
	}
	if n := len(b.Requests("/who")); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// TestInvitesOfApplicationsAreSentAgain asks for it while the application is no guest.
func TestInvitesOfApplicationsAreSentAgain(t *testing.T) {
	partytest.App(t, "slow", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		err := next.ServeHTTP(w, r)
		if PeekInvitation(r) != nil {
			time.Sleep(100 * time.Millisecond) // in which the application answers
		}
		return err
	})
	c := newGuestTest(t)
	b := testbackend.Start(t, "")
	c.load(`
	invite /blog/__invite__/
	handle_path /blog/* {
		route {
			test_app slow
			wsgi_party_guest
			reverse_proxy ` + b.Upstream() + `
		}
	}`)
	partytest.Eventually(t, "it is no guest", func() bool { return len(partytest.InvitesLogged(t, "blog")) == 1 })
	again := func(result InviteResult, status int, sent bool) {
		t.Helper()
		infos := SendInvites(c.party, "blog")
		if len(infos) != 1 || infos[0].Result != result || infos[0].Status != status || infos[0].Sent != sent {
			t.Errorf("%+v", infos)
		}
	}
	again(InviteNotAnswered, 404, true)
	b.On("/__invite__/", manifestOf(`{"services": {"ping": {"answer": 1}}}`))
	again(InviteJoined, 200, true)
	c.expectAsk("ping", nil, "1")
	again(InviteJoined, 200, false)
	if guests := c.partyline().Guests(); len(guests) != 1 || guests[0].Replicas != 1 {
		t.Errorf("%+v", guests)
	}
}

// TestAGuestAsksWhileItIsInvited has a Go module ask an application in the context of
// its own invite, which is not to be taken for the application's.
func TestAGuestAsksWhileItIsInvited(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, testport.Address(t))
	b.On("/ping", ofType("application/json", `"pong"`))
	var got any
	partytest.App(t, "asker", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		o, ok := OperatorFrom(r)
		if !ok {
			return nil
		}
		var err error
		got, err = First[string](r.Context(), o, "ping", nil)
		return err
	})
	c.load(blogAt(b, "service ping /ping") + `
	invite /asker/__invite__/
	handle_path /asker/* {
		test_app asker
	}`)
	if got != "pong" {
		t.Errorf("got %v, want the application's answer", got)
	}
}
