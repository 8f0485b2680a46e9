// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestACancelledContextDoesNotWaitForARemoteHandler(t *testing.T) {
	verifyNoLeak(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p := NewPartyline("main", Options{})
		connect(t, p.Operator("a"), "s", answerWith("local"))
		connectRemote(t, p.Operator("b"), "s", answerWith("remote"))
		connectRemote(t, p.Operator("c"), "s", func(context.Context, any) (any, error) {
			time.Sleep(time.Hour) // whatever becomes of its context
			return "late", nil
		})
		connect(t, p.Operator("d"), "s", neverCalled(t))
		began := time.Now()
		got, err := p.Operator("asker").AskAround(ctx, "s", nil)
		check.ErrorIf(t, !slices.Equal(got, []any{"local", "remote"}) || err != context.DeadlineExceeded, "got %v, %v", got, err)
		check.Equal(t, time.Since(began), time.Second, "it took")
		time.Sleep(time.Hour) // it does end, and nobody need take its answer
	})
}

func TestRemoteHandlersAreStartedTogetherWhenTheFirstIsReached(t *testing.T) {
	verifyNoLeak(t)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		called := make(map[any]time.Duration)
		var mu sync.Mutex
		takes := func(name any, d time.Duration) Handler {
			return func(context.Context, any) (any, error) {
				mu.Lock()
				called[name] = time.Since(began)
				mu.Unlock()
				time.Sleep(d)
				return name, nil
			}
		}
		p := NewPartyline("main", Options{})
		asker := p.Operator("asker")
		connect(t, p.Operator("a"), "s", takes("local 1", time.Second))
		connectRemote(t, p.Operator("a"), "s", takes("a replica's", time.Hour))
		connectRemote(t, p.Operator("b"), "s", takes("remote 1", 5*time.Second))
		connectRemote(t, asker, "s", takes("the asker's own", time.Hour))
		connect(t, p.Operator("c"), "s", takes("local 2", time.Second))
		connectRemote(t, p.Operator("d"), "s", takes("remote 2", 3*time.Second))
		connectRemote(t, p.Operator("d"), "s", takes("remote 2's replica", time.Hour))
		connectRemote(t, p.Operator("e"), "s", takes("remote 3", 8*time.Second))
		wantAnswers(t, asker, "s", "local 1", "remote 1", "local 2", "remote 2", "remote 3") // in connect order
		check.Equal(t, time.Since(began), 9*time.Second, "it took, want 1s and, together, 8s")
		want := map[any]time.Duration{
			"local 1": 0, "remote 1": time.Second, "remote 2": time.Second, "remote 3": time.Second, "local 2": 6 * time.Second,
		}
		check.Deep(t, called, want, "called at")
	})
}

func TestRemoteHandlersAreNotStartedBeforeTheyAreReached(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", pong)
	connectRemote(t, p.Operator("b"), "s", neverCalled(t))
	synctest.Test(t, func(t *testing.T) {
		got, err := First[string](t.Context(), p.Operator("asker"), "s", nil)
		check.ErrorIf(t, got != "pong" || err != nil, got, err)
		synctest.Wait()
	})
}

func TestEndingAnAskCancelsRemoteHandlersUnderWay(t *testing.T) {
	verifyNoLeak(t)
	for name, ask := range map[string]func(context.Context, *Operator){
		"First": func(ctx context.Context, o *Operator) {
			got, err := First[string](ctx, o, "s", nil)
			check.ErrorIf(t, got != "pong" || err != nil, got, err)
		},
		"breaking out": func(ctx context.Context, o *Operator) {
			for range o.Replies(ctx, "s", nil) {
				break
			}
		},
		"Goexit of a local handler": func(ctx context.Context, o *Operator) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				o.AskAround(ctx, "s", nil)
			}()
			<-done
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := NewPartyline("main", Options{})
				var started, cancelled atomic.Int32
				connectRemote(t, p.Operator("quick"), "s", func(context.Context, any) (any, error) {
					synctest.Wait() // until the other two wait as well
					return "pong", nil
				})
				connect(t, p.Operator("exits"), "s", reactions['x'].handler)
				for i := range 2 {
					connectRemote(t, p.Operator(fmt.Sprint("slow", i)), "s", func(ctx context.Context, _ any) (any, error) {
						started.Add(1)
						<-ctx.Done() // for ever, were it not cancelled: synctest fails on a deadlock
						cancelled.Add(1)
						return nil, ctx.Err()
					})
				}
				ask(t.Context(), p.Operator("asker"))
				synctest.Wait()
				check.Equal(t, started.Load(), 2, "started")
				check.Equal(t, cancelled.Load(), 2, "cancelled")
			})
		})
	}
}

