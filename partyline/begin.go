// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Asks that begin before anybody waits for their replies, and handlers that need no goroutine to wait in.

package partyline

import (
	"context"
	"iter"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"
)

// Begin starts what a handler does, and returns without waiting for anything. It calls reply exactly once, from any
// goroutine, with what the handler would return, and soon if its context ends. It is experimental.
type Begin func(ctx context.Context, payload any, reply func(answer any, err error))

// ConnectAsync is ConnectPrompt for a handler that can also be started without waiting. Where nobody waits for its
// answer at once, begin is called instead of the handler, and the call takes no goroutine. It is experimental.
func (o *Operator) ConnectAsync(service string, h Handler, begin Begin) error {
	return o.connect(service, connection{handler: h, remote: true, prompt: true, listing: &listing{begin: begin}})
}

// Begin is Replies for callers that ask for several things. If all handlers to ask are remote ones, Begin calls
// them and returns at once. The caller must then go through the replies, and waits for them there. If one is not
// remote, or there is none, Begin asks nobody and returns nil. It is experimental.
func (o *Operator) Begin(ctx context.Context, service string, payload any) iter.Seq[Reply] {
	if o == nil {
		return nil
	}
	s := o.partyline.service(service)
	if s == nil || s.prefers != nil && o.only == noGuest {
		return nil
	}
	order := s.order.Load()
	if !o.onlyRemote(order) {
		return nil
	}
	r := (&ask{Context: ctx, guest: o.guest, service: s}).round(o, order, payload)
	asked := r.begin()
	if r.next = slices.IndexFunc(r.connections, func(c connection) bool { return !r.skips(&c) }); r.next < 0 {
		r.next = len(r.connections)
	} else if ctx.Err() == nil {
		r.callRemote()
	}
	over := false
	return func(yield func(Reply) bool) {
		if over {
			return
		}
		over = true
		err := r.observed(asked, nil, func(guest string, answer any, err error, took time.Duration) bool {
			return yield(Reply{guest, answer, err, took})
		})
		if err != nil {
			yield(Reply{Err: err})
		}
	}
}

// onlyRemote reports whether there are handlers to ask, all of them remote ones.
func (o *Operator) onlyRemote(order *order) (all bool) {
	connections := order.connections
	if o.only != noGuest {
		connections = order.of(o.only.Value())
	}
	for i := range connections {
		c := &connections[i]
		if o.only != noGuest && c.guest != o.only {
			continue
		}
		if !c.remote {
			return false
		}
		all = true
	}
	return all
}

// beginRemote begins the call of a remote handler, of which the reply comes by the channel.
func (a *ask) beginRemote(ctx context.Context, c *connection, payload any, shard uint32, replied chan<- Reply) {
	c.counter.add(shard, called)
	began := time.Now()
	var over atomic.Bool
	reply := func(answer any, err error) {
		if over.Swap(true) {
			return
		}
		var reply Reply
		a.settle(ctx, c, shard, began, &reply, func() (any, error) { return answer, err })
		replied <- reply
	}
	defer func() {
		if value := recover(); value != nil {
			reply(nil, &panicError{value, debug.Stack()})
		}
	}()
	c.listing.begin(ctx, payload, reply)
}
