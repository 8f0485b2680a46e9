// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/manifest"
)

const (
	manifestType = "application/vnd.wsgi-party+json"

	minFetchInterval = time.Second
	defaultMaxAge    = time.Minute
	minMaxAge        = 10 * time.Second
	maxMaxAge        = 24 * time.Hour

	// A guest leaves after so many answers that it is none, so far apart: while
	// an application is deployed, both its versions answer.
	notGuestAnswers = 3
	notGuestApart   = 30 * time.Second
)

// startingTime is how long an application may not be there before that is a warning:
// Caddy often starts first.
var startingTime = 10 * time.Second

// fetching is the asking of an application for its manifest.
type fetching struct {
	*visit
	*knownApplication
	key       manifestKey
	storage   string        // where the manifest is stored
	last      *lastManifest // nil if there is none
	began     time.Time
	retries   retries
	judged    chan struct{} // closed after the first answer
	told      string        // what was told of last
	toldEarly bool          // and that it was early
	warned    string        // of the manifest; "" if there was nothing
	counted   bool          // it was told that a proxy counts the answer
	unstored  bool          // it was told that it cannot be stored
	denials   int           // in a row that it is a guest
	denied    time.Time
}

func newFetching(v *visit) *fetching {
	f := &fetching{
		visit:  v,
		key:    manifestKey{v.invitation.host.name, v.guest(), v.invitation.URI.String()},
		began:  time.Now(),
		judged: make(chan struct{}),
	}
	f.knownApplication = hold(&v.app.holds, &applications, f.key)
	f.storage = f.key.storageKey(v.surroundings())
	v.app.stored.Store(f.storage, nil)
	if f.last = f.knownApplication.last.Load(); f.last == nil {
		f.last = f.stored()
	} else {
		f.warned = f.warningsOf(f.last.manifest) // it has been told
	}
	if v.invitation.again {
		f.paused.Store(nil)
	}
	return f
}

// run asks for the manifest until the visit or its config ends.
func (f *fetching) run() {
	wait := time.Duration(0)
	if f.last != nil {
		f.knownApplication.last.CompareAndSwap(nil, f.last) // it came from storage
		wait = time.Until(f.last.fresh)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	if p := f.paused.Load(); p != nil && time.Now().Before(p.until) {
		f.showPause(p)
		f.logger.Info("an application that answered with a 5xx status is not asked for its manifest yet",
			zap.String("party", f.key.party),
			zap.String("guest", f.key.guest),
			zap.Duration("asked_again_in", time.Until(p.until)),
			zap.String("hint", "`"+f.inviteCommand()+"` has it asked at once"))
	}
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-timer.C:
		case <-f.wake:
		}
		if p := f.paused.Load(); p != nil && time.Now().Before(p.until) {
			timer.Reset(time.Until(p.until))
			continue
		}
		if !f.beginTurn(f.ctx) {
			return
		}
		timer.Reset(max(f.fetchAndRecover(), minFetchInterval))
	}
}

// fetchAndRecover is fetch in the application's turn, whatever the application may answer.
func (f *fetching) fetchAndRecover() (wait time.Duration) {
	defer f.endTurn()
	defer func() {
		if value := recover(); value != nil {
			wait = fetchWaits.broken
			f.logger.Error("asking an application for its manifest panicked",
				zap.String("party", f.key.party),
				zap.String("guest", f.key.guest),
				zap.String("error", fmt.Sprint(value)),
				zap.ByteString("stack", debug.Stack()))
		}
	}()
	return f.fetch()
}

// fetch asks once, and returns when to ask again.
func (f *fetching) fetch() time.Duration {
	timeout := f.invitation.host.settings.InviteTimeout
	ctx, cancel := context.WithTimeoutCause(f.ctx, timeout, &goneError{&timeoutError{timeout}})
	defer cancel()
	ctx, connected := withConnecting(ctx, f.attempts())
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
	if connected.Load() || response != nil {
		f.retries.reached = true
	}
	wait := max(f.judge(o, response, err), minFetchInterval)
	if f.ctx.Err() != nil {
		return 0 // what comes of the guest now is another's to tell
	}
	o.again = wait
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
	if _, ok := errors.AsType[*unconnectedError](err); ok {
		o.status = http.StatusBadGateway // as proxies say
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
	if f.last == nil || len(body) == 0 || !bytes.Equal(body, f.last.body) {
		o.take(response.Header, body)
	} else {
		o.mediaType, _, _ = mime.ParseMediaType(response.Header.Get("Content-Type"))
	}
	switch {
	case o.status == http.StatusNotModified && f.last != nil:
		return f.joined(o, response.Header, f.last.manifest, f.last.body, cmp.Or(etagOf(response.Header), f.last.etag))
	case o.status == http.StatusOK && o.mediaType == manifestType:
		m, err := f.parse(body)
		if err != nil {
			return f.notNow(o, err, nil)
		}
		return f.joined(o, response.Header, m, body, etagOf(response.Header))
	case o.status >= 200 && o.status < 300,
		slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusNotImplemented}, o.status):
		return f.notGuest(o)
	default:
		return f.notNow(o, nil, response.Header)
	}
}

