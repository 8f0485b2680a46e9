// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What becomes of asks that travel together when what is around them changes.

package httpguest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"go.uber.org/goleak"
)

// TestAReloadEndsNoBatch loads another config, in which the guest is the same one, or none any more, while a batch is under way
// and others wait for it: each is answered as if nothing had been.
func TestAReloadEndsNoBatch(t *testing.T) {
	for _, stays := range []bool{true, false} {
		t.Run(fmt.Sprint("stays: ", stays), func(t *testing.T) {
			httpguest.SetGatherFor(t, time.Hour)
			b := newBatchTest(t, "timeout 1m", echo)
			first := b.begin(t.Context(), "first")
			b.awaitBatches(1)
			results := b.gather(5)
			before := applicationOf(t, "blog")
			if stays {
				b.load("invite /blog/__invite__/\n" + partytest.Mounted("blog", "fetch_manifest\ntimeout 50s", b.app))
				b.await("who")
				results = append(results, b.begin(t.Context(), 5)) // of the new config, which waits for nobody
				check.Equal(t, len(b.awaitBatches(2)[1]), 1, "asks in the new config's batch")
			} else {
				b.load("respond nothing")
			}
			check.Equal(t, before.Gathered(), 5, "asks that still wait")
			close(b.let)
			check.Equal(t, <-first, `"first"<nil>`)
			for i, result := range results {
				check.Equal(t, <-result, fmt.Sprint(i, "<nil>"))
			}
			batches := b.awaitBatches(len(results) - 3)
			check.Equal(t, len(batches[len(batches)-1]), 5, "asks in the batch that had waited")
		})
	}
}

// flips is an application whose service who takes one ask or a batch of them, and which answers whatever comes.
func flips(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var asks []element
	if json.Unmarshal(body, &asks) != nil {
		partytest.JSON(string(body))(w, r)
		return
	}
	answers := make([]string, len(asks))
	for i, e := range asks {
		answers[i] = echo(e)
	}
	partytest.JSON("["+strings.Join(answers, ",")+"]")(w, r)
}

// TestBatchMayComeAndGo has the manifest say batch, and say it no longer, while many ask: nobody gets another's answer, or none.
func TestBatchMayComeAndGo(t *testing.T) {
	httpguest.Waits{Apart: time.Millisecond}.Set(t)
	c := newGuestTest(t)
	manifest := func(batch bool) string {
		return fmt.Sprintf(`{"services": {"who": {"href": "/who", "batch": %t}, "batch-%[1]t": {"answer": 1}}}`, batch)
	}
	app := partytest.NewApplication(t, manifest(true), flips)
	c.load("invite /blog/__invite__/\n" + partytest.Mounted("blog", "fetch_manifest\ntimeout 1m", app))
	c.await("who")
	stop := make(chan struct{})
	var asked atomic.Int64
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				want := fmt.Sprint(worker*1_000_000 + i)
				got, err := c.ask("who", json.Number(want))
				check.ErrorIf(t, err != nil || got != want, "%s %v, want %s", got, err, want)
				asked.Add(1)
			}
		})
	}
	for flip := range 20 {
		batch := flip%2 == 1
		app.OnInvite(partytest.Manifest(manifest(batch)))
		applicationOf(t, "blog").FetchSoon()
		c.await(fmt.Sprint("batch-", batch))
		before := asked.Load()
		partytest.Eventually(t, "there are more asks", func() bool { return asked.Load() > before+20 })
	}
	close(stop)
	all.Wait()
}

// TestBatchesAndDirectAsksLeaveNoGoroutines while their config runs: neither asks that were answered, nor such as nobody waited
// for, or that took too long.
func TestBatchesAndDirectAsksLeaveNoGoroutines(t *testing.T) {
	for what, options := range map[string]string{"batches": "", "direct": "direct ADDRESS_OF_APP", "by the proxy": ""} {
		t.Run(what, func(t *testing.T) {
			c := newGuestTest(t)
			var holds atomic.Bool
			app := partytest.NewApplication(t, fmt.Sprintf(`{"services": {"who": {"href": "/who", "batch": %t}}}`, what == "batches"), func(w http.ResponseWriter, r *http.Request) {
				if holds.Load() {
					io.Copy(io.Discard, r.Body)
					<-r.Context().Done()
					return
				}
				flips(w, r)
			})
			c.load("invite /blog/__invite__/\n" + partytest.Mounted("blog", "fetch_manifest\ntimeout 1s\n"+strings.ReplaceAll(options, "ADDRESS_OF_APP", app.Address()), app))
			c.await("who")
			asks := func(ctx context.Context, n int) {
				var all sync.WaitGroup
				for i := range n {
					all.Go(func() { _, _ = operatorOf(c, c.party).AskAround(ctx, "who", i) })
				}
				all.Wait()
			}
			asks(t.Context(), 1)
			app.CloseClientConnections()
			before := goleak.IgnoreCurrent()
			asks(t.Context(), 100)
			holds.Store(true)
			ctx, cancel := context.WithCancel(t.Context())
			asked := len(app.Requests())
			go func() {
				defer cancel()
				partytest.Eventually(t, "it is asked", func() bool { return len(app.Requests()) > asked })
			}()
			asks(ctx, 20)
			asks(t.Context(), 3) // which take too long
			partytest.Eventually(t, "no goroutine is left", func() bool {
				app.CloseClientConnections()
				return goleak.Find(before) == nil
			})
		})
	}
}
