// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Asks of one guest, by its name.

package partyline

import (
	"context"
	"fmt"
	"unique"
)

// Ask is AskAround for one guest, wherever that is and whoever the payload is addressed to. It calls
// all handlers that the guest has connected under the service. If the guest is not connected under the
// service, the error is a *NoSuchServiceError that names the guest, unless the partyline ignores missing
// services. An empty guest name is an error. A guest that asks itself gets no answers and no error.
//
// An ask of one guest costs the same however many others are connected.
func (o *Operator) Ask(ctx context.Context, guest, service string, payload any) ([]any, error) {
	if o == nil {
		return nil, errNoOperator
	}
	direct := o.directly(guest)
	return direct.AskAround(ctx, service, payload)
}

// Direct returns an operator with which the same guest, or caller that is not one, asks a single guest
// as Ask does, in whatever way: also with Replies, First and All. It cannot connect. It is experimental.
func (o *Operator) Direct(guest string) *Operator {
	if o == nil {
		return nil
	}
	direct := o.directly(guest)
	return &direct
}

// directly returns the operator itself, which the caller need not allocate.
func (o *Operator) directly(guest string) Operator {
	return Operator{partyline: o.partyline, guest: o.guest, only: unique.Make(guest), local: o.local, here: o.here, direct: true}
}

// ofOne returns the connections of one guest to call with the payload, and maybe others.
func (s *service) ofOne(order *order, guest string, payload any) []connection {
	own := order.of(guest)
	switch {
	case order.index == nil || s.key == nil:
		return own
	case len(own) == len(order.connections): // maybe others', of which is kept who has the key
		return s.whoMayAnswer(order, payload)
	}
	if key, ok := s.key(payload); ok {
		own, _ = have(own, key)
	}
	return own
}

// reaches reports whether the one guest to ask is connected.
func (o *Operator) reaches(order *order) bool {
	connections := order.of(o.only.Value())
	for i := range connections { // which are long to copy
		if c := &connections[i]; c.guest == o.only && !(o.here && c.away) {
			return true
		}
	}
	return false
}

// noSuchGuest is what an ask gets of which the one guest is not connected.
func (o *Operator) noSuchGuest(service string) error {
	switch guest := o.only.Value(); {
	case guest == "":
		return &partylineError{fmt.Sprintf("an ask of one guest for service %q has no guest: write the guest's name, or ask around", service)}
	case o.partyline.ignoreMissingServices.Load():
		return nil
	default:
		return &NoSuchServiceError{Party: o.partyline.name, Service: service, Guest: guest}
	}
}

// RemoteHandlers returns how many remote handlers an ask of the operator's calls at once, those of its
// own guest included. It is experimental.
func (o *Operator) RemoteHandlers(service string, payload any) (n int) {
	if o == nil || o.local {
		return 0
	}
	if o.only == noGuest {
		return o.partyline.RemoteHandlers(service, payload)
	}
	s := o.partyline.service(service)
	if s == nil {
		return 0
	}
	for _, c := range s.order.Load().of(o.only.Value()) {
		if c.remote && c.guest == o.only && !(o.here && c.away) {
			n++
		}
	}
	return n
}
