// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// An ask for something by its key calls only those who have that.

package partyline

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	maxKept    = 1 << 16 // keys of one order, and connections that had to be copied for them
	maxKeptKey = 512     // bytes; who has a longer key is found anew
)

// ConnectKeyed is ConnectForAll for a handler that can answer only asks whose key it has. An ask with
// another key skips the handler: the handler is not called, gives no reply, and is not counted. The
// first ask with a key, after somebody has connected or left, finds out who has the key. Later ones
// reuse that, unless nobody has the key. Options.Key says what the key of an ask is. An ask without a
// key calls all handlers.
//
// As long as the handler is connected, has must return the same for the same key. It may be called from
// several goroutines at once, and must not call the partyline. If it panics, the handler is called.
// ConnectKeyed is experimental.
func (o *Operator) ConnectKeyed(service string, has func(key string) bool, h Handler) error {
	if has == nil {
		return &partylineError{fmt.Sprintf("guest %q connects a handler under service %q without a function that says which keys it has", o.Guest(), service)}
	}
	return o.connect(service, connection{handler: h, listing: &listing{has: has}, forAll: true})
}

// index is who has which key, of the connections in one order. It is made of the keys that are asked
// by: connecting a handler costs the same however many keys that has.
type index struct {
	found atomic.Pointer[sync.Map] // of key to *[]connection
	kept  atomic.Int32             // how much there is in it
}

func newIndex() *index {
	i := new(index)
	i.found.Store(new(sync.Map))
	return i
}

// whoMayAnswer returns the connections to call with the payload, in order.
func (s *service) whoMayAnswer(order *order, payload any) []connection {
	if s.key == nil {
		return order.connections
	}
	key, ok := s.key(payload)
	if !ok {
		return order.connections
	}
	found := order.index.found.Load()
	if known, ok := found.Load(key); ok {
		return *known.(*[]connection)
	}
	connections, weight := have(order.connections, key)
	if weight > 0 && len(key) <= maxKeptKey {
		kept := connections // which alone is allocated
		order.index.keep(found, key, &kept, weight)
	}
	return connections
}

// have returns the connections that have the key, or are called by every key, and how much of the
// index they take: nothing if nobody has the key, for of such keys there is no end.
func have(connections []connection, key string) (who []connection, weight int32) {
	first, end := 0, 0 // of those who are called, as long as they follow each other
	for i := range connections {
		c := &connections[i]
		if c.listing.has != nil {
			if !c.hasKey(key) {
				continue
			}
			weight = 1
		}
		switch {
		case who != nil:
			who = append(who, *c)
		case first == end:
			first, end = i, i+1
		case i == end:
			end++
		default:
			who = append(slices.Clone(connections[first:end]), *c)
		}
	}
	if who == nil {
		return connections[first:end:end], weight
	}
	return who, weight * int32(1+len(who))
}

// hasKey lets a handler be called of which it cannot be said.
func (c *connection) hasKey(key string) (has bool) {
	defer func() {
		if recover() != nil {
			has = true
		}
	}()
	return c.listing.has(key)
}

// keep keeps who has the key. When there is no more room, all is forgotten: the keys that are asked
// by are soon there again.
func (i *index) keep(found *sync.Map, key string, connections *[]connection, weight int32) {
	_, known := found.LoadOrStore(strings.Clone(key), connections)
	if !known && i.kept.Add(weight) > maxKept && i.found.CompareAndSwap(found, new(sync.Map)) {
		i.kept.Store(0)
	}
}