func TestALocalPanicDoesNotCancelRemoteHandlers(t *testing.T) {
	verifyNoLeak(t)
	synctest.Test(t, func(t *testing.T) {
		p := NewPartyline("main", Options{})
		slow := func(ctx context.Context, _ any) (any, error) {
			select {
			case <-time.After(time.Second):
				return "slow", nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		connectRemote(t, p.Operator("a"), "s", pong)
		connect(t, p.Operator("b"), "s", func(context.Context, any) (any, error) { panic("oh no") })
		connect(t, p.Operator("c"), "s", func(context.Context, any) (any, error) { panic("oh no") })
		connectRemote(t, p.Operator("d"), "s", slow)
		got, err := p.Operator("asker").AskAround(t.Context(), "s", nil)
		check.ErrorIf(t, !slices.Equal(got, []any{"pong", "slow"}) || err == nil, got, err)
	})
}

func TestAnAskerThatHasGoneIsNobodysFailure(t *testing.T) {
	p := NewPartyline("main", Options{})
	ctx, cancel := context.WithCancel(t.Context())
	connectRemote(t, p.Operator("a"), "s", func(ctx context.Context, _ any) (any, error) {
		cancel()
		return nil, ctx.Err()
	})
	for reply := range p.Operator("").Replies(ctx, "s", nil) {
		check.ErrorIf(t, reply.Guest != "" || reply.Err != context.Canceled, "got %+v, want the context's error as that of the ask", reply)
	}
	wantFigures(t, p, "s 1, a/s 1 0 0 0")
}

func TestARemoteHandlerThatNobodyWaitsForIsAskedButHasNotFailed(t *testing.T) {
	verifyNoLeak(t)
	for name, ask := range map[string]func(context.Context, context.CancelFunc, *Operator){
		"cancelled": func(ctx context.Context, cancel context.CancelFunc, o *Operator) {
			time.AfterFunc(time.Second, cancel)
			_, err := o.AskAround(ctx, "s", nil)
			check.Equal(t, err, context.Canceled)
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
				got := repliesOf(t, p, "slow", "s")
				check.ErrorIf(t, got.LastFailure != nil || got.Durations.Count != 0 || got.Durations.Sum != 0, "counted %+v", got)
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
		_, err := p.Operator("").AskAround(ctx, "s", nil)
		check.Equal(t, err, context.DeadlineExceeded)
		synctest.Wait()
		wantFigures(t, p, "s 1, local/s 1 1 0 0, remote/s 1 0 0 0, unreached/s 0 0 0 0")
		time.Sleep(2 * time.Second)
		wantFigures(t, p, "s 1, local/s 1 1 0 0, remote/s 1 0 0 1, unreached/s 0 0 0 0")
		got := repliesOf(t, p, "remote", "s")
		check.ErrorIf(t, got.Durations.Count != 1 || got.Durations.Sum != time.Minute+time.Second, "counted %+v", got)
		failure, ok := got.LastFailure.(*HandlerError)
		check.ErrorIf(t, !ok || failure.Guest != "remote" || failure.Err != context.DeadlineExceeded, "the last failure is %v", got.LastFailure)
	})
}

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
			check.ErrorIf(t, len(replies) != 1 || replies[0].Duration != d, "took %v: got %v", d, replies)
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
		check.Deep(t, got, want, "counted")

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
	const n = 130
	var operators []*Operator
	for i := range 7 {
		operators = append(operators, p.Operator(fmt.Sprint(i)))
	}
	for i := range n {
		o := operators[i%7]
		h := handlers.of(o.Guest(), "s").handler(func(payload any) byte { return "adfpa"[(i+payload.(int))%5] })
		connectAs(t, i%3 == 1, o, "s", h)
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
	check.Equal(t, remote, want, "replies of remote handlers")
}
