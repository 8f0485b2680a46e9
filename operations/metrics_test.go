// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// countedReplies are the figures of a guest's replies.
func countedReplies(guest, service string, answered, declined, failed float64) partytest.Figures {
	f := make(partytest.Figures)
	for outcome, n := range map[string]float64{"answered": answered, "declined": declined, "failed": failed, "refused": 0} {
		f["replies_total"+partytest.Labels(map[string]string{"guest": guest, "service": service, "outcome": outcome})] = n
	}
	return f
}

// countedRequests are the figures of requests to a guest, by the first digit of their status.
func countedRequests(guest string, classes map[int]float64) partytest.Figures {
	f := make(partytest.Figures)
	for class := 1; class <= 5; class++ {
		f["requests_total"+partytest.Labels(map[string]string{"guest": guest, "class": fmt.Sprintf("%dxx", class)})] = classes[class]
	}
	return f
}

func countedAsks(service string, n float64) partytest.Figures {
	return partytest.Figures{"asks_total" + partytest.Labels(map[string]string{"service": service}): n}
}

func timedReplies(guest, service string, n float64) partytest.Figures {
	return partytest.Figures{"reply_duration_seconds_count" + partytest.Labels(map[string]string{"guest": guest, "service": service}): n}
}

func countedGuests(n float64) partytest.Figures { return partytest.Figures{"guests": n} }

func countedInvites(joined, notAnswered, refused, failed float64) partytest.Figures {
	return partytest.Figures{`invites_total{outcome="joined"}`: joined, `invites_total{outcome="not_answered"}`: notAnswered,
		`invites_total{outcome="refused"}`: refused, `invites_total{outcome="failed"}`: failed}
}

// metered is a Caddy whose metrics are at a site's /metrics and at the admin
// endpoint. A party's counters go on until the process ends, so each has a party of
// its own.
type metered struct {
	*partytest.Caddy
	party string
}

func newMetered(t testing.TB) *metered {
	t.Helper()
	return &metered{partytest.NewCaddyWithAdmin(t), partytest.FreshParty()}
}

// config returns a config of one site, in which PARTY stands for the party's name.
func (m *metered) config(directives string) []byte {
	m.Helper()
	return m.Adapt("ADDRESS {\nroute {\nmetrics /metrics\n" + strings.ReplaceAll(directives, "PARTY", m.party) + "\n}\n}")
}

func (m *metered) load(directives string) {
	m.Helper()
	check.Must(m, m.TryLoadJSON(m.config(directives)))
}

// ask asks for the service as a guest or, for "", as nobody. What comes of it is counted.
func (m *metered) ask(guest, service string) {
	m.Helper()
	_, _ = operatorOf(m, m.party).Partyline().Operator(guest).AskAround(context.Background(), service, nil)
}

// scrapeMetrics returns all parties' figures.
func scrapeMetrics(address string) (map[string]partytest.Figures, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := partytest.Send(r)
	if err != nil {
		return nil, err
	}
	if response.Status != http.StatusOK {
		return nil, scrapeError(response)
	}
	return partytest.ReadFigures(strings.NewReader(response.Body))
}

// scrapeError is a page of metrics that is none.
type scrapeError partytest.Response

func (e scrapeError) Error() string {
	return fmt.Sprintf("the metrics are a %d: %.500s", e.Status, e.Body)
}

// figures returns the party's figures at both endpoints, or at the site's alone.
func (m *metered) figures(party string) map[string]partytest.Figures {
	m.Helper()
	both := make(map[string]partytest.Figures)
	for name, address := range map[string]string{"the site": m.Address, "the admin endpoint": m.Admin} {
		if address == "" {
			continue
		}
		partytest.Eventually(m, name+" answers", func() bool {
			all, err := scrapeMetrics(address)
			broken, ok := errors.AsType[scrapeError](err)
			check.FatalIf(m, ok, "%s: %v", name, broken)
			both[name] = all[party]
			return err == nil
		})
	}
	return both
}

// expect fails the test unless both endpoints show just these figures of the party:
// none, or those of no invites and what else is said. Of durations it looks at the numbers.
func (m *metered) expect(parts ...partytest.Figures) {
	m.Helper()
	m.expectOf(m.party, parts...)
}

func (m *metered) expectOf(party string, parts ...partytest.Figures) {
	m.Helper()
	want := make(partytest.Figures)
	if len(parts) > 0 {
		maps.Copy(want, countedInvites(0, 0, 0, 0))
	}
	for _, part := range parts {
		maps.Copy(want, part)
	}
	for where, got := range m.figures(party) {
		for series, n := range got {
			wanted, ok := want[series]
			durations := strings.Contains(series, "_seconds_sum") || strings.Contains(series, "_seconds_bucket")
			check.ErrorIf(m, !durations && (!ok || n != wanted), "%s: %s is %v, want %v", where, series, n, wanted)
		}
		for series := range want {
			_, ok := got[series]
			check.ErrorIf(m, !ok, "%s has no %s", where, series)
		}
	}
}

