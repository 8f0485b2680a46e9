// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/measure"
	"go.uber.org/goleak"
)

// connect connects a handler or fails the test.
func connect(t testing.TB, o *Operator, service string, h Handler) {
	t.Helper()
	if err := o.Connect(service, h); err != nil {
		t.Fatal(err)
	}
}

// connectRemote is connect for a remote handler.
func connectRemote(t testing.TB, o *Operator, service string, h Handler) {
	t.Helper()
	if err := o.ConnectRemote(service, h); err != nil {
		t.Fatal(err)
	}
}

// answerWith is a handler that always gives the same answer.
func answerWith(answer any) Handler {
	return func(context.Context, any) (any, error) { return answer, nil }
}

// failWith is a handler that always returns the same error.
func failWith(err error) Handler {
	return func(context.Context, any) (any, error) { return nil, err }
}

// wantAnswers asks around, and wants these answers and no error.
func wantAnswers(t testing.TB, o *Operator, service string, want ...any) {
	t.Helper()
	got, err := o.AskAround(t.Context(), service, nil)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q asks for %q: got %v, %v; want %v", o, service, got, err, want)
	}
}

// verifyNoLeak checks at the end of the test that it left no goroutine behind.
func verifyNoLeak(t *testing.T) {
	before := goleak.IgnoreCurrent() // what other tests left is not this one's
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// allocsAtMost measures on which terms something is done.
func allocsAtMost(t *testing.T, what string, most float64, f func()) {
	t.Helper()
	if got := testing.AllocsPerRun(100, f); got > most {
		t.Errorf("%s: %v allocations, want at most %v", what, got, most)
	}
}

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
			if got, err := asker.AskAround(t.Context(), "number", number); err != nil || !slices.Equal(got, want) {
				t.Errorf("asked with %d: got %v, %v; want %v", number, got, err, want)
			}
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
		if got, err := First[string](t.Context(), apps[c.from], "url", c.endpoint); got != c.want || err != nil {
			t.Errorf("%s asks for %s: got %q, %v", c.from, c.endpoint, got, err)
		}
	}
	if got, err := First[string](t.Context(), apps["root"], "url", "nobody:index"); got != "" || err != ErrHighAndDry {
		t.Errorf("an endpoint nobody knows: got %q, %v; want everyone's decline", got, err)
	}
}

// Who is asked, and in which order.

func TestHandlersAreCalledOneAtATimeInConnectOrder(t *testing.T) {
	p := NewPartyline("main", Options{})
	a, b, c := p.Operator("a"), p.Operator("b"), p.Operator("c")
	busy := false
	for i, o := range []*Operator{b, a, c, b, a} { // two guests have two handlers each
		connect(t, o, "s", func(_ context.Context, payload any) (any, error) {
			if busy {
				t.Error("two handlers at once")
			}
			busy = true // unsynchronized: the race detector sees another goroutine
			defer func() { busy = false }()
			runtime.Gosched()
			return fmt.Sprint(payload, i), nil
		})
	}
	connect(t, a, "other", answerWith("not asked for"))
	got, err := p.Operator("asker").AskAround(t.Context(), "s", "#")
	if want := []any{"#0", "#1", "#2", "#3", "#4"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

func TestHandlersGetTheAskersContextAndPayload(t *testing.T) {
	verifyNoLeak(t)
	type key struct{}
	ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), time.Hour)
	defer cancel()
	payload := &struct{ int }{1}
	h := func(got context.Context, gotPayload any) (any, error) {
		want, _ := ctx.Deadline()
		if deadline, ok := got.Deadline(); !ok || deadline != want || got.Value(key{}) != "value" || got.Err() != nil {
			t.Errorf("got context %v", got)
		}
		if gotPayload != payload {
			t.Errorf("got payload %v", gotPayload)
		}
		return nil, nil
	}
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("local"), "s", h)
	connectRemote(t, p.Operator("remote"), "s", h)
	// A nil answer is an answer.
	if got, err := p.Operator("asker").AskAround(ctx, "s", payload); err != nil || !slices.Equal(got, []any{nil, nil}) {
		t.Error(got, err)
	}
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
	if got := p.Services()["s"]; !slices.Equal(got, []string{"blog"}) {
		t.Errorf("Services names %v", got)
	}

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
	if got := p.Services()["s"]; !slices.Equal(got, []string{"x", "blog", "y", "z"}) {
		t.Errorf("Services names %v", got)
	}
	fourth.Leave()
	wantAnswers(t, asker, "s", "x", "y", "z")
	replica("5th") // nobody held the place
	wantAnswers(t, asker, "s", "x", "y", "z", "5th")
}

