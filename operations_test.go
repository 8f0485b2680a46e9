// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

func TestRemoteGuestsAreShownLikeAnyOther(t *testing.T) {
	c := newAdminTest(t)
	party := partytest.FreshParty()
	blog := partytest.NewInvited(t, partytest.Manifest(`{"urls": {"home": "/"}, "services": {"ping": {"answer": "pong"}, "user": {"href": "/user{?id}"}}}`)).On(partytest.JSON(`"somebody"`))
	moved := partytest.NewInvited(t, partytest.Status(301, "Location", "https://example.com/moved/__invite__/"))
	down := testport.Address(t)
	apps := []struct {
		guest   string
		app     *partytest.Application
		result  InviteResult
		status  int
		err     string
		advice  []string
		manages bool
	}{
		{guest: "blog", app: blog, result: InviteJoined, status: 200},
		{guest: "none", app: partytest.NewInvited(t, partytest.Status(404)), result: InviteNotAnswered, status: 404, advice: []string{"application/vnd.wsgi-party+json", "correct the invite's URI", "wsgi_party_guest"}},
		{guest: "spa", app: partytest.NewInvited(t, partytest.JSON(`{}`)), result: InviteNotAnswered, status: 200, advice: []string{"no manifest", "application/json"}},
		{guest: "badhost", app: partytest.NewInvited(t, partytest.Status(400)), result: InviteRefused, status: 400, advice: []string{"host", "https://example.com/badhost/__invite__/"}},
		{guest: "guarded", app: partytest.NewInvited(t, partytest.Status(401)), result: InviteRefused, status: 401, advice: []string{"`not vars partyline guarded`", "key"}},
		{guest: "forbidden", app: partytest.NewInvited(t, partytest.Status(403)), result: InviteRefused, status: 403, advice: []string{"`not vars partyline forbidden`"}},
		{guest: "moved", app: moved, result: InviteFailed, status: 301, advice: []string{"https://example.com/moved/__invite__/", "not followed", "write `invite https://example.com/moved/__invite__/`"}},
		{guest: "broken", app: partytest.NewInvited(t, partytest.Manifest(`{"urls": {"home": 1}}`)), result: InviteFailed, status: 200, err: "urls.home", advice: []string{"correct the application's manifest"}},
		{guest: "down", result: InviteFailed, status: 502, err: "connect", advice: []string{"is the application running"}},
	}
	config := ""
	for _, a := range apps {
		config += "invite /" + a.guest + "/__invite__/\n"
		if a.app != nil {
			config += partytest.Mounted(a.guest, "", a.app)
		}
	}
	c.Site("wsgi_party " + party + " {\n" + config + "handle_path /down/* {\nwsgi_party_guest\nreverse_proxy " + down + "\n}\n}")
	known := invitesOf(t, party, true)
	var shown partyJSON
	partytest.Decode(c, c.Call("GET", "/wsgi_party/"+party, ""), &shown)
	for i, a := range apps {
		info := known[a.guest]
		if info.Result != a.result || info.Status != a.status || !strings.Contains(wire.Message(info.Err), a.err) || (info.Err == nil) != (a.err == "") || info.Duration <= 0 || info.Time.Before(c.began) || info.Time.After(time.Now()) {
			t.Errorf("%s: %+v", a.guest, info)
		}
		if (info.Hint == "") != (a.result == InviteJoined) {
			t.Errorf("%s: the hint is %q", a.guest, info.Hint)
		}
		for _, part := range a.advice {
			if !strings.Contains(info.Hint, part) {
				t.Errorf("%s: the hint lacks %q: %s", a.guest, part, info.Hint)
			}
		}
		if i < len(shown.Invites) {
			got := shown.Invites[i]
			if got.Server != "srv0" || got.URI != "/"+a.guest+"/__invite__/" || got.Guest != a.guest || got.Result != a.result || got.Status != a.status ||
				!strings.Contains(got.Error, a.err) || got.Hint != info.Hint || got.Duration <= 0 || !got.Time.Equal(info.Time) {
				t.Errorf("%s: the admin API shows %+v", a.guest, got)
			}
		}
	}

	for range 3 {
		if answers, err := operatorOf(c, party).AskAround(t.Context(), "user", map[string]any{"id": 1}); err != nil || len(answers) != 1 {
			t.Fatal(answers, err)
		}
	}
	blog.On(partytest.Status(500))
	_, _ = operatorOf(c, party).AskAround(t.Context(), "user", map[string]any{"id": 1})
	blog.On(partytest.Status(204))
	_, _ = operatorOf(c, party).AskAround(t.Context(), "user", map[string]any{"id": 1})
	_, _ = operatorOf(c, party).AskAround(t.Context(), "ping", nil)
	var view struct {
		Party                    string
		Invites                  json.RawMessage
		Guests, Services, Counts json.RawMessage
	}
	partytest.Decode(c, c.Call("GET", "/wsgi_party/"+party, ""), &view)
	c.same("guests", c.plain(string(view.Guests)), c.plain(`[{"guest": "blog", "services": ["ping", "url", "user"], "replicas": 1, "joined": "TIME"}]`))
	c.same("services", c.plain(string(view.Services)), c.plain(`[{"service": "ping", "guests": ["blog"]}, {"service": "url", "guests": ["blog"]}, {"service": "user", "guests": ["blog"]}]`))
	c.same("counts", c.plain(string(view.Counts)), c.plain(`[
		{"guest": "blog", "service": "ping", "asked": 1, "answered": 1, "declined": 0, "failed": 0, "refused": 0, "last_error": ""},
		{"guest": "blog", "service": "url", "asked": 0, "answered": 0, "declined": 0, "failed": 0, "refused": 0, "last_error": ""},
		{"guest": "blog", "service": "user", "asked": 5, "answered": 3, "declined": 1, "failed": 1, "refused": 0, "last_error": "guest \"blog\" failed to answer \"user\": status 500"}]`))
	response := c.Call("POST", "/wsgi_party/"+party+"/ask/ping", "")
	c.isJSON("an ask", response, `{"answers": ["pong"], "replies": [{"guest": "blog", "mount": "/blog", "status": "answered", "duration": "DURATION"}], "duration": "DURATION"}`)
}

