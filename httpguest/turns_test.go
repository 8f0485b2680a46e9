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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// slotsTest is a party with an application that answers when it is let. Its guest is
// busy, and an ask's payload is its name.
type slotsTest struct {
	*partytest.Caddy
	party string
	app   *partytest.Application

	mu      sync.Mutex
	came    []string // the names of the asks that came to the application, in order
	lets    map[string]chan struct{}
	held    atomic.Int64 // asks that the application has not been let to answer
	results sync.Map     // of name to askResult
	asks    sync.WaitGroup
}

type askResult struct {
	answers []any
	err     error
}

// newSlotsTest loads a party whose guest busy has these options. Asks for hold wait
// until they are let, those for quick do not.
func newSlotsTest(t testing.TB, options string) *slotsTest {
	t.Helper()
	c := &slotsTest{Caddy: partytest.NewCaddyWithAdmin(t), party: partytest.FreshParty(), lets: make(map[string]chan struct{})}
	c.app = partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			body, _ := io.ReadAll(r.Body)
			c.mu.Lock()
			name := strings.Trim(string(body), `"`)
			c.came = append(c.came, name)
			c.mu.Unlock()
			c.held.Add(1)
			defer c.held.Add(-1)
			select {
			case <-c.letOf(name):
			case <-r.Context().Done():
			}
		}
		partytest.JSON("1")(w, r)
	})
	c.Site("wsgi_party " + c.party + " {\ninvite /busy/__invite__/\n" + partytest.Mounted("busy", "service hold /hold\nservice quick /quick\n"+options, c.app) + "}")
	t.Cleanup(c.asks.Wait)
	return c
}

func (c *slotsTest) letOf(name string) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lets[name] == nil {
		c.lets[name] = make(chan struct{})
	}
	return c.lets[name]
}

// let has the application answer these asks, now or when they come.
func (c *slotsTest) let(names ...string) {
	for _, name := range names {
		close(c.letOf(name))
	}
}

func (c *slotsTest) arrived() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.came)
}

func (c *slotsTest) waiting() int { return applicationOf(c, "busy").Waiting() }

// start asks for hold as the guest whose name, without digits at the end, is that of the
// ask.
func (c *slotsTest) start(ctx context.Context, name string) {
	c.Helper()
	operator := operatorOf(c, c.party).Partyline().Operator(strings.TrimRight(strings.TrimPrefix(name, "nobody"), "0123456789"))
	c.asks.Go(func() {
		answers, err := operator.AskAround(ctx, "hold", name)
		c.results.Store(name, askResult{answers, err})
	})
}

// ask asks, and returns when that is under way or waits.
func (c *slotsTest) ask(ctx context.Context, name string) {
	c.Helper()
	came, waiting := len(c.arrived()), c.waiting()
	c.start(ctx, name)
	partytest.Eventually(c, name+" is under way or waits", func() bool { return len(c.arrived()) > came || c.waiting() > waiting })
}

// result waits for what came of an ask.
func (c *slotsTest) result(name string) askResult {
	c.Helper()
	var result any
	partytest.Eventually(c, "the result of "+name, func() (ok bool) {
		result, ok = c.results.Load(name)
		return ok
	})
	return result.(askResult)
}

func (c *slotsTest) answered(names ...string) {
	c.Helper()
	for _, name := range names {
		r := c.result(name)
		check.ErrorIf(c, r.err != nil || len(r.answers) != 1, "%s: %v %v, want an answer", name, r.answers, r.err)
	}
}

// counted checks what is counted of the asks for hold.
func (c *slotsTest) counted(answered, refused uint64) {
	c.Helper()
	got := countsOf(operatorOf(c, c.party), "hold")
	check.ErrorIf(c, got.Answered != answered || got.Refused != refused || got.Failed != 0, "counted: %+v", got)
}

