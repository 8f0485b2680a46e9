// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The places of asks that wait for a batch.

package httpguest

import "sync"

const maxGathered = 1024 // asks of one guest that wait for batches which are under way

// places are those of one guest. When all are taken, the asker with the most of them gives one to an asker that has fewer.
type places struct {
	mu     sync.Mutex // of its batchers, too
	taken  int
	askers map[string][]*batched // the last to come last
}

// take takes a place for an ask, and returns the ask that has had to give it up, nil if none had to. It returns false if
// there is none to be had. The places must be locked.
func (p *places) take(e *batched) (gave *batched, ok bool) {
	if p.taken == maxGathered {
		if gave = p.makeRoom(e.asker); gave == nil {
			return nil, false
		}
	}
	if p.askers == nil {
		p.askers = make(map[string][]*batched)
	}
	p.askers[e.asker] = append(p.askers[e.asker], e)
	p.taken++
	return gave, true
}

// makeRoom takes the last ask of the asker that has most of them waiting out of its batch, for one of an asker that has fewer.
func (p *places) makeRoom(asker string) *batched {
	most := asker
	for other, waiting := range p.askers {
		if len(waiting) > len(p.askers[most]) {
			most = other
		}
	}
	waiting := p.askers[most]
	if len(waiting) <= len(p.askers[asker])+1 {
		return nil
	}
	last := waiting[len(waiting)-1]
	p.free(last)
	last.in.drop(last)
	return last
}

// free gives up the place of an ask. The places must be locked.
func (p *places) free(e *batched) {
	p.taken--
	if p.askers[e.asker] = without(p.askers[e.asker], e); len(p.askers[e.asker]) == 0 {
		delete(p.askers, e.asker)
	}
}

func (p *places) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}
