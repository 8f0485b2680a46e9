// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// broken is an application that breaks one sentence.
type broken struct {
	id      string // of the sentence
	how     string
	result  Result
	change  func(*application)
	options func(*Options)
	seen    string // is in what was seen
}

// answers makes an application answer otherwise where a request is such.
func answers(is func(r *http.Request, body []byte) bool, do http.HandlerFunc) func(*application) {
	return func(a *application) {
		a.broken = func(w http.ResponseWriter, r *http.Request, body []byte, good http.Handler) {
			if !is(r, body) {
				good.ServeHTTP(w, r)
				return
			}
			do(w, r)
		}
	}
}

// alters makes it answer as is good, but with what changes it.
func alters(is func(r *http.Request, body []byte) bool, change func(a *httptest.ResponseRecorder)) func(*application) {
	return func(a *application) {
		a.broken = func(w http.ResponseWriter, r *http.Request, body []byte, good http.Handler) {
			recorder := httptest.NewRecorder()
			good.ServeHTTP(recorder, r)
			if is(r, body) && (recorder.Code == http.StatusOK || recorder.Code == http.StatusNoContent) {
				change(recorder)
			}
			for name, values := range recorder.Header() {
				w.Header()[name] = values
			}
			w.WriteHeader(recorder.Code)
			_, _ = w.Write(recorder.Body.Bytes())
		}
	}
}

func isInvite(r *http.Request, _ []byte) bool {
	return r.URL.Path == "/__invite__/" && r.Method == http.MethodGet
}

func isAsk(service string) func(r *http.Request, _ []byte) bool {
	return func(r *http.Request, _ []byte) bool {
		return r.URL.Path == "/__invite__/party/"+service && (r.Method == http.MethodPost || r.Method == http.MethodGet)
	}
}

func status(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

func says(text string) func(*httptest.ResponseRecorder) {
	return func(a *httptest.ResponseRecorder) { a.Body = bytes.NewBufferString(text) }
}

func becomes(status int) func(*httptest.ResponseRecorder) {
	return func(a *httptest.ResponseRecorder) { a.Code = status }
}

func header(name, value string) func(*httptest.ResponseRecorder) {
	return func(a *httptest.ResponseRecorder) { a.Header().Set(name, value) }
}

func manifests(text string) func(*application) {
	return func(a *application) { a.manifest = text }
}

func without(what string) func(*application) {
	return func(a *application) { a.without[what] = true }
}

// What takes that long is slow, on a busy machine, too.
const sleeping, tooLong = 800 * time.Millisecond, 600 * time.Millisecond

// sleeps makes it slow for what is such, as often as is needed.
func sleeps(is func(r *http.Request, body []byte) bool) func(*application) {
	var times atomic.Int32
	return alters(is, func(*httptest.ResponseRecorder) {
		if times.Add(1) <= 12 {
			time.Sleep(sleeping)
		}
	})
}

func withoutMount(o *Options) { o.Mount, o.Guest = "", "blog" }

// inShop has it at /shop, of which it knows nothing.
func inShop(a *application) {
	answers(func(r *http.Request, _ []byte) bool { return strings.HasPrefix(r.URL.Path, "/shop/") }, func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/shop")
		body, _ := io.ReadAll(r.Body)
		a.serve(w, r, body)
	})(a)
}

func ofShop(o *Options) { o.URL, o.Guest = o.URL+"/shop/__invite__/", "blog" }

