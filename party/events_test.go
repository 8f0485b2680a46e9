// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

var partyEvents = []string{"guest_joined", "guest_left", "invite_joined", "invite_refused", "invite_failed", "invite_not_answered"}

// described returns an event on a line, such as `guest_left one [ping url]`, after
// checking that its data is what it is to be. The party is main if it is not said.
func described(t testing.TB, e caddy.Event) string {
	want := map[string]any{"party": "", "guest": "", "services": []string{}}
	if strings.HasPrefix(e.Name(), "invite_") {
		want["uri"], want["status"], want["error"] = "", 0, ""
	}
	check.Equal(t, len(e.Data), len(want), "%s has the data %v", e.Name(), e.Data)
	for key, value := range want {
		check.Equal(t, fmt.Sprintf("%T", e.Data[key]), fmt.Sprintf("%T", value), "%s: %s", e.Name(), key)
	}
	line := fmt.Sprint(e.Name(), " ", e.Data["guest"], " ", e.Data["services"])
	if e.Data["party"] != "main" {
		line += fmt.Sprint(" of ", e.Data["party"])
	}
	if len(want) > 3 {
		line += fmt.Sprintf(" %v %v %q", e.Data["uri"], e.Data["status"], e.Data["error"])
	}
	return line
}

// eventful is a Caddy of which the test is told the events of parties, in order. No
// event may be left that was not expected when the test ends.
type eventful struct {
	*partytest.Caddy
	ctx     caddy.Context // of the running config, to join it later
	loading caddy.Context

	mu       sync.Mutex
	handle   partytest.EventFunc // what the handler does with each event
	events   []string
	expected int
}

func newEventful(t testing.TB) *eventful {
	t.Helper()
	e := new(eventful)
	partytest.OnProvision(t, "late", func(ctx caddy.Context) error { e.loading = ctx; return nil })
	e.handle = func(context.Context, caddy.Event) error { return nil }
	partytest.HandleEvents(t, "", func(ctx context.Context, event caddy.Event) error {
		e.note(described(t, event))
		e.mu.Lock()
		handle := e.handle
		e.mu.Unlock()
		return handle(ctx, event)
	})
	t.Cleanup(func() { // Caddy has ended
		check.ErrorIf(t, len(e.rest()) > 0, "nobody expected %q", e.rest())
	})
	e.Caddy = partytest.NewCaddy(t)
	t.Cleanup(func() { // events come in order, so that with this one all have been told
		if !t.Failed() {
			e.join("the-last")
			e.expect("guest_joined the-last []")
		}
	})
	return e
}

// handleWith makes the handler do that with each event, after noting it.
func (e *eventful) handleWith(handle partytest.EventFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handle = handle
}

func (e *eventful) note(event string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, event)
}

// rest returns the events that nobody has expected so far.
func (e *eventful) rest() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.events[e.expected:])
}

// next waits for so many events more, and returns them.
func (e *eventful) next(n int) []string {
	e.Helper()
	partytest.Eventually(e, fmt.Sprint(n, " events"), func() bool { return len(e.rest()) >= n })
	next := e.rest()[:n]
	e.expected += n
	return next
}

// expect waits for these events, the next in this order.
func (e *eventful) expect(want ...string) {
	e.Helper()
	if got := e.next(len(want)); !slices.Equal(got, want) {
		e.Errorf("got  %q\nwant %q", got, want)
	}
}

// expectEach waits for events that are told to several, in the order of each.
func (e *eventful) expectEach(want ...[]string) {
	e.Helper()
	got := e.next(len(slices.Concat(want...)))
	for _, w := range want {
		check.Slices(e, slices.DeleteFunc(slices.Clone(got), func(event string) bool { return !slices.Contains(w, event) }), w, "got  %q", got)
	}
}

// join joins the running config's party.
func (e *eventful) join(guest string, services ...string) *wsgiparty.Operator {
	e.Helper()
	operator, err := wsgiparty.Join(e.ctx, "main", guest)
	for _, service := range services {
		err = errors.Join(err, operator.Connect(service, partytest.Pong))
	}
	check.Nil(e, err)
	return operator
}

