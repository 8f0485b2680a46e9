// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"bytes"
	"cmp"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/party"
	"go.uber.org/zap"
)

// hear does what the answer asks for, reports it, and returns when to ask again.
func (f *fetcher) hear(a answer) time.Duration {
	before := f.last
	info := f.act(a)
	if f.ctx.Err() != nil {
		return 0 // what comes of the guest now is another's to tell
	}
	isNews := f.invitation.Report(info)
	if !isNews && info.Result == party.InviteJoined && (before == nil || f.last.manifest != before.manifest) {
		services := f.invitation.Services()
		f.logger.Info("manifest changed",
			zap.String("party", f.key.Party),
			zap.String("guest", f.key.Guest),
			zap.String("uri", f.key.URI),
			zap.Int("services", len(services)),
			zap.Int("urls", len(f.last.manifest.URLs)),
			zap.Strings("first", services[:min(len(services), 5)]))
	}
	return info.AskedAgain
}

// act does what the answer asks for, and returns what came of the invite by that.
func (f *fetcher) act(a answer) party.InviteInfo {
	info := party.InviteInfo{Status: a.status, Err: a.err, Time: a.time, Duration: a.duration}
	if isLast := f.last != nil && len(a.body) > 0 && bytes.Equal(a.body, f.last.body); isLast {
		info.MediaType = mediaTypeOf(a.header)
	} else if a.err == nil {
		info.SetAnswer(a.header, a.body)
	}
	v := classify(a, f.last != nil)
	if v.joins() {
		if info.Err = f.join(a, v); info.Err != nil {
			v = unanswered
		}
	}
	info.Result = v.result()
	info.Starting = f.mayBeStarting(info)
	f.standing = f.standing.after(v, f.countDenial(v, a.time))
	wait := f.waitAfter(v, a, info.Err)
	info.AskedAgain = max(wait, minFetchInterval)
	if v.joins() {
		info.Hint = f.hardlyMeant(f.warned)
	} else {
		info.Hint = f.adviceOn(&info, v, a.ofCaddy)
	}
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

// countDenial returns how often in a row the application has said that it is no guest.
func (f *fetcher) countDenial(v verdict, now time.Time) int {
	if v != notGuest {
		f.denials = 0
	} else if f.denials == 0 || now.Sub(f.denied) >= notGuestApart {
		f.denials++
		f.denied = now
	}
	return f.denials
}

// mayBeStarting reports whether that is why the invite failed: Caddy is often quicker.
func (f *fetcher) mayBeStarting(info party.InviteInfo) bool {
	return info.Result == party.InviteFailed && !errors.Is(info.Err, party.ErrMisrouted) && !errors.Is(info.Err, party.ErrUnanswered) &&
		!f.retries.reached && info.Time.Sub(f.began) < startingTime
}

// waitAfter returns how long not to ask.
func (f *fetcher) waitAfter(v verdict, a answer, err error) time.Duration {
	switch {
	case v.joins():
		f.retries.reset()
		return maxAgeOf(a.header)
	case v == notGuest:
		return f.retries.afterDenial(f.standing == doubted)
	}
	after := time.Duration(0)
	if err == nil {
		after = retryAfter(a.header, a.time)
	}
	return f.retries.afterFailure(v == broken, after, rand.Float64())
}

// parse returns the manifest in the body, the last one if that says the same.
func (f *fetcher) parse(body []byte) (*manifest.Manifest, error) {
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

// join puts the guest on the line by the manifest of the answer, or by the last one.
func (f *fetcher) join(a answer, v verdict) error {
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
func (f *fetcher) withdraw() error {
	if f.declared == nil {
		f.invitation.Leave()
		return nil
	}
	return f.adopt(manifest.Merge(f.declared, nil, nil))
}

func (f *fetcher) inviteCommand() string {
	return "caddy wsgi-party invite " + f.key.Party + " " + f.key.Guest
}
