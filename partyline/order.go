// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

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

	// order is whom to ask. What was stored is never changed; a longer slice of
	// connections may share its array.
	order atomic.Pointer[order]

	// Guarded by Partyline.mu:
	memberships map[unique.Handle[string]][]*membership // of each guest, in the order they connected; the first is asked
}

// only returns the one guest to ask, noGuest for all.
func (s *service) only(payload any) unique.Handle[string] {
	if s.addressee == nil {
		return noGuest
	}
	guest, _ := s.partyline.ranked(s.addressee(payload))
	return guest.guest
}

func (s *service) load() *order {
	if order := s.order.Load(); order != nil {
		return order
	}
	return &noConnections
}

func (s *service) add(p *membership, c connection) {
	place, reserved := s.partyline.reserved[reservation{c.guest, s.name}]
	if !reserved {
		place = s.partyline.nextPlace()
	}
	p.connections = append(p.connections, c)
	p.places = append(p.places, place)
	connections := s.load().connections
	rank := s.partyline.rankOf(c.guest)
	behind := func(i int) bool { return s.partyline.rankOf(connections[i].guest) > rank }
	switch n := len(connections); {
	case s.memberships[c.guest][0] != p:
	case reserved:
		s.rebuild()
	case n > 0 && behind(n-1): // by far not always: appending copies nothing
		i := sort.Search(n, behind)
		s.order.Store(&order{connections: slices.Concat(connections[:i], []connection{c}, connections[i:])})
	default:
		s.order.Store(&order{connections: append(connections, c)})
	}
}

// remove takes p out of the service. If p was the one being asked, the guest's
// next membership takes its places, but for those where it was earlier itself.
func (s *service) remove(guest unique.Handle[string], p *membership) {
	memberships := s.memberships[guest]
	i := slices.Index(memberships, p)
	memberships = slices.Delete(memberships, i, i+1)
	if len(memberships) == 0 {
		delete(s.memberships, guest)
	} else {
		s.memberships[guest] = memberships
	}
	if i != 0 {
		return
	}
	if len(memberships) == 0 {
		s.order.Store(&order{connections: slices.DeleteFunc(slices.Clone(s.load().connections), func(c connection) bool { return c.guest == guest })})
	} else {
		for i := range min(len(memberships[0].places), len(p.places)) {
			memberships[0].places[i] = min(memberships[0].places[i], p.places[i])
		}
		s.rebuild()
	}
}

// rebuild makes connections anew from the memberships.
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
	s.order.Store(&order{connections: connections})
}

// order is whom to ask, one after the other.
type order struct {
	connections []connection
}

type connection struct {
	guest   unique.Handle[string]
	handler Handler
	counter *counter
	remote  bool
	forAll  bool // called whomever an ask is addressed to
}

// membership is what one operator has connected under one service.
type membership struct {
	connections []connection
	places      []uint64 // where each connection stands in the service's order
}

// noConnections is the order of a service that has none yet.
var noConnections order

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
