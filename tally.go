// Copyright 2026 The wsgi_party Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package wsgiparty

import (
	"cmp"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// An ask is counted when it has ended, as a whole, by what became of it: the
// handlers of a service are a row, and the outcomes of a row are few, so that
// counting is finding the outcome and one atomic addition, however many handlers
// there are. Nobody ever sees half an ask.

const (
	// maxCountedServices is how many services of one guest are counted apart. All
	// beyond are counted together, as otherServices.
	maxCountedServices = 512

	// otherServices is what services beyond maxCountedServices are counted as.
	otherServices = "other"
)

// AskCount is how often a service was asked for.
type AskCount struct {
	Service string
	Asks    uint64
}

// ReplyCount is how often a guest was asked for a service, and what came of it.
type ReplyCount struct {
	Guest, Service string

	// Asked is how often handlers were called. A call that the asker did not
	// wait for has no reply.
	Asked, Answered, Declined, Failed uint64

	// LastFailure is the *HandlerError of the last failure, nil if none failed.
	LastFailure error

	// Durations are those of the replies of remote handlers. Others are not
	// timed.
	Durations Durations
}

// Durations are a histogram.
type Durations struct {
	// Count is how many there are.
	Count uint64

	// Sum is all of them together.
	Sum time.Duration

	// Buckets is how many were at most that long.
	Buckets map[time.Duration]uint64
}

// Counts returns how often the services that somebody is connected under now have
// been asked for, and what the guests connected now made of it. An ask is counted
// when it has ended. Partylines that follow each other under one name, from
// config to config, are counted together. Services of one guest beyond the first
// 512 are counted together, too, as "other". Both are in alphabetical order.
func (p *Partyline) Counts() ([]AskCount, []ReplyCount) {
	services := make(map[*serviceTally]struct{})
	guests := make(map[*tally]struct{})
	p.services.Range(func(_, value any) bool {
		s := value.(*service)
		services[s.tally] = struct{}{}
		for _, c := range s.load().connections {
			guests[c.tally] = struct{}{}
		}
		return true
	})
	tallies, asks := p.ledger.read()
	asked := make([]AskCount, 0, len(services))
	for s := range services {
		asked = append(asked, AskCount{s.name, asks[s]})
	}
	replied := make([]ReplyCount, 0, len(guests))
	for t := range guests {
		c := tallies[t]
		replied = append(replied, ReplyCount{
			Guest: t.guest, Service: t.service,
			Asked: c.asked, Answered: c.answered, Declined: c.declined, Failed: c.failed,
			LastFailure: t.failure(), Durations: t.remote.durations(),
		})
	}
	slices.SortFunc(asked, func(a, b AskCount) int { return cmp.Compare(a.Service, b.Service) })
	slices.SortFunc(replied, func(a, b ReplyCount) int {
		return cmp.Or(cmp.Compare(a.Guest, b.Guest), cmp.Compare(a.Service, b.Service))
	})
	return asked, replied
}

func (r *remoteTally) durations() Durations {
	d := Durations{Sum: time.Duration(r.sum.Load()), Buckets: make(map[time.Duration]uint64, len(durationBounds))}
	for i := range r.buckets {
		d.Count += r.buckets[i].Load()
		if i < len(durationBounds) {
			d.Buckets[durationBounds[i]] = d.Count
		}
	}
	return d
}

// ledger is where the tallies of a partyline are kept, and those of the partylines
// that follow it under the same name. The zero value is empty and ready; a nil
// ledger counts nothing.
type ledger struct {
	mu       sync.Mutex
	guests   map[string]map[string]*tally // by what the service is counted as
	services map[string]*serviceTally
	rows     map[*row]struct{} // those that asks may still be counted in
}

// serviceTally counts the asks for a service.
type serviceTally struct {
	name string // or otherServices
	asks uint64 // without those in live rows; guarded by ledger.mu
}

func (s *serviceTally) add(asks uint64) { s.asks += asks }

// tally counts the asks of a guest for a service.
type tally struct {
	guest       string
	service     string // or otherServices
	counts      counts // without those in live rows; guarded by ledger.mu
	remote      remoteTally
	lastFailure atomic.Value
}

func (t *tally) add(c counts) { t.counts = t.counts.plus(c) }

// counts say what became of asks.
type counts struct{ asked, answered, declined, failed uint64 }

func (c counts) plus(o counts) counts {
	return counts{c.asked + o.asked, c.answered + o.answered, c.declined + o.declined, c.failed + o.failed}
}

// tally returns what counts the asks of the guest for the service, and the asks
// for the service by anybody.
func (l *ledger) tally(guest, service string) (*tally, *serviceTally) {
	if l == nil {
		return nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.guests == nil {
		l.guests = make(map[string]map[string]*tally)
		l.services = make(map[string]*serviceTally)
	}
	tallies := l.guests[guest]
	if tallies == nil {
		tallies = make(map[string]*tally)
		l.guests[guest] = tallies
	}
	label := service
	if _, ok := tallies[label]; !ok && len(tallies) >= maxCountedServices {
		label = otherServices
	}
	t, ok := tallies[label]
	if !ok {
		t = &tally{guest: guest, service: label}
		tallies[label] = t
	}
	s, ok := l.services[service]
	if !ok && label == otherServices {
		s, ok = l.services[otherServices]
	}
	if !ok {
		s = &serviceTally{name: label}
		l.services[label] = s
	}
	return t, s
}

// read returns what has been counted so far.
func (l *ledger) read() (map[*tally]counts, map[*serviceTally]uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	guests := make(map[*tally]counts)
	services := make(map[*serviceTally]uint64)
	for _, tallies := range l.guests {
		for _, t := range tallies {
			guests[t] = t.counts.plus(t.remote.counts())
		}
	}
	for _, s := range l.services {
		services[s] = s.asks
	}
	for r := range l.rows {
		for i := range r.parts {
			r.parts[i].counters(func(c *counter) {
				r.each(i, c.outcome, c.n.Load(), func(t *tally, more counts) {
					guests[t] = guests[t].plus(more)
				}, func(s *serviceTally, more uint64) {
					services[s] += more
				})
			})
		}
	}
	return guests, services
}

// row counts asks that call the same handlers in the same order.
type row struct {
	ledger  *ledger
	service *serviceTally
	tallies []*tally // of each handler; nil for one that is counted by itself
	parts   []part   // of rowPart handlers each
}

// rowPart is how many handlers of a row are counted at a time.
const rowPart = 64

// rowOutcome is what became of an ask of up to rowPart handlers. Its bits are those of
// the handlers, from the lowest on.
type rowOutcome struct {
	reached                   int    // how many; those after are as if skipped
	skipped, declined, failed uint64 // the others have answered
}

// newRow returns a row of handlers. retire is to be called when nobody can count in
// it any more.
func (l *ledger) newRow(service *serviceTally, tallies []*tally) *row {
	r := &row{ledger: l, service: service, tallies: tallies, parts: make([]part, max(1, (len(tallies)+rowPart-1)/rowPart))}
	for i := range r.parts {
		r.parts[i].shards = make([]shard, shardCount())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rows == nil {
		l.rows = make(map[*row]struct{})
	}
	l.rows[r] = struct{}{}
	return r
}

// add counts what became of the handlers of one part of the row. The first part is
// to be counted for every ask. The address is that of something allocated for this
// ask: processors allocate from pages of their own, which tells them apart.
func (r *row) add(partIndex int, o *rowOutcome, address uintptr) {
	p := &r.parts[partIndex]
	s := &p.shards[int(address>>pageShift)&(len(p.shards)-1)]
	if c := s.find(o); c != nil {
		c.n.Add(1)
		return
	}
	r.addFirst(partIndex, s, *o)
}

// addFirst is add for an outcome that the shard has no counter of.
func (r *row) addFirst(partIndex int, s *shard, o rowOutcome) {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	p := &r.parts[partIndex]
	if c := s.find(&o); c != nil { // somebody else was quicker
		c.n.Add(1)
	} else if p.length < maxOutcomes {
		s.insert(&o)
		p.length++
	} else {
		r.each(partIndex, o, 1, (*tally).add, (*serviceTally).add)
	}
}

// each calls addCounts with what n asks of that outcome mean for each handler, and
// addAsks with what they mean for the service.
func (r *row) each(partIndex int, o rowOutcome, n uint64, addCounts func(*tally, counts), addAsks func(*serviceTally, uint64)) {
	if partIndex == 0 {
		addAsks(r.service, n)
	}
	for i, t := range r.tallies[partIndex*rowPart:][:o.reached] {
		bit := uint64(1) << i
		switch {
		case t == nil || o.skipped&bit != 0:
		case o.declined&bit != 0:
			addCounts(t, counts{asked: n, declined: n})
		case o.failed&bit != 0:
			addCounts(t, counts{asked: n, failed: n})
		default:
			addCounts(t, counts{asked: n, answered: n})
		}
	}
}

// retire keeps what was counted in the row, and drops the rest of it.
func (r *row) retire() {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	for i := range r.parts {
		r.parts[i].counters(func(c *counter) {
			r.each(i, c.outcome, c.n.Load(), (*tally).add, (*serviceTally).add)
		})
	}
	delete(r.ledger.rows, r)
}

// part counts by outcome, in one of several shards, so that processors do not wait
// for each other's additions.
type part struct {
	shards []shard
	length int // of all shards; guarded by ledger.mu
}

const (
	// maxOutcomes bounds a part's memory. Outcomes beyond are counted under a lock.
	maxOutcomes = 4096

	// maxShards bounds it, too.
	maxShards = 16

	// pageShift is that of the pages from which Go allocates small objects.
	pageShift = 13
)

// shardCount returns how many shards a part has, a power of two.
var shardCount = sync.OnceValue(func() int {
	return min(1<<bits.Len(uint(runtime.GOMAXPROCS(0))), maxShards)
})

// counters calls f with every counter in use.
func (p *part) counters(f func(*counter)) {
	for i := range p.shards {
		s := &p.shards[i]
		inUse(s.first[:], f)
		for t := s.more.Load(); t != nil; t = t.next.Load() {
			inUse(t.counters, f)
		}
	}
}

func inUse(counters []counter, f func(*counter)) {
	for i := range counters {
		if counters[i].n.Load() != 0 {
			f(&counters[i])
		}
	}
}

// counter is in use once it is not zero. From then on its outcome stays.
type counter struct {
	outcome rowOutcome
	n       atomic.Uint64
}

// shard is a set of counters to which they are only added, with ledger.mu held.
type shard struct {
	first [4]counter // the outcomes that were first are likely the most frequent
	more  atomic.Pointer[counterTable]
	_     [24]byte // to whole cache lines
}

// counterTable is a hash table.
type counterTable struct {
	counters []counter // a power of two
	next     atomic.Pointer[counterTable]
}

// probes is how many places in a table a counter may be in.
const probes = 8

// find returns the outcome's counter, nil if there is none.
func (s *shard) find(o *rowOutcome) *counter {
	for i := range s.first {
		if c := &s.first[i]; c.n.Load() == 0 {
			return nil
		} else if c.outcome == *o {
			return c
		}
	}
	for t := s.more.Load(); t != nil; t = t.next.Load() {
		for i := range uint64(probes) {
			if c := t.at(o.hash() + i); c.n.Load() == 0 {
				return nil
			} else if c.outcome == *o {
				return c
			}
		}
	}
	return nil
}

func (t *counterTable) at(i uint64) *counter { return &t.counters[i&uint64(len(t.counters)-1)] }

// insert counts the first ask of an outcome.
func (s *shard) insert(o *rowOutcome) {
	for i := range s.first {
		if s.first[i].use(o) {
			return
		}
	}
	size := 2 * probes
	for next := &s.more; ; {
		t := next.Load()
		if t == nil {
			t = &counterTable{counters: make([]counter, size)}
			next.Store(t)
		}
		for i := range uint64(probes) {
			if t.at(o.hash() + i).use(o) {
				return
			}
		}
		next, size = &t.next, 2*size
	}
}

func (c *counter) use(o *rowOutcome) bool {
	if c.n.Load() != 0 {
		return false
	}
	c.outcome = *o
	c.n.Store(1)
	return true
}

func (o *rowOutcome) hash() uint64 {
	h := o.skipped ^ bits.RotateLeft64(o.declined, 21) ^ bits.RotateLeft64(o.failed, 42) ^ uint64(o.reached)<<7
	return h * 0x9e3779b97f4a7c15 >> 40 // Fibonacci hashing: the upper bits are well mixed
}

// fail keeps how a handler failed last. All errors are to be of the same type.
func (t *tally) fail(err error) {
	if t != nil {
		t.lastFailure.Store(err)
	}
}

// failure returns how a handler failed last, nil if none did.
func (t *tally) failure() error {
	err, _ := t.lastFailure.Load().(error)
	return err
}

// remoteTally counts handlers that wait on something else, each by itself.
type remoteTally struct {
	asked, answered, declined, failed atomic.Uint64
	sum                               atomic.Int64 // of the durations
	buckets                           [len(durationBounds) + 1]atomic.Uint64
}

// durationBounds are the upper bounds of the buckets that durations are counted in.
var durationBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond,
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second, 10 * time.Second,
}

// ask counts that a remote handler is asked.
func (t *tally) ask() {
	if t != nil {
		t.remote.asked.Add(1)
	}
}

// reply counts what a remote handler made of it.
func (t *tally) reply(took time.Duration, err error) {
	if t == nil {
		return
	}
	r := &t.remote
	switch err {
	case nil:
		r.answered.Add(1)
	case ErrHighAndDry:
		r.declined.Add(1)
	default:
		t.fail(err)
		r.failed.Add(1)
	}
	r.sum.Add(int64(took))
	bucket, _ := slices.BinarySearch(durationBounds[:], took)
	r.buckets[bucket].Add(1)
}

func (r *remoteTally) counts() counts {
	c := counts{answered: r.answered.Load(), declined: r.declined.Load(), failed: r.failed.Load()}
	c.asked = r.asked.Load() // last, so that it is never less than what came of it
	return c
}
