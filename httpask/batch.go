// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"runtime/debug"
	"sync"

	"github.com/wsgiparty/wsgiparty/internal/budget"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// batch is a list of asks whose results share the room of one response.
type batch struct {
	handler  *Ask
	operator *partyline.Operator
	asks     []wire.Ask
	results  [][][]byte // of the asks, each in parts
	room     *budget.Budget
	noRoom   []byte // the result of an ask whose own does not fit; there is room for one of each
}

// askBatch asks for each element of a list.
func (a *Ask) askBatch(ctx context.Context, o *partyline.Operator, body []byte) ([][]byte, error) {
	asks, err := wire.ParseAsks(body)
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, `write a list of objects as in [{"service": "url", "payload": {"name": "home"}, "first": true}]: %v`, err)
	}
	if len(asks) > wire.MaxAsks {
		return nil, newProblem(http.StatusRequestEntityTooLarge, "the list has %d asks: write at most %d, and the rest in another request", len(asks), wire.MaxAsks)
	}
	noRoom, err := wire.Encode(a.problemOf(wire.ErrNoRoom))
	if err != nil {
		return nil, err
	}
	b := &batch{a, o, asks, make([][][]byte, len(asks)), budget.New(a.MaxResponse), noRoom}
	if !b.room.Take(len("[]") + len(asks)*b.reserved()) {
		return nil, a.problemOf(wire.ErrNoRoom)
	}
	if err := b.run(party.WithBatch(ctx)); err != nil {
		return nil, err
	}
	return b.response(), nil
}

// reserved is what of the room is kept for each ask until it has its result.
func (b *batch) reserved() int { return len(b.noRoom) + len(",") }

// run asks for what waits for others at once, in goroutines where that cannot be begun without; and meanwhile, one after the
// other, for the rest, which goroutines would only make slower.
func (b *batch) run(ctx context.Context) (err error) {
	defer recoverInto(&err)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	ctx, gathering := party.WithGathering(ctx)
	calls, begun := b.handler.callsOf(b.operator), make(map[int]iter.Seq[partyline.Reply])
	defer func() { calls.Release(int64(len(begun))) }()
	var quick, later []int
	for i, ask := range b.asks {
		operator := by(b.operator, ask)
		remote := operator.RemoteHandlers(ask.Service, ask.Payload)
		if remote == 0 {
			quick = append(quick, i)
			continue
		}
		if remote == 1 && ask.Service != party.URLService && calls.TryAcquire(1) {
			if replies := operator.Begin(ctx, ask.Service, ask.Payload); replies != nil {
				begun[i], later = replies, append(later, i)
				continue
			}
			calls.Release(1)
		}
		group.Go(func() (err error) {
			defer recoverInto(&err) // here a panic would end the process
			return b.ask(ctx, i, b.newWriter(), nil)
		})
	}
	gathering.End()
	var failed error
	writer := b.newWriter()
	for _, i := range append(quick, later...) {
		if err := b.ask(ctx, i, writer, begun[i]); err != nil && failed == nil {
			failed = err
			cancel() // those that have begun still have to end
		}
	}
	return errors.Join(failed, group.Wait())
}

func recoverInto(err *error) {
	if value := recover(); value != nil {
		*err = fmt.Errorf("panic: %v\n\n%s", value, debug.Stack())
	}
}

func (b *batch) newWriter() *wire.Writer { return &wire.Writer{Room: b.room, Whole: true} }

// ask makes the result of the i-th ask, of which the replies are nil if it has not begun. An error fails the batch.
func (b *batch) ask(ctx context.Context, i int, w *wire.Writer, replies iter.Seq[partyline.Reply]) (err error) {
	ask := b.asks[i]
	switch malformed := ask.CheckGuest(); {
	case ask.Service == "":
		err = newProblem(http.StatusBadRequest, "element %d of the list has no service", i)
	case malformed != nil:
		err = newProblem(http.StatusBadRequest, "element %d of the list: %v", i, malformed)
	case replies != nil:
		b.results[i], err = b.handler.collect(ctx, w, ask, nil, replies)
		for range replies { // there was no room for any
			break
		}
	default:
		b.results[i], err = b.handler.ask(ctx, w, by(b.operator, ask), ask)
	}
	if problem, ok := errors.AsType[*problem](err); ok {
		b.results[i], err = onePart(problem)
		if !b.room.Take(len(b.results[i][0]) + len(",")) {
			b.results[i] = [][]byte{b.noRoom}
			return err
		}
	}
	b.room.Give(b.reserved())
	return err
}

// response returns the results as a list.
func (b *batch) response() [][]byte {
	response, comma := append(make([][]byte, 0, 1+2*len(b.results)), []byte("[")), []byte(",")
	for i, result := range b.results {
		if i > 0 {
			response = append(response, comma)
		}
		response = append(response, result...)
	}
	return append(response, []byte("]"))
}

// maxUnderWay is how many handlers of applications may be called at once for what one
// guest asks, in all its requests together. Each call takes memory, also while it waits for
// its turn, and a short list of asks can lead to very many.
const maxUnderWay = 4096

// underWay is what a party's guests ask for: semaphores by the guest.
type underWay struct{ sync.Map }

// callsOf returns what bounds the calls for a guest's asks.
func (a *Ask) callsOf(o *partyline.Operator) *semaphore.Weighted {
	all, guest := party.StateOf[underWay](a.entry), o.Guest()
	calls, ok := all.Load(guest)
	if !ok {
		calls, _ = all.LoadOrStore(guest, semaphore.NewWeighted(maxUnderWay))
	}
	return calls.(*semaphore.Weighted)
}
