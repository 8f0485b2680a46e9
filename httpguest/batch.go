// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Asks of an application that travel together.

package httpguest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/excerpt"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

const (
	maxBatch     = 64              // asks
	maxBatchBody = 1 << 20         // bytes, but for a single ask
	maxElement   = 2 * excerpt.Max // bytes of an element beside its answer
)

var gatherFor = 10 * time.Millisecond // at most

// batcher asks an application for one service, many asks in one request. An ask that comes while such a request is
// under way waits until it is answered, or has been under way for gatherFor, and goes with those that wait like it. Asks
// that begin together go together, and at once.
type batcher struct {
	*application
	service string
	handler manifest.Handler

	// Guarded by the application's places:
	underWay int
	began    time.Time // when the last of them was sent
	waiting  []*batch  // the first one first
	timer    *time.Timer
	together map[*party.Gathering][]*batch // those of asks of which others are still beginning
}

// batch is one request.
type batch struct {
	batcher *batcher
	ctx     context.Context // of the first ask, apart from its end if others may join it
	end     context.CancelCauseFunc
	holds   bool   // whether it comes of an ask that the guest is being asked
	mount   string // of which all are
	header  http.Header
	asks    []*batched
	size    int // of the body
	stayed  int // how many of the asks still wait for an answer
}

// batched is an ask.
type batched struct {
	ctx    context.Context // of the ask
	until  context.Context // the same, up to when an answer is waited for
	cancel context.CancelFunc
	reply  func(answer any, err error)
	asker  string
	body   []byte
	in     *batch
	stop   func() bool // no longer watches until; nil if nobody does

	settled atomic.Bool
	answer  any // what the application says
	err     error
}

// settle gives the ask its reply, unless it has it.
func (e *batched) settle(answer any, err error) {
	if e.settled.Swap(true) {
		return
	}
	if e.stop != nil {
		e.stop()
	}
	e.cancel()
	e.reply(answer, err)
}

// ask asks the application, and returns its answer to that ask. What is sent at once is sent in this goroutine.
func (b *batcher) ask(ctx context.Context, payload any) (answer any, err error) {
	done := make(chan struct{})
	if r := b.start(ctx, payload, func(a any, e error) {
		answer, err = a, e
		close(done)
	}); r != nil {
		b.run(r)
	}
	<-done
	return answer, err
}

// begin is ask without waiting.
func (b *batcher) begin(ctx context.Context, payload any, reply func(answer any, err error)) {
	if r := b.start(ctx, payload, reply); r != nil {
		go b.run(r)
	}
}

// start returns the request that is to be sent at once for an ask, nil if that waits for others.
func (b *batcher) start(ctx context.Context, payload any, reply func(answer any, err error)) *batch {
	e := &batched{ctx: ctx, reply: reply}
	e.until, e.cancel = party.WithTimeout(ctx, time.Duration(b.Timeout))
	r, err := b.newBatch(e, payload)
	if err != nil {
		e.settle(nil, err)
		return nil
	}
	sent, refused := b.join(r)
	if refused != nil {
		refused.settle(nil, b.noPlace())
	}
	return sent
}

// newBatch returns the request that the ask would be by itself.
func (b *batcher) newBatch(e *batched, payload any) (*batch, error) {
	path := partyline.PathOf(e.ctx, b.invitation.Operator.Partyline())
	var err error
	if e.body, err = b.elementOf(e.ctx, payload, path); err != nil {
		return nil, err
	}
	e.asker = path[len(path)-1].Guest
	r := &batch{batcher: b, mount: b.invitation.MountFor(e.ctx), asks: []*batched{e}, size: len(e.body), stayed: 1}
	e.in = r
	r.holds = slices.ContainsFunc(path[1:], func(step partyline.Step) bool { return step.Guest == b.guest() })
	if b.service != party.ClaimsService && len(b.Forward) > 0 { // the answer about claims is for everybody
		r.header = make(http.Header)
		party.AddForwarded(e.ctx, r.header, b.Forward)
	}
	return r, nil
}

// alone reports whether no other ask may travel with the one in the request.
func (r *batch) alone() bool {
	return r.holds || len(r.header) > 0 || party.ComesFromOutside(r.asks[0].ctx)
}

// takes reports whether the ask of another request may travel with those in this one.
func (r *batch) takes(other *batch) bool {
	return r.stayed > 0 && r.mount == other.mount && len(r.asks) < maxBatch && r.size+other.size < maxBatchBody
}

// drop takes an ask out of a request that waits.
func (r *batch) drop(e *batched) {
	r.asks = without(r.asks, e)
	r.size -= len(e.body) + len(",")
	r.stayed--
	if b := r.batcher; len(r.asks) == 0 {
		r.end(nil)
		if b.waiting = without(b.waiting, r); len(b.waiting) == 0 {
			b.timer.Stop()
		}
	}
}

// join has an ask sent at once, or wait. It returns the request that the caller is to send, if any, and the ask that finds no
// place to wait, or has had to give up its own.
func (b *batcher) join(r *batch) (sent *batch, refused *batched) {
	b.gathered.mu.Lock()
	defer b.gathered.mu.Unlock()
	if r.alone() {
		b.begins(r)
		return r, nil
	}
	if g := party.GatheringOf(r.asks[0].ctx); g != nil {
		before, others := b.together[g]
		if b.together == nil {
			b.together = make(map[*party.Gathering][]*batch)
		}
		b.together[g] = r.joinOneOf(before)
		if !others {
			g.Then(func() { b.sendTogether(g) })
		}
		return nil, nil
	}
	age := time.Since(b.began)
	if b.goesAtOnce(age) {
		b.begins(r)
		return r, nil
	}
	gave, ok := b.wait(r, age)
	if !ok {
		gave = r.asks[0]
	}
	return nil, gave
}

