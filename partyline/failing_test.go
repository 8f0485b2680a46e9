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

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// TestAnApplicationWithoutAnOperatorGetsAnError is what becomes of one that was
// not invited, and asks all the same.
func TestAnApplicationWithoutAnOperatorGetsAnError(t *testing.T) {
	var o *Operator
	_, first := First[string](t.Context(), o, "s", nil)
	_, all := All[string](t.Context(), o, "s", nil)
	_, around := o.AskAround(t.Context(), "s", nil)
	var replies error
	for reply := range o.Replies(t.Context(), "s", nil) {
		replies = reply.Err
	}
	for _, err := range []error{first, all, around, replies, o.Connect("s", pong)} {
		check.ErrorIf(t, !errors.Is(err, ErrPartyline) || !strings.Contains(err.Error(), "was not invited"), err)
	}
	if o.Leave(); o.Guest() != "" || o.String() != "" || o.Partyline() != nil {
		t.Error("it is somebody's")
	}
}

func TestMissingServices(t *testing.T) {
	for _, ignore := range []bool{false, true} {
		p := NewPartyline("main", Options{IgnoreMissingServices: ignore})
		asker := p.Operator("asker")
		expect := func(when string, missing bool) {
			t.Helper()
			var want []Reply
			answers, err := asker.AskAround(t.Context(), "s", nil)
			typed, errAll := All[int](t.Context(), asker, "s", nil)
			_, errFirst := First[int](t.Context(), asker, "s", nil)
			var replies []Reply
			for reply := range asker.Replies(t.Context(), "s", nil) {
				if reply.Err != ErrHighAndDry {
					replies = append(replies, reply)
				}
			}
			check.ErrorIf(t, len(answers)+len(typed) > 0, "%s: got answers %v, %v", when, answers, typed)
			if missing && !ignore {
				want = []Reply{{Err: err}}
			} else if errFirst == ErrHighAndDry {
				errFirst = nil
			}
			for _, err := range []error{err, errAll, errFirst} {
				var none *NoSuchServiceError
				if !missing || ignore {
					check.ErrorIf(t, err != nil, "%s: got error %v", when, err)
				} else if !errors.As(err, &none) || *none != (NoSuchServiceError{Party: "main", Service: "s"}) ||
					!strings.Contains(err.Error(), `"main"`) || !strings.Contains(err.Error(), `"s"`) {
					t.Errorf("%s: got error %v", when, err)
				}
			}
			check.Deep(t, replies, want, "%s: got replies", when)
		}
		expect("nobody ever connected", true)
		connect(t, asker, "s", pong)
		expect("only the asker's own handlers", false)
		other := p.Operator("other")
		connect(t, other, "other", pong)
		connect(t, other, "s", failWith(ErrHighAndDry))
		expect("everybody declines", false)
		other.Leave()
		expect("only the asker's own handlers again", false)
		asker.Leave()
		expect("everybody has left", true)
	}
}

func TestAHandlerThatFailsOrDeclinesIsOnlyItself(t *testing.T) {
	verifyNoLeak(t)
	for _, pattern := range []string{
		"a", "d", "w", "f", "b", "p", "0", // alone
		"afa", "aap", "paa", "ppa", "appa", "pp", "fp", "pf", "dpd", "wwa", "a0a0a0", "aaaaapaaaaap",
		"ana", "aha", "aAa", "ara", "nhAr", "padwfbpnhAr0aa",
	} {
		t.Run(pattern, func(t *testing.T) {
			testReactions(t, pattern, func(int) bool { return false })
			testReactions(t, pattern, func(i int) bool { return i%2 == 0 })
			testReactions(t, strings.ReplaceAll(pattern, "f", "x"), func(int) bool { return true })
		})
	}
}

