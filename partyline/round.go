// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// One ask's going round of the handlers.

package partyline

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"
	"unique"
)

// ask is one asking around, and the context that handlers are called with.
type ask struct {
	context.Context
	up      *ask                  // whose handler asks; nil in the outermost ask
	guest   unique.Handle[string] // who asks
	service *service
	call    atomic.Pointer[Call] // of the outermost ask: nil until somebody wants to know
}

// askKey is the context key of the innermost ask.
type askKey struct{}

// Value makes handlers' contexts know which ask they are called by.
func (a *ask) Value(key any) any {
	if key == (askKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// askOf returns the ask whose handler was called with ctx, if any.
func askOf(ctx context.Context) *ask {
	a, _ := ctx.Value(askKey{}).(*ask)
	return a
}

// round is how far an ask has come. Where the answers go is no part of it, or that would be
// allocated.
type round struct {
	*ask
	order       *order
	connections []connection // those of the order that may answer; none in a loop
	payload     any
	shard       uint32 // where the ask is counted

	self     unique.Handle[string]   // the ask's guest, one load nearer
	above    []unique.Handle[string] // the guests further up that ask for this service, too
	only     unique.Handle[string]   // the one guest to ask; noGuest for all
	alone    bool                    // that one, even if others are called whomever an ask is addressed to
	local    bool                    // no remote handlers
	here     bool                    // no guests of other nodes
	picky    bool                    // above, only, local or here says whom to skip
	spending *spending               // nil up to the second level

	next   int               // the connection to call next
	ended  error             // why not everybody was asked: the context's error, or ErrLoop
	remote *remoteCalls      // nil until the first remote handler is reached
	agreed [declined + 1]int // how many, from the first on, all answered, or all declined; counted at the end
}

// around calls the handlers that the operator asks, in order. It appends their answers to answers,
// if that is not nil, and yields all other replies. The error is that of the ask as a whole.
func (a *ask) around(o *Operator, order *order, payload any, answers *[]any, yield yieldFunc) error {
	r := a.round(o, order, payload)
	if a.service.prefers != nil && !r.alone {
		if preference := a.service.prefers(a.Context, payload); preference != nil {
			return r.preferring(preference, answers, yield)
		}
	}
	return r.observed(a.begin(), answers, yield)
}

// round returns that of an ask which the operator begins.
func (a *ask) round(o *Operator, order *order, payload any) round {
	a.up = askOf(a.Context)
	r := round{ask: a, order: order, connections: order.connections, payload: payload, shard: rand.Uint32(), self: a.guest, only: o.only, alone: o.only != noGuest, local: o.local, here: o.here}
	if r.alone {
		r.connections = a.service.ofOne(order, r.only.Value(), payload)
	} else if order.index != nil {
		r.connections = a.service.whoMayAnswer(order, payload)
	}
	if !r.alone {
		r.only = a.service.only(payload)
	}
	if a.up != nil && !r.nest() {
		r.connections, r.ended = nil, ErrLoop
	}
	r.picky = r.only != noGuest || r.local || r.here || len(r.above) > 0
	return r
}

// begin tells the observer, if there is one, that the ask begins, and returns what tells it of the end.
func (a *ask) begin() (asked func(answered, declined, failed int, err error)) {
	if observer := a.service.partyline.observing(); observer != nil {
		return observer.BeginAsk(guestName(a.guest), a.service.name)
	}
	return nil
}

// observed is all, telling the observer what came of it, if there is one.
func (r *round) observed(asked func(answered, declined, failed int, err error), answers *[]any, yield yieldFunc) error {
	if asked != nil {
		return r.observe(asked, answers, yield)
	}
	return r.all(answers, yield)
}

func (r *round) observe(asked func(answered, declined, failed int, err error), answers *[]any, yield yieldFunc) (err error) {
	var answered, declined, failed int
	defer func() {
		if r.ended == errExited {
			failed++
		}
		asked(answered, declined, failed, err)
	}()
	return r.all(nil, func(guest string, answer any, err error, took time.Duration) (more bool) {
		switch err {
		case nil:
			answered++
			if answers != nil {
				r.collect(answer, answers)
				return true
			}
		case ErrHighAndDry:
			declined++
		default:
			failed++
		}
		return yield(guest, answer, err, took)
	})
}

// all calls everybody.
func (r *round) all(answers *[]any, yield yieldFunc) error {
	defer r.end()
	for {
		panicked := r.run(answers, yield)
		if panicked == nil {
			return r.ended
		}
		c := &r.connections[r.next]
		if !yield(c.guest.Value(), nil, r.fail(c, panicked), 0) {
			return nil
		}
		r.next++
	}
}

// run calls handlers until all are called, or nobody wants to know more, or a handler panics,
// which is the error that run returns. One recover for many handlers is what makes asking cheap.
func (r *round) run(answers *[]any, yield yieldFunc) (panicked error) {
	calling := false
	defer func() {
		if !calling { // a panic is yield's, the asker's own
			return
		}
		if value := recover(); value != nil {
			panicked = &panicError{value, debug.Stack()}
			return
		}
		r.fail(&r.connections[r.next], errExited)
		r.ended = errExited
	}()
	connections := r.connections
	for i := r.next; i < len(connections); i++ {
		c := &connections[i]
		if r.skips(c) {
			continue
		}
		r.next = i
		if c.remote {
			if !r.await(answers, yield) {
				r.ended = nil
				return nil
			}
			continue
		}
		if ended := r.Err(); ended != nil {
			r.ended = ended // but replies of remote handlers that have come count
			continue
		}
		if r.spending != nil && !r.spending.spend() {
			r.ended = ErrLoop
			continue
		}
		calling = true
		answer, err := c.handler(r.ask, r.payload)
		switch err {
		case nil:
			r.count(c, answered)
			if answers != nil {
				calling = false
				r.collect(answer, answers)
				continue
			}
		case ErrHighAndDry: // mostly it is not wrapped
			answer = nil
			r.count(c, declined)
		default:
			answer, err = nil, r.fail(c, err)
		}
		calling = false
		if !yield(c.guest.Value(), answer, err, 0) {
			r.ended = nil
			return nil
		}
	}
	return nil
}

// end is called when nobody is asked any more.
func (r *round) end() {
	r.countAgreed()
	if r.remote != nil {
		r.remote.cancel()
	}
	if call := r.call.Load(); call != nil && r.up == nil && r.Context.Value(callKey{}) == nil {
		call.End()
	}
}

// count counts what came of the call of a local handler: at the end, if all before it did the same.
func (r *round) count(c *connection, came figure) {
	if r.next == r.agreed[came] {
		r.agreed[came]++
		return
	}
	c.counter.add(r.shard, came)
}

// countAgreed counts the ask and the handlers that agreed, all together if nobody did otherwise.
func (r *round) countAgreed() {
	service := r.service.counter
	asks := service.asksOf(r.guest)
	for came, agreed := range r.agreed {
		if agreed == len(r.order.connections) && service.addAll(asks, r.shard, r.order.number, figure(came)) {
			return
		}
		for i := range agreed {
			r.connections[i].counter.add(r.shard, figure(came))
		}
	}
	asks.add(r.shard, asked)
}

// skips reports whether the connection is not called.
func (r *round) skips(c *connection) bool {
	return c.guest == r.self || r.picky && r.skipsOther(c)
}

func (r *round) skipsOther(c *connection) bool {
	return r.local && c.remote || r.here && c.away || slices.Contains(r.above, c.guest) || r.only != noGuest && r.only != c.guest && (r.alone || !c.forAll)
}

// collect appends an answer. If there is no room, it makes room for those of all.
func (r *round) collect(answer any, answers *[]any) {
	if len(*answers) == cap(*answers) {
		*answers = append(make([]any, 0, len(r.connections)), *answers...)
	}
	*answers = append(*answers, answer)
}

// fail counts that a local handler returned an error, and returns what that is to the asker:
// ErrHighAndDry itself if it declines, else a *HandlerError.
func (r *round) fail(c *connection, err error) error {
	if errors.Is(err, ErrHighAndDry) {
		r.count(c, declined)
		return ErrHighAndDry
	}
	failure := r.failure(c, err)
	c.counter.add(r.shard, failed)
	c.counter.lastFailure.Store(failure)
	return failure
}

// failure returns what an error that does not decline is to the asker.
func (a *ask) failure(c *connection, err error) *HandlerError {
	if isLoop(err) {
		err = ErrLoop
	}
	return &HandlerError{Guest: c.guest.Value(), Service: a.service.name, Err: err}
}

// isLoop reports whether the error says nothing but that guests failed with ErrLoop. It would
// become as long as the loop.
func isLoop(err error) bool {
	switch err := err.(type) {
	case *HandlerError:
		return err.Err == ErrLoop
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(err.Unwrap(), func(err error) bool { return !isLoop(err) })
	}
	return err == ErrLoop
}