// refused checks how an ask was refused.
func (c *slotsTest) refused(name string, want ...string) {
	c.Helper()
	r := c.result(name)
	var failed *wsgiparty.HandlerError
	if len(r.answers) > 0 || !errors.Is(r.err, wsgiparty.ErrRefused) || !errors.Is(r.err, wsgiparty.ErrPartyline) || !errors.As(r.err, &failed) || failed.Guest != "busy" {
		c.Errorf("%s: %v %v, want a refusal", name, r.answers, r.err)
	}
	check.Contains(c, fmt.Sprint(r.err), want, "%s: %v, without", name, r.err)
}

// TestAskersTakeTurns has four slots, of which one asker has three at most.
func TestAskersTakeTurns(t *testing.T) {
	c := newSlotsTest(t, "max_asks 4\ntimeout 1m")
	ctx := t.Context()
	for _, name := range []string{"a1", "a2", "a3", "a4", "a5", "a6", "a7", "b1", "b2", "b3", "nobody1"} {
		c.ask(ctx, name)
	}
	want := []string{"a1", "a2", "a3", "b1"}
	if got := c.arrived(); !slices.Equal(got, want) || c.waiting() != 7 {
		t.Fatalf("%q are under way, %d wait; want %q", got, c.waiting(), want)
	}
	for _, turn := range []struct{ ends, comes string }{
		{"a1", "a4"}, {"a2", "b2"}, {"a3", "nobody1"}, {"nobody1", "a5"}, {"b1", "b3"}, {"b2", "a6"}, {"b3", ""}, {"a4", "a7"},
	} {
		c.let(turn.ends)
		c.answered(turn.ends)
		if turn.comes == "" { // there is a slot, but a has three already
			continue
		}
		want = append(want, turn.comes)
		partytest.Eventually(t, turn.comes+" is asked", func() bool { return len(c.arrived()) >= len(want) })
		if got := c.arrived(); !slices.Equal(got, want) {
			t.Fatalf("they came as %q, want %q", got, want)
		}
	}
	c.let("a5", "a6", "a7")
	c.answered("a5", "a6", "a7")
	c.counted(11, 0)
}

// TestWhoHasGoneGivesItsPlaceBack has askers go that wait, and one whose ask is under
// way.
func TestWhoHasGoneGivesItsPlaceBack(t *testing.T) {
	c := newSlotsTest(t, "max_asks 1\ntimeout 1m")
	c.ask(t.Context(), "a1")
	ctx, cancel := context.WithCancel(t.Context())
	for _, name := range []string{"b1", "a2", "b2"} {
		c.ask(ctx, name)
	}
	c.ask(t.Context(), "b3")
	cancel()
	for _, name := range []string{"b1", "a2", "b2"} {
		r := c.result(name)
		check.ErrorIf(t, !errors.Is(r.err, context.Canceled), "%s: %v", name, r.err)
	}
	partytest.Eventually(t, "only b3 waits", func() bool { return c.waiting() == 1 })
	c.let("a1", "b3")
	c.answered("a1", "b3")

	ctx, cancel = context.WithCancel(t.Context())
	c.ask(ctx, "c1")
	c.ask(t.Context(), "d1")
	c.let("d1")
	cancel()
	c.answered("d1")
	check.Slices(t, c.arrived(), []string{"a1", "b3", "c1", "d1"}, "they came as")
	c.counted(3, 0)
	entries := partytest.LogEntries(t, "guest is asked more than it can answer")
	check.ErrorIf(t, len(entries) > 0, "logged %v", entries)
}

