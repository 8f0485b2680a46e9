// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"net/http"
	"strconv"
	"time"
)

// waits are the times between two times that an application is asked for its manifest
// which did not give one. Those of a pair double, from the first to the second.
type waits struct {
	unreached  [2]time.Duration // while nothing has answered at all
	answered   [2]time.Duration // when something has
	denied     [2]time.Duration // when it has said that it is no guest
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

// afterDenial is for one that says it is no guest, and was one or not.
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
