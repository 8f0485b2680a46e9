// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The answer that comes first whoever gives it.

package partyline

import "time"

// Preference says which answer to an ask comes first: the first one that is preferred. All others follow
// it in order. While a guest that has not been asked yet may be preferred, answers are held back, so an
// ask for the first answer goes on asking. Replies that are not answers come as usual. A guest that is
// not asked is not preferred. It is experimental.
type Preference interface {
	// MayPrefer reports whether an answer of the guest could be preferred.
	MayPrefer(guest string) bool

	// Prefers reports whether that answer of the guest is. It is called with one answer at a time,
	// by the goroutine that asks.
	Prefers(guest string, answer any) bool
}

// preferring is observed, with the preferred answer first.
func (r *round) preferring(preference Preference, answers *[]any, yield yieldFunc) error {
	last := r.lastWhoMay(preference)
	var held []Reply
	settled, stopped := last < 0, false
	give := func(guest string, answer any, err error, took time.Duration) (more bool) {
		if err == nil && answers != nil {
			r.collect(answer, answers)
			return true
		}
		stopped = !yield(guest, answer, err, took)
		return !stopped
	}
	settle := func() (more bool) {
		settled = true
		for _, h := range held {
			if !give(h.Guest, h.Answer, nil, h.Duration) {
				return false
			}
		}
		held = nil
		return true
	}
	err := r.observed(r.begin(), nil, func(guest string, answer any, err error, took time.Duration) (more bool) {
		switch {
		case err != nil || settled:
			return give(guest, answer, err, took)
		case preference.MayPrefer(guest) && preference.Prefers(guest, answer):
			return give(guest, answer, nil, took) && settle()
		}
		held = append(held, Reply{guest, answer, nil, took})
		return r.next < last || settle()
	})
	if !stopped && !settle() {
		return nil
	}
	return err
}

// lastWhoMay returns the last connection whose answer may be preferred, -1 if there is none.
func (r *round) lastWhoMay(preference Preference) int {
	for i := len(r.connections) - 1; i >= 0; i-- {
		if c := &r.connections[i]; !r.skips(c) && preference.MayPrefer(c.guest.Value()) {
			return i
		}
	}
	return -1
}
