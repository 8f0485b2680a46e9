// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

func TestRemoteGuestsAreShownLikeAnyOther(t *testing.T) {
	c := newAdminTest(t)
	party := partytest.FreshParty()
	blog := partytest.NewInvited(t, partytest.Manifest(`{"urls": {"home": "/"}, "services": {"ping": {"answer": "pong"}, "user": {"href": "/user{?id}"}}}`)).On(partytest.JSON(`"somebody"`))
	guest := func(invite http.HandlerFunc) *partytest.Application { return partytest.NewInvited(t, invite) }
	apps := []struct {
		guest  string
		app    *partytest.Application
		result wsgiparty.InviteResult
		status int
		err    string
		advice []string
	}{
		{"blog", blog, wsgiparty.InviteJoined, 200, "", nil},
		{"none", guest(partytest.Status(404)), wsgiparty.InviteNotAnswered, 404, "", []string{"application/vnd.wsgi-party+json", "correct the invite's URI", "wsgi_party_guest"}},
		{"spa", guest(partytest.JSON(`{}`)), wsgiparty.InviteNotAnswered, 200, "", []string{"no manifest", "application/json"}},
		{"badhost", guest(partytest.Status(400)), wsgiparty.InviteRefused, 400, "", []string{"host", "https://example.com/badhost/__invite__/"}},
		{"guarded", guest(partytest.Status(401)), wsgiparty.InviteRefused, 401, "", []string{"`not vars partyline guarded`", "key"}},
		{"forbidden", guest(partytest.Status(403)), wsgiparty.InviteRefused, 403, "", []string{"`not vars partyline forbidden`"}},
		{"moved", guest(partytest.Status(301, "Location", "https://example.com/moved/__invite__/")), wsgiparty.InviteFailed, 301, "",
			[]string{"https://example.com/moved/__invite__/", "not followed", "write `invite https://example.com/moved/__invite__/`"}},
		{"broken", guest(partytest.Manifest(`{"urls": {"home": 1}}`)), wsgiparty.InviteFailed, 200, "urls.home", []string{"correct the application's manifest"}},
		{"down", nil, wsgiparty.InviteFailed, 502, "connect", []string{"is the application running"}},
	}
	config := ""
	for _, a := range apps {
		config += "invite /" + a.guest + "/__invite__/\n"
		if a.app != nil {
			config += partytest.Mounted(a.guest, "", a.app)
		}
	}
	c.Site("wsgi_party " + party + " {\n" + config + "handle_path /down/* {\nwsgi_party_guest\nreverse_proxy " + testport.Address(t) + "\n}\n}")
	known := invitesOf(t, party, true)
	shown := c.shown(party)
	for i, a := range apps {
		info := known[a.guest]
		if info.Result != a.result || info.Status != a.status || !strings.Contains(wire.Message(info.Err), a.err) || (info.Err == nil) != (a.err == "") || info.Duration <= 0 || info.Time.Before(c.began) || info.Time.After(time.Now()) {
			t.Errorf("%s: %+v", a.guest, info)
		}
		check.Equal(t, (info.Hint == ""), (a.result == wsgiparty.InviteJoined), "%s: the hint is %q", a.guest, info.Hint)
		check.Contains(t, info.Hint, a.advice, "%s: the hint lacks", a.guest)
		got := shown.Invites[i]
		if got.Server != "srv0" || got.URI != "/"+a.guest+"/__invite__/" || got.Guest != a.guest || got.Result != a.result || got.Status != a.status ||
			!strings.Contains(got.Error, a.err) || got.Hint != info.Hint || got.Duration <= 0 || !got.Time.Equal(info.Time) {
			t.Errorf("%s: the admin API shows %+v", a.guest, got)
		}
	}

	for range 3 {
		answers, err := operatorOf(c, party).AskAround(t.Context(), "user", map[string]any{"id": 1})
		check.FatalIf(t, err != nil || len(answers) != 1, answers, err)
	}
	blog.On(partytest.Status(500))
	_, _ = operatorOf(c, party).AskAround(t.Context(), "user", map[string]any{"id": 1})
	blog.On(partytest.Status(204))
	_, _ = operatorOf(c, party).AskAround(t.Context(), "user", map[string]any{"id": 1})
	_, _ = operatorOf(c, party).AskAround(t.Context(), "ping", nil)
	c.expectShown(party, "guests", `[{"guest": "blog", "services": ["ping", "url", "user"], "replicas": 1, "joined": "TIME"}]`)
	c.expectShown(party, "services", `[{"service": "ping", "guests": ["blog"]}, {"service": "url", "guests": ["blog"]}, {"service": "user", "guests": ["blog"]}]`)
	c.expectShown(party, "counts", `[
		{"guest": "blog", "service": "ping", "asked": 1, "answered": 1, "declined": 0, "failed": 0, "refused": 0, "last_error": ""},
		{"guest": "blog", "service": "url", "asked": 0, "answered": 0, "declined": 0, "failed": 0, "refused": 0, "last_error": ""},
		{"guest": "blog", "service": "user", "asked": 5, "answered": 3, "declined": 1, "failed": 1, "refused": 0, "last_error": "guest \"blog\" failed to answer \"user\": status 500"}]`)
	c.expectJSON("POST", "/wsgi_party/"+party+"/ask/ping", "", `{"answers": ["pong"], "replies": [{"guest": "blog", "mount": "/blog", "status": "answered", "duration": "DURATION"}], "duration": "DURATION"}`)
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
	check.Equal(t, invitesOf(t, party, true)["blog"].Result, wsgiparty.InviteNotAnswered)
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
	check.Equal(t, blog.Invites(), invited, "who is on the line is invited again")

	// A guest whose last manifest counts is asked, too, and keeps answering.
	blog.OnInvite(slow(partytest.Status(500)))
	_, _ = operatorOf(c, party).AskAround(t.Context(), "gone", nil)
	partytest.Eventually(t, "the invite fails", func() bool { return invitesOf(t, party, false)["blog"].Status == 500 })
	invited = blog.Invites()
	invite(`"result": "failed", "status": 500, "error": "", "hint": "HINT", "old_manifest": "TIME", "sent": true`)
	n := blog.Invites()
	check.ErrorIf(t, n == invited, "the application was not asked")
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
	took := time.Since(began)
	check.ErrorIf(t, response.Status != 200 || took < 200*time.Millisecond || strings.Contains(response.Body, `"joined"`), "after %v: %d %s", took, response.Status, response.Body)
	partytest.Eventually(t, "it is said that it took too long", func() bool {
		info := invitesOf(t, party, false)["blog"]
		return info.Result == wsgiparty.InviteFailed && strings.Contains(wire.Message(info.Err), "longer than 200ms")
	})
}

func TestRemoteGuestsAreCountedLikeAnyOther(t *testing.T) {
	m := newMetered(t)
	blog := partytest.NewInvited(t, partytest.Manifest(`{"urls": {"home": "/"}, "services": {"ping": {"answer": "pong"}, "user": {"href": "/user"}}}`)).On(partytest.JSON("1"))
	m.load("wsgi_party PARTY {\ninvite /blog/__invite__/ /none/__invite__/\n" + partytest.Mounted("blog", "", blog) + partytest.Mounted("none", "", partytest.NewInvited(t, partytest.Status(404))) + "}")
	invitesOf(t, m.party, true)
	replies := func(user partytest.Figures) []partytest.Figures {
		return []partytest.Figures{countedGuests(1), countedReplies("blog", "ping", 0, 0, 0), countedReplies("blog", "url", 0, 0, 0), user,
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
		sum := figures["reply_duration_seconds_sum"+label]
		check.ErrorIf(t, sum <= 0 || sum > 20, "%s: %v seconds", where, sum)
	}
}
