// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

func TestGuestsThatDidNotJoinAreInvitedAgainByTheAdminAPI(t *testing.T) {
	there := partytest.OnInvites(t, "there", partytest.Connects("there", "ping"))
	late := partytest.OnInvites(t, "late", partytest.Responds(503), partytest.Connects("late", "ping"))
	wild := partytest.OnInvites(t, "wild", func(http.ResponseWriter, *http.Request, *partytest.Operator) error { panic("oh no") }, partytest.Connects(nil))
	never := partytest.OnInvites(t, "never", partytest.FailsWith(partytest.ErrNoEntry))
	events := partytest.KeepEvents(t)
	c := newAdminTest(t, "route {\ntest_app events\nwsgi_party main {\n"+invited("late", "there", "never")+"invite https://example.com/wild/__invite__/\ntest_app /wild/* wild\n}\n}")
	atLoad := []string{"invite_failed late []", "guest_joined there [ping]", "invite_refused never []", "invite_failed wild []"}
	expectEvents := func(want []string) {
		t.Helper()
		partytest.Eventually(t, "events", func() bool { return len(events.Events()) >= len(want) })
		check.Slices(t, events.Events(), want, "events")
	}
	expectEvents(atLoad)
	before := c.shown("main").Invites

	invites := []string{
		`{"server": "srv0", "uri": "/late/__invite__/", "guest": "late", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION"`,
		`{"server": "srv0", "uri": "/there/__invite__/", "guest": "there", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION"`,
		`{"server": "srv0", "uri": "/never/__invite__/", "guest": "never", "result": "refused", "status": 403, "error": "` + partytest.ErrNoEntry.Error() + `", "hint": "HINT", "time": "TIME", "duration": "DURATION"`,
		`{"server": "srv0", "uri": "https://example.com/wild/__invite__/", "guest": "wild", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION"`,
	}
	reported := func(sent ...bool) string {
		var all []string
		for i, invite := range invites {
			all = append(all, fmt.Sprintf(`%s, "sent": %v}`, invite, sent[i]))
		}
		return `{"invites": [` + strings.Join(all, ",") + `]}`
	}
	c.expectJSON("POST", "/wsgi_party/main/invite", "", reported(true, false, true, true))
	c.ExpectAnswers("main", "ping", "late", "there")

	// It is shown, logged and told as at load.
	c.expectShown("main", "invites", "["+strings.Join(invites, "},")+"}]")
	c.expectShown("main", "guests", `[
		{"guest": "late", "services": ["ping"], "replicas": 1, "joined": "TIME"},
		{"guest": "there", "services": ["ping"], "replicas": 1, "joined": "TIME"},
		{"guest": "wild", "services": [], "replicas": 1, "joined": "TIME"}]`)
	for i, after := range c.shown("main").Invites {
		again := after.Time.After(before[i].Time)
		check.Equal(t, again, after.Guest != "there", "%s was invited at %v, and first at %v", after.Guest, after.Time, before[i].Time)
	}
	var joined []string
	for _, e := range partytest.LogEntries(t, "guest joined") {
		joined = append(joined, fmt.Sprintln(e["level"], e["logger"], e["party"], e["guest"], e["uri"], e["services"], e["duration"] != nil))
	}
	check.Slices(t, joined, []string{
		"info http.handlers.wsgi_party main there /there/__invite__/ [ping] true\n",
		"info http.handlers.wsgi_party main late /late/__invite__/ [ping] true\n",
		"info http.handlers.wsgi_party main wild https://example.com/wild/__invite__/ [] true\n",
	}, "joined")
	refused := partytest.LogEntries(t, "invite refused")
	check.ErrorIf(t, len(refused) != 2 || refused[1]["status"] != 403. || refused[1]["hint"] != refused[0]["hint"], "refused: %v", refused)
	again := append(slices.Clone(atLoad), "guest_joined late [ping]", "invite_refused never []", "guest_joined wild []")
	expectEvents(again)

	// Each invite brought a new operator, and the one before has left.
	check.Equal(t, fmt.Sprint(there.Invites(), late.Invites(), wild.Invites(), never.Invites()), "1 2 2 2", "invites")
	for _, script := range []*partytest.Script{late, wild, never} {
		one, two := script.Operator(0), script.Operator(1)
		check.ErrorIf(t, one == two || one.Guest != two.Guest || one.Partyline != two.Partyline, "operators %v and %v", one, two)
		if err := one.Connect("late", partytest.Pong); !errors.Is(err, wsgiparty.ErrLeft) {
			t.Errorf("connecting with the operator before: %v", err)
		}
	}

	c.expectJSON("POST", "/wsgi_party/main/invite", "", reported(false, false, true, false))
	expectEvents(append(again, "invite_refused never []"))
	check.Equal(t, fmt.Sprint(there.Invites(), late.Invites(), wild.Invites(), never.Invites()), "1 2 2 3", "invites")
	check.Equal(t, len(partytest.LogEntries(t, "guest left")), 0, "left")
}

