// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

import (
	"context"
	"sync"
	"time"
)

// untilContext is context.WithDeadline for handlers that mostly do not wait: what costs most of
// asking them would be its timer, which this one has if somebody does wait.
type untilContext struct {
	context.Context
	deadline time.Time

	mu     sync.Mutex
	timed  context.Context // nil until somebody waits
	cancel context.CancelFunc
	over   bool
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
	if c.timed == nil {
		c.timed, c.cancel = context.WithDeadline(c.Context, c.deadline)
		if c.over {
			c.cancel()
		}
	}
	return c.timed.Done()
}

func (c *untilContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed != nil {
		return c.timed.Err()
	}
	return c.Context.Err()
}

// end ends it: what was asked has been answered.
func (c *untilContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel()
	}
}
