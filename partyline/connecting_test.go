// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"errors"
	"fmt"
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

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/measure"
)

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
				check.Must(t, connecting(p, one, i))
			}
			took = time.Since(began)
			runtime.ReadMemStats(&after)
			return took, after.TotalAlloc - before.TotalAlloc
		}
		few, bytesFew := measure(n)
		many, bytesMany := measure(n * factor)
		for range 30 {
			if many <= 8*factor*few {
				break
			}
			few, _ = measure(n) // by turns: the machine may be busy now, and not before
			many, _ = measure(n * factor)
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
	bytes := after.TotalAlloc - before.TotalAlloc
	check.ErrorIf(t, bytes > 5_000_000, "%d bytes", bytes)
	most := 50.
	if measure.UnderRaceDetector() {
		most *= 6
	}
	measure.TakesAtMost(t, most, handlers, timed(connecting))
	runtime.KeepAlive(kept)
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
			check.ErrorIf(t, !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.message), "connecting to %q: got %v", c.service, err)
		}
	}
	got := p.Services()
	check.ErrorIf(t, len(got) > 0, "connected all the same: %v", got)
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
		got, want := p.Services(), (map[string][]string{"s": {"b"}})
		check.ErrorIf(t, !reflect.DeepEqual(got, want), "got %v, want %v", got, want)
	}
	connect(t, replica, "s", answerWith("replica")) // it has not left
	a.Leave()
	wantAnswers(t, asker, "s", "b", "replica")
	check.Equal(t, a.Connect("s", pong), ErrLeft, "connecting after leaving: got")
	wantAnswers(t, a, "s", "b") // it can still ask
	p.Operator("").Leave()      // nobody's operator has nothing to disconnect
}

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
			connectAs(t, i == 3, o, "s", answerWith(guest))
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
	check.ErrorIf(t, asks.Load() == 0, "nobody asked")
}

func TestOperatorsKnowWhoseTheyAre(t *testing.T) {
	p := NewPartyline("main", Options{})
	check.Equal(t, p.Name(), "main", "the partyline's name")
	for _, guest := range []string{"", "blog"} {
		o := p.Operator(guest)
		if o.Guest() != guest || o.String() != guest || fmt.Sprint(o) != guest || o.Partyline() != p {
			t.Errorf("operator of %q: %q %q %v %p", guest, o.Guest(), o.String(), o, o.Partyline())
		}
		check.ErrorIf(t, p.Operator(guest) == o, "two operators are one")
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
		check.Deep(t, got, want, "got")
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

func TestGuestsTellsWhoIsOnTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPartyline("main", Options{})
		if got := p.Guests(); got == nil || len(got) > 0 {
			t.Errorf("nobody: got %#v", got)
		}
		expect := func(want ...GuestInfo) {
			t.Helper()
			check.Deep(t, p.Guests(), want)
		}
		began := time.Now()
		later, last := began.Add(time.Second), began.Add(2*time.Second)
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
		wantB, wantOnly := GuestInfo{"b", []string{"a", "m", "z"}, 1, began, ""}, GuestInfo{"only joined", nil, 1, later, ""}
		expect(GuestInfo{"a", []string{"z"}, 1, later, ""}, wantB, wantOnly)
		time.Sleep(time.Second)
		replica.Join()
		connect(t, replica, "z", pong)
		connect(t, replica, "only the replica's", pong)
		expect(GuestInfo{"a", []string{"only the replica's", "z"}, 2, later, ""}, wantB, wantOnly)
		never := p.Operator("never came")
		never.Leave()
		never.Join() // too late
		a.Leave()
		a.Leave()
		expect(GuestInfo{"a", []string{"only the replica's", "z"}, 1, later, ""}, wantB, wantOnly) // the guest has been there all the time
		replica.Leave()
		only.Leave()
		expect(wantB)
		p.Operator("only joined").Join()
		wantOnly.Joined = last // anew
		expect(wantB, wantOnly)
		p.Guests()[0].Services[0] = "changed"
		expect(wantB, wantOnly)
	})
}
