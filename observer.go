// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"time"

	"go.uber.org/zap"
)

// lineObserver logs asks at debug level, and guests that leave.
type lineObserver struct {
	app  *App
	line *Partyline
}

func (o *lineObserver) observing() bool { return o.app.logger.Core().Enabled(zap.DebugLevel) }

func (o *lineObserver) begin(guest, service string) func(answered, declined, failed int, err error) {
	began := time.Now()
	return func(answered, declined, failed int, err error) {
		if c := o.app.logger.Check(zap.DebugLevel, "asked around"); c != nil {
			c.Write(
				zap.String("party", o.line.Name()),
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

func (o *lineObserver) joined(guest string) { o.app.events.joined(o.line, guest) }

func (o *lineObserver) left(guest string, services []string) {
	o.app.logger.Info("guest left",
		zap.String("party", o.line.Name()),
		zap.String("guest", guest),
		zap.Strings("services", services))
	o.app.events.left(o.line, guest, services)
}
