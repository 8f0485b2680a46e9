// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import "net/url"

// What tests of the package need of it beyond its API.
var (
	AddKeys         = (*App).addKeys
	ErrStorageHangs = errStorageHangs
	LoopID          = loopID
	LoopOf          = loopOf
	LoopsIn         = loopsIn
	PageIn          = pageIn
	ProcessID       = processID
	Roots           = &roots
	StorageDo       = (*Storage).do
)

const MaxLoopHeader = maxLoopHeader

// AllowOrigin makes URLs on that host ones that guests may answer with.
func (e *Entry) AllowOrigin(u *url.URL) { e.origins.Store(originOf(u), nil) }

// HostsOf returns the handlers that name a party.
func HostsOf(a *App, party string) []*Host { return a.entries[party].hosts }

// GuestOf returns the name of the guest at a URI.
func GuestOf(uri string) (string, error) {
	i, err := Invite{URI: uri}.parse()
	if err != nil {
		return "", err
	}
	return i.guest, nil
}

// Sending returns how many invites are under way, and how many wait for them.
func (h *Host) Sending() (invites, waiting int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, i := range h.guests.invited {
		if i.sending != nil {
			invites++
			waiting += i.sending.waiting
		}
	}
	return invites, waiting
}
