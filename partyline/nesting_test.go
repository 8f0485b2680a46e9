// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestAGuestDoesNotAskItself(t *testing.T) {
	verifyNoLeak(t)
	p := NewPartyline("main", Options{})
	own := p.Operator("own")
	connect(t, own, "s", answerWith("own"))
	connect(t, p.Operator("other"), "s", answerWith("other"))
	connect(t, own, "s", answerWith("own again"))
	connectRemote(t, own, "s", neverCalled(t))
	connectRemote(t, p.Operator("remote"), "s", answerWith("remote"))
	wantAnswers(t, own, "s", "other", "remote")
	wantAnswers(t, p.Operator("own"), "s", "other", "remote") // whichever of its operators asks
	own.Leave()
	wantAnswers(t, own, "s", "other", "remote") // who has left can ask
}

func TestAGuestAskingFurtherUpIsNotAsked(t *testing.T) {
	localAndRemote(t, func(t *testing.T, remote bool) {
		p := NewPartyline("main", Options{})
		var calls []string
		join := func(guest string) *Operator {
			o := p.Operator(guest)
			connectAs(t, remote, o, "s", func(ctx context.Context, _ any) (any, error) {
				calls = append(calls, guest)
				return All[any](ctx, o, "s", nil)
			})
			return o
		}
		a := join("a")
		join("b")
		answers, want := "[[]]", []string{"b"}
		if !remote { // which run at once: two are enough
			join("c")
			// b asks c but neither a nor itself, c asks b, and the third in a row has nobody left to
			// ask: no answers, no error.
			answers, want = "[[[]] [[]]]", []string{"b", "c", "c", "b"}
		}
		check.Equal(t, fmt.Sprint(check.Value(All[any](t.Context(), a, "s", nil))(t)), answers)
		check.Slices(t, calls, want, "calls")
	})
}

func TestAGuestAskingForAnotherServiceFurtherUpIsAsked(t *testing.T) {
	p := NewPartyline("main", Options{})
	a, b := p.Operator("a"), p.Operator("b")
	connect(t, a, "name", answerWith("a"))
	connect(t, b, "greeting", func(ctx context.Context, _ any) (any, error) {
		name, err := First[string](ctx, b, "name", nil)
		return "hello " + name, err
	})
	wantAnswers(t, a, "greeting", "hello a")
}

func TestAMissAmongNGuestsCostsAtMostTwoNSquaredCalls(t *testing.T) {
	localAndRemote(t, func(t *testing.T, remote bool) {
		for _, n := range []int{3, 4, 11, 40} {
			for _, asker := range []string{"guest0", "outsider", ""} {
				p := NewPartyline("main", Options{})
				calls := make([]atomic.Int64, n)
				for g := range n {
					o := p.Operator(fmt.Sprint("guest", g))
					connectAs(t, remote, o, "url", func(ctx context.Context, payload any) (any, error) {
						calls[g].Add(1)
						return First[string](ctx, o, "url", payload) // whoever does not know asks the others
					})
				}
				_, err := First[string](t.Context(), p.Operator(asker), "url", nil)
				want := map[bool]error{false: ErrHighAndDry, true: ErrLoop}[n > 4]
				check.ErrorIf(t, !errors.Is(err, want) && n != 4, "%q asks %d: got %v, want %v", asker, n, err, want)
				check.ErrorIf(t, len(fmt.Sprint(err)) > 200*n, "%q asks %d: the error has %d bytes", asker, n, len(fmt.Sprint(err)))
				sum := int64(0)
				for g := range n {
					guest, called := fmt.Sprint("guest", g), calls[g].Load()
					check.ErrorIf(t, (called > 0) != (guest != asker), "%q asks %d: %s is called %d times", asker, n, guest, called)
					sum += called
				}
				check.ErrorIf(t, sum > int64(2*n*n), "%q asks %d: %d calls, want at most %d", asker, n, sum, 2*n*n)
			}
		}
	})
}

// TestAChainOfEightGuestsIsAnsweredALongerOneGetsErrLoop is that of a page whose old
// name leads to a newer one, that to a newer one, and so on.
func TestAChainOfEightGuestsIsAnsweredALongerOneGetsErrLoop(t *testing.T) {
	localAndRemote(t, func(t *testing.T, remote bool) {
		p := NewPartyline("main", Options{})
		const n = 12
		for g := range n {
			o := p.Operator(fmt.Sprint("guest", g))
			connectAs(t, remote, o, "url", func(ctx context.Context, payload any) (any, error) {
				switch name := payload.(int); {
				case name%n != g:
					return nil, ErrHighAndDry
				case name < n: // the newest
					return fmt.Sprint("page of ", g), nil
				default:
					return First[string](ctx, o, "url", name-n-1)
				}
			})
		}
		for asks := range n - 1 { // by guests
			got, err := First[string](t.Context(), p.Operator(""), "url", asks*(n+1))
			check.ErrorIf(t, asks <= 8 && (err != nil || got != "page of 0"), "%d guests ask: got %q, %v", asks, got, err)
			check.ErrorIf(t, asks > 8 && !errors.Is(err, ErrLoop), "%d guests ask: got %q, %v; want ErrLoop", asks, got, err)
		}
	})
}

