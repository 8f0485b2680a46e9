// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

// eventQueue emits events, one after the other, as soon as the config has started:
// before that, those who are to have them have not subscribed.
type eventQueue struct {
	ctx    context.Context // ends with the config
	end    context.CancelFunc
	logger *zap.Logger
	app    *caddyevents.App

	mu       sync.Mutex
	started  bool
	starting []func() // to be called then
	emitting bool
	queue    []event
}

type event struct {
	name string
	data func() map[string]any // when it is emitted
}

func newEventQueue(ctx caddy.Context, logger *zap.Logger) (*eventQueue, error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, err
	}
	q := &eventQueue{logger: logger, app: app.(*caddyevents.App)}
	// The context of whoever needed the app first may end before the config.
	q.ctx, q.end = context.WithCancel(context.WithoutCancel(ctx.Context))
	if err := q.app.On("started", q); err != nil {
		q.started = true // a module that joins a running config
	}
	return q, nil
}

// Handle is called once, when the config has started.
func (q *eventQueue) Handle(context.Context, caddy.Event) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.started = true
	for _, f := range q.starting {
		f()
	}
	q.starting = nil
	q.drain()
	return nil
}

func (q *eventQueue) hasStarted() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.started
}

// onStart calls f when the config has started, or now if it has.
func (q *eventQueue) onStart(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.started {
		f()
	} else {
		q.starting = append(q.starting, f)
	}
}

// joined tells of a guest that has joined, with the services it is connected under
// when that is told.
func (q *eventQueue) joined(p *partyline.Partyline, guest string) {
	q.add("guest_joined", func() map[string]any {
		info, _ := p.Guest(guest)
		return eventData(p, guest, info.Services)
	})
}

// left tells of a guest that has left.
func (q *eventQueue) left(p *partyline.Partyline, guest string, services []string) {
	q.add("guest_left", func() map[string]any { return eventData(p, guest, services) })
}

// invited tells of an invite by which no guest joined.
func (q *eventQueue) invited(p *partyline.Partyline, info *InviteInfo) {
	q.add("invite_"+string(info.Result), func() map[string]any {
		data := eventData(p, info.Guest, info.Services)
		data["uri"] = info.URI
		data["status"] = info.Status
		data["error"] = wire.Message(info.Err)
		return data
	})
}

func eventData(p *partyline.Partyline, guest string, services []string) map[string]any {
	return map[string]any{"party": p.Name(), "guest": guest, "services": slices.Clone(services)}
}

func (q *eventQueue) add(name string, data func() map[string]any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = append(q.queue, event{name, data})
	q.drain()
}

// drain begins to emit the queue, unless that is under way. The queue must be locked.
func (q *eventQueue) drain() {
	if !q.started || q.emitting || len(q.queue) == 0 {
		return
	}
	q.emitting = true
	go func() {
		defer func() { // also if a handler ends this goroutine
			q.mu.Lock()
			defer q.mu.Unlock()
			q.emitting = false
			q.drain()
		}()
		for e, ok := q.next(); ok; e, ok = q.next() {
			q.emit(e)
		}
	}()
}

// next returns the next event, false if there is none.
func (q *eventQueue) next() (event, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ctx.Err() != nil {
		q.queue = nil
	}
	if len(q.queue) == 0 {
		return event{}, false
	}
	e := q.queue[0]
	q.queue = q.queue[1:]
	return e, true
}

func (q *eventQueue) emit(e event) {
	defer func() {
		if value := recover(); value != nil {
			q.logger.Error("an event handler panicked",
				zap.String("event", e.name),
				zap.String("error", fmt.Sprint(value)),
				zap.ByteString("stack", debug.Stack()))
		}
	}()
	// Not the context of Provision: by now that may name another module as the one
	// it belongs to.
	q.app.Emit(caddy.Context{Context: q.ctx}, e.name, e.data())
}

var _ caddyevents.Handler = (*eventQueue)(nil)
