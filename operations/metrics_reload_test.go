// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
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

// withApps returns the config with further apps, and without those that are nil.
func withApps(t testing.TB, config []byte, change map[string]any) []byte {
	t.Helper()
	decoded := partytest.DecodeJSON(t, config).(map[string]any)
	apps := decoded["apps"].(map[string]any)
	maps.Copy(apps, change)
	maps.DeleteFunc(apps, func(_ string, app any) bool { return app == nil })
	return check.Value(json.Marshal(decoded))(t)
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
	onProvision(t, "members", m.party, local("declines", "number", partytest.Declines), remote("remote", "number", partytest.Fails))
	onProvision(t, "another", m.party, local("another", "another", partytest.Pong))
	const party = "test_app members\nwsgi_party PARTY {\ninvite /__invite__/ as invited\ntest_app /__invite__/ invited\n}\n"
	m.load(party)
	asked := 0.
	show := func() {
		m.Helper()
		m.expect(countedGuests(3), countedInvites(invited, 0, 0, 0), countedAsks("number", asked), countedReplies("invited", "number", asked, 0, 0),
			countedReplies("declines", "number", 0, asked, 0), countedReplies("remote", "number", 0, 0, asked), timedReplies("remote", "number", asked))
	}
	ask := func() {
		m.Helper()
		m.ask("", "number")
		asked++
		show()
	}
	ask()
	config := m.config(party)
	for _, test := range []struct {
		name   string
		config []byte
	}{
		{"an unknown app", withApps(t, config, map[string]any{"http": nil, "nonexistent": struct{}{}})},
		{"an unknown app beside the party's", withApps(t, config, map[string]any{"nonexistent": struct{}{}})},
		{"an invalid tls app", withApps(t, config, map[string]any{"tls": json.RawMessage(`{"certificates": {"nonexistent": {}}}`)})},
		{"a module before the party", m.config("test_app broken\n" + party)},
		{"a module after the invites", m.config(party + "test_app another\ntest_app broken")},
		{"an app that does not start", m.config(party + "test_app another\ntest_app \"fails to start\"")},
	} {
		t.Run(test.name, func(t *testing.T) {
			m.TB = t
			check.Fails(t, m.TryLoadJSON(test.config))
			show()
			ask()
			m.load(party)
			show()
			ask()
		})
	}
	m.TB = t
}

// TestTheGaugeShowsTheRunningConfigOnly looks while another config loads, too.
func TestTheGaugeShowsTheRunningConfigOnly(t *testing.T) {
	m := newMetered(t)
	guests := []member{{guest: "guest0"}, {guest: "guest1"}, {guest: "guest2"}, {guest: "guest3"}, {guest: "guest4"}}
	onProvision(t, "three", m.party, guests[:3]...)
	onProvision(t, "five", m.party, guests...)
	operators := onProvision(t, "two", m.party, guests[:2]...)
	var meanwhile []any
	partytest.OnProvision(t, "look", func(caddy.Context) error {
		all, err := scrapeMetrics(m.Address)
		meanwhile = append(meanwhile, all[m.party]["guests"], err)
		return nil
	})
	partytest.OnProvision(t, "broken", func(caddy.Context) error { return errors.New("oh no") })
	m.load("test_app three\nwsgi_party PARTY")
	m.expect(countedGuests(3))
	check.Fails(t, m.TryLoadJSON(m.config("test_app five\nwsgi_party PARTY\ntest_app broken")), "oh no")
	m.expect(countedGuests(3))
	m.load("test_app two\nwsgi_party PARTY\ntest_app look")
	check.Slices(t, meanwhile, []any{3., nil}, "while the next config loads there")
	m.expect(countedGuests(2))

	replica := operatorOf(m, m.party).Partyline().Operator("guest0")
	partytest.Connect(t, replica, "number", partytest.Pong)
	number := countedReplies("guest0", "number", 0, 0, 0)
	m.expect(countedGuests(2), countedAsks("number", 0), number)
	operators["guest0"].Leave()
	m.expect(countedGuests(2), countedAsks("number", 0), number)
	operators["guest1"].Leave()
	m.expect(countedGuests(1), countedAsks("number", 0), number)
	replica.Leave()
	m.expect(countedGuests(0))

	m.load("")
	m.expect()
}

func TestTwoServersFromOneSiteBlockHaveOneGuestInTheGauge(t *testing.T) {
	partytest.Guest(t, "guest", "pong", "ping")
	m := newMetered(t)
	m.Load("ADDRESS, http://" + testport.Address(t) + " {\nroute {\nmetrics /metrics\nwsgi_party " + m.party + " {\ninvite /guest/__invite__/\ntest_app guest\n}\n}\n}")
	m.ask("", "ping")
	m.expect(countedGuests(1), countedInvites(2, 0, 0, 0), countedAsks("ping", 1), countedReplies("guest", "ping", 1, 0, 0))
}

