// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/measure"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestGuestsThatAskEachOtherForEverEnd has them ask for another service each time,
// and hand back their tokens or drop them. However few or many asks they take at once.
func TestGuestsThatAskEachOtherForEverEnd(t *testing.T) {
	keyA, keyB := partytest.Key(t, "a"), partytest.Key(t, "b")
	for name, test := range map[string]struct {
		handsBack bool
		maxAsks   int
		timeout   string
	}{
		"with their tokens":                 {true, httpguest.DefaultMaxAsks, "1s"},
		"without them":                      {false, httpguest.DefaultMaxAsks, "300ms"},
		"without them, one at once":         {false, 1, "300ms"},
		"without them, three at once":       {false, 3, "300ms"},
		"without them, six at once":         {false, 6, "300ms"},
		"without them, twenty-four at once": {false, 24, "300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newGuestTest(t)
			var mu sync.Mutex
			var depth, deepest, asks, refused, tooDeep int
			count := func(n int) {
				mu.Lock()
				defer mu.Unlock()
				depth += n
				asks += max(n, 0)
				deepest = max(deepest, depth)
			}
			asking := func(key string) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					count(1)
					defer count(-1)
					header := http.Header{"Authorization": {"Bearer " + key}}
					if test.handsBack {
						header["Party-Token"] = r.Header["Party-Token"]
					}
					var n int
					_, _ = fmt.Sscanf(r.URL.Path, "/s%d", &n)
					status, body, err := c.TryDo(context.WithoutCancel(r.Context()), "POST", fmt.Sprintf("/ask/s%d", (n+1)%12), "null", header)
					mu.Lock()
					defer mu.Unlock()
					if status == http.StatusLoopDetected {
						tooDeep++
					} else if err != nil || strings.Contains(body, `"failed"`) {
						refused++
					}
					w.WriteHeader(http.StatusNoContent)
				}
			}
			options := fmt.Sprintf("timeout %s\nmax_asks %d\n", test.timeout, test.maxAsks)
			for i := range 12 {
				options += fmt.Sprintf("service s%d /s%[1]d\n", i)
			}
			c.TwoGuests(c.party, options, options, partytest.NewApplication(t, "", asking(keyA)), partytest.NewApplication(t, "", asking(keyB)))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, _ = operatorOf(c, c.party).AskAround(ctx, "s0", nil)
			check.Nil(t, ctx.Err())
			partytest.Eventually(t, "all asks have ended", func() bool { mu.Lock(); defer mu.Unlock(); return depth == 0 })
			mu.Lock() // a last request may come that Caddy no longer waits for
			defer mu.Unlock()
			check.ErrorIf(t, deepest > 2*((3*test.maxAsks+3)/4+1)+2, "%d asks were under way at once", deepest)
			if test.handsBack {
				check.ErrorIf(t, tooDeep == 0 || asks > 40, "%d asks, %d of them too deep", asks, tooDeep)
			} else {
				check.ErrorIf(t, refused == 0, "%d asks, none of them refused", asks)
			}
		})
	}
}

// TestGuestsThatAskForWhatTheyAreAskedForEnd, as in one process.
func TestGuestsThatAskForWhatTheyAreAskedForEnd(t *testing.T) {
	keyA, keyB := partytest.Key(t, "a"), partytest.Key(t, "b")
	c := newGuestTest(t)
	asking := func(key string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = c.AskAs(key, "who", "null", r.Header.Get("Party-Token"))
			w.WriteHeader(http.StatusNoContent)
		}
	}
	a, b := partytest.NewApplication(t, "", asking(keyA)), partytest.NewApplication(t, "", asking(keyB))
	c.TwoGuests(c.party, "service who /who", "service who /who", a, b)
	c.expectAsk("who", nil, "")
	check.Equal(t, len(a.Requests()), 2, "times that a is asked, by the caller and by b")
	check.Equal(t, len(b.Requests()), 2, "times that b is asked, by the caller and by a")
}

