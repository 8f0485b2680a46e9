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
