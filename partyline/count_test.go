// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestAsksAndRepliesAreCounted(t *testing.T) {
	type line struct {
		context.Context
		cancel       func()
		anyone, a, b *Operator
	}
	// replies ranges over the replies to an ask, and does something at the first of a guest.
	replies := func(l line, o *Operator, guest string, do func() (more bool)) {
		for reply := range o.Replies(l, "s", nil) {
			if reply.Guest == guest && !do() {
				break
			}
		}
	}
	all, stop := func() bool { return true }, func() bool { return false }
	for name, c := range map[string]struct {
		ask  func(l line)
		want string // asks, then asked answered declined failed of a, b, c and d
	}{
		"nothing":                         {func(line) {}, "0 0000 0000 0000 0000"},
		"AskAround by who is not a guest": {func(l line) { l.anyone.AskAround(l, "s", nil) }, "1 2110 1010 1001 2101"},
		"AskAround by a guest":            {func(l line) { l.a.AskAround(l, "s", nil) }, "1 0000 1010 1001 2101"},
		"All":                             {func(l line) { All[string](l, l.b, "s", nil) }, "1 2110 0000 1001 2101"},
		"First":                           {func(l line) { First[string](l, l.anyone, "s", nil) }, "1 1100 0000 0000 0000"},
		"First by a guest":                {func(l line) { First[string](l, l.a, "s", nil) }, "1 0000 1010 1001 2101"},
		"Replies":                         {func(l line) { replies(l, l.anyone, "", all) }, "1 2110 1010 1001 2101"},
		"Replies broken off at an answer": {func(l line) { replies(l, l.anyone, "a", stop) }, "1 1100 0000 0000 0000"},
		"Replies broken off at a decline": {func(l line) { replies(l, l.a, "b", stop) }, "1 0000 1010 0000 0000"},
		"Replies broken off at a failure": {func(l line) { replies(l, l.anyone, "c", stop) }, "1 1100 1010 1001 0000"},
		"Replies broken off at a panic":   {func(l line) { replies(l, l.anyone, "d", stop) }, "1 1100 1010 1001 1001"},
		"Replies whose loop body panics": {func(l line) {
			defer func() { recover() }()
			replies(l, l.anyone, "b", func() bool { panic("mine") })
		}, "1 1100 1010 0000 0000"},
		"Replies ranged over twice": {func(l line) {
			twice := l.anyone.Replies(l, "s", nil)
			_ = append(slices.Collect(twice), slices.Collect(twice)...)
		}, "2 4220 2020 2002 4202"},
		"Replies never ranged over": {func(l line) { l.anyone.Replies(l, "s", nil) }, "0 0000 0000 0000 0000"},
		"cancelled midway":          {func(l line) { replies(l, l.anyone, "b", func() bool { l.cancel(); return true }) }, "1 1100 1010 0000 0000"},
		"cancelled at a panic":      {func(l line) { replies(l, l.anyone, "d", func() bool { l.cancel(); return true }) }, "1 1100 1010 1001 1001"},
		"cancelled before": {func(l line) {
			l.cancel()
			l.anyone.AskAround(l, "s", nil)
		}, "1 0000 0000 0000 0000"},
		"what nobody is connected under": {func(l line) { l.anyone.AskAround(l, "missing", nil) }, "0 0000 0000 0000 0000"},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewPartyline("main", Options{})
			a, b, d := p.Operator("a"), p.Operator("b"), p.Operator("d")
			connect(t, a, "s", pong)
			connect(t, b, "s", failWith(fmt.Errorf("wrapped: %w", ErrHighAndDry)))
			connect(t, p.Operator("c"), "s", failWith(fs.ErrNotExist))
			connect(t, d, "s", func(context.Context, any) (any, error) { panic(ErrHighAndDry) })
			connect(t, d, "s", answerWith(nil))
			connect(t, a, "s", failWith(ErrHighAndDry))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c.ask(line{ctx, cancel, p.Operator(""), a, b})
			asks, replies := p.Counts()
			got := fmt.Sprint(asks[0].Asks)
			for _, r := range replies {
				got += fmt.Sprintf(" %d%d%d%d", r.Asked, r.Answered, r.Declined, r.Failed)
			}
			check.Equal(t, got, c.want, "counted")
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
			answers, err := All[any](ctx, o, "s", nil)
			return fmt.Sprint(answers), err
		})
		return o
	}
	a := join("a")
	join("b")
	join("c")
	connect(t, a, "t", pong)
	wantAnswers(t, a, "s", "[[]]", "[[]]") // b asks c, c asks b, and the third ask in a row has nobody left to call
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
		_, err := p.Operator("").AskAround(t.Context(), "s", 0)
		check.FatalIf(t, !errors.Is(err, ErrLoop), err)
		// Nine decline the first ask and one fails, the next skips one, and so on; the tenth calls nobody.
		wantFigures(t, p, "s 10, guest0/s 1 0 0 1, guest1/s 2 0 1 1, guest2/s 3 0 2 1, guest3/s 4 0 3 1, guest4/s 5 0 4 1, "+
			"guest5/s 6 0 5 1, guest6/s 7 0 6 1, guest7/s 8 0 7 1, guest8/s 9 0 8 1, guest9/s 9 0 9 0")
	})
}