// TestAsksThatNobodyWaitsForStillCount has an application behind a handler that, as
// php_fastcgi, does not end a request when nobody waits for it.
func TestAsksThatNobodyWaitsForStillCount(t *testing.T) {
	key := partytest.Key(t, "a")
	hold := make(chan struct{})
	var running atomic.Int64
	partytest.App(t, "stubborn", func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error {
		running.Add(1)
		defer running.Add(-1)
		<-hold
		return nil
	})
	c := newGuestTest(t)
	t.Cleanup(func() { close(hold) })
	c.Site("wsgi_party " + c.party + ` {
		invite /a/__invite__/ /b/__invite__/
		handle_path /a/* {
			wsgi_party_guest {
				key {env.a_PARTY_KEY}
				answer ping pong
			}
		}
		handle_path /b/* {
			wsgi_party_guest {
				service held /held
				timeout 10m
			}
			test_app stubborn
		}
	}
	handle_path /ask/* {
		wsgi_party_ask ` + c.party + "\n}")
	ctx, hangUp := context.WithCancel(t.Context())
	var askers sync.WaitGroup
	for range 52 {
		askers.Go(func() {
			_, body, err := c.TryDo(ctx, "POST", "/ask/held", "null", http.Header{"Authorization": {"Bearer " + key}})
			check.ErrorIf(t, err == nil, "an ask: %s", body)
		})
	}
	partytest.Eventually(t, "48 are under way", func() bool { return running.Load() == 48 })
	hangUp()
	askers.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	answers, err := operatorOf(c, c.party).Partyline().Operator("a").AskAround(ctx, "held", nil)
	check.ErrorIf(t, err == nil || running.Load() != 48, "one more: %v, with %d under way", answers, running.Load())
}

// loadTest is a site with pages and an endpoint to ask, whose guests take as long as
// these applications do.
type loadTest struct {
	*partytest.Caddy
	client *http.Client // that many requests at once keep connections of
	key    string       // of the guest asker
}

// newLoadTest loads guests, each under the service of its name, which answer after so long, with all defaults
// but the timeout: slow machines are to have one guest alone that is asked too much.
func newLoadTest(t *testing.T, guests map[string]time.Duration) *loadTest {
	t.Helper()
	partytest.TemplateApp(t)
	c := &loadTest{partytest.NewCaddy(t), &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}, partytest.Key(t, "a")}
	t.Cleanup(c.client.CloseIdleConnections)
	site := "wsgi_party load {\n"
	guest := func(name, options string, serve http.HandlerFunc) {
		site += "invite /" + name + "/__invite__/\n" + partytest.Mounted(name, options, partytest.NewApplication(t, "", serve))
	}
	guest("asker", "key {env.a_PARTY_KEY}\nanswer ping pong", nil)
	for name, takes := range guests {
		timeout := "30s"
		if name == "slow" {
			timeout = "2500ms"
		}
		guest(name, "timeout "+timeout+"\nservice "+name+" /", func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(takes):
			case <-r.Context().Done():
			}
			partytest.JSON(`"`+name+`"`)(w, r)
		})
	}
	site += partytest.Pages + "}\nhandle_path /ask/* {\nwsgi_party_ask load\n}"
	check.Must(t, caddy.Load(bytes.ReplaceAll(c.Adapt("ADDRESS {\n"+site+"\n}"), []byte(`"DEBUG"`), []byte(`"WARN"`)), true))
	return c
}

// request makes a request, and returns an error unless the response is 200 and has that
// so often.
func (c *loadTest) request(ctx context.Context, method, path, body, want string, times int) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.Address+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.key)
	response, err := c.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != 200 || strings.Count(string(text), want) != times) {
		err = fmt.Errorf("status %d: %.500s", response.StatusCode, text)
	}
	return err
}

// page asks as a visitor of a page of one ask.
func (c *loadTest) page(ctx context.Context, service string) error {
	return c.request(ctx, "GET", partytest.Page(`<{{askFirst . "`+service+`"}}>`), "", "<"+service+">", 1)
}

// batch asks as a guest, so many times at once.
func (c *loadTest) batch(ctx context.Context, service string, times int) error {
	element := `{"service":"` + service + `"}`
	return c.request(ctx, "POST", "/ask/", "["+strings.Repeat(element+",", times-1)+element+"]", `"status":"answered"`, times)
}

// loop has so many do something again and again until the context ends.
func loop(ctx context.Context, workers int, do func(context.Context)) (wait func()) {
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for ctx.Err() == nil {
				do(ctx)
			}
		})
	}
	return group.Wait
}

