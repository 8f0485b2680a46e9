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
	"github.com/wsgiparty/wsgiparty/httpguest"
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

		"200-empty":   {response: jsonOf(""), err: "the answer is not JSON"},
		"no-json":     {response: jsonOf("{'a': 1}"), err: "the answer is not JSON"},
		"two":         {response: jsonOf("1 2"), err: "the answer is more than one JSON value"},
		"html":        {response: ofType("text/html", null), err: "the answer is not JSON"},
		"no-type":     {response: ofType("", null), err: "the answer is not JSON"},
		"201":         {response: testbackend.Response{Status: 201, Body: null, Header: map[string]string{"Content-Type": "application/json"}}, err: "status 201"},
		"302":         {response: moved, err: "status 302"},
		"304":         {response: testbackend.Response{Status: 304}, err: "status 304"},
		"400":         {response: status(400), err: "status 400"},
		"401":         {response: status(401), err: "status 401"},
		"404":         {response: status(404), err: "status 404"},
		"500":         {response: status(500), err: "status 500"},
		"503":         {response: status(503), err: "status 503"},
		"307":         {response: testbackend.Response{Status: 307, Header: map[string]string{"Location": "http://localhost:1/"}}, err: "status 307"},
		"too-long":    {response: jsonOf(`"` + strings.Repeat("x", 199) + `"`), err: "longer than 200 bytes"},
		"as-long":     {response: jsonOf(`"` + strings.Repeat("x", 198) + `"`), answer: `"` + strings.Repeat("x", 198) + `"`},
		"deep":        {response: jsonOf(strings.Repeat("[", 65) + strings.Repeat("]", 65)), err: "nested more than 64 levels deep"},
		"as-deep":     {response: jsonOf(strings.Repeat("[", 64) + strings.Repeat("]", 64)), answer: strings.Repeat("[", 64) + strings.Repeat("]", 64)},
		"not-deep":    {response: jsonOf(`["\"` + strings.Repeat("[", 100) + `"]`), answer: `["\"` + strings.Repeat("[", 100) + `"]`},
		"endless":     {response: testbackend.Response{Body: strings.Repeat(" ", 1<<12), Header: map[string]string{"Content-Type": "application/json"}, Endless: true}, err: "longer than 200 bytes"},
		"reset":       {response: testbackend.Response{Reset: true}, err: "status 502"},
		"garbage":     {response: testbackend.Response{Raw: "garbage\n\n"}, err: "status 502"},
		"cut":         {response: testbackend.Response{Body: null, Header: map[string]string{"Content-Type": "application/json"}, Cut: true}, err: "the response broke off"},
		"slow-header": {response: testbackend.Response{Body: null, Hold: true}, err: "it took longer than 2s"},
		"slow-body":   {response: testbackend.Response{Body: null, Header: map[string]string{"Content-Type": "application/json"}, Pause: 5 * time.Second}, err: "it took longer than 2s"},
	}
	c := newGuestTest(t)
	b := testbackend.Start(t, testport.Address(t))
	b.On("/good", jsonOf(null))
	options := []string{"timeout 2s", "max_answer 200B"}
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
	check.Equal(t, len(check.Value(c.ask("as-long", nil))(t)), 1<<20)
	c.expectFailure("too-long", nil, "longer than 1048576 bytes")
	began := time.Now()
	c.expectFailure("slow", nil, "it took longer than 2s")
	check.ErrorIf(t, time.Since(began) < 2*time.Second, "it took %v", time.Since(began))
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
		c.expectFailure("never", nil, "status 502")
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
		var answers string
		var err error
		partytest.Eventually(t, "the last of the list is on the line", func() bool {
			answers, err = c.ask("list", nil)
			return strings.HasSuffix(answers, `"c"`)
		})
		check.ErrorIf(t, answers != `"a" "constant" "c"` || err == nil || !strings.Contains(err.Error(), "status 500"), "%s %v", answers, err)
	}
}