// TestAnAskWaitsAsLongAsItsTimeout has as many asks wait in vain as would open the
// breaker, were they the application's failures.
func TestAnAskWaitsAsLongAsItsTimeout(t *testing.T) {
	c := newSlotsTest(t, "max_asks 1\ntimeout 2s")
	busy := applicationOf(t, "busy")
	release, err := busy.TakeSlot(t.Context(), "z") // for longer than an ask could
	check.Must(t, err)
	names := []string{"a1", "a2", "b1", "b2", "nobody1", "nobody2", "nobody3"}
	for _, name := range names {
		c.ask(t.Context(), name)
	}
	for _, name := range names {
		c.refused(name, wsgiparty.ErrRefused.Error(), "its turn had not come after 2", "asks under way: 1, of ", "if the application can answer more at once, write `max_asks 2` in its wsgi_party_guest", "`timeout`")
	}
	c.refused("nobody1", "of callers that are not guests: 0; waiting: ")
	c.refused("b1", `of guest "b": 0; waiting: `)
	n := len(c.arrived())
	check.ErrorIf(t, n > 0, "%d were asked nevertheless", n)
	release()
	c.let("a3")
	c.ask(t.Context(), "a3")
	c.answered("a3") // the breaker is closed

	c.counted(1, 7)
	got := countsOf(operatorOf(c, c.party), "hold")
	check.ErrorIf(t, got.Asked != 8 || !errors.Is(got.LastFailure, wsgiparty.ErrRefused) || got.Durations.Count != 8, "%+v", got)
	for outcome, want := range map[string]float64{"answered": 1, "declined": 0, "failed": 0, "refused": 7} {
		figure, ok := c.Figures(c.party)["replies_total"+partytest.Labels(map[string]string{"guest": "busy", "service": "hold", "outcome": outcome})]
		check.ErrorIf(t, !ok || figure != want, "the metrics have %v %v that %s, want %v", figure, ok, outcome, want)
	}
	var shown struct{ Counts []struct{ Refused int } }
	partytest.Decode(c, c.Call("GET", "/wsgi_party/"+c.party, ""), &shown)
	check.Equal(t, shown.Counts[0].Refused, 7, "what the admin API shows")
	began := partytest.LogEntries(t, "guest is asked more than it can answer")
	if len(began) != 1 || began[0]["level"] != "warn" || began[0]["party"] != c.party || began[0]["guest"] != "busy" || began[0]["max_asks"] != 1. ||
		!strings.Contains(fmt.Sprint(began[0]["error"]), "write `max_asks 2`") {
		t.Errorf("logged %v", began)
	}
	const over = "guest is no longer asked more than it can answer"
	partytest.Eventually(t, "it is logged as over", func() bool { return len(partytest.LogEntries(t, over)) > 0 })
	ended := partytest.LogEntries(t, over)
	check.ErrorIf(t, len(ended) != 1 || ended[0]["level"] != "info" || ended[0]["guest"] != "busy" || ended[0]["refused"] != 7., "logged %v", ended)
	// The next time it is told again.
	defer check.Value(busy.TakeSlot(t.Context(), "z"))(t)()
	c.ask(t.Context(), "a4")
	c.refused("a4")
	check.Equal(t, len(partytest.LogEntries(t, "guest is asked more than it can answer")), 2, "times that it is logged")
}

// TestAnAskWhoseTurnComesTooLateIsRefused has as many of them as would open the breaker,
// were they the application's failures.
func TestAnAskWhoseTurnComesTooLateIsRefused(t *testing.T) {
	c := newSlotsTest(t, "max_asks 8\ntimeout 3s")
	var releases []func()
	for _, asker := range []string{"y", "y", "z", "z", "z", "z", "z", "z"} {
		releases = append(releases, check.Value(applicationOf(t, "busy").TakeSlot(t.Context(), asker))(t))
	}
	names := []string{"a1", "a2", "a3", "a4", "a5", "a6"}
	for _, name := range names {
		c.ask(t.Context(), name)
	}
	for _, release := range releases {
		release()
	}
	partytest.Eventually(t, "all are asked", func() bool { return len(c.arrived()) == len(names) })
	for _, name := range names {
		c.refused(name, "its turn came after", "and the rest of 3s was not enough", "`max_asks 16`")
	}
	c.let("a7")
	c.ask(t.Context(), "a7")
	c.answered("a7")
	got := countsOf(operatorOf(c, c.party), "hold")
	check.ErrorIf(t, got.Answered != 1 || got.Refused != 6 || got.Failed != 0, "%+v", got)
}