func TestReplicasThatTakeOverAreAskedInTheirOwnConnectOrder(t *testing.T) {
	for _, c := range []struct {
		connects string // by the old replica, the new one, and guests x and y
		want     string // the new one's handlers, numbered, and x and y
	}{
		{"oxoyn", "1xy"},
		{"oxnny", "1x2y"},
		{"oxonny", "1x2y"},
		{"onnno", "123"},
		{"onnnxo", "123x"},
		{"ooxnnn", "12x3"},
	} {
		p := NewPartyline("main", Options{})
		old, renewed, n := p.Operator("blog"), p.Operator("blog"), 0
		for _, who := range c.connects {
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
		if got, err := All[string](t.Context(), p.Operator("asker"), "s", nil); err != nil || strings.Join(got, "") != c.want {
			t.Errorf("connected as %s: got %v, %v; want %s", c.connects, got, err, c.want)
		}
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

func TestAGuestDoesNotAskItself(t *testing.T) {
	verifyNoLeak(t)
	p := NewPartyline("main", Options{})
	own := p.Operator("own")
	connect(t, own, "s", answerWith("own"))
	connect(t, p.Operator("other"), "s", answerWith("other"))
	connect(t, own, "s", answerWith("own again"))
	connectRemote(t, own, "s", func(context.Context, any) (any, error) { t.Error("called"); return nil, nil })
	connectRemote(t, p.Operator("remote"), "s", answerWith("remote"))
	wantAnswers(t, own, "s", "other", "remote")
	wantAnswers(t, p.Operator("own"), "s", "other", "remote") // whichever of its operators asks
	own.Leave()
	wantAnswers(t, own, "s", "other", "remote") // who has left can ask
}

func TestAGuestAskingFurtherUpIsNotAsked(t *testing.T) {
	verifyNoLeak(t)
	for _, remote := range []bool{false, true} {
		p := NewPartyline("main", Options{})
		var calls []string
		join := func(guest string) *Operator {
			o := p.Operator(guest)
			h := func(ctx context.Context, _ any) (any, error) {
				calls = append(calls, guest)
				return All[any](ctx, o, "s", nil)
			}
			if remote {
				connectRemote(t, o, "s", h)
			} else {
				connect(t, o, "s", h)
			}
			return o
		}
		a := join("a")
		join("b")
		if remote { // they run at once: two are enough
			wantCalls(t, &calls, func() (any, error) { return All[any](t.Context(), a, "s", nil) }, "[[]]", "b")
			continue
		}
		join("c")
		// b asks c but neither a nor itself, c asks b, and the third in a row has
		// nobody left to ask: no answers, no error.
		wantCalls(t, &calls, func() (any, error) { return All[any](t.Context(), a, "s", nil) }, "[[[]] [[]]]", "b", "c", "c", "b")
	}
}

func wantCalls(t *testing.T, calls *[]string, ask func() (any, error), answers string, want ...string) {
	t.Helper()
	got, err := ask()
	if err != nil || fmt.Sprint(got) != answers || !slices.Equal(*calls, want) {
		t.Errorf("got %v, %v by way of %v; want %s by way of %v", got, err, *calls, answers, want)
	}
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
	for _, n := range []int{3, 4, 11, 40} {
		for _, asker := range []string{"guest0", "outsider", ""} {
			for _, remote := range []bool{false, true} {
				p := NewPartyline("main", Options{})
				calls := make([]atomic.Int64, n)
				for g := range n {
					o := p.Operator(fmt.Sprint("guest", g))
					h := func(ctx context.Context, payload any) (any, error) {
						calls[g].Add(1)
						return First[string](ctx, o, "url", payload) // whoever does not know asks the others
					}
					if remote {
						connectRemote(t, o, "url", h)
					} else {
						connect(t, o, "url", h)
					}
				}
				_, err := First[string](t.Context(), p.Operator(asker), "url", nil)
				if want := map[bool]error{false: ErrHighAndDry, true: ErrLoop}[n > 4]; !errors.Is(err, want) && n != 4 {
					t.Errorf("%q asks %d: got %v, want %v", asker, n, err, want)
				}
				if err != nil && len(err.Error()) > 200*n {
					t.Errorf("%q asks %d: the error has %d bytes", asker, n, len(err.Error()))
				}
				sum := int64(0)
				for g := range n {
					guest := fmt.Sprint("guest", g)
					called := calls[g].Load()
					if sum += called; (called > 0) != (guest != asker) {
						t.Errorf("%q asks %d: %s is called %d times", asker, n, guest, called)
					}
				}
				if sum > int64(2*n*n) {
					t.Errorf("%q asks %d: %d calls, want at most %d", asker, n, sum, 2*n*n)
				}
			}
		}
	}
}

// TestAChainOfEightGuestsIsAnsweredALongerOneGetsErrLoop is that of a page whose old
// name leads to a newer one, that to a newer one, and so on.
func TestAChainOfEightGuestsIsAnsweredALongerOneGetsErrLoop(t *testing.T) {
	for _, remote := range []bool{false, true} {
		p := NewPartyline("main", Options{})
		const n = 12
		for g := range n {
			o := p.Operator(fmt.Sprint("guest", g))
			h := func(ctx context.Context, payload any) (any, error) {
				switch name := payload.(int); {
				case name%n != g:
					return nil, ErrHighAndDry
				case name < n: // the newest
					return fmt.Sprint("page of ", g), nil
				default:
					return First[string](ctx, o, "url", name-n-1)
				}
			}
			if remote {
				connectRemote(t, o, "url", h)
			} else {
				connect(t, o, "url", h)
			}
		}
		for asks := range n - 1 { // by guests
			payload := asks * (n + 1)
			got, err := First[string](t.Context(), p.Operator(""), "url", payload)
			if asks <= 8 && (err != nil || got != "page of 0") {
				t.Errorf("%d guests ask (remote: %v): got %q, %v", asks, remote, got, err)
			}
			if asks > 8 && !errors.Is(err, ErrLoop) {
				t.Errorf("%d guests ask (remote: %v): got %q, %v; want ErrLoop", asks, remote, got, err)
			}
		}
	}
}

func TestWhatACallMaySpendIsForEachAskInItAnew(t *testing.T) {
	p := NewPartyline("main", Options{})
	const n = 4
	for g := range n { // each leads to the next, up to the last
		o := p.Operator(fmt.Sprint("guest", g))
		connect(t, o, "url", func(ctx context.Context, payload any) (any, error) {
			switch payload.(int) {
			case g:
				if g == n-1 {
					return "here", nil
				}
				return First[string](ctx, o, "url", g+1)
			}
			return nil, ErrHighAndDry
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
	if got, err := First[any](t.Context(), anonymous, "countdown", 5); got != "c" || err != nil {
		t.Error(got, err)
	}
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
	got, err := All[any](t.Context(), a, "s", nil)
	if err != nil || fmt.Sprint(got) != "[[[c d] d] [b c d] d]" {
		t.Error(got, err)
	}
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
	if err != nil || fmt.Sprint(got) != "[[[a b]] [a b]]" {
		t.Error(got, err)
	}
}

func TestThirtyTwoNestedAsksAreFineTheNextGetsErrLoop(t *testing.T) {
	verifyNoLeak(t)
	for _, remote := range []bool{false, true} {
		for _, c := range []struct {
			asks int
			want error
		}{{1, nil}, {32, nil}, {33, ErrLoop}} {
			p := NewPartyline("main", Options{})
			guests := []*Operator{p.Operator("a"), p.Operator("b")}
			for i := range c.asks {
				o := guests[i%2]
				h := func(ctx context.Context, _ any) (any, error) {
					if i == c.asks-1 {
						return "the end", nil
					}
					return First[string](ctx, o, fmt.Sprint(i+1), nil)
				}
				if remote {
					connectRemote(t, o, fmt.Sprint(i), h)
				} else {
					connect(t, o, fmt.Sprint(i), h)
				}
			}
			got, err := First[string](t.Context(), guests[1], "0", nil)
			if !errors.Is(err, c.want) || (err == nil) != (got == "the end") {
				t.Errorf("%d asks (remote: %v): got %q, %v; want error %v", c.asks, remote, got, err, c.want)
			}
		}
	}
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
	if answers, err := anonymous.AskAround(t.Context(), "s", nil); len(answers) > 0 || !errors.Is(err, ErrLoop) || calls != 32 {
		t.Errorf("got %v, %v after %d calls", answers, err, calls)
	}
	if len(deepest) != 1 || deepest[0] != (Reply{Err: ErrLoop}) {
		t.Errorf("the deepest ask got %v", deepest)
	}
}

// Missing services.

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
	if _, err := anonymous.AskAround(t.Context(), "s", nil); !errors.Is(err, ErrLoop) {
		t.Error(err)
	}
	if calls > 3*maxDepth {
		t.Errorf("%d calls", calls)
	}
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
	if !errors.Is(err, ErrLoop) || !slices.Equal(answers, []any{"pong"}) {
		t.Error(answers, err)
	}
}

func TestTheSwitchboardUsesTheStandardLibraryOnly(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range sources {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range parsed.Imports {
			if strings.Contains(i.Path.Value, ".") {
				t.Errorf("%s imports %s", file, i.Path.Value)
			}
		}
	}
}

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
		if !errors.Is(err, ErrPartyline) || !strings.Contains(err.Error(), "was not invited") {
			t.Error(err)
		}
	}
	if o.Leave(); o.Guest() != "" || o.String() != "" || o.Partyline() != nil {
		t.Error("it is somebody's")
	}
}

func TestMissingServices(t *testing.T) {
	for _, ignore := range []bool{false, true} {
		p := NewPartyline("main", Options{IgnoreMissingServices: ignore})
		asker := p.Operator("asker")
		check := func(when string, missing bool) {
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
			if len(answers)+len(typed) > 0 {
				t.Errorf("%s: got answers %v, %v", when, answers, typed)
			}
			if missing && !ignore {
				want = []Reply{{Err: err}}
			} else if errFirst == ErrHighAndDry {
				errFirst = nil
			}
			for _, err := range []error{err, errAll, errFirst} {
				var none *NoSuchServiceError
				if !missing || ignore {
					if err != nil {
						t.Errorf("%s: got error %v", when, err)
					}
				} else if !errors.As(err, &none) || *none != (NoSuchServiceError{Party: "main", Service: "s"}) ||
					!strings.Contains(err.Error(), `"main"`) || !strings.Contains(err.Error(), `"s"`) {
					t.Errorf("%s: got error %v", when, err)
				}
			}
			if !reflect.DeepEqual(replies, want) {
				t.Errorf("%s: got replies %v", when, replies)
			}
		}
		check("nobody ever connected", true)
		connect(t, asker, "s", pong)
		check("only the asker's own handlers", false)
		other := p.Operator("other")
		connect(t, other, "other", pong)
		connect(t, other, "s", failWith(ErrHighAndDry))
		check("everybody declines", false)
		other.Leave()
		check("only the asker's own handlers again", false)
		asker.Leave()
		check("everybody has left", true)
	}
}

// Failures.

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
		if remote(i) {
			connectRemote(t, o, "s", reactions[r].handler)
		} else {
			connect(t, o, "s", reactions[r].handler)
		}
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
		if i == len(pattern) {
			t.Fatalf("one reply too many: %v", reply)
		}
		r, guest := rune(pattern[i]), fmt.Sprint("guest", i)
		i++
		if reply.Guest != guest {
			t.Errorf("reply of %q in place of %q", reply.Guest, guest)
		}
		want := reactions[r]
		if want.message == "" {
			answer, err := want.handler(nil, nil)
			if err != nil {
				err = ErrHighAndDry // itself, not wrapped
			}
			if reply.Answer != answer || reply.Err != err {
				t.Errorf("%s: got %v", guest, reply)
			}
			continue
		}
		failure, ok := reply.Err.(*HandlerError)
		if !ok || reply.Answer != nil || failure.Guest != guest || failure.Service != "s" || errors.Is(failure, ErrHighAndDry) {
			t.Errorf("%s: got %v", guest, reply)
			continue
		}
		message := failure.Error()
		for _, part := range []string{guest, `"s"`, want.message} {
			if !strings.Contains(message, part) {
				t.Errorf("no %q in %s", part, message)
			}
		}
		switch r {
		case 'f', 'b':
			if failure.Err != fs.ErrNotExist || !errors.Is(failure, fs.ErrNotExist) {
				t.Errorf("%s does not unwrap to what went wrong", message)
			}
		case 'p', 'n', 'h', 'A':
			if !strings.Contains(message, "panicsOnPurpose") {
				t.Errorf("no stack in %s", message)
			}
		case 'r':
			if !strings.Contains(message, "operator_test.go") {
				t.Errorf("no stack in %s", message)
			}
		}
		joined = append(joined, guest)
	}
	if i != len(pattern) {
		t.Errorf("%d replies, want %d", i, len(pattern))
	}

	check := func(how string, got []any, want []any, err error) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: got answers %v, want %v", how, got, want)
		}
		var failed []string
		if several, ok := err.(interface{ Unwrap() []error }); ok {
			for _, err := range several.Unwrap() {
				failed = append(failed, err.(*HandlerError).Guest)
			}
		}
		if !slices.Equal(failed, joined) || (len(joined) == 0) != (err == nil) || err != nil && !errors.Is(err, ErrPartyline) {
			t.Errorf("%s: failures of %v, want %v", how, failed, joined)
		}
	}
	got, err := asker.AskAround(t.Context(), "s", nil)
	check("AskAround", got, answers, err)
	got, err = All[any](t.Context(), asker, "s", nil)
	check("All", got, answers, err)

	first, err := First[any](t.Context(), asker, "s", nil)
	if len(answers) > 0 {
		if first != answers[0] || err != nil {
			t.Errorf("First: got %v, %v", first, err)
		}
	} else if failures > 0 {
		check("First", nil, nil, err)
	} else if err != ErrHighAndDry {
		t.Errorf("First: got %v, want a decline", err)
	}
	if declines+failures+len(answers) != len(pattern) {
		t.Fatal("the test does not add up")
	}
}

