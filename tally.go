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

// An ask is counted when it has ended, by what became of it: the handlers of a
// service in their order are a row, and the outcomes of a row are few, so that
// counting is finding the outcome and one atomic addition for up to rowPart
// handlers. Remote handlers, which take longer, are counted one by one. Counting
// takes no lock.

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

	// Asked is how often handlers were called. A remote call that was cancelled,
	// since the asker did not wait for it, has no reply unless the handler answers
	// or declines all the same.
	Asked, Answered, Declined, Failed uint64

	// Refused is how often a remote handler returned ErrRefused.
	Refused uint64

	// LastFailure is the *HandlerError of the last that failed or refused, nil if none
	// did.
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
	if p.ledger == nil {
		return []AskCount{}, []ReplyCount{}
	}
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
			Asked: c.asked, Answered: c.answered, Declined: c.declined, Failed: c.failed, Refused: t.refused.Load(),
			LastFailure: t.failure(), Durations: t.durations(),
		})
	}
	slices.SortFunc(asked, func(a, b AskCount) int { return cmp.Compare(a.Service, b.Service) })
	slices.SortFunc(replied, func(a, b ReplyCount) int {
		return cmp.Or(cmp.Compare(a.Guest, b.Guest), cmp.Compare(a.Service, b.Service))
	})
	return asked, replied
}

// ledger is where the tallies of a partyline are kept, and those of the partylines
// that follow it under the same name. The zero value is empty and ready; a nil
// ledger counts nothing.
type ledger struct {
	mu       sync.Mutex                   // never taken by an ask
	guests   map[string]map[string]*tally // by what the service is counted as
	services map[string]*serviceTally
}

// serviceTally counts the asks for a service.
type serviceTally struct {
	name string              // or otherServices
	asks atomic.Uint64       // without those in rows
	rows atomic.Pointer[row] // the first of those that asks may still be counted in

	length  atomic.Int64 // of the rows, of which some are retired
	retired int64        // guarded by ledger.mu
}

// tally counts the asks of a guest for a service.
type tally struct {
	guest   string
	service string // or otherServices

	asked, answered, declined, failed atomic.Uint64 // without those in rows

	refused atomic.Uint64 // which only remote handlers are counted to have

	lastFailure atomic.Value
	sum         atomic.Int64 // of the durations
	buckets     [len(durationBounds) + 1]atomic.Uint64
}

// durationBounds are the upper bounds of the buckets that durations are counted in.
var durationBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond,
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second, 10 * time.Second,
}

// counts say what became of asks.
type counts struct{ asked, answered, declined, failed uint64 }

func (c counts) plus(o counts) counts {
	return counts{c.asked + o.asked, c.answered + o.answered, c.declined + o.declined, c.failed + o.failed}
}

func (t *tally) add(c counts) {
	t.asked.Add(c.asked)
	t.answered.Add(c.answered)
	t.declined.Add(c.declined)
	t.failed.Add(c.failed)
}

func (t *tally) counts() counts {
	c := counts{answered: t.answered.Load(), declined: t.declined.Load(), failed: t.failed.Load()}
	c.asked = t.asked.Load() // last, so that it is never less than what came of it
	return c
}

// ask counts that a remote handler is asked.
func (t *tally) ask() {
	if t != nil {
		t.asked.Add(1)
	}
}

// reply counts what a remote handler made of it.
func (t *tally) reply(took time.Duration, err error, refused bool) {
	if t == nil {
		return
	}
	switch err {
	case nil:
		t.answered.Add(1)
	case ErrHighAndDry:
		t.declined.Add(1)
	default:
		t.fail(err)
		if refused {
			t.refused.Add(1)
		} else {
			t.failed.Add(1)
		}
	}
	t.sum.Add(int64(took))
	bucket, _ := slices.BinarySearch(durationBounds[:], took)
	t.buckets[bucket].Add(1)
}

