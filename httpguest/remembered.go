// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
)

type manifestKey struct{ Party, Guest, URI string }

// lastManifest is the last good manifest of an application.
type lastManifest struct {
	manifest *manifest.Manifest
	body     []byte // as it came
	etag     string
	fetched  time.Time
	fresh    time.Time // until when
	stored   string    // where; empty if it is not
}

// remembered is what each config tells the next of an application.
type remembered struct {
	last atomic.Pointer[lastManifest]

	// It is asked for its manifest by one at a time, and once a second, however many
	// servers and configs it is in.
	pace     *semaphore.Weighted
	earliest time.Time // guarded by pace

	paused atomic.Pointer[pause] // nil, or since an answer that a proxy may count
}

// pause is for a while after an answer of a 5xx status.
type pause struct {
	until  time.Time
	status int
}

// pause returns the pause that the application is in, nil if it is in none.
func (r *remembered) pause() *pause {
	if p := r.paused.Load(); p != nil && time.Now().Before(p.until) {
		return p
	}
	return nil
}

var applications = kept.New(func(manifestKey) *remembered {
	return &remembered{pace: semaphore.NewWeighted(1)}
}, nil)

// beginAsking waits until the application may be asked. It returns false if the context
// ends before that.
func (r *remembered) beginAsking(ctx context.Context) bool {
	if r.pace.Acquire(ctx, 1) != nil {
		return false
	}
	timer := time.NewTimer(time.Until(r.earliest))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		r.pace.Release(1)
		return false
	}
}

func (r *remembered) endAsking() {
	r.earliest = time.Now().Add(minFetchInterval)
	r.pace.Release(1)
}

// keep makes it the last good manifest, also for configs to come.
func (f *fetcher) keep(last *lastManifest) {
	f.last = last
	f.remembered.last.Store(last)
}

// stale makes whoever begins with the last manifest ask for it at once.
func (f *fetcher) stale() {
	if f.last != nil && !f.last.fresh.IsZero() {
		last := *f.last
		last.fresh = time.Time{}
		f.keep(&last)
	}
}

func sameManifest(a, b *manifest.Manifest) bool {
	one, err := a.MarshalJSON()
	other, otherErr := b.MarshalJSON()
	return err == nil && otherErr == nil && bytes.Equal(one, other)
}
