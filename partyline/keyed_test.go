// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// byText has services whose payloads are keys where they are texts.
func byText(string) func(payload any) (string, bool) {
	return func(payload any) (string, bool) {
		key, ok := payload.(string)
		return key, ok
	}
}

// keyedLine is a partyline with keys.
func keyedLine() *Partyline { return NewPartyline("main", Options{Key: byText}) }

// names is what a guest has: these keys, separated by spaces.
type names string

func (n names) has(key string) bool { return strings.Contains(" "+string(n)+" ", " "+key+" ") }

// connectKeyed connects a handler that answers its guest's name, whatever it is asked.
func connectKeyed(t testing.TB, o *Operator, keys names) {
	t.Helper()
	check.Must(t, o.ConnectKeyed("s", keys.has, answerWith(o.Guest())))
}

// wantFor asks for a payload, and wants these answers, separated by spaces.
func wantFor(t testing.TB, o *Operator, payload any, want string) {
	t.Helper()
	answers, err := o.AskAround(t.Context(), "s", payload)
	got := strings.Trim(fmt.Sprint(answers), "[]")
	check.ErrorIf(t, got != want || err != nil, "%q asks for %v: got %q, %v; want %q", o, payload, got, err, want)
}

func TestOnlyWhoHasTheKeyIsAsked(t *testing.T) {
	verifyNoLeak(t)
	p := keyedLine()
	connectKeyed(t, p.Operator("one"), "home post")
	connectKeyed(t, p.Operator("two"), "shop")
	connect(t, p.Operator("any"), "s", answerWith("any"))
	connectKeyed(t, p.Operator("three"), "post")
	connectRemote(t, p.Operator("remote"), "s", answerWith("remote"))
	connectKeyed(t, p.Operator("four"), "post home")
	asker := p.Operator("")
	for range 2 {
		wantFor(t, asker, "home", "one any remote four")
		wantFor(t, asker, "post", "one any three remote four")
		wantFor(t, asker, "shop", "two any remote")
		wantFor(t, asker, "none", "any remote")
		wantFor(t, asker, "", "any remote")
		wantFor(t, asker, 7, "one two any three remote four")
		wantFor(t, asker.Local(), "home", "one any four")
		wantFor(t, asker.Only("four"), "post", "four")
		wantFor(t, asker.Only("two"), "post", "")
		wantFor(t, p.Operator("one"), "post", "any three remote four")
	}
	check.Equal(t, p.RemoteHandlers("s", "shop"), 1)
	check.Slices(t, p.MayAnswer("s", "shop"), []string{"two", "any", "remote"})
	check.Slices(t, p.MayAnswer("missing", "shop"), nil)
	wantFigures(t, p, "s 20, any/s 16 16 0 0, four/s 12 12 0 0, one/s 8 8 0 0, remote/s 14 14 0 0, three/s 6 6 0 0, two/s 4 4 0 0")
}

func TestNobodyHasTheKey(t *testing.T) {
	p := keyedLine()
	connectKeyed(t, p.Operator("one"), "home")
	asker := p.Operator("")
	answers, err := asker.AskAround(t.Context(), "s", "none")
	check.ErrorIf(t, len(answers) > 0 || err != nil, "%v, %v", answers, err) // the service is there
	_, err = First[string](t.Context(), asker, "s", "none")
	check.Equal(t, err, error(ErrHighAndDry))
	for r := range asker.Replies(t.Context(), "s", "none") {
		t.Errorf("a reply: %+v", r)
	}
	wantFigures(t, p, "s 3, one/s 0 0 0 0")
}

// Keys count where the partyline has them, and by no other service.
func TestWithoutKeysAllAreAsked(t *testing.T) {
	p := NewPartyline("main", Options{Key: func(service string) func(any) (string, bool) {
		if service == "s" {
			return nil
		}
		return byText(service)
	}})
	none := NewPartyline("none", Options{})
	for _, p := range []*Partyline{p, none} {
		connectKeyed(t, p.Operator("one"), "home")
		wantFor(t, p.Operator(""), "none", "one")
	}
	check.Fails(t, p.Operator("one").ConnectKeyed("s", nil, pong), `guest "one" connects a handler under service "s" without a function that says which keys it has`)
	check.Fails(t, (*Operator)(nil).ConnectKeyed("s", names("").has, pong), "there is no operator")
	check.Fails(t, p.Operator("").ConnectKeyed("s", names("").has, pong), "connecting needs a guest name")
}

// An ask that is addressed to one guest calls others that have its key.
func TestAKeyCountsInAddressedAsks(t *testing.T) {
	p := NewPartyline("main", Options{Key: byText, Addressee: func(string) func(any) string {
		return func(payload any) string {
			guest, _, _ := strings.Cut(payload.(string), ":")
			return guest
		}
	}})
	p.SetOrder([]string{"one", "two", "three"})
	connectKeyed(t, p.Operator("one"), "home one:home")
	connectKeyed(t, p.Operator("two"), "home two:home one:home")
	connect(t, p.Operator("three"), "s", answerWith("three"))
	wantFor(t, p.Operator(""), "home", "one two three")
	wantFor(t, p.Operator(""), "one:home", "one two")
	wantFor(t, p.Operator(""), "two:home", "two")
	wantFor(t, p.Operator(""), "three:home", "three")
}

