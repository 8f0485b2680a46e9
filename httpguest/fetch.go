// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/party"
	"go.uber.org/zap"
)

const (
	minFetchInterval = time.Second
	defaultMaxAge    = time.Minute
	maxMaxAge        = 24 * time.Hour

	// A guest leaves after so many answers that it is none, so far apart: while
	// an application is deployed, both its versions answer.
	notGuestAnswers = 3
	notGuestApart   = 30 * time.Second
)

// startingTime is how long an application may not be there before that is a warning:
// Caddy often starts first.
var startingTime = 10 * time.Second

// minMaxAge is for how long a manifest is fresh at least.
var minMaxAge = 10 * time.Second

// fetcher asks an application for its manifest.
type fetcher struct {
	*application
	*remembered
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

func newFetcher(a *application) *fetcher {
	f := &fetcher{
		application: a,
		key:         manifestKey{a.invitation.Party(), a.guest(), a.invitation.URI.String()},
		began:       time.Now(),
	}
	f.remembered = kept.Hold(&a.holds, applications, f.key)
	f.storage = f.key.storageKey(a.surroundings())
	a.app.Storage().Keep(f.storage)
	if f.last = f.remembered.last.Load(); f.last == nil {
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
			zap.String("party", f.key.Party), zap.String("guest", f.key.Guest), zap.String("hint", "leave hrefs out; an href elsewhere is written as `service <service> <href>`"))
	}
	soFar := party.InviteInfo{Result: party.InviteJoined}
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
func (f *fetcher) waiting() party.InviteInfo {
	if p := f.pause(); p != nil {
		return party.InviteInfo{Result: party.InviteFailed, Status: p.status, Hint: fmt.Sprintf(
			"before this config was loaded the application answered with status %d; it is asked again at %s, or at once by `%s`", p.status, p.until.Format(time.TimeOnly), f.inviteCommand())}
	}
	return party.InviteInfo{Result: party.InviteNotAnswered, Hint: "the application is asked for its manifest when the config has started"}
}

// lastMerged returns what the guest is to be connected to until its application answers.
func (f *fetcher) lastMerged() *manifest.Manifest {
	if f.last == nil {
		return manifest.Merge(f.declared, nil, nil)
	}
	return manifest.Merge(f.declared, f.last.manifest, f.Allow)
}

// run asks for the manifest until the application's next invite or its config ends.
func (f *fetcher) run() {
	wait := time.Duration(0)
	if f.last != nil {
		f.remembered.last.CompareAndSwap(nil, f.last) // it came from storage
		wait = time.Until(f.last.fresh)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	if p := f.pause(); p != nil {
		f.logger.Info("an application that answered with a 5xx status is not asked for its manifest yet",
			zap.String("party", f.key.Party),
			zap.String("guest", f.key.Guest),
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
		if !f.beginAsking(f.ctx) {
			return
		}
		timer.Reset(max(f.fetchAndRecover(), minFetchInterval))
	}
}

// fetchAndRecover is fetch once the application may be asked, whatever the application may answer.
func (f *fetcher) fetchAndRecover() (wait time.Duration) {
	defer f.endAsking()
	defer func() {
		if value := recover(); value != nil {
			wait = fetchWaits.broken
			f.logger.Error("asking an application for its manifest panicked",
				zap.String("party", f.key.Party),
				zap.String("guest", f.key.Guest),
				zap.String("error", fmt.Sprint(value)),
				zap.ByteString("stack", debug.Stack()))
		}
	}()
	return f.fetch()
}

// fetch asks once, and returns when to ask again.
func (f *fetcher) fetch() time.Duration {
	timeout := f.invitation.Timeout()
	ctx, cancel := party.WithTimeout(f.ctx, timeout)
	defer cancel()
	ctx, connected := party.WithConnecting(ctx, f.attempts())
	r := (&http.Request{Method: http.MethodGet, URL: f.invitation.URI, Header: http.Header{
		"Accept":        {manifestType},
		"Cache-Control": {"no-store"},
	}}).WithContext(ctx)
	if f.last != nil && f.last.etag != "" {
		r.Header.Set("If-None-Match", f.last.etag)
	}
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
