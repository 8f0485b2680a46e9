// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"fmt"
	"sync"

	"github.com/wsgiparty/wsgiparty/internal/budget"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// maxCollected is how many bytes of answers an ask, or a batch of asks, collects from
// applications. Where one of them may answer with more, it is as many as that.
const maxCollected = 8 << 20

// collecting bounds what an ask collects from applications.
type collecting struct {
	all *budget.Budget // shared by a batch

	mu     sync.Mutex
	guests map[string]*budget.Budget
}

type collectingKey struct{}

// collectingBatch is what the asks of a batch share. Asks that they lead to do not.
type collectingBatch struct {
	ctx context.Context // that it is asked in
	all *budget.Budget
}

type batchKey struct{}

// WithBatch returns the context for asks that collect from applications together: what they
// collect is bounded as that of one ask is. It is experimental.
func WithBatch(ctx context.Context) context.Context {
	return context.WithValue(ctx, batchKey{}, &collectingBatch{ctx, budget.New(maxCollected)})
}

// withCollecting returns the context of an ask's remote handlers, for an ask's.
func withCollecting(ctx context.Context) context.Context {
	c := &collecting{guests: make(map[string]*budget.Budget)}
	if b, ok := ctx.Value(batchKey{}).(*collectingBatch); ok && partyline.Depth(ctx) == partyline.Depth(b.ctx)+1 {
		c.all = b.all
	} else {
		c.all = budget.New(maxCollected)
	}
	return context.WithValue(ctx, collectingKey{}, c)
}

// collectingOf returns what bounds the ask that led to a request to a guest, nil if
// none did.
func collectingOf(ctx context.Context) *collecting {
	c, _ := ctx.Value(collectingKey{}).(*collecting)
	return c
}

// charges returns what an answer of the guest is charged to, if all that it answers
// to one ask may be that long.
func (c *collecting) charges(guest string, most int) []subrequest.Charge {
	if c == nil {
		return nil
	}
	c.all.Raise(int64(most))
	c.mu.Lock()
	defer c.mu.Unlock()
	own, ok := c.guests[guest]
	if !ok {
		own = budget.New(int64(most))
		c.guests[guest] = own
	}
	return []subrequest.Charge{
		{Budget: own, Exceeded: func() error {
			return fmt.Errorf("what it answers to one ask is longer than %d bytes (max_answer)", most)
		}},
		{Budget: c.all, Exceeded: func() error {
			return fmt.Errorf("what all answer to one ask, or one batch of asks, is longer than %d bytes together: ask for less at a time", c.all.Total())
		}},
	}
}
