// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestInvitedGuestsAreAskedInTheirOrderWheneverTheyConnect(t *testing.T) {
	guests := []string{"a", "b", "c", "d"}
	for range 50 {
		p := NewPartyline("main", Options{})
		p.SetOrder(append(guests, "a")) // a has its first place
		late := append([]string{"joined", "joined too"}, guests...)
		rand.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
		operators := make(map[string]*Operator)
		for _, guest := range late {
			operators[guest] = p.Operator(guest)
			for n := range 2 {
				connect(t, operators[guest], "s", answerWith(fmt.Sprint(guest, n)))
			}
		}
		joined := slices.DeleteFunc(slices.Clone(late), func(guest string) bool { return slices.Contains(guests, guest) })
		var want []any
		for _, guest := range append(slices.Clone(guests), joined...) {
			want = append(want, guest+"0", guest+"1")
		}
		asker := p.Operator("asker")
		wantAnswers(t, asker, "s", want...)
		if got, want := p.Services()["s"], append(slices.Clone(guests), joined...); !slices.Equal(got, want) {
			t.Errorf("services: %q, want %q", got, want)
		}

		// A replica takes its guest's place, and so does a guest that comes back.
		replica := p.Operator("c")
		for n := range 2 {
			connect(t, replica, "s", answerWith(fmt.Sprint("c", n)))
		}
		operators["c"].Leave()
		wantAnswers(t, asker, "s", want...)
		operators["b"].Leave()
		back := p.Operator("b")
		for n := range 2 {
			connect(t, back, "s", answerWith(fmt.Sprint("b", n)))
		}
		wantAnswers(t, asker, "s", want...)
	}
}

func TestAnOrderThatIsSaidLaterCountsFromThenOn(t *testing.T) {
	p := NewPartyline("main", Options{})
	for _, guest := range []string{"joined", "b", "a"} {
		connect(t, p.Operator(guest), "s", answerWith(guest))
	}
	asker := p.Operator("asker")
	wantAnswers(t, asker, "s", "joined", "b", "a")
	p.SetOrder([]string{"b"})
	wantAnswers(t, asker, "s", "b", "joined", "a")
	p.SetOrder([]string{"a", "b"}) // another party of this name came, which is before
	wantAnswers(t, asker, "s", "a", "b", "joined")
}

// handOver tells what it is told, and has somebody join while it is about to tell that a
// guest has left.
type handOver struct {
	told []string
	join func()
}

func (*handOver) Observing() bool { return false }
func (*handOver) BeginAsk(string, string) func(answered, declined, failed int, err error) {
	return nil
}
func (o *handOver) GuestJoined(guest string) { o.told = append(o.told, "joined "+guest) }

func (o *handOver) GuestLeft(guest string, _ []string) {
	joined := make(chan struct{})
	go func() {
		o.join()
		close(joined)
	}()
	select {
	case <-joined:
	case <-time.After(50 * time.Millisecond): // it has to wait
	}
	o.told = append(o.told, "left "+guest)
}

// One operator of a guest leaves while the next one joins: a guest that is on the line is
// not told to have left last.
func TestAHandOverIsToldAsItHappened(t *testing.T) {
	o := new(handOver)
	p := NewPartyline("main", Options{Observer: o})
	joined := make(chan struct{})
	o.join = func() {
		p.Operator("one").Join()
		close(joined)
	}
	first := p.Operator("one")
	first.Join()
	first.Leave()
	<-joined
	want := []string{"joined one", "left one", "joined one"}
	check.ErrorIf(t, !slices.Equal(o.told, want), "told %q, want %q", o.told, want)
}

// reserve reserves a place or fails the test.
func reserve(t testing.TB, o *Operator, service string) {
	t.Helper()
	check.Must(t, o.Reserve(service))
}

func TestWhoReservedAPlaceIsAskedInIt(t *testing.T) {
	p := NewPartyline("main", Options{})
	asker := p.Operator("asker")
	one, two, three := p.Operator("one"), p.Operator("two"), p.Operator("three")
	connect(t, p.Operator("before"), "s", answerWith("before"))
	reserve(t, one, "s")
	reserve(t, two, "s")
	connect(t, three, "s", answerWith("3"))
	reserve(t, three, "s") // too late for what is connected
	wantAnswers(t, asker, "s", "before", "3")
	connect(t, two, "s", answerWith("2"))
	wantAnswers(t, asker, "s", "before", "2", "3")
	connect(t, one, "s", answerWith("1"))
	connect(t, two, "s", answerWith("2nd of 2"))
	connect(t, one, "s", answerWith("2nd of 1"))
	connect(t, p.Operator("behind"), "s", answerWith("behind"))
	connect(t, three, "s", answerWith("2nd of 3"))
	wantAnswers(t, asker, "s", "before", "1", "2nd of 1", "2", "2nd of 2", "3", "2nd of 3", "behind")
	check.Slices(t, p.Services()["s"], []string{"before", "one", "two", "three", "behind"}, "Services names")
}