func TestWhatACallMaySpendIsForEachAskInItAnew(t *testing.T) {
	p := NewPartyline("main", Options{})
	const n = 4
	for g := range n { // each leads to the next, up to the last
		o := p.Operator(fmt.Sprint("guest", g))
		connect(t, o, "url", func(ctx context.Context, payload any) (any, error) {
			switch {
			case payload != g:
				return nil, ErrHighAndDry
			case g == n-1:
				return "here", nil
			}
			return First[string](ctx, o, "url", g+1)
		})
	}
	page := p.Operator("page")
	connect(t, page, "page", func(ctx context.Context, _ any) (any, error) {
		for range 50 {
			if _, err := First[string](ctx, page, "url", 0); err != nil {
				return nil, err
			}
		}
		return "done", nil
	})
	wantAnswers(t, p.Operator(""), "page", "done")
}

func TestACallerThatIsNoGuestAsksEveryone(t *testing.T) {
	p := NewPartyline("main", Options{})
	anonymous := p.Operator("")
	a, b := p.Operator("a"), p.Operator("b")
	connect(t, a, "s", answerWith("a"))
	connect(t, b, "s", answerWith("b"))
	wantAnswers(t, anonymous, "s", "a", "b")

	// An ask by nobody in particular skips nobody further down: the handler
	// that asks through it is asked itself, until it ends that.
	connect(t, a, "countdown", func(ctx context.Context, payload any) (any, error) {
		switch n, ok := payload.(int); {
		case !ok:
			return nil, ErrHighAndDry
		case n > 0:
			return First[any](ctx, anonymous, "countdown", n-1)
		}
		return First[any](ctx, anonymous, "countdown", "the others")
	})
	connect(t, p.Operator("c"), "countdown", func(_ context.Context, payload any) (any, error) {
		if payload == "the others" {
			return "c", nil
		}
		return nil, ErrHighAndDry
	})
	check.Equal(t, check.Value(First[any](t.Context(), anonymous, "countdown", 5))(t), "c")
}

func TestACallerThatIsNoGuestSkipsOnlyThoseAskingFurtherUp(t *testing.T) {
	p := NewPartyline("main", Options{})
	a, b, anonymous := p.Operator("a"), p.Operator("b"), p.Operator("")
	through := func(o *Operator, guest string) Handler {
		return func(ctx context.Context, payload any) (any, error) {
			if payload == "deep" {
				return guest, nil
			}
			if o == anonymous {
				payload = "deep"
			}
			return All[any](ctx, o, "s", payload)
		}
	}
	connect(t, a, "s", through(a, "a"))
	connect(t, b, "s", through(b, "b"))
	connect(t, p.Operator("c"), "s", through(anonymous, "c"))
	connect(t, p.Operator("d"), "s", answerWith("d"))
	// a asks b and c. Below b, c asks all but a and b, though two asks are
	// under way; else it asks all but a.
	check.Equal(t, fmt.Sprint(check.Value(All[any](t.Context(), a, "s", nil))(t)), "[[[c d] d] [b c d] d]")
}

func TestTheSameServiceOnAnotherPartylineDoesNotInterfere(t *testing.T) {
	here, there := NewPartyline("main", Options{}), NewPartyline("main", Options{}) // not even the name tells them apart
	asOn := func(p *Partyline, guest string) Handler {
		o := p.Operator(guest)
		return func(ctx context.Context, _ any) (any, error) { return All[any](ctx, o, "s", nil) }
	}
	connect(t, here.Operator("b"), "s", asOn(here, "b"))
	connect(t, here.Operator("c"), "s", asOn(there, "c"))
	for _, guest := range []string{"a", "b", "c"} {
		connect(t, there.Operator(guest), "s", answerWith(guest))
	}
	// Two asks are under way here, by a and b, when c asks there.
	got, err := here.Operator("a").AskAround(t.Context(), "s", nil)
	check.ErrorIf(t, err != nil || fmt.Sprint(got) != "[[[a b]] [a b]]", got, err)
}

func TestThirtyTwoNestedAsksAreFineTheNextGetsErrLoop(t *testing.T) {
	localAndRemote(t, func(t *testing.T, remote bool) {
		for asks, want := range map[int]error{1: nil, 32: nil, 33: ErrLoop} {
			p := NewPartyline("main", Options{})
			guests := []*Operator{p.Operator("a"), p.Operator("b")}
			for i := range asks {
				o := guests[i%2]
				connectAs(t, remote, o, fmt.Sprint(i), func(ctx context.Context, _ any) (any, error) {
					if i == asks-1 {
						return "the end", nil
					}
					return First[string](ctx, o, fmt.Sprint(i+1), nil)
				})
			}
			got, err := First[string](t.Context(), guests[1], "0", nil)
			check.ErrorIf(t, !errors.Is(err, want) || (err == nil) != (got == "the end"), "%d asks: got %q, %v; want error %v", asks, got, err, want)
		}
	})
}