// goesAtOnce reports whether an ask goes by itself, as there is nothing to wait for.
func (b *batcher) goesAtOnce(age time.Duration) bool {
	return b.underWay == 0 || age >= gatherFor && len(b.waiting) == 0
}

// wait has an ask wait for the request that is under way, and returns the one that has had to make room. It returns false if
// there is no place.
func (b *batcher) wait(r *batch, age time.Duration) (gave *batched, ok bool) {
	if gave, ok = b.gathered.take(r.asks[0]); !ok {
		return nil, false
	}
	if b.waiting = r.joinOneOf(b.waiting); len(b.waiting) == 1 && b.waiting[0] == r {
		b.timer = time.AfterFunc(gatherFor-age, b.sendWaiting)
	}
	return gave, true
}

// noPlace is the error for an ask that finds no place to wait, or has had to give up its own.
func (b *batcher) noPlace() error {
	err := fmt.Errorf("%w: %d asks wait for batches that are under way: %s", partyline.ErrRefused, maxGathered, moreAsks(b.MaxAsks))
	b.slots.overload.refuse(err)
	return &abandonedError{err}
}

// joinOneOf puts the ask in the request into one of those that wait, or adds its own.
func (r *batch) joinOneOf(waiting []*batch) []*batch {
	e := r.asks[0]
	if e.stop == nil {
		e.stop = context.AfterFunc(e.until, func() { r.batcher.leave(e) })
	}
	for _, other := range waiting {
		if other.takes(r) {
			other.asks = append(other.asks, e)
			other.size += r.size + len(",")
			other.stayed++
			e.in = other
			return waiting
		}
	}
	if r.ctx == nil {
		r.ctx, r.end = context.WithCancelCause(party.Apart(e.ctx))
	}
	return append(waiting, r)
}

// begins notes that a request is about to be sent. If it has not waited for others, it ends with its one ask.
func (b *batcher) begins(r *batch) {
	if r.ctx == nil {
		r.ctx, r.end = party.Uncollected(r.asks[0].until), func(error) {}
	}
	b.underWay++
	b.began = time.Now()
}

// sendTogether sends what has begun together. An ask that turns out to be the only one waits like any other.
func (b *batcher) sendTogether(g *party.Gathering) {
	for _, refused := range b.sendGathering(g) {
		refused.settle(nil, b.noPlace())
	}
}

// sendGathering returns the asks that find no place to wait, or have had to give up theirs.
func (b *batcher) sendGathering(g *party.Gathering) (refused []*batched) {
	b.gathered.mu.Lock()
	defer b.gathered.mu.Unlock()
	begun := b.together[g]
	delete(b.together, g)
	for _, r := range begun {
		age := time.Since(b.began)
		switch {
		case r.stayed == 0: // they have gone meanwhile
		case len(r.asks) > 1 || b.goesAtOnce(age):
			b.begins(r)
			go b.run(r)
		default:
			gave, ok := b.wait(r, age)
			if !ok {
				gave = r.asks[0]
			}
			if gave != nil {
				refused = append(refused, gave)
			}
		}
	}
	return refused
}

// sendWaiting sends what waits.
func (b *batcher) sendWaiting() {
	b.gathered.mu.Lock()
	defer b.gathered.mu.Unlock()
	for _, r := range b.waiting {
		for _, e := range r.asks {
			b.gathered.free(e)
		}
		b.begins(r)
		go b.run(r)
	}
	b.waiting = nil
	if b.timer != nil {
		b.timer.Stop()
	}
}

// leave gives up an ask that has waited for too long, or whose asker has gone, and its request when it was the last one.
func (b *batcher) leave(e *batched) {
	cause := context.Cause(e.until)
	b.gathered.mu.Lock()
	if e.in.stayed--; e.in.stayed == 0 {
		e.in.end(cause)
	}
	b.gathered.mu.Unlock()
	if e.ctx.Err() != nil {
		e.settle(nil, &abandonedError{cause})
	} else {
		e.settle(nil, &party.TimeoutError{After: time.Duration(b.Timeout)})
	}
}

// run sends a request, and tells its asks what is answered.
func (b *batcher) run(r *batch) {
	defer r.end(nil)
	err := errors.New("the request was not answered")
	defer func() { // on behalf of several
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v", value)
			b.logger.Error("asking an application panicked", zap.String("service", b.service), zap.Any("error", value), zap.ByteString("stack", debug.Stack()))
		}
		b.gathered.mu.Lock()
		b.underWay--
		waits := len(b.waiting) > 0
		b.gathered.mu.Unlock()
		if waits {
			b.sendWaiting()
		}
		for _, e := range r.asks {
			if e.answer == nil && e.err == nil {
				e.err = err
			}
			e.settle(e.answer, e.err)
		}
	}()
	_, err = b.guarded(b.service, func(held *slot) (any, error) {
		err := b.post(r, held)
		if err != nil && r.ctx.Err() != nil && !party.TimedOut(context.Cause(r.ctx)) {
			err = &abandonedError{err}
		}
		return nil, err
	})
}