// config returns a config of one site with a subscription for all events of parties.
func (e *eventful) config(directives string) []byte {
	e.Helper()
	return subscribed(e.Adapt("ADDRESS {\nroute {\ntest_app late\n"+directives+"\n}\n}"), partyEvents...)
}

// subscribed returns the config with a subscription of test_recorder for these events.
func subscribed(config []byte, events ...string) []byte {
	return bytes.Replace(config, []byte(`"apps":{`), []byte(`"apps":{"events":{"subscriptions":[{"events":["`+
		strings.Join(events, `","`)+`"],"handlers":[{"handler":"test_recorder"}]}]},`), 1)
}

func (e *eventful) load(directives string) {
	e.Helper()
	check.Must(e, caddy.Load(e.config(directives), true))
	e.ctx = e.loading
}

func TestEventsTellWhoJoinedAndWhoseInviteCameToNothing(t *testing.T) {
	partytest.Guest(t, "one", "1", "url", "ping")
	partytest.Guest(t, "silent", "")
	partytest.App(t, "refuses", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		operator, _ := wsgiparty.OperatorFrom(r)
		w.WriteHeader(http.StatusForbidden)
		return operator.Connect("ping", partytest.Pong)
	})
	partytest.App(t, "fails", func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return errors.New("oh no") })
	partytest.OnProvision(t, "early", partytest.Joins("main", "early", "number", 1))
	partytest.OnProvision(t, "nobody", func(ctx caddy.Context) error {
		_, err := wsgiparty.Join(ctx, "main", "") // no guest
		return err
	})
	partytest.OnProvision(t, "elsewhere", partytest.Joins("other", "early", "number", 1))
	c := newEventful(t)
	c.load(`
	test_app early
	test_app nobody
	test_app elsewhere
	wsgi_party main {
		invite /one/__invite__/ /refuses/__invite__/ /guarded/__invite__/ /fails/__invite__/ /down/__invite__/
		invite https://example.com/nobody/__invite__/ as "nobody"
		invite /silent/__invite__/
		test_app /one/* one
		test_app /refuses/* refuses
		respond /guarded/* "who are you?" 401
		test_app /fails/* fails
		respond /down/* 502
		test_app /silent/* silent
	}
	wsgi_party other`)
	c.expect("guest_joined early [number]", "guest_joined early [number] of other", "guest_joined one [ping url]")
	toNothing := []string{
		`invite_refused refuses [ping] /refuses/__invite__/ 403 ""`,
		`invite_refused guarded [] /guarded/__invite__/ 401 ""`,
		`invite_failed fails [] /fails/__invite__/ 0 "oh no"`,
		`invite_failed down [] /down/__invite__/ 502 ""`,
		`invite_not_answered nobody [] https://example.com/nobody/__invite__/ 0 ""`,
	}
	c.expect(toNothing...)
	c.expect("guest_joined silent []")

	// Who is on the line is not told of again.
	wsgiparty.SendInvites("main", "")
	c.expect(toNothing...)
	late := c.join("late")
	c.expect("guest_joined late []")
	for _, service := range []string{"b", "a"} {
		check.Must(t, late.Connect(service, partytest.Pong))
	}
	late.Leave()
	c.expect("guest_left late [a b]")
}

