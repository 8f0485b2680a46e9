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
	"github.com/wsgiparty/wsgiparty/operations"
)

func TestGuestsThatDidNotJoinAreInvitedAgainByTheAdminAPI(t *testing.T) {
	there := partytest.OnInvites(t, "there", partytest.Connects("there", "ping"))
	late := partytest.OnInvites(t, "late", partytest.Responds(503), partytest.Connects("late", "ping"))
	wild := partytest.OnInvites(t, "wild", func(http.ResponseWriter, *http.Request, *partytest.Operator) error { panic("oh no") }, partytest.Connects(nil))
	never := partytest.OnInvites(t, "never", partytest.FailsWith(partytest.ErrNoEntry))
	events := partytest.KeepEvents(t)
	c := newAdminTest(t)
	c.Site(`
	route {
		test_app events
		wsgi_party main {
			invite /late/__invite__/ /there/__invite__/ /never/__invite__/
			invite https://example.com/wild/__invite__/
			test_app /there/* there
			test_app /late/* late
			test_app /wild/* wild
			test_app /never/* never
		}
	}`)
	atLoad := []string{"invite_failed late []", "guest_joined there [ping]", "invite_refused never []", "invite_failed wild []"}
	expectEvents := func(want []string) {
		t.Helper()
		partytest.Eventually(t, "events", func() bool { return len(events.Events()) >= len(want) })
		check.Slices(t, events.Events(), want, "events")
	}
	expectEvents(atLoad)
	var before, after operations.PartyJSON
	partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &before)

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
	var shown struct{ Invites, Guests json.RawMessage }
	partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &shown)
	c.same("invites", c.plain(string(shown.Invites)), c.plain("["+strings.Join(invites, "},")+"}]"))
	c.same("guests", c.plain(string(shown.Guests)), c.plain(`[
		{"guest": "late", "services": ["ping"], "replicas": 1, "joined": "TIME"},
		{"guest": "there", "services": ["ping"], "replicas": 1, "joined": "TIME"},
		{"guest": "wild", "services": [], "replicas": 1, "joined": "TIME"}]`))
	partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &after)
	for i := range before.Invites {
		if again := after.Invites[i].Time.After(before.Invites[i].Time); again != (before.Invites[i].Guest != "there") {
			t.Errorf("%s was invited at %v, and first at %v", before.Invites[i].Guest, after.Invites[i].Time, before.Invites[i].Time)
		}
	}
	var joined []string
	for _, e := range partytest.LogEntries(t, "guest joined") {
		joined = append(joined, fmt.Sprintln(e["level"], e["logger"], e["party"], e["guest"], e["uri"], e["services"], e["duration"] != nil))
	}
	if want := []string{
		"info http.handlers.wsgi_party main there /there/__invite__/ [ping] true\n",
		"info http.handlers.wsgi_party main late /late/__invite__/ [ping] true\n",
		"info http.handlers.wsgi_party main wild https://example.com/wild/__invite__/ [] true\n",
	}; !slices.Equal(joined, want) {
		t.Errorf("joined: %q\nwant %q", joined, want)
	}
	refused := partytest.LogEntries(t, "invite refused")
	check.ErrorIf(t, len(refused) != 2 || refused[1]["status"] != 403. || refused[1]["hint"] != refused[0]["hint"], "refused: %v", refused)
	again := append(slices.Clone(atLoad), "guest_joined late [ping]", "invite_refused never []", "guest_joined wild []")
	expectEvents(again)

	// Each invite brought a new operator, and the one before has left.
	if there.Invites() != 1 || late.Invites() != 2 || wild.Invites() != 2 || never.Invites() != 2 {
		t.Errorf("invites: %d, %d, %d, %d", there.Invites(), late.Invites(), wild.Invites(), never.Invites())
	}
	for _, script := range []*partytest.Script{late, wild, never} {
		one, two := script.Operator(0), script.Operator(1)
		check.ErrorIf(t, one == two || one.Guest != two.Guest || one.Partyline != two.Partyline, "operators %v and %v", one, two)
		if err := one.Connect("late", partytest.Pong); !errors.Is(err, wsgiparty.ErrLeft) {
			t.Errorf("connecting with the operator before: %v", err)
		}
	}

	c.expectJSON("POST", "/wsgi_party/main/invite", "", reported(false, false, true, false))
	expectEvents(append(again, "invite_refused never []"))
	if there.Invites() != 1 || late.Invites() != 2 || wild.Invites() != 2 || never.Invites() != 3 {
		t.Errorf("invites: %d, %d, %d, %d", there.Invites(), late.Invites(), wild.Invites(), never.Invites())
	}
	check.Equal(t, len(partytest.LogEntries(t, "guest left")), 0, "left")
}