// member is what a guest that joins by itself connects, if its handler is not nil.
type member struct {
	guest, service string
	remote         bool
	handler        wsgiparty.Handler
}

func local(guest, service string, h wsgiparty.Handler) member {
	return member{guest, service, false, h}
}

func remote(guest, service string, h wsgiparty.Handler) member {
	return member{guest, service, true, h}
}

// onProvision makes `test_app key` join the party as these members, and returns their
// operators of the last time.
func onProvision(t testing.TB, key, party string, members ...member) map[string]*wsgiparty.Operator {
	operators := make(map[string]*wsgiparty.Operator)
	partytest.OnProvision(t, key, func(ctx caddy.Context) (err error) {
		clear(operators)
		for _, j := range members {
			o, ok := operators[j.guest]
			if !ok {
				if o, err = wsgiparty.Join(ctx, party, j.guest); err != nil {
					return err
				}
				operators[j.guest] = o
			}
			switch {
			case j.remote:
				partytest.ConnectRemote(t, o, j.service, j.handler)
			case j.handler != nil:
				partytest.Connect(t, o, j.service, j.handler)
			}
		}
		return nil
	})
	return operators
}

func TestMetricsCountAsksAndWhatCameOfThem(t *testing.T) {
	m := newMetered(t)
	onProvision(t, "members", m.party,
		local("answers", "number", partytest.Pong), local("answers", "number", partytest.Pong), local("answers", "idle", partytest.Pong),
		local("declines", "number", partytest.Declines), local("fails", "number", partytest.Fails),
		local("panics", "number", func(context.Context, any) (any, error) { panic("oh no") }),
		remote("remote", "number", partytest.Pong), member{guest: "silent"})
	m.load("test_app members\nwsgi_party PARTY")
	expect := func(asks, idle, answers, each float64, more ...partytest.Figures) {
		t.Helper()
		m.expect(append(more, countedGuests(6), countedAsks("number", asks), countedAsks("idle", idle), countedReplies("answers", "idle", 0, 0, 0),
			countedReplies("answers", "number", answers, 0, 0), countedReplies("declines", "number", 0, each, 0), countedReplies("fails", "number", 0, 0, each),
			countedReplies("panics", "number", 0, 0, each), countedReplies("remote", "number", each, 0, 0))...)
	}
	expect(0, 0, 0, 0)
	for range 3 {
		m.ask("", "number")
	}
	m.ask("answers", "number") // does not ask itself
	_, err := wsgiparty.First[string](context.Background(), operatorOf(m, m.party), "number", nil)
	check.Nil(t, err)
	expect(5, 0, 2*3+1, 4, timedReplies("remote", "number", 4))
	m.ask("answers", "idle") // there is nobody else, but it was asked for
	expect(5, 1, 2*3+1, 4, timedReplies("remote", "number", 4))
}

func TestMetricsHaveATypeAndAHelpText(t *testing.T) {
	m := newMetered(t)
	onProvision(t, "remote", m.party, remote("remote", "number", partytest.Pong))
	m.load("test_app remote\nwsgi_party PARTY")
	m.ask("", "number")
	for _, accept := range []string{"text/plain", "application/openmetrics-text; version=1.0.0"} {
		for _, address := range []string{m.Address, m.Admin} {
			r := check.Value(http.NewRequest(http.MethodGet, "http://"+address+"/metrics", nil))(t)
			r.Header.Set("Accept", accept)
			response := check.Value(partytest.Send(r))(t)
			check.Equal(t, response.Status, http.StatusOK)
			for name, kind := range map[string]string{
				"caddy_wsgi_party_asks_total": "counter", "caddy_wsgi_party_replies_total": "counter", "caddy_wsgi_party_guests": "gauge",
				"caddy_wsgi_party_invites_total": "counter", "caddy_wsgi_party_reply_duration_seconds": "histogram",
			} {
				if strings.HasPrefix(response.Header.Get("Content-Type"), "application/openmetrics-text") {
					name = strings.TrimSuffix(name, "_total")
				}
				check.Contains(t, response.Body, []string{"\n# TYPE " + name + " " + kind + "\n", "\n# HELP " + name + " "}, "%s as %s", address, accept)
			}
		}
	}
}