// TestEventsOfACaddyfile uses the global option `events`, and placeholders as
// `exec` does.
func TestEventsOfACaddyfile(t *testing.T) {
	partytest.Guest(t, "one", "1", "number", "url")
	var left *wsgiparty.Operator
	partytest.OnProvision(t, "two", func(ctx caddy.Context) (err error) {
		left, err = wsgiparty.Join(ctx, "main", "two")
		return errors.Join(err, left.Connect("number", partytest.Pong), left.Connect("ping", partytest.Pong))
	})
	told := make(chan string, 10)
	partytest.HandleEvents(t, "command", func(ctx context.Context, _ caddy.Event) error {
		replacer := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		told <- replacer.ReplaceAll("{event.name}: {event.data.guest} of {event.data.party}, {event.data.services}", "?")
		return nil
	})
	c := partytest.NewCaddy(t)
	config, _, err := partytest.AdaptCaddyfile(
		strings.Replace(partytest.GlobalOptions, "{\n", "{\nevents {\non guest_left test_recorder command\non invite_refused test_recorder command\n}\n", 1) +
			"http://" + c.Address + " {\nroute {\ntest_app two\nwsgi_party main {\ninvite /one/__invite__/ /two/__invite__/\ntest_app /one/* one\nerror /two/* 403\n}\n}\n}")
	check.Must(t, err)
	check.Must(t, caddy.Load(config, true))
	check.Equal(t, <-told, "invite_refused: two of main, []")
	left.Leave()
	check.Equal(t, <-told, "guest_left: two of main, [number ping]")
	check.Equal(t, len(told), 0, "told besides")
}

// TestEventsAreToldOfAConfigThatHasStarted has a module of the config, which hears
// even what is told too early, listen to configs that fail to load and to start.
func TestEventsAreToldOfAConfigThatHasStarted(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	partytest.OnProvision(t, "two", partytest.Joins("main", "two", "number", 2))
	var c *eventful
	generation := 0
	partytest.OnProvision(t, "listens", func(ctx caddy.Context) error {
		generation++
		own := generation
		events, err := ctx.App("events")
		for _, name := range append([]string{"started"}, partyEvents...) {
			err = errors.Join(err, events.(*caddyevents.App).On(name, partytest.EventFunc(func(_ context.Context, e caddy.Event) error {
				if e.Data["guest"] != "the-last" {
					c.note(fmt.Sprint(own, ": ", e.Name(), " ", e.Data["guest"]))
				}
				return nil
			})))
		}
		return err
	})
	partytest.OnProvision(t, "broken", func(caddy.Context) error { return errors.New("oh no") })
	fail := true
	partytest.OnProvision(t, "start", partytest.DuringStart(t, func() error {
		c.note("start")
		if fail {
			return errors.New("oh no")
		}
		return nil
	}))
	c = newEventful(t)
	const party = "test_app listens\ntest_app two\nwsgi_party main {\ninvite /one/__invite__/ /two/__invite__/\ntest_app one\n}\n"
	check.Fails(t, caddy.Load(c.config(party+"test_app broken"), true), "oh no")
	check.Fails(t, caddy.Load(c.config(party+"test_app start"), true), "oh no")
	check.Must(t, caddy.Validate(partytest.ParseConfig(t, c.config(party))))
	fail = false
	c.load(party + "test_app start")
	c.expect("start", "start", "4: started <nil>")
	c.expectEach( // a subscriber is told after the other, of one event after the other
		[]string{"4: guest_joined two", "4: guest_joined one"},
		[]string{"guest_joined two [number]", "guest_joined one [number]"})
}

func TestAReloadTellsWhoIsOnTheNewLineAndOfNobodyWhoLeft(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	var operators []*wsgiparty.Operator
	services := []string{"old"}
	partytest.OnProvision(t, "two", func(ctx caddy.Context) error {
		operator, err := wsgiparty.Join(ctx, "main", "two")
		operators = append(operators, operator)
		for _, service := range services {
			err = errors.Join(err, operator.Connect(service, partytest.Pong))
		}
		return err
	})
	c := newEventful(t)
	const party = "test_app two\nwsgi_party main {\ninvite /one/__invite__/\ntest_app one\n}\n"
	c.load(party)
	c.expect("guest_joined two [old]", "guest_joined one [number]")
	services = []string{"new", "old"}
	for range 3 {
		c.load(party)
		c.expect("guest_joined two [new old]", "guest_joined one [number]")
	}
	for _, old := range operators[:len(operators)-1] {
		old.Leave() // a line that nobody is on any more
	}
	operators[len(operators)-1].Leave()
	c.expect("guest_left two [new old]")
	check.Equal(t, len(partytest.LogEntries(t, "context canceled; event handling stopped")), 0, "events of a config that has ended are emitted")
	c.load("respond done")
	c.load("respond done")
}

