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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/operations"
)

// TestWhatIsUnderWayWhenAConfigIsReplacedComesToAnEnd has an ask, which finishes where
// it began, and an invite that is sent again, which ends with its config.
func TestWhatIsUnderWayWhenAConfigIsReplacedComesToAnEnd(t *testing.T) {
	asked, invited, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
	generation := 0
	partytest.OnProvision(t, "teller", func(ctx caddy.Context) error {
		generation++
		own := generation
		operator, err := wsgiparty.Join(ctx, "main", "teller")
		if err != nil {
			return err
		}
		return operator.Connect("generation", func(context.Context, any) (any, error) {
			if own == 1 {
				close(asked)
				<-release
			}
			return own, nil
		})
	})
	partytest.OnInvites(t, "app", partytest.Responds(500), func(_ http.ResponseWriter, r *http.Request, _ *partytest.Operator) error {
		close(invited)
		<-r.Context().Done()
		return nil
	}, partytest.Connects("pong", "ping"))
	c := newAdminTest(t)
	const site = "ADDRESS {\nroute {\ntest_app teller\nwsgi_party main {\ninvite /app/__invite__/\ninvite_timeout 30s\ntest_app app\n}\n}\n}"
	c.Load(site)
	var sent []operations.SentJSON
	var group sync.WaitGroup
	group.Go(func() {
		c.expectJSON("POST", "/wsgi_party/main/ask/generation", "", `{"answers": [1], "replies": [{"guest": "teller", "mount": "", "status": "answered", "duration": "DURATION"}], "duration": "DURATION"}`)
	})
	group.Go(func() { sent = c.invite("main", "") })
	<-asked
	<-invited
	check.Must(t, caddy.Load(c.Adapt(site), true)) // the endpoint stops when the requests end
	close(release)
	group.Wait()
	check.ErrorIf(t, len(sent) != 1 || !sent[0].Sent || sent[0].Result != wsgiparty.InviteFailed || sent[0].Duration > 20, "%+v", sent)
	c.ExpectAnswers("main", "generation", 2)
	c.ExpectAnswers("main", "ping", "pong")
}

// TestTheAdminAPIIsOfTheRunningConfig has the endpoint of a config that failed
// answer (hazard 19), at all times that a config's life has.
func TestTheAdminAPIIsOfTheRunningConfig(t *testing.T) {
	c := newAdminTest(t)
	old := partytest.OnInvites(t, "old", partytest.Connects("old", "who"))
	young := partytest.OnInvites(t, "new", partytest.Connects("new", "who"))
	partytest.OnProvision(t, "fails", func(caddy.Context) error { return errors.New("oh no") })
	partytest.OnProvision(t, "fails to start", partytest.DuringStart(t, func() error { return errors.New("oh no") }))
	var seen []string
	partytest.OnProvision(t, "looks", func(caddy.Context) error {
		partytest.Eventually(t, "one of two endpoints answers", func() bool {
			response, err := c.TryCall(context.Background(), "GET", "/wsgi_party/", nil)
			if err == nil {
				seen = append(seen, c.plain(response.Body))
			}
			return err == nil
		})
		return nil
	})
	const party = "route {\nwsgi_party %s {\ninvite /app/__invite__/\ntest_app %s\n}\n}\n%s"
	site := func(directives string) string { return "ADDRESS {\nroute {\n" + directives + "\n}\n}" }
	fail := func(directives string) {
		t.Helper()
		check.Fails(t, c.TryLoad(site(directives)), "oh no")
	}
	expectNothing := func(when string) {
		t.Helper()
		c.expectJSON("GET", "/wsgi_party/", "", "[]")
		for _, test := range [][2]string{{"GET", ""}, {"POST", "/ask/who"}, {"POST", "/invite"}} {
			c.expectError(when, c.Call(test[0], "/wsgi_party/main"+test[1], ""), http.StatusNotFound, `"main": there is none`)
		}
	}
	failures := []string{"test_app fails", `test_app "fails to start"`}

	for _, failure := range failures {
		fail(fmt.Sprintf(party, "main", "new", failure))
		expectNothing("nothing has run yet")
	}
	c.Site("respond nothing")
	expectNothing("no config had a party")
	for _, failure := range failures {
		fail(fmt.Sprintf(party, "main", "new", failure))
		expectNothing("only a config that failed had a party")
	}

	c.Load(site(fmt.Sprintf(party, "main", "old", "")))
	expectOld := func() {
		t.Helper()
		shown := c.all()
		check.ErrorIf(t, len(shown) != 1 || shown[0].Party != "main" || len(shown[0].Guests) != 1, "%+v", shown)
		check.Equal(t, c.ask("main/ask/who", "").String(), "[old]; app answered")
		invitesOld, invitesYoung := old.Invites(), young.Invites()
		old.Operator(-1).Leave()
		c.expectInvites("main", "", "sent app joined 204")
		check.Equal(t, fmt.Sprint(old.Invites(), young.Invites()), fmt.Sprint(invitesOld+1, invitesYoung), "invites")
		c.ExpectAnswers("main", "who", "old")
	}
	expectOld()
	for _, failure := range failures {
		fail(fmt.Sprintf(party, "main", "new", failure))
		expectOld()
		fail(fmt.Sprintf(party, "other", "new", failure))
		expectOld()
		c.expectError("of the config that failed", c.Call("GET", "/wsgi_party/other", ""), http.StatusNotFound, `"other": the only party is main`)
	}

	// While it loads, the config before is shown, and no longer when it runs.
	before := c.plain(c.Call("GET", "/wsgi_party/", "").Body)
	c.Load(site("test_app looks\n" + fmt.Sprintf(party, "other", "new", "test_app looks")))
	check.Slices(t, seen, []string{before, before}, "want twice %s", before)
	if asked := c.ask("other/ask/who", ""); fmt.Sprint(asked.Answers) != "[new]" {
		t.Errorf("%+v", asked)
	}
	c.expectError("of the config before", c.Call("GET", "/wsgi_party/main", ""), http.StatusNotFound, `"main": the only party is other`)

	c.Site("respond nothing")
	expectNothing("the party was removed")
}

