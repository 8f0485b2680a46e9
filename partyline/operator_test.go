// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// The original's documented examples.

func TestTheOriginalsNumberExample(t *testing.T) {
	p := NewPartyline("main", Options{})
	multipleOf := func(n, rest int) Handler {
		return func(_ context.Context, payload any) (any, error) {
			if number := payload.(int); number%n == rest {
				return number, nil
			}
			return nil, ErrHighAndDry
		}
	}
	app := p.Operator("app")
	for _, h := range []Handler{multipleOf(2, 0), multipleOf(2, 1), multipleOf(4, 0)} { // even, odd, multiple_of_four
		connect(t, app, "number", h)
	}
	for number, want := range map[int][]any{1: {1}, 2: {2}, 4: {4, 4}} {
		for _, asker := range []*Operator{p.Operator(""), p.Operator("asker")} {
			check.Slices(t, check.Value(asker.AskAround(t.Context(), "number", number))(t), want, "asked with %d: got;", number)
		}
	}
}

func TestTheOriginalsPingExample(t *testing.T) {
	p := NewPartyline("main", Options{})
	var apps []*Operator
	for _, guest := range []string{"root", "one", "two"} {
		app := p.Operator(guest)
		connect(t, app, "ping", pong)
		apps = append(apps, app)
	}
	for _, app := range apps { // each asks the others
		wantAnswers(t, app, "ping", "pong", "pong")
	}
	wantAnswers(t, p.Operator("three"), "ping", "pong", "pong", "pong")
}

func TestTheOriginalsURLExampleTakesTheFirstAnswer(t *testing.T) {
	p := NewPartyline("main", Options{})
	apps := make(map[string]*Operator)
	for _, guest := range []string{"root", "one", "two"} {
		apps[guest] = p.Operator(guest)
		connect(t, apps[guest], "url", func(_ context.Context, payload any) (any, error) {
			if payload != guest+":index" {
				return nil, ErrHighAndDry
			}
			return "/" + guest + "/", nil
		})
	}
	for _, c := range []struct{ from, endpoint, want string }{
		{"root", "one:index", "/one/"}, {"root", "two:index", "/two/"}, {"one", "two:index", "/two/"}, {"two", "one:index", "/one/"},
	} {
		check.Equal(t, check.Value(First[string](t.Context(), apps[c.from], "url", c.endpoint))(t), c.want, "%s asks for %s: got", c.from, c.endpoint)
	}
	got, err := First[string](t.Context(), apps["root"], "url", "nobody:index")
	check.ErrorIf(t, got != "" || err != ErrHighAndDry, "an endpoint nobody knows: got %q, %v; want everyone's decline", got, err)
}

func TestHandlersAreCalledOneAtATimeInConnectOrder(t *testing.T) {
	p := NewPartyline("main", Options{})
	a, b, c := p.Operator("a"), p.Operator("b"), p.Operator("c")
	busy := false
	for i, o := range []*Operator{b, a, c, b, a} { // two guests have two handlers each
		connect(t, o, "s", func(_ context.Context, payload any) (any, error) {
			check.ErrorIf(t, busy, "two handlers at once")
			busy = true // unsynchronized: the race detector sees another goroutine
			defer func() { busy = false }()
			runtime.Gosched()
			return fmt.Sprint(payload, i), nil
		})
	}
	connect(t, a, "other", answerWith("not asked for"))
	got, err := p.Operator("asker").AskAround(t.Context(), "s", "#")
	want := []any{"#0", "#1", "#2", "#3", "#4"}
	check.ErrorIf(t, err != nil || !slices.Equal(got, want), "got %v, %v; want %v", got, err, want)
}

func TestHandlersGetTheAskersContextAndPayload(t *testing.T) {
	verifyNoLeak(t)
	type key struct{}
	ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), time.Hour)
	defer cancel()
	payload := &struct{ int }{1}
	h := func(got context.Context, gotPayload any) (any, error) {
		want, _ := ctx.Deadline()
		deadline, ok := got.Deadline()
		check.ErrorIf(t, !ok || deadline != want || got.Value(key{}) != "value" || got.Err() != nil, "got context %v", got)
		check.ErrorIf(t, gotPayload != payload, "got payload %v", gotPayload)
		return nil, nil
	}
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("local"), "s", h)
	connectRemote(t, p.Operator("remote"), "s", h)
	// A nil answer is an answer.
	check.Slices(t, check.Value(p.Operator("asker").AskAround(ctx, "s", payload))(t), []any{nil, nil})
}

