// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What is kept from config to config: for each payload, what each guest has answered.

package gather

import (
	"container/list"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// key is what makes answers those of the same document.
type key struct {
	party, service, as, payload, rebase string
	maxResponse                         int64
	fresh, stale                        time.Duration
}

func (g *Gather) key() key {
	fresh, stale := g.Cache.times()
	return key{g.Party, g.Service, g.As, string(g.Payload) + "\x00" + strings.Join(g.PayloadTypes, "\x00"), strings.Join(g.Rebase, "\x00"), g.MaxResponse, fresh, stale}
}

const (
	maxSets  = 256      // of one gathering
	maxKept  = 64 << 20 // bytes of answers, payloads and documents in one gathering, beside the last set used
	maxTurns = 64       // sets of one gathering whose guests are asked at once
	maxLate  = 256      // and of which only guests are still asked that take long
)

// gathering is what is kept of a document, for each payload by itself. Those that were used more than once stay when there
// are too many: what a visitor makes up is used once.
type gathering struct {
	key
	turns chan struct{} // of those that ask
	late  chan struct{} // of those that wait for guests that take long

	mu         sync.Mutex
	sets       map[setKey]*list.Element // of used and once
	used, once list.List                // of *set, the last one used in front
	size       int
}

// setKey is of the payload with placeholders replaced, and of the prefix of links.
type setKey [sha256.Size]byte

var gatherings = kept.New(func(k key) *gathering {
	return &gathering{key: k, turns: make(chan struct{}, maxTurns), late: make(chan struct{}, maxLate), sets: make(map[setKey]*list.Element)}
}, nil)

// set returns what is kept for the payload, and for the prefixes of whoever asks in that context.
func (g *gathering) set(ctx context.Context, q *question) (*set, error) {
	shared, prefix := q.entry.Shared(ctx)
	k, size := setKey{}, 0
	fixed := q.Gather.payload.Fixed()
	if !fixed || prefix != "" {
		payload, err := wire.Encode(q.payload)
		if err != nil {
			return nil, err
		}
		k, size = sha256.Sum256(fmt.Appendf(payload, "\x00%s", prefix)), len(payload)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if element, ok := g.sets[k]; ok {
		s := element.Value.(*set)
		g.use(element)
		return s, nil
	}
	s := &set{gathering: g, key: k, ctx: shared, stored: fixed && prefix == "", own: size, guests: make(map[string]*known)}
	g.sets[k] = g.once.PushFront(s)
	g.resize(s, size)
	return s, nil
}

// use moves a set to the front of those that were used more than once. Too many of these are as good as used once.
func (g *gathering) use(element *list.Element) {
	s := element.Value.(*set)
	if s.again {
		g.used.MoveToFront(element)
		return
	}
	g.once.Remove(element)
	s.again = true
	g.sets[s.key] = g.used.PushFront(s)
	if g.used.Len() > maxSets*3/4 {
		last := g.used.Remove(g.used.Back()).(*set)
		last.again = false
		g.sets[last.key] = g.once.PushFront(last)
	}
}

// resized takes down how large a set is now.
func (g *gathering) resized(s *set, size int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if element, ok := g.sets[s.key]; ok && element.Value == s {
		g.resize(s, s.own+size)
	}
}

// resize makes room, if there is too little.
func (g *gathering) resize(s *set, size int) {
	g.size += size - s.size
	s.size = size
	for len(g.sets) > maxSets || g.size > maxKept && len(g.sets) > 1 {
		from := &g.once
		if from.Len() == 0 || from.Len() == 1 && from.Front().Value == s {
			from = &g.used
		}
		last := from.Back()
		if last.Value == s {
			last = last.Prev()
		}
		if last == nil {
			return
		}
		gone := from.Remove(last).(*set)
		delete(g.sets, gone.key)
		g.size -= gone.size
	}
}
