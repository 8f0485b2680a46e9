// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/party"
)

// TestAnAskDoesNotJoinABatchThatNobodyWaitsFor any more: it would end with those that have gone.
func TestAnAskDoesNotJoinABatchThatNobodyWaitsFor(t *testing.T) {
	httpguest.SetGatherFor(t, time.Hour)
	b := newBatchTest(t, "timeout 1m", echo)
	first := b.begin(t.Context(), "first")
	b.awaitBatches(1)
	gone, goes := context.WithCancel(t.Context())
	left := b.begin(gone, "gone")
	b.awaitGathered(1)
	goes()
	check.Equal(t, <-left, "context canceled")
	stays := b.begin(t.Context(), "stays")
	b.awaitGathered(2)
	close(b.let)
	check.Equal(t, <-first, `"first"<nil>`)
	check.Equal(t, <-stays, `"stays"<nil>`)
}

// TestAListOfFarTooManyIsNotKept in memory.
func TestAListOfFarTooManyIsNotKept(t *testing.T) {
	b := newBatchTest(t, "timeout 1m\nmax_answer 16MiB", echo)
	b.app.On(partytest.JSON("[" + strings.Repeat("1,", 8<<20) + "1]"))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := <-b.begin(t.Context(), 1)
	runtime.ReadMemStats(&after)
	check.Has(t, got, "the answer to a batch of 1 asks is a list of")

	check.ErrorIf(t, after.TotalAlloc-before.TotalAlloc > 200<<20, "%d MiB are allocated for it", (after.TotalAlloc-before.TotalAlloc)>>20)
}

// TestAnAnswerThatIsRefusedIsNotCharged to those who ask.
func TestAnAnswerThatIsRefusedIsNotCharged(t *testing.T) {
	b := newBatchTest(t, "max_answer 2MiB", func(element) string {
		return `{"answer": {"a": "` + strings.Repeat("x", 2<<20-100) + `", "a": 2}}`
	})
	close(b.let)
	ctx := party.WithBatch(t.Context())
	for range 10 {
		check.Has(t, <-b.begin(ctx, 1), "the answer is")
	}
	b.app.On(partytest.JSON(`[{"answer": 1}]`))
	check.Equal(t, <-b.begin(ctx, 1), "1<nil>")
}

// TestAnAnswerThatNobodyWaitsForIsNotCharged to those who ask together with one that has gone.
func TestAnAnswerThatNobodyWaitsForIsNotCharged(t *testing.T) {
	httpguest.SetGatherFor(t, time.Hour)
	b := newBatchTest(t, "max_answer 2MiB\ntimeout 1m", func(e element) string {
		if string(e.Payload) == `"first"` {
			return echo(e)
		}
		return `{"answer": "` + strings.Repeat("x", 2<<20-100) + `"}`
	})
	first := b.begin(t.Context(), "first")
	b.awaitBatches(1)
	ctx := party.WithBatch(t.Context()) // for 8 MiB
	gone, goes := context.WithCancel(ctx)
	left := b.begin(gone, "gone")
	b.awaitGathered(1)
	var results []<-chan string
	for i := range 4 {
		results = append(results, b.begin(ctx, i))
	}
	b.awaitGathered(5)
	b.let <- struct{}{}
	<-first
	b.awaitBatches(2)
	goes()
	check.Equal(t, <-left, "context canceled")
	close(b.let)
	for _, result := range results {
		check.Has(t, <-result, `x"<nil>`)
	}
}

// TestNoBatchWaitsForAGuestThatAnswersNothing when it has too few slots for the breaker to open.
func TestNoBatchWaitsForAGuestThatAnswersNothing(t *testing.T) {
	b := newBatchTest(t, "max_asks 1\ntimeout 2s", echo)
	first := b.begin(t.Context(), "first")
	b.awaitBatches(1)
	time.Sleep(time.Second) // for those that come now to have longer
	var results []<-chan string
	for i := range 10 {
		results = append(results, b.begin(t.Context(), i))
	}
	check.Equal(t, <-first, "it took longer than 2s")
	for _, result := range results {
		check.Has(t, <-result, "it has not answered this asker for 2")
	}
	check.Equal(t, len(b.awaitBatches(1)), 1, "batches")
}

