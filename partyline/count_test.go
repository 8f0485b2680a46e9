// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// figures returns what is counted as lines: "service asks", then "guest/service
// asked answered declined failed".
func figures(p *Partyline) []string {
	lines := []string{}
	asks, replies := p.Counts()
	for _, c := range asks {
		lines = append(lines, fmt.Sprint(c.Service, " ", c.Asks))
	}
	for _, c := range replies {
		lines = append(lines, fmt.Sprintf("%s/%s %d %d %d %d", c.Guest, c.Service, c.Asked, c.Answered, c.Declined, c.Failed))
	}
	return lines
}

// wantFigures wants the lines of figures, written in one.
func wantFigures(t testing.TB, p *Partyline, want string) {
	t.Helper()
	if got := strings.Join(figures(p), ", "); got != want {
		t.Errorf("counted %s; want %s", got, want)
	}
}

// repliesOf returns what is counted of a guest and a service.
func repliesOf(t testing.TB, p *Partyline, guest, service string) ReplyCount {
	t.Helper()
	_, replies := p.Counts()
	i := slices.IndexFunc(replies, func(c ReplyCount) bool { return c.Guest == guest && c.Service == service })
	if i < 0 {
		t.Fatalf("nothing is counted of %s/%s", guest, service)
	}
	return replies[i]
}

// handlerCounts are what handlers count themselves, by guest and service.
type handlerCounts struct{ sync.Map }

type handlerCount struct{ asked, answered, declined, failed atomic.Uint64 }

func (h *handlerCounts) of(guest, service string) *handlerCount {
	c, _ := h.LoadOrStore(guest+"/"+service, new(handlerCount))
	return c.(*handlerCount)
}

// handler reacts as told: it answers, declines, fails or panics.
func (c *handlerCount) handler(reaction func(payload any) byte) Handler {
	return func(_ context.Context, payload any) (any, error) {
		c.asked.Add(1)
		switch r := reaction(payload); r {
		case 'a':
			c.answered.Add(1)
			return "answer", nil
		case 'd':
			c.declined.Add(1)
			return nil, ErrHighAndDry
		case 'f':
			c.failed.Add(1)
			return nil, fs.ErrNotExist
		case 'p':
			c.failed.Add(1)
			panic("on purpose")
		default:
			panic(fmt.Sprintf("no such reaction: %q", r))
		}
	}
}

// check wants the partyline to count what the handlers have counted.
func (h *handlerCounts) check(t testing.TB, what string, p *Partyline) {
	t.Helper()
	_, replies := p.Counts()
	seen := make(map[string]bool)
	for _, got := range replies {
		key := got.Guest + "/" + got.Service
		seen[key] = true
		want := h.of(got.Guest, got.Service)
		if got.Asked != want.asked.Load() || got.Answered != want.answered.Load() || got.Declined != want.declined.Load() || got.Failed != want.failed.Load() {
			t.Errorf("%s: counted %+v; the handlers counted %+v", what, got, want)
		}
	}
	h.Range(func(key, _ any) bool {
		if !seen[key.(string)] {
			t.Errorf("%s: nothing is counted of %s", what, key)
		}
		return true
	})
}

// What is counted.

