// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unique"
)

// Partyline is a switchboard: guests connect handlers under the names of services, and ask each
// other's handlers. All its methods, and those of its operators, may be called from any goroutine
// at any time, handlers included.
type Partyline struct {
	name                  string
	options               Options
	ignoreMissingServices atomic.Bool
	ranks                 atomic.Pointer[map[string]ranked] // by guest, as SetOrder says
	changes               atomic.Uint64                     // of who is on the line, and what for; added to when one has been made

	mu        sync.Mutex // serializes connecting and leaving; asking never takes it
	services  sync.Map   // of service name to *service; written with mu held
	guests    map[unique.Handle[string]]*presentGuest
	reserved  map[reservation]uint64 // places in the order of services
	lastPlace uint64
}

// Options configure a Partyline. All but the first are experimental.
type Options struct {
	// IgnoreMissingServices makes an ask for a service that nobody is connected under return no
	// answers instead of a *NoSuchServiceError.
	IgnoreMissingServices bool

	// Observer, if not nil, is told what happens on the line.
	Observer Observer

	// RemoteContext, if not nil, makes the context for an ask's remote handlers from the one they
	// would have. The asker's goroutine calls it, before the first of them is started.
	RemoteContext func(context.Context) context.Context

	// Addressee, if not nil, is called when a service gets its first handler, and must not call the
	// partyline. It returns nil, or a function that takes an ask's payload and names the only guest
	// to ask. If SetOrder does not have that guest, everybody is asked. Several goroutines may call
	// the function at once.
	Addressee func(service string) func(payload any) (guest string)

	// Key, if not nil, is called when a service gets its first handler, and must not call the
	// partyline. It returns nil, or a function that takes an ask's payload and returns the ask's key,
	// if it has one. Several goroutines may call the function at once. See Operator.ConnectKeyed.
	Key func(service string) func(payload any) (key string, ok bool)

	// Preference, if not nil, is called when a service gets its first handler, and must not call the
	// partyline. It returns nil, or a function that is called with the context of each ask when the
	// ask begins. That function returns nil, or says which answer comes first. Several goroutines
	// may call it at once.
	Preference func(service string) func(ctx context.Context, payload any) Preference

	// Counts is where asks are counted. Partylines that follow each other may share it. Default:
	// one of the partyline's own.
	Counts *Counts

	// Owner is what Owner returns.
	Owner any
}

// Observer is told what happens on a partyline, by several goroutines at once. It is experimental.
type Observer interface {
	// Observing reports whether BeginAsk is to be called for every ask.
	Observing() bool

	// BeginAsk is called when an ask begins, and the function it returns when that ask has ended:
	// with how many handlers answered, declined and failed, and the error of the ask as a whole.
	BeginAsk(guest, service string) (asked func(answered, declined, failed int, err error))

	// GuestJoined and GuestLeft are called when the first operator of a guest joins, and when its
	// last one leaves after that. They must not call the partyline.
	GuestJoined(guest string)
	GuestLeft(guest string, services []string)
}

// NewPartyline returns a partyline with nobody on it. The name is only a label.
func NewPartyline(name string, opts Options) *Partyline {
	if opts.Counts == nil {
		opts.Counts = new(Counts)
	}
	p := &Partyline{name: name, options: opts, guests: make(map[unique.Handle[string]]*presentGuest), reserved: make(map[reservation]uint64)}
	p.ranks.Store(new(map[string]ranked))
	p.SetIgnoreMissingServices(opts.IgnoreMissingServices)
	return p
}

// Changes returns a number that grows whenever a guest joins or leaves, or connects or disconnects
// anything, and after SetOrder: earlier answers may then be out of date. Read the number before you ask,
// and the answers are at least as new as the number. It takes no lock, and is experimental.
func (p *Partyline) Changes() uint64 { return p.changes.Load() }

// Changed makes Changes return a greater number, after a change that the partyline does not know of.
// It is experimental.
func (p *Partyline) Changed() { p.changes.Add(1) }

// SetIgnoreMissingServices changes the option of that name, for asks that begin from now on.
func (p *Partyline) SetIgnoreMissingServices(ignore bool) { p.ignoreMissingServices.Store(ignore) }

// Name returns the name the partyline was made with.
func (p *Partyline) Name() string { return p.name }

// Owner returns what the partyline was made with as its owner.
func (p *Partyline) Owner() any { return p.options.Owner }

// observing returns the observer if it is to be told of an ask, else nil.
func (p *Partyline) observing() Observer {
	if p.options.Observer != nil && p.options.Observer.Observing() {
		return p.options.Observer
	}
	return nil
}

// Operator returns a new operator for the guest. Operators with the same guest name are replicas of
// one guest: for each service, only the one that connected to it first and has not left is asked. Those
// of other nodes, from OperatorOn, come after those of this one.
// An empty name makes an operator for a caller that is not a guest. It cannot connect, and asks
// everyone.
func (p *Partyline) Operator(guest string) *Operator {
	o := &Operator{partyline: p, memberships: make(map[string]*membership)}
	if guest != "" {
		o.guest = unique.Make(guest)
	}
	return o
}