// Asking an error what it wraps runs the code of whoever made it.
func TestAnErrorThatPanicsIsItsGuestsFailure(t *testing.T) {
	verifyNoLeak(t)
	connectors := map[string]func(testing.TB, *Operator, string, Handler){"local": connect, "remote": connectRemote}
	for name, connectAs := range connectors {
		t.Run(name, func(t *testing.T) {
			p := NewPartyline("main", Options{})
			connectAs(t, p.Operator("a"), "s", func(context.Context, any) (any, error) {
				var forgotten *fs.PathError
				return nil, forgotten // the classic: not nil
			})
			connectAs(t, p.Operator("b"), "s", pong)
			defer func() {
				if value := recover(); value != nil {
					t.Errorf("the asker panics: %v", value)
				}
			}()
			got, err := p.Operator("asker").AskAround(t.Context(), "s", nil)
			var failure *HandlerError
			if !slices.Equal(got, []any{"pong"}) || !errors.As(err, &failure) || failure.Guest != "a" {
				t.Error(got, err)
			}
		})
	}
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
				defer func() {
					if value := recover(); value != "mine" {
						t.Errorf("reply %d: recovered %v", at, value)
					}
				}()
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
			if !cancelled {
				t.Errorf("reply %d: the remote handler was not cancelled", at)
			}
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
		if !errors.Is(err, ErrPartyline) || err.Error() == "" {
			t.Errorf("%s: %v is not ErrPartyline", name, err)
		}
	}
	sentinels := []error{ErrHighAndDry, ErrLeft, ErrLoop}
	for i, a := range sentinels {
		for j, b := range sentinels {
			if errors.Is(a, b) != (i == j) {
				t.Errorf("%v is %v", a, b)
			}
		}
	}
	if other := errors.New("other"); errors.Is(other, ErrPartyline) || !errors.Is(failed, fs.ErrExist) || !errors.Is(failed, fs.ErrNotExist) {
		t.Error("what failed does not come through")
	}
}