var brokenApplications = []broken{
	{id: "manifest.status", how: "500", result: Fail, change: answers(isInvite, status(500)), seen: "500"},
	{id: "manifest.status", how: "redirect", result: Fail, change: answers(isInvite, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://example.com/__invite__/", http.StatusMovedPermanently)
	}), seen: "301"},
	{id: "manifest.status", how: "closed connection", result: Fail, change: answers(isInvite, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), seen: "closed"},
	{id: "manifest.type", how: "HTML", result: Fail, change: alters(isInvite, func(a *httptest.ResponseRecorder) {
		header("Content-Type", "text/html; charset=utf-8")(a)
		says("<!doctype html>")(a)
	}), seen: "text/html"},
	{id: "manifest.type", how: "JSON", result: Fail, change: alters(isInvite, header("Content-Type", "application/json")), seen: "application/json"},
	{id: "manifest.size", result: Fail, change: manifests(`{"urls": {}` + strings.Repeat(" ", maxManifest) + `}`), seen: "65536 bytes"},
	{id: "manifest.json", how: "name twice", result: Fail, change: manifests(`{"urls": {}, "urls": {}}`), seen: "occurs twice"},
	{id: "manifest.json", how: "half a pair", result: Fail, change: manifests(`{"urls": {"a": "\ud800"}}`), seen: "surrogate"},
	{id: "manifest.json", how: "byte order mark", result: Fail, change: manifests("\ufeff{}"), seen: "byte order mark"},
	{id: "manifest.json", how: "HTML", result: Fail, change: manifests("<!doctype html>"), seen: "invalid character"},
	{id: "manifest.form", how: "name", result: Fail, change: manifests(`{"urls": {"a b": "/"}}`), seen: `"a b"`},
	{id: "manifest.form", how: "template", result: Fail, change: manifests(`{"urls": {"a": "/{+b}"}}`), seen: "urls.a"},
	{id: "manifest.form", how: "type", result: Fail, change: manifests(`{"services": {"s": "pong"}}`), seen: "it is a string"},
	{id: "manifest.meant", result: Warn, change: manifests(strings.Replace(goodManifest, "/posts/{slug}", "/posts/:slug", 1)), seen: ":slug"},
	{id: "manifest.base", how: "href elsewhere", result: Warn, change: manifests(goodManifest), options: withoutMount, seen: "/users/"},
	{id: "manifest.base", how: "urls elsewhere", result: Fail, change: inShop, options: ofShop, seen: "not under /blog/shop"},
	{id: "manifest.base", how: "claims elsewhere", result: Warn, change: func(a *application) {
		a.manifest = `{"claims": ["/shop/x", "GET /users/{id}"]}`
		inShop(a)
	}, options: ofShop, seen: "the claim GET /users/{id} has no effect, because it is not under /blog/shop"},
	{id: "manifest.relative", how: "with the mount", result: Fail, change: func(a *application) {
		a.broken = func(w http.ResponseWriter, r *http.Request, body []byte, good http.Handler) {
			other := *a
			other.manifest = strings.Replace(goodManifest, "/search", r.Header.Get("X-Forwarded-Prefix")+"/search", 1)
			other.serve(w, r, body)
		}
	}, seen: "/wsgi-party-check/blog/search"},
	{id: "manifest.relative", how: "no manifest", result: Fail, change: answers(func(r *http.Request, _ []byte) bool {
		return strings.HasPrefix(r.Header.Get("X-Forwarded-Prefix"), "/wsgi-party-check") && isInvite(r, nil)
	}, http.NotFound), seen: "404"},
	{id: "manifest.alike", result: Fail, change: func(a *application) {
		calls := 0
		alters(func(r *http.Request, _ []byte) bool {
			if !r.Close || !isInvite(r, nil) {
				return false
			}
			calls++
			return calls == 4
		}, says(`{"urls": {"home": "/"}}`))(a)
	}, seen: "url about is missing"},
	{id: "manifest.etag", how: "none", result: Warn, change: alters(isInvite, func(a *httptest.ResponseRecorder) { a.Header().Del("Etag") }), seen: "none"},
	{id: "manifest.etag", how: "in vain", result: Warn, change: func(a *application) {
		a.broken = func(w http.ResponseWriter, r *http.Request, _ []byte, good http.Handler) {
			r.Header.Del("If-None-Match")
			good.ServeHTTP(w, r)
		}
	}, seen: `200 to "1"`},
	{id: "manifest.etag", how: "412", result: Fail, change: answers(func(r *http.Request, _ []byte) bool { return r.Header.Get("If-None-Match") == `"1"` }, status(412)), seen: "412"},
	{id: "manifest.changed", result: Fail, change: answers(func(r *http.Request, _ []byte) bool { return r.Header.Get("If-None-Match") != "" }, status(304)), seen: "304"},
	{id: "manifest.max-age", how: "short", result: Warn, change: alters(isInvite, header("Cache-Control", "private, max-age=5")), seen: "max-age=5"},
	{id: "manifest.max-age", how: "no number", result: Warn, change: alters(isInvite, header("Cache-Control", "max-age=1h")), seen: "max-age=1h"},
	{id: "manifest.time", how: "slow", result: Warn, change: sleeps(isInvite), options: func(o *Options) { o.limits.slow = tooLong }, seen: "s"},
	{id: "manifest.time", how: "too slow", result: Fail, change: sleeps(isInvite), options: func(o *Options) { o.limits.invite = tooLong }, seen: "Caddy gives up"},
	{id: "manifest.cookies", result: Warn, change: alters(isInvite, header("Set-Cookie", "session=1")), seen: "1"},
	{id: "manifest.methods", result: Fail, change: answers(func(r *http.Request, _ []byte) bool {
		return r.Method == http.MethodHead && r.URL.Path == "/__invite__/"
	}, status(500)), seen: "HEAD 500"},

	{id: "connections.kept", how: "for 5 s", result: Warn, change: alters(isInvite, header("Keep-Alive", "timeout=5")), seen: "5 s"},

	{id: "mount.links", how: "twice", result: Fail, change: alters(isPage, says(`<p><a href="/blog/blog/about">`)), seen: "/blog/blog/about"},
	{id: "mount.links", how: "never", result: Warn, change: alters(isPage, says(`<p><a href='/posts/1'>`)), seen: "without /blog"},

	{id: "ask.status", how: "fails for null", result: Warn, change: alters(isCount, becomes(500)), seen: "count: 500"},
	{id: "ask.status", how: "fails", result: Fail, change: alters(isCount, becomes(500)), options: counting, seen: "count: 500"},
	{id: "ask.status", how: "is not there", result: Fail, change: answers(isAsk("count"), http.NotFound), seen: "count: 404"},
	{id: "ask.status", how: "is for another method", result: Fail, change: answers(isAsk("count"), status(405)), seen: "count: 405"},
	{id: "ask.status", how: "201", result: Fail, change: alters(isCount, becomes(201)), seen: "count: 201"},
	{id: "ask.redirect", result: Fail, change: alters(isAsk("count"), func(a *httptest.ResponseRecorder) {
		a.Code = 308
		header("Location", "/login")(a)
	}), seen: "count: 308 to /login"},
	{id: "ask.type", result: Fail, change: alters(isAsk("count"), header("Content-Type", "text/html")), seen: "text/html"},
	{id: "ask.json", how: "twice", result: Fail, change: alters(isAsk("count"), says(`{"a": 1, "a": 2}`)), seen: "occurs twice"},
	{id: "ask.json", how: "NaN", result: Fail, change: alters(isAsk("user"), says(`NaN`)), seen: "user[0]"},
	{id: "ask.size", result: Fail, change: alters(isAsk("user"), says(`"`+strings.Repeat("x", maxBody)+`"`)), seen: "1048576 bytes"},
	{id: "ask.time", how: "slow", result: Warn, change: sleeps(isAsk("user")), options: func(o *Options) { o.limits.slow = tooLong }, seen: "s"},
	{id: "ask.time", how: "too slow", result: Fail, change: sleeps(isAsk("user")), options: func(o *Options) { o.Timeout = tooLong }, seen: "Caddy gives up"},
	{id: "ask.cookies", result: Warn, change: alters(isAsk("user"), header("Set-Cookie", "session=1")), seen: "user[0]: 1"},
	{id: "ask.url", how: "another host", result: Fail, change: alters(isAsk("url"), says(`"//example.com/about"`)), seen: "//example.com"},
	{id: "ask.url", how: "mount twice", result: Fail, change: alters(isAsk("url"), says(`"/blog/blog/about"`)), seen: "twice"},
	{id: "ask.url", how: "script", result: Fail, change: alters(isAsk("url"), says(`"javascript:alert(1)"`)), seen: "javascript"},
	{id: "ask.url", how: "no string", result: Fail, change: alters(isAsk("url"), says(`["/about"]`)), seen: "[\"/about\"]"},
	{id: "ask.url-forms", how: "fails", result: Fail, change: answers(asksList, status(500)), seen: "500 to [name, values]"},
	{id: "ask.url-forms", how: "declines", result: Warn, change: answers(asksList, status(204)), seen: "204 to [name, values]"},
	{id: "ask.url-guest", result: Warn, change: answers(func(_ *http.Request, body []byte) bool { return bytes.Contains(body, []byte("blog:")) }, status(204)), seen: "204 to blog:old-about"},
	{id: "ask.claims", result: Fail, change: alters(isAsk("claims"), says(`{"claimed": true}`)), seen: `claims: {"claimed": true}`},
	{id: "ask.declines", result: Fail, change: answers(func(_ *http.Request, body []byte) bool { return bytes.Contains(body, []byte(noPage)) }, http.NotFound), options: func(o *Options) { delete(o.Payloads, "url") }, seen: "404"},
	{id: "ask.payload", result: Fail, change: answers(func(r *http.Request, body []byte) bool { return bytes.HasPrefix(body, []byte("no JSON")) }, status(500)), seen: `500 to "no JSON"`},
	{id: "ask.unknown", result: Fail, change: answers(func(r *http.Request, _ []byte) bool { return strings.HasSuffix(r.URL.Path, "/"+noPage) }, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, "pong") }), seen: ": 200"},
	{id: "ask.methods", result: Fail, change: answers(func(r *http.Request, _ []byte) bool {
		return r.Method == http.MethodOptions && r.URL.Path != "/__invite__/"
	}, status(500)), seen: "OPTIONS 500"},
	{id: "ask.large", how: "413", result: Warn, change: answers(isLarge, status(413)), seen: "count: 413"},
	{id: "ask.large", how: "500", result: Fail, change: answers(isLarge, status(500)), seen: "count: 500"},
	{id: "ask.too-large", how: "taken", result: Warn, change: func(a *application) { a.most = 10 << 20 }, seen: "count: 200"},
	{id: "ask.too-large", how: "500", result: Fail, change: func(a *application) {
		a.most = 10 << 20
		answers(func(_ *http.Request, body []byte) bool { return len(body) > testBody+8<<10 }, status(500))(a)
	}, seen: "count: 500"},
	{id: "ask.long", result: Fail, change: answers(func(r *http.Request, _ []byte) bool { return len(r.RequestURI) > 1000 }, status(500)), seen: "500 to 4 KiB"},

	{id: "batch.form", how: "two", result: Fail, change: alters(isBatch(3), says(`[{"answer": 8}, {"declined": true}]`)), seen: "a list of 2 to 3 asks"},
	{id: "batch.form", how: "alone", result: Fail, change: alters(isAsk("stock"), says(`{"answer": 8}`)), seen: "not a list"},
	{id: "batch.form", how: "none of the three", result: Fail, change: alters(isBatch(3), says(`[{"answer": 8}, {"declined": false}, {"answer": 8}]`)), seen: `{"declined": false}`},
	{id: "batch.form", how: "two of the three", result: Fail, change: alters(isBatch(3), says(`[{"answer": 8}, {"declined": true, "error": "x"}, {"answer": 8}]`)), seen: `"error": "x"`},
	{id: "batch.order", how: "reversed", result: Fail, change: alters(isBatch(3), says(`[{"declined": true}, {"answer": 8}, {"answer": 8}]`)), seen: `{"declined": true}, 200, 200`},
	{id: "batch.alone", how: "204", result: Fail, change: answers(isBatch(3), status(204)), seen: "204 to all of three"},
	{id: "batch.alone", how: "500", result: Fail, change: answers(isBatch(3), status(500)), seen: "500 to all of three"},
	{id: "batch.refused", how: "taken", result: Warn, change: answers(isBatch(65), func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, []int{}) }), seen: "200 to"},
	{id: "batch.refused", how: "500", result: Fail, change: answers(isBatch(65), status(500)), seen: "500 to"},
	{id: "batch.time", how: "slow", result: Fail, change: alters(isBatch(64), func(*httptest.ResponseRecorder) { time.Sleep(sleeping) }), options: func(o *Options) { o.Timeout = tooLong }, seen: "gives up after"},
	{id: "batch.time", how: "400", result: Fail, change: answers(isBatch(64), status(400)), seen: "400 to 64 asks"},

	{id: "token.right", result: Fail, change: answers(isAsk("count"), status(403)), seen: "count: 403"},
	{id: "token.path", result: Fail, change: without("any path"), seen: "count: 401"},
	{id: "token.query", result: Fail, change: answers(func(r *http.Request, _ []byte) bool {
		return isInvite(r, nil) && r.URL.RawQuery != "" && r.Header.Get("Party-Token") != ""
	}, status(401)), seen: "401"},
	{id: "token.leeway", result: Fail, change: func(a *application) { a.leeway = 10 }, seen: "20 s"},
	{id: "token.keys", result: Fail, change: without("keys"), seen: "401 to key 2"},
	{id: "token.missing", result: Fail, change: without("missing"), seen: "the invite: 200"},
	{id: "token.empty-key", result: Fail, change: without("empty-key"), seen: "the invite: 200"},
	{id: "token.none", result: Fail, change: without("none"), seen: "alg none"},
	{id: "token.header", result: Fail, change: without("header"), seen: "crit"},
	{id: "token.signature", result: Fail, change: without("signature"), seen: "the first half"},
	{id: "token.claim", result: Fail, change: without("claim"), seen: "another jti"},
	{id: "token.expired", result: Fail, change: without("expired"), seen: "5 minutes ago"},
	{id: "token.early", result: Fail, change: without("early"), seen: "5 minutes from now"},
	{id: "token.lifetime", result: Fail, change: without("lifetime"), seen: "an hour"},
	{id: "token.guest", result: Warn, change: without("guest"), seen: "one for wsgi-party-check"},
	{id: "token.method", result: Fail, change: without("method"), seen: "DELETE"},
	{id: "token.uri", result: Fail, change: without("uri"), seen: "another path"},
	{id: "token.body", result: Fail, change: without("body"), seen: "another body"},
	{id: "token.malformed", result: Fail, change: answers(func(r *http.Request, _ []byte) bool { return r.Header.Get("Party-Token") == ".." }, status(500)), seen: "500 to two dots"},
	{id: "token.status", result: Warn, change: func(a *application) {
		a.broken = func(w http.ResponseWriter, r *http.Request, body []byte, good http.Handler) {
			if strings.HasPrefix(r.URL.Path, "/__invite__/") && a.verify(r, body) != nil {
				http.NotFound(w, r)
				return
			}
			good.ServeHTTP(w, r)
		}
	}, seen: "the invite: 404"},

	{id: "complete", how: "hrefs", result: Warn, change: func(a *application) {
		a.keys = nil
		var services []string
		for i := range maxHrefs + 1 {
			services = append(services, fmt.Sprintf(`"s%d": {"href": "/users/1", "method": "GET"}`, i))
		}
		a.manifest = `{"services": {` + strings.Join(services, ",") + `}}`
	}, seen: "64 of 65"},
	{id: "complete", how: "time", result: Fail, change: answers(isAsk("count"), func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), options: func(o *Options) { o.limits.check = 300 * time.Millisecond }, seen: "did not end within 300 ms"},
}