func TestTheAdminAPIInvitesOneGuest(t *testing.T) {
	one := partytest.OnInvites(t, "one", partytest.Responds(500), partytest.Connects("one", "ping"))
	two := partytest.OnInvites(t, "two", partytest.Responds(500), partytest.Connects("two", "ping"))
	partytest.OnProvision(t, "joins", partytest.Joins("main", "teller", "time", "noon"))
	c := newAdminTest(t)
	c.Site(`
	route {
		test_app joins
		wsgi_party main {
			invite /one/__invite__/ /two/__invite__/
			test_app /one/* one
			test_app /two/* two
		}
	}`)
	c.expectError("nobody of that name", c.Call("POST", "/wsgi_party/main/invite?guest=three", ""), 404, `"three"`, "one, two")
	c.expectError("it was never invited", c.Call("POST", "/wsgi_party/main/invite?guest=teller", ""), 404, `"teller"`, "one, two")
	for i, sent := range []bool{true, false} {
		c.expectJSON("POST", "/wsgi_party/main/invite?guest=two", "", fmt.Sprintf(`{"invites": [
			{"server": "srv0", "uri": "/two/__invite__/", "guest": "two", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION", "sent": %v}]}`, sent))
		if one.Invites() != 1 || two.Invites() != 2 {
			t.Errorf("%d: invites: %d, %d", i, one.Invites(), two.Invites())
		}
	}
	c.ExpectAnswers("main", "ping", "two")
	if response := c.Call("POST", "/wsgi_party/main/invite?guest=", ""); response.Status != 200 || one.Invites() != 2 || two.Invites() != 2 {
		t.Errorf("%s, invites: %d, %d", response.Body, one.Invites(), two.Invites())
	}
}

func TestAGuestThatLeftIsInvitedAgain(t *testing.T) {
	script := partytest.OnInvites(t, "app", partytest.Connects("pong", "ping"))
	other := partytest.OnInvites(t, "other", partytest.Connects("other", "ping"))
	events := partytest.KeepEvents(t)
	c := newAdminTest(t)
	c.Site("route {\ntest_app events\nwsgi_party main {\ninvite /app/__invite__/ /other/__invite__/\ntest_app /app/* app\ntest_app /other/* other\n}\n}")
	partytest.Eventually(t, "the config's events", func() bool { return len(events.Events()) == 2 })
	for n := range 2 {
		script.Operator(n).Leave()
		c.ExpectAnswers("main", "ping", "other")
		var sent struct{ Invites []operations.SentJSON }
		partytest.Decode(c, c.Call("POST", "/wsgi_party/main/invite", ""), &sent)
		i := sent.Invites
		check.ErrorIf(t, len(i) != 2 || !i[0].Sent || i[0].Result != wsgiparty.InviteJoined || i[1].Sent, "%+v", i)
		c.ExpectAnswers("main", "ping", "pong", "other")
	}
	partytest.Eventually(t, "the events", func() bool {
		return slices.Equal(events.Events(), []string{"guest_joined app [ping]", "guest_joined other [ping]",
			"guest_left app [ping]", "guest_joined app [ping]", "guest_left app [ping]", "guest_joined app [ping]"})
	})
	if script.Invites() != 3 || other.Invites() != 1 {
		t.Errorf("invites: %d, %d", script.Invites(), other.Invites())
	}
}