func TestAnEndlessCircleGetsErrLoop(t *testing.T) {
	p := NewPartyline("main", Options{})
	anonymous, calls := p.Operator(""), 0
	var deepest []Reply
	connect(t, p.Operator("a"), "s", func(ctx context.Context, _ any) (any, error) {
		calls++
		replies := slices.Collect(anonymous.Replies(ctx, "s", nil))
		if deepest == nil {
			deepest = replies
		}
		return nil, replies[0].Err
	})
	answers, err := anonymous.AskAround(t.Context(), "s", nil)
	check.ErrorIf(t, len(answers) > 0 || !errors.Is(err, ErrLoop) || calls != 32, "got %v, %v after %d calls", answers, err, calls)
	check.ErrorIf(t, len(deepest) != 1 || deepest[0] != (Reply{Err: ErrLoop}), "the deepest ask got %v", deepest)
}

// TestALoopEndsTheWholeCall has handlers ask in a circle as nobody in particular,
// which skips nobody: each level asks all of them.
func TestALoopEndsTheWholeCall(t *testing.T) {
	p := NewPartyline("main", Options{})
	anonymous := p.Operator("")
	calls := 0
	for g := range 3 {
		connect(t, p.Operator(fmt.Sprint("guest", g)), "s", func(ctx context.Context, payload any) (any, error) {
			calls++
			return First[any](ctx, anonymous, "s", payload)
		})
	}
	_, err := anonymous.AskAround(t.Context(), "s", nil)
	check.ErrorIf(t, !errors.Is(err, ErrLoop), err)
	check.ErrorIf(t, calls > 3*maxDepth, "%d calls", calls)
	connect(t, p.Operator("other"), "other", pong)
	wantAnswers(t, anonymous, "other", "pong")

	// It is no fault of a guest that asks for something else in the same call.
	good := p.Operator("good")
	connect(t, p.Operator("bad"), "greeting", func(ctx context.Context, _ any) (any, error) {
		return First[any](ctx, anonymous, "s", nil)
	})
	connect(t, good, "greeting", func(ctx context.Context, _ any) (any, error) {
		return First[any](ctx, good, "other", nil)
	})
	answers, err := anonymous.AskAround(t.Context(), "greeting", nil)
	check.ErrorIf(t, !errors.Is(err, ErrLoop) || !slices.Equal(answers, []any{"pong"}), answers, err)
}

func TestWhoAsksBackByAnotherWayIsPartOfTheCall(t *testing.T) {
	p, other := NewPartyline("main", Options{}), NewPartyline("other", Options{})
	a, detached := p.Operator("a"), 0
	connect(t, p.Operator("b"), "s", func(ctx context.Context, _ any) (any, error) {
		path, call := PathOf(ctx, p), CallOf(ctx)
		check.Slices(t, path, []Step{{"a", "s"}})
		check.Slices(t, PathOf(ctx, other), []Step{{"", "s"}}, "on another partyline")
		call.Attach(func() (any, func()) { return "kept", func() { detached++ } })
		ctx, same := WithPath(t.Context(), p, path, call)
		check.ErrorIf(t, same != call || CallOf(ctx) != call || Depth(ctx) != 1, "it is another call")
		check.Equal(t, call.Attach(nil), any("kept"))
		return p.Operator("b").AskAround(ctx, "s", nil)
	})
	connect(t, a, "s", neverCalled(t))
	answers := check.Value(All[[]any](t.Context(), a, "s", nil))(t)
	check.ErrorIf(t, len(answers) != 1 || len(answers[0]) > 0 || detached != 1, answers, detached)
}

func TestAnAskMayBeAddressedToOneGuest(t *testing.T) {
	p := NewPartyline("main", Options{Addressee: func(string) func(any) string {
		return func(payload any) string { return fmt.Sprint(payload) }
	}})
	p.SetOrder([]string{"a", "b"})
	connect(t, p.Operator("a"), "s", answerWith("a"))
	connectRemote(t, p.Operator("b"), "s", answerWith("b"))
	check.Must(t, p.Operator("c").ConnectForAll("s", answerWith("c, for all")))
	for payload, want := range map[any][]any{"a": {"a", "c, for all"}, "b": {"b", "c, for all"}, "c": {"a", "b", "c, for all"}} { // c is in no order
		check.Slices(t, check.Value(p.Operator("").AskAround(t.Context(), "s", payload))(t), want, payload)
		check.Equal(t, p.RemoteHandlers("s", payload), map[any]int{"a": 0, "b": 1, "c": 1}[payload], payload)
		check.Slices(t, p.MayAnswer("s", payload), map[any][]string{"a": {"a", "c"}, "b": {"b", "c"}, "c": {"a", "b", "c"}}[payload], payload)
	}
}
