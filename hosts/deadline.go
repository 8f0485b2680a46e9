// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// untilContext is context.WithDeadline for handlers that mostly do not wait: what costs most of
// asking them would be its timer, which this one has if somebody does wait.
type untilContext struct {
	context.Context
	deadline time.Time

	mu    sync.Mutex
	timed atomic.Pointer[timedContext] // nil until somebody waits
	over  bool
}

type timedContext struct {
	context.Context
	cancel context.CancelFunc
}

func (c *untilContext) Deadline() (time.Time, bool) {
	if earlier, ok := c.Context.Deadline(); ok && earlier.Before(c.deadline) {
		return earlier, true
	}
	return c.deadline, true
}

func (c *untilContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	timed := c.timed.Load()
	if timed == nil {
		ctx, cancel := context.WithDeadline(c.Context, c.deadline)
		if timed = (&timedContext{ctx, cancel}); c.over {
			cancel()
		}
		c.timed.Store(timed)
	}
	return timed.Done()
}

func (c *untilContext) Err() error {
	if timed := c.timed.Load(); timed != nil {
		return timed.Err()
	}
	return c.Context.Err()
}

// end ends it: what was asked has been answered.
func (c *untilContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if timed := c.timed.Load(); timed != nil {
		timed.cancel()
	}
}
