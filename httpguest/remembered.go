// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/party"
	"go.uber.org/zap"
)

type manifestKey struct{ Party, Guest, URI string }

// lastManifest is the last good manifest of an application.
type lastManifest struct {
	manifest *manifest.Manifest
	body     []byte // as it came
	etag     string
	accepted time.Time // when it first came
	fetched  time.Time // when it last came, or was confirmed
	fresh    time.Time // until when
	stored   string    // where; empty if it is not
}

// info tells people of the manifest.
func (l *lastManifest) info() party.ManifestInfo {
	return party.ManifestInfo{Accepted: l.accepted, Confirmed: l.fetched}
}

// remembered is what each config tells the next of an application.
type remembered struct {
	last atomic.Pointer[lastManifest]

	// When it may be asked for its manifest next. Who takes that out asks: one at a time, and
	// once in an interval, however many servers and configs the application is in.
	pace     chan time.Time
	interval time.Duration

	paused atomic.Pointer[pause] // nil, or since an answer that a proxy may count
}

var applications = kept.New(func(manifestKey) *remembered {
	r := &remembered{pace: make(chan time.Time, 1), interval: minFetchInterval}
	r.pace <- time.Time{}
	return r
}, nil)

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

// beginAsking waits until the application may be asked. It returns false if the context
// ends before that.
func (r *remembered) beginAsking(ctx context.Context) bool {
	select {
	case earliest := <-r.pace:
		select {
		case <-time.After(time.Until(earliest)):
			return true
		case <-ctx.Done():
			r.pace <- earliest
		}
	case <-ctx.Done():
	}
	return false
}

func (r *remembered) endAsking() { r.pace <- time.Now().Add(r.interval) }

// keep makes it the last good manifest, also for configs to come.
func (f *fetcher) keep(last lastManifest) {
	f.last = last
	f.remembered.last.Store(&last)
}

// stale makes whoever begins with the last manifest ask for it at once.
func (f *fetcher) stale() {
	if last := f.last; !last.fresh.IsZero() {
		last.fresh = time.Time{}
		f.keep(last)
	}
}

// forget does without the last manifest.
func (f *fetcher) forget() {
	f.last = lastManifest{}
	f.remembered.last.Store(nil)
	if err := f.app.Storage().Delete(f.storage); err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.logger.Warn("the guest's manifest cannot be deleted from storage", zap.Error(err))
	}
}

func sameManifest(a, b *manifest.Manifest) bool {
	one, err := a.MarshalJSON()
	other, otherErr := b.MarshalJSON()
	return err == nil && otherErr == nil && bytes.Equal(one, other)
}

// storageKey is where the application's manifest is stored. Another project on this machine
// may have the same names, but not the same surroundings.
func (k manifestKey) storageKey(surroundings []string) string {
	return party.StorageKey(k.Party, k.Guest, k.URI, surroundings)
}

// surroundings are the addresses of the server that the guest is in, and the upstreams
// of the application as far as they are in the config.
func (a *application) surroundings() []string {
	addresses := slices.Sorted(slices.Values(a.invitation.Host().Server().Listen))
	var upstreams []string
	for _, proxy := range a.Guest.host.ProxiesBehind(a.Guest) {
		for _, upstream := range proxy.Upstreams {
			upstreams = append(upstreams, upstream.Dial)
		}
	}
	slices.Sort(upstreams)
	return append(append(addresses, "->"), upstreams...)
}

// stored returns the manifest in Caddy's storage, a zero one if there is none.
func (f *fetcher) stored() (last lastManifest) {
	encoded, err := f.app.Storage().Load(f.storage)
	if errors.Is(err, fs.ErrNotExist) {
		return last
	}
	var stored struct { // as store writes it
		Fetched  time.Time       `json:"fetched"`
		Manifest json.RawMessage `json:"manifest"`
	}
	if err == nil {
		err = json.Unmarshal(encoded, &stored)
	}
	if err == nil {
		last.manifest, err = manifest.Parse(stored.Manifest)
	}
	if err != nil {
		f.logger.Warn("the guest's last manifest cannot be read from storage", zap.Error(err))
		return last
	}
	return lastManifest{manifest: last.manifest, accepted: stored.Fetched, fetched: stored.Fetched, stored: f.storage}
}

// store stores the last good manifest. If that fails, it is tried again when the
// application is next asked for it.
func (f *fetcher) store() {
	last := f.last
	encoded, err := last.manifest.MarshalJSON() // json.Marshal would make it longer
	if err == nil {
		encoded = fmt.Appendf(nil, `{"fetched":%q,"manifest":%s}`, last.fetched.UTC().Format(time.RFC3339Nano), encoded)
		err = f.app.Storage().Store(f.storage, encoded)
	}
	if err != nil {
		if f.unstored || errors.Is(err, context.Canceled) {
			return // it has been told, or is the next config's to tell
		}
		f.unstored = true
		f.logger.Warn("the guest's manifest cannot be stored", zap.Error(err),
			zap.String("hint", "Caddy tries again when it next asks the application for it; until then, do not restart Caddy while the application is down"))
		return
	}
	last.stored, f.unstored = f.storage, false
	f.keep(last)
}

// dropStrayed drops a last good manifest that is not to be taken any more, since other
// guests are invited now.
func (f *fetcher) dropStrayed() (dropped bool) {
	if f.last.manifest == nil || f.checkManifest(f.withDeclared(f.last.manifest)) == nil {
		return false
	}
	f.standing, f.last = unknown, lastManifest{}
	return true
}

// recheck is dropStrayed when all guests of the config are known.
func (f *fetcher) recheck() {
	if !f.dropStrayed() {
		return
	}
	if err := f.withdraw(); err != nil && f.ctx.Err() == nil {
		f.logger.Error("the guest's declared services cannot be connected", zap.Error(err))
	}
}
