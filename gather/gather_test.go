// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package gather_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestAListHasTheAnswersInInviteOrder(t *testing.T) {
	g := newGuests(t)
	g.on("one", map[string]any{"b": 1, "a": "<&>"})
	g.on("two", raw(`{"z": 1.50, "a": 12345678901234567890}`))
	g.on("three", wsgiparty.ErrHighAndDry)
	g.on("four", nil)
	g.on("five", []int{5})
	g.serve("", "two", "one", "three", "four", "five")
	r := g.doc()
	check.Equal(t, r.Status, 200)
	check.Equal(t, r.Body, `[{"a":12345678901234567890,"z":1.50},{"a":"<&>","b":1},null,[5]]`)
	check.Equal(t, r.Header.Get("Content-Type"), "application/json")
	check.Equal(t, r.Header.Get("Cache-Control"), "max-age=60")
	check.Equal(t, r.Header.Get("Party-Absent"), "")
}

func TestADocumentOfNobodyIsEmpty(t *testing.T) {
	g := newGuests(t)
	for as, want := range map[string]string{"list": "[]", "map": "{}", "merge": "{}", "lines": ""} {
		g.serve("as " + as)
		g.expect(want)
	}
}

func TestAMapHasTheAnswersByGuest(t *testing.T) {
	g := newGuests(t)
	g.on("one", map[string]any{"two": "mine"})
	g.on("two", "second")
	g.on("three", errDown)
	g.serve("as map", "one", "two", "three")
	g.expect(`{"one":{"two":"mine"},"two":"second"}`)
	g.serve("as map\nabsent note", "one", "two", "three")
	r := g.doc()
	check.Equal(t, r.Body, `{"one":{"two":"mine"},"three":null,"two":"second"}`)
	check.Equal(t, r.Header.Get("Party-Absent"), "three")
	check.Equal(t, r.Header.Get("Cache-Control"), "no-cache")
}

func TestObjectsAreMerged(t *testing.T) {
	g := newGuests(t)
	g.on("one", raw(`{"a": 1, "list": [1], "in": {"x": 1, "deep": {"l": []}}, "kind": [1]}`))
	g.on("two", raw(`{"a": 2, "b": 2, "list": [2, [3]], "in": {"x": 2, "y": 2, "deep": {"l": [true]}}, "kind": {"a": 1}}`))
	g.on("three", []int{1})
	g.serve("as merge\nabsent note", "one", "two", "three")
	r := g.doc()
	check.Equal(t, r.Body, `{"a":1,"b":2,"in":{"deep":{"l":[true]},"x":1,"y":2},"kind":[1],"list":[1,2,[3]]}`)
	check.Equal(t, r.Header.Get("Party-Absent"), "three")
	failed := partytest.LogEntries(t, "guest failed")
	check.FatalIf(t, len(failed) != 1, failed)
	check.Has(t, failed[0]["error"].(string), "a list, but `as merge` needs objects")
}

func TestLines(t *testing.T) {
	g := newGuests(t)
	g.on("one", "Contact: mailto:a@example.com")
	g.on("two", []string{"Expires: never", "", "é\tb"})
	g.on("three", "User-agent: *\r\nDisallow: /x\r\n")
	g.on("four", []any{"a", 1})
	g.on("five", "a\u2028b")
	g.on("six", "a\x00b")
	g.serve("as lines\nabsent note", "one", "two", "three", "four", "five", "six")
	r := g.doc()
	check.Equal(t, r.Body, "Contact: mailto:a@example.com\nExpires: never\n\né\tb\nUser-agent: *\nDisallow: /x\n")
	check.Equal(t, r.Header.Get("Content-Type"), "text/plain; charset=utf-8")
	check.Equal(t, r.Header.Get("Party-Absent"), "four, five, six")
}

func TestHowDocumentsAreServed(t *testing.T) {
	g := newGuests(t)
	g.on("one", 1)
	g.serve("type application/vnd.x+json", "one")
	r := g.doc()
	etag := r.Header.Get("ETag")
	check.ErrorIf(t, len(etag) < 10 || etag[0] != '"', etag)
	check.Equal(t, r.Header.Get("Content-Length"), "3")
	check.Equal(t, r.Header.Get("Content-Type"), "application/vnd.x+json")
	head := g.fetch("HEAD", "/doc")
	check.Equal(t, head.Body+head.Header.Get("Content-Length")+head.Header.Get("ETag"), "3"+etag)
	for _, match := range []string{etag, `"x", W/` + etag, "*"} {
		r := g.doc("If-None-Match", match)
		check.Equal(t, r.Status, 304, match)
		check.Equal(t, r.Body+r.Header.Get("ETag"), etag)
		check.Equal(t, r.Header.Get("Cache-Control"), "max-age=60")
	}
	check.Equal(t, g.doc("If-None-Match", `"other"`).Status, 200)
	r = g.fetch("POST", "/doc")
	check.Equal(t, r.Status, 405)
	check.Equal(t, r.Header.Get("Allow"), "GET, HEAD")
	check.Equal(t, g.times("one"), 1)
}

