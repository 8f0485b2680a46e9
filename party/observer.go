// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"time"

	"go.uber.org/zap"
)

// observer logs asks at debug level, and guests that leave.
type observer struct {
	app *App
	*Entry
}

func (o *observer) Observing() bool { return o.app.logger.Core().Enabled(zap.DebugLevel) }

func (o *observer) BeginAsk(guest, service string) func(answered, declined, failed int, err error) {
	began := time.Now()
	return func(answered, declined, failed int, err error) {
		if c := o.app.logger.Check(zap.DebugLevel, "asked around"); c != nil {
			c.Write(
				zap.String("party", o.Name()),
				zap.String("guest", guest),
				zap.String("service", service),
				zap.Int("answered", answered),
				zap.Int("declined", declined),
				zap.Int("failed", failed),
				zap.Duration("duration", time.Since(began)),
				zap.Error(err))
		}
	}
}

func (o *observer) GuestJoined(guest string) { o.app.events.joined(o.Partyline, guest) }

func (o *observer) GuestLeft(guest string, services []string) {
	o.app.logger.Info("guest left",
		zap.String("party", o.Name()),
		zap.String("guest", guest),
		zap.Strings("services", services))
	o.app.events.left(o.Partyline, guest, services)
}