func (t *tally) durations() Durations {
	d := Durations{Sum: time.Duration(t.sum.Load()), Buckets: make(map[time.Duration]uint64, len(durationBounds))}
	for i := range t.buckets {
		d.Count += t.buckets[i].Load()
		if i < len(durationBounds) {
			d.Buckets[durationBounds[i]] = d.Count
		}
	}
	return d
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

// forget drops what was counted of a guest that is gone, and of the services that only
// that one had.
func (l *ledger) forget(guest string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gone := l.guests[guest]
	delete(l.guests, guest)
	for _, tallies := range l.guests {
		if _, ok := tallies[otherServices]; ok {
			return // which of the services it has is not known
		}
		for service := range tallies {
			delete(gone, service)
		}
	}
	for service := range gone {
		delete(l.services, service)
	}
}

// read returns what has been counted so far.
func (l *ledger) read() (map[*tally]counts, map[*serviceTally]uint64) {
	guests := make(map[*tally]counts)
	services := make(map[*serviceTally]uint64)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, tallies := range l.guests {
		for _, t := range tallies {
			guests[t] = t.counts()
		}
	}
	for _, s := range l.services {
		services[s] = s.asks.Load()
		for r := s.rows.Load(); r != nil; r = r.next {
			services[s] += r.each(func(t *tally, more counts) { guests[t] = guests[t].plus(more) })
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
	next    *row     // of the service; after the row was added guarded by ledger.mu
	retired bool     // guarded by ledger.mu; then there are no parts
}

// rowPart is how many handlers of a row are counted at a time.
const rowPart = 64

// rowOutcome is what became of an ask of up to rowPart handlers. Its bits are those of
// the handlers, from the lowest on.
type rowOutcome struct {
	reached                   int    // how many; those after are as if skipped
	skipped, declined, failed uint64 // the others have answered
}

// newRow returns a row of handlers, to be added to the service's.
func newRow(ledger *ledger, service *serviceTally, tallies []*tally) *row {
	r := &row{ledger: ledger, service: service, tallies: tallies, parts: make([]part, max(1, (len(tallies)+rowPart-1)/rowPart))}
	for i := range r.parts {
		r.parts[i].shards = make([]shard, shardCount())
	}
	return r
}

// add puts the row in front of the service's. The row's retire is to be called when
// nobody can count in it any more.
func (s *serviceTally) add(r *row) {
	for {
		first := s.rows.Load()
		r.next = first
		if s.rows.CompareAndSwap(first, r) {
			s.length.Add(1)
			return
		}
	}
}

// retire keeps what was counted in the row, and drops the rest of it.
func (r *row) retire() {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	s := r.service
	s.asks.Add(r.each((*tally).add))
	r.retired, r.parts = true, nil
	if s.retired++; 2*s.retired > s.length.Load() { // not each time, or many would take long
		s.sweep()
	}
}

// sweep takes the retired rows out of the service's, with ledger.mu held.
func (s *serviceTally) sweep() {
	swept := int64(0)
	for first := s.rows.Load(); first != nil && first.retired; first = s.rows.Load() {
		if s.rows.CompareAndSwap(first, first.next) { // else another one is first now
			swept++
		}
	}
	for r := s.rows.Load(); r != nil; r = r.next {
		for r.next != nil && r.next.retired {
			r.next = r.next.next
			swept++
		}
	}
	s.length.Add(-swept)
	s.retired -= swept
}

// each calls f with what was counted of each handler, and returns how many asks.
func (r *row) each(f func(*tally, counts)) (asks uint64) {
	for i := range r.parts {
		r.parts[i].counters(func(o *rowOutcome, n uint64) {
			r.outcome(i, o, n, f)
			if i == 0 {
				asks += n
			}
		})
	}
	return asks
}

// outcome calls f with what n asks of that outcome mean for each handler of the part.
func (r *row) outcome(partIndex int, o *rowOutcome, n uint64, f func(*tally, counts)) {
	for i, t := range r.tallies[partIndex*rowPart:][:o.reached] {
		bit := uint64(1) << i
		switch {
		case t == nil || o.skipped&bit != 0:
		case o.declined&bit != 0:
			f(t, counts{asked: n, declined: n})
		case o.failed&bit != 0:
			f(t, counts{asked: n, failed: n})
		default:
			f(t, counts{asked: n, answered: n})
		}
	}
}

// count counts what became of the handlers of one part of the row. The first part is
// to be counted for every ask. The address is that of something allocated for this
// ask: processors allocate from pages of their own, which tells them apart.
func (r *row) count(partIndex int, o *rowOutcome, address uintptr) {
	p := &r.parts[partIndex]
	s := &p.shards[int(address>>pageShift)&(len(p.shards)-1)]
	for i := range s.first {
		if c := &s.first[i]; c.counts(o) {
			c.n.Add(1)
			return
		}
	}
	if p.count(s, o) {
		return
	}
	if partIndex == 0 {
		r.service.asks.Add(1)
	}
	r.outcome(partIndex, o, 1, (*tally).add)
}

// part counts by outcome, in one of several shards, so that processors do not wait
// for each other's additions.
type part struct {
	shards []shard
	length atomic.Int64 // of all shards
}

const (
	// maxOutcomes bounds, roughly, a part's memory. Outcomes beyond are counted
	// handler by handler.
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

// counters calls f with every outcome, and how often it was counted.
func (p *part) counters(f func(*rowOutcome, uint64)) {
	for i := range p.shards {
		s := &p.shards[i]
		inUse(s.first[:], f)
		for t := s.more.Load(); t != nil; t = t.next.Load() {
			inUse(t.counters, f)
		}
	}
}

func inUse(counters []counter, f func(*rowOutcome, uint64)) {
	for i := range counters {
		if n := counters[i].n.Load(); n != 0 && n != claimed {
			f(&counters[i].outcome, n)
		}
	}
}

// count counts the outcome in the shard, and returns false if there is no room.
func (p *part) count(s *shard, o *rowOutcome) bool {
	if c := s.find(o); c != nil {
		c.n.Add(1)
		return true
	}
	if p.length.Load() >= maxOutcomes || !s.insert(o) {
		return false
	}
	p.length.Add(1)
	return true
}

// counter counts an outcome, which stays what it was first. Goroutines that count
// an outcome for the first time at once may each make a counter of it.
type counter struct {
	outcome rowOutcome
	n       atomic.Uint64 // 0 is free
}

// claimed is in place of the number while the outcome is being written.
const claimed = ^uint64(0)

// counts reports whether the counter is the outcome's.
func (c *counter) counts(o *rowOutcome) bool {
	n := c.n.Load()
	return n != 0 && n != claimed && c.outcome.reached == o.reached &&
		c.outcome.skipped == o.skipped && c.outcome.declined == o.declined && c.outcome.failed == o.failed
}

// use makes a free counter the outcome's.
func (c *counter) use(o *rowOutcome) bool {
	if !c.n.CompareAndSwap(0, claimed) {
		return false
	}
	c.outcome = *o
	c.n.Store(1)
	return true
}

// shard is a set of counters to which they are only added.
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
		if c := &s.first[i]; c.counts(o) {
			return c
		}
	}
	for t := s.more.Load(); t != nil; t = t.next.Load() {
		for i := range uint64(probes) {
			if c := t.at(o.hash() + i); c.counts(o) {
				return c
			}
		}
	}
	return nil
}

func (t *counterTable) at(i uint64) *counter { return &t.counters[i&uint64(len(t.counters)-1)] }

// insert counts the first ask of an outcome. It returns false if the tables that it
// could be in are full.
func (s *shard) insert(o *rowOutcome) bool {
	for i := range s.first {
		if s.first[i].use(o) {
			return true
		}
	}
	next := &s.more
	for size := 2 * probes; size <= 2*maxOutcomes; size *= 2 {
		t := next.Load()
		if t == nil {
			t = &counterTable{counters: make([]counter, size)}
			if !next.CompareAndSwap(nil, t) {
				t = next.Load()
			}
		}
		for i := range uint64(probes) {
			if t.at(o.hash() + i).use(o) {
				return true
			}
		}
		next = &t.next
	}
	return false
}

func (o *rowOutcome) hash() uint64 {
	h := o.skipped ^ bits.RotateLeft64(o.declined, 21) ^ bits.RotateLeft64(o.failed, 42) ^ uint64(o.reached)<<7
	return h * 0x9e3779b97f4a7c15 >> 40 // Fibonacci hashing: the upper bits are well mixed
}
