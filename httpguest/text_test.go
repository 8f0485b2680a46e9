// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestAnswersOfAType asks for a robots.txt, which is not JSON.
func TestAnswersOfAType(t *testing.T) {
	c := newGuestTest(t)
	a := partytest.NewApplication(t, "", nil)
	c.load("invite /blog/__invite__/\n" + partytest.Mounted("blog", "service robots GET /robots.txt type text/plain\nservice nav /nav type text/html", a))
	answerWith := func(contentType, body string) {
		a.On(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			_, _ = io.WriteString(w, body)
		})
	}
	for contentType, test := range map[string]struct{ body, answer, fails string }{
		"text/plain":                    {"User-agent: *\nDisallow: /", "User-agent: *\nDisallow: /", ""},
		"Text/Plain; charset=UTF-8":     {"{{env \"HOME\"}} größe", "{{env \"HOME\"}} größe", ""},
		"text/plain;charset=us-ascii":   {"\ufeffhello", "hello", ""},
		"text/plain; x=y":               {"", "", ""},
		"text/plain; charset=latin1":    {"gr\xf6\xdfe", "", `the answer's charset is "latin1": answer in utf-8`},
		"text/plain; charset=\"utf-8\"": {"gr\xf6\xdfe", "", "the answer is not UTF-8"},
		"text/html":                     {"<p>", "", `the Content-Type of the answer is "text/html": answer with text/plain, or change the type beside the href`},
		"application/json":              {"1", "", `is "application/json"`},
		"text/plain; charset":           {"x", "", "answer with text/plain"},
		"text/plain; charset=utf-8 ":    {strings.Repeat("x", 1<<20+1), "", "1048576"},
	} {
		answerWith(contentType, test.body)
		if test.fails != "" {
			c.expectFailure("robots", nil, test.fails)
			continue
		}
		answers, err := operatorOf(c, c.party).AskAround(t.Context(), "robots", nil)
		check.Must(t, err)
		check.Deep(t, answers, []any{test.answer}, contentType)
	}
	check.Equal(t, a.Requests()[0].Header.Get("Accept"), "text/plain")
	answerWith("text/html", `<a href="/">Home</a>`)
	c.expectAsk("nav", nil, `<a href="/">Home</a>`)
}
