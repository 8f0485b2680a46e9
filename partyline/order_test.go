// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"fmt"
	"math/rand/v2"
	"slices"
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