// TestNobodyWaitsForAServiceThatDoesNotAnswer has asks wait when the breaker opens.
func TestNobodyWaitsForAServiceThatDoesNotAnswer(t *testing.T) {
	c := newSlotsTest(t, "max_asks 8\ntimeout 3s")
	for i := range 6 {
		c.ask(t.Context(), fmt.Sprint("a", i))
	}
	time.Sleep(1500 * time.Millisecond) // for those that come now to have longer
	const waiting = 40
	for i := range waiting {
		c.ask(t.Context(), fmt.Sprint("a", 6+i))
	}
	close(c.letOf("a5")) // it does answer something
	told := 0
	for i := range waiting {
		r := c.result(fmt.Sprint("a", 6+i))
		if r.err == nil {
			t.Errorf("a%d: %v", 6+i, r.answers)
		} else if strings.Contains(r.err.Error(), "it failed to answer 5 times in a row, and is left alone for 5s") && !errors.Is(r.err, wsgiparty.ErrRefused) {
			told++
		}
	}
	check.ErrorIf(t, told < waiting-6, "%d of %d are told", told, waiting)
	n := len(c.arrived())
	check.ErrorIf(t, n > 12, "it is asked %d times", n)
}

// TestNobodyWaitsForAGuestThatAnswersNothing has one that has too few slots for the
// breaker to open.
func TestNobodyWaitsForAGuestThatAnswersNothing(t *testing.T) {
	for _, maxAsks := range []int{1, 4} {
		t.Run(fmt.Sprint(maxAsks), func(t *testing.T) {
			c := newSlotsTest(t, fmt.Sprintf("max_asks %d\ntimeout 2s", maxAsks))
			asked := (3*maxAsks + 3) / 4
			for i := range asked {
				c.ask(t.Context(), fmt.Sprint("a", i))
			}
			time.Sleep(time.Second) // for those that come now to have longer
			for i := range 10 {
				c.ask(t.Context(), fmt.Sprint("a", asked+i))
			}
			for i := range 10 {
				c.refused(fmt.Sprint("a", asked+i), "it has not answered this asker for 2", `guest "a"`)
			}
			check.Equal(t, len(c.arrived()), asked, "times that it is asked")
			c.let("b1")
			c.ask(t.Context(), "b1")
			c.answered("b1")
			c.let("a99")
			c.ask(t.Context(), "a99")
			c.answered("a99")
		})
	}
}

// TestSoManyWaitAtMost has one asker fill the line.
func TestSoManyWaitAtMost(t *testing.T) {
	c := newSlotsTest(t, "max_asks 1\ntimeout 1m")
	c.ask(t.Context(), "z1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range httpguest.MaxWaiting {
		c.ask(ctx, fmt.Sprint("a", i))
	}
	c.start(ctx, "a9999")
	c.refused("a9999", "too many wait", "waiting: 1024")
	c.start(ctx, "b1") // of whom fewer wait
	c.refused(fmt.Sprint("a", httpguest.MaxWaiting-1), "too many wait")
	check.Equal(t, c.waiting(), httpguest.MaxWaiting, "wait")
	c.let("z1", "a0", "b1")
	c.answered("a0", "b1")
	cancel()
	partytest.Eventually(t, "nobody waits", func() bool { return c.waiting() == 0 })
	for i := 1; i < httpguest.MaxWaiting-1; i++ {
		c.result(fmt.Sprint("a", i))
	}
	check.Equal(t, len(partytest.LogEntries(t, "guest is asked more than it can answer")), 1, "times that it is logged")
}