// GuestInfo is what a partyline knows of a guest.
type GuestInfo struct {
	Name     string
	Services []string  // those it is connected under, in alphabetical order
	Replicas int       // how many operators of this guest are on the line
	Joined   time.Time // since when the guest has been on the line
	Node     string    // where the guest is, if it is not here: see Partyline.OperatorOn
}

// presentGuest is a guest on the line. It is guarded by Partyline.mu.
type presentGuest struct {
	operators map[*Operator]struct{}
	announced bool // one of them has joined, and not just connected something
	since     time.Time
}

// info returns what is known of the guest by those of its operators that count.
func (g *presentGuest) info(name string, counts func(*Operator) bool) (info GuestInfo, ok bool) {
	info = GuestInfo{Name: name, Joined: g.since}
	here := false
	for o := range g.operators {
		if !counts(o) {
			continue
		}
		info.Services = slices.AppendSeq(info.Services, maps.Keys(o.memberships))
		info.Replicas++
		if here = here || o.node == ""; here {
			info.Node = ""
		} else {
			info.Node = max(info.Node, o.node)
		}
	}
	slices.Sort(info.Services)
	info.Services = slices.Compact(info.Services)
	return info, info.Replicas > 0
}

func anywhere(*Operator) bool { return true }

// Guests returns who is on the line, in alphabetical order: the guests that have joined, or
// connected something, and have not left.
func (p *Partyline) Guests() []GuestInfo { return p.guestsWhere(anywhere) }

func (p *Partyline) guestsWhere(counts func(*Operator) bool) []GuestInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	guests := make([]GuestInfo, 0, len(p.guests))
	for guest, present := range p.guests {
		if info, ok := present.info(guest.Value(), counts); ok {
			guests = append(guests, info)
		}
	}
	slices.SortFunc(guests, func(a, b GuestInfo) int { return cmp.Compare(a.Name, b.Name) })
	return guests
}

// Guest returns the guest of that name, and whether it is on the line.
func (p *Partyline) Guest(name string) (GuestInfo, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if present, ok := p.guests[unique.Make(name)]; ok {
		return present.info(name, anywhere)
	}
	return GuestInfo{}, false
}

// Services returns the names of the services somebody is connected under, each with its guests in
// the order in which they are asked. The map is a copy.
func (p *Partyline) Services() map[string][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	services := make(map[string][]string)
	p.services.Range(func(name, s any) bool {
		var guests []string
		seen := make(map[unique.Handle[string]]bool)
		for _, c := range s.(*service).connections() {
			if !seen[c.guest] {
				seen[c.guest] = true
				guests = append(guests, c.guest.Value())
			}
		}
		services[name.(string)] = guests
		return true
	})
	return services
}

// IsConnected reports whether the guest, or anybody for an empty name, is connected under the
// service. It takes no lock, and is experimental.
func (p *Partyline) IsConnected(guest, service string) bool {
	s := p.service(service)
	if s == nil || guest == "" {
		return s != nil
	}
	return slices.ContainsFunc(s.order.Load().of(guest), func(c connection) bool { return c.guest.Value() == guest })
}

// service returns the service of that name, nil if nobody is connected under it.
func (p *Partyline) service(name string) *service {
	loaded, _ := p.services.Load(name)
	s, _ := loaded.(*service)
	return s
}

// Counts returns how often each service that somebody is now connected under was asked for, and how
// its guests replied, both in alphabetical order. A guest's services beyond the first 512 are counted
// together, as "other". Partylines that share their Counts are counted together, too. An ask under way
// may be counted in part.
func (p *Partyline) Counts() ([]AskCount, []ReplyCount) {
	counts := p.options.Counts
	counts.mu.Lock()
	defer counts.mu.Unlock()
	asks, replies, seen := []AskCount{}, make([]ReplyCount, 0, len(counts.counters)), make(map[*counter]bool, len(counts.counters))
	for what, c := range counts.counters {
		if what.guest == "" {
			c.settle()
		}
	}
	p.services.Range(func(_, value any) bool {
		s := value.(*service)
		s.counter.settle() // which may be forgotten
		if !seen[s.counter] {
			seen[s.counter] = true
			asks = append(asks, AskCount{s.counter.service, s.counter.asks()})
		}
		for _, c := range s.connections() {
			if !seen[c.counter] {
				seen[c.counter] = true
				replies = append(replies, c.counter.replies())
			}
		}
		return true
	})
	slices.SortFunc(asks, func(a, b AskCount) int { return cmp.Compare(a.Service, b.Service) })
	slices.SortFunc(replies, func(a, b ReplyCount) int {
		return cmp.Or(cmp.Compare(a.Guest, b.Guest), cmp.Compare(a.Service, b.Service))
	})
	return asks, replies
}
