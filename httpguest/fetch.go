// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/party"
	"go.uber.org/zap"
)

const (
	defaultMaxAge = time.Minute
	maxMaxAge     = 24 * time.Hour

	// A guest leaves after so many answers that it is none, so far apart: while
	// an application is deployed, both its versions answer.
	notGuestAnswers = 3
	notGuestApart   = 30 * time.Second
)

var (
	// An application is asked for its manifest once in this time at most.
	minFetchInterval = time.Second

	// A manifest is fresh for this time at least.
	minMaxAge = 10 * time.Second

	// An application may not be there for this time before that is a warning: Caddy
	// often starts first.
	startingTime = 10 * time.Second
)

// fetcher asks an application for its manifest.
type fetcher struct {
	*application
	*remembered
	key      manifestKey
	storage  string // where the manifest is stored
	standing standing
	last     lastManifest // zero unless confirmed or doubted
	began    time.Time
	retries  retries
	denials  int // in a row that it is a guest
	denied   time.Time

	mu        sync.Mutex
	refreshes []chan struct{} // to close when the application has been asked

	// What has been told already:
	warned   string // of the manifest; "" if there was nothing
	counted  bool   // that a proxy counts the answer
	unstored bool   // that it cannot be stored
}

func newFetcher(a *application) *fetcher {
	f := &fetcher{application: a, key: manifestKey{a.invitation.Party(), a.guest(), a.invitation.URI.String()}, began: time.Now()}
	f.remembered = kept.Hold(&a.holds, applications, f.key)
	f.storage = f.key.storageKey(a.surroundings())
	a.app.Storage().Keep(f.storage)
	if last := f.remembered.last.Load(); last != nil {
		f.last = *last
		f.warned = f.warningsOf(last.manifest) // it has been told
	} else {
		f.last = f.stored()
	}
	if f.last.fresh.After(f.began) {
		f.standing = confirmed
	} else if f.last.manifest != nil {
		f.standing = doubted
	}
	if a.invitation.Again {
		f.paused.Store(nil)
	}
	return f
}

// begin connects what is declared, and what the application's last manifest said, and asks
// for the next one when the config has started.
func (f *fetcher) begin() error {
	f.dropStrayed()
	if len(f.hrefs) > 0 && f.invitation.Base() != "" {
		f.logger.Warn("hrefs has no effect: this guest's hrefs lie under what comes before __invite__ in the path of its invite",
			zap.String("hint", "leave hrefs out; write an href elsewhere as `service <service> <href>`"))
	}
	f.invitation.ByManifest(f.last.info())
	soFar := party.InviteInfo{Result: party.InviteJoined, Hint: f.hint()}
	if f.last.manifest == nil && !f.declaresSomething() {
		soFar = f.waiting()
	} else if err := f.connect(f.invitation.Operator, f.withDeclared(f.last.manifest)); err != nil {
		return err
	}
	if f.standing == confirmed {
		f.invitation.Advise(soFar.Hint)
	} else { // the application is asked at once
		soFar.OldManifest = f.last.fetched
		f.invitation.Defer(soFar)
	}
	f.invitation.OnRefresh(f.refresh)
	f.invitation.OnStart(func() {
		f.recheck()
		f.run()
	})
	return nil
}

// hint says what is hardly meant in what the guest is on the line by.
func (f *fetcher) hint() string {
	if f.last.manifest == nil {
		return f.hardlyMeant("")
	}
	return f.hardlyMeant(f.warned)
}

// waiting is what has come of the invite of an application that is yet to be asked.
func (f *fetcher) waiting() party.InviteInfo {
	if p := f.pause(); p != nil {
		return party.InviteInfo{Result: party.InviteFailed, Status: p.status, Hint: fmt.Sprintf(
			"before this config was loaded, the application answered with status %d; Caddy asks again at %s, or at once if you run `%s`", p.status, p.until.Format(time.TimeOnly), f.inviteCommand())}
	}
	return party.InviteInfo{Result: party.InviteNotAnswered, Hint: party.AskedOnceStarted}
}