// TestANewManifestKeepsTheGuestOnTheLine changes what the application says of itself.
func TestANewManifestKeepsTheGuestOnTheLine(t *testing.T) {
	c := newAdminTest(t)
	party := partytest.FreshParty()
	blog := partytest.NewInvited(t, partytest.Manifest(`{"services": {"ping": {"answer": 1}, "gone": {"href": "/gone"}}}`))
	c.Site("wsgi_party " + party + " {\ninvite /blog/__invite__/\n" + partytest.Mounted("blog", "", blog) + "}")
	invitesOf(t, party, true)
	before := operatorOf(c, party).Partyline().Guests()
	blog.OnInvite(partytest.Manifest(`{"services": {"ping": {"answer": 2}, "new": {"answer": 3}}}`))
	if _, err := operatorOf(c, party).AskAround(t.Context(), "gone", nil); err == nil { // its 404 has the manifest asked for again
		t.Error("what is not there answers")
	}
	partytest.Eventually(t, "the new manifest counts", func() bool {
		answers, err := operatorOf(c, party).AskAround(t.Context(), "ping", nil)
		if err != nil || len(answers) != 1 {
			t.Errorf("in between the guest answers %v, %v", answers, err)
			return true
		}
		return string(answers[0].(json.RawMessage)) == "2"
	})
	partytest.Eventually(t, "its old operator has left", func() bool {
		after := operatorOf(c, party).Partyline().Guests()
		return len(after) == 1 && after[0].Replicas == 1 && slices.Equal(after[0].Services, []string{"new", "ping"}) && after[0].Joined.Equal(before[0].Joined)
	})
}

