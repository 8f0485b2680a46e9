// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package gather_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/gather"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/party"
)

// long is an answer of so many KiB, whose JSON has two bytes more.
func long(kib int) string { return strings.Repeat("x", kib<<10) }

// TestTheLongestAnswersGiveWay has one guest answer with as much as all may, before others do.
func TestTheLongestAnswersGiveWay(t *testing.T) {
	for _, options := range []string{"", "\ncache off"} {
		g := newGuests(t)
		g.on("greedy", long(1023))
		g.on("one", long(300))
		g.on("two", long(400))
		g.on("three", long(400))
		g.on("small", 1)
		g.serve("as map\nmax_response 1MiB\nabsent note"+options, "greedy", "one", "two", "three", "small")
		r := g.doc()
		check.Equal(t, r.Header.Get("Party-Absent"), "greedy, three", "the longest, and of two that are as long the last")
		check.Equal(t, len(r.Body), len(`{"greedy":null,"one":"","small":1,"three":null,"two":""}`)+700<<10)
		failed := partytest.LogEntries(t, "guest failed")
		check.Equal(t, len(failed), 2)
		check.Has(t, failed[0]["error"].(string), "longer than max_response, 1048576 bytes, and this is one of the longest")
	}
}

// TestAnEqualShareIsNeverLost has guests answer with any lengths, in any order.
func TestAnEqualShareIsNeverLost(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		room, sizes := int64(random.IntN(1000)), make(map[string]int)
		var guests []string
		for i := range 1 + random.IntN(8) {
			guests = append(guests, fmt.Sprint(i))
			sizes[guests[i]] = random.IntN(1 + random.IntN(1000))
		}
		have := gather.Collected(room, guests, sizes, guests)
		order := slices.Clone(guests)
		random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		check.Slices(t, gather.Collected(room, guests, sizes, order), have, room, sizes, order)
		total, longest := int64(0), 0
		for _, guest := range have {
			total += int64(sizes[guest])
			longest = max(longest, sizes[guest])
		}
		check.ErrorIf(t, total > room, "%d bytes in a room of %d", total, room)
		for _, guest := range guests {
			out := !slices.Contains(have, guest)
			check.ErrorIf(t, out && (int64(sizes[guest]) <= room/int64(len(guests)) || sizes[guest] < longest || total+int64(sizes[guest]) <= room), "%s gives way: %v in a room of %d has %v", guest, sizes, room, have)
		}
	}
}

// TestWhoGivesWayDependsOnTheAnswersAlone has guests come in any order, and be asked by themselves.
func TestWhoGivesWayDependsOnTheAnswersAlone(t *testing.T) {
	sizes := map[string]int{"a": 500, "b": 200, "c": 500, "d": 300}
	etag := ""
	for _, order := range []string{"abcd", "dcba", "cadb", "bdac"} {
		g := newGuests(t)
		for name := range sizes {
			g.isDown(name)
		}
		g.serve("cache 1h\nas map\nmax_response 1020KiB", "a", "b", "c", "d")
		for _, name := range strings.Split(order, "") {
			g.on(name, long(sizes[name]))
			party.SendInvites(g.party, name)
			g.doc()
		}
		r := g.doc()
		check.ErrorIf(t, etag != "" && r.Header.Get("ETag") != etag, "order %s", order)
		check.Equal(t, strings.Count(r.Body, `"c":`), 0, "it is one of the longest")
		check.Equal(t, strings.Count(r.Body, `":"`), 3, "answers")
		etag = r.Header.Get("ETag")
	}
}

// TestAKeptAnswerGivesWayToShorterOnes when these change.
func TestAKeptAnswerGivesWayToShorterOnes(t *testing.T) {
	g := newGuests(t)
	g.on("greedy", long(600))
	g.on("one", "first")
	g.serve("cache 1ms 1h\nas map\nmax_response 1MiB\nabsent note", "greedy", "one")
	check.Equal(t, g.doc().Header.Get("Party-Absent"), "")
	g.on("one", long(500))
	partytest.Eventually(t, "the long one gives way", func() bool {
		r := g.doc()
		return r.Header.Get("Party-Absent") == "greedy" && len(r.Body) > 500<<10
	})
	g.on("one", "last")
	partytest.Eventually(t, "it has room again", func() bool {
		r := g.doc()
		return r.Header.Get("Party-Absent") == "" && strings.Contains(r.Body, `"last"`)
	})
}

