// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/strictjson"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// askPath is below what the application is told to ask at.
const askPath = "/wsgi-party-check"

// asked is a request of the application's to the party.
type asked struct {
	method, path string
	header       http.Header
	body         []byte
}

// endpoint is what the application takes for Caddy's, when a page is to be looked at.
type endpoint struct {
	server *http.Server
	url    string

	mu     sync.Mutex
	answer http.HandlerFunc
	asked  []asked
	kept   int // bytes of their bodies
}

func newEndpoint() (*endpoint, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &endpoint{url: "http://" + l.Addr().String() + askPath}
	e.server = &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second, MaxHeaderBytes: maxHeader}
	go func() { _ = e.server.Serve(l) }()
	return e, nil
}

// maxAsked is how many requests are kept for one view of a page, and maxKept how many bytes of them.
const (
	maxAsked = 1024
	maxKept  = 16 << 20
)

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	e.mu.Lock()
	if e.kept += len(body); len(e.asked) < maxAsked && e.kept <= maxKept {
		e.asked = append(e.asked, asked{r.Method, r.URL.EscapedPath(), r.Header, body})
	}
	answer := e.answer
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	e.mu.Unlock()
	answer(w, r)
}

// take returns what was asked since the last time.
func (e *endpoint) take() []asked {
	e.mu.Lock()
	defer e.mu.Unlock()
	taken := e.asked
	e.asked, e.kept = nil, 0
	return taken
}

func (e *endpoint) on(answer http.HandlerFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = answer
}

