// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Who asks for a service, how often.

package partyline

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"unique"
)

// maxPairs is how many pairs of asker and service of a party are counted apart.
const maxPairs = 4096

// askers are the guests that have asked for a service. The map is never changed but replaced, so that asks
// wait for no lock.
type askers map[unique.Handle[string]]shards

func (a *askers) all() askers {
	if a == nil {
		return nil
	}
	return *a
}

// asksOf returns where the asks of a guest for the service are counted, those of others together.
func (c *counter) asksOf(guest unique.Handle[string]) shards {
	if guest == noGuest {
		return c.shards
	}
	if s, ok := c.askers.Load().all()[guest]; ok {
		return s
	}
	return c.newAsker(guest)
}

func (c *counter) newAsker(guest unique.Handle[string]) shards {
	pairs := &c.counts.pairs
	if pairs.Add(1) > maxPairs {
		pairs.Add(-1)
		return c.shards
	}
	s := newShards()
	for {
		before := c.askers.Load()
		if other, ok := before.all()[guest]; ok { // another ask was faster
			pairs.Add(-1)
			return other
		}
		after := maps.Clone(before.all())
		if after == nil {
			after = make(askers)
		}
		after[guest] = s
		if c.askers.CompareAndSwap(before, &after) {
			return s
		}
	}
}

// forgetAsker counts what a guest has asked for as asks of nobody. The counts must be locked.
func (c *Counts) forgetAsker(guest string) {
	name, pairs := unique.Make(guest), 0
	for what, service := range c.counters {
		if what.guest == "" {
			service.forgetAsker(name)
			pairs += len(service.askers.Load().all())
		}
	}
	c.pairs.Store(int32(pairs))
}

func (c *counter) forgetAsker(guest unique.Handle[string]) {
	for {
		before := c.askers.Load()
		asks, ok := before.all()[guest]
		if !ok {
			return
		}
		after := maps.Clone(*before)
		delete(after, guest)
		if c.askers.CompareAndSwap(before, &after) {
			c.settleOf(asks)
			c.shards[0][asked].Add(asks.sums()[asked])
			return
		}
	}
}

// addAll counts an ask, in the shards of its asker, that all handlers in an order answered, or all
// declined: by one addition, next to the order's number. It returns false if it has not, because there
// is a later order, another ask was faster, or there is no room.
func (c *counter) addAll(asks shards, shard, order uint32, came figure) bool {
	all := &asks[int(shard)&(len(asks)-1)][came]
	n := all.Load()
	if uint32(n>>32) == order && uint32(n) < math.MaxUint32 && all.CompareAndSwap(n, n+1) {
		return true
	}
	if n == 0 && c.counts.mu.TryLock() { // the asker is new; with the counts locked, the order is the latest
		c.number(asks)
		c.counts.mu.Unlock()
	}
	return false
}

// number puts the number of the latest order into shards that have none. The counts must be locked.
func (c *counter) number(asks shards) {
	for i := range asks {
		for _, came := range agreements {
			asks[i][came].CompareAndSwap(0, uint64(c.order)<<32)
		}
	}
}

// agreements are the figures of addAll.
var agreements = [...]figure{answered, declined}

// settle counts for each asker and handler what addAll has counted. The counts must be locked.
func (c *counter) settle() {
	c.settleOf(c.shards)
	for _, s := range c.askers.Load().all() {
		c.settleOf(s)
	}
}

func (c *counter) settleOf(asks shards) {
	for i := range asks {
		for _, came := range agreements {
			if n := uint32(asks[i][came].Swap(uint64(c.order) << 32)); n > 0 {
				asks[i][asked].Add(uint64(n))
				for _, replies := range c.all {
					replies.shards[i][came].Add(uint64(n))
				}
			}
		}
	}
}

// asks returns how often a service was asked for. The counter must be settled.
func (c *counter) asks() uint64 {
	n := c.sums()[asked]
	for _, s := range c.askers.Load().all() {
		n += s.sums()[asked]
	}
	return n
}

// Askers returns who asked for the services that somebody is connected under now, and how often, in
// alphabetical order of guests and services. It counts as Counts does, and is experimental.
func (p *Partyline) Askers() []AskerCount {
	made, seen := []AskerCount{}, make(map[*counter]bool)
	counts := p.options.Counts
	counts.mu.Lock()
	defer counts.mu.Unlock()
	p.services.Range(func(_, value any) bool {
		c := value.(*service).counter
		if seen[c] {
			return true
		}
		seen[c] = true
		c.settle()
		if n := c.sums()[asked]; n > 0 {
			made = append(made, AskerCount{"", c.service, n})
		}
		for guest, s := range c.askers.Load().all() {
			if n := s.sums()[asked]; n > 0 {
				made = append(made, AskerCount{guest.Value(), c.service, n})
			}
		}
		return true
	})
	slices.SortFunc(made, func(a, b AskerCount) int {
		return cmp.Or(cmp.Compare(a.Guest, b.Guest), cmp.Compare(a.Service, b.Service))
	})
	return made
}
