// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
)

// TestWhenAnApplicationIsAskedAgain has all that may come of asking it, one after the
// other.
func TestWhenAnApplicationIsAskedAgain(t *testing.T) {
	const s = time.Second
	type answer struct {
		what       string // "denial", "leaving", "down", "wrong", "broken" or "joined"
		retryAfter time.Duration
		want       time.Duration // without jitter
	}
	for name, answers := range map[string][]answer{
		"never reached":        {{"down", 0, s}, {"down", 0, 2 * s}, {"down", 0, 4 * s}, {"down", 0, 8 * s}, {"down", 0, 16 * s}, {"down", 0, 30 * s}, {"down", 0, 30 * s}},
		"answers wrongly":      {{"wrong", 0, 10 * s}, {"wrong", 0, 20 * s}, {"wrong", 0, 40 * s}, {"wrong", 0, 80 * s}, {"wrong", 0, 160 * s}, {"wrong", 0, 300 * s}, {"wrong", 0, 300 * s}},
		"reached at last":      {{"down", 0, s}, {"wrong", 0, 20 * s}, {"down", 0, 40 * s}},
		"broken at first":      {{"broken", 0, 300 * s}, {"broken", 0, 300 * s}, {"down", 0, 40 * s}},
		"broken later":         {{"joined", 0, 0}, {"broken", 0, 300 * s}},
		"denies":               {{"denial", 0, 10 * s}, {"denial", 0, 20 * s}, {"denial", 0, 40 * s}, {"denial", 0, 80 * s}, {"denial", 0, 160 * s}, {"denial", 0, 300 * s}, {"denial", 0, 300 * s}},
		"leaves":               {{"joined", 0, 0}, {"leaving", 0, 30 * s}, {"leaving", 0, 30 * s}, {"denial", 0, 10 * s}, {"denial", 0, 20 * s}},
		"denies and is down":   {{"denial", 0, 10 * s}, {"denial", 0, 20 * s}, {"down", 0, 10 * s}, {"denial", 0, 10 * s}},
		"joins and is down":    {{"down", 0, s}, {"joined", 0, 0}, {"down", 0, 10 * s}, {"joined", 0, 0}, {"wrong", 0, 10 * s}},
		"says itself when":     {{"wrong", 60 * s, 60 * s}, {"wrong", 3 * s, 20 * s}, {"wrong", 24 * time.Hour, 300 * s}, {"broken", 3 * s, 300 * s}},
		"a proxy says it when": {{"down", 7 * s, 7 * s}},
	} {
		for _, random := range []float64{0, 0.5, 0.999} {
			var r httpguest.Retries
			for i, a := range answers {
				if a.what != "down" {
					(*r.Reached()) = true
				}
				var got time.Duration
				switch a.what {
				case "joined":
					r.Reset()
					continue
				case "denial", "leaving":
					got, random = r.AfterDenial(a.what == "leaving"), 0
				default:
					got = r.AfterFailure(a.what == "broken", a.retryAfter, random)
				}
				most := min(a.want+time.Duration(float64(a.want)*random/4), 300*s)
				if a.want <= 30*s && !(*r.Reached()) {
					most = min(most, max(30*s, a.retryAfter))
				}
				check.ErrorIf(t, got < a.want || got > most, "%s, answer %d: asked again after %v, want %v to %v", name, i, got, a.want, most)
			}
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "-5": 0, "soon": 0, "1.5": 0, "120": 2 * time.Minute, "86400": 24 * time.Hour, "99999999999999999999": 0,
		now.Add(time.Hour).Format(http.TimeFormat):  time.Hour,
		now.Add(-time.Hour).Format(http.TimeFormat): 0,
	} {
		check.Equal(t, httpguest.RetryAfter(http.Header{"Retry-After": {value}}, now), want, value)
	}
}
