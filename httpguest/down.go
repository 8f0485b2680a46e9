// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Whether an application is down, where its requests are then left to others.

package httpguest

import (
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/wsgiparty/wsgiparty/party"
	"go.uber.org/zap"
)

// downFor is how long an application counts as down after a request that says so, and how long
// after that it is asked again for its manifest, if it is.
var downFor = 5 * time.Second

// downTime is until when an application counts as down, in nanoseconds since 1970. It is 0
// for one that has answered since it was last down.
type downTime struct{ atomic.Int64 }

// passes reports whether its requests are left to others while the application is down.
func (g *Guest) passes() bool { return g.Unavailable == unavailablePass }

const unavailablePass = "pass"

func (a *application) isDown() bool {
	if !a.passes() {
		return false
	}
	until := a.claimed.down.Load()
	return until != 0 && time.Now().UnixNano() < until
}

func (a *application) goesDown(during time.Duration, err error) {
	now := time.Now()
	if before := a.claimed.down.Swap(now.Add(during).UnixNano()); before == 0 || now.Sub(time.Unix(0, before)) > time.Minute {
		a.logger.Warn("an application is down: its requests are left to others", zap.Error(err))
	}
}

func (a *application) isUp() {
	if a.claimed.down.Load() != 0 && a.claimed.down.Swap(0) != 0 {
		a.logger.Info("an application is up again: it gets its requests again")
	}
}

var unreachableStatuses = []int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

// noteRequest notes what an ordinary request to the application says of whether that is down.
//
// That there was nothing to connect to is certain. A gateway's other errors may be of that one
// request, which a visitor may have chosen: where the application is asked for its manifest, that decides.
func (a *application) noteRequest(err error) {
	if !a.passes() {
		return
	}
	failed, ok := errors.AsType[caddyhttp.HandlerError](err)
	isGateways := ok && slices.Contains(unreachableStatuses, failed.StatusCode)
	switch {
	case isGateways && (failed.StatusCode == http.StatusServiceUnavailable || is[reverseproxy.DialError](err)):
		a.goesDown(downFor, err)
		a.fetchSoon()
	case isGateways:
		a.fetchSoon()
	case err == nil && !a.fetches():
		a.isUp()
	}
}

// noteAnswer notes what the answer to a request for the manifest says of that, and returns when
// to ask again.
func (f *fetcher) noteAnswer(a answer, wait time.Duration) time.Duration {
	switch {
	case !f.passes():
		return wait
	case slices.Contains(unreachableStatuses, a.status), party.TimedOut(a.err):
		wait = min(wait, downFor)
		f.goesDown(wait+f.invitation.Timeout()+time.Second, a.err) // until the next answer
	default:
		f.isUp()
	}
	return wait
}