// answersLinks answers as Caddy would with this version of the line if somebody had a page for every name, and no
// other answers.
func answersLinks(version string, lasting bool) http.HandlerFunc {
	result := func(service string) map[string]any {
		if service != urlService {
			return map[string]any{"answers": []any{}, "replies": []any{}}
		}
		r := map[string]any{
			"answers": []any{askPath + "/page"},
			"replies": []any{map[string]any{"guest": noPage, "mount": askPath, "status": "answered"}},
		}
		if lasting {
			r["lasting"] = true
		}
		return r
	}
	return func(w http.ResponseWriter, r *http.Request) {
		var answer any
		if service := strings.TrimPrefix(r.URL.Path, askPath+"/"); service != "" {
			answer = result(service)
		} else if r.Method != http.MethodPost {
			w.Header().Set("ETag", `"`+version+`"`)
			answer = map[string]any{"services": map[string]any{}, "guests": map[string]any{}}
		} else {
			body, _ := io.ReadAll(r.Body)
			asks, _ := wire.ParseAsks(body)
			results := make([]any, len(asks))
			for i, ask := range asks {
				results[i] = result(ask.Service)
			}
			answer = results
		}
		w.Header().Set("Party-Line", version)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// checkAsking has a page ask this command, which then answers as nobody should.
func (c *checker) checkAsking() {
	if c.page == "" || len(c.keys) == 0 {
		return
	}
	e, err := newEndpoint()
	if err != nil {
		c.see("asking.key", Skip, err.Error())
		return
	}
	defer e.server.Close()
	version := rand.Text()
	e.on(answersLinks(version, false))
	q := c.told(c.asCaddy(request{method: http.MethodGet, target: c.page, timeout: patient(c.limits.page), header: http.Header{"Accept": {"text/html,*/*"}}}).
		with("Cookie", "wsgi_party_check=1").with("CDN-Loop", noPage), e, version)
	a := c.do(q)
	first := e.take()
	if len(first) == 0 {
		c.pageAsksNobody = fmt.Sprintf("GET %s: %s, without asking where Party-Ask says; is WSGI_PARTY_URL set?", c.page, a)
		return
	}
	for _, ask := range first {
		c.checkAsked(ask)
	}
	c.do(q)
	e.take()
	c.do(q)
	again := e.take()
	result := OK
	if len(again) > 1 {
		result = Warn
	}
	c.see("asking.batch", result, fmt.Sprintf("%d requests for the first view, and %d for the third", len(first), len(again)))
	for _, h := range c.hrefs[:min(len(c.hrefs), maxPlaces)] {
		right := c.told(c.signed(h.right), e, version)
		c.do(right)
		for _, ask := range e.take() {
			c.checkHandedBack(h, ask.header["Party-Token"], cmp.Or(h.token, right.header.Get("Party-Token")))
		}
	}
	c.checkBadAnswers(e, c.checkLine(e, q))
}

// checkHandedBack tests what token came with what was asked while the href was.
func (c *checker) checkHandedBack(h *href, got []string, want string) {
	what := "another token"
	switch {
	case len(got) == 0:
		what = "none"
	case len(got) == 1 && got[0] == want:
		what = "its token"
	}
	c.expect("asking.token", what == "its token", fmt.Sprintf("what %s asks has %s", h.place, what))
}

// checkAsked tests one request to the party, made for a page.
func (c *checker) checkAsked(ask asked) {
	secret, isBearer := strings.CutPrefix(ask.header.Get("Authorization"), "Bearer ")
	seen := ask.method + " " + ask.path
	c.expect("asking.key", isBearer && slices.Contains(c.keys, secret) && ask.method == http.MethodPost && strings.HasPrefix(ask.path, askPath+"/"), seen)
	switch problem := c.problemIn(ask); problem {
	case "":
		c.see("asking.json", OK, fmt.Sprintf("%s: %d bytes", seen, len(ask.body)))
	default:
		c.see("asking.json", Fail, seen+": "+problem)
	}
	c.expect("asking.visitor", ask.header["Cookie"] == nil, fmt.Sprintf("%s, cookies: %s", seen, none(len(ask.header["Cookie"]))))
	c.expect("asking.token", ask.header["Party-Token"] == nil, fmt.Sprintf("what %s asks has %s", c.page, none(len(ask.header["Party-Token"]))), "send no token but that of the request being handled")
	handedOn := func(id, name, want string) {
		if got := ask.header.Get(name); got == want {
			c.see(id, OK, seen)
		} else {
			c.see(id, Warn, fmt.Sprintf("%s, with %q", seen, got))
		}
	}
	if c.mount != "" {
		handedOn("asking.prefix", "X-Forwarded-Prefix", c.mount)
	}
	handedOn("asking.loop", "Cdn-Loop", noPage)
}

// problemIn says what is wrong with the JSON of an ask; "" if nothing is.
func (c *checker) problemIn(ask asked) string {
	if len(ask.body) > maxBody {
		return fmt.Sprintf("more than %d bytes", maxBody)
	}
	if len(ask.body) == 0 && ask.path != askPath+"/" {
		return "" // is null
	}
	if err := strictjson.Check(ask.body); err != nil {
		return err.Error()
	}
	if ask.path != askPath+"/" {
		return ""
	}
	asks, err := wire.ParseAsks(ask.body)
	switch {
	case err != nil:
		return err.Error()
	case len(asks) > wire.MaxAsks:
		return fmt.Sprintf("%d asks in one list", len(asks))
	}
	return ""
}

// checkBadAnswers has what the application takes for Caddy answer as Caddy does not.
func (c *checker) checkBadAnswers(e *endpoint, q request) {
	t, err := newTrap(c.keys)
	if err != nil {
		return
	}
	defer t.Close()
	view := func(id string, answer http.HandlerFunc, judge func(response)) {
		e.on(answer)
		for range 8 { // one that was answered badly may wait before it asks again
			a := c.do(q)
			if len(e.take()) > 0 {
				judge(a)
				return
			}
			c.pause(c.limits.between)
		}
		c.see(id, Skip, "it asks no more after another answer")
	}
	view("asking.redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+t.Addr().String()+r.URL.Path, http.StatusTemporaryRedirect)
	}, func(response) {
		c.pause(c.limits.linger)
		c.expect("asking.redirect", t.calls.Load() == 0, fmt.Sprintf("%d requests to its target, %d with the key", t.calls.Load(), t.leaks.Load()))
	})
	read := make(chan int, maxAsked)
	view("asking.endless", func(w http.ResponseWriter, r *http.Request) { read <- writeEndless(w, r) }, func(response) {
		select {
		case n := <-read:
			c.expect("asking.endless", n < maxEndless, fmt.Sprintf("it reads %d MiB of an endless answer", n>>20))
		case <-time.After(c.limits.page):
			c.see("asking.endless", Fail, "it keeps reading an endless answer")
		case <-c.ctx.Done():
		}
	})
	silence := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-c.ctx.Done():
		}
	}
	view("asking.time", silence, func(a response) {
		c.expect("asking.time", !a.timedOut() && a.took < c.limits.page, "without an answer the page takes "+duration(a.took))
		var took []string
		for range 3 {
			a := c.do(q)
			took = append(took, duration(a.took))
			if a.took < c.limits.beside {
				c.see("asking.breaker", OK, "after no answer the next views take "+strings.Join(took, ", "))
				return
			}
		}
		c.see("asking.breaker", Warn, "after no answer the next views take "+strings.Join(took, ", "))
	})
}

// maxEndless is how much is sent as an answer without an end: more than Caddy's longest, and what is
// on its way.
const maxEndless = 64 << 20

// writeEndless writes an answer whose end nobody waits for, and returns how much was taken.
func writeEndless(w http.ResponseWriter, r *http.Request) (n int) {
	w.Header().Set("Content-Type", "application/json")
	begin := `{"answers": ["`
	if r.URL.Path == askPath+"/" {
		begin = "[" + begin
	}
	_, err := io.WriteString(w, begin)
	for text := []byte(strings.Repeat("x", 64<<10)); err == nil && n < maxEndless; {
		var written int
		written, err = w.Write(text)
		n += written
	}
	return n
}

func (c *checker) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.ctx.Done():
	}
}