func TestAsksAndRepliesAreCounted(t *testing.T) {
	wrapped := fmt.Errorf("wrapped: %w", ErrHighAndDry)
	for name, c := range map[string]struct {
		ask  func(ctx context.Context, cancel func(), anyone, a, b *Operator)
		want string
	}{
		"nothing": {
			func(context.Context, func(), *Operator, *Operator, *Operator) {},
			"s 0, a/s 0 0 0 0, b/s 0 0 0 0, c/s 0 0 0 0, d/s 0 0 0 0",
		},
		"AskAround by who is no guest": {
			func(ctx context.Context, _ func(), anyone, _, _ *Operator) { anyone.AskAround(ctx, "s", nil) },
			"s 1, a/s 2 1 1 0, b/s 1 0 1 0, c/s 1 0 0 1, d/s 2 1 0 1",
		},
		"AskAround by a guest": {
			func(ctx context.Context, _ func(), _, a, _ *Operator) { a.AskAround(ctx, "s", nil) },
			"s 1, a/s 0 0 0 0, b/s 1 0 1 0, c/s 1 0 0 1, d/s 2 1 0 1",
		},
		"All": {
			func(ctx context.Context, _ func(), _, _, b *Operator) { All[string](ctx, b, "s", nil) },
			"s 1, a/s 2 1 1 0, b/s 0 0 0 0, c/s 1 0 0 1, d/s 2 1 0 1",
		},
		"First": {
			func(ctx context.Context, _ func(), anyone, _, _ *Operator) { First[string](ctx, anyone, "s", nil) },
			"s 1, a/s 1 1 0 0, b/s 0 0 0 0, c/s 0 0 0 0, d/s 0 0 0 0",
		},
		"First by a guest": {
			func(ctx context.Context, _ func(), _, a, _ *Operator) { First[string](ctx, a, "s", nil) },
			"s 1, a/s 0 0 0 0, b/s 1 0 1 0, c/s 1 0 0 1, d/s 2 1 0 1",
		},
		"Replies": {
			func(ctx context.Context, _ func(), anyone, _, _ *Operator) {
				for range anyone.Replies(ctx, "s", nil) {
				}
			},
			"s 1, a/s 2 1 1 0, b/s 1 0 1 0, c/s 1 0 0 1, d/s 2 1 0 1",
		},
		"Replies broken off at an answer": {
			func(ctx context.Context, _ func(), anyone, _, _ *Operator) {
				for range anyone.Replies(ctx, "s", nil) {
					break
				}
			},
			"s 1, a/s 1 1 0 0, b/s 0 0 0 0, c/s 0 0 0 0, d/s 0 0 0 0",
		},
		"Replies broken off at a decline": {
			func(ctx context.Context, _ func(), _, a, _ *Operator) {
				for range a.Replies(ctx, "s", nil) {
					break
				}
			},
			"s 1, a/s 0 0 0 0, b/s 1 0 1 0, c/s 0 0 0 0, d/s 0 0 0 0",
		},
		"Replies broken off at a failure": {
			func(ctx context.Context, _ func(), anyone, _, _ *Operator) {
				for reply := range anyone.Replies(ctx, "s", nil) {
					if reply.Guest == "c" {
						break
					}
				}
			},
			"s 1, a/s 1 1 0 0, b/s 1 0 1 0, c/s 1 0 0 1, d/s 0 0 0 0",
		},
		"Replies broken off at a panic": {
			func(ctx context.Context, _ func(), anyone, _, _ *Operator) {
				for reply := range anyone.Replies(ctx, "s", nil) {
					if reply.Guest == "d" {
						break
					}
				}
			},
			"s 1, a/s 1 1 0 0, b/s 1 0 1 0, c/s 1 0 0 1, d/s 1 0 0 1",
		},
		"Replies whose loop body panics": {
			func(ctx context.Context, _ func(), anyone, _, _ *Operator) {
				defer func() { recover() }()
				for reply := range anyone.Replies(ctx, "s", nil) {
					if reply.Err != nil {
						panic("mine")
					}
				}
			},
			"s 1, a/s 1 1 0 0, b/s 1 0 1 0, c/s 0 0 0 0, d/s 0 0 0 0",
		},
		"Replies ranged over twice": {
			func(ctx context.Context, _ func(), anyone, _, _ *Operator) {
				replies := anyone.Replies(ctx, "s", nil)
				for range replies {
				}
				for range replies {
				}
			},
			"s 2, a/s 4 2 2 0, b/s 2 0 2 0, c/s 2 0 0 2, d/s 4 2 0 2",
		},
		"Replies never ranged over": {
			func(ctx context.Context, _ func(), anyone, _, _ *Operator) { anyone.Replies(ctx, "s", nil) },
			"s 0, a/s 0 0 0 0, b/s 0 0 0 0, c/s 0 0 0 0, d/s 0 0 0 0",
		},
		"cancelled midway": {
			func(ctx context.Context, cancel func(), anyone, _, _ *Operator) {
				for reply := range anyone.Replies(ctx, "s", nil) {
					if reply.Guest == "b" {
						cancel()
					}
				}
			},
			"s 1, a/s 1 1 0 0, b/s 1 0 1 0, c/s 0 0 0 0, d/s 0 0 0 0",
		},
		"cancelled at a panic": {
			func(ctx context.Context, cancel func(), anyone, _, _ *Operator) {
				for reply := range anyone.Replies(ctx, "s", nil) {
					if reply.Guest == "d" {
						cancel()
					}
				}
			},
			"s 1, a/s 1 1 0 0, b/s 1 0 1 0, c/s 1 0 0 1, d/s 1 0 0 1",
		},
		"cancelled before": {
			func(ctx context.Context, cancel func(), anyone, _, _ *Operator) {
				cancel()
				anyone.AskAround(ctx, "s", nil)
			},
			"s 1, a/s 0 0 0 0, b/s 0 0 0 0, c/s 0 0 0 0, d/s 0 0 0 0",
		},
		"what nobody is connected under": {
			func(ctx context.Context, _ func(), anyone, _, _ *Operator) { anyone.AskAround(ctx, "missing", nil) },
			"s 0, a/s 0 0 0 0, b/s 0 0 0 0, c/s 0 0 0 0, d/s 0 0 0 0",
		},
	} {
		p := NewPartyline("main", Options{})
		a, b, d := p.Operator("a"), p.Operator("b"), p.Operator("d")
		connect(t, a, "s", pong)
		connect(t, b, "s", failWith(wrapped))
		connect(t, p.Operator("c"), "s", failWith(fs.ErrNotExist))
		connect(t, d, "s", func(context.Context, any) (any, error) { panic(ErrHighAndDry) })
		connect(t, d, "s", answerWith(nil))
		connect(t, a, "s", failWith(ErrHighAndDry))
		ctx, cancel := context.WithCancel(t.Context())
		c.ask(ctx, cancel, p.Operator(""), a, b)
		cancel()
		if got := strings.Join(figures(p), ", "); got != c.want {
			t.Errorf("%s: counted %s; want %s", name, got, c.want)
		}
	}
}

func TestNestedAsksAreCounted(t *testing.T) {
	p := NewPartyline("main", Options{})
	join := func(guest string) *Operator {
		o := p.Operator(guest)
		connect(t, o, "s", func(ctx context.Context, _ any) (any, error) {
			if _, err := o.AskAround(ctx, "t", nil); err != nil {
				return nil, err
			}
			return All[any](ctx, o, "s", nil)
		})
		return o
	}
	a := join("a")
	join("b")
	join("c")
	connect(t, a, "t", pong)
	// b asks c, c asks b, and the third ask in a row has nobody left to call.
	if _, err := a.AskAround(t.Context(), "s", nil); err != nil {
		t.Fatal(err)
	}
	wantFigures(t, p, "s 5, t 4, a/s 0 0 0 0, a/t 4 4 0 0, b/s 2 2 0 0, c/s 2 2 0 0")
}