func TestCountsSurviveReloads(t *testing.T) {
	party := partytest.FreshParty()
	partytest.Guest(t, "app", "pong", "ping")
	partytest.OnProvision(t, "fails", func(caddy.Context) error { return errors.New("oh no") })
	c := newAdminTest(t)
	const site = "ADDRESS {\nroute {\nwsgi_party %s {\ninvite /app/__invite__/\ntest_app app\n}\n%s\n}\n}"
	for asks := range 4 {
		if asks == 2 {
			c.Load(fmt.Sprintf(site, "other", ""))
		}
		c.Load(fmt.Sprintf(site, party, ""))
		check.Fails(t, c.TryLoad(fmt.Sprintf(site, party, "test_app fails")), "oh no")
		check.Equal(t, fmt.Sprint(c.shown(party).Counts), fmt.Sprintf("[{app ping %d %[1]d 0 0 0 }]", asks))
		check.Equal(t, c.Call("POST", "/wsgi_party/"+party+"/ask/ping", "").Status, 200)
	}
}

// load does things again and again, all at once, until each is done often enough.
type load struct {
	testing.TB
	ended atomic.Bool
	group sync.WaitGroup
	done  []*atomic.Int64
}

func (l *load) goesOn() bool { return !l.ended.Load() && !l.Failed() }

func (l *load) forever(what string, do func()) {
	n := new(atomic.Int64)
	l.done = append(l.done, n)
	l.group.Go(func() {
		for l.goesOn() {
			do()
			n.Add(1)
			time.Sleep(100 * time.Microsecond) // or others starve
		}
		l.Logf("%d times %s", n.Load(), what)
	})
}

// end waits until everything is done so many times, and for so long, and ends it.
func (l *load) end(times int64, least time.Duration) {
	l.Helper()
	began := time.Now()
	partytest.Eventually(l, "everything is done often", func() bool {
		return l.Failed() || time.Since(began) > least && !slices.ContainsFunc(l.done, func(n *atomic.Int64) bool { return n.Load() < times })
	})
	l.ended.Store(true)
	l.group.Wait()
}

