// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// Invitation is what an invite brings its guest. It keeps its config in memory, so that a
// guest that keeps it lets go of it when its next invite comes.
type Invitation struct {
	// Operator is the guest's handle on the partyline.
	Operator *Operator

	// URI is the invite's. Its path is the one that requests have when they
	// reach the party. Where it has a scheme and a host, links to the guest
	// begin with them.
	URI *url.URL

	// Prefix is what was stripped from the path before that. It is the beginning
	// of every path that the guest links to. It is empty where that differs for each
	// request: see PrefixFor.
	Prefix string

	host    *Host
	invited *invited
	taken   atomic.Bool
	again   bool                   // it is not the first
	hint    string                 // what to do about the manifest by which the guest joins
	old     time.Time              // when the manifest was fetched by which the guest joins, zero unless it is an old one
	passed  atomic.Pointer[string] // why a guest's handler did not take it, and what to write
	pending chan struct{}          // nil, or closed when the guest knows whether it joins
	judged  chan struct{}          // nil, or closed when the application has been asked
}

// PrefixFor returns the Prefix, escaped, of links that are made for a request, or in
// answer to an ask, whose context that is. It is always the same unless the party's
// prefix is that of a header which a trusted proxy sets.
func (i *Invitation) PrefixFor(ctx context.Context) string {
	return escapePath(i.host.prefixFor(ctx))
}

type invitationKey struct{}

// invitationOf returns the invitation without taking it, nil if there is none.
func invitationOf(r *http.Request) *Invitation {
	i, _ := r.Context().Value(invitationKey{}).(*Invitation)
	return i
}

// InvitationFrom returns what an invite brings its guest, and takes it: the guest
// has joined if it then answers with a 2xx status. It returns false on an
// ordinary request, whatever that contains, and whatever path a rewrite has given it.
// The request's context ends with the invite and is not to be kept for asking later. It
// also ends as soon as somebody is about to connect to something in it, since an invite
// stays in the process: a guest that has to, to join, uses a context of its own.
func InvitationFrom(r *http.Request) (*Invitation, bool) {
	i := invitationOf(r)
	if i == nil {
		return nil, false
	}
	i.taken.Store(true)
	return i, true
}

// OperatorFrom is InvitationFrom for a guest that needs only the operator.
func OperatorFrom(r *http.Request) (*Operator, bool) {
	i, ok := InvitationFrom(r)
	if !ok {
		return nil, false
	}
	return i.Operator, true
}
