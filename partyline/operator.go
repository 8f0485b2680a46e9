// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
	"unique"
)

// Handler answers asks for a service. The context comes from the asker and knows which asks led here,
// so a handler that asks around in turn must pass it on. A handler declines by returning ErrHighAndDry,
// possibly wrapped. Any other error, or a panic, is a failure of this guest alone.
//
// A handler may be called from several goroutines at once. It must not modify the payload, which other
// handlers get, too.
type Handler func(ctx context.Context, payload any) (answer any, err error)

// Operator is a guest's handle on the partyline. An application that was not invited has a nil
// Operator, which belongs to no guest and no partyline: connecting or asking through it returns an
// error that says so.
type Operator struct {
	partyline *Partyline
	guest     unique.Handle[string] // noGuest for a caller that is none
	only      unique.Handle[string] // whom alone it asks; noGuest for all
	local     bool                  // whether it asks no remote handlers
	direct    bool                  // whether it is an error if that one is not connected
	here      bool                  // whether it asks no guests of other nodes
	node      string                // the guest's; empty for this one

	// Guarded by partyline.mu:
	memberships map[string]*membership // by service
	onLine      bool
	left        bool
	onLeave     []func()
}

// noGuest is in place of the name of a caller that is not a guest.
var noGuest unique.Handle[string]

func guestName(guest unique.Handle[string]) string {
	if guest == noGuest {
		return ""
	}
	return guest.Value()
}

// Guest returns the guest's name, empty for a caller that is not a guest.
func (o *Operator) Guest() string {
	if o == nil {
		return ""
	}
	return guestName(o.guest)
}

// String returns the guest's name, so that Caddy prints and matches the request variable that holds
// an operator as that name.
func (o *Operator) String() string { return o.Guest() }

// Partyline returns the partyline the operator belongs to, nil for a nil Operator.
func (o *Operator) Partyline() *Partyline {
	if o == nil {
		return nil
	}
	return o.partyline
}

// Only returns an operator with which the same guest, or caller that is not one, asks a single guest,
// whoever a payload is addressed to. It cannot connect. It is experimental.
func (o *Operator) Only(guest string) *Operator {
	if o == nil {
		return nil
	}
	return o.asking(func(asks *Operator) { asks.only = unique.Make(guest) })
}

// Local returns an operator with which the same guest, or caller that is not one, asks only handlers of
// this process, and so waits for nothing outside it. It cannot connect. It is experimental.
func (o *Operator) Local() *Operator {
	if o == nil {
		return nil
	}
	return o.asking(func(asks *Operator) { asks.local = true })
}

// asking returns an operator with which the same guest asks, in another way.
func (o *Operator) asking(set func(asks *Operator)) *Operator {
	asks := &Operator{partyline: o.partyline, guest: o.guest, only: o.only, local: o.local, here: o.here, direct: o.direct}
	set(asks)
	return asks
}

// Connect connects a handler under a service. A service can have many handlers, of one guest or of
// several. Guests named in [Partyline.SetOrder], which includes all that are invited, are asked in that
// order, whenever they connect. All others are asked after them, in the order in which they connect.
// Connect returns an error for an empty service name, a nil handler or an operator without a guest
// name, and ErrLeft after Leave.
func (o *Operator) Connect(service string, h Handler) error {
	return o.connect(service, connection{handler: h})
}

// ConnectRemote is Connect for a handler that waits for something outside this process. Remote
// handlers are started together, each in its own goroutine, when an ask reaches the first of them;
// their replies still come in the order in which they are connected. The handler must return soon
// after its context has ended.
func (o *Operator) ConnectRemote(service string, h Handler) error {
	return o.connect(service, connection{handler: h, remote: true})
}

// ConnectPrompt is ConnectRemote for a handler that returns as soon as its context has ended, whatever
// it is waiting for. If an ask calls no other remote handler, it calls this one in the asker's
// goroutine, which is faster. It is experimental.
func (o *Operator) ConnectPrompt(service string, h Handler) error {
	return o.connect(service, connection{handler: h, remote: true, prompt: true})
}

// ConnectForAll is Connect for a handler that is also called in asks that are addressed to another
// guest. It is experimental: see Options.Addressee.
func (o *Operator) ConnectForAll(service string, h Handler) error {
	return o.connect(service, connection{handler: h, forAll: true})
}