func TestDocumentsAreCompressedByEncode(t *testing.T) {
	g := newGuests(t)
	g.on("one", strings.Repeat("long ", 1000))
	g.Site("encode gzip {\nmatch {\nheader Content-Type application/json*\n}\n}\n" + g.config("", "one"))
	r := g.doc("Accept-Encoding", "gzip")
	check.Equal(t, r.Header.Get("Content-Encoding"), "gzip")
	check.ErrorIf(t, len(r.Body) > 500, len(r.Body))
	check.Equal(t, g.doc("Accept-Encoding", "gzip", "If-None-Match", r.Header.Get("ETag")).Status, 304)
}

func TestAFailureMayFailTheDocument(t *testing.T) {
	g := newGuests(t)
	g.on("one", 1)
	g.on("two", errDown)
	g.on("three", func(context.Context, any) (any, error) { panic("at the table") })
	g.serve("absent fail\ncache 50ms 0s", "one", "two", "three")
	r := g.doc()
	check.Equal(t, r.Status, http.StatusServiceUnavailable)
	check.Equal(t, r.Header.Get("Content-Type"), "application/problem+json")
	check.Equal(t, r.Header.Get("Party-Absent"), "two, three")
	check.Equal(t, r.Header.Get("Cache-Control"), "no-store")
	check.Equal(t, r.Body, `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"no answer from two, three","absent":["two","three"]}`)
	g.on("two", 2)
	g.on("three", wsgiparty.ErrHighAndDry)
	g.becomes("[1,2]")
}

// TestAHealthPageThatHidesADeadGuestIsWarnedOf when the config does not say how long last answers count.
func TestAHealthPageThatHidesADeadGuestIsWarnedOf(t *testing.T) {
	g := newGuests(t)
	for options, warnings := range map[string]int{"absent fail": 1, "absent fail\ncache 1s": 1, "absent fail\ncache 1s 24h": 0, "absent fail\ncache 2s 0s": 0, "absent fail\ncache off": 0, "absent note": 0} {
		partytest.ResetLog()
		g.serve(options)
		entries := partytest.LogEntries(t, "a guest that dies is not absent while its last answer is kept")
		check.Equal(t, len(entries), warnings, options)
		if warnings > 0 {
			check.Has(t, entries[0]["hint"].(string), "`cache 2s 0s`")
		}
	}
}

// TestAnswersThatAreHardToEncode has each guest fail by itself.
func TestAnswersThatAreHardToEncode(t *testing.T) {
	g := newGuests(t)
	g.on("one", 1)
	g.on("function", io.EOF.Error) // JSON has none
	g.on("invalid", raw(`{"a": 1, "a": 2}`))
	g.on("cut", raw(`{"a": `))
	g.on("deep", raw(strings.Repeat("[", 64)+strings.Repeat("]", 64)))
	g.on("panic", partytest.BadJSON(func() ([]byte, error) { panic("no") }))
	g.on("last", raw(strings.Repeat("[", 60)+strings.Repeat("]", 60)))
	g.serve("absent note", "one", "function", "invalid", "cut", "deep", "panic", "last")
	r := g.doc()
	check.Equal(t, r.Body, "[1,"+strings.Repeat("[", 60)+strings.Repeat("]", 60)+"]")
	check.Equal(t, r.Header.Get("Party-Absent"), "function, invalid, cut, deep, panic")
}

func TestWhoIsAskedIsTheParty(t *testing.T) {
	g := newGuests(t)
	g.on("one", 1)
	g.Site(strings.Replace(g.config("", "one"), "handle /doc", "handle /nothing", 1) + "\nhandle /doc {\nheader Load 1\nwsgi_party_gather doc {\nparty " + g.party + "\n}\n}")
	g.expect("[1]")
	err := g.TryLoad("ADDRESS {\nwsgi_party_gather doc\n}")
	check.Fails(t, err, "in no party's routes", "party <party>", "no wsgi_party handler")
}