// TestAnInviteSentAgainWaitsForTheApplication has one that is no guest at first, and
// later fails.
func TestAnInviteSentAgainWaitsForTheApplication(t *testing.T) {
	c := newAdminTest(t)
	party := partytest.FreshParty()
	manifest := partytest.Manifest(`{"services": {"ping": {"answer": "pong"}, "gone": {"href": "/gone"}}}`)
	slow := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(100 * time.Millisecond)
			next(w, r)
		}
	}
	blog := partytest.NewInvited(t, partytest.Status(404))
	c.Site("wsgi_party " + party + " {\ninvite /blog/__invite__/\n" + partytest.Mounted("blog", "", blog) + "}")
	if info := invitesOf(t, party, true)["blog"]; info.Result != InviteNotAnswered {
		t.Errorf("%+v", info)
	}
	invite := func(want string) {
		t.Helper()
		c.expectJSON("POST", "/wsgi_party/"+party+"/invite?guest=blog", "", `{"invites": [{"server": "srv0", "uri": "/blog/__invite__/", "guest": "blog", `+want+`, "time": "TIME", "duration": "DURATION"}]}`)
	}
	blog.OnInvite(slow(partytest.Status(403)))
	invite(`"result": "refused", "status": 403, "error": "", "hint": "HINT", "sent": true`)
	blog.OnInvite(slow(manifest))
	invite(`"result": "joined", "status": 200, "error": "", "sent": true`)
	c.ExpectJSONAnswers(party, "ping", `"pong"`)
	invited := blog.Invites()
	invite(`"result": "joined", "status": 200, "error": "", "sent": false`)
	if n := blog.Invites(); n != invited {
		t.Errorf("who is on the line is invited again")
	}

	// A guest whose last manifest counts is asked, too, and keeps answering.
	blog.OnInvite(slow(partytest.Status(500)))
	_, _ = operatorOf(c, party).AskAround(t.Context(), "gone", nil)
	partytest.Eventually(t, "the invite fails", func() bool { return invitesOf(t, party, false)["blog"].Status == 500 })
	invited = blog.Invites()
	invite(`"result": "failed", "status": 500, "error": "", "hint": "HINT", "old_manifest": "TIME", "sent": true`)
	if n := blog.Invites(); n == invited {
		t.Error("the application was not asked")
	}
	c.ExpectJSONAnswers(party, "ping", `"pong"`)
	blog.OnInvite(slow(manifest))
	invite(`"result": "joined", "status": 200, "error": "", "sent": true`)
	c.ExpectJSONAnswers(party, "ping", `"pong"`)
}