func (o *Operator) connect(name string, c connection) error {
	switch {
	case o == nil:
		return errNoOperator
	case o.guest == noGuest:
		return &partylineError{"connecting needs a guest name: this operator can only ask"}
	case o.only != noGuest:
		return &partylineError{fmt.Sprintf("an operator that asks only guest %q cannot connect: connect with the operator that it was made from", o.only.Value())}
	case o.local:
		return &partylineError{fmt.Sprintf("an operator of guest %q that asks no remote handlers cannot connect: connect with the operator that it was made from", o.Guest())}
	case o.here:
		return &partylineError{fmt.Sprintf("an operator of guest %q that asks no guests of other nodes cannot connect: connect with the operator that it was made from", o.Guest())}
	case name == "":
		return &partylineError{fmt.Sprintf("guest %q connects a handler under a service without a name", o.Guest())}
	case c.handler == nil:
		return &partylineError{fmt.Sprintf("the handler that guest %q connects under service %q is nil", o.Guest(), name)}
	}
	p := o.partyline
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.left {
		return ErrLeft
	}
	replies, asks := p.options.Counts.of(o.Guest(), name)
	c.guest, c.counter, c.listing, c.away = o.guest, replies, cmp.Or(c.listing, new(listing)), o.node != ""
	s := p.service(name)
	if s == nil {
		s = &service{partyline: p, name: name, counter: asks, memberships: make(map[unique.Handle[string]][]*membership)}
		s.order.Store(new(order))
		if p.options.Addressee != nil {
			s.addressee = p.options.Addressee(name)
		}
		if p.options.Key != nil {
			s.key = p.options.Key(name)
		}
		if p.options.Preference != nil {
			s.prefers = p.options.Preference(name)
		}
		p.services.Store(name, s)
	}
	var displaced *membership
	own, ok := o.memberships[name]
	if !ok {
		own = &membership{away: o.node != ""}
		o.memberships[name] = own
		displaced = s.enter(o.guest, own)
	}
	s.add(own, displaced, c)
	o.arrive()
	p.changes.Add(1)
	return nil
}

// Reserve keeps a place in the order of a service for whatever the guest connects under it, also with
// other operators and after it has left. The place is behind all guests that are connected already or
// have reserved one. Reserve returns an error for an operator without a guest name.
func (o *Operator) Reserve(service string) error {
	switch {
	case o == nil:
		return errNoOperator
	case o.guest == noGuest:
		return &partylineError{"reserving a place needs a guest name: this operator can only ask"}
	}
	p := o.partyline
	p.mu.Lock()
	defer p.mu.Unlock()
	r := reservation{o.guest, service}
	if p.reserved[r] == 0 {
		p.reserved[r] = p.nextPlace()
	}
	return nil
}

// Join puts the guest on the line, as connecting something does, and tells the Observer. Joining twice,
// or after Leave, does nothing.
func (o *Operator) Join() {
	o.partyline.mu.Lock()
	defer o.partyline.mu.Unlock()
	if o.left || o.guest == noGuest {
		return
	}
	guest := o.arrive()
	o.partyline.changes.Add(1)
	if observer := o.partyline.options.Observer; !guest.announced && observer != nil {
		observer.GuestJoined(o.Guest())
	}
	guest.announced = true
}

// arrive puts the guest on the line. The partyline must be locked.
func (o *Operator) arrive() *presentGuest {
	guest, ok := o.partyline.guests[o.guest]
	if !ok {
		guest = &presentGuest{operators: make(map[*Operator]struct{}), since: time.Now()}
		o.partyline.guests[o.guest] = guest
	}
	if !o.onLine {
		o.onLine = true
		guest.operators[o] = struct{}{}
	}
	return guest
}

// OnLine reports whether the operator has joined, or connected something, and not left.
func (o *Operator) OnLine() bool {
	o.partyline.mu.Lock()
	defer o.partyline.mu.Unlock()
	return o.onLine && !o.left
}

// Leave disconnects the operator's handlers. Asks under way may still call them. Afterwards the
// operator can ask, but not connect. Leaving twice does nothing.
func (o *Operator) Leave() {
	if o == nil {
		return
	}
	for _, f := range o.leave() {
		f()
	}
}

// OnLeave calls a function when the operator has left, or at once if it has left already.
func (o *Operator) OnLeave(f func()) {
	o.partyline.mu.Lock()
	left := o.left
	if !left {
		o.onLeave = append(o.onLeave, f)
	}
	o.partyline.mu.Unlock()
	if left {
		f()
	}
}

// leave returns what is to be called when the operator has left.
func (o *Operator) leave() (onLeave []func()) {
	p := o.partyline
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.left {
		return nil
	}
	o.left = true
	defer p.changes.Add(1) // when it is seen to have left
	onLeave, o.onLeave = o.onLeave, nil
	services := slices.Sorted(maps.Keys(o.memberships))
	for name, own := range o.memberships {
		s := p.service(name)
		s.remove(o.guest, own)
		if len(s.memberships) == 0 {
			p.services.Delete(name)
		}
	}
	o.memberships = nil
	if !o.onLine {
		return onLeave
	}
	guest := p.guests[o.guest]
	delete(guest.operators, o)
	if len(guest.operators) > 0 {
		return onLeave
	}
	delete(p.guests, o.guest)
	if observer := p.options.Observer; guest.announced && observer != nil {
		observer.GuestLeft(o.Guest(), services)
	}
	return onLeave
}

// Services returns the names of the services the operator is connected under, in alphabetical order.
func (o *Operator) Services() []string {
	o.partyline.mu.Lock()
	defer o.partyline.mu.Unlock()
	return slices.Sorted(maps.Keys(o.memberships))
}
