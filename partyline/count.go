// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"maps"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxCountedServices = 512     // of one guest; all beyond are counted together
	otherServices      = "other" // what those are counted as
)

// AskCount is how often a service was asked for.
type AskCount struct {
	Service string
	Asks    uint64
}

// AskerCount is how often a guest asked for a service. Guest is empty for callers that are not guests, and
// for guests beyond the 4096 pairs of asker and service that are counted apart.
type AskerCount struct {
	Guest, Service string
	Asks           uint64
}

// ReplyCount is how often a guest was asked for a service, and what came of it. A guest that an ask
// passed over, since its handler does not have the key, was not asked.
type ReplyCount struct {
	Guest, Service string

	// Asked is how often handlers were called. A remote call that the asker did not wait for has
	// no reply, unless the handler answers or declines all the same.
	Asked, Answered, Declined, Failed uint64
	Refused                           uint64    // how often a remote handler returned ErrRefused
	LastFailure                       error     // the last *HandlerError, nil if there was none
	Durations                         Durations // of the replies of remote handlers; others are not timed
}

// Durations are a histogram.
type Durations struct {
	Count   uint64                   // how many there are
	Sum     time.Duration            // all of them together
	Buckets map[time.Duration]uint64 // how many were at most that long; nil if there are none
}

// durationBounds are the upper bounds of the buckets that durations are counted in.
var durationBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// figure is one of the numbers of a counter.
type figure int

const (
	answered figure = iota
	declined
	failed
	called // a remote handler, which then:
	remoteAnswered
	remoteDeclined
	remoteFailed
	refused
	figures          // how many there are
	asked   = called // a service, whose first two figures are addAll's
)

// shards are cache lines. Asks under way at once mostly have shards of their own, so that
// processors do not wait for each other. Each has its place in the processor's cache, so there are
// no more than that takes: a power of two, up to 8.
type shards [][figures]atomic.Uint64

func (s shards) add(shard uint32, what figure) { s[int(shard)&(len(s)-1)][what].Add(1) }

// sums adds up the shards. It reads calls after their replies, of which there might be more else.
func (s shards) sums() (n [figures]uint64) {
	for i := range s {
		for what := figures - 1; what >= 0; what-- {
			n[what] += s[i][what].Load()
		}
	}
	return n
}

// counted is what a counter counts: a guest's replies under a service, or, without a guest, asks.
type counted struct{ guest, service string } // or otherServices

func newShards() shards { return make(shards, min(2<<bits.Len(uint(runtime.GOMAXPROCS(0)-1)), 8)) }

type counter struct {
	shards
	counted
	counts      *Counts
	order       uint32     // a service's latest, by number; guarded by Counts.mu, as all is
	all         []*counter // those of the handlers in that order
	askers      atomic.Pointer[askers]
	lastFailure atomic.Value // a *HandlerError
	duration    atomic.Int64 // of all remote replies
	buckets     [len(durationBounds) + 1]atomic.Uint64
}

// addRemote counts what came of a call of a remote handler.
func (c *counter) addRemote(shard uint32, came figure, reply *Reply) {
	if failure, ok := reply.Err.(*HandlerError); ok {
		c.lastFailure.Store(failure)
	}
	c.add(shard, came)
	c.duration.Add(int64(reply.Duration))
	bucket, _ := slices.BinarySearch(durationBounds[:], reply.Duration)
	c.buckets[bucket].Add(1)
}

func (c *counter) replies() ReplyCount {
	n := c.sums()
	r := ReplyCount{
		Guest: c.guest, Service: c.service, Asked: n[answered] + n[declined] + n[failed] + n[called],
		Answered: n[answered] + n[remoteAnswered], Declined: n[declined] + n[remoteDeclined], Failed: n[failed] + n[remoteFailed], Refused: n[refused],
		Durations: Durations{Sum: time.Duration(c.duration.Load())},
	}
	r.LastFailure, _ = c.lastFailure.Load().(error)
	var atMost [len(durationBounds)]uint64
	for i := range c.buckets {
		r.Durations.Count += c.buckets[i].Load()
		if i < len(durationBounds) {
			atMost[i] = r.Durations.Count
		}
	}
	if r.Durations.Count > 0 {
		r.Durations.Buckets = make(map[time.Duration]uint64, len(durationBounds))
		for i, bound := range durationBounds {
			r.Durations.Buckets[bound] = atMost[i]
		}
	}
	return r
}

// Counts is where a partyline counts, and those that follow it under the same name. The zero value
// is empty and ready. It is experimental.
type Counts struct {
	mu       sync.Mutex // never taken by an ask
	counters map[counted]*counter
	services map[string]int // how many counters there are of a guest
	pairs    atomic.Int32   // of asker and service, as far as they have shards of their own
}

// of returns the counters of what a guest makes of asks for a service, and of the asks.
func (c *Counts) of(guest, service string) (replies, asks *counter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counters == nil {
		c.counters, c.services = make(map[counted]*counter), make(map[string]int)
	}
	label := service
	if c.counters[counted{guest, service}] == nil && c.services[guest] >= maxCountedServices {
		label = otherServices
	}
	if asks = c.counters[counted{"", service}]; asks == nil {
		asks = c.counter(counted{"", label})
	}
	return c.counter(counted{guest, label}), asks
}

// counter returns the counter of something, a new one if need be. The counts must be locked.
func (c *Counts) counter(what counted) *counter {
	if c.counters[what] == nil {
		c.counters[what] = &counter{shards: newShards(), counted: what, counts: c}
		c.services[what.guest]++
	}
	return c.counters[what]
}

// Forget drops what was counted of a guest that is gone, and of services that nobody else has. It
// may be called at any time.
func (c *Counts) Forget(guest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.services, guest)
	maps.DeleteFunc(c.counters, func(what counted, _ *counter) bool { return what.guest == guest })
	kept := make(map[string]bool) // services that somebody has
	for what := range c.counters {
		kept[what.service] = kept[what.service] || what.guest != ""
	}
	if !kept[otherServices] { // else it is not known what they are
		maps.DeleteFunc(c.counters, func(what counted, _ *counter) bool { return !kept[what.service] })
	}
	c.forgetAsker(guest)
}