func TestAsksThatCallNobodyAreCounted(t *testing.T) {
	t.Run("the only handler is the asker's own", func(t *testing.T) {
		p := NewPartyline("main", Options{})
		a := p.Operator("a")
		connect(t, a, "s", pong)
		wantAnswers(t, a, "s")
		wantAnswers(t, a, "s")
		wantFigures(t, p, "s 2, a/s 0 0 0 0")
	})
	t.Run("ErrLoop", func(t *testing.T) {
		p := NewPartyline("main", Options{})
		anyone := p.Operator("")
		loops := 0
		connect(t, p.Operator("a"), "s", func(ctx context.Context, _ any) (any, error) {
			if _, err := anyone.AskAround(ctx, "s", nil); err == ErrLoop {
				loops++
			}
			return nil, nil
		})
		wantAnswers(t, anyone, "s", nil)
		if loops != 1 {
			t.Errorf("%d asks got ErrLoop", loops)
		}
		wantFigures(t, p, fmt.Sprintf("s %d, a/s %[2]d %[2]d 0 0", maxDepth+1, maxDepth))
	})
	t.Run("nine guests ask each other", func(t *testing.T) {
		p := NewPartyline("main", Options{})
		const n = 10
		for g := range n { // each asks the next one
			o := p.Operator(fmt.Sprint("guest", g))
			connect(t, o, "s", func(ctx context.Context, payload any) (any, error) {
				if payload.(int) != g {
					return nil, ErrHighAndDry
				}
				return All[any](ctx, o, "s", g+1)
			})
		}
		if _, err := p.Operator("").AskAround(t.Context(), "s", 0); !errors.Is(err, ErrLoop) {
			t.Fatal(err)
		}
		// The first ask is answered by nine that decline and one that fails, the
		// next skips one, and so on; the tenth calls nobody.
		wantFigures(t, p, "s 10, guest0/s 1 0 0 1, guest1/s 2 0 1 1, guest2/s 3 0 2 1, guest3/s 4 0 3 1, guest4/s 5 0 4 1, "+
			"guest5/s 6 0 5 1, guest6/s 7 0 6 1, guest7/s 8 0 7 1, guest8/s 9 0 8 1, guest9/s 9 0 9 0")
	})
}

func TestAServicesAsksAreCountedWhenTheyHaveEnded(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", pong)
	connect(t, p.Operator("b"), "s", func(context.Context, any) (any, error) {
		wantFigures(t, p, "s 0, a/s 1 1 0 0, b/s 0 0 0 0")
		return nil, nil
	})
	anyone := p.Operator("")
	for reply := range anyone.Replies(t.Context(), "s", nil) {
		wantFigures(t, p, map[string]string{"a": "s 0, a/s 1 1 0 0, b/s 0 0 0 0", "b": "s 0, a/s 1 1 0 0, b/s 1 1 0 0"}[reply.Guest])
	}
	wantFigures(t, p, "s 1, a/s 1 1 0 0, b/s 1 1 0 0")
}

func TestAnyNumberOfHandlersIsCounted(t *testing.T) {
	const guests = 5
	patterns := []string{ // what the handlers do, again and again
		"a", "d", "f", "p", "adafdaapad",
		"d" + strings.Repeat("a", 64-2) + "p",
		strings.Repeat("d", 64-1) + "a",
		strings.Repeat("f", 64-2) + "pp",
	}
	for _, n := range []int{1, 63, 64, 65, 128, 200} {
		for _, pattern := range patterns {
			p := NewPartyline("main", Options{})
			var handlers handlerCounts
			var operators []*Operator
			asks := uint64(0)
			calls, cancelAt, cancel := 0, 0, func() {}
			for i := range min(guests, n) {
				operators = append(operators, p.Operator(fmt.Sprint(i)))
			}
			for i := range n {
				o := operators[i%len(operators)]
				connect(t, o, "s", handlers.of(o.Guest(), "s").handler(func(any) byte {
					if calls++; calls == cancelAt {
						cancel()
					}
					return pattern[i%len(pattern)]
				}))
			}
			for _, asker := range []*Operator{p.Operator(""), operators[0], operators[len(operators)-1]} {
				asker.AskAround(t.Context(), "s", nil)
				All[string](t.Context(), asker, "s", nil)
				First[string](t.Context(), asker, "s", nil)
				asks += 3
				for _, end := range []int{1, 51, 52, 62, 63, 64, 65, 66, 102, 103, 127, 128, 129, 130, n - 1, n} {
					replies := 0
					for range asker.Replies(t.Context(), "s", nil) {
						if replies++; replies == end {
							break
						}
					}
					asks++

					var ctx context.Context
					ctx, cancel = context.WithCancel(t.Context())
					calls, cancelAt = 0, end
					asker.AskAround(ctx, "s", nil)
					cancelAt = 0
					cancel()
					asks++
				}
			}
			handlers.check(t, fmt.Sprint(n, " handlers, ", pattern), p)
			if got, _ := p.Counts(); got[0].Asks != asks {
				t.Errorf("%d handlers, %s: counted %d asks, want %d", n, pattern, got[0].Asks, asks)
			}
		}
	}
}

func TestTheFirstAnswerIsTheLastThatIsCounted(t *testing.T) {
	const n = 200
	for _, at := range []int{0, 1, 62, 63, 64, 65, 127, 128, 129, 191, 192, n - 1} {
		p := NewPartyline("main", Options{})
		for i := range n {
			h := pong
			if i < at {
				h = failWith(ErrHighAndDry)
			}
			connect(t, p.Operator(fmt.Sprintf("%03d", i)), "s", h)
		}
		if _, err := First[string](t.Context(), p.Operator(""), "s", nil); err != nil {
			t.Fatal(err)
		}
		want := []string{"s 1"}
		for i := range n {
			reply := "1 0 1 0"
			if i == at {
				reply = "1 1 0 0"
			} else if i > at {
				reply = "0 0 0 0"
			}
			want = append(want, fmt.Sprintf("%03d/s %s", i, reply))
		}
		if got := figures(p); !slices.Equal(got, want) {
			t.Errorf("answered by %d: counted %v", at, got)
		}
	}
}

