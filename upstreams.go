// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"errors"
	"math/bits"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
)

// upstreams notices that an application answers some asks, while for others there is
// nobody to connect to: one of its upstreams is down. No breaker sees that, since the
// asks do not fail in a row.
type upstreams struct {
	mu     sync.Mutex
	failed uint64 // of the last asks, that one in bit 0
	told   bool
}

// recoveries is how many of the last 64 asks have to be answered after one that was
// not, so that it is no application that was started again.
const recoveries = 3

// note takes down what came of an ask, and tells once of an upstream that is down.
func (u *upstreams) note(v *visit, err error) {
	dial, failed := errors.AsType[reverseproxy.DialError](err)
	if !failed {
		if _, ok := errors.AsType[*unreachableError](err); ok {
			return
		}
		if _, ok := errors.AsType[*abandonedError](err); ok {
			return
		}
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
	v.logger.Warn("guest answers only some asks: an upstream is down",
		zap.String("party", v.invitation.host.name),
		zap.String("guest", v.guest()),
		zap.Error(dial),
		zap.String("hint", "write `lb_try_duration 1s` in the reverse_proxy of the application, which then tries its other upstreams, and `fail_duration 10s`, which leaves one out that is down"))
}
