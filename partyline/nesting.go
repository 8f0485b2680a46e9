// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What an ask knows of the asks that led to it, and how the whole of them is kept from going on
// for ever.

package partyline

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"unique"
)

// Step is one of the asks that led to another one.
type Step struct {
	Guest   string // who asked, empty for a caller that is not a guest
	Service string // what it asked for
}

// Depth returns how many asks led to a context: 0 if no handler was called with it. It is experimental.
func Depth(ctx context.Context) (depth int) {
	for a := askOf(ctx); a != nil; a = a.up {
		depth++
	}
	return depth
}

// PathOf returns the asks that led to the context a handler was called with, outermost first. An asker
// on another partyline has no name here, where a different guest may have that name. It is experimental.
func PathOf(ctx context.Context, line *Partyline) []Step {
	var path []Step
	for a := askOf(ctx); a != nil; a = a.up {
		step := Step{Service: a.service.name}
		if a.service.partyline == line {
			step.Guest = guestName(a.guest)
		}
		path = append(path, step)
	}
	slices.Reverse(path)
	return path
}

// WithPath returns a context to ask in as if these asks, outermost first, had led to it.
// It is for askers that no context can reach, such as other processes. The asks belong to the given
// call, which comes from CallOf, or to a new one if it is nil. End a new call when the asks with the
// context have been answered. It is experimental.
func WithPath(ctx context.Context, line *Partyline, path []Step, call *Call) (context.Context, *Call) {
	if call == nil {
		call = new(Call)
	}
	if len(path) == 0 {
		return context.WithValue(ctx, callKey{}, call), call
	}
	up := askOf(ctx)
	for i, step := range path {
		a := &ask{Context: ctx, up: up, service: &service{partyline: line, name: step.Service}}
		if step.Guest != "" {
			a.guest = unique.Make(step.Guest)
		}
		if i == 0 {
			a.call.Store(call)
		}
		ctx, up = a, a
	}
	return ctx, call
}

// callKey is the context key of the call of an ask that no asks have led to, and whose call is not its own.
type callKey struct{}

// Call is an outermost ask with all that are nested in it. Its methods may be called from any
// goroutine. It is experimental.
type Call struct {
	looped   atomic.Bool // one was nested too deep
	spending sync.Map    // of *service to *spending

	mu       sync.Mutex
	ended    bool
	attached any
	detach   func() // called when the call ends
}

// CallOf returns the call in which a handler was called with ctx, nil if none was.
func CallOf(ctx context.Context) *Call {
	if a := askOf(ctx); a != nil {
		return a.ofCall()
	}
	return nil
}

// ofCall returns the call that an ask is part of.
func (a *ask) ofCall() *Call {
	for a.up != nil {
		a = a.up
	}
	if a.call.Load() == nil {
		call, lent := a.Context.Value(callKey{}).(*Call)
		if !lent {
			call = new(Call)
		}
		a.call.CompareAndSwap(nil, call)
	}
	return a.call.Load()
}

// Attach returns what is attached to the call. If nothing is yet, Attach attaches what the
// function returns first, and has the second called when the call ends. To a call that has ended
// nothing can be attached: Attach then returns what was, nil if nothing.
func (c *Call) Attach(make func() (attached any, detach func())) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attached == nil && !c.ended {
		c.attached, c.detach = make()
	}
	return c.attached
}

// End is called when the outermost ask has ended, and by whoever got the call from WithPath.
// Handlers may go on, and ask. Ending a call twice does nothing.
func (c *Call) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.detach != nil {
		c.detach()
		c.detach = nil
	}
}

const (
	// maxDepth is how many asks may be nested. It only has to end what the skipping of guests does
	// not, long before Go's stack overflows, from which a program cannot recover.
	maxDepth = 32

	// maxAskers is how many guests may ask each other for one service in one call, each in turn.
	maxAskers = 8
)

// nest finds out whom an ask that a handler makes skips, and returns false if it asks nobody.
func (r *round) nest() bool {
	depth, level := 1, 1 // of asks, and of asks for this service
	maxAbove := maxAskers
	if r.guest != noGuest {
		maxAbove-- // it is one of them itself
	}
	for up := r.up; up != nil; up = up.up {
		depth++
		if up.service.name != r.service.name || up.service.partyline != r.service.partyline {
			continue
		}
		level++
		if up.guest == noGuest || up.guest == r.guest || slices.Contains(r.above, up.guest) {
			continue
		}
		if r.above = append(r.above, up.guest); len(r.above) > maxAbove {
			return false
		}
	}
	call := r.ofCall()
	if depth > maxDepth {
		call.looped.Store(true)
		return false
	}
	if level > 1 && call.looped.Load() { // else a circle of many goes on for ever
		return false
	}
	if spending := call.spendingOn(r.service, level, len(r.order.connections)); r.guest != noGuest {
		r.spending = spending // others skip nobody and go in circles, which the depth ends
	}
	return true
}

// spending is how many handlers of one service a call has called in asks beyond the second level,
// and how many it may: n² of n. Without that limit, a miss among n guests that all ask around
// costs n! calls.
type spending struct{ spent, allowed atomic.Int64 }

// spend notes a call of a handler, and returns false if it is one too many.
func (s *spending) spend() bool {
	if s.spent.Add(1) <= s.allowed.Load() {
		return true
	}
	s.spent.Add(-1)
	return false
}

// spendingOn returns the spending for an ask of the service, nil up to the second level. The level
// is how many asks for the service lead to this one, itself included.
func (c *Call) spendingOn(s *service, level, handlers int) *spending {
	if level == 2 {
		return nil
	}
	loaded, known := c.spending.Load(s)
	if !known {
		loaded, known = c.spending.LoadOrStore(s, new(spending))
	}
	spending := loaded.(*spending)
	if level == 1 || !known {
		spending.allowed.Add(int64(handlers) * int64(handlers))
	}
	if level == 1 {
		return nil
	}
	return spending
}