func TestAHandlerIsAskedWhoseKeysCannotBeSaid(t *testing.T) {
	p := keyedLine()
	connectKeyed(t, p.Operator("one"), "home")
	check.Must(t, p.Operator("two").ConnectKeyed("s", func(string) bool { panic("on purpose") }, answerWith("two")))
	for range 2 {
		wantFor(t, p.Operator(""), "home", "one two")
		wantFor(t, p.Operator(""), "none", "two")
	}
}

// TestKeysChangeNothingButWhoIsCalled has the same guests with keys, and without: those then
// decline. They come, go, hand over and change places.
func TestKeysChangeNothingButWhoIsCalled(t *testing.T) {
	verifyNoLeak(t)
	guests := []string{"a", "b", "c", "d", "e", "f"}
	keys := []string{"k0", "k1", "k2", "k3", "k4"}
	lines := []*Partyline{keyedLine(), keyedLine()}
	joined := make([][]*Operator, len(lines))
	for step := range 400 {
		switch n := rand.IntN(10); {
		case n == 0:
			order := rand.Perm(len(guests))[:rand.IntN(len(guests)+1)]
			named := make([]string, len(order))
			for i, guest := range order {
				named[i] = guests[guest]
			}
			for _, p := range lines {
				p.SetOrder(named)
			}
		case n < 3 && len(joined[0]) > 0 || len(joined[0]) > 15:
			leaves := rand.IntN(len(joined[0]))
			for l := range lines {
				joined[l][leaves].Leave()
				joined[l] = append(joined[l][:leaves:leaves], joined[l][leaves+1:]...)
			}
		default:
			again := len(joined[0]) > 0 && rand.IntN(3) == 0
			guest, kind, which, handler := guests[rand.IntN(len(guests))], rand.IntN(5), rand.IntN(1<<len(keys)), rand.IntN(1<<30)
			if again {
				which |= 1
			}
			at := 0
			if again {
				at = rand.IntN(len(joined[0]))
			}
			for l, p := range lines {
				o := p.Operator(guest)
				if again {
					o = joined[l][at]
				} else {
					joined[l] = append(joined[l], o)
				}
				has := func(key string) bool { return which>>(key[1]-'0')&1 == 1 }
				answer := func(_ context.Context, payload any) (any, error) {
					if key, ok := payload.(string); ok && kind > 1 && !has(key) {
						return nil, ErrHighAndDry
					}
					return fmt.Sprint(o.Guest(), handler), nil
				}
				switch {
				case kind == 0:
					connectRemote(t, o, "s", answer)
				case kind == 1 || l == 1:
					check.Must(t, o.ConnectForAll("s", answer))
				default:
					check.Must(t, o.ConnectKeyed("s", has, answer))
				}
			}
		}
		for _, asker := range []string{"", "a", "e"} {
			for _, payload := range []any{keys[rand.IntN(len(keys))], keys[rand.IntN(len(keys))], nil} {
				var said []string
				for _, p := range lines {
					answers, err := p.Operator(asker).AskAround(t.Context(), "s", payload)
					first, firstErr := First[string](t.Context(), p.Operator(asker), "s", payload)
					local, _ := p.Operator(asker).Local().AskAround(t.Context(), "s", payload)
					only, _ := p.Operator(asker).Only("b").AskAround(t.Context(), "s", payload)
					said = append(said, fmt.Sprint(answers, err, first, firstErr, local, only))
					check.Equal(t, p.IsConnected("b", "s"), slices.Contains(p.Services()["s"], "b"), "whether b is connected")
					for _, answer := range only {
						check.ErrorIf(t, answer.(string)[0] != 'b', "only b is asked, and answers %v", only)
					}
				}
				check.FatalIf(t, said[0] != said[1], "step %d: %q asks for %v: with keys %s, without %s", step, asker, payload, said[0], said[1])
			}
		}
	}
}

// However many keys guests have, connecting them looks at none, and a key that was asked by is known.
func TestAKeyIsLookedForOnce(t *testing.T) {
	p := keyedLine()
	var looked atomic.Int64
	const guests = 256
	p.SetOrder([]string{"last"})
	for g := range guests {
		has := func(key string) bool { looked.Add(1); return strings.HasPrefix(key, fmt.Sprint(g, "/")) }
		check.Must(t, p.Operator(fmt.Sprint(g)).ConnectKeyed("s", has, answerWith(g)))
	}
	check.Equal(t, looked.Load(), int64(0), "keys that were looked for")
	asker := p.Operator("")
	for range 3 {
		wantFor(t, asker, "200/4000", "200")
		wantFor(t, asker, "0/0", "0")
	}
	check.Equal(t, looked.Load(), int64(2*guests), "keys that were looked for")
	connectKeyed(t, p.Operator("last"), "0/0")
	wantFor(t, asker, "0/0", "last 0")
	check.Equal(t, looked.Load(), int64(3*guests), "keys that were looked for")
}

