// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Whom to ask for a service, and in which order: by rank, which guests have by SetOrder, then by
// place. Each guest has one membership for each of its operators that are connected, of which the
// first is asked:
//
//	SetOrder(blog, shop)      memberships        connections
//	                          wiki: [1]          blog 3, blog 4
//	                          shop: [2] [5]  →   shop 2
//	                          blog: [3 4]        wiki 1
//
// The numbers are places, given out as handlers are connected. When the operator of shop that has
// place 2 leaves, the other one takes that place: a guest that hands over from one operator to the
// next stays where it is.

package partyline

import (
	"cmp"
	"context"
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
	addressee func(payload any) (guest string)      // may be nil
	key       func(payload any) (string, bool)      // may be nil
	prefers   func(context.Context, any) Preference // may be nil
	keyed     bool                                  // a handler that has keys has been connected; guarded by Partyline.mu

	order atomic.Pointer[order]

	memberships map[unique.Handle[string]][]*membership // of each guest, as they connected; guarded by Partyline.mu
}

// order is whom to ask, one after the other. It is never changed; longer slices of a later one may
// share its arrays.
type order struct {
	connections []connection
	counters    []*counter // the connections', in any order
	number      uint32     // of the service's orders
	index       *index     // nil if all are called with every payload

	guests atomic.Pointer[map[string][]connection] // the connections of each; nil until one is looked for
}

// fewConnections are no more than are looked through as fast as one is looked up.
const fewConnections = 8

// of returns the connections of that guest, and maybe others.
func (o *order) of(guest string) []connection {
	if len(o.connections) <= fewConnections {
		return o.connections
	}
	guests := o.guests.Load()
	if guests == nil {
		all := make(map[string][]connection)
		for i, c := range o.connections {
			name := c.guest.Value()
			if own, ok := all[name]; ok {
				all[name] = append(own, c)
			} else {
				all[name] = o.connections[i : i+1 : i+1]
			}
		}
		guests = &all
		o.guests.Store(guests)
	}
	return (*guests)[guest]
}

// connection is a handler that is connected.
type connection struct {
	guest   unique.Handle[string]
	handler Handler
	counter *counter
	remote  bool
	prompt  bool // a remote one that returns as soon as its context ends
	forAll  bool // called whomever an ask is addressed to
	away    bool // of a guest on another node
	rank    int32
	listing *listing
}

// listing is what of a connection is needed only where orders are made, keys looked up, and remote handlers called: a loop
// over many connections is the quicker the shorter they are.
type listing struct {
	has   func(key string) bool // nil: called by every key
	place uint64                // guarded by Partyline.mu
	begin Begin                 // calls a remote handler without waiting; may be nil
}

// membership is what one operator has connected under one service.
type membership struct {
	connections []connection
	away        bool // the operator is on another node
}

// enter adds a membership of the guest, behind its others: those of this node come first. It returns
// the one that was asked and no longer is. The partyline must be locked.
func (s *service) enter(guest unique.Handle[string], m *membership) (displaced *membership) {
	memberships := s.memberships[guest]
	at := len(memberships)
	if !m.away {
		at = sort.Search(at, func(i int) bool { return memberships[i].away })
	}
	if at == 0 && len(memberships) > 0 {
		displaced = memberships[0]
	}
	s.memberships[guest] = slices.Insert(memberships, at, m)
	return displaced
}

// only returns the one guest to ask, noGuest for all.
func (s *service) only(payload any) unique.Handle[string] {
	if s.addressee == nil {
		return noGuest
	}
	return (*s.partyline.ranks.Load())[s.addressee(payload)].guest
}

// connections returns whom to ask.
func (s *service) connections() []connection { return s.order.Load().connections }

// setOrder says whom to ask from now on. The partyline must be locked.
func (s *service) setOrder(connections []connection, counters []*counter) {
	counts := s.partyline.options.Counts
	counts.mu.Lock()
	defer counts.mu.Unlock()
	s.counter.order++ // for whoever asks in the order before, each handler is counted from now on
	s.counter.settle()
	s.counter.all = counters
	next := &order{connections: connections, counters: counters, number: s.counter.order}
	if s.keyed {
		next.index = newIndex()
	}
	s.order.Store(next)
}