// parse returns the manifest that is the body, the last one if it is the same.
func (f *fetching) parse(body []byte) (*manifest.Manifest, error) {
	if f.last != nil && bytes.Equal(body, f.last.body) {
		return f.last.manifest, nil
	}
	m, err := manifest.Parse(body)
	if err != nil {
		return nil, err
	}
	f.warned = f.warnOf(m, f.warned)
	if f.last != nil && sameManifest(f.last.manifest, m) {
		m = f.last.manifest
	}
	return m, nil
}

func (f *fetching) joined(o *outcome, header http.Header, m *manifest.Manifest, body []byte, etag string) time.Duration {
	changed := f.last == nil || f.last.manifest != m
	if changed || !f.onLine() { // its invite may have ended just when it was taken
		if err := f.adopt(manifest.Merge(f.declared, m, f.Allow)); err != nil {
			return f.notNow(o, err, nil)
		}
	}
	o.result = InviteJoined
	o.advice = f.hardlyMeant(f.warned)
	maxAge := maxAgeOf(header)
	next := &lastManifest{manifest: m, body: body, etag: etag, fetched: o.time, fresh: time.Now().Add(maxAge)}
	if !changed {
		next.stored = f.last.stored
	}
	f.keep(next)
	if o.changed = changed; next.stored != f.storage {
		f.store() // which may take a while, in which another config may load
	}
	f.retries.reset()
	f.denials = 0
	return maxAge
}

// notGuest takes down that the application says it is no guest.
func (f *fetching) notGuest(o *outcome) time.Duration {
	o.result = InviteNotAnswered
	o.advice = f.adviceOn(o)
	if f.denials == 0 || o.time.Sub(f.denied) >= notGuestApart {
		f.denials++
		f.denied = o.time
	}
	if f.last == nil {
		return f.retries.afterDenial(false)
	}
	f.stale()
	if f.denials < notGuestAnswers {
		o.advice += "; until it has said so three times, its last manifest counts"
		return f.retries.afterDenial(true)
	}
	f.keep(nil)
	f.forget()
	if f.declared == nil {
		f.leave()
	} else if err := f.adopt(manifest.Merge(f.declared, nil, nil)); err != nil {
		o.err = err
	}
	return f.retries.afterDenial(false)
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
	o.early = o.result == InviteFailed && !errors.Is(err, ErrMisrouted) && !errors.Is(err, errAnswersNothing) &&
		!f.retries.reached && o.time.Sub(f.began) < startingTime
	wait := f.retries.afterFailure(o.broken(), retryAfter(header, o.time), rand.Float64())
	if o.broken() {
		f.paused.Store(&pause{time.Now().Add(wait), o.status})
		if !f.counted && f.isCounted(o.status) {
			f.counted = true
			o.advice += ". The reverse_proxy in front of it counts this answer (unhealthy_status), so that for a while visitors may get no answer either"
		}
	}
	return wait
}

// broken reports whether the application itself has answered with a 5xx status.
func (o *outcome) broken() bool { return o.err == nil && o.status >= 500 }

// showPause has the invite shown as what came of it before this config was loaded.
func (f *fetching) showPause(p *pause) {
	o := f.invitation.invited.last.Load()
	if o == nil || o.pending == nil { // it is on the line all the same
		return
	}
	shown := *o
	shown.result, shown.status = InviteFailed, p.status
	shown.advice = fmt.Sprintf("before this config was loaded the application answered with status %d; it is asked again at %s, or at once by `%s`", p.status, p.until.Format(time.TimeOnly), f.inviteCommand())
	f.invitation.invited.last.CompareAndSwap(o, &shown)
}

func (f *fetching) inviteCommand() string {
	return "caddy wsgi-party invite " + f.key.party + " " + f.key.guest
}

// tell makes known what became of the invite, if it is something else than before.
func (f *fetching) tell(o *outcome) {
	f.mu.Lock()
	o.operator = f.operator
	f.mu.Unlock()
	o.taken = true
	o.services = o.operator.services()
	if f.last != nil && o.result != InviteJoined {
		o.oldManifest = f.last.fetched
	}
	f.invitation.invited.last.Store(o)
	if state := o.state(); state != f.told {
		f.told, f.toldEarly = state, o.early
		f.invitation.host.tell(o)
	} else if f.toldEarly && !o.early {
		f.toldEarly = false
		f.invitation.host.log(o)
	} else if o.changed {
		f.logger.Info("manifest changed",
			zap.String("party", f.key.party),
			zap.String("guest", f.key.guest),
			zap.String("uri", f.key.uri),
			zap.Int("services", len(o.services)),
			zap.Int("urls", len(f.last.manifest.URLs)),
			zap.Strings("first", o.services[:min(len(o.services), 5)]))
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

const maxETag = 1 << 10

// etagOf returns a response's ETag, empty for one that is too long to be kept and sent.
func etagOf(header http.Header) string {
	etag := header.Get("Etag")
	if len(etag) > maxETag {
		return ""
	}
	return strings.Clone(etag) // not with the whole header
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