func testReactions(t *testing.T, pattern string, remote func(int) bool) {
	p := NewPartyline("main", Options{})
	var answers []any
	var failures, declines int
	for i, r := range pattern {
		o := p.Operator(fmt.Sprint("guest", i))
		connectAs(t, remote(i), o, "s", reactions[r].handler)
		switch {
		case reactions[r].message != "":
			failures++
		case r == 'a' || r == '0':
			answer, _ := reactions[r].handler(nil, nil)
			answers = append(answers, answer)
		default:
			declines++
		}
	}
	asker := p.Operator("asker")

	i := 0
	var joined []string
	for reply := range asker.Replies(t.Context(), "s", nil) {
		check.FatalIf(t, i == len(pattern), "one reply too many: %v", reply)
		r, guest := rune(pattern[i]), fmt.Sprint("guest", i)
		i++
		check.Equal(t, reply.Guest, guest, "the reply")
		want := reactions[r]
		if want.message == "" {
			answer, err := want.handler(nil, nil)
			if err != nil {
				err = ErrHighAndDry // itself, not wrapped
			}
			check.ErrorIf(t, reply.Answer != answer || reply.Err != err, "%s: got %v", guest, reply)
			continue
		}
		failure, ok := reply.Err.(*HandlerError)
		if !ok || reply.Answer != nil || failure.Guest != guest || failure.Service != "s" || errors.Is(failure, ErrHighAndDry) {
			t.Errorf("%s: got %v", guest, reply)
			continue
		}
		message := failure.Error()
		check.Contains(t, message, []string{guest, `"s"`, want.message}, "no in")
		switch r {
		case 'f', 'b':
			check.ErrorIf(t, failure.Err != fs.ErrNotExist || !errors.Is(failure, fs.ErrNotExist), "%s does not unwrap to what went wrong", message)
		case 'p', 'n', 'h', 'A':
			check.Has(t, message, "panicsOnPurpose", "the stack")
		case 'r':
			check.Has(t, message, "_test.go", "the stack")
		}
		joined = append(joined, guest)
	}
	check.Equal(t, i, len(pattern), "replies")

	expect := func(how string, got []any, want []any, err error) {
		t.Helper()
		check.Slices(t, got, want, "%s: got answers", how)
		var failed []string
		if several, ok := err.(interface{ Unwrap() []error }); ok {
			for _, err := range several.Unwrap() {
				failed = append(failed, err.(*HandlerError).Guest)
			}
		}
		check.ErrorIf(t, !slices.Equal(failed, joined) || (len(joined) == 0) != (err == nil) || err != nil && !errors.Is(err, ErrPartyline), "%s: failures of %v, want %v", how, failed, joined)
	}
	got, err := asker.AskAround(t.Context(), "s", nil)
	expect("AskAround", got, answers, err)
	got, err = All[any](t.Context(), asker, "s", nil)
	expect("All", got, answers, err)

	first, err := First[any](t.Context(), asker, "s", nil)
	if len(answers) > 0 {
		check.ErrorIf(t, first != answers[0] || err != nil, "First: got %v, %v", first, err)
	} else if failures > 0 {
		expect("First", nil, nil, err)
	} else if err != ErrHighAndDry {
		t.Errorf("First: got %v, want a decline", err)
	}
	check.FatalIf(t, declines+failures+len(answers) != len(pattern), "the test does not add up")
}

// Asking an error what it wraps runs the code of whoever made it.
func TestAnErrorThatPanicsIsItsGuestsFailure(t *testing.T) {
	localAndRemote(t, func(t *testing.T, remote bool) {
		p := NewPartyline("main", Options{})
		connectAs(t, remote, p.Operator("a"), "s", func(context.Context, any) (any, error) {
			var forgotten *fs.PathError
			return nil, forgotten // the classic: not nil
		})
		connectAs(t, remote, p.Operator("b"), "s", pong)
		defer func() { check.Equal(t, recover(), nil, "the asker's panic") }()
		got, err := p.Operator("asker").AskAround(t.Context(), "s", nil)
		var failure *HandlerError
		check.ErrorIf(t, !slices.Equal(got, []any{"pong"}) || !errors.As(err, &failure) || failure.Guest != "a", got, err)
	})
}

func TestAPanicOfTheLoopBodyIsTheCallersOwn(t *testing.T) {
	verifyNoLeak(t)
	synctest.Test(t, func(t *testing.T) {
		for at := range 4 { // in the reply of: a local handler, one that panicked, a remote one, one that declined
			p := NewPartyline("main", Options{})
			connect(t, p.Operator("a"), "s", pong)
			connect(t, p.Operator("b"), "s", func(context.Context, any) (any, error) { return panicsOnPurpose("not this") })
			connectRemote(t, p.Operator("c"), "s", pong)
			connect(t, p.Operator("d"), "s", failWith(ErrHighAndDry))
			cancelled := at < 2 // it has not been started
			connectRemote(t, p.Operator("e"), "s", func(ctx context.Context, _ any) (any, error) {
				<-ctx.Done()
				cancelled = true
				return nil, ctx.Err()
			})
			func() {
				defer func() { check.Equal(t, recover(), "mine", "reply %d: recovered", at) }()
				i := 0
				for range p.Operator("asker").Replies(t.Context(), "s", nil) {
					if i == at {
						panic("mine")
					}
					i++
				}
				t.Error("the loop went on")
			}()
			synctest.Wait()
			check.ErrorIf(t, !cancelled, "reply %d: the remote handler was not cancelled", at)
		}
	})
}