func TestLastFailureIsTheGuestsLastHandlerError(t *testing.T) {
	p := NewPartyline("main", Options{})
	var reaction func() (any, error)
	handler := func(context.Context, any) (any, error) { return reaction() }
	connect(t, p.Operator("a"), "s", handler)
	connect(t, p.Operator("a"), "t", handler)
	connect(t, p.Operator("b"), "s", pong)
	connectRemote(t, p.Operator("c"), "s", handler)
	anyone := p.Operator("")
	last := func(guest, service string) error { return repliesOf(t, p, guest, service).LastFailure }
	check := func(want error) {
		t.Helper()
		for _, guest := range []string{"a", "c"} {
			failure, ok := last(guest, "s").(*HandlerError)
			if !ok || failure.Guest != guest || failure.Service != "s" || failure.Err != want {
				t.Errorf("%s's last failure is %v, want %v", guest, last(guest, "s"), want)
			}
		}
		for _, other := range []error{last("b", "s"), last("a", "t")} {
			if other != nil {
				t.Errorf("who has not failed: got %v", other)
			}
		}
	}

	reaction = func() (any, error) { return nil, ErrHighAndDry }
	anyone.AskAround(t.Context(), "s", nil)
	if last("a", "s") != nil || last("c", "s") != nil {
		t.Error("a decline is no failure")
	}
	for _, err := range []error{fs.ErrExist, fs.ErrNotExist} {
		reaction = func() (any, error) { return nil, err }
		_, asked := anyone.AskAround(t.Context(), "s", nil)
		check(err)
		if !errors.Is(asked, last("a", "s")) { // the very error that the asker got
			t.Errorf("the asker got %v", asked)
		}
	}
	reaction = func() (any, error) { return nil, ErrHighAndDry }
	anyone.AskAround(t.Context(), "s", nil)
	reaction = func() (any, error) { return "well again", nil }
	anyone.AskAround(t.Context(), "s", nil)
	check(fs.ErrNotExist)

	reaction = func() (any, error) { return panicsOnPurpose("oh no") }
	anyone.AskAround(t.Context(), "s", nil)
	for _, guest := range []string{"a", "c"} {
		if failure, ok := last(guest, "s").(*HandlerError); !ok || !strings.Contains(failure.Error(), "panicsOnPurpose") {
			t.Errorf("%s's last failure is %v", guest, last(guest, "s"))
		}
	}
}

// Remote handlers.

func TestRepliesOfRemoteHandlersAreCountedAndTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPartyline("main", Options{})
		reaction := byte('a')
		takes := func(guest string, connectAs func(testing.TB, *Operator, string, Handler)) {
			h := new(handlerCount).handler(func(any) byte { return reaction })
			connectAs(t, p.Operator(guest), "s", func(ctx context.Context, payload any) (any, error) {
				time.Sleep(payload.(time.Duration))
				if reaction == 'x' {
					runtime.Goexit()
				}
				return h(ctx, payload)
			})
		}
		takes("remote", connectRemote)
		anyone := p.Operator("")
		ask := func(r byte, d time.Duration) {
			reaction = r
			replies := slices.Collect(anyone.Replies(t.Context(), "s", d))
			if len(replies) != 1 || replies[0].Duration != d {
				t.Errorf("took %v: got %v", d, replies)
			}
		}
		ask('a', 0)
		ask('a', 500*time.Microsecond) // a bound belongs to its bucket
		ask('d', 500*time.Microsecond+1)
		ask('f', 3*time.Millisecond)
		ask('p', 40*time.Millisecond)
		ask('x', 10*time.Second)
		ask('a', 10*time.Second+1)
		ask('d', time.Hour)
		want := ReplyCount{
			Guest: "remote", Service: "s", Asked: 8, Answered: 3, Declined: 2, Failed: 3,
			Durations: Durations{
				Count: 8,
				Sum:   time.Hour + 20*time.Second + 44*time.Millisecond + 2,
				Buckets: map[time.Duration]uint64{
					500 * time.Microsecond: 2, time.Millisecond: 3, 2500 * time.Microsecond: 3,
					5 * time.Millisecond: 4, 10 * time.Millisecond: 4, 25 * time.Millisecond: 4,
					50 * time.Millisecond: 5, 100 * time.Millisecond: 5, 250 * time.Millisecond: 5,
					500 * time.Millisecond: 5, time.Second: 5, 2500 * time.Millisecond: 5,
					5 * time.Second: 5, 10 * time.Second: 6,
				},
			},
		}
		got := repliesOf(t, p, "remote", "s")
		got.LastFailure = nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("counted %+v, want %+v", got, want)
		}

		// Local handlers are not timed.
		takes("local", connect)
		for _, reaction = range []byte("adfp") {
			for reply := range anyone.Replies(t.Context(), "s", time.Second) {
				if want := map[string]time.Duration{"remote": time.Second}[reply.Guest]; reply.Duration != want {
					t.Errorf("%s took %v, want %v", reply.Guest, reply.Duration, want)
				}
			}
		}
		if got := repliesOf(t, p, "local", "s"); got.Asked != 4 || got.Durations.Count != 0 || got.Durations.Sum != 0 {
			t.Errorf("counted %+v", got)
		}
	})
}

func TestLocalAndRemoteHandlersOfAGuestAreCountedTogether(t *testing.T) {
	p := NewPartyline("main", Options{})
	var handlers handlerCounts
	const n = 130 // three parts
	var operators []*Operator
	for i := range 7 {
		operators = append(operators, p.Operator(fmt.Sprint(i)))
	}
	for i := range n {
		o := operators[i%7]
		h := handlers.of(o.Guest(), "s").handler(func(payload any) byte { return "adfpa"[(i+payload.(int))%5] })
		if i%3 == 1 {
			connectRemote(t, o, "s", h)
		} else {
			connect(t, o, "s", h)
		}
	}
	for i, o := range operators {
		o.AskAround(t.Context(), "s", i)
	}
	handlers.check(t, "local and remote", p)
	var remote uint64
	_, replies := p.Counts()
	for _, c := range replies {
		remote += c.Durations.Count
	}
	want := uint64(0)
	for i := range n {
		if i%3 == 1 {
			want += 6 // all but its own guest ask it
		}
	}
	if remote != want {
		t.Errorf("%d replies of remote handlers, want %d", remote, want)
	}
}

