// Copyright 2026 The wsgi_party Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package wsgiparty

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"
)

// eventQueue emits events, one after the other, as soon as the config has started:
// before that, those who are to have them have not subscribed.
type eventQueue struct {
	ctx    context.Context
	logger *zap.Logger
	app    *caddyevents.App

	mu       sync.Mutex
	started  bool
	emitting bool
	queue    []event
	on       map[*Partyline]map[string]struct{} // the guests whose joining is no news
}

type event struct {
	name string
	data func() map[string]any // nil if it has lost its reason
}

func newEventQueue(ctx caddy.Context, logger *zap.Logger) (*eventQueue, error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, err
	}
	q := &eventQueue{ctx: ctx.Context, logger: logger, app: app.(*caddyevents.App), on: make(map[*Partyline]map[string]struct{})}
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
	q.drain()
	return nil
}

// joined tells of a guest that has joined, with the services it is connected under
// when that is told.
func (q *eventQueue) joined(p *Partyline, guest string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	guests, ok := q.on[p]
	if !ok {
		guests = make(map[string]struct{})
		q.on[p] = guests
	}
	if _, ok := guests[guest]; ok {
		return
	}
	guests[guest] = struct{}{}
	q.add(event{"guest_joined", func() map[string]any {
		for _, g := range p.Guests() {
			if g.Name == guest {
				return eventData(p, guest, g.Services)
			}
		}
		return nil
	}})
}

// left tells of a guest that has left, and returns false if nobody was told that it
// had joined.
func (q *eventQueue) left(p *Partyline, guest string, services []string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.on[p][guest]; !ok {
		return false
	}
	delete(q.on[p], guest)
	q.add(event{"guest_left", func() map[string]any { return eventData(p, guest, services) }})
	return true
}

// invited tells of an invite by which no guest joined.
func (q *eventQueue) invited(p *Partyline, o *outcome) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(event{"invite_" + string(o.result), func() map[string]any {
		data := eventData(p, o.guest, o.services)
		data["uri"] = o.uri.String()
		data["status"] = o.status
		data["error"] = ""
		if o.err != nil {
			data["error"] = o.err.Error()
		}
		return data
	}})
}

func eventData(p *Partyline, guest string, services []string) map[string]any {
	return map[string]any{"party": p.Name(), "guest": guest, "services": slices.Clone(services)}
}

func (q *eventQueue) add(e event) {
	q.queue = append(q.queue, e)
	q.drain()
}

// drain sees to it that the queue is emitted. It must be locked.
func (q *eventQueue) drain() {
	if !q.started || q.emitting || len(q.queue) == 0 {
		return
	}
	q.emitting = true
	go func() {
		for {
			q.mu.Lock()
			if len(q.queue) == 0 || q.ctx.Err() != nil {
				q.emitting, q.queue = false, nil
				q.mu.Unlock()
				return
			}
			e := q.queue[0]
			q.queue = q.queue[1:]
			q.mu.Unlock()
			q.emit(e)
		}
	}()
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
	if data := e.data(); data != nil {
		// Not the context of Provision: by now that may name another module as
		// the one it belongs to.
		q.app.Emit(caddy.Context{Context: q.ctx}, e.name, data)
	}
}

var _ caddyevents.Handler = (*eventQueue)(nil)