func isPage(r *http.Request, _ []byte) bool { return r.URL.Path == "/" }

func isCount(r *http.Request, body []byte) bool {
	return isAsk("count")(r, nil) && r.Header.Get("Party-Token") != "" && slices.Contains([]string{"null", "1"}, string(body))
}

func isLarge(r *http.Request, body []byte) bool {
	return isAsk("count")(r, nil) && len(body) > testBody/2
}

// isBatch is a batch of so many asks.
func isBatch(asks int) func(r *http.Request, body []byte) bool {
	return func(r *http.Request, body []byte) bool {
		return isAsk("stock")(r, nil) && bytes.Count(body, []byte(`"payload"`)) == asks
	}
}

func asksList(r *http.Request, body []byte) bool {
	return isAsk("url")(r, nil) && bytes.HasPrefix(body, []byte("["))
}

func counting(o *Options) { o.Payloads["count"] = "1" }

// testBody is how much an application of these tests takes: less than others, as there are many.
const testBody = 32 << 10

// unhurried are limits that a machine which is busy with other tests keeps.
var unhurried = limits{body: testBody, invite: 20 * time.Second, page: 20 * time.Second, slow: 10 * time.Second, beside: 10 * time.Second, linger: 20 * time.Millisecond, check: 2 * time.Minute}

