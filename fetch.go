// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
)

const (
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
	key      manifestKey
	storage  string // where the manifest is stored
	standing standing
	last     *lastManifest // not nil while confirmed or doubted
	began    time.Time
	retries  retries
	denials  int // in a row that it is a guest
	denied   time.Time

	// What has been told already:
	warned   string // of the manifest; "" if there was nothing
	counted  bool   // that a proxy counts the answer
	unstored bool   // that it cannot be stored
}

func newFetching(v *visit) *fetching {
	f := &fetching{
		visit: v,
		key:   manifestKey{v.invitation.Party(), v.guest(), v.invitation.URI.String()},
		began: time.Now(),
	}
	f.knownApplication = kept.Hold(v.app.Holds(), applications, f.key)
	f.storage = f.key.storageKey(v.surroundings())
	v.app.Storage().Keep(f.storage)
	if f.last = f.knownApplication.last.Load(); f.last == nil {
		f.last = f.stored()
	} else {
		f.warned = f.warningsOf(f.last.manifest) // it has been told
	}
	switch {
	case f.last == nil:
	case f.last.fresh.After(f.began):
		f.standing = confirmed
	default:
		f.standing = doubted
	}
	if v.invitation.Again {
		f.paused.Store(nil)
	}
	return f
}

// begin connects what is declared, and what the application's last manifest said, and
// has that asked for when the config has started.
func (f *fetching) begin() error {
	f.dropStrayed()
	if len(f.hrefs) > 0 && f.invitation.Base() != "" {
		f.logger.Warn("hrefs has no effect: this guest's hrefs lie under what comes before __invite__ in the path of its invite",
			zap.String("party", f.key.party), zap.String("guest", f.key.guest), zap.String("hint", "leave hrefs out; an href elsewhere is written as `service <service> <href>`"))
	}
	soFar := InviteInfo{Result: InviteJoined}
	if f.last == nil && f.declared == nil {
		soFar = f.waiting()
	} else if err := f.connect(f.invitation.Operator, f.lastMerged()); err != nil {
		return err
	} else if f.last != nil {
		soFar.Hint = f.hardlyMeant(f.warned)
	} else {
		soFar.Hint = f.hardlyMeant("")
	}
	if f.standing == confirmed {
		f.invitation.Advise(soFar.Hint)
	} else { // the application is asked at once
		if f.standing == doubted {
			soFar.OldManifest = f.last.fetched
		}
		f.invitation.Defer(soFar)
	}
	f.invitation.OnStart(func() {
		f.recheck()
		f.run()
	})
	return nil
}

// waiting is what has come of the invite of an application that is yet to be asked.
func (f *fetching) waiting() InviteInfo {
	if p := f.pause(); p != nil {
		return InviteInfo{Result: InviteFailed, Status: p.status, Hint: fmt.Sprintf(
			"before this config was loaded the application answered with status %d; it is asked again at %s, or at once by `%s`", p.status, p.until.Format(time.TimeOnly), f.inviteCommand())}
	}
	return InviteInfo{Result: InviteNotAnswered, Hint: "the application is asked for its manifest when the config has started"}
}