// add connects c as part of m, which takes the place of displaced if that is not nil. The partyline must
// be locked.
func (s *service) add(m, displaced *membership, c connection) {
	place, reserved := s.partyline.reserved[reservation{c.guest, s.name}]
	if !reserved {
		place = s.partyline.nextPlace()
	}
	c.rank, c.listing.place = s.partyline.rankOf(c.guest), place
	m.connections = append(m.connections, c)
	s.keyed = s.keyed || c.listing.has != nil
	if displaced != nil {
		m.succeed(displaced)
		s.rebuild()
		return
	}
	if s.memberships[c.guest][0] != m {
		return
	}
	connections := s.connections()
	behind := func(i int) bool { return compare(connections[i], c) > 0 }
	if n := len(connections); n > 0 && behind(n-1) { // mostly not: appending copies nothing
		i := sort.Search(n, behind)
		connections = slices.Concat(connections[:i], []connection{c}, connections[i:])
	} else {
		connections = append(connections, c)
	}
	s.setOrder(connections, append(s.order.Load().counters, c.counter))
}

// compare says which of two connections is asked first.
func compare(a, b connection) int {
	return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.listing.place, b.listing.place))
}

// remove takes m out of the service. If m was asked, the guest's next membership takes its places,
// but for those where that one was earlier itself. The partyline must be locked.
func (s *service) remove(guest unique.Handle[string], m *membership) {
	i := slices.Index(s.memberships[guest], m)
	memberships := slices.Delete(s.memberships[guest], i, i+1)
	s.memberships[guest] = memberships
	switch {
	case len(memberships) == 0:
		delete(s.memberships, guest)
		s.leaveOut(guest)
	case i == 0:
		memberships[0].succeed(m)
		s.rebuild()
	}
}

// leaveOut takes a guest's connections out of the order, in which the others stay where they are. The
// partyline must be locked.
func (s *service) leaveOut(guest unique.Handle[string]) {
	var connections []connection
	var counters []*counter
	for _, c := range s.connections() {
		if c.guest != guest {
			connections, counters = append(connections, c), append(counters, c.counter)
		}
	}
	s.setOrder(connections, counters)
}

// succeed has m take the places of another membership, but for those where it is earlier itself.
func (m *membership) succeed(other *membership) {
	for i := range min(len(m.connections), len(other.connections)) {
		place := &m.connections[i].listing.place
		*place = min(*place, other.connections[i].listing.place)
	}
}

// rebuild makes the order anew from the memberships. The partyline must be locked.
func (s *service) rebuild() {
	var connections []connection
	var counters []*counter
	for guest, memberships := range s.memberships {
		rank := s.partyline.rankOf(guest)
		for _, c := range memberships[0].connections {
			c.rank = rank
			connections, counters = append(connections, c), append(counters, c.counter)
		}
	}
	slices.SortStableFunc(connections, compare)
	s.setOrder(connections, counters)
}

// reservation is of a guest's place in the order of a service.
type reservation struct {
	guest   unique.Handle[string]
	service string
}

// ranked is a guest with its place among those that are asked before all others.
type ranked struct {
	guest unique.Handle[string]
	rank  int32
}

// SetOrder makes asks call these guests in this order, whenever they connect, and all others after them,
// in the order in which they connect. A guest that is named twice keeps its first place. Asks under way
// go on in the old order. It is experimental.
func (p *Partyline) SetOrder(guests []string) {
	ranks := make(map[string]ranked, len(guests))
	for i, guest := range slices.Backward(guests) {
		ranks[guest] = ranked{unique.Make(guest), int32(i)}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ranks.Store(&ranks)
	p.services.Range(func(_, s any) bool {
		s.(*service).rebuild()
		return true
	})
	p.changes.Add(1)
}

// IsInOrder reports whether the guest is one of those in SetOrder. It is experimental.
func (p *Partyline) IsInOrder(guest string) bool {
	_, ok := (*p.ranks.Load())[guest]
	return ok
}

func (p *Partyline) rankOf(guest unique.Handle[string]) int32 {
	if ranked, ok := (*p.ranks.Load())[guest.Value()]; ok {
		return ranked.rank
	}
	return math.MaxInt32
}

// nextPlace returns the place behind all others. The partyline must be locked.
func (p *Partyline) nextPlace() uint64 {
	p.lastPlace++
	return p.lastPlace
}