func TestOnlyRemoteHandlersAreTimed(t *testing.T) {
	const least = 30 * time.Millisecond
	slow := func(context.Context, any) (any, error) { time.Sleep(least); return "at last", nil }
	m := newMetered(t)
	onProvision(t, "members", m.party,
		local("local", "number", slow), local("both", "number", partytest.Pong), remote("both", "number", partytest.Pong),
		remote("slow", "number", slow), remote("declines", "number", partytest.Declines), remote("fails", "number", partytest.Fails))
	m.load("test_app members\nwsgi_party PARTY")
	const n = 3
	for range n {
		m.ask("", "number")
	}
	m.expect(countedGuests(5), countedAsks("number", n),
		countedReplies("local", "number", n, 0, 0), countedReplies("both", "number", 2*n, 0, 0), countedReplies("slow", "number", n, 0, 0),
		countedReplies("declines", "number", 0, n, 0), countedReplies("fails", "number", 0, 0, n),
		timedReplies("both", "number", n), timedReplies("slow", "number", n), timedReplies("declines", "number", n), timedReplies("fails", "number", n))

	for where, got := range m.figures(m.party) {
		series := func(suffix string, le ...string) float64 {
			labels := map[string]string{"guest": "slow", "service": "number"}
			if len(le) > 0 {
				labels["le"] = le[0]
			}
			value, ok := got["reply_duration_seconds"+suffix+partytest.Labels(labels)]
			check.ErrorIf(t, !ok, "%s has no %s %v", where, suffix, labels)
			return value
		}
		sum := series("_sum")
		check.ErrorIf(t, sum < n*least.Seconds() || sum > 60, "%s: the durations are %v together", where, sum)
		last := 0.
		for _, le := range []string{"0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"} {
			count := series("_bucket", le)
			check.ErrorIf(t, count < last || le == "0.025" && count != 0 || le == "10" && count != n || le == "+Inf" && count != n, "%s: %v replies took up to %s", where, count, le)
			last = count
		}
	}
}

func TestInvitesAreCountedByWhatBecameOfThem(t *testing.T) {
	partytest.Guest(t, "one", "pong", "ping")
	partytest.Guest(t, "two", "pong", "ping")
	partytest.App(t, "panics", func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { panic("oh no") })
	partytest.OnProvision(t, "broken", func(caddy.Context) error { return errors.New("oh no") })
	m := newMetered(t)
	party := "wsgi_party PARTY {\n" + invited("one", "two", "panics") + "invite /nobody/__invite__/ /guarded/__invite__/ /down/__invite__/\nerror /guarded/* 403\nrespond /down/* 502\n}"
	pings := countedAsks("ping", 0)
	maps.Copy(pings, countedReplies("one", "ping", 0, 0, 0))
	maps.Copy(pings, countedReplies("two", "ping", 0, 0, 0))
	m.load(party)
	m.expect(countedGuests(2), pings, countedInvites(2, 1, 1, 2))

	// Only who is not on the line is invited again.
	check.Equal(t, m.Call("POST", "/wsgi_party/"+m.party+"/invite", "").Status, http.StatusOK)
	m.expect(countedGuests(2), pings, countedInvites(2, 2, 2, 4))

	m.load(party)
	m.expect(countedGuests(2), pings, countedInvites(4, 3, 3, 6))

	// These have gone out, too.
	check.Fails(t, m.TryLoadJSON(m.config(party+"\ntest_app broken")), "oh no")
	m.expect(countedGuests(2), pings, countedInvites(6, 4, 4, 8))
}

func TestNothingThatSomebodyAsksForBecomesALabel(t *testing.T) {
	m := newMetered(t)
	partytest.OnProvision(t, "member", partytest.Joins(m.party, "guest", "number", 1))
	m.load("test_app member\nwsgi_party PARTY {\nignore_missing_services\n}")
	m.ask("", "number")
	want := []partytest.Figures{countedGuests(1), countedAsks("number", 1), countedReplies("guest", "number", 1, 0, 0)}
	m.expect(want...)
	for i := range 10 {
		m.ask("", fmt.Sprint("unheard-of", i))
		m.ask(fmt.Sprint("stranger", i), fmt.Sprint("unheard-of", i))
		_, ok := wsgiparty.Lookup(fmt.Sprint("unheard-of", i))
		check.ErrorIf(t, ok, "an unheard-of party is there")
		m.expectOf(fmt.Sprint("unheard-of", i))
	}
	m.expect(want...)
	m.ask("stranger", "number") // the asker is not a label either
	m.expect(countedGuests(1), countedAsks("number", 2), countedReplies("guest", "number", 2, 0, 0))
}