// TestKeptKeysAreBounded asks guests that have every key there is by many.
func TestKeptKeysAreBounded(t *testing.T) {
	p := keyedLine()
	everything := func(string) bool { return true }
	check.Must(t, p.Operator("one").ConnectKeyed("s", everything, answerWith("one")))
	connectKeyed(t, p.Operator("two"), "")
	check.Must(t, p.Operator("three").ConnectKeyed("s", everything, answerWith("three")))
	asker := p.Operator("")
	kept := func() (n int) {
		p.service("s").order.Load().index.found.Load().Range(func(any, any) bool { n++; return true })
		return n
	}
	for i := range maxKept/3 + 100 { // each key takes three: itself, and two connections
		if _, err := First[string](t.Context(), asker, "s", fmt.Sprint("key", i)); err != nil {
			t.Fatal(err)
		}
	}
	check.ErrorIf(t, kept() > 101, "%d keys are kept", kept())
	before := kept()
	wantFor(t, asker, strings.Repeat("k", maxKeptKey+1), "one three")
	wantFor(t, asker, strings.Repeat("k", maxKeptKey), "one three")
	check.Equal(t, kept(), before+1, "keys that are kept")
}

// TestAKeyIsAnsweredWhileItsGuestHandsOver asks while guests are replaced, and others come and go.
func TestAKeyIsAnsweredWhileItsGuestHandsOver(t *testing.T) {
	p := keyedLine()
	p.SetOrder([]string{"one", "two"})
	connectKeyed(t, p.Operator("two"), "home")
	old := p.Operator("one")
	connectKeyed(t, old, "home")
	done := make(chan struct{})
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					wantFor(t, p.Operator(""), "home", "one two")
				}
			}
		})
	}
	for i := range 2000 {
		next := p.Operator("one")
		connectKeyed(t, next, names(fmt.Sprint("home ", i)))
		old.Leave()
		old = next
		other := p.Operator("other")
		connectKeyed(t, other, "other")
		other.Leave()
	}
	close(done)
	askers.Wait()
}

// A guest that has one handler for the key asks on, by another key that many have.
func TestANestedAskByAKeyMayCallAll(t *testing.T) {
	p := keyedLine()
	for g := range 8 {
		o := p.Operator(fmt.Sprint("g", g))
		own := names(fmt.Sprint("k", g))
		check.Must(t, o.ConnectKeyed("s", own.has, func(ctx context.Context, payload any) (any, error) {
			if g == 3 {
				return "found", nil
			}
			return First[string](ctx, o, "s", fmt.Sprint("k", g+1))
		}))
	}
	wantFor(t, p.Operator(""), "k0", "found")
}

// preferring prefers what certain guests answer.
type preferred string

func (p preferred) MayPrefer(guest string) bool      { return guest == string(p) }
func (p preferred) Prefers(guest string, _ any) bool { return guest == string(p) }
func (p preferred) of(string) func(context.Context, any) Preference {
	return func(context.Context, any) Preference { return p }
}

// Nobody waits for the preferred answer of a guest that does not have the key.
func TestAGuestWithoutTheKeyIsNotPreferred(t *testing.T) {
	p := NewPartyline("main", Options{Key: byText, Preference: preferred("three").of})
	connectKeyed(t, p.Operator("one"), "home post")
	called := false
	check.Must(t, p.Operator("two").ConnectKeyed("s", names("home post").has, func(context.Context, any) (any, error) { called = true; return "two", nil }))
	connectKeyed(t, p.Operator("three"), "post")
	for payload, want := range map[string]string{"home": "one", "post": "three"} {
		called = false
		got, err := First[string](t.Context(), p.Operator(""), "s", payload)
		check.ErrorIf(t, got != want || err != nil || called != (payload == "post"), "%s: %q, %v; the second was called: %v", payload, got, err, called)
	}
}

func TestAskingByAKeyAllocatesNoMore(t *testing.T) {
	p, without := keyedLine(), keyedLine()
	for _, guest := range []string{"one", "two", "three"} {
		keys := names("home")
		if guest == "two" {
			keys = "post"
		}
		connectKeyed(t, p.Operator(guest), keys)
		connect(t, without.Operator(guest), "s", answerWith(guest))
	}
	for _, p := range []*Partyline{p, without} {
		asker := p.Operator("")
		allocsAtMost(t, "AskAround", 1, func() { _, _ = asker.AskAround(context.Background(), "s", "home") })
		allocsAtMost(t, "First", 1, func() { _, _ = First[string](context.Background(), asker, "s", "home") })
	}
}
