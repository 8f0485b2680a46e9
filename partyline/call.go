// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"sync"
	"sync/atomic"
)

// Call is an outermost ask with all that are nested in it. It is experimental.
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
	outermost := askOf(ctx)
	if outermost == nil {
		return nil
	}
	for up := askOf(outermost.Context); up != nil; up = askOf(up.Context) {
		outermost = up
	}
	return outermost.ofCall()
}

// ofCall returns the call that an ask, which must be outermost, is of.
func (a *ask) ofCall() *Call {
	if c := a.call.Load(); c != nil {
		return c
	}
	a.call.CompareAndSwap(nil, new(Call))
	return a.call.Load()
}

// Attach returns what is attached to the call. If that is nothing yet, it attaches what
// the function returns, whose second result is called when the call ends. Nothing can be
// attached after that, and Attach returns nil.
func (c *Call) Attach(make func() (attached any, detach func())) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attached == nil && !c.ended {
		c.attached, c.detach = make()
	}
	return c.attached
}

// End is called when the outermost ask has ended, and by whoever got the call from
// WithPath. Handlers may go on, and ask.
func (c *Call) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.detach != nil {
		c.detach()
		c.detach = nil
	}
}

// spending is how many handlers of one service a call has called in asks beyond the
// second level, and how many it may: n² of n. Without an end to it, a miss among n
// guests that all ask around costs n! calls.
type spending struct{ spent, allowed atomic.Int64 }

// spend takes down a call, and returns false if it is one too many.
func (s *spending) spend() bool {
	if s.spent.Add(1) <= s.allowed.Load() {
		return true
	}
	s.spent.Add(-1)
	return false
}

// spendingOn returns the spending for an ask of the service, nil for one that needs
// none. The level is how many asks for the service lead to it, itself included.
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