func TestGuestLeftIsToldWhenTheLastOperatorLeaves(t *testing.T) {
	var invited []*wsgiparty.Operator
	onInvite(t, "app", func(i *wsgiparty.Invitation, _ *http.Request) error {
		invited = append(invited, i.Operator)
		return errors.Join(i.Operator.Connect("ping", partytest.Pong), i.Operator.ConnectRemote("url", partytest.Pong))
	})
	c := newEventful(t)
	c.load("wsgi_party main {\ninvite /one/__invite__/\ntest_app app\n}")
	c.expect("guest_joined one [ping url]")
	invited[0].Leave()
	c.expect("guest_left one [ping url]")
	invited[0].Leave()
	left := partytest.LogEntries(t, "guest left")
	check.ErrorIf(t, len(left) != 1 || left[0]["level"] != "info" || left[0]["logger"] != "wsgi_party" ||
		left[0]["party"] != "main" || left[0]["guest"] != "one" || fmt.Sprint(left[0]["services"]) != "[ping url]", "in the log: %v", left)

	wsgiparty.SendInvites("main", "one")
	c.expect("guest_joined one [ping url]")
	wsgiparty.SendInvites("main", "one") // is on the line
	replica := c.join("one", "ping", "number")
	unseen := connectMain(c, "one", "more", partytest.Pong)
	invited[1].Leave()
	unseen.Leave()
	replica.Leave()
	c.expect("guest_left one [number ping]")
	replica.Leave()

	// Of whom nobody was told that it joined, nobody is told that it left.
	connectMain(c, "stranger", "ping", partytest.Pong).Leave()
	c.join("").Leave()
	c.join("the-end")
	c.expect("guest_joined the-end []")
	left = partytest.LogEntries(t, "guest left")
	check.ErrorIf(t, len(left) != 2 || left[1]["guest"] != "one", "in the log: %v", left)
}

func TestAnInviteThatTookTooLongFailedAndNobodyLeft(t *testing.T) {
	slow := true
	var operator *wsgiparty.Operator
	ended := make(chan struct{})
	onInvite(t, "app", func(i *wsgiparty.Invitation, r *http.Request) error {
		operator = i.Operator
		err := operator.Connect("ping", partytest.Pong)
		if slow {
			<-r.Context().Done()
			close(ended)
		}
		return err
	})
	c := newEventful(t)
	c.load("wsgi_party main {\ninvite /one/__invite__/\ninvite_timeout 50ms\ntest_app app\n}")
	c.expect(`invite_failed one [] /one/__invite__/ 0 "it took longer than 50ms"`)
	<-ended
	check.Equal(t, len(operatorOf(c, "main").Partyline().Guests()), 0, "on the line")
	operator.Leave()
	check.Equal(t, len(partytest.LogEntries(t, "guest left")), 0, "in the log")

	slow = false
	wsgiparty.SendInvites("main", "")
	c.expect("guest_joined one [ping]")
	operator.Leave()
	c.expect("guest_left one [ping]")
}

// TestAGuestWhoseContextEndsBeforeItsConfigIsToldToHaveLeft has the module that joins first
// of all do so with a context that ends early: events go on.
func TestAGuestWhoseContextEndsBeforeItsConfigIsToldToHaveLeft(t *testing.T) {
	for _, directives := range []string{"wsgi_party main\ntest_app temporary", "test_app temporary\nwsgi_party main"} {
		t.Run(directives, func(t *testing.T) {
			end := joinsForATime(t, "number")
			c := newEventful(t)
			c.load(directives)
			c.expect("guest_joined temporary [number]")
			end()
			c.expect("guest_left temporary [number]")
			c.join("another")
			c.expect("guest_joined another []")
		})
	}
}
