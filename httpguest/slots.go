// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

const (
	defaultMaxAsks = 64
	maxMaxAsks     = 4096
	maxWaiting     = 1024 // asks of one guest
)

// slots bound how many asks of a guest are under way. Those that find none free wait in
// line: askers take turns, so that one with many asks does not keep the others waiting,
// and of one asker who came first is first.
type slots struct {
	max      int // at once
	ofOne    int // of them by one asker
	timeout  time.Duration
	overload *overload

	mu      sync.Mutex
	taken   int
	nested  int // asks under way that need no slot of their own
	waiting int
	askers  map[string]*asker // all that there have been, since guests are few
	turns   []*asker          // those that wait, the next one first
}

// asker is a guest that asks, or all callers together that are none.
type asker struct {
	name    string
	taken   int
	quiet   time.Time // since when none of its asks has ended in time
	waiting []*waiter // in the order they came
}

// slot is what an ask has that is under way. It is given back when the handlers have returned, and what came of the
// ask counts in the breaker: who has it next is to know that. An ask that needs none has one without an asker.
type slot struct {
	slots *slots
	asker *asker
	ctx   context.Context // of the ask
	users atomic.Int32
}

// take notes that the ask has the slot.
func (o *slot) take(s *slots, a *asker, ctx context.Context) {
	o.slots, o.asker, o.ctx = s, a, ctx
	o.users.Store(2)
}

// done says that one of both needs the slot no more. Before the ask has it, done does nothing.
func (o *slot) done() {
	if o.users.Add(-1) == 0 {
		o.slots.release(o)
	}
}

// waiter is an ask that waits.
type waiter struct {
	asker   *asker
	called  chan struct{} // closed when it has a slot, or has had to make room
	hasSlot bool
	gave    bool // it has had to make room
}

func newSlots(maxAsks int, timeout time.Duration, o *overload) *slots {
	return &slots{max: maxAsks, ofOne: (3*maxAsks + 3) / 4, timeout: timeout, overload: o, askers: make(map[string]*asker)}
}

// acquire takes a slot for an ask that ends with ctx at the latest. An ask that came of one that holds a slot needs
// none: it might wait for that. The error is ErrRefused, or the context's if the asker has gone.
func (s *slots) acquire(ctx context.Context, o *slot, guest string, holds bool) (waited time.Duration, err error) {
	if isGone(ctx) {
		return 0, ctx.Err()
	}
	w, err := s.enter(ctx, o, guest, holds)
	if w != nil {
		began := time.Now()
		select {
		case <-w.called:
		case <-ctx.Done():
		}
		waited = max(time.Since(began), 1)
		err = s.end(ctx, o, w, waited)
	}
	switch {
	case err == nil:
	case isGone(ctx):
		err = ctx.Err()
	default:
		s.overload.refuse(err)
	}
	return waited, err
}

// isGone reports whether who asks has gone, and did not just wait as long as an ask may take. Of a batch, only
// the cause says which.
func isGone(ctx context.Context) bool {
	return ctx.Err() == context.Canceled && !party.TimedOut(context.Cause(ctx))
}

// enter takes a slot if it can be had, or else a place in the line.
func (s *slots) enter(ctx context.Context, o *slot, guest string, holds bool) (*waiter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.askers[guest]
	if !ok {
		a = &asker{name: guest}
		s.askers[guest] = a
	}
	switch {
	case holds && s.nested < s.max:
		s.nested++
		o.take(s, nil, ctx)
		return nil, nil
	case holds:
		return nil, s.refusal(a, fmt.Sprintf("it comes from asks that the application is answering, as %d others already do", s.nested))
	case s.taken < s.max && a.taken < s.ofOne: // then nobody waits who could have it
		if a.taken == 0 {
			a.quiet = time.Now()
		}
		a.taken++
		s.taken++
		o.take(s, a, ctx)
		return nil, nil
	case s.waiting == maxWaiting && !s.makeRoom(a):
		return nil, s.refusal(a, "too many wait")
	}
	w := &waiter{asker: a, called: make(chan struct{})}
	if len(a.waiting) == 0 {
		s.turns = append(s.turns, a)
	}
	a.waiting = append(a.waiting, w)
	s.waiting++
	return w, nil
}

