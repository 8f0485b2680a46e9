// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"cmp"
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

// ReplyCount is how often a guest was asked for a service, and what came of it.
type ReplyCount struct {
	Guest, Service string

	// Asked is how often handlers were called. A remote call that the asker did not
	// wait for has no reply, unless the handler answers or declines all the same.
	Asked, Answered, Declined, Failed uint64
	Refused                           uint64    // how often a remote handler returned ErrRefused
	LastFailure                       error     // the last *HandlerError, nil if there was none
	Durations                         Durations // of the replies of remote handlers; others are not timed
}

// Durations are a histogram.
type Durations struct {
	Count   uint64                   // how many there are
	Sum     time.Duration            // all of them together
	Buckets map[time.Duration]uint64 // how many were at most that long
}

// durationBounds are the upper bounds of the buckets that durations are counted in.
var durationBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// counted is one of the numbers of a counter.
type counted int

const (
	answered counted = iota // of a service: asked for
	declined
	failed
	called // a remote handler, which then:
	remoteAnswered
	remoteDeclined
	remoteFailed
	refused
	counts
)

// shards are a power of two, each a cache line.
type shards [][counts]atomic.Uint64

// counter counts a service's asks, or what a guest made of them. Asks under way at once
// mostly have shards of their own, so that processors do not wait for each other.
type counter struct {
	shards
	guest, service string // or otherServices
	lastFailure    atomic.Pointer[HandlerError]
	duration       atomic.Int64 // of all remote replies
	buckets        [len(durationBounds) + 1]atomic.Uint64
}

func newCounter(guest, service string) *counter {
	n := min(2<<bits.Len(uint(runtime.GOMAXPROCS(0)-1)), 16)
	return &counter{shards: make([][counts]atomic.Uint64, n), guest: guest, service: service}
}

func (s shards) add(shard uint32, what counted) { s[int(shard)&(len(s)-1)][what].Add(1) }

// addRemote counts what came of a call to a remote handler.
func (c *counter) addRemote(shard uint32, came counted, reply *Reply) {
	if failure, ok := reply.Err.(*HandlerError); ok {
		c.lastFailure.Store(failure)
	}
	c.add(shard, came)
	c.duration.Add(int64(reply.Duration))
	bucket, _ := slices.BinarySearch(durationBounds[:], reply.Duration)
	c.buckets[bucket].Add(1)
}

func (c *counter) sum(what counted) (n uint64) {
	for i := range c.shards {
		n += c.shards[i][what].Load()
	}
	return n
}

func (c *counter) replies() ReplyCount {
	r := ReplyCount{Guest: c.guest, Service: c.service, Answered: c.sum(answered), Declined: c.sum(declined), Failed: c.sum(failed), Refused: c.sum(refused)}
	local := r.Answered + r.Declined + r.Failed
	r.Answered += c.sum(remoteAnswered)
	r.Declined += c.sum(remoteDeclined)
	r.Failed += c.sum(remoteFailed)
	r.Asked = local + c.sum(called) // read last, or it might be less than what came of it
	if failure := c.lastFailure.Load(); failure != nil {
		r.LastFailure = failure
	}
	r.Durations = Durations{Sum: time.Duration(c.duration.Load()), Buckets: make(map[time.Duration]uint64, len(durationBounds))}
	for i := range c.buckets {
		r.Durations.Count += c.buckets[i].Load()
		if i < len(durationBounds) {
			r.Durations.Buckets[durationBounds[i]] = r.Durations.Count
		}
	}
	return r
}

// Counts is where a partyline counts, and those that follow it under the same name. The
// zero value is empty and ready. It is experimental.
type Counts struct {
	mu       sync.Mutex                     // never taken by an ask
	guests   map[string]map[string]*counter // by guest, and by service or otherServices
	services map[string]*counter
}

// of returns the counters of what a guest makes of asks for a service, and of the asks.
func (c *Counts) of(guest, service string) (replies, asks *counter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.guests == nil {
		c.guests, c.services = make(map[string]map[string]*counter), make(map[string]*counter)
	}
	if c.guests[guest] == nil {
		c.guests[guest] = make(map[string]*counter)
	}
	own, label := c.guests[guest], service
	if own[service] == nil && len(own) >= maxCountedServices {
		label = otherServices
	}
	if own[label] == nil {
		own[label] = newCounter(guest, label)
	}
	asks = cmp.Or(c.services[service], c.services[label])
	if asks == nil {
		asks = newCounter("", label)
		c.services[label] = asks
	}
	return own[label], asks
}

// Forget drops what was counted of a guest that is gone, and of the services that only
// that guest had.
func (c *Counts) Forget(guest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gone := c.guests[guest]
	delete(c.guests, guest)
	for _, own := range c.guests {
		if own[otherServices] != nil {
			return // which services it has is not known
		}
		maps.DeleteFunc(gone, func(service string, _ *counter) bool { return own[service] != nil })
	}
	for service := range gone {
		delete(c.services, service)
	}
}

// Counts returns how often the services were asked for that somebody is connected under
// now, and what those guests made of it, both in alphabetical order. A guest's services
// beyond the first 512 are counted together, as "other", and so are partylines that share
// their Counts. Of an ask that is under way, a part may be counted.
func (p *Partyline) Counts() ([]AskCount, []ReplyCount) {
	asks, replies := make(map[*counter]AskCount), make(map[*counter]ReplyCount)
	p.services.Range(func(_, value any) bool {
		s := value.(*service)
		asks[s.counter] = AskCount{s.counter.service, s.counter.sum(answered)}
		for _, c := range s.connections() {
			if _, ok := replies[c.counter]; !ok {
				replies[c.counter] = c.counter.replies()
			}
		}
		return true
	})
	byService := func(a, b AskCount) int { return cmp.Compare(a.Service, b.Service) }
	byGuest := func(a, b ReplyCount) int {
		return cmp.Or(cmp.Compare(a.Guest, b.Guest), cmp.Compare(a.Service, b.Service))
	}
	return append([]AskCount{}, slices.SortedFunc(maps.Values(asks), byService)...),
		append([]ReplyCount{}, slices.SortedFunc(maps.Values(replies), byGuest)...)
}