// The context.

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
	connect(t, p.Operator("d"), "s", func(context.Context, any) (any, error) { t.Error("called"); return "d", nil })
	asker := p.Operator("asker")
	ask := func(f func(context.Context)) {
		var ctx context.Context
		ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		f(ctx)
	}
	check := func(got []any, err error) {
		t.Helper()
		if !slices.Equal(got, []any{"a", "c"}) || !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
			t.Errorf("got %v, %v", got, err)
		}
	}
	ask(func(ctx context.Context) { check(asker.AskAround(ctx, "s", nil)) })
	ask(func(ctx context.Context) { check(All[any](ctx, asker, "s", nil)) })
	ask(func(ctx context.Context) {
		if got, err := First[int](ctx, asker, "s", nil); got != 0 || !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
			t.Errorf("got %v, %v", got, err)
		}
	})
	ask(func(ctx context.Context) {
		replies := slices.Collect(asker.Replies(ctx, "s", nil))
		if len(replies) != 4 || replies[3] != (Reply{Err: context.Canceled}) {
			t.Errorf("got %v", replies)
		}
	})
	ask(func(ctx context.Context) {
		cancel() // before anybody is asked
		if got, err := asker.AskAround(ctx, "s", nil); len(got) > 0 || err != context.Canceled {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

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
		connect(t, p.Operator("d"), "s", func(context.Context, any) (any, error) { t.Error("called"); return nil, nil })
		began := time.Now()
		got, err := p.Operator("asker").AskAround(ctx, "s", nil)
		if !slices.Equal(got, []any{"local", "remote"}) || err != context.DeadlineExceeded {
			t.Errorf("got %v, %v", got, err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v", took)
		}
		time.Sleep(time.Hour) // it does end, and nobody need take its answer
	})
}

// Remote handlers.

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
		if took := time.Since(began); took != 9*time.Second {
			t.Errorf("it took %v, want 1s and, together, 8s", took)
		}
		want := map[any]time.Duration{
			"local 1": 0, "remote 1": time.Second, "remote 2": time.Second, "remote 3": time.Second, "local 2": 6 * time.Second,
		}
		if !reflect.DeepEqual(called, want) {
			t.Errorf("called at %v, want %v", called, want)
		}
	})
}