// run asks for the manifest until the application's next invite or its config ends.
func (f *fetcher) run() {
	wait := time.Duration(0)
	if last := f.last; last.manifest != nil {
		f.remembered.last.CompareAndSwap(nil, &last) // it came from storage
		wait = time.Until(last.fresh)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	if p := f.pause(); p != nil {
		f.logger.Info("an application that answered with a 5xx status is not asked for its manifest yet",
			zap.Duration("asked_again_in", time.Until(p.until)), zap.String("hint", "`"+f.inviteCommand()+"` asks it at once"))
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
		if !f.beginAsking(f.ctx) {
			return
		}
		refreshed := f.takeRefreshes()
		timer.Reset(max(f.fetch(), f.interval))
		for _, done := range refreshed {
			close(done)
		}
	}
}

// refresh has the application asked, and waits for that.
func (f *fetcher) refresh(ctx context.Context) {
	done := make(chan struct{})
	f.mu.Lock()
	f.refreshes = append(f.refreshes, done)
	f.mu.Unlock()
	f.claimed.round.Add(1) // it may say something else of requests, too
	f.paused.Store(nil)
	f.fetchSoon()
	select {
	case <-done:
	case <-ctx.Done():
	case <-f.ctx.Done():
	}
}

func (f *fetcher) takeRefreshes() []chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := f.refreshes
	f.refreshes = nil
	return taken
}

// fetch asks once, after beginAsking, and returns when to ask again.
func (f *fetcher) fetch() (wait time.Duration) {
	defer f.endAsking()
	defer func() { // whatever the application may answer
		if value := recover(); value != nil {
			wait = fetchWaits.broken
			f.logger.Error("asking an application for its manifest panicked", zap.String("error", fmt.Sprint(value)), zap.ByteString("stack", debug.Stack()))
		}
	}()
	ctx, cancel := party.WithTimeout(f.ctx, f.invitation.Timeout())
	defer cancel()
	ctx, connected := party.WithConnecting(ctx, f.attempts())
	header := http.Header{"Accept": {manifestType}, "Cache-Control": {"no-store"}}
	if f.last.etag != "" {
		header.Set("If-None-Match", f.last.etag)
	}
	r := (&http.Request{Method: http.MethodGet, URL: f.invitation.URI, Header: header}).WithContext(ctx)
	asked := time.Now()
	response, err := f.send(r, party.SendOptions{}, nil, nil)
	if f.ctx.Err() != nil {
		return 0
	}
	if connected.Load() || response != nil {
		f.retries.reached = true
	}
	return f.hear(answerOf(response, err, asked))
}

// waits are the times between two times that an application is asked for its manifest
// which did not give one. Those of a pair double, from the first to the second.
type waits struct {
	unreached  [2]time.Duration // while nothing has answered at all
	answered   [2]time.Duration // when something has
	denied     [2]time.Duration // when it has said that it is not a guest
	leaving    time.Duration    // when it has said so and was one
	broken     time.Duration    // after a 5xx, which a proxy may take for a sign that it is down
	retryAfter time.Duration    // the longest that it may ask for
}

var fetchWaits = waits{
	unreached:  [2]time.Duration{time.Second, 30 * time.Second},
	answered:   [2]time.Duration{10 * time.Second, 5 * time.Minute},
	denied:     [2]time.Duration{10 * time.Second, 5 * time.Minute},
	leaving:    30 * time.Second,
	broken:     5 * time.Minute,
	retryAfter: 5 * time.Minute,
}

// retries says when to ask an application again.
type retries struct {
	reached  bool // it has been connected to, or has answered something
	failures int  // in a row
	denials  int  // in a row
}

func (r *retries) reset() { r.failures, r.denials = 0, 0 }

// afterDenial is for one that says it is not a guest, and was one or not.
func (r *retries) afterDenial(wasGuest bool) time.Duration {
	r.failures = 0
	if wasGuest {
		return fetchWaits.leaving
	}
	r.denials++
	return doubled(fetchWaits.denied, r.denials-1)
}

// afterFailure is for one that does not answer, or otherwise than it should, which may
// have said itself when to ask again. random is from 0 to 1.
func (r *retries) afterFailure(broken bool, retryAfter time.Duration, random float64) time.Duration {
	r.denials = 0
	r.failures++
	pair := fetchWaits.unreached
	if r.reached {
		pair = fetchWaits.answered
	}
	wait := doubled(pair, r.failures-1)
	wait = min(wait+time.Duration(float64(wait)*random/4), pair[1])
	if broken {
		wait = fetchWaits.broken
	}
	return max(wait, min(retryAfter, fetchWaits.retryAfter))
}

func doubled(pair [2]time.Duration, times int) time.Duration {
	return min(pair[0]<<min(times, 16), pair[1])
}

// retryAfter returns what the header says, 0 if it does not.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