// toldObserver adds up what an observer is told.
type toldObserver struct{ asks, answered, declined, failed uint64 }

func (*toldObserver) Observing() bool            { return true }
func (*toldObserver) GuestJoined(string)         {}
func (*toldObserver) GuestLeft(string, []string) {}
func (o *toldObserver) BeginAsk(string, string) func(answered, declined, failed int, err error) {
	return func(answered, declined, failed int, _ error) {
		o.asks++
		o.answered += uint64(answered)
		o.declined += uint64(declined)
		o.failed += uint64(failed)
	}
}

func TestAnObserverIsToldWhatIsCounted(t *testing.T) {
	told := new(toldObserver)
	p := NewPartyline("main", Options{Observer: told})
	for i := range 130 {
		h := new(handlerCount).handler(func(payload any) byte { return "adfpa"[(i+payload.(int))%5] })
		connectAs := connect
		if i%3 == 1 {
			connectAs = connectRemote
		}
		connectAs(t, p.Operator(fmt.Sprint(i)), "s", h)
	}
	check := func() {
		t.Helper()
		counted := toldObserver{}
		asks, replies := p.Counts()
		counted.asks = asks[0].Asks
		for _, c := range replies {
			counted.answered += c.Answered
			counted.declined += c.Declined
			counted.failed += c.Failed
		}
		if *told != counted || told.asks == 0 {
			t.Errorf("told %+v, counted %+v", *told, counted)
		}
	}
	for i := range 5 {
		p.Operator("").AskAround(t.Context(), "s", i)
		p.Operator(fmt.Sprint(i)).AskAround(t.Context(), "s", i)
		check()
	}

	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		connectRemote(t, p.Operator("slow"), "s", func(ctx context.Context, _ any) (any, error) {
			<-ctx.Done()
			time.Sleep(time.Second) // until the asker has gone
			return nil, ctx.Err()
		})
		time.AfterFunc(time.Second, cancel)
		p.Operator("").AskAround(ctx, "s", 0)
		check()
		time.Sleep(2 * time.Second) // now it has returned
		check()
	})
}

func TestARemoteHandlerThatNobodyWaitsForIsAskedButHasNotFailed(t *testing.T) {
	verifyNoLeak(t)
	for name, ask := range map[string]func(context.Context, context.CancelFunc, *Operator){
		"cancelled": func(ctx context.Context, cancel context.CancelFunc, o *Operator) {
			time.AfterFunc(time.Second, cancel)
			if _, err := o.AskAround(ctx, "s", nil); err != context.Canceled {
				t.Error(err)
			}
		},
		"First": func(ctx context.Context, _ context.CancelFunc, o *Operator) { First[string](ctx, o, "s", nil) },
		"broken off": func(ctx context.Context, _ context.CancelFunc, o *Operator) {
			for range o.Replies(ctx, "s", nil) {
				break
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := NewPartyline("main", Options{})
				connectRemote(t, p.Operator("quick"), "s", func(context.Context, any) (any, error) {
					synctest.Wait() // until the other waits as well
					return "pong", nil
				})
				connectRemote(t, p.Operator("slow"), "s", func(ctx context.Context, _ any) (any, error) {
					<-ctx.Done()
					time.Sleep(time.Second)
					return nil, ctx.Err()
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ask(ctx, cancel, p.Operator(""))
				for range 2 {
					synctest.Wait()
					wantFigures(t, p, "s 1, quick/s 1 1 0 0, slow/s 1 0 0 0")
					time.Sleep(2 * time.Second) // now it has returned
				}
				if got := repliesOf(t, p, "slow", "s"); got.LastFailure != nil || got.Durations.Count != 0 || got.Durations.Sum != 0 {
					t.Errorf("counted %+v", got)
				}
			})
		})
	}
}

func TestARemoteHandlerThatMissesTheDeadlineHasFailedOnceItReturns(t *testing.T) {
	verifyNoLeak(t)
	synctest.Test(t, func(t *testing.T) {
		p := NewPartyline("main", Options{})
		connect(t, p.Operator("local"), "s", pong)
		connectRemote(t, p.Operator("remote"), "s", func(ctx context.Context, _ any) (any, error) {
			<-ctx.Done()
			time.Sleep(time.Second)
			return nil, ctx.Err()
		})
		connect(t, p.Operator("unreached"), "s", pong)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := p.Operator("").AskAround(ctx, "s", nil); err != context.DeadlineExceeded {
			t.Error(err)
		}
		synctest.Wait()
		wantFigures(t, p, "s 1, local/s 1 1 0 0, remote/s 1 0 0 0, unreached/s 0 0 0 0")
		time.Sleep(2 * time.Second)
		wantFigures(t, p, "s 1, local/s 1 1 0 0, remote/s 1 0 0 1, unreached/s 0 0 0 0")
		got := repliesOf(t, p, "remote", "s")
		if got.Durations.Count != 1 || got.Durations.Sum != time.Minute+time.Second {
			t.Errorf("counted %+v", got)
		}
		if failure, ok := got.LastFailure.(*HandlerError); !ok || failure.Guest != "remote" || failure.Err != context.DeadlineExceeded {
			t.Errorf("the last failure is %v", got.LastFailure)
		}
	})
}

// What is in Counts.