func TestRemoteHandlersAreNotStartedBeforeTheyAreReached(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", pong)
	connectRemote(t, p.Operator("b"), "s", func(context.Context, any) (any, error) { t.Error("called"); return nil, nil })
	synctest.Test(t, func(t *testing.T) {
		if got, err := First[string](t.Context(), p.Operator("asker"), "s", nil); got != "pong" || err != nil {
			t.Error(got, err)
		}
		synctest.Wait()
	})
}

func TestEndingAnAskCancelsRemoteHandlersUnderWay(t *testing.T) {
	verifyNoLeak(t)
	for name, ask := range map[string]func(context.Context, *Operator){
		"First": func(ctx context.Context, o *Operator) {
			if got, err := First[string](ctx, o, "s", nil); got != "pong" || err != nil {
				t.Error(got, err)
			}
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
				started, cancelled := 0, 0
				connectRemote(t, p.Operator("quick"), "s", func(context.Context, any) (any, error) {
					synctest.Wait() // until the other two wait as well
					return "pong", nil
				})
				connect(t, p.Operator("exits"), "s", func(context.Context, any) (any, error) { runtime.Goexit(); return nil, nil })
				var mu sync.Mutex
				for i := range 2 {
					connectRemote(t, p.Operator(fmt.Sprint("slow", i)), "s", func(ctx context.Context, _ any) (any, error) {
						mu.Lock()
						started++
						mu.Unlock()
						<-ctx.Done() // for ever, were it not cancelled: synctest fails on a deadlock
						mu.Lock()
						cancelled++
						mu.Unlock()
						return nil, ctx.Err()
					})
				}
				ask(t.Context(), p.Operator("asker"))
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				if started != 2 || cancelled != 2 {
					t.Errorf("started %d, cancelled %d", started, cancelled)
				}
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
		if got, err := p.Operator("asker").AskAround(t.Context(), "s", nil); !slices.Equal(got, []any{"pong", "slow"}) || err == nil {
			t.Error(got, err)
		}
	})
}

// Replies, All, First.

func TestRepliesIsLazy(t *testing.T) {
	p := NewPartyline("main", Options{})
	called := 0
	for i := range 3 {
		connect(t, p.Operator(fmt.Sprint(i)), "s", func(context.Context, any) (any, error) { called++; return i, nil })
	}
	replies := p.Operator("asker").Replies(t.Context(), "s", nil)
	if called != 0 {
		t.Error("Replies called somebody before it was ranged over")
	}
	for range 2 { // it can be ranged over again, and asks again
		i := 0
		for reply := range replies {
			if want := (Reply{Guest: fmt.Sprint(i), Answer: i}); reply != want {
				t.Errorf("got %v, want %v", reply, want)
			}
			if i++; called != i {
				t.Errorf("%d handlers called at reply %d", called, i)
			}
			if i == 2 {
				break
			}
		}
		if called != 2 {
			t.Errorf("%d handlers called, want 2", called)
		}
		called = 0
	}
}

func TestFirstStopsAtTheFirstAnswer(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", failWith(ErrHighAndDry))
	connect(t, p.Operator("b"), "s", failWith(fs.ErrNotExist))
	connect(t, p.Operator("c"), "s", answerWith(3.14))
	connect(t, p.Operator("d"), "s", answerWith("yes"))
	connect(t, p.Operator("e"), "s", func(context.Context, any) (any, error) { t.Error("called"); return nil, nil })
	if got, err := First[string](t.Context(), p.Operator("asker"), "s", nil); got != "yes" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAnAnswerOfTheWrongTypeIsItsGuestsHandlerError(t *testing.T) {
	for _, answer := range []any{3.14, nil, errors.New("an error"), json.RawMessage(`{"not": "a string"}`), json.RawMessage("not JSON"), json.RawMessage(nil)} {
		p := NewPartyline("main", Options{})
		connect(t, p.Operator("a"), "s", answerWith("one"))
		connect(t, p.Operator("b"), "s", answerWith(answer))
		connect(t, p.Operator("c"), "s", answerWith("two"))
		asker := p.Operator("asker")
		got, err := All[string](t.Context(), asker, "s", nil)
		if !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("%T: got %v", answer, got)
		}
		_, errFirst := First[string](t.Context(), p.Operator("a"), "s", nil)
		if errFirst != nil {
			t.Errorf("%T: First does not go on: %v", answer, errFirst)
		}
		connect(t, p.Operator("d"), "alone", answerWith(answer))
		_, errFirst = First[string](t.Context(), asker, "alone", nil)
		for guest, err := range map[string]error{"b": err, "d": errFirst} {
			var failure *HandlerError
			if !errors.As(err, &failure) || failure.Guest != guest || !errors.Is(err, ErrPartyline) ||
				!strings.Contains(err.Error(), fmt.Sprintf("%T", answer)) || !strings.Contains(err.Error(), "string") {
				t.Errorf("%T: got error %v", answer, err)
			}
		}
	}
}

