// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

// element is what the application is asked in a batch.
type element struct {
	Payload            json.RawMessage
	Token, Traceparent string
}

// batchTest is an application that answers for batches: with the list that answer makes, as soon as it is let.
type batchTest struct {
	*guestTest
	app *partytest.Application
	let chan struct{} // one batch each

	mu      sync.Mutex
	batches [][]element
}

func newBatchTest(t *testing.T, options string, answer func(element) string) *batchTest {
	t.Helper()
	b := &batchTest{guestTest: newGuestTest(t), let: make(chan struct{})}
	b.app = partytest.NewApplication(t, `{"services": {"who": {"href": "/who", "batch": true}}}`, func(w http.ResponseWriter, r *http.Request) {
		var elements []element
		body, _ := io.ReadAll(r.Body)
		check.Nil(t, json.Unmarshal(body, &elements))
		b.mu.Lock()
		b.batches = append(b.batches, elements)
		b.mu.Unlock()
		select {
		case <-b.let:
		case <-r.Context().Done():
			return
		}
		answers := make([]string, len(elements))
		for i, e := range elements {
			answers[i] = answer(e)
		}
		partytest.JSON("["+strings.Join(answers, ",")+"]")(w, r)
	})
	b.load("invite /blog/__invite__/\n" + partytest.Mounted("blog", "fetch_manifest\n"+options, b.app))
	b.await("who")
	return b
}

func echo(e element) string { return `{"answer": ` + string(e.Payload) + `}` }

// begin asks in a goroutine, and returns where the result comes.
func (b *batchTest) begin(ctx context.Context, payload any) <-chan string {
	result := make(chan string, 1)
	go func() {
		answers, err := operatorOf(b, b.party).AskAround(ctx, "who", payload)
		if failed, ok := errors.AsType[*wsgiparty.HandlerError](err); ok {
			err = failed.Err
		}
		result <- fmt.Sprint(joinAnswers(answers), err)
	}()
	return result
}

// awaitBatches waits until the application has so many.
func (b *batchTest) awaitBatches(n int) (batches [][]element) {
	b.Helper()
	partytest.Eventually(b, fmt.Sprintf("%d batches", n), func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		batches = b.batches
		return len(batches) >= n
	})
	return batches
}

// gather has as many asks wait for the batch that is under way.
func (b *batchTest) gather(n int) (results []<-chan string) {
	b.Helper()
	for i := range n {
		results = append(results, b.begin(b.Context(), i))
		b.awaitGathered(i + 1)
	}
	return results
}

func (b *batchTest) awaitGathered(n int) {
	b.Helper()
	partytest.Eventually(b, "asks wait", func() bool { return applicationOf(b, "blog").Gathered() == n })
}

func TestAsksThatComeWhileOneIsUnderWayTravelTogether(t *testing.T) {
	httpguest.SetGatherFor(t, time.Hour)
	b := newBatchTest(t, "timeout 1m", echo)
	first := b.begin(t.Context(), "first")
	b.awaitBatches(1)
	gone, goes := context.WithCancel(t.Context())
	results := []<-chan string{b.begin(gone, "gone")}
	b.awaitGathered(1)
	for i := range 69 {
		results = append(results, b.begin(t.Context(), i))
	}
	b.awaitGathered(70)
	goes() // which ends nothing for the others
	check.Equal(t, <-results[0], "context canceled")
	b.let <- struct{}{}
	check.Equal(t, <-first, `"first"<nil>`)
	batches := b.awaitBatches(3)
	check.Equal(t, len(batches[0]), 1, "asks in the first batch")
	check.Equal(t, len(batches[1])+len(batches[2]), 70, "asks in the others")
	check.Equal(t, max(len(batches[1]), len(batches[2])), httpguest.MaxBatch, "asks in one of these")
	b.let <- struct{}{}
	b.let <- struct{}{}
	for i, result := range results[1:] {
		check.Equal(t, <-result, fmt.Sprint(i, "<nil>"))
	}
}