func TestServicesBeyond512OfAGuestAreCountedTogether(t *testing.T) {
	const many, beyond = 512, 3
	m := newMetered(t)
	name := func(i int) string { return fmt.Sprintf("service%04d", i) }
	// Others are counted apart all the same, and may be called like the rest.
	members := []member{local("another", "own", partytest.Pong), local("another", "other", partytest.Pong)}
	for i := range many + beyond {
		members = append(members, local("busy", name(i), partytest.Pong))
	}
	operators := onProvision(t, "members", m.party, members...)
	m.load("test_app members\nwsgi_party PARTY")
	everybody := operatorOf(m, m.party)
	for i := range many + beyond {
		_, err := everybody.AskAround(context.Background(), name(i), nil)
		check.Must(t, err)
	}
	m.ask("", name(0))
	m.ask("", name(many+1))
	m.ask("", "own")
	m.ask("", "other")
	another := []partytest.Figures{countedAsks("own", 1), countedReplies("another", "own", 1, 0, 0), countedReplies("another", "other", 1, 0, 0)}
	want := append(slices.Clone(another), countedGuests(2))
	for i := range many {
		want = append(want, countedAsks(name(i), 1), countedReplies("busy", name(i), 1, 0, 0))
	}
	want = append(want, countedAsks(name(0), 2), countedReplies("busy", name(0), 2, 0, 0))
	want = append(want, countedAsks("other", beyond+2), countedReplies("busy", "other", beyond+1, 0, 0))
	m.expect(want...)

	// It is about the names ever seen, not those connected now.
	operators["busy"].Leave()
	m.expect(append(slices.Clone(another), countedGuests(1), countedAsks("other", beyond+2))...)
	returned := everybody.Partyline().Operator("busy")
	for _, service := range []string{name(0), "new"} {
		partytest.Connect(t, returned, service, partytest.Pong)
	}
	m.ask("", "new")
	m.expect(append(slices.Clone(another), countedGuests(2), countedAsks(name(0), 2), countedReplies("busy", name(0), 2, 0, 0),
		countedAsks("other", beyond+3), countedReplies("busy", "other", beyond+2, 0, 0))...)

	m.load("test_app members\nwsgi_party PARTY")
	m.expect(append(want, countedAsks("other", beyond+3), countedReplies("busy", "other", beyond+2, 0, 0))...)
}

// TestOddNamesDoNotBreakTheScrape has parties and services whose names are not UTF-8 or have to be escaped.
func TestOddNamesDoNotBreakTheScrape(t *testing.T) {
	partytest.Guest(t, "guest", "pong", "ping")
	m := newMetered(t)
	odd := []string{"say \"hi\"", "two\nlines", `back\slash`, `end\`, "{a=\"b\"}, # x", "héllo, 世界", "\t \r", "\x00", "no\xff\xfeUTF-8"}
	oddParty := m.party + "\"\n\\\xff"
	var members []member
	for i, name := range odd {
		guest := fmt.Sprint("guest", i)
		members = append(members, local(guest, name, partytest.Pong), remote(guest, name, partytest.Pong))
	}
	onProvision(t, "members", m.party, members...)
	onProvision(t, "odd members", oddParty, members...)
	m.load("test_app members\ntest_app \"odd members\"\nwsgi_party PARTY {\ninvite /%ff/__invite__/ as invited\ntest_app guest\n}")
	for _, party := range []string{m.party, oddParty} {
		for _, name := range odd {
			_, err := operatorOf(m, party).AskAround(context.Background(), name, nil)
			check.Nil(t, err)
		}
	}
	want := []partytest.Figures{countedGuests(float64(len(odd)))}
	for i, name := range odd {
		guest := fmt.Sprint("guest", i)
		if name == "no\xff\xfeUTF-8" {
			name = `"no\xff\xfeUTF-8"`
		}
		want = append(want, countedAsks(name, 1), countedReplies(guest, name, 2, 0, 0), timedReplies(guest, name, 1))
	}
	m.expectOf(fmt.Sprintf("%q", oddParty), want...)
	m.expect(append(want, countedGuests(float64(len(odd)+1)), countedInvites(1, 0, 0, 0), countedAsks("ping", 0), countedReplies("invited", "ping", 0, 0, 0))...)
}

// TestNamesThatAreWrittenAlikeDoNotBreakTheScrape has a name that is not UTF-8, and
// another one that is the label of the first.
func TestNamesThatAreWrittenAlikeDoNotBreakTheScrape(t *testing.T) {
	m := newMetered(t)
	names := []string{"\xff", `"\xff"`}
	var members []member
	for i, name := range names {
		guest := fmt.Sprint("guest", i)
		members = append(members, local(guest, "number", partytest.Pong), remote(guest, name, partytest.Pong))
	}
	apps := "test_app members\n"
	onProvision(t, "members", m.party, members...)
	for i, name := range names {
		key := fmt.Sprint("members", i)
		onProvision(t, key, m.party+name, members...)
		apps += "test_app " + key + "\n"
	}
	m.load(apps + "wsgi_party PARTY")
	m.ask("", "number")
	for where, got := range m.figures(m.party) {
		check.ErrorIf(t, got[`asks_total{service="number"}`] != 1 || got["guests"] != 2, "%s: %v", where, got)
	}
}
