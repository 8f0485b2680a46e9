// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What asks have in common that begin together, or go to several guests.

package party

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
)

// Gathering is of asks that begin together. An application that takes several asks in one request gets them when all
// have begun.
type Gathering struct {
	mu    sync.Mutex
	ended bool
	then  []func()
}

type gatheringKey struct{}

// WithGathering returns the context for asks that begin together, none of which waits for anything meanwhile. End the
// gathering when they have begun.
func WithGathering(ctx context.Context) (context.Context, *Gathering) {
	g := new(Gathering)
	return context.WithValue(ctx, gatheringKey{}, g), g
}

// GatheringOf returns that in which an ask began, nil if it began by itself, or the others have begun.
func GatheringOf(ctx context.Context) *Gathering {
	g, _ := ctx.Value(gatheringKey{}).(*Gathering)
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return nil
	}
	return g
}

// Then has a function called when all have begun, at once if they have.
func (g *Gathering) Then(f func()) {
	g.mu.Lock()
	ended := g.ended
	if !ended {
		g.then = append(g.then, f)
	}
	g.mu.Unlock()
	if ended {
		f()
	}
}

// End says that all have begun. Ending a gathering twice does nothing.
func (g *Gathering) End() {
	g.mu.Lock()
	then := g.then
	g.ended, g.then = true, nil
	g.mu.Unlock()
	for _, f := range then {
		f()
	}
}

// PayloadJSON returns the payload of the ask whose remote handlers have that context as JSON, which is made once for all of
// them, and is not to be changed.
func PayloadJSON(ctx context.Context, payload any) ([]byte, error) {
	c := collectingOf(ctx)
	if c == nil {
		return encodePayload(payload)
	}
	c.encoding.Do(func() { c.payload, c.payloadErr = encodePayload(payload) })
	return c.payload, c.payloadErr
}

func encodePayload(payload any) ([]byte, error) {
	encoded, err := json.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("the payload is a %T, which JSON cannot carry: %w", payload, err)
	}
	return encoded, nil
}
