// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// withApps returns the config with further apps, or without those of value null.
func withApps(t testing.TB, config []byte, apps map[string]string) []byte {
	t.Helper()
	var decoded map[string]json.RawMessage
	check.Must(t, json.Unmarshal(config, &decoded))
	var all map[string]json.RawMessage
	check.Must(t, json.Unmarshal(decoded["apps"], &all))
	for name, app := range apps {
		if app == "null" {
			delete(all, name)
		} else {
			all[name] = json.RawMessage(app)
		}
	}
	var err error
	if decoded["apps"], err = json.Marshal(all); err != nil {
		t.Fatal(err)
	}
	changed := check.Value(json.Marshal(decoded))(t)
	return bytes.ReplaceAll(changed, []byte(`"disabled": true`), []byte(`"disabled":true`))
}

// TestCountersGoOnAcrossReloadsAndFailedReloads looks at the running config's site
// and at the admin endpoint, which after a failed reload is that of the config that
// failed.
func TestCountersGoOnAcrossReloadsAndFailedReloads(t *testing.T) {
	invited := 0.
	partytest.App(t, "invited", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		invited++
		operator, _ := wsgiparty.OperatorFrom(r)
		return operator.Connect("number", partytest.Pong)
	})
	partytest.OnProvision(t, "broken", func(caddy.Context) error { return errors.New("oh no") })
	partytest.OnProvision(t, "fails to start", partytest.DuringStart(t, func() error { return errors.New("oh no") }))
	m := newMetered(t)
	partytest.OnProvision(t, "members", func(ctx caddy.Context) error {
		return errors.Join(
			joinParty(ctx, m.party, "declines", func(o *wsgiparty.Operator) error { return o.Connect("number", partytest.Declines) }),
			joinParty(ctx, m.party, "remote", func(o *wsgiparty.Operator) error { return o.ConnectRemote("number", partytest.Fails) }),
		)
	})
	partytest.OnProvision(t, "another", func(ctx caddy.Context) error {
		return joinParty(ctx, m.party, "another", func(o *wsgiparty.Operator) error { return o.Connect("another", partytest.Pong) })
	})
	const party = "test_app members\nwsgi_party PARTY {\ninvite /__invite__/ as invited\ntest_app /__invite__/ invited\n}\n"
	m.load(party)
	asked := 0.
	check := func() {
		t.Helper()
		show := func() {
			t.Helper()
			m.expect(countedGuests(3), countedInvites(invited, 0, 0, 0), countedAsks("number", asked), countedReplies("invited", "number", asked, 0, 0),
				countedReplies("declines", "number", 0, asked, 0), countedReplies("remote", "number", 0, 0, asked), timedReplies("remote", "number", asked))
		}
		if asked > 0 {
			show()
		}
		m.ask("", "number")
		asked++
		show()
	}
	check()
	config := m.config(party)
	for _, test := range []struct {
		name   string
		config []byte
	}{
		{"an unknown app", withApps(t, config, map[string]string{"http": "null", "nonexistent": "{}"})},
		{"an unknown app beside the party's", withApps(t, config, map[string]string{"nonexistent": "{}"})},
		{"an invalid tls app", withApps(t, config, map[string]string{"tls": `{"certificates": {"nonexistent": {}}}`})},
		{"a module before the party", m.config("test_app broken\n" + party)},
		{"a module after the invites", m.config(party + "test_app another\ntest_app broken")},
		{"an app that does not start", m.config(party + "test_app another\ntest_app \"fails to start\"")},
	} {
		t.Run(test.name, func(t *testing.T) {
			m.TB = t
			if err := m.TryLoadJSON(test.config); err == nil {
				t.Fatal("the load does not fail")
			}
			check()
			m.load(party)
			check()
		})
	}
	m.TB = t
}