func TestARawMessageIsDecoded(t *testing.T) {
	type page struct {
		N   int
		URL string
	}
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", answerWith(page{1, "/a/"}))
	connect(t, p.Operator("b"), "s", answerWith(json.RawMessage(`{"URL": "/b/"}`)))
	connect(t, p.Operator("c"), "s", answerWith(json.RawMessage(`{"N": 3, "URL": 5}`))) // half decoded is not decoded
	asker := p.Operator("asker")
	got, err := All[page](t.Context(), asker, "s", nil)
	var failure *HandlerError
	if !slices.Equal(got, []page{{1, "/a/"}, {0, "/b/"}}) || !errors.As(err, &failure) || failure.Guest != "c" {
		t.Error(got, err)
	}
	if first, err := First[page](t.Context(), p.Operator("a"), "s", nil); first.URL != "/b/" || err != nil {
		t.Error(first, err)
	}
	connect(t, p.Operator("c"), "half", answerWith(json.RawMessage(`{"N": 3, "URL": 5}`)))
	if first, err := First[page](t.Context(), asker, "half", nil); first != (page{}) || err == nil {
		t.Error(first, err)
	}
	raw, err := All[json.RawMessage](t.Context(), p.Operator("a"), "s", nil) // as it is
	if len(raw) != 2 || string(raw[0]) != `{"URL": "/b/"}` || err != nil {
		t.Error(raw, err)
	}
}

func TestNilIsAnAnswer(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", answerWith(nil))
	asker := p.Operator("asker")
	wantAnswers(t, asker, "s", nil)
	if got, err := All[any](t.Context(), asker, "s", nil); !slices.Equal(got, []any{nil}) || err != nil {
		t.Error(got, err)
	}
	if got, err := All[error](t.Context(), asker, "s", nil); !slices.Equal(got, []error{nil}) || err != nil { // any interface can be nil
		t.Error(got, err)
	}
	if got, err := First[any](t.Context(), asker, "s", nil); got != nil || err != nil {
		t.Error(got, err)
	}
	if got, err := First[*int](t.Context(), asker, "s", nil); got != nil || err == nil {
		t.Error(got, err)
	}
}

func TestPayloadAs(t *testing.T) {
	type page struct {
		N     int
		Title string
	}
	pointer := &page{1, "as it is"}
	if got, err := PayloadAs[*page](pointer); got != pointer || err != nil {
		t.Error(got, err)
	}
	if got, err := PayloadAs[fmt.Stringer](time.Second); got != fmt.Stringer(time.Second) || err != nil {
		t.Error(got, err)
	}
	for _, payload := range []any{map[string]any{"Title": "x"}, &page{1, "x"}, json.RawMessage(`{"Title": "x"}`)} {
		if got, err := PayloadAs[page](payload); got.Title != "x" || err != nil {
			t.Errorf("%T: got %v, %v", payload, got, err)
		}
	}
	if got, err := PayloadAs[int](2.0); got != 2 || err != nil {
		t.Error(got, err)
	}
	// nil is null.
	if got, err := PayloadAs[page](nil); got != (page{}) || err != nil {
		t.Error(got, err)
	}
	if got, err := PayloadAs[*page](nil); got != nil || err != nil {
		t.Error(got, err)
	}
	if got, err := PayloadAs[any](nil); got != nil || err != nil {
		t.Error(got, err)
	}
	for _, payload := range []any{map[string]int{"N": 1, "Title": 1}, 2.5, make(chan int), json.RawMessage("not JSON")} {
		got, err := PayloadAs[page](payload)
		if got != (page{}) || err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%T", payload)) || !strings.Contains(err.Error(), "partyline.page") {
			t.Errorf("%T: got %v, %v", payload, got, err)
		}
	}
}

// Operators and partylines.

func TestOperatorsKnowWhoseTheyAre(t *testing.T) {
	p := NewPartyline("main", Options{})
	if p.Name() != "main" {
		t.Errorf("the partyline's name is %q", p.Name())
	}
	for _, guest := range []string{"", "blog"} {
		o := p.Operator(guest)
		if o.Guest() != guest || o.String() != guest || fmt.Sprint(o) != guest || o.Partyline() != p {
			t.Errorf("operator of %q: %q %q %v %p", guest, o.Guest(), o.String(), o, o.Partyline())
		}
		if p.Operator(guest) == o {
			t.Error("two operators are one")
		}
	}
}