func TestTheAdminAPIInvitesOneGuest(t *testing.T) {
	one := partytest.OnInvites(t, "one", partytest.Responds(500), partytest.Connects("one", "ping"))
	two := partytest.OnInvites(t, "two", partytest.Responds(500), partytest.Connects("two", "ping"))
	partytest.OnProvision(t, "joins", partytest.Joins("main", "teller", "time", "noon"))
	c := newAdminTest(t, "route {\ntest_app joins\nwsgi_party main {\n"+invited("one", "two")+"}\n}")
	c.expectError("nobody of that name", c.Call("POST", "/wsgi_party/main/invite?guest=three", ""), 404, `"three"`, "one, two")
	c.expectError("it was never invited", c.Call("POST", "/wsgi_party/main/invite?guest=teller", ""), 404, `"teller"`, "one, two")
	for _, sent := range []string{"sent", "kept"} {
		c.expectInvites("main", "two", sent+" two joined 204")
		check.Equal(t, fmt.Sprint(one.Invites(), two.Invites()), "1 2", "invites")
	}
	c.ExpectAnswers("main", "ping", "two")
	c.expectInvites("main", "", "sent one joined 204", "kept two joined 204")
	check.Equal(t, fmt.Sprint(one.Invites(), two.Invites()), "2 2", "invites")
}

func TestAGuestThatLeftIsInvitedAgain(t *testing.T) {
	script := partytest.OnInvites(t, "app", partytest.Connects("pong", "ping"))
	other := partytest.OnInvites(t, "other", partytest.Connects("other", "ping"))
	events := partytest.KeepEvents(t)
	c := newAdminTest(t, "route {\ntest_app events\nwsgi_party main {\n"+invited("app", "other")+"}\n}")
	partytest.Eventually(t, "the config's events", func() bool { return len(events.Events()) == 2 })
	for n := range 2 {
		script.Operator(n).Leave()
		c.ExpectAnswers("main", "ping", "other")
		c.expectInvites("main", "", "sent app joined 204", "kept other joined 204")
		c.ExpectAnswers("main", "ping", "pong", "other")
	}
	partytest.Eventually(t, "the events", func() bool {
		return slices.Equal(events.Events(), []string{"guest_joined app [ping]", "guest_joined other [ping]",
			"guest_left app [ping]", "guest_joined app [ping]", "guest_left app [ping]", "guest_joined app [ping]"})
	})
	check.Equal(t, fmt.Sprint(script.Invites(), other.Invites()), "3 1", "invites")
}

// TestWhatAFailedGuestHadConnectedIsReplacedWithoutAGap asks all the while the guest
// is invited again.
func TestWhatAFailedGuestHadConnectedIsReplacedWithoutAGap(t *testing.T) {
	var c *adminTest
	partytest.OnInvites(t, "app",
		partytest.BothOf(partytest.Connects("old", "ping", "old"), partytest.FailsWith(errors.New("oh no"))),
		func(w http.ResponseWriter, r *http.Request, operator *partytest.Operator) error {
			c.ExpectAnswers("main", "ping", "old", "behind")
			err := partytest.Connects("new", "ping", "new")(w, r, operator)
			c.ExpectAnswers("main", "ping", "old", "behind") // it has not answered yet
			return err
		})
	partytest.Guest(t, "behind", "behind", "ping")
	events := partytest.KeepEvents(t)
	c = newAdminTest(t, "route {\ntest_app events\nwsgi_party main {\n"+invited("app", "behind")+"}\n}")
	c.ExpectAnswers("main", "ping", "old", "behind")
	var stop atomic.Bool
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for replaced := false; !stop.Load(); {
				got, err := operatorOf(c, "main").AskAround(context.Background(), "ping", nil)
				if err != nil || len(got) != 2 || got[1] != "behind" || got[0] != "old" && got[0] != "new" || got[0] == "old" && replaced {
					t.Errorf("%v, %v", got, err)
					return
				}
				replaced = got[0] == "new"
			}
		})
	}
	c.expectInvites("main", "", "sent app joined 204", "kept behind joined 200")
	stop.Store(true)
	group.Wait()
	// It has kept its place.
	c.ExpectAnswers("main", "ping", "new", "behind")
	c.ExpectAnswers("main", "new", "new")
	c.ExpectAnswers("main", "old")
	c.expectShown("main", "guests", `[{"guest": "app", "services": ["new", "ping"], "replicas": 1, "joined": "TIME"},
		{"guest": "behind", "services": ["ping"], "replicas": 1, "joined": "TIME"}]`)
	partytest.Eventually(t, "the events", func() bool {
		return slices.Equal(events.Events(), []string{"invite_failed app [old ping]", "guest_joined behind [ping]", "guest_joined app [new ping]"})
	})
}

