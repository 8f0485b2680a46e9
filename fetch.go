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
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/wsgiparty/wsgiparty/internal/manifest"
)

const (
	manifestType = "application/vnd.wsgi-party+json"

	minFetchInterval = time.Second
	notGuestInterval = 5 * time.Minute
	defaultMaxAge    = time.Minute
	minMaxAge        = 10 * time.Second
	maxMaxAge        = 24 * time.Hour

	// A guest leaves after so many answers that it is none, so far apart: while
	// an application is deployed, both its versions answer.
	notGuestAnswers = 3
	notGuestApart   = 30 * time.Second
)

// fetching is the asking of an application for its manifest.
type fetching struct {
	*visit
	key     manifestKey
	last    *lastManifest // nil if there is none
	backoff *backoff.ExponentialBackOff
	judged  chan struct{} // closed after the first answer
	told    string        // what was told of last
	warned  string        // of the manifest; "" if there was nothing
	denials int           // in a row that it is a guest
	denied  time.Time
}

type manifestKey struct{ party, guest, uri string }

// lastManifest is the last good manifest of an application.
type lastManifest struct {
	manifest *manifest.Manifest
	etag     string
	fresh    time.Time // until when
}

// lastManifests are passed on from config to config.
var lastManifests sync.Map // of manifestKey to *lastManifest

func newFetching(v *visit) *fetching {
	f := &fetching{
		visit:   v,
		key:     manifestKey{v.invitation.party.partyName(), v.guest(), v.invitation.URI.String()},
		backoff: backoff.NewExponentialBackOff(),
		judged:  make(chan struct{}),
	}
	f.backoff.InitialInterval = time.Second
	f.backoff.MaxInterval = 20 * time.Second // up to 30 with jitter
	if last, ok := lastManifests.Load(f.key); ok {
		f.last = last.(*lastManifest)
	} else if m := f.stored(); m != nil {
		f.last = &lastManifest{manifest: m}
	}
	return f
}

// run asks for the manifest until the visit or its config ends.
func (f *fetching) run() {
	wait := time.Duration(0)
	if f.last != nil {
		wait = time.Until(f.last.fresh)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	loaded, _ := turns.LoadOrStore(f.key, &turn{Weighted: semaphore.NewWeighted(1)})
	turn := loaded.(*turn)
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-timer.C:
		case <-f.wake:
		}
		if !turn.begin(f.ctx) {
			return
		}
		wait := f.fetch()
		turn.end()
		timer.Reset(max(wait, minFetchInterval))
	}
}

// turn sees to it that an application is asked for its manifest by one at a time, and
// once a second, however many servers and configs it is in.
type turn struct {
	*semaphore.Weighted
	earliest time.Time // guarded by it
}

var turns sync.Map // of manifestKey to *turn

// begin waits for the turn. It returns false if the context ends before that.
func (t *turn) begin(ctx context.Context) bool {
	if t.Acquire(ctx, 1) != nil {
		return false
	}
	timer := time.NewTimer(time.Until(t.earliest))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		t.Release(1)
		return false
	}
}

func (t *turn) end() {
	t.earliest = time.Now().Add(minFetchInterval)
	t.Release(1)
}

// fetch asks once, and returns when to ask again.
func (f *fetching) fetch() time.Duration {
	timeout := time.Duration(f.invitation.party.InviteTimeout)
	ctx, cancel := context.WithTimeoutCause(f.ctx, timeout, &timeoutError{timeout})
	defer cancel()
	r := (&http.Request{Method: http.MethodGet, URL: f.invitation.URI, Header: http.Header{
		"Accept":        {manifestType},
		"Cache-Control": {"no-store"},
	}}).WithContext(ctx)
	if f.last != nil && f.last.etag != "" {
		r.Header.Set("If-None-Match", f.last.etag)
	}
	o := &outcome{invited: f.invitation.invited, time: time.Now()}
	response, err := f.send(r, maxResponse, nil, nil, func() {})
	if f.ctx.Err() != nil {
		return 0
	}
	o.duration = time.Since(o.time)
	wait := f.judge(o, response, err)
	if f.ctx.Err() != nil {
		return 0 // what comes of the guest now is another's to tell
	}
	f.tell(o)
	return wait
}

