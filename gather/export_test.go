// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package gather

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