func TestWhatAGuestHadConnectedThatFailsAgainIsDisconnected(t *testing.T) {
	partytest.OnInvites(t, "app", partytest.BothOf(partytest.Connects("old", "ping"), partytest.FailsWith(errors.New("oh no"))), partytest.Responds(500))
	c := newAdminTest(t, "wsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}")
	c.ExpectAnswers("main", "ping", "old")
	c.expectInvites("main", "", "sent app failed 500")
	c.ExpectAnswers("main", "ping")
	c.expectShown("main", "guests", "[]")
}

// TestWhoIsConnectedButHasNotJoinedIsInvitedAgain has guests connect something and
// then not join, each in another way.
func TestWhoIsConnectedButHasNotJoinedIsInvitedAgain(t *testing.T) {
	for name, does := range map[string]func(http.ResponseWriter, *http.Request, *partytest.Operator) error{
		"not found": partytest.Responds(404),
		"redirect":  partytest.Responds(302),
		"refused":   partytest.Responds(403),
		"5xx":       partytest.Responds(500),
		"error":     partytest.FailsWith(errors.New("oh no")),
		"panic":     func(http.ResponseWriter, *http.Request, *partytest.Operator) error { panic("oh no") },
	} {
		t.Run(name, func(t *testing.T) {
			partytest.OnInvites(t, "app", func(w http.ResponseWriter, r *http.Request, operator *partytest.Operator) error {
				return errors.Join(operator.Connect("ping", partytest.Answers("old")), does(w, r, operator))
			}, partytest.Connects("new", "ping"))
			c := newAdminTest(t, "wsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}")
			c.ExpectAnswers("main", "ping", "old")
			c.expectInvites("main", "", "sent app joined 204")
			c.ExpectAnswers("main", "ping", "new")
		})
	}
}

// TestReplicasAreInvitedAgainEachByItself has the invite of one of two servers fail.
func TestReplicasAreInvitedAgainEachByItself(t *testing.T) {
	script := partytest.OnInvites(t, "app", partytest.Responds(500), partytest.Connects("pong", "ping"))
	c := newAdminTest(t)
	c.Load("ADDRESS, http://" + testport.Address(t) + " {\nwsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}\n}")
	c.expectShown("main", "guests", `[{"guest": "app", "services": ["ping"], "replicas": 1, "joined": "TIME"}]`)
	before, sent := c.shown("main").Invites, c.invite("main", "app")
	check.Equal(t, script.Invites(), 3, "invites")
	for i, server := range []string{"srv0", "srv1"} {
		was, is := before[i], sent[i]
		check.ErrorIf(t, was.Server != server || is.Server != server || is.Result != wsgiparty.InviteJoined || is.Sent != (was.Result == wsgiparty.InviteFailed), "%+v, was %+v", is, was)
	}
	c.expectShown("main", "guests", `[{"guest": "app", "services": ["ping"], "replicas": 2, "joined": "TIME"}]`)
	check.Has(t, c.Call("POST", "/wsgi_party/main/invite?guest=x", "").Body, `: the only invited guest is app"`, "it does not name each guest once")
	c.ExpectAnswers("main", "ping", "pong")
}

func TestAGuestThatHangsWhenInvitedAgainIsAbandoned(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	hangs := partytest.OnInvites(t, "hangs", partytest.Responds(500), func(w http.ResponseWriter, r *http.Request, operator *partytest.Operator) error {
		err := partytest.Connects("hanging", "ping")(w, r, operator)
		<-release
		return err
	}, partytest.Connects("at last", "ping"))
	next := partytest.OnInvites(t, "next", partytest.Responds(500), partytest.Connects("next", "ping"))
	c := newAdminTest(t, "wsgi_party main {\ninvite_timeout 200ms\n"+invited("hangs", "next")+"}")
	c.expectInvites("main", "", "sent hangs failed 204 it took longer than 200ms", "sent next joined 204")
	c.ExpectAnswers("main", "ping", "next")
	if err := hangs.Operator(1).Connect("ping", partytest.Pong); !errors.Is(err, wsgiparty.ErrLeft) {
		t.Errorf("connecting late: %v", err)
	}
	c.expectInvites("main", "hangs", "sent hangs joined 204")
	c.ExpectAnswers("main", "ping", "at last", "next")
	check.Equal(t, next.Invites(), 2, "invites")
}