// TestABatchIsProvedAsAWhole and its elements by nothing, but for what they are handed back with.
func TestABatchIsProvedAsAWhole(t *testing.T) {
	key := partytest.Key(t, "blog")
	httpguest.SetGatherFor(t, time.Hour)
	b := newBatchTest(t, "timeout 1m\nkey {env.blog_PARTY_KEY}", echo)
	asker := operatorOf(t, b.party).Partyline().Operator("asker")
	results := make(chan error, 3)
	ask := func() { _, err := asker.AskAround(t.Context(), "who", "?"); results <- err }
	go ask()
	b.awaitBatches(1)
	go ask()
	go ask()
	b.awaitGathered(2)
	b.let <- struct{}{}
	batch := b.awaitBatches(2)[1]
	b.let <- struct{}{}
	for range 3 {
		check.Nil(t, <-results)
	}
	keys := partytest.Keys(t, key)
	r := b.app.Requests()[1]
	proof := check.Value(partytest.Token(r, "blog", keys))(t)
	check.ErrorIf(t, len(proof.Path) != 0 || proof.Mount != "/blog", "the token of the batch says %+v", proof)
	check.Equal(t, len(batch), 2, "asks")
	for _, e := range batch {
		proof := check.Value(keys.Verify("blog", e.Token, time.Now()))(t)
		check.Slices(t, proof.Path, []token.Ask{{Guest: "asker", Service: "who"}}, "the path of an element")
		for _, body := range []string{"", string(e.Payload)} {
			check.ErrorIf(t, proof.IsFor("POST", "/who", []byte(body)) || proof.IsFor("POST", "/blog/who", []byte(body)) || proof.IsFor("GET", "/who", nil), "an element's token proves a request")
		}
	}
}