func TestServicesIsACopyInConnectOrder(t *testing.T) {
	p := NewPartyline("main", Options{})
	if got := p.Services(); got == nil || len(got) != 0 {
		t.Errorf("nobody: got %v", got)
	}
	a, b, c := p.Operator("a"), p.Operator("b"), p.Operator("c")
	for _, o := range []*Operator{c, a, c, b, p.Operator("a")} {
		connect(t, o, "s", pong)
	}
	connect(t, a, "t", pong)
	want := map[string][]string{"s": {"c", "a", "b"}, "t": {"a"}}
	for range 2 {
		got := p.Services()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		got["s"][0] = "changed"
		delete(got, "t")
	}
	p.Operator("a").Leave() // connected nothing
	c.Leave()
	a.Leave()
	if got, want := p.Services(), (map[string][]string{"s": {"a", "b"}}); !reflect.DeepEqual(got, want) { // a's other operator
		t.Errorf("after leaving: got %v, want %v", got, want)
	}
}

func TestWhatCannotBeConnected(t *testing.T) {
	p := NewPartyline("main", Options{})
	gone := p.Operator("gone")
	gone.Leave()
	for _, c := range []struct {
		operator *Operator
		service  string
		handler  Handler
		want     error
		message  string
	}{
		{p.Operator("a"), "", pong, ErrPartyline, `guest "a" connects a handler under a service without a name`},
		{p.Operator("a"), "url", nil, ErrPartyline, `guest "a" connects under service "url" is nil`},
		{p.Operator(""), "url", pong, ErrPartyline, "guest name"},
		{gone, "url", pong, ErrLeft, "left"},
	} {
		for _, err := range []error{c.operator.Connect(c.service, c.handler), c.operator.ConnectRemote(c.service, c.handler)} {
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.message) {
				t.Errorf("connecting to %q: got %v", c.service, err)
			}
		}
	}
	if got := p.Services(); len(got) > 0 {
		t.Errorf("connected all the same: %v", got)
	}
}

func TestLeaving(t *testing.T) {
	p := NewPartyline("main", Options{})
	a, replica, b := p.Operator("a"), p.Operator("a"), p.Operator("b")
	connect(t, a, "s", answerWith("a 1"))
	connect(t, b, "s", answerWith("b"))
	connect(t, a, "s", answerWith("a 2"))
	connect(t, a, "only a's", pong)
	asker := p.Operator("asker")
	for range 3 {
		a.Leave()
		wantAnswers(t, asker, "s", "b")
		if got, want := p.Services(), (map[string][]string{"s": {"b"}}); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	connect(t, replica, "s", answerWith("replica")) // it has not left
	a.Leave()
	wantAnswers(t, asker, "s", "b", "replica")
	if err := a.Connect("s", pong); err != ErrLeft {
		t.Errorf("connecting after leaving: got %v", err)
	}
	wantAnswers(t, a, "s", "b") // it can still ask
	p.Operator("").Leave()      // nobody's operator has nothing to disconnect
}

// At any time, from anywhere.

func TestAnAskSeesTheConnectionsAsTheyWereWhenItBegan(t *testing.T) {
	p := NewPartyline("main", Options{})
	a, b, c := p.Operator("a"), p.Operator("b"), p.Operator("c")
	asker := p.Operator("asker")
	changed := false
	change := func() {
		connect(t, p.Operator("late"), "s", answerWith("late"))
		renewed := p.Operator("c")
		connect(t, renewed, "s", answerWith("new c"))
		b.Leave()
		c.Leave()
		wantAnswers(t, asker, "s", "a", "new c", "late") // another ask sees it at once
	}
	connect(t, a, "s", func(context.Context, any) (any, error) {
		if !changed {
			changed = true
			change()
		}
		return "a", nil
	})
	connect(t, b, "s", answerWith("b"))
	connect(t, c, "s", answerWith("c"))
	spare := p.Operator("spare") // so that the line has been rebuilt, and has room, before
	connect(t, spare, "s", pong)
	spare.Leave()
	connect(t, p.Operator("d"), "s", failWith(ErrHighAndDry))
	wantAnswers(t, asker, "s", "a", "b", "c")
	wantAnswers(t, asker, "s", "a", "new c", "late")
}

func TestHandlersMayUseTheLine(t *testing.T) {
	verifyNoLeak(t)
	for name, connectAs := range map[string]func(testing.TB, *Operator, string, Handler){"local": connect, "remote": connectRemote} {
		t.Run(name, func(t *testing.T) {
			p := NewPartyline("main", Options{})
			a, b := p.Operator("a"), p.Operator("b")
			connectAs(t, a, "s", func(ctx context.Context, _ any) (any, error) {
				connect(t, a, "new", pong)
				connect(t, b, "s", answerWith("b"))
				services := len(p.Services())
				answer, err := First[string](ctx, b, "new", nil)
				b.Leave()
				a.Leave()
				return fmt.Sprint(services, answer), err
			})
			wantAnswers(t, p.Operator("asker"), "s", "2pong")
			if got := p.Services(); len(got) > 0 {
				t.Errorf("still connected: %v", got)
			}
		})
	}
}

func TestAskingTakesNoLock(t *testing.T) {
	verifyNoLeak(t)
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", pong)
	connectRemote(t, p.Operator("b"), "s", pong)
	asker := p.Operator("asker")
	p.mu.Lock() // somebody is connecting
	defer p.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		asker.AskAround(t.Context(), "s", nil)
		asker.AskAround(t.Context(), "missing", nil)
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("asking waits for the lock")
	}
}