func TestEveryErrorIsErrPartyline(t *testing.T) {
	p := NewPartyline("main", Options{})
	gone := p.Operator("gone")
	gone.Leave()
	connect(t, p.Operator("a"), "panics", func(context.Context, any) (any, error) { panic("oh no") })
	connect(t, p.Operator("a"), "fails", failWith(fs.ErrExist))
	connect(t, p.Operator("b"), "fails", failWith(fs.ErrNotExist))
	_, missing := gone.AskAround(t.Context(), "missing", nil)
	_, panicked := gone.AskAround(t.Context(), "panics", nil)
	_, failed := gone.AskAround(t.Context(), "fails", nil)
	_, wrongType := First[int](t.Context(), gone, "fails", nil)
	for name, err := range map[string]error{
		"ErrPartyline": ErrPartyline, "ErrHighAndDry": ErrHighAndDry, "ErrLeft": ErrLeft, "ErrLoop": ErrLoop,
		"*NoSuchServiceError": &NoSuchServiceError{}, "*HandlerError": &HandlerError{Err: fs.ErrExist},
		"wrapped": fmt.Errorf("wrapped: %w", ErrHighAndDry),
		"missing": missing, "panicked": panicked, "failed": failed, "wrong type": wrongType,
		"Connect without a service": p.Operator("a").Connect("", pong),
		"Connect without a handler": p.Operator("a").Connect("s", nil),
		"Connect without a guest":   p.Operator("").Connect("s", pong),
		"Connect after Leave":       gone.Connect("s", pong),
	} {
		check.ErrorIf(t, !errors.Is(err, ErrPartyline) || err.Error() == "", "%s: %v is not ErrPartyline", name, err)
	}
	sentinels := []error{ErrHighAndDry, ErrLeft, ErrLoop}
	for i, a := range sentinels {
		for j, b := range sentinels {
			check.Equal(t, errors.Is(a, b), (i == j), "%v is %v", a, b)
		}
	}
	other := errors.New("other")
	check.ErrorIf(t, errors.Is(other, ErrPartyline) || !errors.Is(failed, fs.ErrExist) || !errors.Is(failed, fs.ErrNotExist), "what failed does not come through")
}

func TestACancelledContextEndsTheAsk(t *testing.T) {
	cause := errors.New("broken")
	p := NewPartyline("main", Options{})
	var cancel context.CancelFunc
	connect(t, p.Operator("a"), "s", answerWith("a"))
	connect(t, p.Operator("b"), "s", failWith(cause))
	connect(t, p.Operator("c"), "s", func(ctx context.Context, _ any) (any, error) {
		cancel()
		return "c", nil // what was asked still counts
	})
	connect(t, p.Operator("d"), "s", neverCalled(t))
	asker := p.Operator("asker")
	ask := func(f func(context.Context)) {
		var ctx context.Context
		ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		f(ctx)
	}
	expect := func(got []any, err error) {
		t.Helper()
		check.ErrorIf(t, !slices.Equal(got, []any{"a", "c"}) || !errors.Is(err, context.Canceled) || !errors.Is(err, cause), "got %v, %v", got, err)
	}
	ask(func(ctx context.Context) { expect(asker.AskAround(ctx, "s", nil)) })
	ask(func(ctx context.Context) { expect(All[any](ctx, asker, "s", nil)) })
	ask(func(ctx context.Context) {
		got, err := First[int](ctx, asker, "s", nil)
		check.ErrorIf(t, got != 0 || !errors.Is(err, context.Canceled) || !errors.Is(err, cause), got, err)
	})
	ask(func(ctx context.Context) {
		replies := slices.Collect(asker.Replies(ctx, "s", nil))
		check.ErrorIf(t, len(replies) != 4 || replies[3] != (Reply{Err: context.Canceled}), "got %v", replies)
	})
	ask(func(ctx context.Context) {
		cancel() // before anybody is asked
		got, err := asker.AskAround(ctx, "s", nil)
		check.ErrorIf(t, len(got) > 0 || err != context.Canceled, got, err)
	})
}

func TestAHandlerThatEndsItsGoroutineHasFailed(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", reactions['x'].handler)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Operator("").AskAround(context.Background(), "s", nil)
	}()
	<-done
	wantFigures(t, p, "s 1, a/s 1 0 0 1")
	check.Equal(t, repliesOf(t, p, "a", "s").LastFailure.(*HandlerError).Err, errExited)
}