// TestAServiceThatDoesNotAnswerIsLeftAloneForAWhile has services fail four times, and, when
// they have answered once, five times in a row.
func TestAServiceThatDoesNotAnswerIsLeftAloneForAWhile(t *testing.T) {
	status := func(status int) testbackend.Response { return testbackend.Response{Status: status} }
	good, held := jsonOf("1"), testbackend.Response{Hold: true}
	tests := map[string]struct {
		response testbackend.Response
		counts   bool
	}{
		"502":     {status(502), true},
		"503":     {status(503), true},
		"504":     {status(504), true},
		"reset":   {testbackend.Response{Reset: true}, true},
		"timeout": {held, true},

		"204":     {status(204), false},
		"400":     {status(400), false},
		"404":     {status(404), false},
		"429":     {status(429), false},
		"500":     {status(500), false},
		"501":     {status(501), false},
		"html":    {ofType("text/html", ""), false},
		"no-json": {jsonOf("{"), false},
		"long":    {jsonOf(strings.Repeat(" ", 101)), false},
	}
	c := newGuestTest(t)
	b := testbackend.Start(t, testport.Address(t))
	options := []string{"timeout 1m", "max_answer 100B", "service held /held"}
	for name, test := range tests {
		bad := test.response
		b.On("/"+name, bad, bad, bad, bad, good, bad, bad, bad, bad, bad, good)
		if name != "timeout" {
			options = append(options, "service "+name+" /"+name)
		}
	}
	// What is sent by a connection that was used before may be sent twice.
	upstream := "reverse_proxy " + b.Upstream()
	c.load(strings.ReplaceAll(blogAt(b, options...)+guestAt("hurried", b, "timeout 1s", "service timeout /timeout"), upstream, upstream+" {\ntransport http {\nkeepalive off\n}\n}"))
	fail := func(name string, times int) {
		var asks sync.WaitGroup
		for range times {
			asks.Go(func() {
				answers, _ := c.ask(name, nil)
				check.Equal(t, answers, "", name)
			})
		}
		asks.Wait()
	}
	var all sync.WaitGroup
	for name, test := range tests {
		all.Go(func() {
			fail(name, 4)
			c.expectAsk(name, nil, "1")
			began := time.Now()
			fail(name, 5)
			if !test.counts {
				c.expectAsk(name, nil, "1")
				return
			}
			c.expectFailure(name, nil, "it failed to answer 5 times in a row, and is left alone for 5s")
			check.Equal(t, len(b.Requests("/"+name)), 10, name)
			partytest.Eventually(t, name+" is asked again", func() bool { answers, _ := c.ask(name, nil); return answers == "1" })
			check.ErrorIf(t, time.Since(began) < httpguest.BreakerPause, "%s: it is asked again after %v", name, time.Since(began))
		})
	}
	all.Wait()

	// Who does not wait for the answer says nothing of the service.
	for what, end := range map[string]func() (context.Context, context.CancelFunc){
		"has no time": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 10*time.Millisecond)
		},
		"is gone": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, cancel)
			return ctx, cancel
		},
	} {
		b.On("/held", held)
		for range 2 * httpguest.BreakerFailures {
			ctx, cancel := end()
			answers, err := operatorOf(t, c.party).AskAround(ctx, "held", nil)
			check.ErrorIf(t, err == nil, "who %s gets %v", what, answers)
			cancel()
		}
		b.On("/held", good)
		c.expectAsk("held", nil, "1")
	}
}

