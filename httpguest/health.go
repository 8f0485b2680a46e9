// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What asks show of an application: that it is asked too much, that it does not answer, or that
// one of its upstreams is down.

package httpguest

import (
	"errors"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
)

const (
	breakerFailures = 5
	breakerPause    = 5 * time.Second
	calmAfter       = 5 * time.Second // how long nothing must have been refused for an overload to be over
	recoveries      = 3               // of the last 64 asks, each after one that was not answered: it was not just started again
)

// overload says in the log when a guest begins to refuse asks, and when it has stopped.
type overload struct {
	*application

	mu      sync.Mutex
	refused int // 0 when all is calm
	began   time.Time
	last    time.Time
}

func (o *overload) refuse(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = time.Now()
	if o.refused++; o.refused > 1 {
		return
	}
	o.began = o.last
	o.logger.Warn("guest is asked more than it can answer", zap.Int("max_asks", o.MaxAsks), zap.Error(err))
	time.AfterFunc(calmAfter, o.calm)
}

// calm ends the overload if it is over.
func (o *overload) calm() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ctx.Err() != nil { // the guest is of a config that has ended
		return
	}
	if rest := calmAfter - time.Since(o.last); rest > 0 {
		time.AfterFunc(rest, o.calm)
		return
	}
	o.logger.Info("guest is no longer asked more than it can answer", zap.Int("refused", o.refused), zap.Duration("duration", o.last.Sub(o.began)))
	o.refused = 0
}

// breaker stops asks for a service while the application does not answer them.
type breaker struct {
	*gobreaker.CircuitBreaker[any]
	last atomic.Pointer[unreachableError] // how it last failed to answer; nil if it has not
}

func (a *application) breaker(service string) *breaker {
	if loaded, ok := a.breakers.Load(service); ok {
		return loaded.(*breaker)
	}
	b := new(breaker)
	b.CircuitBreaker = gobreaker.NewCircuitBreaker[any](gobreaker.Settings{
		Name:         service,
		Timeout:      breakerPause,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
		IsSuccessful: func(err error) bool { return !is[*unreachableError](err) },
		IsExcluded:   is[*abandonedError],
		OnStateChange: func(service string, from, to gobreaker.State) {
			logger := a.logger.With(zap.String("service", service))
			switch {
			case from == gobreaker.StateClosed:
				logger.Warn("guest does not answer", zap.Error(b.last.Load()), zap.Duration("pause", breakerPause))
			case to == gobreaker.StateClosed:
				logger.Info("guest answers again")
			}
		},
	})
	loaded, _ := a.breakers.LoadOrStore(service, b)
	return loaded.(*breaker)
}

// upstreams notices that an application answers some asks, while for others there is
// nobody to connect to: one of its upstreams is down. No breaker sees that, since the
// asks do not fail in a row.
type upstreams struct {
	mu     sync.Mutex
	failed uint64 // of the last asks, that one in bit 0
	told   bool
}

// note records what came of an ask, and tells once of an upstream that is down.
func (u *upstreams) note(logger *zap.Logger, err error) {
	dial, failed := errors.AsType[reverseproxy.DialError](err)
	if !failed && (is[*unreachableError](err) || is[*abandonedError](err)) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failed <<= 1
	if failed {
		u.failed |= 1
	}
	if u.failed == 0 {
		u.told = false
	}
	if !failed || u.told || bits.OnesCount64(u.failed>>1&^u.failed) < recoveries {
		return
	}
	u.told = true
	logger.Warn("guest answers only some asks: an upstream is down", zap.Error(dial),
		zap.String("hint", "write `lb_try_duration 1s` in the reverse_proxy of the application, which then tries its other upstreams, and `fail_duration 10s`, which skips an upstream that is down"))
}

// attempts returns with how many upstreams a request for the guest may be tried: with all that
// are not down if the proxy tries others. So none is taken for down that is the last.
func (g *Guest) attempts() int {
	if g.Direct != nil {
		return len(g.Direct.way.addresses)
	}
	most := 1
	for _, proxy := range g.host.ProxiesBehind(g) {
		if lb := proxy.LoadBalancing; lb == nil || lb.Retries == 0 && lb.TryDuration == 0 {
			continue
		}
		available := 0
		for _, upstream := range proxy.Upstreams {
			if upstream.Available() {
				available++
			}
		}
		most = max(most, available)
	}
	return most
}

// isCounted reports whether a proxy takes a response with that status for a sign that the
// application is down.
func (g *Guest) isCounted(status int) bool {
	return slices.ContainsFunc(g.host.ProxiesBehind(g), func(proxy *reverseproxy.Handler) bool {
		return proxy.HealthChecks != nil && proxy.HealthChecks.Passive != nil && slices.ContainsFunc(proxy.HealthChecks.Passive.UnhealthyStatus, func(bad int) bool {
			return caddyhttp.StatusCodeMatches(status, bad)
		})
	})
}