func TestAGuestThatLeavesTakesItsSeriesWithIt(t *testing.T) {
	m := newMetered(t)
	operators := onProvision(t, "members", m.party,
		local("stays", "both", partytest.Pong), remote("leaves", "both", partytest.Pong), local("leaves", "own", partytest.Pong))
	partytest.OnProvision(t, "one member", partytest.Joins(m.party, "stays", "both", "pong"))
	m.load("test_app members\nwsgi_party PARTY")
	for range 2 {
		m.ask("", "both")
	}
	for range 3 {
		m.ask("", "own")
	}
	all := func(both, own, ofThose float64) []partytest.Figures {
		return []partytest.Figures{countedGuests(2), countedAsks("both", both), countedAsks("own", own), countedReplies("stays", "both", both, 0, 0),
			countedReplies("leaves", "both", ofThose, 0, 0), timedReplies("leaves", "both", ofThose), countedReplies("leaves", "own", own, 0, 0)}
	}
	m.expect(all(2, 3, 2)...)

	operators["leaves"].Leave()
	m.expect(countedGuests(1), countedAsks("both", 2), countedReplies("stays", "both", 2, 0, 0))
	m.ask("", "both")
	m.ask("", "own") // nobody is connected
	m.expect(countedGuests(1), countedAsks("both", 3), countedReplies("stays", "both", 3, 0, 0))

	returned := operatorOf(m, m.party).Partyline().Operator("leaves")
	partytest.ConnectRemote(t, returned, "both", partytest.Pong)
	m.expect(countedGuests(2), countedAsks("both", 3), countedReplies("stays", "both", 3, 0, 0),
		countedReplies("leaves", "both", 2, 0, 0), timedReplies("leaves", "both", 2))
	partytest.Connect(t, returned, "own", partytest.Pong)
	m.expect(all(3, 3, 2)...)
	m.ask("", "both")
	m.ask("", "own")
	m.expect(all(4, 4, 3)...)

	m.load("test_app \"one member\"\nwsgi_party PARTY")
	m.expect(countedGuests(1), countedAsks("both", 4), countedReplies("stays", "both", 4, 0, 0))
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
	_, err := operatorOf(m, second).AskAround(context.Background(), "ping", nil)
	check.Nil(t, err)
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
	for _, n := range []float64{1, 2} {
		m.load("test_app temporary\nwsgi_party PARTY")
		m.ask("", "number")
		m.expect(countedGuests(1), countedAsks("number", n), countedReplies("temporary", "number", n, 0, 0))
		line := operatorOf(m, m.party).Partyline()
		end()
		partytest.Eventually(t, "the guest leaves", func() bool { return len(line.Guests()) == 0 })
		m.expect(countedGuests(0))
		m.Admin = "" // which registers the metrics, too
	}
}

// TestScrapesUnderLoad has many scrape while others ask, guests come and go, and
// configs, good and broken, are loaded. No counter ever goes down, none is off by more than
// the asks under way, and in the end not one ask is missing.
func TestScrapesUnderLoad(t *testing.T) {
	m := newMetered(t)
	partytest.OnProvision(t, "broken", func(caddy.Context) error { return errors.New("oh no") })
	onProvision(t, "members", m.party, local("local", "number", partytest.Pong), local("declines", "number", partytest.Declines), remote("remote", "number", partytest.Pong))
	partytest.Guest(t, "guest", "pong", "ping")
	const party = "test_app members\nwsgi_party PARTY {\ninvite /guest/__invite__/\ntest_app /guest/* guest\n}\n"
	good, broken := m.config(party), m.config(party+"test_app broken")
	unknown := withApps(t, good, map[string]any{"http": nil, "nonexistent": struct{}{}})
	check.Must(t, caddy.Load(good, true))

	l := &load{TB: t}
	var asked, scrapes, adminScrapes atomic.Int64
	for range 2 {
		l.forever("ask", func() {
			answers, err := operatorOf(m, m.party).AskAround(context.Background(), "number", nil)
			check.ErrorIf(t, err != nil || len(answers) != 2, answers, err)
			asked.Add(1)
		})
	}
	l.forever("replicas and strangers come and go", func() {
		line := operatorOf(m, m.party).Partyline()
		replica, stranger := line.Operator("local"), line.Operator("stranger")
		check.Nil(t, errors.Join(replica.Connect("number", partytest.Pong), stranger.Connect("strange", partytest.Pong)))
		_, err := line.Operator("").AskAround(context.Background(), "strange", nil)
		check.Nil(t, err)
		replica.Leave()
		stranger.Leave()
	})
	for address, counted := range map[string]*atomic.Int64{m.Address: &scrapes, m.Admin: &adminScrapes} {
		for range 2 {
			var last partytest.Figures
			l.forever("scrape", func() {
				ended := asked.Load()
				all, err := scrapeMetrics(address)
				begun := asked.Load() + 2 // each of those who ask may be at it
				if broken, ok := errors.AsType[scrapeError](err); ok {
					t.Error(broken)
				}
				if err != nil {
					return // Caddy itself resets connections on reload
				}
				got := all[m.party]
				check.ErrorIf(t, got["guests"] < 4 || got["guests"] > 5, "%v guests", got["guests"])
				for series, value := range got {
					check.ErrorIf(t, series != "guests" && value < last[series], "%s went from %v to %v", series, last[series], value)
				}
				last = got
				for _, series := range []string{
					`asks_total{service="number"}`,
					`replies_total{guest="local",outcome="answered",service="number"}`,
					`replies_total{guest="declines",outcome="declined",service="number"}`,
				} {
					n := int64(got[series])
					check.ErrorIf(t, n < ended || n > begun, "%s is %d when %d to %d asks were counted", series, n, ended, begun)
				}
				counted.Add(1)
			})
		}
	}
	l.forever("three loads", func() {
		for _, config := range [][]byte{broken, unknown, good} {
			check.Equal(t, (caddy.Load(config, true) == nil), (&config[0] == &good[0]))
		}
		before, adminBefore := scrapes.Load(), adminScrapes.Load()
		for l.goesOn() && (scrapes.Load() < before+2 || adminScrapes.Load() < adminBefore+2) {
			time.Sleep(time.Millisecond)
		}
	})
	l.end(6, 0)
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
