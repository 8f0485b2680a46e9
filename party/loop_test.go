// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/party"
)

func TestLoopOf(t *testing.T) {
	long := strings.Repeat("other, ", 1000)
	for _, test := range []struct {
		before string
		nested bool
		want   string
	}{
		{"", false, (*party.LoopID)},
		{" , ", true, (*party.LoopID)},
		{"cdn.example; v=1", false, "cdn.example; v=1, " + (*party.LoopID)},
		{(*party.LoopID), false, (*party.LoopID) + ", " + (*party.LoopID)},
		{"a," + (*party.LoopID) + ";x", true, "a," + (*party.LoopID) + ";x"},
		{"a", true, "a, " + (*party.LoopID)},
		{"x-" + (*party.LoopID), true, "x-" + (*party.LoopID) + ", " + (*party.LoopID)},
		{strings.Repeat("x", 5000), false, (*party.LoopID)},
	} {
		check.Equal(t, party.LoopOf(test.before, test.nested), test.want, "%q becomes", test.before)
	}
	got := party.LoopOf(long+(*party.LoopID)+", last", false)
	if len(got) > party.MaxLoopHeader+100 || !strings.HasSuffix(got, ", other, "+(*party.LoopID)+", last, "+(*party.LoopID)) || party.LoopsIn([]string{got}) != 2 {
		t.Errorf("%d bytes, %q", len(got), got[len(got)-100:])
	}
	check.Equal(t, party.LoopsIn([]string{(*party.LoopID) + "," + (*party.LoopID), "b", (*party.LoopID) + " ;q=1"}), 3, "times")
}

// loops is a request's CDN-Loop, with "ID" for this process.
func loops(h http.Header) string { return strings.ReplaceAll(h.Get("CDN-Loop"), (*party.LoopID), "ID") }

func TestSubrequestsSayWhatTheyHaveComeThrough(t *testing.T) {
	c := partytest.NewCaddy(t)
	asked := make(chan string, 10)
	key := partytest.Key(t, "asker")
	one := c.NewGuest("one", func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		asked <- service + " " + loops(r.Header)
		if service == "first" {
			response, err := c.TryAsk(r.Context(), partytest.Asking{Key: a.Key, Path: "/second", Header: http.Header{"Party-Token": r.Header["Party-Token"], "Cdn-Loop": r.Header["Cdn-Loop"]}})
			if err != nil || response.Status != http.StatusOK {
				return partytest.Answer(500, nil)
			}
		}
		return partytest.Answer(200, 1)
	})
	two := c.NewGuest("two", func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		asked <- service + " " + loops(r.Header)
		return partytest.Answer(200, 1)
	})
	fetched := make(chan string, 10)
	three := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") == partytest.ManifestType {
			fetched <- loops(r.Header)
		}
		w.WriteHeader(http.StatusNotFound)
	})
	partytest.App(t, "page", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		answers, err := operatorOf(c, "main").AskAround(r.Context(), "first", nil)
		_, _ = io.WriteString(w, fmt.Sprint(len(answers)))
		return err
	})
	c.Around(partytest.Asker + one.Directives("first", "name") + two.Directives("second") + "invite /three/__invite__/\n" + partytest.Mounted("three", "", three) + "handle /page {\ntest_app page\n}\n")
	expect := func(what string, want ...string) {
		t.Helper()
		for _, want := range want {
			check.Equal(t, <-asked, want, what)
		}
	}
	check.Equal(t, <-fetched, "ID", "a manifest is asked for with")
	if _, err := operatorOf(c, "main").AskAround(t.Context(), "name", nil); err != nil {
		t.Error(err)
	}
	expect("an ask that no request led to", "name ID")
	c.Ask(partytest.Asking{Key: key, Path: "/name"})
	expect("a guest's ask", "name ID")
	c.Ask(partytest.Asking{Key: key, Path: "/name", Header: http.Header{"Cdn-Loop": {"a, b;v=1", "c"}}})
	expect("a guest's ask with others", "name a, b;v=1,c, ID")
	status, body := c.Do("GET", "/page", "", http.Header{"Cdn-Loop": {"cdn.example"}})
	check.ErrorIf(t, status != http.StatusOK || body != "1", "%d %s", status, body)
	expect("a page's ask, and one that it leads to", "first cdn.example, ID", "second cdn.example, ID")
}

