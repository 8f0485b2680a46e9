// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import "slices"

// Speaker is a handler in a party's routes that speaks for a guest: it accepts its invite.
// It is experimental.
type Speaker interface {
	// Awaits reports whether it accepts the invite of that guest if it comes.
	Awaits(guest string) bool

	// Speaks reports whether it has accepted an invite.
	Speaks() bool

	// Check is called when the party's invites have been sent. It returns an error
	// that makes the config wrong, whether an invite has come or not.
	Check() error
}

// AddSpeaker makes a handler one that speaks for a guest. It is experimental.
func (h *Host) AddSpeaker(s Speaker) {
	h.app.mu.Lock()
	defer h.app.mu.Unlock()
	h.speakers = append(h.speakers, s)
}

// RemoveSpeaker undoes AddSpeaker. It is experimental.
func (h *Host) RemoveSpeaker(s Speaker) {
	h.app.mu.Lock()
	defer h.app.mu.Unlock()
	h.speakers = slices.DeleteFunc(h.speakers, func(other Speaker) bool { return other == s })
}

// Awaits reports whether a handler in the routes of any party accepts the invite of that
// guest if it comes. It is experimental.
func (a *App) Awaits(guest string) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, e := range a.entries {
		for _, h := range e.hosts {
			if slices.ContainsFunc(h.speakers, func(s Speaker) bool { return s.Awaits(guest) }) {
				return true
			}
		}
	}
	return false
}

// expects reports whether a handler in the party's routes would accept the invite of
// that guest, had it come so far.
func (h *Host) expects(guest string) bool {
	h.app.mu.RLock()
	defer h.app.mu.RUnlock()
	return slices.ContainsFunc(h.speakers, func(s Speaker) bool { return !s.Speaks() && s.Awaits(guest) })
}

func (h *Host) checkSpeakers() error {
	h.app.mu.RLock()
	defer h.app.mu.RUnlock()
	for _, s := range h.speakers {
		if err := s.Check(); err != nil {
			return err
		}
	}
	return nil
}