// judge does what the application's answer asks for.
func (f *fetching) judge(o *outcome, response *http.Response, err error) time.Duration {
	if statusErr, ok := errors.AsType[*statusError](err); ok {
		if o.status = statusErr.status; o.status < 500 || o.status == http.StatusNotImplemented {
			err = nil // it is how Caddy's handlers respond with that status
		} else {
			err = statusErr.err
		}
		o.ofCaddy = true
		response = &http.Response{Body: http.NoBody}
	}
	if err != nil {
		return f.notNow(o, err, nil)
	}
	if o.status == 0 {
		o.status = response.StatusCode
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return f.notNow(o, err, nil)
	}
	o.take(response.Header, body)
	switch {
	case o.status == http.StatusNotModified && f.last != nil:
		return f.joined(o, response.Header, f.last.manifest, cmp.Or(response.Header.Get("Etag"), f.last.etag))
	case o.status == http.StatusOK && o.mediaType == manifestType:
		m, err := manifest.Parse(body)
		if err != nil {
			return f.notNow(o, err, nil)
		}
		f.warned = f.warnOf(m, f.warned)
		if f.last != nil && sameManifest(f.last.manifest, m) {
			m = f.last.manifest
		}
		return f.joined(o, response.Header, m, response.Header.Get("Etag"))
	case o.status >= 200 && o.status < 300,
		slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusNotImplemented}, o.status):
		return f.notGuest(o)
	default:
		return f.notNow(o, nil, response.Header)
	}
}

func (f *fetching) joined(o *outcome, header http.Header, m *manifest.Manifest, etag string) time.Duration {
	changed := f.last == nil || f.last.manifest != m
	if changed {
		if err := f.adopt(manifest.Merge(f.declared, m, f.Allow)); err != nil {
			return f.notNow(o, err, nil)
		}
	}
	o.result = InviteJoined
	o.advice = f.warned
	maxAge := maxAgeOf(header)
	f.last = &lastManifest{m, etag, time.Now().Add(maxAge)}
	lastManifests.Store(f.key, f.last)
	if o.changed = changed; changed {
		f.store(m) // which may take a while, in which another config may load
	}
	f.backoff.Reset()
	f.denials = 0
	return maxAge
}

// notGuest takes down that the application says it is no guest.
func (f *fetching) notGuest(o *outcome) time.Duration {
	f.backoff.Reset()
	o.result = InviteNotAnswered
	o.advice = f.adviceOn(o)
	if f.denials == 0 || o.time.Sub(f.denied) >= notGuestApart {
		f.denials++
		f.denied = o.time
	}
	if f.last == nil {
		return notGuestInterval
	}
	f.stale()
	if f.denials < notGuestAnswers {
		o.advice += "; until it has said so three times, its last manifest counts"
		return notGuestInterval
	}
	f.last = nil
	lastManifests.Delete(f.key)
	f.forget()
	if f.declared == nil {
		f.leave()
	} else if err := f.adopt(manifest.Merge(f.declared, nil, nil)); err != nil {
		o.err = err
	}
	return notGuestInterval
}

// notNow has the application asked again soon.
func (f *fetching) notNow(o *outcome, err error, header http.Header) time.Duration {
	f.denials = 0
	f.stale()
	o.err = err
	if o.result = InviteFailed; err == nil && o.status >= 400 && o.status < 500 {
		o.result = InviteRefused
	}
	o.advice = f.adviceOn(o)
	wait := f.backoff.NextBackOff()
	if seconds, err := strconv.Atoi(header.Get("Retry-After")); err == nil && seconds > 0 {
		wait = max(wait, min(time.Duration(seconds)*time.Second, maxMaxAge))
	} else if at, err := http.ParseTime(header.Get("Retry-After")); err == nil {
		wait = max(wait, min(time.Until(at), maxMaxAge))
	}
	return wait
}

