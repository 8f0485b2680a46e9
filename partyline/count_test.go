// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

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
		t.Run(name, func(t *testing.T) {
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
			check.Equal(t, strings.Join(figuresOf(p), ", "), c.want, "%s: counted;", name)
		})
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
		check.Equal(t, loops, 1, "asks got ErrLoop")
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
		check.Slices(t, figuresOf(p), want, "answered by %d: counted", at)
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
	expect := func(want error) {
		t.Helper()
		for _, guest := range []string{"a", "c"} {
			failure, ok := last(guest, "s").(*HandlerError)
			if !ok || failure.Guest != guest || failure.Service != "s" || failure.Err != want {
				t.Errorf("%s's last failure is %v, want %v", guest, last(guest, "s"), want)
			}
		}
		for _, other := range []error{last("b", "s"), last("a", "t")} {
			check.ErrorIf(t, other != nil, "who has not failed: got %v", other)
		}
	}

	reaction = func() (any, error) { return nil, ErrHighAndDry }
	anyone.AskAround(t.Context(), "s", nil)
	check.ErrorIf(t, last("a", "s") != nil || last("c", "s") != nil, "a decline is no failure")
	for _, err := range []error{fs.ErrExist, fs.ErrNotExist} {
		reaction = func() (any, error) { return nil, err }
		_, asked := anyone.AskAround(t.Context(), "s", nil)
		expect(err)
		if !errors.Is(asked, last("a", "s")) { // the very error that the asker got
			t.Errorf("the asker got %v", asked)
		}
	}
	reaction = func() (any, error) { return nil, ErrHighAndDry }
	anyone.AskAround(t.Context(), "s", nil)
	reaction = func() (any, error) { return "well again", nil }
	anyone.AskAround(t.Context(), "s", nil)
	expect(fs.ErrNotExist)

	reaction = func() (any, error) { return panicsOnPurpose("oh no") }
	anyone.AskAround(t.Context(), "s", nil)
	for _, guest := range []string{"a", "c"} {
		if failure, ok := last(guest, "s").(*HandlerError); !ok || !strings.Contains(failure.Error(), "panicsOnPurpose") {
			t.Errorf("%s's last failure is %v", guest, last(guest, "s"))
		}
	}
}

// toldObserver adds up what an observer is told.
type toldObserver struct{ asks, answered, declined, failed uint64 }

func (*toldObserver) Observing() bool { return true }

func (*toldObserver) GuestJoined(string) {}

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
	expect := func() {
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
		expect()
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
		expect()
		time.Sleep(2 * time.Second) // now it has returned
		expect()
	})
}