// TestAGuestInvitedByManyAtOnceGetsOneInvite has all requests wait for one invite.
func TestAGuestInvitedByManyAtOnceGetsOneInvite(t *testing.T) {
	const posts = 8
	entered, release := make(chan struct{}), make(chan struct{})
	script := partytest.OnInvites(t, "app", partytest.Responds(500), func(w http.ResponseWriter, r *http.Request, operator *partytest.Operator) error {
		close(entered)
		<-release
		return partytest.Connects("pong", "ping")(w, r, operator)
	})
	c := newAdminTest(t, "wsgi_party main {\ninvite_timeout 30s\ninvite /app/__invite__/\ntest_app app\n}")
	var group sync.WaitGroup
	for range posts {
		group.Go(func() { c.expectInvites("main", "", "sent app joined 204") })
	}
	<-entered
	partytest.AwaitSelects(t, posts, "await")
	// Meanwhile what came of the invite before is shown.
	check.Equal(t, c.shown("main").Invites[0].Result, wsgiparty.InviteFailed)
	_, err := wsgiparty.Join(caddy.ActiveContext(), "main", "another")
	check.Nil(t, err)
	close(release)
	group.Wait()
	check.Equal(t, script.Invites(), 2, "invites")
	c.ExpectAnswers("main", "ping", "pong")
}

// TestAGuestBehindANamedRouteJoinsWhenInvitedAgain is for what is not there yet while
// the config loads.
func TestAGuestBehindANamedRouteJoinsWhenInvitedAgain(t *testing.T) {
	partytest.Guest(t, "named", "pong", "ping")
	c := newAdminTest(t)
	c.Load("&(named) {\nroute {\ntest_app named\n}\n}\nADDRESS {\nwsgi_party main {\ninvite /app/__invite__/\ninvoke named\n}\n}")
	c.ExpectAnswers("main", "ping")
	c.expectInvites("main", "", "sent app joined 200")
	c.ExpectAnswers("main", "ping", "pong")
}

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

// TestAnInviteSentAgainWaitsForTheApplication has one that is not a guest at first, and
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
	const byManifest = `"manifest": {"accepted": "TIME", "confirmed": "TIME"}`
	guest := "?guest=blog"
	invite := func(want string) {
		t.Helper()
		c.expectJSON("POST", "/wsgi_party/"+party+"/invite"+guest, "", `{"invites": [{"server": "srv0", "uri": "/blog/__invite__/", "guest": "blog", `+want+`, "time": "TIME", "duration": "DURATION"}]}`)
	}
	blog.OnInvite(slow(partytest.Status(403)))
	invite(`"result": "refused", "status": 403, "error": "", "hint": "HINT", "sent": true`)
	blog.OnInvite(slow(manifest))
	invite(byManifest + `, "result": "joined", "status": 200, "error": "", "sent": true`)
	c.ExpectJSONAnswers(party, "ping", `"pong"`)
	invited := blog.Invites()
	guest = ""
	invite(byManifest + `, "result": "joined", "status": 200, "error": "", "sent": false`)
	check.Equal(t, blog.Invites(), invited, "who is on the line is invited again")

	// A guest that is named is asked what it answers for now, and keeps answering.
	guest = "?guest=blog"
	blog.OnInvite(slow(partytest.Manifest(`{"services": {"ping": {"answer": "pang"}, "gone": {"href": "/gone"}}}`)))
	invite(byManifest + `, "result": "joined", "status": 200, "error": "", "sent": true`)
	c.ExpectJSONAnswers(party, "ping", `"pang"`)
	blog.OnInvite(slow(manifest))
	invite(byManifest + `, "result": "joined", "status": 200, "error": "", "sent": true`)
	check.Equal(t, blog.Invites(), invited+2, "invites of a guest on the line")
	c.ExpectJSONAnswers(party, "ping", `"pong"`)

	// A guest whose last manifest counts is asked, too, and keeps answering.
	blog.OnInvite(slow(partytest.Status(500)))
	_, _ = operatorOf(c, party).AskAround(t.Context(), "gone", nil)
	partytest.Eventually(t, "the invite fails", func() bool { return invitesOf(t, party, false)["blog"].Status == 500 })
	invited = blog.Invites()
	invite(byManifest + `, "result": "failed", "status": 500, "error": "", "hint": "HINT", "old_manifest": "TIME", "sent": true`)
	n := blog.Invites()
	check.ErrorIf(t, n == invited, "the application was not asked")
	c.ExpectJSONAnswers(party, "ping", `"pong"`)
	blog.OnInvite(slow(manifest))
	invite(byManifest + `, "result": "joined", "status": 200, "error": "", "sent": true`)
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
			countedAsks("ping", 0), countedAsks("url", 0), countedRequests("blog", nil), countedRequests("none", nil)}
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