func TestReplicasAreAskedOnce(t *testing.T) {
	p := NewPartyline("main", Options{})
	first, second := p.Operator("blog"), p.Operator("blog")
	connect(t, second, "only second", answerWith("second"))
	connect(t, first, "s", answerWith("first 1"))
	connect(t, second, "s", answerWith("second 1"))
	connect(t, second, "s", answerWith("second 2"))
	connect(t, first, "s", answerWith("first 2")) // both handlers of the one that was first
	asker := p.Operator("asker")
	wantAnswers(t, asker, "s", "first 1", "first 2")
	wantAnswers(t, asker, "only second", "second") // first is decided for each service
	check.Slices(t, p.Services()["s"], []string{"blog"}, "Services names")

	second.Leave() // who is not asked is not missed
	wantAnswers(t, asker, "s", "first 1", "first 2")
}

func TestAGuestKeepsItsPlaceWhileAnyReplicaIsConnected(t *testing.T) {
	p := NewPartyline("main", Options{})
	asker := p.Operator("asker")
	replica := func(name string) *Operator {
		o := p.Operator("blog")
		connect(t, o, "s", answerWith(name))
		return o
	}
	other := func(name string) { connect(t, p.Operator(name), "s", answerWith(name)) }
	other("x")
	first := replica("1st")
	other("y")
	second := replica("2nd")
	third := replica("3rd")
	other("z")
	wantAnswers(t, asker, "s", "x", "1st", "y", "z")
	first.Leave()
	wantAnswers(t, asker, "s", "x", "2nd", "y", "z")
	fourth := replica("4th")
	third.Leave() // a replica that is not asked
	wantAnswers(t, asker, "s", "x", "2nd", "y", "z")
	second.Leave()
	wantAnswers(t, asker, "s", "x", "4th", "y", "z")
	check.Slices(t, p.Services()["s"], []string{"x", "blog", "y", "z"}, "Services names")
	fourth.Leave()
	wantAnswers(t, asker, "s", "x", "y", "z")
	replica("5th") // nobody held the place
	wantAnswers(t, asker, "s", "x", "y", "z", "5th")
}

func TestReplicasThatTakeOverAreAskedInTheirOwnConnectOrder(t *testing.T) {
	for connects, want := range map[string]string{ // by the old replica, the new one, and guests x and y: the new one's, numbered, and x and y
		"oxoyn": "1xy", "oxnny": "1x2y", "oxonny": "1x2y", "onnno": "123", "onnnxo": "123x", "ooxnnn": "12x3",
	} {
		p := NewPartyline("main", Options{})
		old, renewed, n := p.Operator("blog"), p.Operator("blog"), 0
		for _, who := range connects {
			switch who {
			case 'o':
				connect(t, old, "s", answerWith("o"))
			case 'n':
				n++
				connect(t, renewed, "s", answerWith(fmt.Sprint(n)))
			default:
				connect(t, p.Operator(string(who)), "s", answerWith(string(who)))
			}
		}
		old.Leave()
		got, err := All[string](t.Context(), p.Operator("asker"), "s", nil)
		check.ErrorIf(t, err != nil || strings.Join(got, "") != want, "connected as %s: got %v, %v; want %s", connects, got, err, want)
	}
}

func TestNewReplicaTakesOverWithoutAGap(t *testing.T) {
	p := NewPartyline("main", Options{})
	asker := p.Operator("asker")
	old := p.Operator("blog")
	connect(t, old, "s", answerWith(0))
	done, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			renewed := p.Operator("blog")
			connect(t, renewed, "s", answerWith(n))
			old.Leave()
			old = renewed
		}
	}()
	last := 0
	for range 20_000 {
		got, err := All[int](t.Context(), asker, "s", nil)
		if err != nil || len(got) != 1 || got[0] < last {
			t.Errorf("got %v, %v after %d", got, err, last)
			break
		}
		last = got[0]
	}
	close(stop)
	<-done
}