// TestManyVisitorsWaitForOneGuest has 100 and 200 visitors look at a page of one ask, of a
// guest that takes 50 ms, again and again: nobody is to see an error.
func TestManyVisitorsWaitForOneGuest(t *testing.T) {
	const takes = 1500 * time.Millisecond
	c := newLoadTest(t, map[string]time.Duration{"fifty": 50 * time.Millisecond})
	for _, visitors := range []int{100, 200} {
		ctx, cancel := context.WithTimeout(t.Context(), takes)
		var pages, failed atomic.Int64
		loop(ctx, visitors, func(ctx context.Context) {
			err := c.page(context.WithoutCancel(ctx), "fifty")
			pages.Add(1)
			check.ErrorIf(t, err != nil && failed.Add(1) < 4, "%d visitors: %v", visitors, err)
		})()
		cancel()
		t.Logf("%d visitors: %d pages in %v, %d failed", visitors, pages.Load(), takes, failed.Load())
		if failed.Load() > 0 || pages.Load() < int64(visitors) {
			t.Errorf("%d visitors: %d of %d pages failed", visitors, failed.Load(), pages.Load())
		}
	}
	entries := partytest.LogEntries(t, "guest is asked more than it can answer")
	check.ErrorIf(t, len(entries) > 0, "logged %v", entries)
}

// TestASlowGuestDelaysNoOther asks guests that are quick while many, among them the same
// asker by batches, ask one that takes 1.5 s, and while nobody does, in turns.
func TestASlowGuestDelaysNoOther(t *testing.T) {
	const quick = 150 * time.Millisecond // and no less: on a busy machine all are slower by what more visitors compute
	c := newLoadTest(t, map[string]time.Duration{"slow": 1500 * time.Millisecond, "one": quick, "other": quick})
	pageTimes := func() (took []time.Duration) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		var mu sync.Mutex
		timed := func(do func(context.Context) error) func(context.Context) {
			return func(ctx context.Context) {
				began := time.Now()
				err := do(context.WithoutCancel(ctx))
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(began))
				check.Nil(t, err)
			}
		}
		batches := loop(ctx, 4, timed(func(ctx context.Context) error { return c.batch(ctx, "one", 4) }))
		pages := loop(ctx, 4, timed(func(ctx context.Context) error { return c.page(ctx, "other") }))
		batches()
		pages()
		return took
	}
	besideSlow := func() []time.Duration {
		ctx, cancel := context.WithCancel(t.Context())
		refused := countsOf(operatorOf(c, "load"), "slow").Refused
		batches := loop(ctx, 20, func(ctx context.Context) { _ = c.batch(ctx, "slow", 8) })
		pages := loop(ctx, 60, func(ctx context.Context) { _ = c.page(ctx, "slow") })
		defer pages()
		defer batches()
		defer cancel()
		partytest.Eventually(t, "the slow guest is asked too much", func() bool { return countsOf(operatorOf(c, "load"), "slow").Refused > refused })
		return pageTimes()
	}
	most := 1.5
	if measure.UnderRaceDetector() {
		most = 5 // the processor is what all wait for
	}
	pageTimes() // warms up
	for try := 1; ; try++ {
		var without, with []time.Duration
		for range 2 {
			without = append(without, pageTimes()...)
			with = append(with, besideSlow()...)
		}
		a, b := percentile(without, 95), percentile(with, 95)
		t.Logf("p95 of %d and %d: %v without, %v beside the slow guest", len(without), len(with), a, b)
		if t.Failed() || float64(b) <= most*float64(a) {
			break
		}
		if try == 10 { // the machine may have been busy before
			t.Errorf("beside a slow guest, others take %v, and without it %v", b, a)
			break
		}
	}
	check.ErrorIf(t, len(partytest.LogEntries(t, "guest is asked more than it can answer")) == 0, "it is not logged that the slow guest is asked too much")
	// On a busy machine some of what it answers comes too late, which is its failure.
	slow := countsOf(operatorOf(c, "load"), "slow")
	check.ErrorIf(t, slow.Answered == 0 || slow.Refused == 0 || slow.Failed > slow.Refused/10 || slow.Failed == 0 && !errors.Is(slow.LastFailure, wsgiparty.ErrRefused), "what is counted of the slow guest: %+v", slow)
}

// countsOf are those of a service of one guest.
func countsOf(o *wsgiparty.Operator, service string) wsgiparty.ReplyCount {
	_, replies := o.Partyline().Counts()
	return replies[slices.IndexFunc(replies, func(r wsgiparty.ReplyCount) bool { return r.Service == service })]
}

func percentile(took []time.Duration, p int) time.Duration {
	slices.Sort(took)
	return took[len(took)*p/100]
}