func TestOnlyServicesConnectedNowAreInCountsInOrder(t *testing.T) {
	p := NewPartyline("main", Options{})
	if asks, replies := p.Counts(); asks == nil || replies == nil || len(asks)+len(replies) > 0 {
		t.Errorf("nobody: got %#v, %#v", asks, replies)
	}
	a, b := p.Operator("a"), p.Operator("b")
	for _, service := range []string{"z", "m", "a"} {
		connect(t, b, service, pong)
		connect(t, a, service, pong)
	}
	connect(t, a, "only a's", pong)
	anyone := p.Operator("")
	anyone.AskAround(t.Context(), "m", nil)
	anyone.AskAround(t.Context(), "only a's", nil)
	wantFigures(t, p, "a 0, m 1, only a's 1, z 0, "+
		"a/a 0 0 0 0, a/m 1 1 0 0, a/only a's 1 1 0 0, a/z 0 0 0 0, b/a 0 0 0 0, b/m 1 1 0 0, b/z 0 0 0 0")
	a.Leave()
	wantFigures(t, p, "a 0, m 1, z 0, b/a 0 0 0 0, b/m 1 1 0 0, b/z 0 0 0 0")
	anyone.AskAround(t.Context(), "m", nil)
	b.Leave()
	if asks, replies := p.Counts(); asks == nil || replies == nil || len(asks)+len(replies) > 0 {
		t.Errorf("nobody any more: got %#v, %#v", asks, replies)
	}

	// Who comes back goes on.
	connect(t, p.Operator("a"), "only a's", pong)
	wantFigures(t, p, "only a's 1, a/only a's 1 1 0 0")
	connect(t, p.Operator("a"), "m", failWith(fs.ErrExist))
	connect(t, p.Operator("c"), "m", pong)
	anyone.AskAround(t.Context(), "m", nil)
	wantFigures(t, p, "m 3, only a's 1, a/m 2 1 0 1, a/only a's 1 1 0 0, c/m 1 1 0 0")
}

func TestReplicasAreCountedTogether(t *testing.T) {
	p := NewPartyline("main", Options{})
	first, second := p.Operator("a"), p.Operator("a")
	connect(t, first, "s", pong)
	connect(t, second, "s", failWith(ErrHighAndDry))
	anyone := p.Operator("")
	anyone.AskAround(t.Context(), "s", nil)
	first.Leave()
	anyone.AskAround(t.Context(), "s", nil)
	wantFigures(t, p, "s 2, a/s 2 1 1 0")
}

func TestPartylinesThatFollowEachOtherAreCountedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counts := new(Counts)
		before, after := NewPartyline("main", Options{Counts: counts}), NewPartyline("main", Options{Counts: counts})
		other := NewPartyline("main", Options{})
		for _, p := range []*Partyline{before, after, other} {
			connect(t, p.Operator("a"), "s", pong)
			connect(t, p.Operator("b"), "s", failWith(fs.ErrExist))
			connectRemote(t, p.Operator("c"), "s", func(context.Context, any) (any, error) { time.Sleep(time.Second); return nil, nil })
		}
		connect(t, before.Operator("a"), "gone", pong)
		connect(t, after.Operator("d"), "s", pong)
		before.Operator("").AskAround(t.Context(), "s", nil)
		before.Operator("").AskAround(t.Context(), "gone", nil)
		after.Operator("").AskAround(t.Context(), "s", nil)
		before.Operator("").AskAround(t.Context(), "s", nil) // asks in flight finish where they began
		wantFigures(t, before, "gone 1, s 3, a/gone 1 1 0 0, a/s 3 3 0 0, b/s 3 0 0 3, c/s 3 3 0 0")
		wantFigures(t, after, "s 3, a/s 3 3 0 0, b/s 3 0 0 3, c/s 3 3 0 0, d/s 1 1 0 0")
		if got := repliesOf(t, after, "c", "s").Durations; got.Count != 3 || got.Sum != 3*time.Second {
			t.Errorf("counted %+v", got)
		}
		if repliesOf(t, before, "b", "s").LastFailure != repliesOf(t, after, "b", "s").LastFailure {
			t.Error("not the same last failure")
		}
		wantFigures(t, other, "s 0, a/s 0 0 0 0, b/s 0 0 0 0, c/s 0 0 0 0")
	})
}

func TestWhatAPartylineCountedOutlivesIt(t *testing.T) {
	counts := new(Counts)
	for range 3 {
		p := NewPartyline("main", Options{Counts: counts})
		connect(t, p.Operator("a"), "s", pong)
		p.Operator("").AskAround(t.Context(), "s", nil)
	}
	p := NewPartyline("main", Options{Counts: counts})
	connect(t, p.Operator("a"), "s", pong)
	wantFigures(t, p, "s 3, a/s 3 3 0 0")
}

// Bounds.

