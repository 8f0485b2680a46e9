// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/party"
)

// TestWhatAnAnswerSaysOfAnApplication has all that may come when it is asked for its manifest.
func TestWhatAnAnswerSaysOfAnApplication(t *testing.T) {
	is := func(status int, mediaType string) *http.Response {
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {mediaType}}, Body: io.NopCloser(strings.NewReader("{}"))}
	}
	down := errors.New("down")
	for name, test := range map[string]struct {
		response    *http.Response
		err         error
		first, then verdict // without a last manifest, and with one
		status      int
	}{
		"a manifest":                     {is(200, manifestType), nil, manifested, manifested, 200},
		"a manifest in a charset":        {is(200, manifestType+"; charset=utf-8"), nil, manifested, manifested, 200},
		"no change":                      {is(304, ""), nil, unanswered, unchanged, 304},
		"a page":                         {is(200, "text/html"), nil, notGuest, notGuest, 200},
		"JSON":                           {is(200, "application/json"), nil, notGuest, notGuest, 200},
		"nothing":                        {is(204, ""), nil, notGuest, notGuest, 204},
		"a manifest with another status": {is(201, manifestType), nil, notGuest, notGuest, 201},
		"not found":                      {is(404, ""), nil, notGuest, notGuest, 404},
		"no such method":                 {is(405, ""), nil, notGuest, notGuest, 405},
		"gone":                           {is(410, ""), nil, notGuest, notGuest, 410},
		"not implemented":                {is(501, ""), nil, notGuest, notGuest, 501},
		"a login":                        {is(401, ""), nil, refused, refused, 401},
		"forbidden":                      {is(403, manifestType), nil, refused, refused, 403},
		"too many requests":              {is(429, ""), nil, refused, refused, 429},
		"a redirect":                     {is(302, ""), nil, unanswered, unanswered, 302},
		"a crash":                        {is(500, "text/html"), nil, broken, broken, 500},
		"unavailable":                    {is(503, ""), nil, broken, broken, 503},
		"not found, says Caddy":          {nil, &statusError{404, down}, notGuest, notGuest, 404},
		"a login, says Caddy":            {nil, &statusError{401, down}, refused, refused, 401},
		"not implemented, says Caddy":    {nil, &statusError{501, down}, notGuest, notGuest, 501},
		"a crash, says Caddy":            {nil, &statusError{500, nil}, broken, broken, 500},
		"nobody there, says Caddy":       {nil, &statusError{502, down}, unanswered, unanswered, 502},
		"nobody to connect to":           {nil, fmt.Errorf("dial: %w", &party.UnconnectedError{Err: down}), unanswered, unanswered, 502},
		"a time-out":                     {nil, &party.TimeoutError{After: time.Second}, unanswered, unanswered, 0},
		"another route":                  {nil, party.ErrMisrouted, unanswered, unanswered, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := answerOf(test.response, test.err, time.Now())
			if first, then := classify(a, false), classify(a, true); first != test.first || then != test.then || a.status != test.status {
				t.Errorf("it is %v, with a last manifest %v, and of status %d", first, then, a.status)
			}
		})
	}
}

// TestWhereAnApplicationStands has all that it may answer wherever it stands.
func TestWhereAnApplicationStands(t *testing.T) {
	names := map[standing]string{unknown: "unknown", confirmed: "confirmed", doubted: "doubted", denied: "denied"}
	for s, want := range map[standing]struct{ joins, denies, deniesAgain, others standing }{
		unknown:   {confirmed, denied, denied, unknown},
		confirmed: {confirmed, doubted, denied, doubted},
		doubted:   {confirmed, doubted, denied, doubted},
		denied:    {confirmed, denied, denied, denied},
	} {
		t.Run(names[s], func(t *testing.T) {
			expect := func(v verdict, denials int, want standing) {
				t.Helper()
				if got := s.after(v, denials); got != want {
					t.Errorf("after %v for the %dth time it is %s, want %s", v, denials, names[got], names[want])
				}
			}
			expect(manifested, 0, want.joins)
			expect(unchanged, 0, want.joins)
			expect(notGuest, 1, want.denies)
			expect(notGuest, notGuestAnswers-1, want.denies)
			expect(notGuest, notGuestAnswers, want.deniesAgain)
			for _, v := range []verdict{refused, broken, unanswered} {
				expect(v, 0, want.others)
			}
		})
	}
}

func TestHowLongAManifestIsFresh(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":                                time.Minute,
		"no-cache":                        time.Minute,
		"max-age=100":                     100 * time.Second,
		"public, MAX-AGE=100, a":          100 * time.Second,
		`max-age="100"`:                   100 * time.Second,
		"s-maxage=5000, max-age=100":      100 * time.Second,
		"max-age=0":                       10 * time.Second,
		"max-age=9":                       10 * time.Second,
		"max-age=10":                      10 * time.Second,
		"max-age=86400":                   24 * time.Hour,
		"max-age=86401":                   24 * time.Hour,
		"max-age=99999999999999999999999": 24 * time.Hour,
		"max-age=-1":                      time.Minute,
		"max-age=long":                    time.Minute,
		"max-age":                         time.Minute,
	} {
		check.Equal(t, maxAgeOf(http.Header{"Cache-Control": {header}}), want, header)
	}
}

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
			var r retries
			for i, a := range answers {
				if a.what != "down" {
					r.reached = true
				}
				var got time.Duration
				switch a.what {
				case "joined":
					r.reset()
					continue
				case "denial", "leaving":
					got, random = r.afterDenial(a.what == "leaving"), 0
				default:
					got = r.afterFailure(a.what == "broken", a.retryAfter, random)
				}
				most := min(a.want+time.Duration(float64(a.want)*random/4), 300*s)
				if a.want <= 30*s && !r.reached {
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
		check.Equal(t, retryAfter(http.Header{"Retry-After": {value}}, now), want, value)
	}
}