// stale has the manifest asked for at once by whoever begins with it.
func (f *fetching) stale() {
	if f.last != nil && !f.last.fresh.IsZero() {
		f.last = &lastManifest{manifest: f.last.manifest, etag: f.last.etag}
		lastManifests.Store(f.key, f.last)
	}
}

// tell makes known what became of the invite, if it is something else than before.
func (f *fetching) tell(o *outcome) {
	f.mu.Lock()
	o.operator = f.operator
	f.mu.Unlock()
	o.taken = true
	o.services = o.operator.services()
	f.invitation.invited.last.Store(o)
	if state := o.state(); state != f.told {
		f.told = state
		f.invitation.party.tell(o)
	} else if o.changed {
		f.logger.Info("manifest changed",
			zap.String("party", f.key.party),
			zap.String("guest", f.key.guest),
			zap.String("uri", f.key.uri),
			zap.Strings("services", o.services))
	}
	select {
	case <-f.judged:
	default:
		close(f.judged)
	}
}

// state is the same for outcomes of which the later one is not worth telling.
func (o *outcome) state() string {
	if o.result == InviteJoined {
		return fmt.Sprint(o.result)
	}
	err := o.err
	if operation, ok := errors.AsType[*net.OpError](err); ok {
		err = operation.Err // the rest has a port that is another one each time
	}
	return fmt.Sprint(o.result, o.status, err, o.location, o.mediaType, o.services)
}

// maxAgeOf returns how long a response is fresh.
func maxAgeOf(header http.Header) time.Duration {
	for directive := range strings.SplitSeq(header.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
		if strings.EqualFold(name, "max-age") && (err == nil || errors.Is(err, strconv.ErrRange)) {
			return min(max(time.Duration(seconds)*time.Second, minMaxAge), maxMaxAge)
		}
	}
	return defaultMaxAge
}

// storageTimeout bounds how long a config load waits for Caddy's storage.
const storageTimeout = 2 * time.Second

// storageKey is readable and, by the hash, different for each: Safe makes the same of
// /a/b and /AB.
func (k manifestKey) storageKey() string {
	hash := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", k.party, k.guest, k.uri))
	return path.Join("wsgi_party", certmagic.StorageKeys.Safe(k.party), fmt.Sprintf("%s-%x.json", certmagic.StorageKeys.Safe(k.guest), hash[:16]))
}

// stored returns the manifest in Caddy's storage, nil if there is none.
func (f *fetching) stored() *manifest.Manifest {
	ctx, cancel := context.WithTimeout(f.ctx, storageTimeout)
	defer cancel()
	body, err := f.storage.Load(ctx, f.key.storageKey())
	if err == nil {
		var m *manifest.Manifest
		if m, err = manifest.Parse(body); err == nil {
			return m
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		f.logger.Warn("the guest's last manifest cannot be read from storage", zap.String("guest", f.guest()), zap.Error(err))
	}
	return nil
}

func sameManifest(a, b *manifest.Manifest) bool {
	one, err := a.MarshalJSON()
	other, otherErr := b.MarshalJSON()
	return err == nil && otherErr == nil && bytes.Equal(one, other)
}

func (f *fetching) store(m *manifest.Manifest) {
	encoded, err := m.MarshalJSON() // json.Marshal would make it longer
	if err == nil {
		err = f.storage.Store(f.ctx, f.key.storageKey(), encoded)
	}
	if err != nil {
		f.logger.Warn("the guest's manifest cannot be stored", zap.String("guest", f.guest()), zap.Error(err))
	}
}

func (f *fetching) forget() {
	if err := f.storage.Delete(f.ctx, f.key.storageKey()); err != nil {
		f.logger.Warn("the guest's manifest cannot be deleted from storage", zap.String("guest", f.guest()), zap.Error(err))
	}
}