// TestWhatAFailedGuestHadConnectedIsReplacedWithoutAGap asks all the while the guest
// is invited again.
func TestWhatAFailedGuestHadConnectedIsReplacedWithoutAGap(t *testing.T) {
	var during func(string)
	partytest.OnInvites(t, "app",
		partytest.BothOf(partytest.Connects("old", "ping", "old"), partytest.FailsWith(errors.New("oh no"))),
		func(w http.ResponseWriter, r *http.Request, operator *partytest.Operator) error {
			during("before it connects")
			if err := partytest.Connects("new", "ping", "new")(w, r, operator); err != nil {
				return err
			}
			during("before it has answered")
			return nil
		})
	partytest.Guest(t, "behind", "behind", "ping")
	events := partytest.KeepEvents(t)
	c := newAdminTest(t)
	c.Site("route {\ntest_app events\nwsgi_party main {\ninvite /app/__invite__/ /behind/__invite__/\ntest_app /app/* app\ntest_app /behind/* behind\n}\n}")
	c.ExpectAnswers("main", "ping", "old", "behind")
	during = func(when string) {
		if got, err := operatorOf(c, "main").AskAround(context.Background(), "ping", nil); err != nil || !slices.Equal(got, []any{"old", "behind"}) {
			t.Errorf("%s: %v, %v", when, got, err)
		}
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for replaced := false; ; {
				got, err := operatorOf(c, "main").AskAround(context.Background(), "ping", nil)
				if err != nil || len(got) != 2 || got[1] != "behind" || got[0] != "old" && got[0] != "new" || got[0] == "old" && replaced {
					t.Errorf("%v, %v", got, err)
					return
				}
				replaced = got[0] == "new"
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	response := c.Call("POST", "/wsgi_party/main/invite", "")
	close(stop)
	group.Wait()
	var sent struct{ Invites []operations.SentJSON }
	if partytest.Decode(c, response, &sent); !sent.Invites[0].Sent || sent.Invites[0].Result != wsgiparty.InviteJoined {
		t.Errorf("%s", response.Body)
	}
	// It has kept its place.
	c.ExpectAnswers("main", "ping", "new", "behind")
	c.ExpectAnswers("main", "new", "new")
	c.ExpectAnswers("main", "old")
	var shown struct {
		Guests []struct {
			Guest    string
			Replicas int
			Services []string
		}
	}
	partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &shown)
	check.Equal(t, fmt.Sprint(shown.Guests), "[{app 1 [new ping]} {behind 1 [ping]}]", "guests")
	partytest.Eventually(t, "the events", func() bool {
		return slices.Equal(events.Events(), []string{"invite_failed app [old ping]", "guest_joined behind [ping]", "guest_joined app [new ping]"})
	})
}

func TestWhatAGuestHadConnectedThatFailsAgainIsDisconnected(t *testing.T) {
	partytest.OnInvites(t, "app", partytest.BothOf(partytest.Connects("old", "ping"), partytest.FailsWith(errors.New("oh no"))), partytest.Responds(500))
	c := newAdminTest(t)
	c.Site("wsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}")
	c.ExpectAnswers("main", "ping", "old")
	c.expectJSON("POST", "/wsgi_party/main/invite", "", `{"invites": [
		{"server": "srv0", "uri": "/app/__invite__/", "guest": "app", "result": "failed", "status": 500, "error": "", "hint": "HINT", "time": "TIME", "duration": "DURATION", "sent": true}]}`)
	c.ExpectAnswers("main", "ping")
	var shown struct{ Guests []operations.GuestJSON }
	if partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &shown); len(shown.Guests) != 0 {
		t.Errorf("%+v", shown)
	}
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
			c := newAdminTest(t)
			c.Site("wsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}")
			c.ExpectAnswers("main", "ping", "old")
			c.expectJSON("POST", "/wsgi_party/main/invite", "", `{"invites": [
				{"server": "srv0", "uri": "/app/__invite__/", "guest": "app", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION", "sent": true}]}`)
			c.ExpectAnswers("main", "ping", "new")
		})
	}
}

// TestReplicasAreInvitedAgainEachByItself has the invite of one of two servers fail.
func TestReplicasAreInvitedAgainEachByItself(t *testing.T) {
	script := partytest.OnInvites(t, "app", partytest.Responds(500), partytest.Connects("pong", "ping"))
	c := newAdminTest(t)
	c.Load("ADDRESS, http://" + testport.Address(t) + " {\nwsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}\n}")
	var shown operations.PartyJSON
	partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &shown)
	check.ErrorIf(t, len(shown.Guests) != 1 || shown.Guests[0].Replicas != 1, "guests: %+v", shown.Guests)
	var sent struct{ Invites []operations.SentJSON }
	partytest.Decode(c, c.Call("POST", "/wsgi_party/main/invite?guest=app", ""), &sent)
	if len(sent.Invites) != 2 || script.Invites() != 3 {
		t.Fatalf("%d invites: %+v", script.Invites(), sent)
	}
	for i, server := range []string{"srv0", "srv1"} {
		was := shown.Invites[i]
		got := sent.Invites[i]
		check.ErrorIf(t, was.Server != server || got.Server != server || got.Result != wsgiparty.InviteJoined || got.Sent != (was.Result == wsgiparty.InviteFailed), "%+v, was %+v", got, was)
	}
	partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &shown)
	check.ErrorIf(t, len(shown.Guests) != 1 || shown.Guests[0].Replicas != 2, "guests: %+v", shown.Guests)
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
	c := newAdminTest(t)
	c.Site("wsgi_party main {\ninvite_timeout 200ms\ninvite /hangs/__invite__/ /next/__invite__/\ntest_app /hangs/* hangs\ntest_app /next/* next\n}")
	c.expectJSON("POST", "/wsgi_party/main/invite", "", `{"invites": [
		{"server": "srv0", "uri": "/hangs/__invite__/", "guest": "hangs", "result": "failed", "status": 204, "error": "it took longer than 200ms", "hint": "HINT", "time": "TIME", "duration": "DURATION", "sent": true},
		{"server": "srv0", "uri": "/next/__invite__/", "guest": "next", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION", "sent": true}]}`)
	c.ExpectAnswers("main", "ping", "next")
	if err := hangs.Operator(1).Connect("ping", partytest.Pong); !errors.Is(err, wsgiparty.ErrLeft) {
		t.Errorf("connecting late: %v", err)
	}
	c.expectJSON("POST", "/wsgi_party/main/invite?guest=hangs", "", `{"invites": [
		{"server": "srv0", "uri": "/hangs/__invite__/", "guest": "hangs", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION", "sent": true}]}`)
	c.ExpectAnswers("main", "ping", "at last", "next")
	check.Equal(t, next.Invites(), 2, "invites")
}