// TestAnApplicationThatDoesNotAnswerIsWaitedForAsLongAsInvitesMayTake has it hang.
func TestAnApplicationThatDoesNotAnswerIsWaitedForAsLongAsInvitesMayTake(t *testing.T) {
	c := newAdminTest(t)
	party := partytest.FreshParty()
	blog := partytest.NewInvited(t, partytest.Status(404))
	c.Site("wsgi_party " + party + " {\ninvite /blog/__invite__/\ninvite_timeout 200ms\n" + partytest.Mounted("blog", "", blog) + "}")
	invitesOf(t, party, true)
	blog.OnInvite(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	began := time.Now()
	response := c.Call("POST", "/wsgi_party/"+party+"/invite", "")
	if took := time.Since(began); response.Status != 200 || took < 200*time.Millisecond || strings.Contains(response.Body, `"joined"`) {
		t.Errorf("after %v: %d %s", took, response.Status, response.Body)
	}
	partytest.Eventually(t, "it is said that it took too long", func() bool {
		info := invitesOf(t, party, false)["blog"]
		return info.Result == InviteFailed && strings.Contains(wire.Message(info.Err), "longer than 200ms")
	})
}

func TestRemoteGuestsAreCountedLikeAnyOther(t *testing.T) {
	m := newMetered(t)
	blog := partytest.NewInvited(t, partytest.Manifest(`{"urls": {"home": "/"}, "services": {"ping": {"answer": "pong"}, "user": {"href": "/user"}}}`)).On(partytest.JSON("1"))
	m.load("wsgi_party PARTY {\ninvite /blog/__invite__/ /none/__invite__/\n" + partytest.Mounted("blog", "", blog) + partytest.Mounted("none", "", partytest.NewInvited(t, partytest.Status(404))) + "}")
	invitesOf(t, m.party, true)
	replies := func(user metricValues) []metricValues {
		return []metricValues{countedGuests(1), countedReplies("blog", "ping", 0, 0, 0), countedReplies("blog", "url", 0, 0, 0), user,
			countedAsks("ping", 0), countedAsks("url", 0)}
	}
	m.expect(append(replies(countedReplies("blog", "user", 0, 0, 0)), countedAsks("user", 0), countedInvites(1, 1, 0, 0))...)
	m.ask("", "user")
	m.ask("", "user")
	blog.On(partytest.Status(204))
	m.ask("", "user")
	blog.On(partytest.Status(500))
	m.ask("", "user")
	m.expect(append(replies(countedReplies("blog", "user", 2, 1, 1)), countedAsks("user", 4), timedReplies("blog", "user", 4), countedInvites(1, 1, 0, 0))...)
	for where, figures := range m.figures(m.party) {
		label := `{guest="blog",service="user"}`
		if sum := figures["reply_duration_seconds_sum"+label]; sum <= 0 || sum > 20 {
			t.Errorf("%s: %v seconds", where, sum)
		}
	}
}

// TestInvitesAreCountedAndToldOfWhenTheirResultChanges has an application be asked
// again and again.
func TestInvitesAreCountedAndToldOfWhenTheirResultChanges(t *testing.T) {
	wait(t, func(w *waits) { w.broken = time.Second })
	m := newMetered(t)
	blog := partytest.NewInvited(t, partytest.Manifest(`{"services": {"gone": {"href": "/gone"}}}`))
	m.load("wsgi_party PARTY {\ninvite /blog/__invite__/\n" + partytest.Mounted("blog", "", blog) + "}")
	invitesOf(t, m.party, true)
	again := func(times int) { // a 404 has it asked again, once a second at most
		t.Helper()
		for range times {
			before := blog.Invites()
			partytest.Eventually(t, "it is invited again", func() bool {
				_, _ = operatorOf(m, m.party).AskAround(t.Context(), "gone", nil)
				return blog.Invites() > before
			})
		}
	}
	invites := func(joined, notAnswered, refused, failed float64) {
		t.Helper()
		want := countedInvites(joined, notAnswered, refused, failed)
		partytest.Eventually(t, fmt.Sprint("the invites are counted ", want), func() bool {
			for _, figures := range m.figures(m.party) {
				for series, n := range want {
					if figures[series] != n {
						return false
					}
				}
			}
			return true
		})
	}
	invites(1, 0, 0, 0)
	again(1)
	blog.OnInvite(partytest.Status(503))
	again(2)
	invites(1, 0, 0, 1)
	blog.OnInvite(partytest.Status(403))
	again(1)
	invites(1, 0, 1, 1)
	if n := len(partytest.LogEntries(t, "invite failed")); n != 1 {
		t.Errorf("logged %d times that it failed", n)
	}
	if entries := partytest.LogEntries(t, "invite refused"); len(entries) != 1 || !strings.Contains(fmt.Sprint(entries[0]["hint"]), "not vars partyline blog") {
		t.Errorf("logged that it was refused: %v", entries)
	}
	if entries := partytest.LogEntries(t, "guest joined"); len(entries) != 1 || entries[0]["guest"] != "blog" {
		t.Errorf("logged that it joined: %v", entries)
	}
}

// fetchingOf returns a fetching of the running config's guest, to be told at any time
// what the application answered.
func fetchingOf(t *testing.T, guest string) *fetching {
	t.Helper()
	return newFetching(visitOf(t, guest))
}

// TestEventsTellOfRemoteGuests does not wait for half a minute between the answers
// that the application is no guest any more.
func TestEventsTellOfRemoteGuests(t *testing.T) {
	wait(t, func(w *waits) { w.broken = time.Second })
	c := newEventful(t)
	blog := partytest.NewInvited(t, partytest.Manifest(`{"services": {"ping": {"answer": 1}, "gone": {"href": "/gone"}}}`))
	refusing := partytest.NewInvited(t, partytest.Status(403))
	c.load("wsgi_party main {\ninvite /evblog/__invite__/\n" + partytest.Mounted("evblog", "", blog) + "}")
	c.expect("guest_joined evblog [gone ping]")
	c.load("wsgi_party main {\ninvite /evblog/__invite__/ /evother/__invite__/\n" + partytest.Mounted("evblog", "", blog) + partytest.Mounted("evother", "", refusing) + "}")
	// The next config begins with the last manifest, and with the other's answer.
	c.expect("guest_joined evblog [gone ping]", `invite_refused evother [] /evother/__invite__/ 403 ""`)

	blog.OnInvite(partytest.Status(503))
	for range 2 { // it is told once
		before := blog.Invites()
		partytest.Eventually(t, "it is invited again", func() bool {
			_, _ = operatorOf(c, "main").AskAround(t.Context(), "gone", nil)
			return blog.Invites() > before
		})
	}
	c.expect(`invite_failed evblog [gone ping] /evblog/__invite__/ 503 ""`)

	f := fetchingOf(t, "evblog")
	for i := range 3 {
		f.hear(answer{status: 404, time: time.Now().Add(time.Duration(i) * 31 * time.Second)})
	}
	c.expect(`invite_not_answered evblog [gone ping] /evblog/__invite__/ 404 ""`, "guest_left evblog [gone ping]", `invite_not_answered evblog [] /evblog/__invite__/ 404 ""`)
	blog.OnInvite(partytest.Manifest(`{"services": {"ping": {"answer": 2}}}`))
	SendInvites("main", "evblog")
	c.expect("guest_joined evblog [ping]")
}

// password is the hash of the word password, quick to compute.
const password = "$2b$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm"

func TestAGuestHandlerThatNoInviteReachedIsWarnedOf(t *testing.T) {
	c := partytest.NewCaddy(t)
	mistake := func(directives string, want ...string) {
		t.Helper()
		before := len(partytest.LogEntries(t, noInvite))
		c.Site(directives)
		entries := partytest.LogEntries(t, noInvite)[before:]
		if len(entries) != 1 || entries[0]["level"] != "warn" {
			t.Errorf("%s: logged %v", directives, entries)
			return
		}
		for _, part := range want {
			if !strings.Contains(entries[0]["hint"].(string), part) {
				t.Errorf("%s: the hint lacks %q: %v", directives, part, entries[0]["hint"])
			}
		}
		if entries[0]["party"] != "main" {
			t.Errorf("of party %v", entries[0]["party"])
		}
	}
	mistake("wsgi_party main {\nhandle_path /blog/* {\nwsgi_party_guest\nrespond blog\n}\n}",
		"write `invite <mount>/__invite__/` in the wsgi_party block")
	mistake("wsgi_party main {\nhandle_path /blog/* {\nwsgi_party_guest blog\nrespond blog\n}\n}",
		"write `invite <mount>/__invite__/ as blog` in the wsgi_party block")
	mistake("wsgi_party main {\ninvite /shop/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest\nrespond blog\n}\n}",
		"write `invite <mount>/__invite__/`")
	// Another one takes the invite that comes.
	mistake("wsgi_party main {\ninvite /blog/__invite__/\nhandle_path /blog/* {\nroute {\nwsgi_party_guest weblog {\nanswer ping pong\n}\nwsgi_party_guest {\nanswer ping pong\n}\nrespond blog\n}\n}\n}",
		`the invites that come here are for ["blog"]`, "`invite <uri> as weblog`", "leave out the name")
	// What answers before the invite has come to the handler.
	recipe := "`not vars partyline blog`"
	mistake("wsgi_party main {\ninvite /blog/__invite__/\nbasic_auth {\nuser "+password+"\n}\nhandle_path /blog/* {\nwsgi_party_guest\nrespond blog\n}\n}",
		"/blog/__invite__/", "status 401", recipe)
	mistake("wsgi_party main {\ninvite /blog/__invite__/\nroute {\nerror \"slow down\" 429\nhandle_path /blog/* {\nwsgi_party_guest\nrespond blog\n}\n}\n}",
		"/blog/__invite__/", "status 429", recipe)
	auth := partytest.NewInvited(t, nil)
	mistake("wsgi_party main {\ninvite /blog/__invite__/\nforward_auth "+auth.Listener.Addr().String()+" {\nuri /auth\n}\nhandle_path /blog/* {\nwsgi_party_guest\nrespond blog\n}\n}",
		"/blog/__invite__/", "over the network", "forward_auth", recipe)
	mistake("wsgi_party main {\ninvite /blog/__invite__/\nredir https://example.com{uri} 308\nhandle_path /blog/* {\nwsgi_party_guest\nrespond blog\n}\n}",
		"/blog/__invite__/", "status 308", "https://example.com/blog/__invite__/")
	mistake("wsgi_party main {\ninvite /blog/__invite__/\nroute {\nrespond early\nwsgi_party_guest\n}\n}",
		"/blog/__invite__/", "status 200", "does another route answer before the guest")
}

const noInvite = "no invite reached a wsgi_party_guest handler: its application is not on the line"

func TestNobodyIsWarnedOfWhatIsRight(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site(`
	wsgi_party main {
		invite /blog/__invite__/ /both/__invite__/ /both/second/__invite__/
		handle_path /blog/* {
			wsgi_party_guest {
				answer ping pong
			}
		}
		handle_path /both/second/* {
			wsgi_party_guest {
				answer ping second
			}
		}
		handle_path /both/* {
			wsgi_party_guest both {
				answer ping pong
			}
		}
	}`)
	for _, e := range partytest.LogEntries(t, noInvite) {
		t.Errorf("logged %v", e)
	}
	c.ExpectJSONAnswers("main", "ping", `"pong"`, `"pong"`, `"second"`)
}

// TestTheRecipeLetsThePartyThroughAuthentication has an application that answers its
// invite, and asks, behind a password that people need.
func TestTheRecipeLetsThePartyThroughAuthentication(t *testing.T) {
	party := partytest.FreshParty()
	for _, name := range []string{"basic_auth", "forward_auth"} {
		t.Run(name, func(t *testing.T) {
			c := partytest.NewCaddy(t)
			app := partytest.NewInvited(t, partytest.Manifest(`{"services": {"user": {"href": "/api/user"}, "private": {"href": "/__invite__/private"}}}`)).On(partytest.JSON(`"somebody"`))
			recipe := "@people not vars partyline blog\n"
			if name == "basic_auth" {
				recipe += "basic_auth @people {\nuser " + password + "\n}\n"
			} else {
				refuses := partytest.NewInvited(t, nil).On(partytest.Status(401))
				recipe += "forward_auth @people " + refuses.Listener.Addr().String() + " {\nuri /auth\n}\n"
			}
			c.Site("wsgi_party " + party + name + " {\ninvite /blog/__invite__/\n" + recipe + partytest.Mounted("blog", "", app) + "}")
			if info := invitesOf(t, party+name, true)["blog"]; info.Result != InviteJoined {
				t.Fatalf("%+v", info)
			}
			c.ExpectJSONAnswers(party+name, "user", `"somebody"`)
			c.ExpectJSONAnswers(party+name, "private", `"somebody"`)
			for _, forged := range []string{"", "partyline", "Party-Line", "X-Partyline"} {
				r, err := http.NewRequest("GET", "http://"+c.Address+"/blog/api/user?partyline=blog", nil)
				if err != nil {
					t.Fatal(err)
				}
				if forged != "" {
					r.Header.Set(forged, "blog")
				}
				r.AddCookie(&http.Cookie{Name: "partyline", Value: "blog"})
				response, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				if response.StatusCode != 401 {
					t.Errorf("people get in with %q: %d", forged, response.StatusCode)
				}
			}
			if name == "basic_auth" {
				r, err := http.NewRequest("GET", "http://user:password@"+c.Address+"/blog/api/user", nil)
				if err != nil {
					t.Fatal(err)
				}
				response, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				if response.StatusCode != 200 {
					t.Errorf("people with a password: %d", response.StatusCode)
				}
			}
			for _, e := range partytest.LogEntries(t, noInvite) {
				t.Errorf("logged %v", e)
			}
		})
	}
}

func TestAGuestBehindARewriteHasNotJoined(t *testing.T) {
	c := partytest.NewCaddy(t)
	refused := func(party, seen string) {
		t.Helper()
		expectTold(c, party, mistake{"ADDRESS {\nwsgi_party main {\ninvite /blog/__invite__/\n" + party + "\n}\nrespond up\n}", "invite failed",
			[]string{"guest:blog", "/blog/__invite__/", "as " + seen, "is not known", "`route { … }`", "handle_path", "uri strip_prefix"}})
		if entries := partytest.LogEntries(t, noInvite); len(entries) != 0 {
			t.Errorf("%s: it is told twice: %v", party, entries)
		}
		if guests := operatorOf(c, "main").Partyline().Guests(); len(guests) != 0 {
			t.Errorf("%s: %v", party, guests)
		}
		c.ExpectSoon("/", 200, "up")
	}
	refused("rewrite /blog/* /index.php\nroute {\nwsgi_party_guest\n}", "/index.php")
	refused("rewrite /blog/* /weblog{uri}\nhandle /weblog/* {\nwsgi_party_guest\n}", "/weblog/blog/__invite__/")
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "index.html"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("handle /blog/* {\nroot "+filepath.ToSlash(root)+"\ntry_files {path} /index.html\nhandle {\nwsgi_party_guest\n}\n}", "/index.html")
	refused("uri /blog/* replace blog weblog\nhandle {\nwsgi_party_guest\n}", "/weblog/__invite__/")
	refused("uri /blog/* strip_suffix /\nhandle {\nwsgi_party_guest\n}", "/blog/__invite__")
	for _, fine := range []string{
		"handle {\nwsgi_party_guest {\nurl home /\n}\n}", "handle_path /blog/* {\nwsgi_party_guest {\nurl home /\n}\n}",
		"route {\nuri strip_prefix /blog\nwsgi_party_guest {\nurl home /\n}\ntry_files {path} /index.html\n}",
	} {
		c.Site("wsgi_party main {\ninvite /blog/__invite__/\n" + fine + "\n}")
		mount := "/blog"
		if strings.HasPrefix(fine, "handle {") {
			mount = ""
		}
		if got, err := URLFor(t.Context(), operatorOf(c, "main"), "home", nil); err != nil || got != mount+"/" {
			t.Errorf("%s: %q %v", fine, got, err)
		}
	}
}

func TestKeysOfTwoGuestsThatAreTheSameFailTheLoad(t *testing.T) {
	c := partytest.NewCaddy(t)
	partytest.Key(t, "one")
	t.Setenv("same_PARTY_KEY", "one"+strings.Repeat("-Key", 8))
	partytest.Key(t, "two")
	c.Site("respond before")
	guests := func(one, two string) string {
		return "wsgi_party main {\ninvite /a/__invite__/ /b/__invite__/\nhandle_path /a/* {\nwsgi_party_guest {\nkey " + one + "\nanswer x y\n}\n}\nhandle_path /b/* {\nwsgi_party_guest {\nkey " + two + "\nanswer x y\n}\n}\n}\n"
	}
	two := func(one, two string) string {
		return "ADDRESS {\n" + guests(one, two) + "}"
	}
	for _, config := range []string{
		two("{env.one_PARTY_KEY}", "{env.one_PARTY_KEY}"),
		two("{env.one_PARTY_KEY}", "{env.same_PARTY_KEY}"),
		two("{env.one_PARTY_KEY}", "{env.two_PARTY_KEY} {env.same_PARTY_KEY}"),
		// In two parties, too.
		"ADDRESS {\nroute {\nwsgi_party x {\ninvite /a/__invite__/\nhandle_path /a/* {\nwsgi_party_guest {\nkey {env.one_PARTY_KEY}\n}\n}\n}\nwsgi_party y {\ninvite /b/__invite__/\nhandle_path /b/* {\nwsgi_party_guest {\nkey {env.same_PARTY_KEY}\n}\n}\n}\n}\n}",
	} {
		err := c.TryLoad(config)
		if err == nil || !strings.Contains(err.Error(), `"a`) || !strings.Contains(err.Error(), `"b`) || !strings.Contains(err.Error(), "share a key: each needs its own") {
			t.Errorf("%s: %v", config, err)
		}
		if err != nil && strings.Contains(err.Error(), "-Key-Key") {
			t.Errorf("a key is shown: %v", err)
		}
		c.Expect("/", 200, "before")
	}
	// The same guest in two servers has the same key, and two of its own.
	second := testport.Address(t)
	_, port, err := net.SplitHostPort(second)
	if err != nil {
		t.Fatal(err)
	}
	c.Load("ADDRESS http://127.0.0.1:" + port + " {\n" + guests("{env.one_PARTY_KEY} {env.same_PARTY_KEY}", "{env.two_PARTY_KEY}") + "}")
	if guests := operatorOf(c, "main").Partyline().Guests(); len(guests) != 2 || guests[0].Replicas != 2 {
		t.Errorf("%+v", guests)
	}
}

// TestStrictInvitesDoNotWaitForApplications loads a config whose application is down.
func TestStrictInvitesDoNotWaitForApplications(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	requests := partytest.NewInvited(t, partytest.Status(500))
	c.Site("wsgi_party " + party + " {\nstrict_invites\ninvite /blog/__invite__/\n" + partytest.Mounted("blog", "", requests) + "}")
	if info := invitesOf(t, party, true)["blog"]; info.Result != InviteFailed || info.Status != 500 {
		t.Errorf("%+v", info)
	}
	before := requests.Invites()
	config := c.Adapt("ADDRESS {\nwsgi_party " + partytest.FreshParty() + " {\ninvite /blog/__invite__/\n" + partytest.Mounted("blog", "", requests) + "}\n}")
	if err := caddy.Validate(partytest.ParseConfig(t, config)); err != nil {
		t.Error(err)
	}
	if after := requests.Invites(); after != before {
		// The running config may have asked again in the meantime, once.
		if after > before+1 {
			t.Errorf("validating asks the application %d times", after-before)
		}
	}
}