func TestAReservedPlaceIsOfOneServiceAndKeptOnce(t *testing.T) {
	p := NewPartyline("main", Options{})
	asker := p.Operator("asker")
	one, two := p.Operator("one"), p.Operator("two")
	reserve(t, one, "s")
	reserve(t, two, "s")
	reserve(t, one, "s") // it has one already
	for _, service := range []string{"other", "s"} {
		connect(t, two, service, answerWith("2"))
		connect(t, one, service, answerWith("1"))
	}
	wantAnswers(t, asker, "other", "2", "1")
	wantAnswers(t, asker, "s", "1", "2")

	elsewhere := NewPartyline("elsewhere", Options{})
	connect(t, elsewhere.Operator("two"), "s", answerWith("2"))
	connect(t, elsewhere.Operator("one"), "s", answerWith("1"))
	wantAnswers(t, elsewhere.Operator(""), "s", "2", "1")
}

func TestWhoReservedAPlaceIsNotThereForIt(t *testing.T) {
	p := NewPartyline("main", Options{})
	reserve(t, p.Operator("one"), "s")
	var missing *NoSuchServiceError
	if _, err := p.Operator("").AskAround(t.Context(), "s", nil); !errors.As(err, &missing) {
		t.Errorf("nobody is connected, and asking gives %v", err)
	}
	services, guests := p.Services(), p.Guests()
	check.ErrorIf(t, len(services) > 0 || len(guests) > 0, "%v and %v are there", services, guests)
}

func TestAReservedPlaceIsKeptForWhoComesBack(t *testing.T) {
	p := NewPartyline("main", Options{})
	asker := p.Operator("asker")
	first := p.Operator("one")
	reserve(t, first, "s")
	connect(t, p.Operator("two"), "s", answerWith("2"))
	for _, answer := range []string{"a", "b", "c"} {
		o := p.Operator("one")
		connect(t, o, "s", answerWith(answer))
		connect(t, o, "s", answerWith(answer+answer))
		wantAnswers(t, asker, "s", answer, answer+answer, "2")
		o.Leave()
		wantAnswers(t, asker, "s", "2")
		first.Leave()
	}
	if err := first.Reserve("s"); err != nil { // who has left may have a place for the next
		t.Error(err)
	}
	reserve(t, first, "late")
	connect(t, p.Operator("two"), "late", answerWith("2"))
	connect(t, p.Operator("one"), "late", answerWith("1"))
	wantAnswers(t, asker, "late", "1", "2")
}

func TestReplicasHaveTheReservedPlaceInTurn(t *testing.T) {
	p := NewPartyline("main", Options{})
	asker := p.Operator("asker")
	reserve(t, p.Operator("one"), "s")
	connect(t, p.Operator("two"), "s", answerWith("2"))
	old, renewed := p.Operator("one"), p.Operator("one")
	connect(t, old, "s", answerWith("old"))
	connect(t, renewed, "s", answerWith("new"))
	connect(t, renewed, "s", answerWith("more"))
	wantAnswers(t, asker, "s", "old", "2")
	old.Leave()
	wantAnswers(t, asker, "s", "new", "more", "2")
	connect(t, p.Operator("three"), "s", answerWith("3"))
	connect(t, renewed, "s", answerWith("most"))
	wantAnswers(t, asker, "s", "new", "more", "most", "2", "3")
	last := p.Operator("one")
	connect(t, last, "s", answerWith("last"))
	renewed.Leave()
	wantAnswers(t, asker, "s", "last", "2", "3")
	last.Leave()
	wantAnswers(t, asker, "s", "2", "3")
}

func TestAPlaceNeedsAGuest(t *testing.T) {
	p := NewPartyline("main", Options{})
	if err := p.Operator("").Reserve("s"); !errors.Is(err, ErrPartyline) {
		t.Errorf("a caller that is not a guest reserves a place: %v", err)
	}
	if err := (*Operator)(nil).Reserve("s"); !errors.Is(err, ErrPartyline) {
		t.Errorf("without an operator: %v", err)
	}
}

// TestReservedPlacesHoldWhileGuestsComeAndGo has many connect, leave and ask at once:
// whoever is there is asked in the order of the places.
func TestReservedPlacesHoldWhileGuestsComeAndGo(t *testing.T) {
	verifyNoLeak(t)
	p := NewPartyline("main", Options{})
	const guests = 8
	for i := range guests {
		reserve(t, p.Operator(fmt.Sprint(i)), "s")
	}
	always := p.Operator("always")
	connect(t, always, "s", answerWith(guests))
	var group sync.WaitGroup
	for i := range guests {
		group.Go(func() {
			for n := range 200 {
				o := p.Operator(fmt.Sprint(i))
				if n%2 == 0 {
					_ = o.Reserve("s")
				}
				check.Nil(t, o.Connect("s", answerWith(i)))
				o.Leave()
			}
		})
	}
	for range 4 {
		group.Go(func() {
			for range 500 {
				got, err := All[int](t.Context(), p.Operator("asker"), "s", nil)
				if err != nil || !slices.IsSorted(got) || len(got) == 0 || got[len(got)-1] != guests || len(slices.Compact(slices.Clone(got))) != len(got) {
					t.Errorf("got %v, %v", got, err)
					return
				}
			}
		})
	}
	group.Wait()
	for i := guests - 1; i >= 0; i-- {
		connect(t, p.Operator(fmt.Sprint(i)), "s", answerWith(i))
	}
	wantAnswers(t, p.Operator("asker"), "s", 0, 1, 2, 3, 4, 5, 6, 7, guests)
}