// TestABatchThatWaitedIsNotSentToAnApplicationThatDoesNotAnswer meanwhile.
func TestABatchThatWaitedIsNotSentToAnApplicationThatDoesNotAnswer(t *testing.T) {
	httpguest.SetGatherFor(t, 0)
	b := newBatchTest(t, "max_asks 1\ntimeout 1m", echo)
	first := b.begin(t.Context(), "first")
	b.awaitBatches(1)
	var results []<-chan string
	for i := range 20 {
		results = append(results, b.begin(t.Context(), i))
	}
	time.Sleep(100 * time.Millisecond) // until they wait for a slot
	b.app.On(partytest.Status(503))
	close(b.let)
	<-first
	for _, result := range results {
		<-result
	}
	check.Equal(t, len(b.app.Requests()), 1+httpguest.BreakerFailures, "requests")
}

// TestAnAskerWithFewerAsksFindsAPlace where another one has taken all: that one gives up its last.
func TestAnAskerWithFewerAsksFindsAPlace(t *testing.T) {
	httpguest.SetGatherFor(t, time.Hour)
	b := newBatchTest(t, "timeout 1m", echo)
	line := operatorOf(t, b.party).Partyline()
	ask := func(guest string, payload any) <-chan string {
		result := make(chan string, 1)
		go func() {
			answers, err := line.Operator(guest).AskAround(t.Context(), "who", payload)
			result <- fmt.Sprint(joinAnswers(answers), err)
		}()
		return result
	}
	first := ask("greedy", 0)
	b.awaitBatches(1)
	greedy := make(chan string, httpguest.MaxGathered)
	for i := range httpguest.MaxGathered {
		go func() { greedy <- <-ask("greedy", i) }()
	}
	b.awaitGathered(httpguest.MaxGathered)
	modest := ask("modest", `"modest"`)
	check.Has(t, <-greedy, "1024 asks wait for batches that are under way")
	check.Has(t, <-ask("greedy", 1), "1024 asks wait for batches that are under way")
	close(b.let)
	check.Has(t, <-first, "<nil>")
	check.Has(t, <-modest, "modest")
	for range httpguest.MaxGathered - 1 {
		check.Has(t, <-greedy, "<nil>")
	}
	b.awaitGathered(0)
}

// TestAsksOfOneListTravelTogether at once, whatever is under way; one that is the only one of its application waits like any other.
func TestAsksOfOneListTravelTogether(t *testing.T) {
	httpguest.SetGatherFor(t, time.Hour)
	key := partytest.Key(t, "asker")
	b := newBatchTest(t, "timeout 1m", echo)
	b.Load(b.inParty("invite /blog/__invite__/\n" + partytest.Mounted("blog", "fetch_manifest\ntimeout 1m", b.app) + partytest.Asker + "handle_path /ask/* {\nwsgi_party_ask\n}"))
	b.await("who")
	first := b.begin(t.Context(), "first")
	b.awaitBatches(1)
	ask := func(n int) <-chan string {
		elements := make([]string, n)
		for i := range elements {
			elements[i] = fmt.Sprintf(`{"service": "who", "payload": %d}`, i)
		}
		result := make(chan string, 1)
		go func() {
			status, body := b.Do("POST", "/ask/", "["+strings.Join(elements, ",")+"]", http.Header{"Authorization": {"Bearer " + key}})
			result <- fmt.Sprint(status, strings.Count(body, `"answered"`))
		}()
		return result
	}
	hundred := ask(100)
	batches := b.awaitBatches(3)
	check.Equal(t, len(batches[1])+len(batches[2]), 100, "asks of the list")
	check.Equal(t, max(len(batches[1]), len(batches[2])), httpguest.MaxBatch, "asks in one request")
	one := ask(1)
	b.awaitGathered(1)
	close(b.let)
	check.Equal(t, <-hundred, "200 100")
	check.Equal(t, <-one, "200 1")
	check.Equal(t, <-first, `"first"<nil>`)
}
