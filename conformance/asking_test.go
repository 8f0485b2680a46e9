// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// asker is how a good application asks, but for what is broken.
type asker struct {
	timeout time.Duration
	most    int64 // bytes of an answer
	pause   time.Duration
	client  http.Client
	change  func(*http.Request) // breaks what is asked
	times   int                 // that a page asks

	forgets bool // keeps no links
	whole   bool // keeps such as do not last, too
	outlive bool // keeps links when the line changes

	mu      sync.Mutex
	address string
	line    string
	kept    string    // a link that lasts as long as the line
	until   time.Time // it is left alone
}

func newAsker() *asker {
	return &asker{timeout: 1500 * time.Millisecond, most: 9 << 20, pause: time.Second, times: 1, client: http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// learn believes a Party-Ask that is right.
func (a *asker) learn(header http.Header, keys []string) {
	values := header.Values("Party-Ask")
	if len(values) != 1 {
		return
	}
	for _, key := range keys {
		if said, mac, _ := strings.Cut(values[0], "; mac="); mac == askMAC(key, askPrefix, said) {
			a.mu.Lock()
			address, line, _ := strings.Cut(said, "; line=")
			if a.address = address; line != a.line && !a.outlive {
				a.kept = ""
			}
			a.line = line
			a.mu.Unlock()
		}
	}
}

// ask asks for a link, while a request is handled.
func (a *asker) ask(r *http.Request, key string) string {
	a.mu.Lock()
	address, line, kept, alone := a.address, a.line, a.kept, time.Now().Before(a.until)
	a.mu.Unlock()
	answers := r.Header.Get("Party-Token") != ""
	if address == "" || alone || kept != "" && !answers {
		return kept
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.timeout)
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/url?first", strings.NewReader(`{"name": "shop:cart"}`))
	if err != nil {
		return ""
	}
	ask.Header.Set("Authorization", "Bearer "+key)
	for _, name := range []string{"X-Forwarded-Prefix", "Cdn-Loop", "Party-Token"} {
		if value := r.Header.Get(name); value != "" {
			ask.Header.Set(name, value)
		}
	}
	if a.change != nil {
		a.change(ask)
	}
	response, err := a.client.Do(ask)
	if err != nil {
		a.mu.Lock()
		a.until = time.Now().Add(a.pause)
		a.mu.Unlock()
		return ""
	}
	defer response.Body.Close()
	var result struct {
		Answers []string
		Lasting bool
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, a.most))
	if err != nil || json.Unmarshal(text, &result) != nil || len(result.Answers) == 0 {
		return ""
	}
	if (result.Lasting || a.whole) && !answers && !a.forgets && response.Header.Get("Party-Line") == line {
		a.mu.Lock()
		a.kept = result.Answers[0]
		a.mu.Unlock()
	}
	return result.Answers[0]
}

// asking makes an application whose page /cart and whose service count ask.
func asking(ask *asker) *application {
	a := newApplication()
	a.broken = func(w http.ResponseWriter, r *http.Request, body []byte, good http.Handler) {
		ask.learn(r.Header, a.keys)
		switch {
		case r.URL.Path == "/cart":
			link := ""
			for range ask.times {
				link = ask.ask(r, testKey)
			}
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, `<a href="%s">`, link)
			return
		case isAsk("count")(r, nil) && a.verify(r, body) == nil:
			ask.ask(r, testKey)
		}
		good.ServeHTTP(w, r)
	}
	return a
}

func askingOptions(t *testing.T, ask *asker) Options {
	o := asking(ask).start(t)
	o.Page, o.limits.page, o.limits.between = "/cart", 6*time.Second, 300*time.Millisecond
	o.limits.beside = time.Second
	return o
}

func TestAGoodApplicationAsks(t *testing.T) {
	for _, line := range checked(t, askingOptions(t, newAsker())).Lines {
		check.ErrorIf(t, line.Result != OK && line.ID != "connections.workers" && line.ID != "connections.kept", "%+v", line)
	}
}

// TestAnApplicationThatAsksBadlyFailsOneLine has for each sentence on asking an application that
// fails that line, and no other.
func TestAnApplicationThatAsksBadlyFailsOneLine(t *testing.T) {
	tested := make(map[string]bool)
	sets := func(name, value string) func(*asker) {
		return func(a *asker) {
			a.change = func(r *http.Request) { r.Header.Set(name, value) }
		}
	}
	for _, b := range []struct {
		id     string
		result Result
		change func(*asker)
		seen   string
	}{
		{"asking.key", Fail, sets("Authorization", "Basic "+testKey), "POST /wsgi-party-check/url"},
		{"asking.json", Fail, func(a *asker) {
			a.change = func(r *http.Request) {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(`{"name": "\ud800"}`)), -1
			}
		}, "surrogate"},
		{"asking.visitor", Fail, sets("Cookie", "session=1"), "cookies: 1"},
		{"asking.token", Fail, func(a *asker) { a.change = func(r *http.Request) { r.Header.Del("Party-Token") } }, "what count asks has none"},
		{"asking.prefix", Warn, sets("X-Forwarded-Prefix", "/other"), `"/other"`},
		{"asking.loop", Warn, func(a *asker) { a.change = func(r *http.Request) { r.Header.Del("Cdn-Loop") } }, `with ""`},
		{"asking.batch", Warn, func(a *asker) { a.times = 2 }, "2 for the third"},
		{"asking.line", Fail, func(a *asker) { a.outlive = true }, "nor with the next version"},
		{"asking.redirect", Fail, func(a *asker) { a.client.CheckRedirect = nil }, "1 requests"},
		{"asking.endless", Fail, func(a *asker) { a.timeout, a.most = 20*time.Second, 1<<40 }, "reads 64 MiB"},
		{"asking.time", Fail, func(a *asker) { a.timeout, a.pause = 8*time.Second, time.Minute }, "without an answer the page takes"},
		{"asking.breaker", Warn, func(a *asker) { a.pause = 0 }, "the next views take"},
	} {
		tested[b.id] = true
		t.Run(b.id, func(t *testing.T) {
			t.Parallel()
			ask := newAsker()
			b.change(ask)
			o := askingOptions(t, ask)
			if b.id == "asking.endless" {
				o.limits.page = 30 * time.Second // in which a busy machine reads as much
			}
			failsOnly(t, checked(t, o), b.id, b.result, b.seen)
		})
	}
	for _, s := range sentences {
		check.ErrorIf(t, strings.HasPrefix(s.id, "asking.") && !tested[s.id], "no application for "+s.id)
	}
}

func TestAPageThatAsksNobodyIsSaid(t *testing.T) {
	o := newApplication().start(t)
	o.Page = "/about"
	line := checked(t, o).Line("asking.key")
	check.ErrorIf(t, line.Result != Skip || line.Seen != "GET /about: 200, without asking where Party-Ask says; is WSGI_PARTY_URL set?", line)
}

func TestAPageThatIsCachedIsNotTakenForKeptLinks(t *testing.T) {
	ask := newAsker()
	ask.outlive, ask.whole = true, true
	line := checked(t, askingOptions(t, ask)).Line("asking.line")
	check.Equal(t, line.Result, Skip)
	check.Has(t, line.Seen, "is the whole page cached?")
}

func TestAnApplicationThatKeepsNoLinksPasses(t *testing.T) {
	ask := newAsker()
	ask.forgets = true
	line := checked(t, askingOptions(t, ask)).Line("asking.line")
	check.Equal(t, line.Seen, "it keeps no links")
	check.Equal(t, line.Result, OK)
}
