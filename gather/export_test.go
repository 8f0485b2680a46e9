// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import "encoding/json"

// What tests need beyond the API.
const (
	MaxSets = maxSets
	MaxKept = maxKept
)

// Kept returns how many payloads answers are kept of, and how many bytes all of it has.
func (g *Gather) Kept() (sets, size int) {
	g.gathering.mu.Lock()
	defer g.gathering.mu.Unlock()
	return len(g.gathering.sets), g.gathering.size
}

// Collected returns which of these guests' answers have room together, when they come in that order.
func Collected(room int64, guests []string, sizes map[string]int, order []string) (have []string) {
	c := (&question{Gather: &Gather{MaxResponse: room}}).collect(guests)
	for _, guest := range order {
		c.add(guest, &result{answers: []json.RawMessage{make(json.RawMessage, sizes[guest])}})
	}
	for _, guest := range guests {
		if c.results[guest].err == nil {
			have = append(have, guest)
		}
	}
	return have
}
