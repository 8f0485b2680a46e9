// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

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
		t.Errorf("a caller that is no guest reserves a place: %v", err)
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