func TestNoAnswerIsLostOrDoubledWhileGuestsComeAndGo(t *testing.T) {
	verifyNoLeak(t)
	p := NewPartyline("main", Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	var guests []string
	for i := range 4 { // always there, through one replica or another
		guest := fmt.Sprint("guest", i)
		guests = append(guests, guest)
		replica := func() *Operator {
			o := p.Operator(guest)
			if i == 3 {
				connectRemote(t, o, "s", answerWith(guest))
			} else {
				connect(t, o, "s", answerWith(guest))
			}
			return o
		}
		current := replica()
		wg.Go(func() {
			for ctx.Err() == nil {
				renewed := replica()
				current.Leave()
				current = renewed
			}
		})
	}
	for i := range 2 { // there now and then
		wg.Go(func() {
			for ctx.Err() == nil {
				o := p.Operator(fmt.Sprint("visitor", i))
				connect(t, o, "s", answerWith(o.Guest()))
				connect(t, o, fmt.Sprint("other", i), pong)
				o.Leave()
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			got := slices.DeleteFunc(p.Services()["s"], func(guest string) bool { return !slices.Contains(guests, guest) })
			if !slices.Equal(got, guests) {
				t.Errorf("Services names %v", got)
				return
			}
		}
	})
	var asks atomic.Int64
	for range 4 {
		wg.Go(func() {
			asker := p.Operator("asker")
			for ctx.Err() == nil {
				got, err := All[string](t.Context(), asker, "s", nil)
				if err != nil {
					t.Error(err)
					return
				}
				constant := slices.DeleteFunc(slices.Clone(got), func(guest string) bool { return !slices.Contains(guests, guest) })
				visitors := slices.DeleteFunc(slices.Clone(got), func(guest string) bool { return slices.Contains(guests, guest) })
				slices.Sort(visitors)
				if !slices.Equal(constant, guests) || len(slices.Compact(visitors)) != len(got)-len(constant) {
					t.Errorf("got %v", got)
					return
				}
				asks.Add(1)
			}
		})
	}
	wg.Wait()
	if asks.Load() == 0 {
		t.Error("nobody asked")
	}
}

// What it costs.

func TestConnectingIsNotQuadratic(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // else its cost depends on what other tests left
	const n, factor = 500, 64                        // quadratic is 4096 times as much
	names := make([]string, n*factor)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	for what, connecting := range map[string]func(p *Partyline, one *Operator, i int) error{
		"guests under one service": func(p *Partyline, _ *Operator, i int) error { return p.Operator(names[i]).Connect("s", pong) },
		"handlers of one guest":    func(_ *Partyline, o *Operator, _ int) error { return o.Connect("s", pong) },
		"services of one guest":    func(_ *Partyline, o *Operator, i int) error { return o.Connect(names[i], pong) },
		"replicas of one guest":    func(p *Partyline, _ *Operator, _ int) error { return p.Operator("one").Connect("s", pong) },
	} {
		measure := func(n int) (took time.Duration, bytes uint64) {
			runtime.GC()
			p := NewPartyline("main", Options{})
			one := p.Operator("one")
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			for i := range n {
				if err := connecting(p, one, i); err != nil {
					t.Fatal(err)
				}
			}
			took = time.Since(began)
			runtime.ReadMemStats(&after)
			return took, after.TotalAlloc - before.TotalAlloc
		}
		few, bytesFew := measure(n)
		many, bytesMany := measure(n * factor)
		for range 4 {
			if many <= 8*factor*few {
				break
			}
			took, _ := measure(n * factor)
			many = min(many, took)
		}
		t.Logf("%s: %d: %v and %d bytes; %d: %v and %d bytes", what, n, few, bytesFew, n*factor, many, bytesMany)
		if many > 8*factor*few || bytesMany > 3*factor*bytesFew {
			t.Errorf("%s: %d times as many take %d times as long and %d times the memory", what, factor, many/few, bytesMany/bytesFew)
		}
	}
}

// TestConnectingUnder1000ServicesIsCheap connects four guests, against a map of slices.
func TestConnectingUnder1000ServicesIsCheap(t *testing.T) {
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprint("service", i)
	}
	timed := func(connecting func()) func() time.Duration {
		return func() time.Duration {
			runtime.GC()
			began := time.Now()
			connecting()
			return time.Since(began)
		}
	}
	var kept any
	handlers := timed(func() {
		of := make(map[string][]Handler)
		for range 4 {
			for _, name := range names {
				of[name] = append(of[name], pong)
			}
		}
		kept = of
	})
	connecting := func() {
		p := NewPartyline("main", Options{})
		for guest := range 4 {
			o := p.Operator(fmt.Sprint(guest))
			for _, name := range names {
				connect(t, o, name, pong)
			}
		}
		kept = p
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	connecting()
	runtime.ReadMemStats(&after)
	if bytes := after.TotalAlloc - before.TotalAlloc; bytes > 5_000_000 {
		t.Errorf("%d bytes", bytes)
	}
	most := 50.
	if measure.UnderRaceDetector() {
		most *= 6
	}
	measure.TakesAtMost(t, most, handlers, timed(connecting))
	runtime.KeepAlive(kept)
}

// lineOf is a partyline with guests that each answer pong to ping.
func lineOf(t *testing.T, guests int) *Partyline {
	p := NewPartyline("main", Options{IgnoreMissingServices: true})
	for i := range guests {
		connect(t, p.Operator(fmt.Sprint(i)), "ping", pong)
	}
	return p
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
	connect(t, p.Operator("c"), "ping", func(context.Context, any) (any, error) { t.Error("called"); return nil, nil })
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

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
