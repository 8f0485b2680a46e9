// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Whom to ask for a service, and in which order. Guests in SetOrder come first, in that
// order, then all others by their places. Each guest has one membership for each of its
// operators that are connected, of which the first is asked:
//
//	SetOrder(blog, shop)      memberships        connections
//	                          wiki: [1]          blog 3, blog 4
//	                          shop: [2] [5]  →   shop 2
//	                          blog: [3 4]        wiki 1
//
// The numbers are places, given out as handlers are connected. When the operator of shop
// that has place 2 leaves, the other one takes that place: a guest which hands over from
// one operator to the next stays where it is.

package partyline

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"sync/atomic"
	"unique"
)

// service is everyone who is connected under one name.
type service struct {
	partyline *Partyline
	name      string
	counter   *counter
	addressee func(payload any) (guest string) // may be nil

	// order is whom to ask, one after the other. What was stored is never changed; a
	// longer slice may share its array.
	order atomic.Pointer[[]connection]

	// Guarded by Partyline.mu:
	memberships map[unique.Handle[string]][]*membership // of each guest, in the order they connected
}

// connection is a handler that is connected.
type connection struct {
	guest   unique.Handle[string]
	handler Handler
	counter *counter
	shards  // the counter's, one load nearer
	remote  bool
	forAll  bool // called whomever an ask is addressed to
}

// membership is what one operator has connected under one service.
type membership struct {
	connections []connection
	places      []uint64 // of the connections
}

// only returns the one guest to ask, noGuest for all.
func (s *service) only(payload any) unique.Handle[string] {
	if s.addressee == nil {
		return noGuest
	}
	guest, _ := s.partyline.ranked(s.addressee(payload))
	return guest.guest
}

// connections returns whom to ask.
func (s *service) connections() []connection {
	if order := s.order.Load(); order != nil {
		return *order
	}
	return nil
}

// add connects c as part of m, in its place. The partyline must be locked.
func (s *service) add(m *membership, c connection) {
	place, reserved := s.partyline.reserved[reservation{c.guest, s.name}]
	if !reserved {
		place = s.partyline.nextPlace()
	}
	m.connections = append(m.connections, c)
	m.places = append(m.places, place)
	connections := s.connections()
	rank := s.partyline.rankOf(c.guest)
	behind := func(i int) bool { return s.partyline.rankOf(connections[i].guest) > rank }
	switch n := len(connections); {
	case s.memberships[c.guest][0] != m:
		return
	case reserved:
		s.rebuild()
		return
	case n > 0 && behind(n-1): // mostly not: appending copies nothing
		i := sort.Search(n, behind)
		connections = slices.Concat(connections[:i], []connection{c}, connections[i:])
	default:
		connections = append(connections, c)
	}
	s.order.Store(&connections)
}

// remove takes m out of the service. If m was asked, the guest's next membership takes
// its places, but for those where that one was earlier itself. The partyline must be
// locked.
func (s *service) remove(guest unique.Handle[string], m *membership) {
	memberships := s.memberships[guest]
	i := slices.Index(memberships, m)
	if memberships = slices.Delete(memberships, i, i+1); len(memberships) == 0 {
		delete(s.memberships, guest)
		connections := slices.DeleteFunc(slices.Clone(s.connections()), func(c connection) bool { return c.guest == guest })
		s.order.Store(&connections)
		return
	}
	s.memberships[guest] = memberships
	if i != 0 {
		return
	}
	next := memberships[0]
	for i := range min(len(next.places), len(m.places)) {
		next.places[i] = min(next.places[i], m.places[i])
	}
	s.rebuild()
}

// rebuild makes the order anew from the memberships.
func (s *service) rebuild() {
	type placed struct {
		connection
		rank  int
		place uint64
	}
	var all []placed
	for guest, memberships := range s.memberships {
		rank := s.partyline.rankOf(guest)
		for i, c := range memberships[0].connections {
			all = append(all, placed{c, rank, memberships[0].places[i]})
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.place, b.place)) })
	connections := make([]connection, len(all))
	for i, c := range all {
		connections[i] = c.connection
	}
	s.order.Store(&connections)
}

// reservation is of a guest's place in the order of a service.
type reservation struct {
	guest   unique.Handle[string]
	service string
}

// ranked is a guest with its place among those that are asked before all others.
type ranked struct {
	guest unique.Handle[string]
	rank  int
}

// SetOrder has these guests asked in this order, whenever they connect, and all others
// behind them in the order in which they connect. A guest that is there twice has its
// first place. It is experimental.
func (p *Partyline) SetOrder(guests []string) {
	ranks := make(map[string]ranked, len(guests))
	for i, guest := range guests {
		if _, ok := ranks[guest]; !ok {
			ranks[guest] = ranked{unique.Make(guest), i}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ranks.Store(&ranks)
	p.services.Range(func(_, s any) bool {
		s.(*service).rebuild()
		return true
	})
}

// IsInOrder reports whether the guest is one of those in SetOrder.
func (p *Partyline) IsInOrder(guest string) bool {
	_, ok := p.ranked(guest)
	return ok
}

// ranked returns the guest of that name, if it is one of those that have a rank.
func (p *Partyline) ranked(name string) (ranked, bool) {
	ranks := p.ranks.Load()
	if ranks == nil {
		return ranked{}, false
	}
	guest, ok := (*ranks)[name]
	return guest, ok
}

func (p *Partyline) rankOf(guest unique.Handle[string]) int {
	if guest, ok := p.ranked(guest.Value()); ok {
		return guest.rank
	}
	return math.MaxInt
}