// TestAGuestInvitedByManyAtOnceGetsOneInvite has all requests wait for one invite.
func TestAGuestInvitedByManyAtOnceGetsOneInvite(t *testing.T) {
	const posts = 8
	received := func() (n int) {
		for _, e := range partytest.LogEntries(t, "received request") {
			if e["method"] == "POST" {
				n++
			}
		}
		return n
	}
	entered, release := make(chan struct{}), make(chan struct{})
	script := partytest.OnInvites(t, "app", partytest.Responds(500), func(w http.ResponseWriter, r *http.Request, operator *partytest.Operator) error {
		close(entered)
		<-release
		return partytest.Connects("pong", "ping")(w, r, operator)
	})
	c := newAdminTest(t)
	c.Site("wsgi_party main {\ninvite_timeout 30s\ninvite /app/__invite__/\ntest_app app\n}")
	var sent atomic.Int64
	var group sync.WaitGroup
	for range posts {
		group.Go(func() {
			response, err := c.TryCall(context.Background(), "POST", "/wsgi_party/main/invite", nil)
			var answer struct{ Invites []operations.SentJSON }
			if err := errors.Join(err, json.Unmarshal([]byte(response.Body), &answer)); err != nil || len(answer.Invites) != 1 || answer.Invites[0].Result != wsgiparty.InviteJoined {
				t.Errorf("%+v, %v", answer, err)
			} else if answer.Invites[0].Sent {
				sent.Add(1)
			}
		})
	}
	<-entered
	partytest.Eventually(t, "all requests arrive", func() bool { return received() == posts })
	// Meanwhile what came of the invite before is shown.
	var shown operations.PartyJSON
	if partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &shown); shown.Invites[0].Result != wsgiparty.InviteFailed {
		t.Errorf("%+v", shown)
	}
	joined := make(chan error)
	go func() {
		_, err := wsgiparty.Join(caddy.ActiveContext(), "main", "another")
		joined <- err
	}()
	select {
	case err := <-joined:
		check.Nil(t, err)
	case <-time.After(time.Minute):
		t.Error("nobody else can join")
	}
	close(release)
	group.Wait()
	if sent.Load() != posts || script.Invites() != 2 {
		t.Errorf("%d of %d had it sent, %d arrived", sent.Load(), posts, script.Invites()-1)
	}
	c.ExpectAnswers("main", "ping", "pong")
}

// TestAGuestBehindANamedRouteJoinsWhenInvitedAgain is for what is not there yet while
// the config loads.
func TestAGuestBehindANamedRouteJoinsWhenInvitedAgain(t *testing.T) {
	partytest.Guest(t, "named", "pong", "ping")
	c := newAdminTest(t)
	c.Load("&(named) {\nroute {\ntest_app named\n}\n}\nADDRESS {\nwsgi_party main {\ninvite /app/__invite__/\ninvoke named\n}\n}")
	c.ExpectAnswers("main", "ping")
	var sent struct{ Invites []operations.SentJSON }
	if partytest.Decode(c, c.Call("POST", "/wsgi_party/main/invite", ""), &sent); sent.Invites[0].Result != wsgiparty.InviteJoined {
		t.Errorf("%+v", sent)
	}
	c.ExpectAnswers("main", "ping", "pong")
}