// TestTheAdminAPIUnderLoad has requests of all kinds made while configs, good and
// broken, are loaded. Where Caddy itself resets a connection, they are made again.
func TestTheAdminAPIUnderLoad(t *testing.T) {
	party := partytest.FreshParty()
	var generation atomic.Int64 // of the config that is loading
	for _, name := range []string{"one", "two"} {
		partytest.Behave(t, name, func(caddy.Context) (partytest.ServeFunc, error) {
			own := generation.Load()
			return func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				operator, _ := wsgiparty.OperatorFrom(r)
				connect := operator.Connect
				if name == "two" {
					connect = operator.ConnectRemote
				}
				return connect("generation", partytest.Answers(own))
			}, nil
		})
	}
	// One guest joins at every second invite, and leaves again.
	var times atomic.Int64
	fickle := partytest.OnInvites(t, "fickle", func(w http.ResponseWriter, r *http.Request, operator *partytest.Operator) error {
		if times.Add(1)%2 == 0 {
			return errors.New("not now")
		}
		return partytest.Connects("fickle", "fickle")(w, r, operator)
	})
	partytest.OnProvision(t, "teller", partytest.Joins(party, "teller", "time", "noon"))
	partytest.OnProvision(t, "broken", func(caddy.Context) error { return errors.New("oh no") })
	c := newAdminTest(t)
	site := "ADDRESS {\nroute {\ntest_app teller\nwsgi_party " + party + " {\n" + invited("one", "two", "fickle") + "invite /nobody/__invite__/\n}\n%s\n}\n}"
	good, broken := c.Adapt(fmt.Sprintf(site, "")), c.Adapt(fmt.Sprintf(site, "test_app broken"))
	loadBoth := func() {
		generation.Add(1)
		check.Nil(t, caddy.Load(good, true))
		generation.Add(1)
		check.Fails(t, caddy.Load(broken, true), "oh no")
	}
	loadBoth()

	l := &load{TB: t}
	var asked, retried atomic.Int64
	// request returns false if the test ended first.
	request := func(method, path, body string, status int, value any) bool {
		for l.goesOn() {
			response, err := c.TryCall(context.Background(), method, "/wsgi_party/"+path, strings.NewReader(body))
			if err != nil {
				retried.Add(1)
				continue
			}
			decoder := json.NewDecoder(strings.NewReader(response.Body))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(value); err != nil || response.Status != status || response.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %s: %d %s: %v", method, path, response.Status, response.Body, err)
			}
			return !t.Failed()
		}
		return false
	}
	// expect fails the test unless what is shown of the party can be.
	expect := func(counted map[string]operations.CountJSON, shown operations.PartyJSON) {
		var guests, invited []string
		for _, g := range shown.Guests {
			if g.Guest != "fickle" {
				guests = append(guests, fmt.Sprint(g.Guest, g.Services, g.Replicas))
			}
		}
		// A reload may end an invite that is sent again.
		results := map[string]string{"one": "joined", "two": "joined", "fickle": "joined or failed", "nobody": "not_answered or failed"}
		for _, i := range shown.Invites {
			invited = append(invited, i.Guest)
			check.ErrorIf(t, !strings.Contains(results[i.Guest], string(i.Result)) || i.Time.IsZero() || i.Duration <= 0, "%+v", i)
		}
		check.Equal(t, fmt.Sprint(guests, invited), "[one[generation] 1 teller[time] 1 two[generation] 1] [one two fickle nobody]")
		for _, s := range shown.Services {
			check.Equal(t, fmt.Sprint(s.Guests), map[string]string{"generation": "[one two]", "time": "[teller]", "fickle": "[fickle]"}[s.Service], s.Service)
		}
		for _, n := range shown.Counts {
			key, ended := n.Guest+" "+n.Service, n.Answered+n.Declined+n.Failed
			was := counted[key]
			check.ErrorIf(t, n.Asked < was.Asked || n.Answered < was.Answered || n.Asked < ended || n.Asked > ended && n.Guest != "two" || n.Failed+n.Declined > 0, "%+v, before that %+v", n, was)
			counted[key] = n
		}
	}
	l.forever("two loads", func() {
		loadBoth()
		partytest.ResetLog()
	})
	countedByList, countedByShow := make(map[string]operations.CountJSON), make(map[string]operations.CountJSON)
	l.forever("GET of all parties", func() {
		var shown []operations.PartyJSON
		request("GET", "", "", 200, &shown)
		for _, p := range shown {
			check.Equal(t, p.Party, party)
			expect(countedByList, p)
		}
	})
	l.forever("GET of the party", func() {
		var shown operations.PartyJSON
		if request("GET", party, "", 200, &shown) {
			expect(countedByShow, shown)
		}
	})
	for range 2 {
		last := 0
		l.forever("ask", func() {
			var answer wire.Asked
			if !request("POST", party+"/ask/generation", `{"some": [1, 2]}`, 200, &answer) {
				return
			}
			asked.Add(1)
			a, r := answer.Answers, answer.Replies
			if len(a) != 2 || string(a[0]) != string(a[1]) || len(r) != 2 || r[0].Guest+r[1].Guest != "onetwo" || r[0].Status+r[1].Status != "answeredanswered" {
				t.Errorf("%+v", answer)
				return
			}
			now, _ := strconv.Atoi(string(a[0]))
			check.ErrorIf(t, now < last || now%2 == 0, "config %d answered after config %d", now, last)
			last = now
		})
	}
	for query, n := range map[string]int{"": 4, "?guest=fickle": 1} {
		l.forever("invite"+query, func() {
			var sent struct{ Invites []operations.SentJSON }
			if request("POST", party+"/invite"+query, "", 200, &sent) {
				check.Equal(t, len(sent.Invites), n, "invites")
			}
			for _, i := range sent.Invites {
				check.ErrorIf(t, i.Guest == "one" && i.Sent || i.Guest == "nobody" && !i.Sent, "%+v", i)
			}
		})
	}
	l.forever("leave", func() {
		fickle.Operator(-1).Leave()
		var problem struct{ Error string }
		request("POST", party+"/ask/missing", "", 404, &problem)
	})
	l.end(3, 2*time.Second)
	t.Logf("%d requests were made again", retried.Load())

	// No ask that was answered is missing from the counts.
	partytest.Eventually(t, "the endpoint answers", func() bool {
		response, err := c.TryCall(context.Background(), "GET", "/wsgi_party/"+party, nil)
		if err != nil {
			return false
		}
		var shown operations.PartyJSON
		partytest.Decode(c, response, &shown)
		expect(countedByShow, shown)
		expect(countedByList, shown)
		return true
	})
	for _, guest := range []string{"one", "two"} {
		n := int64(countedByShow[guest+" generation"].Answered)
		check.ErrorIf(t, n < asked.Load() || n > asked.Load()+retried.Load(), "%s is said to have answered %d times, and did %d times, with up to %d more", guest, n, asked.Load(), retried.Load())
	}
}