func TestRepliesIsLazy(t *testing.T) {
	p := NewPartyline("main", Options{})
	called := 0
	for i := range 3 {
		connect(t, p.Operator(fmt.Sprint(i)), "s", func(context.Context, any) (any, error) { called++; return i, nil })
	}
	replies := p.Operator("asker").Replies(t.Context(), "s", nil)
	check.Equal(t, called, 0, "Replies called somebody before it was ranged over")
	for range 2 { // it can be ranged over again, and asks again
		i := 0
		for reply := range replies {
			want := (Reply{Guest: fmt.Sprint(i), Answer: i})
			check.ErrorIf(t, reply != want, "got %v, want %v", reply, want)
			if i++; called != i {
				t.Errorf("%d handlers called at reply %d", called, i)
			}
			if i == 2 {
				break
			}
		}
		check.Equal(t, called, 2, "handlers called")
		called = 0
	}
}

func TestHandlersMayUseTheLine(t *testing.T) {
	localAndRemote(t, func(t *testing.T, remote bool) {
		p := NewPartyline("main", Options{})
		a, b := p.Operator("a"), p.Operator("b")
		connectAs(t, remote, a, "s", func(ctx context.Context, _ any) (any, error) {
			connect(t, a, "new", pong)
			connect(t, b, "s", answerWith("b"))
			services := len(p.Services())
			answer, err := First[string](ctx, b, "new", nil)
			b.Leave()
			a.Leave()
			return fmt.Sprint(services, answer), err
		})
		wantAnswers(t, p.Operator("asker"), "s", "2pong")
		check.Deep(t, p.Services(), map[string][]string{}, "still connected")
	})
}

func TestAskingTakesNoLock(t *testing.T) {
	verifyNoLeak(t)
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", func(_ context.Context, payload any) (any, error) { return nil, payload.(error) })
	connectRemote(t, p.Operator("b"), "s", pong)
	asker := p.Operator("asker")
	p.mu.Lock() // somebody is connecting
	p.options.Counts.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		asker.AskAround(t.Context(), "s", ErrHighAndDry)
		asker.AskAround(t.Context(), "s", fs.ErrExist)
		asker.AskAround(t.Context(), "missing", nil)
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("asking waits for a lock")
	}
	p.options.Counts.mu.Unlock()
	p.mu.Unlock()
	<-done
	wantFigures(t, p, "s 2, a/s 2 0 1 1, b/s 2 2 0 0")
}

func TestAskingAllocatesAtMostOnceUpToFourAnswersTwiceBeyond(t *testing.T) {
	for guests, most := range map[int]float64{1: 1, 2: 1, 3: 1, 4: 1, 5: 2, 16: 2, 64: 2} {
		asker := lineOf(t, guests).Operator("asker")
		allocsAtMost(t, fmt.Sprint(guests, " guests"), most, func() { asker.AskAround(t.Context(), "ping", 1) })
	}
	p := lineOf(t, 2)
	for i := range 20 {
		connect(t, p.Operator(fmt.Sprint("declines", i)), "ping", failWith(ErrHighAndDry))
	}
	asker := p.Operator("asker")
	allocsAtMost(t, "2 guests of 22", 1, func() { asker.AskAround(t.Context(), "ping", 1) })
}

func TestMissingServiceWithIgnoreAllocatesNothing(t *testing.T) {
	asker := lineOf(t, 4).Operator("asker")
	allocsAtMost(t, "AskAround", 0, func() { asker.AskAround(t.Context(), "missing", 1) })
	allocsAtMost(t, "First", 0, func() { First[string](t.Context(), asker, "missing", 1) })
	allocsAtMost(t, "All", 0, func() { All[string](t.Context(), asker, "missing", 1) })
}

func TestFirstAllocatesAtMostOnceAndStops(t *testing.T) {
	p := NewPartyline("main", Options{})
	asker := p.Operator("asker")
	connect(t, p.Operator("a"), "ping", failWith(ErrHighAndDry))
	connect(t, p.Operator("b"), "ping", pong)
	connect(t, p.Operator("c"), "ping", neverCalled(t))
	allocsAtMost(t, "First", 1, func() {
		if got, err := First[string](t.Context(), asker, "ping", 1); got != "pong" || err != nil {
			t.Error(got, err)
		}
	})
}

func TestRangingOverRepliesAllocatesAtMostOnce(t *testing.T) {
	asker := lineOf(t, 16).Operator("asker")
	n := 0
	allocsAtMost(t, "Replies", 1, func() {
		for reply := range asker.Replies(t.Context(), "ping", 1) {
			if reply.Err == nil && reply.Answer == "pong" && reply.Guest != "" {
				n++
			}
		}
	})
	if n != 16*101 { // AllocsPerRun warms up once
		t.Errorf("%d answers", n)
	}
}