// TestABrokenApplicationFailsOneLine has for each sentence an application that fails that
// line, and no other.
func TestABrokenApplicationFailsOneLine(t *testing.T) {
	tested := map[string]bool{"token.key": true, "connections.workers": true, "party-ask.forged": true} // below
	for _, b := range brokenApplications {
		tested[b.id] = true
		t.Run(strings.TrimSuffix(b.id+" "+b.how, " "), func(t *testing.T) {
			t.Parallel()
			a := newApplication()
			b.change(a)
			o := a.start(t)
			if b.options != nil {
				b.options(&o)
			}
			failsOnly(t, checked(t, o), b.id, b.result, b.seen)
		})
	}
	for _, s := range sentences {
		check.ErrorIf(t, !tested[s.id] && !strings.HasPrefix(s.id, "asking."), "no broken application for "+s.id)
	}
}

func failsOnly(t *testing.T, report *Report, id string, result Result, seen string) {
	t.Helper()
	for _, line := range report.Lines {
		switch {
		case line.ID == id:
			check.ErrorIf(t, line.Result != result || !strings.Contains(line.Seen, seen) || line.Write == "", "%s: %s, %s: %s; want %s with %s", line.ID, line.Result, line.Seen, line.Write, result, seen)
		case line.Result == Warn || line.Result == Fail:
			t.Errorf("%s, too: %s, %s: %s", line.ID, line.Result, line.Seen, line.Write)
		}
	}
	check.Equal(t, report.Passed, result != Fail, "passed")
}