// TestTheGaugeShowsTheRunningConfigOnly looks while another config loads, too.
func TestTheGaugeShowsTheRunningConfigOnly(t *testing.T) {
	m := newMetered(t)
	var operators []*wsgiparty.Operator
	joining := 0
	partytest.OnProvision(t, "members", func(ctx caddy.Context) error {
		operators = nil
		for i := range joining {
			if err := joinParty(ctx, m.party, fmt.Sprint("guest", i), func(o *wsgiparty.Operator) error {
				operators = append(operators, o)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	var meanwhile []any
	partytest.OnProvision(t, "look", func(caddy.Context) error {
		all, err := scrapeMetrics(m.Address)
		meanwhile = append(meanwhile, all[m.party]["guests"], err)
		return nil
	})
	partytest.OnProvision(t, "broken", func(caddy.Context) error { return errors.New("oh no") })
	joining = 3
	m.load("test_app members\nwsgi_party PARTY")
	m.expect(countedGuests(3), countedInvites(0, 0, 0, 0))

	joining = 5
	if err := m.TryLoadJSON(m.config("test_app members\nwsgi_party PARTY\ntest_app broken")); err == nil {
		t.Fatal("the load does not fail")
	}
	m.expect(countedGuests(3), countedInvites(0, 0, 0, 0))

	joining = 2
	m.load("test_app members\nwsgi_party PARTY\ntest_app look")
	check.Slices(t, meanwhile, []any{3., nil}, "while the next config loads there")
	m.expect(countedGuests(2), countedInvites(0, 0, 0, 0))

	replica := operatorOf(m, m.party).Partyline().Operator("guest0")
	check.Must(t, replica.Connect("number", partytest.Pong))
	number := countedReplies("guest0", "number", 0, 0, 0)
	m.expect(countedGuests(2), countedInvites(0, 0, 0, 0), countedAsks("number", 0), number)
	operators[0].Leave()
	m.expect(countedGuests(2), countedInvites(0, 0, 0, 0), countedAsks("number", 0), number)
	operators[1].Leave()
	m.expect(countedGuests(1), countedInvites(0, 0, 0, 0), countedAsks("number", 0), number)
	replica.Leave()
	m.expect(countedGuests(0), countedInvites(0, 0, 0, 0))

	m.load("")
	m.expect()
}

func TestTwoServersFromOneSiteBlockHaveOneGuestInTheGauge(t *testing.T) {
	partytest.Guest(t, "guest", "pong", "ping")
	m := newMetered(t)
	config := m.Adapt("ADDRESS, http://" + testport.Address(t) + " {\nroute {\nmetrics /metrics\ntest_app /ask ask\nwsgi_party " + m.party +
		" {\ninvite /guest/__invite__/\ntest_app guest\n}\n}\n}")
	check.Must(t, m.TryLoadJSON(config))
	m.ask("", "ping")
	m.expect(countedGuests(1), countedInvites(2, 0, 0, 0), countedAsks("ping", 1), countedReplies("guest", "ping", 1, 0, 0))
}

func TestAGuestThatLeavesTakesItsSeriesWithIt(t *testing.T) {
	m := newMetered(t)
	var leaving *wsgiparty.Operator
	join := func(ctx caddy.Context) error {
		return errors.Join(
			joinParty(ctx, m.party, "stays", func(o *wsgiparty.Operator) error { return o.Connect("both", partytest.Pong) }),
			joinParty(ctx, m.party, "leaves", func(o *wsgiparty.Operator) error {
				leaving = o
				return errors.Join(o.ConnectRemote("both", partytest.Pong), o.Connect("own", partytest.Pong))
			}),
		)
	}
	partytest.OnProvision(t, "members", join)
	partytest.OnProvision(t, "one member", partytest.Joins(m.party, "stays", "both", "pong"))
	m.load("test_app members\nwsgi_party PARTY")
	for range 2 {
		m.ask("", "both")
	}
	for range 3 {
		m.ask("", "own")
	}
	rest := countedInvites(0, 0, 0, 0)
	all := func(both, own, ofThose float64) []partytest.Figures {
		return []partytest.Figures{rest, countedGuests(2), countedAsks("both", both), countedAsks("own", own), countedReplies("stays", "both", both, 0, 0),
			countedReplies("leaves", "both", ofThose, 0, 0), timedReplies("leaves", "both", ofThose), countedReplies("leaves", "own", own, 0, 0)}
	}
	m.expect(all(2, 3, 2)...)

	leaving.Leave()
	m.expect(rest, countedGuests(1), countedAsks("both", 2), countedReplies("stays", "both", 2, 0, 0))
	m.ask("", "both")
	m.ask("", "own") // nobody is connected
	m.expect(rest, countedGuests(1), countedAsks("both", 3), countedReplies("stays", "both", 3, 0, 0))

	returned := operatorOf(m, m.party).Partyline().Operator("leaves")
	check.Must(t, returned.ConnectRemote("both", partytest.Pong))
	m.expect(rest, countedGuests(2), countedAsks("both", 3), countedReplies("stays", "both", 3, 0, 0),
		countedReplies("leaves", "both", 2, 0, 0), timedReplies("leaves", "both", 2))
	check.Must(t, returned.Connect("own", partytest.Pong))
	m.expect(all(3, 3, 2)...)
	m.ask("", "both")
	m.ask("", "own")
	m.expect(all(4, 4, 3)...)

	m.load("test_app \"one member\"\nwsgi_party PARTY")
	m.expect(rest, countedGuests(1), countedAsks("both", 4), countedReplies("stays", "both", 4, 0, 0))
	m.load("")
	m.expect()
	m.load("test_app members\nwsgi_party PARTY")
	m.expect(all(4, 4, 3)...)
	m.ask("", "both")
	m.ask("", "own")
	m.expect(all(5, 5, 4)...)
}

func TestTwoPartiesAreCountedApart(t *testing.T) {
	partytest.Guest(t, "guest", "pong", "ping")
	m := newMetered(t)
	second := m.party + "-second"
	const site = "wsgi_party %s {\ninvite %s as guest\nhandle %s* {\ntest_app guest\n}\n}\n"
	m.load(fmt.Sprintf(site, "PARTY", "/a/__invite__/", "/a/") + fmt.Sprintf(site, second, "/b/__invite__/", "/b/"))
	m.ask("", "ping")
	m.ask("", "ping")
	if _, err := operatorOf(m, second).AskAround(context.Background(), "ping", nil); err != nil {
		t.Error(err)
	}
	m.expect(countedGuests(1), countedInvites(1, 0, 0, 0), countedAsks("ping", 2), countedReplies("guest", "ping", 2, 0, 0))
	m.expectOf(second, countedGuests(1), countedInvites(1, 0, 0, 0), countedAsks("ping", 1), countedReplies("guest", "ping", 1, 0, 0))

	// What stays without its handler for a while goes on.
	m.load(fmt.Sprintf(site, second, "/b/__invite__/", "/b/"))
	m.expect()
	m.expectOf(second, countedGuests(1), countedInvites(2, 0, 0, 0), countedAsks("ping", 1), countedReplies("guest", "ping", 1, 0, 0))
	m.load(fmt.Sprintf(site, "PARTY", "/a/__invite__/", "/a/"))
	m.expect(countedGuests(1), countedInvites(2, 0, 0, 0), countedAsks("ping", 2), countedReplies("guest", "ping", 2, 0, 0))
	m.expectOf(second)
}

// TestTheMetricsAreThereWhoeverJoinsFirst has a module join for a time, with a
// context and so a registry of its own, before the party is there.
func TestTheMetricsAreThereWhoeverJoinsFirst(t *testing.T) {
	m := newMetered(t)
	var end context.CancelFunc
	partytest.OnProvision(t, "temporary", func(ctx caddy.Context) error {
		ctx, end = caddy.NewContext(ctx)
		return partytest.Joins(m.party, "temporary", "number", 1)(ctx)
	})
	for i, load := range []func(){
		func() { m.load("test_app temporary\nwsgi_party PARTY") },
		func() { // the admin endpoint sees to it, too
			m.Admin = ""
			check.Must(t, caddy.Load(m.config("test_app temporary\nwsgi_party PARTY"), true))
		},
	} {
		load()
		n := float64(i + 1)
		m.ask("", "number")
		m.expect(countedGuests(1), countedInvites(0, 0, 0, 0), countedAsks("number", n), countedReplies("temporary", "number", n, 0, 0))
		line := operatorOf(m, m.party).Partyline()
		end()
		partytest.Eventually(t, "the guest leaves", func() bool { return len(line.Guests()) == 0 })
		m.expect(countedGuests(0), countedInvites(0, 0, 0, 0))
	}
}

// TestScrapesUnderLoad has many scrape while others ask, guests come and go, and
// configs, good and broken, are loaded. No counter ever goes down, none is off by more than
// the asks under way, and in the end not one ask is missing.
func TestScrapesUnderLoad(t *testing.T) {
	m := newMetered(t)
	partytest.OnProvision(t, "broken", func(caddy.Context) error { return errors.New("oh no") })
	partytest.OnProvision(t, "members", func(ctx caddy.Context) error {
		return errors.Join(
			joinParty(ctx, m.party, "local", func(o *wsgiparty.Operator) error { return o.Connect("number", partytest.Pong) }),
			joinParty(ctx, m.party, "declines", func(o *wsgiparty.Operator) error { return o.Connect("number", partytest.Declines) }),
			joinParty(ctx, m.party, "remote", func(o *wsgiparty.Operator) error { return o.ConnectRemote("number", partytest.Pong) }),
		)
	})
	partytest.Guest(t, "guest", "pong", "ping")
	const party = "test_app members\nwsgi_party PARTY {\ninvite /guest/__invite__/\ntest_app /guest/* guest\n}\n"
	good, broken := m.config(party), m.config(party+"test_app broken")
	unknown := withApps(t, good, map[string]string{"http": "null", "nonexistent": "{}"})
	check.Must(t, caddy.Load(good, true))

	stop := make(chan struct{})
	running := func() bool {
		select {
		case <-stop:
			return false
		default:
			return !t.Failed()
		}
	}
	var group sync.WaitGroup
	forever := func(do func()) {
		group.Go(func() {
			for running() {
				do()
				time.Sleep(100 * time.Microsecond) // or the loads and scrapes starve
			}
		})
	}
	var asked, scrapes, adminScrapes, loads atomic.Int64
	for range 2 {
		forever(func() {
			answers, err := operatorOf(m, m.party).AskAround(context.Background(), "number", nil)
			check.ErrorIf(t, err != nil || len(answers) != 2, answers, err)
			asked.Add(1)
		})
	}
	forever(func() { // replicas and strangers come and go
		line := operatorOf(m, m.party).Partyline()
		replica, stranger := line.Operator("local"), line.Operator("stranger")
		check.Nil(t, errors.Join(replica.Connect("number", partytest.Pong), stranger.Connect("strange", partytest.Pong)))
		if _, err := line.Operator("").AskAround(context.Background(), "strange", nil); err != nil {
			t.Error(err)
		}
		replica.Leave()
		stranger.Leave()
	})
	for address, counted := range map[string]*atomic.Int64{m.Address: &scrapes, m.Admin: &adminScrapes} {
		for range 2 {
			last := make(partytest.Figures)
			forever(func() {
				ended := asked.Load()
				all, err := scrapeMetrics(address)
				begun := asked.Load() + 2 // each of those who ask may be at it
				if broken, ok := errors.AsType[*scrapeError](err); ok {
					t.Error(broken)
				}
				if err != nil {
					return // Caddy itself resets connections on reload
				}
				got := all[m.party]
				if got[`guests`] < 4 || got[`guests`] > 5 {
					t.Errorf("%v guests", got["guests"])
				}
				for series, value := range got {
					if series != "guests" && value < last[series] {
						t.Errorf("%s went from %v to %v", series, last[series], value)
					}
					last[series] = value
				}
				for _, series := range []string{
					`asks_total{service="number"}`,
					`replies_total{guest="local",outcome="answered",service="number"}`,
					`replies_total{guest="declines",outcome="declined",service="number"}`,
				} {
					if n := int64(got[series]); n < ended || n > begun {
						t.Errorf("%s is %d when %d to %d asks were counted", series, n, ended, begun)
					}
				}
				counted.Add(1)
			})
		}
	}
	forever(func() {
		for _, config := range [][]byte{broken, unknown, good} {
			check.Equal(t, (caddy.Load(config, true) == nil), (&config[0] == &good[0]))
		}
		before, adminBefore := scrapes.Load(), adminScrapes.Load()
		for running() && (scrapes.Load() < before+2 || adminScrapes.Load() < adminBefore+2) {
			time.Sleep(time.Millisecond)
		}
		loads.Add(1)
	})
	for deadline := time.Now().Add(time.Minute); loads.Load() < 6 || asked.Load() < 100; time.Sleep(time.Millisecond) {
		if t.Failed() || time.Now().After(deadline) {
			t.Errorf("only %d loads and %d asks", loads.Load(), asked.Load())
			break
		}
	}
	close(stop)
	group.Wait()
	t.Logf("%d asks, %d and %d scrapes, %d times three loads", asked.Load(), scrapes.Load(), adminScrapes.Load(), loads.Load())
	n := float64(asked.Load())
	for where, got := range m.figures(m.party) {
		for series, want := range map[string]float64{
			`guests`: 4, `asks_total{service="number"}`: n,
			`replies_total{guest="local",outcome="answered",service="number"}`:    n,
			`replies_total{guest="declines",outcome="declined",service="number"}`: n,
			`replies_total{guest="remote",outcome="answered",service="number"}`:   n,
			`reply_duration_seconds_count{guest="remote",service="number"}`:       n,
		} {
			check.Equal(t, got[series], want, "%s: %s", where, series)
		}
	}
}