// TestStoredAnswersThatAreTooLongGiveWay has max_response be lower than when they were stored.
func TestStoredAnswersThatAreTooLongGiveWay(t *testing.T) {
	g := newGuests(t)
	g.on("greedy", long(800))
	g.on("one", long(100))
	g.serve("cache 1h\nas map", "greedy", "one")
	g.doc()
	for _, name := range []string{"greedy", "one"} {
		partytest.Eventually(t, "it is stored", func() bool { return len(g.stored(name)) == 1 })
	}
	kept.Clear()
	g.isDown("greedy")
	g.isDown("one")
	g.serve("cache 1h\nas map\nmax_response 500KiB\nabsent note", "greedy", "one")
	r := g.doc()
	check.Equal(t, r.Status, 200)
	check.Equal(t, r.Header.Get("Party-Absent"), "greedy")
	check.ErrorIf(t, len(r.Body) < 100<<10, len(r.Body))
}

// TestAGuestWhoseTextGrowsIsAbsent has its URLs be much longer in the document, where they are escaped and have an origin.
func TestAGuestWhoseTextGrowsIsAbsent(t *testing.T) {
	g := newGuests(t)
	g.on("amps", "/"+strings.Repeat("&", 400<<10))
	g.on("slashes", []string{"/a", "/b"})
	g.serve("as sitemapindex\nmax_response 1MiB\nabsent note", "amps", "slashes")
	r := g.doc()
	check.Equal(t, r.Status, 200)
	check.Equal(t, r.Header.Get("Party-Absent"), "amps")
	check.Equal(t, strings.Count(r.Body, "<loc>"), 2)
	failed := partytest.LogEntries(t, "guest failed")
	check.FatalIf(t, len(failed) == 0, "it is not logged")
	check.Has(t, failed[0]["error"].(string), "longer than max_response")
}

// TestAGuestWithTooManySitemapsIsAbsent has it answer with as many as an index may have, and one of another guest's.
func TestAGuestWithTooManySitemapsIsAbsent(t *testing.T) {
	g := newGuests(t)
	many := make([]string, 50_000)
	for i := range many {
		many[i] = "/"
	}
	g.on("many", many)
	g.on("one", "/one.xml")
	g.serve("as sitemapindex\nabsent note", "many", "one")
	r := g.doc()
	check.Equal(t, r.Status, 200)
	check.Equal(t, r.Header.Get("Party-Absent"), "many")
	check.Equal(t, strings.Count(r.Body, "<loc>"), 1)
}

// TestDocumentsThatGrowTogetherGiveWayToo has components be named apart, and so become longer than each by itself.
func TestDocumentsThatGrowTogetherGiveWayToo(t *testing.T) {
	g := newGuests(t)
	name := strings.Repeat("guest", 12)
	var names []string
	for i := range 4 {
		var properties strings.Builder
		for j := range (i + 1) * 350 {
			fmt.Fprintf(&properties, `%s"p%d": {"$ref": "#/components/schemas/a"}`, map[bool]string{true: ","}[j > 0], j)
		}
		names = append(names, fmt.Sprint(name, i))
		g.on(names[i], raw(`{"openapi": "3.1.0", "paths": {"/": {}}, "components": {"schemas": {"a": {"properties": {`+properties.String()+`}}}}}`))
	}
	g.serve("as openapi\nmax_response 200KiB\nabsent note", names...)
	r := g.doc()
	check.Equal(t, r.Status, 200)
	check.ErrorIf(t, len(r.Body) > 200<<10, len(r.Body))
	check.Equal(t, r.Header.Get("Party-Absent"), names[2]+", "+names[3])
	check.Equal(t, strings.Count(r.Body, name+`0_a":`)+strings.Count(r.Body, name+`1_a":`), 2, "the shortest are there")
}

// TestEachGuestIsAskedByItself has each wait for the next one.
func TestEachGuestIsAskedByItself(t *testing.T) {
	g := newGuests(t)
	var first, second = make(chan bool), make(chan bool)
	g.on("one", func(context.Context, any) (any, error) { <-first; return 1, nil })
	g.on("two", func(context.Context, any) (any, error) { <-second; close(first); return 2, nil })
	g.on("three", func(context.Context, any) (any, error) { close(second); return 3, nil })
	g.serve("", "one", "two", "three")
	g.expect("[1,2,3]")
}

