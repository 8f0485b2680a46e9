// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package traffic counts requests: to whom they went, what came of them, and what most of them were for.
package traffic

import (
	"cmp"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Period is how long the recent traffic is, at least; it is at most twice as long.
const Period = time.Hour

// Classes are the classes of a response's status.
var Classes = [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}

// Responses are numbers of responses by the class of their status.
type Responses [len(Classes)]uint64

// Sum returns how many there are.
func (n Responses) Sum() (sum uint64) {
	for _, of := range n {
		sum += of
	}
	return sum
}

func (n *Responses) add(more Responses) {
	for class := range n {
		n[class] += more[class]
	}
}

// Meter counts the requests to the guests of a party. The zero value is empty and ready.
type Meter struct {
	mu     sync.Mutex // taken for no request but the first one in a while
	guests map[string]*Guest
	began  time.Time // the current period; zero without requests
	before time.Time // the one before it; zero if there was none
}

// Guest counts the requests to a guest. For the recent traffic it has a window for each period, current
// and previous, nil as long as there are no requests.
type Guest struct {
	meter    *Meter
	current  atomic.Pointer[window]
	previous *window   // guarded by the meter, as is
	past     Responses // before both
}

// window is what is counted in one period. Its shards are on cache lines of their own: requests under
// way at once mostly count in different ones, so that processors do not wait for each other.
type window struct {
	shards []shard
	kinds  kinds
}

type shard struct {
	classes [len(Classes)]atomic.Uint64
	kinds   [MaxKinds]atomic.Uint64 // by a kind's place
	_       [7]uint64
}

func newWindow() *window {
	w := &window{shards: make([]shard, min(2<<bits.Len(uint(runtime.GOMAXPROCS(0)-1)), 8))}
	w.kinds.listed.Store(&list{claims: make(map[string]*kind), paths: make(map[string]*kind)})
	return w
}

// responses are nil's, too.
func (w *window) responses() (n Responses) {
	if w != nil {
		for s := range w.shards {
			for class := range n {
				n[class] += w.shards[s].classes[class].Load()
			}
		}
	}
	return n
}

// Guest returns where the requests to a guest are counted.
func (m *Meter) Guest(name string) *Guest {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.guests[name]
	if g == nil {
		if m.guests == nil {
			m.guests = make(map[string]*Guest)
		}
		g = &Guest{meter: m}
		m.guests[name] = g
	}
	return g
}

// Forget drops what was counted of a guest. It may be called at any time.
func (m *Meter) Forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.guests, name)
}

// Count counts a request by the status of its response, and by the pattern that claims it or, where that
// is empty, by its escaped path. It does not wait for other requests.
func (g *Guest) Count(status int, claim, path string) {
	w := g.current.Load()
	if w == nil {
		w = g.begin()
	}
	s := &w.shards[int(rand.Uint32())&(len(w.shards)-1)]
	s.classes[min(max(status/100, 1), len(Classes))-1].Add(1)
	if k := w.kind(claim, path); k != nil {
		s.kinds[k.place].Add(1)
	}
}

// begin begins the guest's current window, and the meter's period if nobody else has.
func (g *Guest) begin() *window {
	m := g.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := g.current.Load(); w != nil {
		return w
	}
	if m.began.IsZero() {
		m.began = time.Now()
		time.AfterFunc(Period, m.turn)
	}
	w := newWindow()
	g.current.Store(w)
	return w
}

// turn ends the period. Another one begins at once if there have been requests lately.
func (m *Meter) turn() {
	m.mu.Lock()
	defer m.mu.Unlock()
	busy := false
	for _, g := range m.guests {
		g.past.add(g.previous.responses())
		g.previous = g.current.Swap(nil)
		busy = busy || g.previous != nil
	}
	m.before, m.began = m.began, time.Time{}
	if !busy {
		m.before = time.Time{}
		return
	}
	m.began = time.Now()
	time.AfterFunc(Period, m.turn)
}

// Traffic is what a Meter has counted.
type Traffic struct {
	Since  time.Time // when what is recent began; zero if nothing is
	Guests []GuestTraffic
}

// GuestTraffic is what was counted of a guest.
type GuestTraffic struct {
	Guest  string
	All    Responses
	Recent Responses
	Kinds  []Kind // of the recent requests, most requested first
}

// Kind is a kind of requests.
type Kind struct {
	Name     string // a pattern, or the beginning of a path; `/invoices/*` is what has no name of its own
	Claimed  bool   // by a pattern
	Requests uint64 // recent ones, at least
}

// Read returns what was counted, by guest in alphabetical order.
func (m *Meter) Read() Traffic {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := Traffic{Since: m.began}
	if !m.before.IsZero() {
		t.Since = m.before
	}
	for name, g := range m.guests {
		current, read := g.current.Load(), GuestTraffic{Guest: name, All: g.past}
		read.Recent.add(g.previous.responses())
		read.Recent.add(current.responses())
		read.All.add(read.Recent)
		read.Kinds = readKinds(g.previous, current)
		t.Guests = append(t.Guests, read)
	}
	slices.SortFunc(t.Guests, func(a, b GuestTraffic) int { return strings.Compare(a.Guest, b.Guest) })
	return t
}

// Share returns which part of the recent requests went to the guest, from 0 to 1.
func (t Traffic) Share(g GuestTraffic) float64 {
	var all uint64
	for _, other := range t.Guests {
		all += other.Recent.Sum()
	}
	return float64(g.Recent.Sum()) / float64(cmp.Or(all, 1))
}
