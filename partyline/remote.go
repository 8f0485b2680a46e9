// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Handlers that wait for something outside this process are called together.

package partyline

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"time"
)

// remoteCalls are the calls of the remote handlers of one ask, all begun when the first of them is
// reached.
type remoteCalls struct {
	first   int
	replies []chan Reply // of connections[first:]; nil where none is to come
	cancel  context.CancelFunc
}

// await waits for the reply of the next connection, a remote one, and says whether to go on. Once
// the context has ended, it takes only a reply that has come already.
func (r *round) await(answers *[]any, yield yieldFunc) (more bool) {
	var reply Reply
	switch {
	case r.remote != nil:
	case r.Err() != nil:
		r.ended = r.Err()
		return true
	case r.connections[r.next].prompt && !r.awaitsMore():
		if r.spending != nil && !r.spending.spend() {
			r.ended = ErrLoop
			return true
		}
		before := r.ended
		r.ended = errExited // if it ends this goroutine
		r.ask.callRemote(r.remoteContext(), &r.connections[r.next], r.payload, r.shard, &reply)
		r.ended = before
		if ended := r.Err(); ended != nil && reply.failed() {
			r.ended = ended
			return true
		}
		return r.take(&reply, answers, yield)
	default:
		r.callRemote()
	}
	replied := r.remote.replies[r.next-r.remote.first]
	if replied == nil {
		r.ended = ErrLoop
		return true
	}
	select {
	case reply = <-replied:
	case <-r.Done():
		select {
		case reply = <-replied:
		default:
			r.ended = r.Err()
			return true
		}
	}
	if reply.failed() && r.Err() == context.Canceled {
		r.ended = context.Canceled // which is why it failed, for all that is known
		return true
	}
	return r.take(&reply, answers, yield)
}

// take collects an answer, or yields another reply, and says whether to go on.
func (r *round) take(reply *Reply, answers *[]any, yield yieldFunc) (more bool) {
	if several, ok := reply.Answer.(Replies); ok {
		return r.takeEach(reply, several, answers, yield)
	}
	if reply.Err == nil && answers != nil {
		r.collect(reply.Answer, answers)
		return true
	}
	return yield(reply.Guest, reply.Answer, reply.Err, reply.Duration)
}

// awaitsMore reports whether there are remote handlers to call behind the next connection.
func (r *round) awaitsMore() bool {
	rest := r.connections[r.next+1:]
	for i := range rest {
		if rest[i].remote && !r.skips(&rest[i]) {
			return true
		}
	}
	return false
}

func (r *round) remoteContext() context.Context {
	if remoteContext := r.service.partyline.options.RemoteContext; remoteContext != nil {
		return remoteContext(r.ask)
	}
	return r.ask
}

// callRemote begins the calls of the next connection and all remote ones behind it.
func (r *round) callRemote() {
	ctx, cancel := context.WithCancel(r.remoteContext())
	r.remote = &remoteCalls{r.next, make([]chan Reply, len(r.connections)-r.next), cancel}
	for i := range r.remote.replies {
		c := &r.connections[r.next+i]
		if !c.remote || r.skips(c) || r.spending != nil && !r.spending.spend() {
			continue
		}
		replied := make(chan Reply, 1) // so that nobody need wait for it
		r.remote.replies[i] = replied
		if c.listing.begin != nil {
			r.ask.beginRemote(ctx, c, r.payload, r.shard, replied)
			continue
		}
		go func(a *ask, payload any, shard uint32) {
			var reply Reply
			defer func() { replied <- reply }() // also if the handler ends its goroutine
			a.callRemote(ctx, c, payload, shard, &reply)
		}(r.ask, r.payload, r.shard)
	}
}

// callRemote calls a remote handler, and sets the reply, which is there also if the handler ends its goroutine.
func (a *ask) callRemote(ctx context.Context, c *connection, payload any, shard uint32, reply *Reply) {
	c.counter.add(shard, called)
	a.settle(ctx, c, shard, time.Now(), reply, func() (any, error) { return c.handler(ctx, payload) })
}

// settle sets the reply to what a call of a remote handler returns, and counts it.
func (a *ask) settle(ctx context.Context, c *connection, shard uint32, began time.Time, reply *Reply, call func() (any, error)) {
	*reply = Reply{Guest: c.guest.Value(), Err: errExited}
	came := remoteFailed
	defer func() {
		if value := recover(); value != nil { // maybe of methods of an error
			reply.Err, came = a.failure(c, &panicError{value, debug.Stack()}), remoteFailed
		} else if reply.Err == errExited {
			reply.Err = a.failure(c, errExited)
		}
		reply.Duration = time.Since(began)
		if !reply.failed() || ctx.Err() != context.Canceled { // else the asker has gone: nobody's failure
			c.counter.addRemote(shard, came, reply)
		}
	}()
	switch answer, err := call(); {
	case err == nil:
		reply.Answer, reply.Err, came = answer, nil, remoteAnswered
		if several, ok := answer.(Replies); ok {
			came = a.cameOf(c, several)
		}
	case errors.Is(err, ErrHighAndDry):
		reply.Err, came = ErrHighAndDry, remoteDeclined
	default:
		if errors.Is(err, ErrRefused) {
			came = refused
		}
		reply.Err = a.failure(c, err)
	}
}

// RemoteHandlers returns how many remote handlers an ask for the service calls at once, those of
// the asker itself included. It is experimental.
func (p *Partyline) RemoteHandlers(service string, payload any) (n int) {
	s := p.service(service)
	if s == nil {
		return 0
	}
	only := s.only(payload)
	for _, c := range s.connections() {
		if c.remote && (only == noGuest || only == c.guest || c.forAll) {
			n++
		}
	}
	return n
}

// MayAnswer returns the guests whose handlers an ask for the service calls with that payload, those of the asker itself
// included, in order. It is experimental.
func (p *Partyline) MayAnswer(service string, payload any) (guests []string) {
	s := p.service(service)
	if s == nil {
		return nil
	}
	only, order := s.only(payload), s.order.Load()
	connections := order.connections
	if order.index != nil {
		connections = s.whoMayAnswer(order, payload)
	}
	for _, c := range connections {
		if guest := c.guest.Value(); (only == noGuest || only == c.guest || c.forAll) && !slices.Contains(guests, guest) {
			guests = append(guests, guest)
		}
	}
	return guests
}

// RemoteGuests returns the guests that have remote handlers under the service, in order. It is
// experimental.
func (p *Partyline) RemoteGuests(service string) (guests []string) {
	s := p.service(service)
	if s == nil {
		return nil
	}
	for _, c := range s.connections() {
		if guest := c.guest.Value(); c.remote && !slices.Contains(guests, guest) {
			guests = append(guests, guest)
		}
	}
	return guests
}

// Generation returns a number that changes when handlers connect under the service or leave it: earlier
// answers may then be out of date. It is experimental.
func (p *Partyline) Generation(service string) uint32 {
	s := p.service(service)
	if s == nil {
		return 0
	}
	return s.order.Load().number
}
