// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

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
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

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
	c, b := newBlogTest(t)
	b.On("", jsonOf("[1]"))
	var options []string
	for i, test := range tests {
		options = append(options, fmt.Sprintf("service s%d %s", i, test.href))
	}
	c.load("prefix /apps\n" + blogAt(b, append(options, "key {env.TEST_GUEST_KEY}")...))
	keys := check.Value(token.NewKeys([]string{testGuestKey}))(t)
	asker := c.partyline().Operator("asker")
	for i, test := range tests {
		what := fmt.Sprintf("%s with %v", test.href, test.payload)
		service := fmt.Sprint("s", i)
		before := len(b.Requests(""))
		answers, err := asker.AskAround(context.Background(), service, test.payload)
		requests := b.Requests("")[before:]
		if test.want == "" {
			check.ErrorIf(t, err != nil || len(answers) != 0 || len(requests) != 0, "%s: %v %v, and %d requests; want it to decline", what, answers, err, len(requests))
			continue
		}
		if err != nil || joinAnswers(answers) != "[1]" || len(requests) != 1 {
			t.Errorf("%s: %v %v, and %d requests", what, answers, err, len(requests))
			continue
		}
		r := requests[0]
		check.Equal(t, r.Method+" "+r.URI+" "+r.Body, test.want, "%s: the application is sent", what)
		header := map[string]string{"Accept": "application/json", "Cache-Control": "no-store", "X-Forwarded-Prefix": "/apps/blog", "X-Forwarded-For": "192.0.2.1"}
		if r.Method == "POST" {
			header["Content-Type"], header["Content-Length"] = "application/json", fmt.Sprint(len(r.Body))
		}
		for name, value := range header {
			check.Slices(t, r.Header[name], []string{value}, "%s: %s, want %s", what, name, value)
		}
		proof, err := keys.Verify("blog", r.Header.Get("Party-Token"), time.Now())
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
		"json":       {response: jsonOf(` {"b": 12345678901234567890.10, "a": "<"}`), answer: ` {"b": 12345678901234567890.10, "a": "<"}`},
		"parameters": {response: ofType("application/json; charset=utf-8", null), answer: null},
		"json-ld":    {response: ofType("application/ld+json", null), answer: null},
		"204":        {response: testbackend.Response{Status: 204}},

		"200-empty":   {response: jsonOf(""), err: "the answer is no JSON"},
		"no-json":     {response: jsonOf("{'a': 1}"), err: "the answer is no JSON"},
		"two":         {response: jsonOf("1 2"), err: "the answer is more than one JSON value"},
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
		"too-long":    {response: jsonOf(`"` + strings.Repeat("x", 99) + `"`), err: "longer than 100 bytes"},
		"as-long":     {response: jsonOf(`"` + strings.Repeat("x", 98) + `"`), answer: `"` + strings.Repeat("x", 98) + `"`},
		"endless":     {response: testbackend.Response{Body: strings.Repeat(" ", 1<<12), Header: map[string]string{"Content-Type": "application/json"}, Endless: true}, err: "longer than 100 bytes"},
		"reset":       {response: testbackend.Response{Reset: true}, err: "status 502"},
		"garbage":     {response: testbackend.Response{Raw: "garbage\n\n"}, err: "status 502"},
		"cut":         {response: testbackend.Response{Body: null, Header: map[string]string{"Content-Type": "application/json"}, Cut: true}, err: "the response broke off"},
		"slow-header": {response: testbackend.Response{Body: null, Hold: true}, err: "it took longer than 2s"},
		"slow-body":   {response: testbackend.Response{Body: null, Header: map[string]string{"Content-Type": "application/json"}, Pause: 5 * time.Second}, err: "it took longer than 2s"},
	}
	c := newGuestTest(t)
	b := testbackend.Start(t, testport.Address(t))
	b.On("/good", jsonOf(null))
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
			var failed *wsgiparty.HandlerError
			check.ErrorIf(t, test.err == "" && err != nil || test.err != "" && (!errors.As(err, &failed) || failed.Guest != "blog" || !strings.Contains(err.Error(), test.err)), "%s: the error is %v, want %s", name, err, test.err)
			got := joinAnswers(answers)
			check.ErrorIf(t, got != test.answer || test.answer == "" && len(answers) != 0, "%s: it answers %q, want %q", name, got, test.answer)
		})
	}
	asks.Wait()
	n := len(b.Requests("/good"))
	check.ErrorIf(t, n > 0, "a redirect is followed")
}

