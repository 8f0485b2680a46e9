// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"go.uber.org/goleak"
)

// connect connects a handler or fails the test.
func connect(t testing.TB, o *Operator, service string, h Handler) {
	t.Helper()
	check.Must(t, o.Connect(service, h))
}

// connectRemote is connect for a remote handler.
func connectRemote(t testing.TB, o *Operator, service string, h Handler) {
	t.Helper()
	check.Must(t, o.ConnectRemote(service, h))
}

// connectAs is connectRemote or connect.
func connectAs(t testing.TB, remote bool, o *Operator, service string, h Handler) {
	t.Helper()
	if remote {
		connectRemote(t, o, service, h)
	} else {
		connect(t, o, service, h)
	}
}

// localAndRemote runs a test for handlers of both kinds.
func localAndRemote(t *testing.T, test func(t *testing.T, remote bool)) {
	verifyNoLeak(t)
	t.Run("local", func(t *testing.T) { test(t, false) })
	t.Run("remote", func(t *testing.T) { test(t, true) })
}

// answerWith is a handler that always gives the same answer.
func answerWith(answer any) Handler {
	return func(context.Context, any) (any, error) { return answer, nil }
}

// failWith is a handler that always returns the same error.
func failWith(err error) Handler {
	return func(context.Context, any) (any, error) { return nil, err }
}

// neverCalled is a handler that must not be called.
func neverCalled(t testing.TB) Handler {
	return func(context.Context, any) (any, error) { t.Error("called"); return nil, nil }
}

// wantAnswers asks around, and wants these answers and no error.
func wantAnswers(t testing.TB, o *Operator, service string, want ...any) {
	t.Helper()
	got, err := o.AskAround(t.Context(), service, nil)
	check.ErrorIf(t, err != nil || !slices.Equal(got, want), "%q asks for %q: got %v, %v; want %v", o, service, got, err, want)
}

// verifyNoLeak checks at the end of the test that it left no goroutine behind.
func verifyNoLeak(t *testing.T) {
	before := goleak.IgnoreCurrent() // what other tests left is not this one's
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// allocsAtMost measures on which terms something is done.
func allocsAtMost(t *testing.T, what string, most float64, f func()) {
	t.Helper()
	got := testing.AllocsPerRun(100, f)
	check.ErrorIf(t, got > most, "%s: %v allocations, want at most %v", what, got, most)
}

// lineOf is a partyline with guests that each answer pong to ping.
func lineOf(t *testing.T, guests int) *Partyline {
	p := NewPartyline("main", Options{IgnoreMissingServices: true})
	for i := range guests {
		connect(t, p.Operator(fmt.Sprint(i)), "ping", pong)
	}
	return p
}

func panicsOnPurpose(value any) (any, error) { panic(value) }

// reactions are what handlers do in TestAHandlerThatFailsOrDeclinesIsOnlyItself,
// and, unless they answer or decline, what the error's message has to contain.
var reactions = map[rune]struct {
	handler Handler
	message string
}{
	'a': {handler: answerWith("answer")},
	'0': {handler: answerWith(nil)},
	'd': {handler: failWith(ErrHighAndDry)},
	'w': {handler: failWith(fmt.Errorf("not mine: %w", ErrHighAndDry))},
	'f': {failWith(fs.ErrNotExist), "file does not exist"},
	'b': {func(context.Context, any) (any, error) { return "both", fs.ErrNotExist }, "file does not exist"},
	'p': {func(context.Context, any) (any, error) { return panicsOnPurpose("oh no") }, "oh no"},
	'n': {func(context.Context, any) (any, error) { return panicsOnPurpose(nil) }, "panic called with nil"},
	'h': {func(context.Context, any) (any, error) { return panicsOnPurpose(ErrHighAndDry) }, "no answer"},
	'A': {func(context.Context, any) (any, error) { return panicsOnPurpose(http.ErrAbortHandler) }, "abort"},
	'r': {func(context.Context, any) (any, error) { return panicsOnPurpose([]int{}[len("past the end")]) }, "out of range"},
	'x': {func(context.Context, any) (any, error) { runtime.Goexit(); return nil, nil }, "ended its goroutine"},
}

// wantFigures wants these counts: "service asks" of each service, then "guest/service asked answered
// declined failed" of each guest's.
func wantFigures(t testing.TB, p *Partyline, want string) {
	t.Helper()
	var got []string
	asks, replies := p.Counts()
	for _, c := range asks {
		got = append(got, fmt.Sprint(c.Service, " ", c.Asks))
	}
	for _, c := range replies {
		got = append(got, fmt.Sprintf("%s/%s %d %d %d %d", c.Guest, c.Service, c.Asked, c.Answered, c.Declined, c.Failed))
	}
	check.Equal(t, strings.Join(got, ", "), want, "counted;")
}

// repliesOf returns what is counted of a guest and a service.
func repliesOf(t testing.TB, p *Partyline, guest, service string) ReplyCount {
	t.Helper()
	_, replies := p.Counts()
	i := slices.IndexFunc(replies, func(c ReplyCount) bool { return c.Guest == guest && c.Service == service })
	check.FatalIf(t, i < 0, "nothing is counted of %s/%s", guest, service)
	return replies[i]
}

// handlerCounts are what handlers count themselves, by guest and service.
type handlerCounts struct{ sync.Map }

func (h *handlerCounts) of(guest, service string) *handlerCount {
	c, _ := h.LoadOrStore(guest+"/"+service, new(handlerCount))
	return c.(*handlerCount)
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
		check.ErrorIf(t, got.Asked != want.asked.Load() || got.Answered != want.answered.Load() || got.Declined != want.declined.Load() || got.Failed != want.failed.Load(), "%s: counted %+v; the handlers counted %+v", what, got, want)
	}
	h.Range(func(key, _ any) bool {
		check.ErrorIf(t, !seen[key.(string)], "%s: nothing is counted of %s", what, key)
		return true
	})
}

type handlerCount struct{ asked, answered, declined, failed atomic.Uint64 }

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
