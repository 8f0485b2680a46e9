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
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/measure"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// loadTest is a site with pages and an endpoint to ask, whose guests take as long as
// these applications do.
type loadTest struct {
	*partytest.Caddy
	client *http.Client // that many requests at once keep connections of
	key    string       // of the guest asker
}

// newLoadTest loads guests with all defaults, each under the service of its name, which
// answer after so long.
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
		guest(name, "service "+name+" /", func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(takes):
			case <-r.Context().Done():
			}
			partytest.JSON(`"`+name+`"`)(w, r)
		})
	}
	site += "handle {\ntemplates {\nextensions {\nwsgi_party\n}\n}\ntest_app template\n}\n}\nhandle_path /ask/* {\nwsgi_party_ask load\n}"
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
	return c.request(ctx, "GET", "/?t="+url.QueryEscape(`<{{askFirst . "`+service+`"}}>`), "", "<"+service+">", 1)
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
// guest that takes 50 ms, again and again: nobody is to see an error. WSGI_PARTY_LOAD
// says for how long, if not for 3 s.
func TestManyVisitorsWaitForOneGuest(t *testing.T) {
	takes := 3 * time.Second
	if text := os.Getenv("WSGI_PARTY_LOAD"); text != "" {
		var err error
		if takes, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
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

// TestASlowGuestDelaysNoOther asks guests that take 50 ms while many, among them the same
// asker by batches, ask one that takes 1.5 s, and while nobody does, in turns.
func TestASlowGuestDelaysNoOther(t *testing.T) {
	c := newLoadTest(t, map[string]time.Duration{"slow": 1500 * time.Millisecond, "fifty": 50 * time.Millisecond, "other": 50 * time.Millisecond})
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
		batches := loop(ctx, 4, timed(func(ctx context.Context) error { return c.batch(ctx, "fifty", 4) }))
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
		if try == 5 { // the machine may have been busy before
			t.Errorf("beside a slow guest, others take %v, and without it %v", b, a)
			break
		}
	}
	check.Equal(t, len(partytest.LogEntries(t, "guest is asked more than it can answer")), 1, "times that the slow guest is asked too much is logged")
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