// end ends an ask's waiting, with a slot if its turn has come. If nothing that the asker
// asks was answered for as long as an ask may take, nothing is left to wait for. (Guests
// that ask each other, and do not say what led to it, would for ever: whenever an ask
// times out, one that came of it would have its turn.)
func (s *slots) end(ctx context.Context, o *slot, w *waiter, waited time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, quiet, waited := w.asker, time.Since(w.asker.quiet), waited.Round(time.Millisecond)
	switch {
	case w.gave:
		return s.refusal(a, "too many wait")
	case !w.hasSlot:
		s.leave(w)
		return s.refusal(a, fmt.Sprintf("its turn had not come after %v", waited))
	case ctx.Err() == nil && quiet < s.timeout*7/8:
		o.take(s, a, ctx)
		return nil
	}
	why := fmt.Sprintf("its turn came only after %v", waited)
	if ctx.Err() == nil {
		why = fmt.Sprintf("it has not answered this asker for %v", quiet.Round(time.Millisecond))
	}
	s.giveBack(a, false)
	return s.refusal(a, why)
}

func (s *slots) release(o *slot) {
	inTime := o.ctx.Err() == nil || isGone(o.ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.asker == nil {
		s.nested--
	} else {
		s.giveBack(o.asker, inTime)
	}
}

// giveBack gives a slot back, and to whose turn it is.
func (s *slots) giveBack(a *asker, inTime bool) {
	a.taken--
	s.taken--
	if inTime {
		a.quiet = time.Now()
	}
	for s.taken < s.max {
		i := slices.IndexFunc(s.turns, func(a *asker) bool { return a.taken < s.ofOne })
		if i < 0 {
			return
		}
		next := s.turns[i]
		w := next.waiting[0]
		if s.leave(w); len(next.waiting) > 0 { // its next turn comes after those of the others
			s.turns = append(slices.Delete(s.turns, i, i+1), next)
		}
		if next.taken == 0 && next != a {
			next.quiet = time.Now()
		}
		next.taken++
		s.taken++
		w.hasSlot = true
		close(w.called)
	}
}

// leave takes an ask out of the line.
func (s *slots) leave(w *waiter) {
	a := w.asker
	a.waiting = without(a.waiting, w)
	if s.waiting--; len(a.waiting) == 0 {
		s.turns = without(s.turns, a)
	}
}

func without[T comparable](list []T, one T) []T {
	i := slices.Index(list, one)
	return slices.Delete(list, i, i+1)
}

// makeRoom turns away the last ask of the asker that has most of them waiting, for one of
// an asker that has fewer.
func (s *slots) makeRoom(a *asker) bool {
	most := a
	for _, other := range s.turns {
		if len(other.waiting) > len(most.waiting) {
			most = other
		}
	}
	if len(most.waiting) <= len(a.waiting)+1 {
		return false
	}
	w := most.waiting[len(most.waiting)-1]
	s.leave(w)
	w.gave = true
	close(w.called)
	return true
}

func (s *slots) refusal(a *asker, why string) error {
	by, all := "callers that are not guests", ""
	if a.name != "" {
		by = fmt.Sprintf("guest %q", a.name)
	}
	if a.taken == s.ofOne {
		all = ", all that one asker may have"
	}
	return fmt.Errorf("%w: %s (asks under way: %d, of %s: %d%s; waiting: %d): %s", partyline.ErrRefused, why, s.taken+s.nested, by, a.taken, all, s.waiting, moreAsks(s.max))
}

// late returns the error for an ask whose turn came, but with too little time left.
func (s *slots) late(waited time.Duration) error {
	err := fmt.Errorf("%w: its turn came after %v, and the rest of %v was not enough: %s", partyline.ErrRefused, waited.Round(time.Millisecond), s.timeout, moreAsks(s.max))
	s.overload.refuse(err)
	return err
}

// moreAsks says what to write for fewer asks to be refused.
func moreAsks(maxAsks int) string {
	more := ""
	if maxAsks < maxMaxAsks {
		more = fmt.Sprintf("if the application can answer more at once, write `max_asks %d` in its wsgi_party_guest; otherwise ", min(2*maxAsks, maxMaxAsks))
	}
	return more + "have it answer faster, or let asks wait longer with `timeout`"
}