// TestOneSlowGuestCostsItsTimeoutOnce asks many, of which one hangs.
func TestOneSlowGuestCostsItsTimeoutOnce(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/hang", testbackend.Response{Hold: true})
	b.On("/quick", jsonOf("1"))
	config := guestAt("one", b, "service who /quick") + guestAt("two", b, "timeout 2s", "service who /hang", "service who /hang?2", "service who /hang?3") + guestAt("three", b, "service who /quick")
	c.load(config)
	answers, err := c.ask("who", nil)
	check.ErrorIf(t, answers != "1 1" || strings.Count(fmt.Sprint(err), "it took longer than 2s") != 3, "%s: %v", answers, err)
	hung := b.Requests("/hang")
	for _, r := range hung {
		check.ErrorIf(t, slices.ContainsFunc(hung, func(other testbackend.Request) bool { return !r.Ended.IsZero() && other.Began.After(r.Ended) }), "its handlers are asked one after the other")
	}

	c.load(strings.ReplaceAll(config, "2s", "5m"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	check.Equal(t, check.Value(wsgiparty.First[int](ctx, operatorOf(c, c.party), "who", nil))(t), 1, "the first")
}

// TestAnAskTakesAlongWhatIsForwardedAndNothingElse of a visitor's, and of a guest's that
// asks.
func TestAnAskTakesAlongWhatIsForwardedAndNothingElse(t *testing.T) {
	keyA, keyB := partytest.Key(t, "a"), partytest.Key(t, "b")
	c := newGuestTest(t)
	partytest.App(t, "page", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		answers, err := operatorOf(c, c.party).AskAround(r.Context(), "ask", nil)
		fmt.Fprint(w, joinAnswers(answers), err)
		return nil
	})
	setsCookie := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "stolen=1")
		w.Header().Set("X-Evil", "1")
		partytest.JSON("1")(w, r)
	}
	a, b := partytest.NewApplication(t, "", setsCookie), partytest.NewApplication(t, "", setsCookie)
	c.load("invite /a/__invite__/ /b/__invite__/\n" + partytest.Mounted("a", "key {env.a_PARTY_KEY}\nservice ask /ask\nforward Authorization cookie X-Own X-Absent\nforward Cache-Control Accept", a) +
		partytest.Mounted("b", "key {env.b_PARTY_KEY}\nservice ask /ask", b) + "test_app /page page\nhandle_path /ask/* {\nwsgi_party_ask\n}")
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	header := func(authorization string) http.Header {
		return http.Header{"Authorization": {authorization}, "Cookie": {"session=1"}, "X-Own": {"own"}, "X-Other": {"other"}, "Proxy-Authorization": {"visitor"}, "Accept-Language": {"de"},
			"Cache-Control": {"visitor"}, "Accept": {partytest.ManifestType}, "Traceparent": {trace}, "Tracestate": {"a=1"}}
	}
	r := check.Value(http.NewRequest("GET", "http://"+c.Address+"/page", nil))(t)
	r.Header = header("Basic visitor")
	response := check.Value(partytest.Send(r))(t)
	check.Equal(t, response.Body, "1 1<nil>", "the page")
	check.ErrorIf(t, response.Header["Set-Cookie"] != nil || response.Header["X-Evil"] != nil, "the page has %v", response.Header)
	expect := func(what string, a *partytest.Application, authorization, cookie, own string) {
		t.Helper()
		requests := a.Requests()
		check.FatalIf(t, len(requests) == 0, "%s: no request", what)
		for name, want := range map[string]string{"Authorization": authorization, "Cookie": cookie, "X-Own": own, "X-Other": "", "X-Absent": "", "Proxy-Authorization": "", "Accept-Language": "", "User-Agent": "",
			"Cache-Control": "no-store", "Accept": "application/json", "Traceparent": trace, "Tracestate": "a=1"} {
			check.Equal(t, requests[len(requests)-1].Header.Get(name), want, "%s: %s", what, name)
		}
	}
	expect("what the guest is to have", a, "Basic visitor", "session=1", "own")
	expect("what the guest is not to have", b, "", "", "")

	// The key of a guest that asks is nobody else's.
	for key, asked := range map[string]*partytest.Application{keyA: b, keyB: a} {
		for path, body := range map[string]string{"/ask/ask": "null", "/ask/": `[{"service": "ask"}]`} {
			status, body := c.Do("POST", path, body, header("Bearer "+key))
			check.ErrorIf(t, status != 200 || !strings.Contains(body, "answered"), "asking: %d %s", status, body)
			expect("what a guest that asks has", asked, "", "", "")
		}
	}
	for _, r := range append(a.Requests(), b.Requests()...) {
		text := fmt.Sprint(r.Header, r.URL)
		check.ErrorIf(t, strings.Contains(text, keyA) || strings.Contains(text, keyB), "a key came along: %s", text)
	}
}