func TestAnAskIsCountedWhenItHasEnded(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", pong)
	connect(t, p.Operator("b"), "s", func(context.Context, any) (any, error) {
		wantFigures(t, p, "s 0, a/s 0 0 0 0, b/s 0 0 0 0")
		return nil, nil
	})
	anyone := p.Operator("")
	for range anyone.Replies(t.Context(), "s", nil) {
		wantFigures(t, p, "s 0, a/s 0 0 0 0, b/s 0 0 0 0")
	}
	wantFigures(t, p, "s 1, a/s 1 1 0 0, b/s 1 1 0 0")
}

func TestAnyNumberOfHandlersIsCounted(t *testing.T) {
	const guests = 5
	for _, n := range []int{1, 5, 64, 130} {
		for _, pattern := range []string{"a", "d", "f", "p", "adafdaapad"} { // what the handlers do, again and again
			p := NewPartyline("main", Options{})
			var handlers handlerCounts
			var operators []*Operator
			asks, calls, cancelAt, cancel := uint64(0), 0, 0, func() {}
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
				for _, end := range []int{1, 51, 64, n - 1, n} {
					replies := 0
					for range asker.Replies(t.Context(), "s", nil) {
						if replies++; replies == end {
							break
						}
					}
					var ctx context.Context
					ctx, cancel = context.WithCancel(t.Context())
					calls, cancelAt = 0, end
					asker.AskAround(ctx, "s", nil)
					cancelAt = 0
					cancel()
					asks += 2
				}
				asks += 3
			}
			handlers.check(t, fmt.Sprint(n, " handlers, ", pattern), p)
			got, _ := p.Counts()
			check.Equal(t, got[0].Asks, asks, "%d handlers, %s: asks", n, pattern)
		}
	}
}

func TestTheFirstAnswerIsTheLastThatIsCounted(t *testing.T) {
	const n = 7
	for at := range n {
		p := NewPartyline("main", Options{})
		want := []string{"s 1"}
		for i := range n {
			h, figures := failWith(ErrHighAndDry), "1 0 1 0"
			if i >= at {
				h, figures = pong, map[bool]string{true: "1 1 0 0", false: "0 0 0 0"}[i == at]
			}
			connect(t, p.Operator(fmt.Sprint(i)), "s", h)
			want = append(want, fmt.Sprintf("%d/s %s", i, figures))
		}
		check.Value(First[string](t.Context(), p.Operator(""), "s", nil))(t)
		wantFigures(t, p, strings.Join(want, ", "))
	}
}

func TestLastFailureIsTheGuestsLastHandlerError(t *testing.T) {
	p := NewPartyline("main", Options{})
	reaction := failWith(ErrHighAndDry)
	handler := func(ctx context.Context, payload any) (any, error) { return reaction(ctx, payload) }
	connect(t, p.Operator("a"), "s", handler)
	connect(t, p.Operator("a"), "t", handler)
	connect(t, p.Operator("b"), "s", pong)
	connectRemote(t, p.Operator("c"), "s", handler)
	last := func(guest, service string) error { return repliesOf(t, p, guest, service).LastFailure }
	ask := func(h Handler) error {
		reaction = h
		_, err := p.Operator("").AskAround(t.Context(), "s", nil)
		check.ErrorIf(t, last("b", "s") != nil || last("a", "t") != nil, "who has not failed has failed last")
		return err
	}
	expect := func(want string) {
		t.Helper()
		for _, guest := range []string{"a", "c"} {
			failure, ok := last(guest, "s").(*HandlerError)
			check.ErrorIf(t, !ok || failure.Guest != guest || failure.Service != "s" || !strings.Contains(failure.Err.Error(), want), "%s's last failure is %v", guest, failure)
		}
	}
	ask(failWith(ErrHighAndDry))
	check.ErrorIf(t, last("a", "s") != nil || last("c", "s") != nil, "a decline is not a failure")
	for _, err := range []error{fs.ErrExist, fs.ErrNotExist} {
		asked := ask(failWith(err))
		expect(err.Error())
		check.ErrorIf(t, !errors.Is(asked, last("a", "s")), "not the very error that the asker got: %v", asked)
	}
	ask(failWith(ErrHighAndDry))
	ask(answerWith("well again"))
	expect(fs.ErrNotExist.Error())
	ask(func(context.Context, any) (any, error) { return panicsOnPurpose("oh no") })
	expect("panicsOnPurpose")
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
		connectAs(t, i%3 == 1, p.Operator(fmt.Sprint(i)), "s", h)
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
		check.Equal(t, *told, counted, "told")
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
