// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

// eventQueue emits events, one after the other, as soon as the config has started:
// before that, those who are to have them have not subscribed.
type eventQueue struct {
	ctx context.Context // ends with the config
	end context.CancelFunc

	whenStarted func() // called before the config counts as loaded
	logger      *zap.Logger
	app         *caddyevents.App

	mu       sync.Mutex
	started  bool
	starting []func() // to be called then
	emitting bool
	queue    []func()
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
	q.whenStarted()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.started = true
	for _, f := range q.starting {
		go f()
	}
	q.starting = nil
	q.emitNext()
	return nil
}

func (q *eventQueue) hasStarted() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.started
}

// onStart calls f in a goroutine when the config has started, or now if it has.
func (q *eventQueue) onStart(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.started {
		go f()
	} else {
		q.starting = append(q.starting, f)
	}
}

// add adds an event, whose data is made when it is emitted.
func (q *eventQueue) add(name string, data func() map[string]any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = append(q.queue, func() { q.emit(name, data) })
	q.emitNext()
}

// emitNext begins to emit the queue, unless that is under way. The queue must be locked.
func (q *eventQueue) emitNext() {
	if q.ctx.Err() != nil {
		q.queue = nil
	}
	if !q.started || q.emitting || len(q.queue) == 0 {
		return
	}
	next := q.queue[0]
	q.queue, q.emitting = q.queue[1:], true
	go func() {
		defer func() { // also if a handler ends this goroutine
			q.mu.Lock()
			defer q.mu.Unlock()
			q.emitting = false
			q.emitNext()
		}()
		next()
	}()
}

func (q *eventQueue) emit(name string, data func() map[string]any) {
	defer func() {
		if value := recover(); value != nil {
			q.logger.Error("an event handler panicked", zap.String("event", name), zap.String("error", fmt.Sprint(value)), zap.ByteString("stack", debug.Stack()))
		}
	}()
	// Not the context of Provision: by now that may name another module as the one it belongs to.
	q.app.Emit(caddy.Context{Context: q.ctx}, name, data())
}

// eventData is the data of an event that concerns a guest, which may be on another node.
func (e *Entry) eventData(guest string, services []string, node string) map[string]any {
	data := map[string]any{"party": e.Name(), "guest": guest, "services": slices.Clone(services)}
	if node != "" {
		data["node"] = node
	}
	return data
}

// observer logs asks at debug level, and tells who comes and goes.
type observer struct{ *Entry }

func (o observer) Observing() bool { return o.logger.Core().Enabled(zap.DebugLevel) }

func (o observer) BeginAsk(guest, service string) func(answered, declined, failed int, err error) {
	began := time.Now()
	return func(answered, declined, failed int, err error) {
		o.logger.Debug("asked around", zap.String("guest", guest), zap.String("service", service),
			zap.Int("answered", answered), zap.Int("declined", declined), zap.Int("failed", failed), zap.Duration("duration", time.Since(began)), zap.Error(err))
	}
}

func (o observer) GuestJoined(guest string) {
	o.app.events.add("guest_joined", func() map[string]any {
		info, _ := o.Guest(guest)
		return o.eventData(guest, info.Services, info.Node)
	})
}

func (o observer) GuestLeft(guest string, services []string) {
	fields := []zap.Field{zap.String("guest", guest), zap.Strings("services", services)}
	node := ""
	if operator, ok := o.away.Load(guest); ok {
		node = operator.(*partyline.Operator).Node()
		fields = append(fields, zap.String("node", node))
	}
	o.logger.Info("guest left", fields...)
	o.app.events.add("guest_left", func() map[string]any { return o.eventData(guest, services, node) })
}

// Interface guards
var (
	_ caddyevents.Handler = (*eventQueue)(nil)
	_ partyline.Observer  = observer{}
)
