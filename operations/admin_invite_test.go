// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
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
	partytest.Eventually(t, "all requests arrive", func() bool { return strings.Count(partytest.Logged(), `"method":"POST"`) == posts })
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
