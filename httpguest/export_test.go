// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"cmp"
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// What the tests of package httpguest_test need beyond the API: they load Caddyfiles, and
// so import the package that imports this one.
type (
	Application = application
	Fetcher     = fetcher
)

const (
	BreakerFailures = breakerFailures
	BreakerPause    = breakerPause
	DefaultMaxAsks  = defaultMaxAsks
	MaxWaiting      = maxWaiting
)

// Waits are how long to leave applications alone; 0 is the package's own time.
type Waits struct{ Unreached, Answered, Denied, Broken, Starting, Fresh, Apart time.Duration }

// Set makes them count until the test ends.
func (w Waits) Set(t testing.TB) {
	before, starting, fresh, apart := fetchWaits, startingTime, minMaxAge, minFetchInterval
	t.Cleanup(func() { fetchWaits, startingTime, minMaxAge, minFetchInterval = before, starting, fresh, apart })
	fetchWaits.unreached[1] = cmp.Or(w.Unreached, before.unreached[1])
	for i := range 2 {
		fetchWaits.answered[i] = cmp.Or(w.Answered, before.answered[i])
		fetchWaits.denied[i] = cmp.Or(w.Denied, before.denied[i])
	}
	fetchWaits.broken = cmp.Or(w.Broken, before.broken)
	startingTime = cmp.Or(w.Starting, starting)
	minMaxAge = cmp.Or(w.Fresh, fresh)
	minFetchInterval = cmp.Or(w.Apart, apart)
}

// Remembered says what the next config would know of an application.
func Remembered(party, guest, uri string) (known, hasManifest bool) {
	r, known := applications.Lookup(manifestKey{party, guest, uri})
	return known, known && r.last.Load() != nil
}

// RememberedInAll is how many applications are known.
func RememberedInAll() int { return applications.Len() }

// SpeaksFor returns the guest's application, nil if it is not this handler's.
func (g *Guest) SpeaksFor(guest string) *Application {
	if a := g.speaksFor.Load(); a != nil && a.guest() == guest {
		return a
	}
	return nil
}

func (a *application) FetchSoon()                            { a.fetchSoon() }
func (a *application) Leave()                                { a.invitation.Leave() }
func (a *application) CheckPage(name, expanded string) error { return a.checkPage(name, expanded) }

// StoredAt is the key of the application's manifest in the storage.
func (a *application) StoredAt() string {
	return manifestKey{a.invitation.Party(), a.guest(), a.invitation.URI.String()}.storageKey(a.surroundings())
}

// Breakers is for how many services there is one.
func (a *application) Breakers() (n int) {
	a.breakers.Range(func(any, any) bool { n++; return true })
	return n
}

// TakeSlot takes one as an ask of the asker does.
func (a *application) TakeSlot(ctx context.Context, asker string) (release func(), err error) {
	held := new(slot)
	_, err = a.slots.acquire(ctx, held, asker, false)
	return func() { a.slots.release(held) }, err
}

// Waiting is how many asks wait for a slot.
func (a *application) Waiting() int {
	a.slots.mu.Lock()
	defer a.slots.mu.Unlock()
	return a.slots.waiting
}

// NewFetcher returns a fetcher that hears what the test says.
func NewFetcher(a *Application) *Fetcher { return newFetcher(a) }

// Hear has the fetcher hear what came when it asked at that time, and returns when it asks
// again.
func (f *fetcher) Hear(response *http.Response, err error, asked time.Time) time.Duration {
	return f.hear(answerOf(response, err, asked))
}

// HasManifest reports whether a last manifest counts.
func (f *fetcher) HasManifest() bool { return f.last.manifest != nil }

// ClaimsKept is how many answers to the service claims are kept.
func (a *application) ClaimsKept() int { return a.claimed.answers.Len() }

// UseUpClaimAsks has the application asked no claims any more, until the returned function is called.
func (a *application) UseUpClaimAsks() (restore func()) {
	p := a.claimed.pace
	for p.allows(time.Now().Add(time.Hour)) {
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		clear(p.last)
	}
}

// IsDown reports whether the application counts as down.
func (a *application) IsDown() bool { return a.isDown() }

// SetDownFor sets, until the test ends, how long an application counts as down after a request that says so.
func SetDownFor(t testing.TB, d time.Duration) {
	before := downFor
	t.Cleanup(func() { downFor = before })
	downFor = d
}

// Pace returns a new pace's function.
func Pace() (allows func(now time.Time) bool) { return newPace(maxClaimAsks).allows }

// NewResponseWriter returns what an application gets that writes to w.
func NewResponseWriter(w http.ResponseWriter) http.ResponseWriter {
	return &responseWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
}

// PassOn passes an ordinary request on.
func (a *application) PassOn(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return a.passOn(w, r, next)
}

// SetGatherFor sets, until the test ends, how long asks wait for a batch that is under way.
func SetGatherFor(t testing.TB, d time.Duration) {
	before := gatherFor
	t.Cleanup(func() { gatherFor = before })
	gatherFor = d
}

// Gathered is how many asks wait for a batch that is under way.
func (a *application) Gathered() int { return a.gathered.count() }

const (
	MaxBatch    = maxBatch
	MaxGathered = maxGathered
)