func TestServicesBeyond512AreCountedTogether(t *testing.T) {
	const services = maxCountedServices + 88
	p := NewPartyline("main", Options{})
	many, anyone := p.Operator("many"), p.Operator("")
	name := func(i int) string { return fmt.Sprintf("%04d", i) }
	connect(t, p.Operator("early"), name(550), pong)
	for i := range services {
		connect(t, many, name(i), pong)
		connect(t, many, name(i), failWith(ErrHighAndDry)) // a second handler is no second service
	}
	for _, i := range []int{3, 520, 530, 550} {
		connect(t, p.Operator("late"), name(i), pong)
	}
	for i := range services {
		for range i/400 + 1 {
			if _, err := anyone.AskAround(t.Context(), name(i), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	asks, replies := p.Counts()
	total := uint64(0)
	for i, c := range asks {
		total += c.Asks
		want := AskCount{name(i), uint64(i/400) + 1}
		switch i {
		case maxCountedServices:
			want = AskCount{name(550), 2} // somebody's service of its own
		case maxCountedServices + 1:
			want = AskCount{otherServices, 2 * 87}
		}
		if c != want {
			t.Errorf("counted %+v, want %+v", c, want)
		}
	}
	if len(asks) != maxCountedServices+2 || total != services+200 {
		t.Errorf("%d asks for %d services", total, len(asks))
	}
	got := make(map[string]int)
	for _, c := range replies {
		got[c.Guest]++
		want := uint64(1)
		if c.Service >= name(400) {
			want = 2
		}
		if c.Guest == "many" && c.Service == otherServices {
			want = 2 * 88
		}
		declined := uint64(0)
		if c.Guest == "many" {
			declined = want
		}
		if c.Asked != want+declined || c.Answered != want || c.Declined != declined || c.Failed != 0 {
			t.Errorf("counted %+v", c)
		}
	}
	if want := map[string]int{"early": 1, "late": 4, "many": maxCountedServices + 1}; !reflect.DeepEqual(got, want) {
		t.Errorf("services counted: %v, want %v", got, want)
	}

	// Who has left was there all the same.
	many.Leave()
	renewed := p.Operator("many")
	connect(t, renewed, "new", pong)
	connect(t, renewed, name(0), pong)
	wantAnswers(t, anyone, "new", "pong")
	wantAnswers(t, anyone, name(0), "pong")
	if got := repliesOf(t, p, "many", otherServices); got.Answered != 2*88+1 {
		t.Errorf("counted %+v", got)
	}
	if got := repliesOf(t, p, "many", name(0)); got.Answered != 2 {
		t.Errorf("counted %+v", got)
	}
}

func TestAServiceCountedByItselfStaysSo(t *testing.T) {
	p := NewPartyline("main", Options{})
	early, anyone := p.Operator("early"), p.Operator("")
	connect(t, early, "s", pong)
	wantAnswers(t, anyone, "s", "pong")
	early.Leave()
	many := p.Operator("many")
	for i := range maxCountedServices {
		connect(t, many, fmt.Sprint(i), pong)
	}
	connect(t, many, "s", pong) // one too many for this guest
	wantAnswers(t, anyone, "s", "pong")
	asks, _ := p.Counts()
	if got := asks[len(asks)-1]; got != (AskCount{"s", 2}) {
		t.Errorf("counted %v", got)
	}
	if got := repliesOf(t, p, "many", otherServices); got.Asked != 1 {
		t.Errorf("counted %v", got)
	}
}

func TestNamesThatComeAndGoTakeNoMoreMemory(t *testing.T) {
	p := NewPartyline("main", Options{})
	anyone := p.Operator("")
	last := p.Operator("a")
	for i := range 2000 {
		o := p.Operator("a")
		connect(t, o, fmt.Sprint(i), pong)
		anyone.AskAround(t.Context(), fmt.Sprint(i), nil)
		last.Leave()
		last = o
	}
	if got := len(p.options.Counts.guests["a"]); got != maxCountedServices+1 {
		t.Errorf("%d counters", got)
	}
	if got := len(p.options.Counts.services); got != maxCountedServices+1 {
		t.Errorf("%d counters of services", got)
	}
	wantFigures(t, p, fmt.Sprintf("other %d, a/other %[1]d %[1]d 0 0", 2000-maxCountedServices))
}

// At any time, from anywhere.

func TestNoCountIsLostOrDoubledWhileGuestsComeAndGo(t *testing.T) {
	verifyNoLeak(t)
	p := NewPartyline("main", Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var handlers handlerCounts
	var asks [2]atomic.Uint64
	services := []string{"few", "many"}
	type payload struct {
		random uint64
		cancel context.CancelFunc
	}
	join := func(o *Operator, service string, connectAs func(testing.TB, *Operator, string, Handler)) *Operator {
		guest := o.Guest()
		connectAs(t, o, service, handlers.of(guest, service).handler(func(got any) byte {
			p := got.(payload)
			if p.random%16 == 0 {
				p.cancel()
			}
			return "aaadaafaadaaadap"[(p.random+uint64(guest[0])*7+uint64(guest[len(guest)-1]))%16]
		}))
		return o
	}
	for i := range 20 {
		o := p.Operator(fmt.Sprint("constant", i))
		for range 5 { // two parts
			join(o, "many", connect)
		}
	}
	join(p.Operator("constant"), "few", connect)
	join(p.Operator("remote"), "few", connectRemote)

	var changing, asking sync.WaitGroup
	for i := range 4 {
		changing.Go(func() {
			guest := fmt.Sprint("visitor", i)
			current := join(p.Operator(guest), services[0], connect)
			for n := i; ctx.Err() == nil; n++ {
				renewed := join(p.Operator(guest), services[n%2], connect)
				if n%3 == 0 {
					join(p.Operator(guest), services[n%2], connect).Leave() // a replica
				}
				current.Leave()
				current = renewed
			}
			current.Leave()
		})
	}
	changing.Go(func() {
		for ctx.Err() == nil {
			runtime.GC() // so that rows are retired in the middle of it all
		}
	})
	changing.Go(func() {
		last := make(map[string]uint64)
		upwards := func(key string, n uint64) {
			if n < last[key] {
				t.Errorf("%s went from %d to %d", key, last[key], n)
			}
			last[key] = n
		}
		for ctx.Err() == nil {
			asks, replies := p.Counts()
			for _, c := range asks {
				upwards(c.Service, c.Asks)
			}
			for _, c := range replies {
				key := c.Guest + "/" + c.Service
				upwards(key+" asked", c.Asked)
				upwards(key+" answered", c.Answered)
				upwards(key+" declined", c.Declined)
				upwards(key+" failed", c.Failed)
				upwards(key+" timed", c.Durations.Count)
				if came := c.Answered + c.Declined + c.Failed; c.Asked < came || c.Guest != "remote" && c.Asked != came {
					t.Errorf("half an ask: %+v", c)
				}
			}
		}
	})
	for i := range 4 {
		asking.Go(func() {
			asker := p.Operator([]string{"", "asker", "visitor0", "constant1"}[i])
			for ctx.Err() == nil {
				random := rand.Uint64()
				n := int(random >> 32 % 2)
				asked, cancel := context.WithCancel(t.Context())
				payload := payload{random, cancel}
				if n == 0 { // or a remote handler might not be waited for
					payload.cancel = func() {}
				}
				switch how := random >> 40 % 4; {
				case how == 0 && n == 1:
					First[string](asked, asker, services[n], payload)
				case how == 1 && n == 1:
					left := random >> 48 % 128
					for range asker.Replies(asked, services[n], payload) {
						if left == 0 {
							break
						}
						left--
					}
				case how == 2:
					All[string](asked, asker, services[n], payload)
				default:
					asker.AskAround(asked, services[n], payload)
				}
				cancel()
				asks[n].Add(1)
			}
		})
	}
	asking.Wait()
	changing.Wait()

	check := func(what string) {
		t.Helper()
		handlers.check(t, what, p)
		got, _ := p.Counts()
		for i, service := range services {
			if want := asks[i].Load(); got[i] != (AskCount{service, want}) || want == 0 {
				t.Errorf("%s: counted %v; want %d", what, got[i], want)
			}
		}
	}
	for i := range 4 { // only who is connected is in Counts
		for _, service := range services {
			connect(t, p.Operator(fmt.Sprint("visitor", i)), service, pong)
		}
	}
	check("when all is quiet")
}

func TestTheFirstAsksAtOnceAreAllCounted(t *testing.T) {
	const askers = 8
	for range 100 {
		p := NewPartyline("main", Options{})
		connect(t, p.Operator("a"), "s", pong)
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range askers {
			wg.Go(func() {
				anyone := p.Operator("")
				<-start
				anyone.AskAround(t.Context(), "s", nil)
			})
		}
		close(start)
		wg.Wait()
		wantFigures(t, p, fmt.Sprintf("s %d, a/s %[1]d %[1]d 0 0", askers))
	}
}

func TestAskingTakesNoLockToCount(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", func(_ context.Context, payload any) (any, error) { return nil, payload.(error) })
	p.options.Counts.mu.Lock()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for _, err := range []error{ErrHighAndDry, fs.ErrExist} {
			p.Operator("").AskAround(context.Background(), "s", err)
		}
	}()
	select {
	case <-asked:
	case <-time.After(time.Minute):
		t.Error("an ask waits for the lock of Counts")
	}
	p.options.Counts.mu.Unlock()
	<-asked
	wantFigures(t, p, "s 2, a/s 2 0 1 1")
}

func TestAHandlerThatEndsItsGoroutineHasFailed(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", func(context.Context, any) (any, error) {
		runtime.Goexit()
		return nil, nil
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Operator("").AskAround(context.Background(), "s", nil)
	}()
	<-done
	wantFigures(t, p, "s 1, a/s 1 0 0 1")
	if _, replies := p.Counts(); !errors.Is(replies[0].LastFailure, errExited) {
		t.Error(replies[0].LastFailure)
	}
}

func TestAnAskerThatHasGoneIsNobodysFailure(t *testing.T) {
	p := NewPartyline("main", Options{})
	ctx, cancel := context.WithCancel(t.Context())
	connectRemote(t, p.Operator("a"), "s", func(ctx context.Context, _ any) (any, error) {
		cancel()
		return nil, ctx.Err()
	})
	for reply := range p.Operator("").Replies(ctx, "s", nil) {
		if reply.Guest != "" || reply.Err != context.Canceled {
			t.Errorf("got %+v, want the context's error as that of the ask", reply)
		}
	}
	wantFigures(t, p, "s 1, a/s 1 0 0 0")
}

// Guests.

func TestGuestsTellsWhoIsOnTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPartyline("main", Options{})
		if got := p.Guests(); got == nil || len(got) > 0 {
			t.Errorf("nobody: got %#v", got)
		}
		check := func(want ...GuestInfo) {
			t.Helper()
			got := p.Guests()
			if len(got) != len(want) {
				t.Fatalf("got %v, want %v", got, want)
			}
			for i, g := range got {
				w := want[i]
				if g.Name != w.Name || !slices.Equal(g.Services, w.Services) || g.Replicas != w.Replicas || !g.Joined.Equal(w.Joined) {
					t.Errorf("got %v, want %v", g, w)
				}
			}
		}
		began := time.Now()
		at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }

		b, only := p.Operator("b"), p.Operator("only joined")
		p.Operator("never came")
		p.Operator("").Join() // no guest
		connect(t, b, "z", pong)
		connect(t, b, "a", pong)
		connect(t, b, "z", pong)
		time.Sleep(time.Second)
		connectRemote(t, b, "m", pong) // it has joined before
		a, replica := p.Operator("a"), p.Operator("a")
		connect(t, a, "z", pong)
		only.Join()
		only.Join()
		check(
			GuestInfo{"a", []string{"z"}, 1, at(1)},
			GuestInfo{"b", []string{"a", "m", "z"}, 1, began},
			GuestInfo{"only joined", nil, 1, at(1)},
		)
		time.Sleep(time.Second)
		replica.Join()
		connect(t, replica, "z", pong)
		connect(t, replica, "only the replica's", pong)
		check(
			GuestInfo{"a", []string{"only the replica's", "z"}, 2, at(1)},
			GuestInfo{"b", []string{"a", "m", "z"}, 1, began},
			GuestInfo{"only joined", nil, 1, at(1)},
		)
		never := p.Operator("never came")
		never.Leave()
		never.Join() // too late
		a.Leave()
		a.Leave()
		check(
			GuestInfo{"a", []string{"only the replica's", "z"}, 1, at(1)}, // the guest has been there all the time
			GuestInfo{"b", []string{"a", "m", "z"}, 1, began},
			GuestInfo{"only joined", nil, 1, at(1)},
		)
		replica.Leave()
		only.Leave()
		check(GuestInfo{"b", []string{"a", "m", "z"}, 1, began})
		p.Operator("only joined").Join()
		check(
			GuestInfo{"b", []string{"a", "m", "z"}, 1, began},
			GuestInfo{"only joined", nil, 1, at(2)}, // anew
		)
		got := p.Guests()
		got[0].Services[0] = "changed"
		check(
			GuestInfo{"b", []string{"a", "m", "z"}, 1, began},
			GuestInfo{"only joined", nil, 1, at(2)},
		)
	})
}
