// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"slices"
	"unique"
)

// Step is one of the asks that led to another one.
type Step struct {
	// Guest is who asked, empty for a caller that is no guest.
	Guest string

	// Service is what it asked for.
	Service string
}

// Depth returns how many asks led to a context: 0 for one that no handler was called
// with. It is experimental.
func Depth(ctx context.Context) (depth int) {
	for a := askOf(ctx); a != nil; a = askOf(a.Context) {
		depth++
	}
	return depth
}

// PathOf returns the asks that led to the context a handler was called with, outermost
// first. Who asked on another partyline is nobody on this one, where another guest may
// have that name. It is experimental.
func PathOf(ctx context.Context, line *Partyline) []Step {
	var path []Step
	for a := askOf(ctx); a != nil; a = askOf(a.Context) {
		step := Step{Service: a.service.name}
		if a.service.partyline == line {
			step.Guest = guestName(a.guest)
		}
		path = append(path, step)
	}
	slices.Reverse(path)
	return path
}

// WithPath returns a context to ask in as if these asks, outermost first and at least
// one, had led to it: for whoever asks back by a way that a context cannot take. They are of the
// call, which may have come from CallOf, or of a new one if that is nil; a new one is to
// be ended when what was asked with the context has been answered. It is experimental.
func WithPath(ctx context.Context, line *Partyline, path []Step, call *Call) (context.Context, *Call) {
	if call == nil {
		call = new(Call)
	}
	for i, step := range path {
		a := &ask{Context: ctx, service: &service{partyline: line, name: step.Service}}
		if step.Guest != "" {
			a.guest = unique.Make(step.Guest)
		}
		if i == 0 {
			a.call.Store(call)
		}
		ctx = a
	}
	return ctx, call
}

// askOf returns the ask whose handler was called with ctx, if any.
func askOf(ctx context.Context) *ask {
	a, _ := ctx.Value(askKey{}).(*ask)
	return a
}

const (
	// maxDepth is how many asks may be nested. It only has to end what the skipping
	// of guests does not, long before Go's stack overflows, which cannot be
	// recovered from.
	maxDepth = 32

	// maxAskers is how many guests may ask each other for one service in one call,
	// each in turn.
	maxAskers = 8
)

// nest finds whom not to ask in an ask that a handler makes. It returns false if
// nobody is to be asked.
func (r *round) nest() bool {
	depth, level := 1, 1
	maxAbove := maxAskers
	if r.guest != noGuest {
		maxAbove-- // it is one of them itself
	}
	outermost := r.up
	for up := r.up; up != nil; up = askOf(up.Context) {
		depth++
		outermost = up
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
	call := outermost.ofCall()
	if depth > maxDepth {
		call.looped.Store(true)
		return false
	}
	if level > 1 && call.looped.Load() { // else a circle of many goes on for ever
		return false
	}
	if spending := call.spendingOn(r.service, level, len(r.connections)); r.guest != noGuest {
		r.spending = spending // others skip nobody and go in circles, which the depth ends
	}
	return true
}