// TestAChainDoesNotWaitForASlotThatItHolds has two guests ask each other, five asks
// deep, by a guest that has one slot, or two.
func TestAChainDoesNotWaitForASlotThatItHolds(t *testing.T) {
	keys := []string{partytest.Key(t, "a"), partytest.Key(t, "b")}
	for maxAsks, want := range map[int]string{
		1: `asked more than it can answer: it comes from asks that the application is answering, as 1 others already do (asks under way: 2, of guest`,
		2: `"end"`,
	} {
		t.Run(fmt.Sprint(maxAsks), func(t *testing.T) {
			c := newGuestTest(t)
			var apps [2]*partytest.Application
			for i := range apps {
				apps[i] = partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
					depth := int(r.URL.Path[2] - '0') // as in /s1
					answer := "end"
					if depth < 5 {
						_, got := c.AskAs(keys[i], fmt.Sprint("s", depth+1), "null", r.Header.Get("Party-Token"))
						if len(got.Answers) == 1 {
							_ = json.Unmarshal(got.Answers[0], &answer)
						} else {
							answer = fmt.Sprint(got.Replies)
						}
					}
					encoded, _ := json.Marshal(answer)
					partytest.JSON(string(encoded))(w, r)
				})
			}
			c.TwoGuests(c.party, fmt.Sprintf("max_asks %d\ntimeout 1m\nservice s1 /s1\nservice s3 /s3\nservice s5 /s5", maxAsks),
				"timeout 1m\nservice s2 /s2\nservice s4 /s4", apps[0], apps[1])
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
			defer cancel()
			answers, err := operatorOf(c, c.party).AskAround(ctx, "s1", nil)
			check.Nil(t, err)
			check.Has(t, joinAnswers(answers), want)
			check.Equal(t, len(apps[0].Requests()), 1+maxAsks, "times that the guest was asked")
		})
	}
}

// TestAGuestOfAnotherPartyHoldsNoSlot has one of the same name ask in turn there.
func TestAGuestOfAnotherPartyHoldsNoSlot(t *testing.T) {
	c := newSlotsTest(t, "max_asks 1\ntimeout 1m")
	other := wsgiparty.NewPartyline("other", wsgiparty.Options{})
	busy, second := other.Operator("busy"), other.Operator("second")
	partytest.Connect(t, busy, "first", func(ctx context.Context, payload any) (any, error) {
		return wsgiparty.First[any](ctx, busy, "second", payload)
	})
	partytest.Connect(t, second, "second", func(ctx context.Context, payload any) (any, error) {
		return wsgiparty.First[any](ctx, operatorOf(c, c.party), "hold", payload)
	})
	c.ask(t.Context(), "a1")
	done := make(chan error)
	go func() {
		_, err := other.Operator("").AskAround(t.Context(), "first", "x")
		done <- err
	}()
	partytest.Eventually(t, "it waits", func() bool { return c.waiting() == 1 })
	c.let("x", "a1")
	check.Nil(t, <-done)
	c.answered("a1")
}

// TestVisitorsDoNotUseAGuestUp has them look at a page that asks it for what takes
// long, and hang up.
func TestVisitorsDoNotUseAGuestUp(t *testing.T) {
	partytest.TemplateApp(t)
	c := newSlotsTest(t, "timeout 1m")
	c.Site("wsgi_party " + c.party + " {\ninvite /busy/__invite__/\n" + partytest.Mounted("busy", "service hold /hold\nservice quick /quick\ntimeout 1m", c.app) + partytest.Pages + "}")
	quick := func(guest string) {
		t.Helper()
		answers, err := operatorOf(c, c.party).Partyline().Operator(guest).AskAround(t.Context(), "quick", nil)
		check.ErrorIf(t, err != nil || len(answers) != 1, "guest %q gets %v %v", guest, answers, err)
	}
	for range 2 {
		ctx, hangUp := context.WithCancel(t.Context())
		var visitors sync.WaitGroup
		for range 64 {
			visitors.Go(func() {
				for ctx.Err() == nil { // a connection may break
					_, _, _ = c.TryDo(ctx, "GET", partytest.Page(`{{askFirst . "hold" "v"}}`), "", nil)
				}
			})
		}
		partytest.Eventually(t, "48 are under way, and 16 wait", func() bool { return c.held.Load() == 48 && c.waiting() == 16 })
		for range 20 {
			quick("other")
		}
		var after sync.WaitGroup
		after.Go(func() { quick("") }) // no guest, as the visitors' pages
		partytest.Eventually(t, "it waits, too", func() bool { return c.waiting() == 17 })
		hangUp()
		after.Wait()
		visitors.Wait()
		partytest.Eventually(t, "all is over", func() bool { return c.waiting() == 0 && c.held.Load() == 0 })
	}
}