func TestATokenOfAnyKeyIsNotTaken(t *testing.T) {
	a := newApplication()
	a.without["key"] = true
	report := checked(t, a.start(t))
	for _, id := range []string{"token.key", "token.empty-key", "token.signature", "token.claim"} { // who takes any key verifies no signature
		check.Equal(t, report.Line(id).Result, Fail, id)
	}
	check.Equal(t, report.Line("token.body").Result, OK)
}

// oneAtATime is a listener whose server gets the next connection when the last one is closed.
type oneAtATime struct {
	net.Listener
	turn chan struct{}
}

func (l *oneAtATime) Accept() (net.Conn, error) {
	l.turn <- struct{}{}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.turn
		return nil, err
	}
	return &itsTurn{Conn: conn, end: sync.OnceFunc(func() { <-l.turn })}, nil
}

type itsTurn struct {
	net.Conn
	end func()
}

func (c *itsTurn) Close() error {
	defer c.end()
	return c.Conn.Close()
}

func TestAServerWithOneWorkerIsSeen(t *testing.T) {
	checkServer := func(keepAlive bool) *Report {
		a := newApplication()
		server := httptest.NewUnstartedServer(a)
		server.Config.SetKeepAlivesEnabled(keepAlive)
		server.Listener = &oneAtATime{server.Listener, make(chan struct{}, 1)}
		server.Start()
		defer server.Close()
		defer server.CloseClientConnections()
		o := Options{URL: server.URL, Mount: "/blog", Keys: a.keys, limits: unhurried}
		o.limits.beside = time.Second
		return checked(t, o)
	}
	failsOnly(t, checkServer(false), "connections.workers", Warn, "no answer in")
	report := checkServer(true)
	check.Equal(t, report.Line("connections.workers").Result, Warn)
	check.Equal(t, report.Line("connections.kept").Result, Fail)
	check.Equal(t, report.Line("token.body").Result, OK, "the rest is tested all the same")
}

