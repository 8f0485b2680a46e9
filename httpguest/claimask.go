// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Asking an application over HTTP which requests it claims, and keeping what it says.

package httpguest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/lru"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"
)

const (
	maxClaimAnswers = 4096
	maxClaimKey     = 1 << 10 // bytes; what is longer is not kept
	maxClaimAsks    = 256     // in a second
	maxGuestClaims  = 64      // of them by guests
	claimErrorKept  = 500 * time.Millisecond
	claimOutdated   = time.Minute // how much longer an answer is kept for when the application may not be asked
	maxClaimCache   = 24 * time.Hour
)

// errManyClaims says that an application is not asked so often.
var errManyClaims = fmt.Errorf("%w: Caddy asks it at most %d times a second which requests it claims, %d times of these for guests: have one answer hold for more requests, write a longer claim_cache, or list what it claims in its manifest", partyline.ErrRefused, maxClaimAsks, maxGuestClaims)

// claimState is what each config tells the next of an application's claims.
type claimState struct {
	answers *lru.Cache[string, claimAnswer]
	asks    singleflight.Group
	pace    *pace         // of all asks
	guests  *pace         // of those by guests, which are to leave visitors their turn
	round   atomic.Uint32 // one more when nothing counts that has been answered before
	down    downTime
}

type claimAnswer struct {
	claims bool
	err    error
	until  time.Time // when to ask again
}

// answered returns what the application has said lately.
func (s *claimState) answered(key string) (claimAnswer, bool) {
	answer, ok := s.answers.Get(key)
	return answer, ok && time.Now().Before(answer.until)
}

// outdated returns what it has said before, for when it may not be asked: others who make it be
// asked too much are not to have the requests fail that it has known.
func (s *claimState) outdated(key string) claimAnswer {
	if answer, ok := s.answers.Get(key); ok && answer.err == nil {
		return answer
	}
	return claimAnswer{err: errManyClaims}
}

var claimStates = kept.New(func(manifestKey) *claimState {
	return &claimState{answers: lru.New[string, claimAnswer](maxClaimAnswers), pace: newPace(maxClaimAsks), guests: newPace(maxGuestClaims)}
}, nil)

// askWhetherClaimed asks the application, unless it has been asked the same lately or is just
// being asked.
func (a *application) askWhetherClaimed(ctx context.Context, h manifest.Handler, ask partyline.Handler, r party.ClaimRequest) (bool, error) {
	key := r.Method + " " + r.Host + " " + r.Path + " " + h.Method + " " + h.Href.String() + " " + strconv.FormatUint(uint64(a.claimed.round.Load()), 10)
	if answer, ok := a.claimed.answered(key); ok {
		return answer.claims, answer.err
	}
	asked := a.claimed.asks.DoChan(key, func() (any, error) { // which others wait for, too
		return a.askWhetherClaimedNow(context.WithoutCancel(ctx), key, ask, r), nil
	})
	select {
	case result := <-asked:
		answer := result.Val.(claimAnswer)
		return answer.claims, answer.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (a *application) askWhetherClaimedNow(ctx context.Context, key string, ask partyline.Handler, r party.ClaimRequest) (answer claimAnswer) {
	defer func() { // or singleflight would end the process
		if value := recover(); value != nil {
			a.logger.Error("asking an application what it claims panicked", zap.Any("error", value), zap.ByteString("stack", debug.Stack()))
			answer = claimAnswer{err: fmt.Errorf("a panic: %v", value)}
		}
	}()
	if answer, ok := a.claimed.answered(key); ok { // since it was looked for
		return answer
	}
	now, path := time.Now(), partyline.PathOf(ctx, a.invitation.Operator.Partyline())
	if path[len(path)-1].Guest != "" && !a.claimed.guests.allows(now) || !a.claimed.pace.allows(now) {
		return a.claimed.outdated(key)
	}
	r.RawQuery = "" // by which answers are not kept
	said, err := ask(ctx, r)
	during := time.Duration(a.ClaimCache)
	switch {
	case errors.Is(err, partyline.ErrHighAndDry):
	case err != nil:
		answer.err, during = err, min(during, claimErrorKept)
	default:
		raw, _ := said.(json.RawMessage)
		answer.claims = string(bytes.TrimSpace(raw)) == "true"
	}
	if len(key) <= maxClaimKey {
		answer.until = time.Now().Add(during)
		a.claimed.answers.Put(key, answer, during+claimOutdated)
	}
	return answer
}

// pace bounds how often something is done in a second.
type pace struct {
	mu   sync.Mutex
	last []time.Time // as many as may be
	next int         // the one longest ago
}

func newPace(most int) *pace { return &pace{last: make([]time.Time, most)} }

func (p *pace) allows(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.last[p.next]) < time.Second {
		return false
	}
	p.last[p.next] = now
	p.next = (p.next + 1) % len(p.last)
	return true
}