// lastMerged returns what the guest is to be connected to until its application answers.
func (f *fetching) lastMerged() *manifest.Manifest {
	if f.last == nil {
		return manifest.Merge(f.declared, nil, nil)
	}
	return manifest.Merge(f.declared, f.last.manifest, f.Allow)
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
	if p := f.pause(); p != nil {
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
		if p := f.pause(); p != nil {
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
	timeout := f.invitation.Timeout()
	ctx, cancel := WithTimeout(f.ctx, timeout)
	defer cancel()
	ctx, connected := WithConnecting(ctx, f.attempts())
	r := (&http.Request{Method: http.MethodGet, URL: f.invitation.URI, Header: http.Header{
		"Accept":        {manifestType},
		"Cache-Control": {"no-store"},
	}}).WithContext(ctx)
	if f.last != nil && f.last.etag != "" {
		r.Header.Set("If-None-Match", f.last.etag)
	}
	asked := time.Now()
	response, err := f.send(r, SendOptions{}, nil, nil)
	if f.ctx.Err() != nil {
		return 0
	}
	if connected.Load() || response != nil {
		f.retries.reached = true
	}
	return f.hear(answerOf(response, err, asked))
}

// hear does what the answer asks for, reports it, and returns when to ask again.
func (f *fetching) hear(a answer) time.Duration {
	before := f.last
	info := f.act(a)
	if f.ctx.Err() != nil {
		return 0 // what comes of the guest now is another's to tell
	}
	if !f.invitation.Report(info) && info.Result == InviteJoined && f.last.manifest != before.manifest {
		services := f.invitation.Services()
		f.logger.Info("manifest changed",
			zap.String("party", f.key.party),
			zap.String("guest", f.key.guest),
			zap.String("uri", f.key.uri),
			zap.Int("services", len(services)),
			zap.Int("urls", len(f.last.manifest.URLs)),
			zap.Strings("first", services[:min(len(services), 5)]))
	}
	return info.AskedAgain
}

// act does what the answer asks for, and returns what came of the invite by that.
func (f *fetching) act(a answer) InviteInfo {
	info := InviteInfo{Status: a.status, Err: a.err, Time: a.time, Duration: a.duration}
	if isLast := f.last != nil && len(a.body) > 0 && bytes.Equal(a.body, f.last.body); isLast {
		info.MediaType = mediaTypeOf(a.header)
	} else if a.err == nil {
		info.SetAnswer(a.header, a.body)
	}
	v := classify(a, f.last != nil)
	if v == manifested || v == unchanged {
		if info.Err = f.join(a, v); info.Err != nil {
			v = unanswered
		}
	}
	info.Result = v.result()
	if v != notGuest {
		f.denials = 0
	} else if f.denials == 0 || a.time.Sub(f.denied) >= notGuestApart {
		f.denials++
		f.denied = a.time
	}
	before := f.standing
	f.standing = before.after(v, f.denials)
	wait := time.Duration(0)
	switch v {
	case manifested, unchanged:
		info.Hint = f.hardlyMeant(f.warned)
		f.retries.reset()
		wait = maxAgeOf(a.header)
	case notGuest:
		info.Hint = f.adviceOn(&info, v, a.ofCaddy)
		wait = f.retries.afterDenial(f.standing == doubted)
	default:
		info.Hint = f.adviceOn(&info, v, a.ofCaddy)
		info.Starting = info.Result == InviteFailed && !errors.Is(info.Err, ErrMisrouted) && !errors.Is(info.Err, ErrUnanswered) &&
			!f.retries.reached && a.time.Sub(f.began) < startingTime
		var after time.Duration
		if info.Err == nil {
			after = retryAfter(a.header, a.time)
		}
		wait = f.retries.afterFailure(v == broken, after, rand.Float64())
	}
	info.AskedAgain = max(wait, minFetchInterval)
	if v == broken {
		f.paused.Store(&pause{time.Now().Add(wait), a.status})
		if !f.counted && f.isCounted(a.status) {
			f.counted = true
			info.Hint += ". The reverse_proxy in front of it counts this answer (unhealthy_status), so that for a while visitors may get no answer either"
		}
	}
	switch {
	case f.standing == doubted:
		if v == notGuest {
			info.Hint += "; until it has said so three times, its last manifest counts"
		}
		f.stale()
		info.OldManifest = f.last.fetched
	case f.standing == denied && f.last != nil:
		f.keep(nil)
		f.forget()
		info.Err = f.withdraw()
	}
	return info
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

// join has the guest on the line by the manifest of the answer, or by the last one.
func (f *fetching) join(a answer, v verdict) error {
	next := lastManifest{etag: etagOf(a.header), body: a.body, fetched: a.time}
	if v == unchanged {
		next.etag, next.body, next.manifest = cmp.Or(next.etag, f.last.etag), f.last.body, f.last.manifest
	} else {
		var err error
		if next.manifest, err = f.parse(a.body); err != nil {
			return err
		}
	}
	changed := f.last == nil || f.last.manifest != next.manifest
	if changed || !f.invitation.OnLine() { // its invite may have ended just when it was taken
		if err := f.adopt(manifest.Merge(f.declared, next.manifest, f.Allow)); err != nil {
			return err
		}
	}
	if !changed {
		next.stored = f.last.stored
	}
	next.fresh = time.Now().Add(maxAgeOf(a.header))
	f.keep(&next)
	if next.stored != f.storage {
		f.store() // which may take a while, in which another config may load
	}
	return nil
}

// withdraw leaves the guest on the line with what is declared, or not at all.
func (f *fetching) withdraw() error {
	if f.declared == nil {
		f.invitation.Leave()
		return nil
	}
	return f.adopt(manifest.Merge(f.declared, nil, nil))
}

func (f *fetching) inviteCommand() string {
	return "caddy wsgi-party invite " + f.key.party + " " + f.key.guest
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
