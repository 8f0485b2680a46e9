// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/party"
	"go.uber.org/zap"
)

// hear does what the answer asks for, reports it, and returns when to ask again.
func (f *fetcher) hear(a answer) time.Duration {
	before := f.last.manifest
	info := f.act(a)
	if f.ctx.Err() != nil {
		return 0 // what comes of the guest now is another's to tell
	}
	isNews := f.invitation.Report(info)
	if !isNews && info.Result == party.InviteJoined && f.last.manifest != before {
		services := f.invitation.Services()
		f.logger.Info("manifest changed", zap.String("uri", f.key.URI),
			zap.Int("services", len(services)), zap.Int("urls", len(f.last.manifest.URLs)), zap.Int("claims", f.last.manifest.Claims.Len()), zap.Strings("first", services[:min(len(services), 5)]))
	}
	return info.AskedAgain
}

// act does what the answer asks for, and returns what came of the invite by that.
func (f *fetcher) act(a answer) party.InviteInfo {
	info := party.InviteInfo{Status: a.status, Err: a.err, Time: a.time, Duration: a.duration}
	if isLast := len(a.body) > 0 && bytes.Equal(a.body, f.last.body); isLast {
		info.MediaType = mediaTypeOf(a.header)
	} else if a.err == nil {
		info.SetAnswer(a.header, a.body)
	}
	v := classify(a, f.last.manifest != nil)
	if v.joins() {
		if info.Err = f.join(a, v); info.Err != nil {
			v = unanswered
		}
	}
	info.Result = resultOf[v]
	info.Starting = f.mayBeStarting(info)
	f.standing = f.standing.after(v, f.countDenial(v, a.time))
	wait := f.noteAnswer(a, f.waitAfter(v, a, info.Err))
	info.AskedAgain = max(wait, f.interval)
	if v.joins() {
		info.Hint = f.hint()
	} else {
		info.Hint = f.adviceOn(&info, v, a.ofCaddy)
	}
	if f.standing != denied {
		info.Manifest = f.last.info()
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
	case f.standing == denied && f.last.manifest != nil:
		f.forget()
		info.Err = f.withdraw()
	}
	return info
}

// countDenial returns how often in a row the application has said that it is not a guest.
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

// join puts the guest on the line by the manifest of the answer, or by the last one.
func (f *fetcher) join(a answer, v verdict) error {
	next := lastManifest{etag: etagOf(a.header), body: a.body, accepted: f.last.accepted, fetched: a.time, stored: f.last.stored}
	if v == unchanged {
		next.etag, next.body, next.manifest = cmp.Or(next.etag, f.last.etag), f.last.body, f.last.manifest
	} else {
		var err error
		if next.manifest, err = f.parse(a.body); err != nil {
			return err
		}
	}
	changed := f.last.manifest != next.manifest
	if changed || !f.invitation.OnLine() { // its invite may have ended just when it was taken
		if err := f.adopt(f.withDeclared(next.manifest)); err != nil {
			return err
		}
	}
	if changed {
		next.accepted, next.stored = a.time, ""
	}
	next.fresh = time.Now().Add(maxAgeOf(a.header))
	f.keep(next)
	if next.stored != f.storage {
		f.store() // which may take a while, in which another config may load
	}
	return nil
}

// parse returns the manifest in the body, the last one if that says the same.
func (f *fetcher) parse(body []byte) (*manifest.Manifest, error) {
	last := f.last.manifest
	if last != nil && bytes.Equal(body, f.last.body) {
		return last, nil
	}
	m, err := manifest.Parse(body)
	if err != nil {
		return nil, err
	}
	f.warned = f.warnOf(m, f.warned)
	if last != nil && sameManifest(last, m) {
		m = last
	}
	return m, nil
}

// withdraw leaves the guest on the line with what is declared, or not at all.
func (f *fetcher) withdraw() error {
	if f.declaresSomething() {
		return f.adopt(f.withDeclared(nil))
	}
	f.invitation.Leave()
	return nil
}

func (f *fetcher) inviteCommand() string {
	return "caddy wsgi-party invite " + f.key.Party + " " + f.key.Guest
}

const manifestType = "application/vnd.wsgi-party+json"

// answer is what came when an application was asked for its manifest.
type answer struct {
	status   int // 0 where nobody answered
	header   http.Header
	body     []byte
	err      error
	ofCaddy  bool // whether a handler of Caddy answered, by an error
	time     time.Time
	duration time.Duration
}

// answerOf returns what sending the request at that time came to.
func answerOf(response *http.Response, err error, asked time.Time) answer {
	a := answer{err: err, time: asked, duration: time.Since(asked)}
	if statusErr, ok := errors.AsType[*statusError](err); ok {
		a.status, a.err, a.ofCaddy = statusErr.Status, statusErr.Err, true
		if a.status < 500 || a.status == http.StatusNotImplemented {
			a.err = nil // it is how Caddy's handlers respond with that status
		}
	} else if _, ok := errors.AsType[*party.UnconnectedError](err); ok {
		a.status = http.StatusBadGateway // as proxies say
	} else if err == nil {
		a.status, a.header = response.StatusCode, response.Header
		a.body, a.err = io.ReadAll(response.Body)
	}
	return a
}

// verdict is what an application's answer says of it as a guest.
type verdict int

const (
	unanswered verdict = iota // nothing that counts
	broken                    // it has failed itself
	refused                   // it does not want to say
	notGuest                  // it has no manifest
	unchanged                 // its last manifest holds
	manifested                // here is its manifest
)

// classify returns the verdict. lastKnown is whether the application has a last manifest.
func classify(a answer, lastKnown bool) verdict {
	switch {
	case a.err != nil:
		return unanswered
	case a.status == http.StatusNotModified && lastKnown:
		return unchanged
	case a.status == http.StatusOK && mediaTypeOf(a.header) == manifestType:
		return manifested
	case a.status/100 == 2, slices.Contains(noManifest, a.status):
		return notGuest
	case a.status >= 500:
		return broken
	case a.status >= 400:
		return refused
	}
	return unanswered // redirects are not followed
}

// noManifest are the statuses by which an application says that it has no manifest.
var noManifest = []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusNotImplemented}

// resultOf is what comes of the invite by a verdict.
var resultOf = map[verdict]party.InviteResult{
	unanswered: party.InviteFailed, broken: party.InviteFailed, refused: party.InviteRefused,
	notGuest: party.InviteNotAnswered, unchanged: party.InviteJoined, manifested: party.InviteJoined,
}

func (v verdict) joins() bool { return v == manifested || v == unchanged }

// standing is where an application stands as a guest by its answers so far, as the table in
// the package's documentation has it.
type standing int

const (
	unknown   standing = iota // it has not said whether it is one: on the line is what is declared
	confirmed                 // it is on the line by its last manifest
	doubted                   // likewise, but has not confirmed that manifest when it was asked last
	denied                    // it is none: on the line is what is declared
)

// after returns the standing that the verdict leads to. denials is how often it was notGuest
// in a row.
func (s standing) after(v verdict, denials int) standing {
	hasManifest := s == confirmed || s == doubted
	switch {
	case v.joins():
		return confirmed
	case v == notGuest && (!hasManifest || denials >= notGuestAnswers):
		return denied
	case hasManifest:
		return doubted
	}
	return s
}

func mediaTypeOf(header http.Header) string {
	mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	return mediaType
}

func etagOf(header http.Header) string {
	etag := header.Get("Etag")
	if len(etag) > 1<<10 { // too long to be kept and sent
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