func TestWhatABatchIsAnswered(t *testing.T) {
	const notOne = `an element of the answer to a batch of asks is neither {"answer": …} nor {"declined": true} nor {"error": "…"}: `
	b := newBatchTest(t, "max_answer 50B", func(e element) string {
		var answer string
		json.Unmarshal(e.Payload, &answer)
		return answer
	})
	close(b.let)
	long := `"` + strings.Repeat("x", 48) + `"`
	for answer, want := range map[string]string{
		`{"answer": 12345678901234567890.10}`:                                   "12345678901234567890.10<nil>",
		`{"answer": null}`:                                                      "null<nil>",
		`{"answer": ` + long + `}`:                                              long + "<nil>",
		`{"declined": true}`:                                                    "<nil>",
		`{"error": "no \u0007 such"}`:                                           "the application says: no \ufffd such",
		`{"error": "` + strings.Repeat("x", 300) + `"}`:                         "the application says: " + strings.Repeat("x", 200),
		`{"answer": "` + strings.Repeat("x", 49) + `"}`:                         "the answer is longer than 50 bytes",
		`{"answer": {"a": 1, "a": 2}}`:                                          "the answer is",
		`{"answer": ` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`: "the answer is longer than 50 bytes",
		`{"answer": 1, "declined": true}`:                                       notOne + `{"answer": 1, "declined": true}`,
		`{"answer": 1, "error": ""}`:                                            notOne,
		`{"answer": 1, "error": "", "declined": true}`:                          notOne,
		`{"declined": false}`:                                                   notOne,
		`{"declined": 1}`:                                                       notOne,
		`{}`:                                                                    notOne + `{}`,
		`null`:                                                                  notOne + `null`,
		`1`:                                                                     notOne + `1`,
		`{"answer": 1}, {"answer": 2}`:                                          "the answer to a batch of 1 asks is a list of 2",
		``:                                                                      "the answer to a batch of 1 asks is a list of 0",
		`{"answer": 1`:                                                          "the answer to a batch of asks is not a list of objects",
		`{"answer": "` + strings.Repeat("x", 1000) + `"}`: "the response is longer than 452 bytes",
	} {
		got := <-b.begin(t.Context(), answer)
		check.ErrorIf(t, !strings.HasPrefix(got, want), "%s: %s, want %s", answer, got, want)
	}
	for want, answer := range map[string]http.HandlerFunc{
		"<nil>":      partytest.Status(204),
		"status 404": partytest.Status(404),
		"status 503": partytest.Status(503),
		"the answer is not JSON (application/json)":                  partytest.Echo,
		"the answer to a batch of asks is not a list of objects: js": partytest.JSON(`{"answer": 1}`),
	} {
		b.app.On(answer)
		got := <-b.begin(t.Context(), 1)
		check.ErrorIf(t, !strings.HasPrefix(got, want), "%s, want %s", got, want)
	}
}

// TestOneBadElementFailsNoOther of a batch.
func TestOneBadElementFailsNoOther(t *testing.T) {
	httpguest.SetGatherFor(t, time.Hour)
	b := newBatchTest(t, "timeout 1m", func(e element) string {
		if string(e.Payload) == "1" {
			return `{"oops": true}`
		}
		return echo(e)
	})
	first := b.begin(t.Context(), "first")
	b.awaitBatches(1)
	results := b.gather(3)
	close(b.let)
	<-first
	check.Equal(t, <-results[0], "0<nil>")
	check.Has(t, <-results[1], `is neither`)
	check.Equal(t, <-results[2], "2<nil>")
}

// TestABatchThatIsSlowIsNotWaitedFor by asks that come later.
func TestABatchThatIsSlowIsNotWaitedFor(t *testing.T) {
	b := newBatchTest(t, "timeout 1m", echo)
	for i := range 3 {
		b.begin(t.Context(), i)
		check.Equal(t, len(b.awaitBatches(i + 1)[i]), 1, "asks")
	}
	close(b.let)
}

// TestAnApplicationThatFailsBatchesIsLeftAlone when it has not answered five of them in a row, whatever is in them.
func TestAnApplicationThatFailsBatchesIsLeftAlone(t *testing.T) {
	httpguest.SetGatherFor(t, time.Hour)
	b := newBatchTest(t, "timeout 1m", echo)
	first := b.begin(t.Context(), "first")
	b.awaitBatches(1)
	results := b.gather(10)
	var failures atomic.Int64
	b.app.On(func(w http.ResponseWriter, r *http.Request) {
		failures.Add(1)
		w.WriteHeader(503)
	})
	close(b.let)
	<-first
	for _, result := range results {
		check.Equal(t, <-result, "status 503")
	}
	check.Equal(t, failures.Load(), 1, "requests")
	for range httpguest.BreakerFailures - 1 {
		check.Equal(t, <-b.begin(t.Context(), 1), "status 503")
	}
	check.Has(t, <-b.begin(t.Context(), 1), "it failed to answer 5 times in a row, and is left alone for 5s: status 503")
}

// TestABatchEndsWhenNobodyWaitsForIt since all have gone, or have waited as long as an ask may take.
func TestABatchEndsWhenNobodyWaitsForIt(t *testing.T) {
	httpguest.SetGatherFor(t, time.Hour)
	b := newBatchTest(t, "timeout 1s", echo)
	ended := make(chan bool, 2)
	b.app.On(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		ended <- true
	})
	ctx, cancel := context.WithCancel(t.Context())
	gone := b.begin(ctx, 1)
	partytest.Eventually(t, "it is asked", func() bool { return len(b.app.Requests()) == 1 })
	cancel()
	<-ended
	check.Equal(t, <-gone, "context canceled")
	check.Equal(t, <-b.begin(t.Context(), 2), "it took longer than 1s")
	<-ended
}

// TestWhatTravelsAlone are asks with what other asks do not have: a visitor's headers, or another prefix; and those that come of
// an ask that the guest is answering.
func TestWhatTravelsAlone(t *testing.T) {
	httpguest.SetGatherFor(t, time.Hour)
	keyOfAsker := partytest.Key(t, "asker")
	b := newBatchTest(t, "timeout 1m\nforward Cookie", echo)
	b.Load(b.inParty("prefix {header.X-Forwarded-Prefix}\ninvite /blog/__invite__/\n" + partytest.Mounted("blog", "fetch_manifest\ntimeout 1m\nforward Cookie", b.app) + partytest.Asker + "handle_path /ask/* {\nwsgi_party_ask\n}"))
	b.await("who")
	first := b.begin(t.Context(), "first")
	b.awaitBatches(1)
	var all sync.WaitGroup
	ask := func(header http.Header) {
		header.Set("Authorization", "Bearer "+keyOfAsker)
		all.Go(func() {
			status, body := b.Do("POST", "/ask/who", "1", header)
			check.ErrorIf(t, status != 200 || !strings.Contains(body, `"answers":[1]`), "%d %s", status, body)
		})
	}
	ask(http.Header{"Party-Forward-Cookie": {"a=1"}})
	check.Equal(t, len(b.awaitBatches(2)[1]), 1, "asks with a cookie")
	check.Equal(t, b.app.Requests()[1].Header.Get("Cookie"), "a=1")
	ask(http.Header{})
	b.awaitGathered(1)
	ask(http.Header{"X-Forwarded-Prefix": {"/other/asker"}})
	b.awaitGathered(2)
	b.let <- struct{}{}
	b.let <- struct{}{}
	batches := b.awaitBatches(4)
	check.ErrorIf(t, len(batches[2]) != 1 || len(batches[3]) != 1, "asks with different prefixes: %d and %d", len(batches[2]), len(batches[3]))
	close(b.let)
	<-first
	all.Wait()
}

// TestAnAskThatABatchWaitsForGoesAtOnce has an application ask another one while it answers a batch, which asks it in turn.
func TestAnAskThatABatchWaitsForGoesAtOnce(t *testing.T) {
	httpguest.SetGatherFor(t, time.Hour)
	key := partytest.Key(t, "blog")
	b := newBatchTest(t, "timeout 1m\nkey {env.blog_PARTY_KEY}", echo)
	other := b.NewGuest("other", func(a *partytest.Application, r *http.Request, _ string) partytest.Reply {
		response, err := a.AskBack(r, "who")
		check.Nil(t, err)
		return partytest.Answer(200, response.Body)
	})
	b.app.On(func(w http.ResponseWriter, r *http.Request) {
		var elements []element
		check.Nil(t, json.NewDecoder(r.Body).Decode(&elements))
		answer := `"inner"`
		if string(elements[0].Payload) == `"outer"` {
			response := check.Value(b.TryAsk(r.Context(), partytest.Asking{Key: key, Path: "/via", Header: http.Header{"Party-Token": {elements[0].Token}}}))(t)
			answer = fmt.Sprintf("%q", response.Body)
		}
		partytest.JSON(`[{"answer": `+answer+`}]`)(w, r)
	})
	b.Around("invite /blog/__invite__/\n" + partytest.Mounted("blog", "fetch_manifest\ntimeout 1m\nkey {env.blog_PARTY_KEY}", b.app) + other.Directives("via"))
	partytest.Eventually(t, "it is on the line", func() bool { return len(operatorOf(t, "main").Partyline().Services()["who"]) > 0 })
	answers, err := operatorOf(t, "main").AskAround(t.Context(), "who", "outer")
	check.ErrorIf(t, err != nil || !strings.Contains(joinAnswers(answers), "inner"), "%v %v", answers, err)
}

// TestSoManyAsksAreGatheredAtMost and others are refused.
func TestSoManyAsksAreGatheredAtMost(t *testing.T) {
	httpguest.SetGatherFor(t, time.Hour)
	b := newBatchTest(t, "timeout 1m", echo)
	results := []<-chan string{b.begin(t.Context(), 0)}
	b.awaitBatches(1)
	for i := range httpguest.MaxGathered {
		results = append(results, b.begin(t.Context(), i))
	}
	b.awaitGathered(httpguest.MaxGathered)
	check.Has(t, <-b.begin(t.Context(), 1), "1024 asks wait for batches that are under way: if the application can answer more at once, write `max_asks 128`")
	close(b.let)
	for _, result := range results {
		check.Has(t, <-result, "<nil>")
	}
	check.Equal(t, len(b.awaitBatches(17)), 17, "batches")
}