// TestAForgedAskThatIsBelievedIsSeen has applications that believe one, and ask there.
func TestAForgedAskThatIsBelievedIsSeen(t *testing.T) {
	for how, believes := range map[string]func(value string) bool{
		"any":     func(value string) bool { return value != "" },
		"any mac": func(value string) bool { return strings.Contains(value, "; mac=") && !strings.HasSuffix(value, "=") },
		"other text": func(value string) bool {
			return strings.HasSuffix(value, "; mac="+askMAC(testKey, "", addressIn(value)))
		},
	} {
		t.Run(how, func(t *testing.T) {
			a := newApplication()
			var asked atomic.Int32
			a.broken = func(w http.ResponseWriter, r *http.Request, _ []byte, good http.Handler) {
				if value := r.Header.Get("Party-Ask"); believes(value) {
					ask, err := http.NewRequestWithContext(r.Context(), http.MethodPost, addressIn(value)+"url", nil)
					if err == nil {
						ask.Header.Set("Authorization", "Bearer "+testKey)
						if response, err := http.DefaultClient.Do(ask); err == nil {
							response.Body.Close()
							asked.Add(1)
						}
					}
				}
				good.ServeHTTP(w, r)
			}
			report := checked(t, a.start(t))
			failsOnly(t, report, "party-ask.forged", Fail, "they brought the key")
			check.ErrorIf(t, asked.Load() == 0 || strings.Contains(fmt.Sprint(report), testKey), "asked %d times", asked.Load())
		})
	}
}

// TestNoForgedAskIsRight would else leave behind an application that asks somebody else.
func TestNoForgedAskIsRight(t *testing.T) {
	a := newApplication()
	a.broken = func(w http.ResponseWriter, r *http.Request, _ []byte, good http.Handler) {
		for _, value := range r.Header.Values("Party-Ask") {
			for _, key := range a.keys {
				check.ErrorIf(t, strings.Contains(value, "mac="+askMAC(key, askPrefix, addressIn(value))), "%q", value)
			}
		}
		good.ServeHTTP(w, r)
	}
	checked(t, a.start(t)).Expect(t)
}

func addressIn(value string) string {
	address, _, _ := strings.Cut(value, ";")
	return address
}