// TestAGuestThatHangsKeepsNobodysAnswersFromChanging has one never answer again, where answers are kept for shorter than that.
func TestAGuestThatHangsKeepsNobodysAnswersFromChanging(t *testing.T) {
	g := newGuests(t)
	hangs := make(chan struct{})
	g.on("one", 1)
	g.on("hangs", 1)
	g.serve("cache 1s 0s\nas map\nabsent note", "hangs", "one")
	g.expect(`{"hangs":1,"one":1}`)
	g.on("hangs", func(context.Context, any) (any, error) { <-hangs; return 2, nil })
	for i := range 3 {
		g.on("one", fmt.Sprint("changed ", i))
		g.becomes(fmt.Sprintf(`{"hangs":null,"one":"changed %d"}`, i))
	}
	check.Equal(t, g.times("hangs"), 2, "asks of the one that hangs")
	close(hangs)
	g.becomes(`{"hangs":2,"one":"changed 2"}`)
}

// TestAGuestThatEndsItsGoroutineIsAbsent has its handler do so, which no recover sees.
func TestAGuestThatEndsItsGoroutineIsAbsent(t *testing.T) {
	for _, options := range []string{"", "\ncache off"} {
		g := newGuests(t)
		g.on("one", 1)
		g.on("ends", func(context.Context, any) (any, error) { runtime.Goexit(); return nil, nil })
		g.serve("as map\nabsent note"+options, "ends", "one")
		g.expect(`{"ends":null,"one":1}`)
	}
}

// TestOneGuestCannotUseUpWhatAnAskCollects has an application answer first, with as much as one ask collects from all.
func TestOneGuestCannotUseUpWhatAnAskCollects(t *testing.T) {
	g := newGuests(t)
	answered := make(chan bool)
	bomb := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		defer close(answered)
		partytest.JSON(`"`+long(8<<10-1)+`"`)(w, r)
	})
	small := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		<-answered
		time.Sleep(300 * time.Millisecond) // until Caddy has read it
		partytest.JSON(`"`+long(100)+`"`)(w, r)
	})
	var apps strings.Builder
	for name, a := range map[string]*partytest.Application{"bomb": bomb, "small": small} {
		fmt.Fprintf(&apps, "invite /%s/__invite__/\n%s", name, partytest.Mounted(name, "fetch_manifest off\nservice doc GET /doc\nmax_answer 8MiB\ntimeout 1m", a))
	}
	g.Site(strings.Replace(g.config("cache 1h\nas map\nabsent note"), "handle /doc", apps.String()+"handle /doc", 1))
	r := g.doc()
	check.Equal(t, r.Header.Get("Party-Absent"), "bomb")
	check.Equal(t, len(r.Body), len(`{"bomb":null,"small":""}`)+100<<10)
}

// TestAPayloadForOneGuestIsAskedOfItAlone has it name a page of one guest, which is another's business only if it says so.
func TestAPayloadForOneGuestIsAskedOfItAlone(t *testing.T) {
	g := newGuests(t)
	var site strings.Builder
	for _, name := range []string{"one", "two"} {
		partytest.GuestWith(t, name, map[string]wsgiparty.Handler{"url": func(context.Context, any) (any, error) { return "/" + name, nil }})
		fmt.Fprintf(&site, "invite /%[1]s/__invite__/\nhandle_path /%[1]s/* {\ntest_app %[1]s\n}\n", name)
	}
	g.Site("wsgi_party " + g.party + " {\n" + site.String() + "handle /doc {\nheader Load 0\nwsgi_party_gather url {\npayload `{\"name\": \"{query.page}\"}`\n}\n}\n}")
	check.Equal(t, g.fetch("GET", "/doc?page=home").Body, `["/one","/two"]`)
	check.Equal(t, g.fetch("GET", "/doc?page=two:home").Body, `["/two"]`)
}

// TestAKeptAnswerThatIsNoLongerTakenIsItsGuestsFailure has a config no longer have the site that an answer leads to.
func TestAKeptAnswerThatIsNoLongerTakenIsItsGuestsFailure(t *testing.T) {
	g := newGuests(t)
	g.on("one", []string{"/one.xml", "https://other.example/two.xml"})
	g.on("two", "/two.xml")
	g.Site(strings.Replace(g.config("cache 1h\nas sitemapindex\nabsent note", "one", "two"), "invite /one/__invite__/", "invite https://other.example/one/__invite__/", 1))
	check.Equal(t, strings.Count(g.doc().Body, "<loc>"), 3)
	g.serve("cache 1h\nas sitemapindex\nabsent note", "one", "two")
	r := g.doc()
	check.Equal(t, r.Status, 200)
	check.Equal(t, r.Header.Get("Party-Absent"), "one")
	check.Equal(t, strings.Count(r.Body, "<loc>"), 1)
}
