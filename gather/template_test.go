// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package gather_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/measure"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	_ "github.com/wsgiparty/wsgiparty/partytemplates"
)

// pages loads a party of these guests with a page, and these handlers.
func (g *guests) pages(handlers string, names ...string) {
	g.Helper()
	partytest.TemplateApp(g)
	g.Site(strings.Replace(g.config("", names...), "handle /doc {", partytest.Pages+handlers+"handle /doc {", 1))
}

func TestPagesGather(t *testing.T) {
	g := newGuests(t)
	g.on("one", raw(`{"href": "/x", "n": 7}`))
	g.on("two", raw(`{"href": "/y", "n": 8}`))
	g.pages("handle /nav {\nwsgi_party_gather nav {\ncache 1h\n}\n}\nhandle /lines {\nwsgi_party_gather lines {\nas lines\n}\n}\n", "one", "two")
	g.ExpectPage(`{{range gather $ "doc"}}[{{.href}} {{add .n 1}}]{{end}}`, "[/x 8][/y 9]")
	g.ExpectPage(`{{len (gather . "nav")}} {{gather . "nothing"}} {{gather $ "lines"}}.`, "0 [] .")
	g.expect(`[{"href":"/x","n":7},{"href":"/y","n":8}]`)
	check.Equal(t, g.times("one"), 1, "asks of the page and the handler")
	for template, want := range map[string]string{`{{gather "doc"}}`: "gather takes two arguments, not 1", `{{gather $ 1}}`: "not a string", `{{gather "doc" $}}`: "not a string", `{{gather "a" "doc"}}`: "is a string"} {
		status, _ := g.Get(partytest.Page(template))
		check.Equal(t, status, 500)
		check.Has(t, partytest.LastHTTPError(t), want)
	}
}

// TestAPageHasTheSettingsOfTheHandler that is of the service, wherever in the party that is.
func TestAPageHasTheSettingsOfTheHandler(t *testing.T) {
	g := newGuests(t)
	g.on("one", map[string]any{"a": 1})
	g.on("two", errDown)
	g.pages("", "one", "two")
	g.ExpectPage(`{{gather $ "doc"}}`, "[map[a:1]]")
	partytest.TemplateApp(t)
	g.Site(strings.Replace(g.config("as merge", "one", "two"), "handle /doc {", partytest.Pages+"handle /doc {", 1))
	g.doc()
	g.ExpectPage(`{{(gather $ "doc").a}}`, "1")
	g.Site(strings.Replace(g.config("absent fail", "one", "two"), "handle /doc {", partytest.Pages+"handle /doc {", 1))
	g.doc()
	status, _ := g.Get(partytest.Page(`{{gather $ "doc"}}`))
	check.Equal(t, status, 503)
	check.Has(t, partytest.LastHTTPError(t), "no answer from two")
	g.pages("handle /other {\nwsgi_party_gather doc {\nas map\n}\n}\n", "one", "two")
	g.doc()
	status, _ = g.Get(partytest.Page(`{{gather $ "doc"}}`))
	check.Equal(t, status, 500)
	check.Has(t, partytest.LastHTTPError(t), "several wsgi_party_gather doc")
}

func TestADocumentThatIsNotKeptIsAskedForInTheRequest(t *testing.T) {
	g := newGuests(t)
	g.on("one", 1)
	g.on("two", errDown)
	g.serve("cache off\nabsent note", "one", "two")
	for i := range 3 {
		r := g.doc()
		check.Equal(t, r.Body+r.Header.Get("Cache-Control")+r.Header.Get("Party-Absent"), "[1]no-storetwo")
		check.Equal(t, g.times("one"), int64(i+1))
	}
}

