// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
)

const (
	breakerFailures = 5
	breakerPause    = 5 * time.Second
)

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
		IsSuccessful: func(err error) bool { _, ok := errors.AsType[*unreachableError](err); return !ok },
		IsExcluded:   func(err error) bool { _, ok := errors.AsType[*abandonedError](err); return ok },
		OnStateChange: func(service string, from, to gobreaker.State) {
			logger := a.logger.With(zap.String("party", a.invitation.Party()), zap.String("guest", a.guest()), zap.String("service", service))
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