// TestTheLimitsOfAnAskByDefault are 2s and 1MiB.
func TestTheLimitsOfAnAskByDefault(t *testing.T) {
	c, b := newBlogTest(t)
	quoted := func(n int) testbackend.Response { return jsonOf(`"` + strings.Repeat("x", n-2) + `"`) }
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
	took := time.Since(began)
	check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), "it took longer than 2s") || took < 2*time.Second, "after %v: %v", took, err)
}

// TestAConnectionThatWasIdleMayEndWhenItIsUsed has an application, as gunicorn and Node
// do after some seconds, close a kept connection without having read the ask that was
// just sent. Behind each service there is one answer, to keep the connection, then such
// an end, then another answer.
func TestAConnectionThatWasIdleMayEndWhenItIsUsed(t *testing.T) {
	c := newGuestTest(t)
	for _, address := range []string{"", testport.Address(t)} {
		b := testbackend.Start(t, address)
		kept, ended, again := jsonOf(`"kept"`), testbackend.Response{Reset: true}, jsonOf(`"again"`)
		b.On("/posted", kept, ended, again)
		b.On("/got", kept, ended, again)
		b.On("/never", kept, ended)
		c.load(blogAt(b, "service posted /posted", "service got /got{?id}", "service never /never"))
		for _, service := range []string{"posted", "got"} {
			c.expectAsk(service, map[string]any{"id": 1}, `"kept"`)
			c.expectAsk(service, map[string]any{"id": 1}, `"again"`)
			asked := b.Requests("/" + service)
			check.ErrorIf(t, len(asked) != 3 || asked[2].Body != asked[1].Body || asked[2].Header["Idempotency-Key"] != nil, "%+v", asked)
		}
		c.expectAsk("never", nil, `"kept"`)
		if _, err := c.ask("never", nil); err == nil || !strings.Contains(err.Error(), "status 502") {
			t.Error(err)
		}
		check.Equal(t, len(b.Requests("/never")), 3, "sent times: it is sent again once only, by a new connection")
	}
}

// TestAServiceMayBeAList has one with several handlers.
func TestAServiceMayBeAList(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/a", jsonOf(`"a"`))
	b.On("/b", testbackend.Response{Status: 500})
	b.On("/c", jsonOf(`"c"`))
	list := `"list": [{"href": "/a"}, {"answer": "constant"}, {"href": "/b"}, {"href": "/c"}]`
	b.On("/__invite__/", manifestOf(`{"services": {`+list+`}}`))
	for _, config := range []string{blogAt(b), blogAt(b, "service list /a", "answer list constant", "service list /b", "service list /c")} {
		c.load(config)
		c.await("list")
		answers, err := c.ask("list", nil)
		check.ErrorIf(t, answers != `"a" "constant" "c"` || err == nil || !strings.Contains(err.Error(), "status 500"), "%s %v", answers, err)
	}
}

// TestWhatAnAskTakesAlong asks while a visitor's request is handled, and by
// wsgi_party_ask.
func TestWhatAnAskTakesAlong(t *testing.T) {
	t.Setenv("TEST_GUEST_KEY", testGuestKey)
	c, b := newBlogTest(t)
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
		r := check.Value(http.NewRequest(method, "http://"+c.Address+path, nil))(t)
		r.Header = http.Header{"Traceparent": {trace}, "Tracestate": {state}, "Cookie": {"session=1"}, "Authorization": {authorization},
			"X-User": {"ann"}, "X-Two": {"2"}, "X-Other": {"3"}, "Accept-Language": {"de"}}
		response := check.Value(http.DefaultClient.Do(r))(t)
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
		check.FatalIf(t, len(requests) != 3, "%d requests", len(requests))
		r := requests[i]
		check.Equal(t, r.URI, want.uri, "request %d", i)
		for name, value := range map[string]string{"Traceparent": trace, "Tracestate": state, "X-User": want.user, "X-Two": want.two,
			"Authorization": want.authorization, "Cookie": "", "X-Other": "", "Accept-Language": "", "X-Absent": "", "User-Agent": ""} {
			check.Equal(t, r.Header.Get(name), value, "%d: %s", i, name)
		}
	}
	for _, r := range b.Requests("/__invite__/") {
		check.ErrorIf(t, r.Header["Cookie"] != nil || r.Header["Authorization"] != nil || r.Header["Traceparent"] != nil, "asked for its manifest with %v", r.Header)
	}
}

// TestHowManyAsksAreUnderWay fills the guest's slots.
func TestHowManyAsksAreUnderWay(t *testing.T) {
	c, b := newBlogTest(t)
	held := jsonOf("1")
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
			check.ErrorIf(t, len(answers) != 0 || err == nil, "%s: %v %v", service, answers, err)
		}
		check.Equal(t, len(b.Requests("/hold")), before, "it is asked nevertheless")
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