// TestAVisitorsDocumentIsTheVisitorsOwn has an application answer with what the visitor sent.
func TestAVisitorsDocumentIsTheVisitorsOwn(t *testing.T) {
	g := newGuests(t)
	a := partytest.NewApplication(t, `{"services": {"doc": {"href": "/doc"}}}`, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, "%q", r.Header.Get("Cookie")+r.Header.Get("X-Other"))
	})
	const options = "cache off\nforward Cookie"
	serve := func(options string) {
		g.Site(strings.Replace(g.config(options), "handle /doc", "invite /app/__invite__/\n"+partytest.Mounted("app", "hrefs /doc\nforward Cookie X-Other", a)+"handle /doc", 1))
	}
	serve(options)
	g.becomes(`[""]`)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			cookie := fmt.Sprint("visitor=", i)
			if r := g.doc("Cookie", cookie, "X-Other", "no"); r.Body != `["`+cookie+`"]` {
				t.Errorf("%s: %s", cookie, r.Body)
			}
		})
	}
	group.Wait()
	serve("cache off")
	check.Equal(t, g.doc("Cookie", "a").Body, `[""]`)
	serve("")
	check.Equal(t, g.doc("Cookie", "a").Body, `[""]`, "what is kept is nobody's own")
	_, _, err := partytest.AdaptCaddyfile("localhost {\nwsgi_party_gather nav {\nforward Cookie\n}\n}")
	check.Fails(t, err, "forward sends the guests Cookie of one visitor", "would be kept for others", "`cache off`")
	_, _, err = partytest.AdaptCaddyfile("localhost {\nwsgi_party_gather nav {\nforward Party-Token\ncache off\n}\n}")
	check.Fails(t, err, "Party-Token")
}

// TestMaxResponseBoundsWhatIsKept has 256 guests of which each answers with a MiB.
func TestMaxResponseBoundsWhatIsKept(t *testing.T) {
	g := newGuests(t)
	bomb := strings.Repeat("x", 1<<20)
	var names []string
	bombs := 256
	if measure.UnderRaceDetector() { // which takes a minute for them
		bombs = 16
	}
	for i := range bombs {
		name := fmt.Sprint("guest", i)
		names = append(names, name)
		g.on(name, bomb)
	}
	g.on("last", 1)
	g.serve("max_response 3MiB\nabsent note", append(names, "last")...)
	r := g.doc()
	check.Equal(t, len(r.Body), 2*(1<<20+3)+3)
	check.Equal(t, strings.Count(r.Header.Get("Party-Absent"), ","), bombs-3)
	g.serve("max_response 3MiB\nabsent note\ncache off", append(names, "last")...)
	r = g.doc()
	check.Equal(t, len(r.Body), 2*(1<<20+3)+3)
	// Escaped it is longer than that.
	g.on("last", "/"+strings.Repeat("&", 1<<20))
	g.serve("max_response 2MiB\nas sitemapindex\nabsent note", "last")
	check.Equal(t, g.doc().Header.Get("Party-Absent"), "last")
	failed := partytest.LogEntries(t, "guest failed")
	check.Has(t, failed[len(failed)-1]["error"].(string), "longer than max_response")
}

// TestAGuestThatGathersWhatItIsAskedFor has the service of one lead to the document itself.
func TestAGuestThatGathersWhatItIsAskedFor(t *testing.T) {
	g := newGuests(t)
	g.on("one", 1)
	const loop = "invite /loop/__invite__/\nhandle_path /loop/* {\nwsgi_party_guest {\nservice doc GET /doc\nfetch_manifest off\n}\nwsgi_party_gather doc\n}\n"
	g.Site(strings.Replace(g.config("absent note", "one"), "handle /doc", loop+"handle /doc", 1))
	r := g.doc()
	check.Equal(t, r.Body+r.Header.Get("Party-Absent"), "[1,[]]")
}

// TestWhatIsGatheredForAnAskForwardsNothing has a visitor's ask lead to the document, which must not be the visitor's own.
func TestWhatIsGatheredForAnAskForwardsNothing(t *testing.T) {
	g := newGuests(t)
	got := make(chan string, 9)
	a := partytest.NewApplication(t, `{"services": {"doc": {"href": "/doc"}}}`, func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("Cookie")
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `"doc"`)
	})
	const outer = "invite /outer/__invite__/\nhandle_path /outer/* {\nwsgi_party_guest {\nservice outer GET /doc\nforward Cookie\nfetch_manifest off\n}\nwsgi_party_gather doc\n}\n" +
		"handle /ask {\nwsgi_party_vars {\nask answer outer\nforward Cookie\n}\nrespond {http.wsgi_party.answer}\n}\n"
	g.Site(strings.Replace(g.config(""), "handle /doc", "invite /app/__invite__/\n"+partytest.Mounted("app", "hrefs /doc\nforward Cookie", a)+outer+"handle /doc", 1))
	partytest.Eventually(t, "it is asked", func() bool {
		request := check.Value(http.NewRequest("GET", "http://"+g.Address+"/ask", nil))(t)
		request.Header.Set("Cookie", "visitor=1")
		r, err := partytest.Send(request)
		return err == nil && r.Body == `["doc"]`
	})
	for len(got) > 0 {
		check.Equal(t, <-got, "", "cookie")
	}
}