// TestRequestsThatCameThroughTooOftenEnd has requests with this process's id.
func TestRequestsThatCameThroughTooOftenEnd(t *testing.T) {
	c := partytest.NewCaddy(t)
	var asked atomic.Int64
	key := partytest.Key(t, "asker")
	a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) { asked.Add(1); partytest.JSON("1")(w, r) })
	c.Load("ADDRESS {\nwsgi_party main {\n" + partytest.Asker + "invite /a/__invite__/\n" + partytest.Mounted("a", "service s /s", a) + "handle /page {\nrespond page\n}\n}\nhandle_errors {\nreverse_proxy " + a.Address() + "\n}\n}\nhttp://" + c.Endpoint + " {\nwsgi_party_ask main\n}")
	header := func(n int) http.Header {
		return http.Header{"Cdn-Loop": {"a", strings.TrimSuffix(strings.Repeat((*party.LoopID)+", ", n), ", ")}}
	}
	c.ExpectProblem(partytest.Asking{Key: key, Path: "/s", Header: header(4)}, http.StatusLoopDetected, "has come through this Caddy 4 times (CDN-Loop)")
	c.ExpectProblem(partytest.Asking{Path: "/", Method: "GET", Header: header(5)}, http.StatusLoopDetected)
	if status, body := c.Do("GET", "/a/", "", header(4)); status != http.StatusLoopDetected || body != "" {
		t.Errorf("%d %q", status, body)
	}
	check.Equal(t, asked.Load(), 0, "the application was asked")
	if status, body := c.Do("GET", "/page", "", header(4)); status != http.StatusOK || body != "page" {
		t.Errorf("what is no guest's: %d %q", status, body)
	}
	if status, body := c.Do("GET", "/a/", "", header(3)); status != http.StatusOK || body != "1" {
		t.Errorf("%d %q", status, body)
	}
	// The fourth time is that of the ask itself.
	response := c.Ask(partytest.Asking{Key: key, Path: "/s", Header: header(3)})
	check.ErrorIf(t, response.Status != http.StatusOK || !strings.Contains(response.Body, "status 508"), "%d %s", response.Status, response.Body)
	c.ExpectAsk(partytest.Asking{Key: key, Path: "/s", Header: header(2)}, `{"answers": [1], "replies": [{"guest": "a", "mount": "/a", "status": "answered"}]}`)
}

// TestAnApplicationThatVisitsWhoAsksItEnds has one that hands back no token, as another
// Caddy does.
func TestAnApplicationThatVisitsWhoAsksItEnds(t *testing.T) {
	for _, template := range []string{`{{askAround . "s"}}{{askAround . "s"}}`, `{{len (askReplies . "s")}}{{maybeURL . "x"}}`} {
		c := partytest.NewCaddy(t)
		var asked atomic.Int64
		a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			status, body, err := c.TryDo(r.Context(), "GET", partytest.Page(template), "", http.Header{"Cdn-Loop": {r.Header.Get("Cdn-Loop") + ", other"}})
			if err != nil || status != http.StatusOK {
				http.Error(w, body, http.StatusInternalServerError)
				return
			}
			partytest.JSON(`"/"`)(w, r)
		})
		c.SiteWithPages("timeout 20s\nservice s /s\nservice url /url", a)
		if status, body := c.Get(partytest.Page(template)); status != http.StatusOK {
			t.Errorf("%d %s%s", status, body, partytest.LastHTTPError(t))
		}
		check.Equal(t, asked.Load(), 2+4+8, "it was asked times")
	}
}
