// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

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
	if len(e.Data) != len(want) {
		t.Errorf("%s has the data %v", e.Name(), e.Data)
	}
	for key, value := range want {
		if reflect.TypeOf(e.Data[key]) != reflect.TypeOf(value) {
			t.Errorf("%s: %s is a %T", e.Name(), key, e.Data[key])
		}
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
		e.mu.Lock()
		defer e.mu.Unlock()
		if rest := e.events[e.expected:]; len(rest) > 0 && !t.Failed() {
			t.Errorf("nobody expected %q", rest)
		}
	})
	e.Caddy = partytest.NewCaddy(t)
	t.Cleanup(func() { // events come in order, so that with this one all have been told
		if !t.Failed() {
			e.join("the last")
			e.expect("guest_joined the last []")
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

// expect waits for these events, the next in this order.
func (e *eventful) expect(want ...string) {
	e.Helper()
	var got []string
	for deadline := time.Now().Add(time.Minute); len(got) < len(want); time.Sleep(time.Millisecond) {
		e.mu.Lock()
		got = slices.Clone(e.events[e.expected:])
		e.mu.Unlock()
		if time.Now().After(deadline) {
			e.Fatalf("got  %q\nwant %q", got, want)
		}
	}
	if got = got[:min(len(got), len(want))]; !slices.Equal(got, want) {
		e.Errorf("got  %q\nwant %q", got, want)
	}
	e.expected += len(got)
}

// join joins the running config's party.
func (e *eventful) join(guest string, services ...string) *Operator {
	e.Helper()
	operator, err := Join(e.ctx, "main", guest)
	for _, service := range services {
		err = errors.Join(err, operator.Connect(service, partytest.Pong))
	}
	if err != nil {
		e.Error(err)
	}
	return operator
}

// config returns a config of one site with a subscription for all events of parties.
func (e *eventful) config(directives string) []byte {
	e.Helper()
	config := e.Adapt("ADDRESS {\nroute {\ntest_app late\n" + directives + "\n}\n}")
	return bytes.Replace(config, []byte(`"apps":{`), []byte(`"apps":{"events":{"subscriptions":[{"events":["`+
		strings.Join(partyEvents, `","`)+`"],"handlers":[{"handler":"test_recorder"}]}]},`), 1)
}

func (e *eventful) load(directives string) {
	e.Helper()
	if err := caddy.Load(e.config(directives), true); err != nil {
		e.Fatal(err)
	}
	e.ctx = e.loading
}

func TestEventsTellWhoJoinedAndWhoseInviteCameToNothing(t *testing.T) {
	partytest.Guest(t, "one", "1", "url", "ping")
	partytest.Guest(t, "silent", "")
	partytest.App(t, "refuses", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		operator, _ := OperatorFrom(r)
		w.WriteHeader(http.StatusForbidden)
		return operator.Connect("ping", partytest.Pong)
	})
	partytest.App(t, "fails", func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return errors.New("oh no") })
	partytest.OnProvision(t, "early", joins("main", "early", "number", 1))
	partytest.OnProvision(t, "nobody", func(ctx caddy.Context) error {
		_, err := Join(ctx, "main", "") // no guest
		return err
	})
	partytest.OnProvision(t, "elsewhere", joins("other", "early", "number", 1))
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
	c.expect(
		"guest_joined early [number]",
		"guest_joined early [number] of other",
		"guest_joined one [ping url]",
		`invite_refused refuses [ping] /refuses/__invite__/ 403 ""`,
		`invite_refused guarded [] /guarded/__invite__/ 401 ""`,
		`invite_failed fails [] /fails/__invite__/ 0 "oh no"`,
		`invite_failed down [] /down/__invite__/ 502 ""`,
		`invite_not_answered nobody [] https://example.com/nobody/__invite__/ 0 ""`,
		"guest_joined silent []",
	)

	// Who is on the line is not told of again.
	SendInvites("main", "")
	c.expect(
		`invite_refused refuses [ping] /refuses/__invite__/ 403 ""`,
		`invite_refused guarded [] /guarded/__invite__/ 401 ""`,
		`invite_failed fails [] /fails/__invite__/ 0 "oh no"`,
		`invite_failed down [] /down/__invite__/ 502 ""`,
		`invite_not_answered nobody [] https://example.com/nobody/__invite__/ 0 ""`,
	)
	late := c.join("late")
	c.expect("guest_joined late []")
	for _, service := range []string{"b", "a"} {
		if err := late.Connect(service, partytest.Pong); err != nil {
			t.Fatal(err)
		}
	}
	late.Leave()
	c.expect("guest_left late [a b]")
}

// TestEventsOfACaddyfile uses the global option `events`, and placeholders as
// `exec` does.
func TestEventsOfACaddyfile(t *testing.T) {
	partytest.Guest(t, "one", "1", "number", "url")
	var left *Operator
	partytest.OnProvision(t, "two", func(ctx caddy.Context) (err error) {
		left, err = Join(ctx, "main", "two")
		return errors.Join(err, left.Connect("number", partytest.Pong), left.Connect("ping", partytest.Pong))
	})
	told := make(chan string, 10)
	partytest.HandleEvents(t, "command", func(ctx context.Context, _ caddy.Event) error {
		replacer := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		told <- replacer.ReplaceAll("{event.name}: {event.data.guest} of {event.data.party}, {event.data.services}", "?")
		return nil
	})
	c := partytest.NewCaddy(t)
	config := strings.Replace(partytest.GlobalOptions, "{\n", `{
	events {
		on guest_left test_recorder command
		on invite_refused test_recorder command
	}
`, 1) + strings.ReplaceAll(`
ADDRESS {
	route {
		test_app two
		wsgi_party main {
			invite /one/__invite__/ /two/__invite__/
			test_app /one/* one
			error /two/* 403
		}
	}
}`, "ADDRESS", "http://"+c.Address)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(adapted, true); err != nil {
		t.Fatal(err)
	}
	if got := <-told; got != "invite_refused: two of main, []" {
		t.Error(got)
	}
	left.Leave()
	if got := <-told; got != "guest_left: two of main, [number ping]" {
		t.Error(got)
	}
	if len(told) > 0 {
		t.Error(<-told)
	}
}

// TestEventsAreToldOfAConfigThatHasStarted has a module of the config, which hears
// even what is told too early, listen to configs that fail to load and to start.
func TestEventsAreToldOfAConfigThatHasStarted(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	partytest.OnProvision(t, "two", joins("main", "two", "number", 2))
	var c *eventful
	generation := 0
	partytest.OnProvision(t, "listens", func(ctx caddy.Context) error {
		generation++
		own := generation
		events, err := ctx.App("events")
		if err != nil {
			return err
		}
		for _, name := range append([]string{"started"}, partyEvents...) {
			err = errors.Join(err, events.(*caddyevents.App).On(name, partytest.EventFunc(func(_ context.Context, e caddy.Event) error {
				if e.Data["guest"] != "the last" {
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
	if err := caddy.Load(c.config(party+"test_app broken"), true); err == nil {
		t.Fatal("the broken config loads")
	}
	if err := caddy.Load(c.config(party+"test_app start"), true); err == nil {
		t.Fatal("the config starts")
	}
	if err := caddy.Validate(partytest.ParseConfig(t, c.config(party))); err != nil {
		t.Fatal(err)
	}
	fail = false
	c.load(party + "test_app start")
	c.expect("start", "start", "4: started <nil>")
	c.expectEach( // a subscriber is told after the other, of one event after the other
		[]string{"4: guest_joined two", "4: guest_joined one"},
		[]string{"guest_joined two [number]", "guest_joined one [number]"})
}

// expectEach waits for events that are told to several, in the order of each.
func (e *eventful) expectEach(want ...[]string) {
	e.Helper()
	n := 0
	for _, w := range want {
		n += len(w)
	}
	e.mu.Lock()
	seen := e.expected
	e.mu.Unlock()
	partytest.Eventually(e, "all events", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.events) >= seen+n
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	got := e.events[seen : seen+n]
	for _, w := range want {
		if own := slices.DeleteFunc(slices.Clone(got), func(event string) bool { return !slices.Contains(w, event) }); !slices.Equal(own, w) {
			e.Errorf("got  %q\nwant %q", got, w)
		}
	}
	e.expected += n
}

func TestAReloadTellsWhoIsOnTheNewLineAndOfNobodyWhoLeft(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	var operators []*Operator
	services := []string{"old"}
	partytest.OnProvision(t, "two", func(ctx caddy.Context) error {
		operator, err := Join(ctx, "main", "two")
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
	if entries := partytest.LogEntries(t, "context canceled; event handling stopped"); len(entries) != 0 {
		t.Errorf("events of a config that has ended are emitted: %v", entries)
	}
	c.load("respond done")
	c.load("respond done")
}

func TestGuestLeftIsToldWhenTheLastOperatorLeaves(t *testing.T) {
	invited := make(map[string][]*Operator)
	partytest.App(t, "app", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		operator, _ := OperatorFrom(r)
		invited[operator.Guest()] = append(invited[operator.Guest()], operator)
		return errors.Join(operator.Connect("ping", partytest.Pong), operator.ConnectRemote("url", partytest.Pong))
	})
	c := newEventful(t)
	c.load("wsgi_party main {\ninvite /one/__invite__/\ntest_app app\n}")
	c.expect("guest_joined one [ping url]")
	invited["one"][0].Leave()
	c.expect("guest_left one [ping url]")
	invited["one"][0].Leave()
	if entries := partytest.LogEntries(t, "guest left"); len(entries) != 1 || entries[0]["level"] != "info" || entries[0]["logger"] != "wsgi_party" ||
		entries[0]["party"] != "main" || entries[0]["guest"] != "one" || fmt.Sprint(entries[0]["services"]) != "[ping url]" {
		t.Errorf("in the log: %v", entries)
	}

	SendInvites("main", "one")
	c.expect("guest_joined one [ping url]")
	SendInvites("main", "one") // is on the line
	replica := c.join("one", "ping", "number")
	unseen := operatorOf(c, "main").Partyline().Operator("one")
	if err := unseen.Connect("more", partytest.Pong); err != nil {
		t.Fatal(err)
	}
	invited["one"][1].Leave()
	unseen.Leave()
	replica.Leave()
	c.expect("guest_left one [number ping]")
	replica.Leave()

	// Of whom nobody was told that it joined, nobody is told that it left.
	stranger := operatorOf(c, "main").Partyline().Operator("stranger")
	if err := stranger.Connect("ping", partytest.Pong); err != nil {
		t.Fatal(err)
	}
	stranger.Leave()
	c.join("").Leave()
	c.join("the end")
	c.expect("guest_joined the end []")
	if entries := partytest.LogEntries(t, "guest left"); len(entries) != 2 || entries[1]["guest"] != "one" {
		t.Errorf("in the log: %v", entries)
	}
}

func TestAnInviteThatTookTooLongFailedAndNobodyLeft(t *testing.T) {
	slow := true
	var operator *Operator
	ended := make(chan struct{})
	partytest.App(t, "app", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		operator, _ = OperatorFrom(r)
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
	if guests := operatorOf(c, "main").Partyline().Guests(); len(guests) != 0 {
		t.Errorf("on the line: %v", guests)
	}
	operator.Leave()
	if entries := partytest.LogEntries(t, "guest left"); len(entries) != 0 {
		t.Errorf("in the log: %v", entries)
	}

	slow = false
	SendInvites("main", "")
	c.expect("guest_joined one [ping]")
	operator.Leave()
	c.expect("guest_left one [ping]")
}

func TestAGuestWhoseContextEndsBeforeItsConfigIsToldToHaveLeft(t *testing.T) {
	var end context.CancelFunc
	partytest.OnProvision(t, "temporary", func(ctx caddy.Context) error {
		ctx, end = caddy.NewContext(ctx)
		return joins("main", "temporary", "number", 1)(ctx)
	})
	c := newEventful(t)
	c.load("wsgi_party main\ntest_app temporary")
	c.expect("guest_joined temporary [number]")
	end()
	c.expect("guest_left temporary [number]")
}

// TestEventsGoOnAfterTheContextOfWhoJoinedFirst has the module that joins first of
// all do so with a context that ends early.
func TestEventsGoOnAfterTheContextOfWhoJoinedFirst(t *testing.T) {
	var end context.CancelFunc
	partytest.OnProvision(t, "temporary", func(ctx caddy.Context) error {
		ctx, end = caddy.NewContext(ctx)
		return joins("main", "temporary", "number", 1)(ctx)
	})
	c := newEventful(t)
	c.load("test_app temporary\nwsgi_party main")
	c.expect("guest_joined temporary [number]")
	end()
	c.expect("guest_left temporary [number]")
	c.join("another")
	c.expect("guest_joined another []")
}

// held is a handler of events that keeps hold of the first one it is told of that
// guest, until it is released.
type held struct{ reached, release chan struct{} }

func holdEvents(c *eventful, guest string) *held {
	h := &held{make(chan struct{}), make(chan struct{})}
	var holding atomic.Bool
	c.handleWith(func(_ context.Context, e caddy.Event) error {
		if e.Data["guest"] == guest && holding.CompareAndSwap(false, true) {
			close(h.reached)
			<-h.release
		}
		return nil
	})
	return h
}

// TestEventsComeInTheOrderOfWhatHappened has many things happen while the handler is
// at an event.
func TestEventsComeInTheOrderOfWhatHappened(t *testing.T) {
	var invited *Operator
	refuse := false
	partytest.App(t, "app", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		invited, _ = OperatorFrom(r)
		if refuse {
			w.WriteHeader(http.StatusForbidden)
			return nil
		}
		return invited.Connect("ping", partytest.Pong)
	})
	c := newEventful(t)
	h := holdEvents(c, "slow")
	c.load("wsgi_party main {\ninvite /one/__invite__/\ntest_app app\n}")
	c.expect("guest_joined one [ping]")
	var many []*Operator
	for i := range 50 {
		many = append(many, c.join(fmt.Sprint("guest", i)))
		c.expect(fmt.Sprintf("guest_joined guest%d []", i))
		if err := many[i].Connect(fmt.Sprint("service", i), partytest.Pong); err != nil {
			t.Fatal(err)
		}
	}

	c.join("slow")
	<-h.reached
	var want []string
	for i, operator := range many {
		operator.Leave()
		want = append(want, fmt.Sprintf("guest_left guest%d [service%[1]d]", i))
	}
	invited.Leave()
	refuse = true
	SendInvites("main", "")
	c.join("next", "a")
	refuse = false
	SendInvites("main", "")
	c.join("last", "b")
	close(h.release)
	c.expect("guest_joined slow []")
	c.expect(want...)
	c.expect("guest_left one [ping]", `invite_refused one [] /one/__invite__/ 403 ""`, "guest_joined next [a]",
		"guest_joined one [ping]", "guest_joined last [b]")
}

// TestWhoIsToldToHaveLeftWasToldToHaveJoined has guests leave before anybody was
// told that they had joined: in Provision, and while the handler is at an event.
func TestWhoIsToldToHaveLeftWasToldToHaveJoined(t *testing.T) {
	partytest.OnProvision(t, "soon gone", func(ctx caddy.Context) error {
		operator, err := Join(ctx, "main", "soon gone")
		if err != nil {
			return err
		}
		defer operator.Leave()
		return operator.Connect("ping", partytest.Pong)
	})
	c := newEventful(t)
	h := holdEvents(c, "slow")
	c.load("test_app \"soon gone\"\nwsgi_party main")
	c.join("slow")
	<-h.reached
	c.join("brief", "ping").Leave()
	c.join("back", "before").Leave()
	c.join("back", "after")
	close(h.release)
	c.join("marker")
	on := make(map[string]bool)
	for last := ""; last != "guest_joined marker []"; {
		partytest.Eventually(t, "the next event", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(c.events) == c.expected {
				return false
			}
			last = c.events[c.expected]
			c.expected++
			return true
		})
		fields := strings.SplitN(strings.Split(last, " [")[0], " ", 2)
		if joined := fields[0] == "guest_joined"; joined == on[fields[1]] {
			t.Errorf("%s, but on the line: %v", last, on)
		} else {
			on[fields[1]] = joined
		}
	}
	if !on["back"] || on["brief"] || on["soon gone"] {
		t.Errorf("in the end there are %v", on)
	}
}

// TestAGuestThatLeavesWithinItsInviteIsToldToJoinLater has a guest think better of it.
func TestAGuestThatLeavesWithinItsInviteIsToldToJoinLater(t *testing.T) {
	ready := false
	partytest.App(t, "app", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		operator, _ := OperatorFrom(r)
		err := operator.Connect("ping", partytest.Pong)
		if !ready {
			operator.Leave()
		}
		w.WriteHeader(http.StatusNoContent)
		return err
	})
	c := newEventful(t)
	c.load("wsgi_party main {\ninvite /one/__invite__/\ntest_app app\n}")
	c.join("nobody before")
	c.expect("guest_joined nobody before []")
	ready = true
	if infos := SendInvites("main", "one"); len(infos) != 1 || !infos[0].Sent || infos[0].Result != InviteJoined {
		t.Fatal(infos)
	}
	c.join("marker")
	c.expect("guest_joined one [ping]", "guest_joined marker []")
}

// TestAHandlerThatFailsIsOnlyThatEvent has handlers panic, fail and abort.
func TestAHandlerThatFailsIsOnlyThatEvent(t *testing.T) {
	panics := testHandlersThat(t, map[string]func() error{
		"panics":         func() error { panic("oh no") },
		"panics for nil": func() error { panic(nil) },
		"dereferences":   func() error { return fmt.Errorf("%d", len(*(*string)(nil))) },
		"fails":          func() error { return errors.New("oh no") },
		"aborts":         func() error { return caddy.ErrEventAborted },
	})
	if len(panics) != 3*3 {
		t.Errorf("%d panics are logged", len(panics))
	}
	for _, entry := range panics {
		if entry["level"] != "error" || entry["logger"] != "wsgi_party" || !slices.Contains([]any{"guest_joined", "guest_left"}, entry["event"]) ||
			entry["error"] == "" || !strings.Contains(fmt.Sprint(entry["stack"]), "events_test.go") {
			t.Error(entry)
		}
	}
}

func TestAHandlerThatEndsItsGoroutineIsOnlyThatEvent(t *testing.T) {
	testHandlersThat(t, map[string]func() error{"exits": func() error { runtime.Goexit(); return nil }})
}

// testHandlersThat tests handlers that do that with some of the events, and returns
// what was logged of panics.
func testHandlersThat(t *testing.T, do map[string]func() error) []partytest.Entry {
	partytest.Guest(t, "one", "1", "number")
	c := newEventful(t)
	for _, do := range do {
		c.handleWith(func(_ context.Context, e caddy.Event) error {
			if e.Data["guest"] == "bad" || e.Data["guest"] == "one" {
				return do()
			}
			return nil
		})
		c.load("wsgi_party main {\ninvite /one/__invite__/ /nobody/__invite__/\ntest_app /one/* one\n}")
		c.expect("guest_joined one [number]", `invite_not_answered nobody [] /nobody/__invite__/ 0 ""`)
		bad := c.join("bad")
		c.expect("guest_joined bad []")
		bad.Leave()
		c.join("good")
		c.expect("guest_left bad []", "guest_joined good []")
		c.ExpectAnswers("main", "number", "1")
		c.ExpectSoon("/one/", 200, "one")
	}
	return partytest.LogEntries(t, "an event handler panicked")
}

// TestAHandlerThatHangsHoldsUpNobody has the config, its guests and the next config
// go on while a handler waits, for good or until its context ends.
func TestAHandlerThatHangsHoldsUpNobody(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	const party = "wsgi_party main {\ninvite /one/__invite__/\ntest_app one\n}"
	t.Run("until it is released", func(t *testing.T) {
		c := newEventful(t)
		h := holdEvents(c, "one")
		c.load(party)
		<-h.reached
		c.expect("guest_joined one [number]")
		c.join("nobody hears of").Leave() // the config ends before
		c.ExpectAnswers("main", "number", "1")
		c.Caddy.Expect("/", 200, "one")
		c.load(party)
		c.expect("guest_joined one [number]") // of the new config
		c.join("two")
		c.expect("guest_joined two []")
		close(h.release)
	})
	t.Run("until the config ends", func(t *testing.T) {
		c := newEventful(t)
		reached, ended := make(chan struct{}), make(chan struct{})
		c.handleWith(func(ctx context.Context, e caddy.Event) error {
			close(reached)
			<-ctx.Done()
			close(ended)
			return nil
		})
		c.load(party)
		<-reached
		c.expect("guest_joined one [number]")
		c.join("nobody hears of").Leave()
		c.handleWith(func(context.Context, caddy.Event) error { return nil })
		c.load(party)
		<-ended
		c.expect("guest_joined one [number]") // and nothing more of the old one
	})
}

func TestHandlersOfEventsMayUseTheLine(t *testing.T) {
	c := newEventful(t)
	c.handleWith(func(_ context.Context, e caddy.Event) error {
		if e.Name() != "guest_left" || e.Data["guest"] == "substitute" {
			return nil
		}
		operator, ok := Lookup("main")
		if !ok {
			return errors.New("there is no party")
		}
		Parties()
		answers, err := operator.AskAround(context.Background(), "number", nil)
		c.note(fmt.Sprint(answers, err))
		substitute, err := Join(c.ctx, "main", "substitute")
		if err != nil {
			return err
		}
		SendInvites("main", "")
		substitute.Leave()
		return nil
	})
	partytest.OnProvision(t, "member", joins("main", "member", "number", 1))
	c.load("test_app member\nwsgi_party main {\ninvite /nobody/__invite__/\n}")
	c.expect("guest_joined member [number]", `invite_not_answered nobody [] /nobody/__invite__/ 0 ""`)
	operator := c.join("leaves")
	c.expect("guest_joined leaves []")
	operator.Leave()
	c.expect("guest_left leaves []", "[1] <nil>")
	c.join("marker")
	partytest.Eventually(t, "the rest", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return slices.Contains(c.events[c.expected:], "guest_joined marker []") && slices.Contains(c.events[c.expected:], "guest_left substitute []")
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expected = len(c.events)
}

// TestEventsAreToldOnceUnderLoad has many guests come and go at once.
func TestEventsAreToldOnceUnderLoad(t *testing.T) {
	c := newEventful(t)
	c.load("wsgi_party main")
	const guests, times = 8, 50
	var group sync.WaitGroup
	told := make(map[string]chan struct{})
	for g := range guests {
		told[fmt.Sprint("guest", g)] = make(chan struct{}, 1)
	}
	c.handleWith(func(_ context.Context, e caddy.Event) error {
		if e.Name() == "guest_joined" && strings.HasPrefix(e.Data["guest"].(string), "guest") {
			told[e.Data["guest"].(string)] <- struct{}{}
		}
		return nil
	})
	for name, told := range told {
		group.Go(func() {
			for range times {
				operator := c.join(name)
				<-told
				operator.Leave()
			}
		})
	}
	group.Wait()
	partytest.Eventually(t, "all is told", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.events) >= 2*guests*times
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range told {
		own := slices.DeleteFunc(slices.Clone(c.events), func(e string) bool { return !strings.Contains(e, " "+name+" ") })
		for i, e := range own {
			if e != []string{"guest_joined ", "guest_left "}[i%2]+name+" []" {
				t.Errorf("%d: %s", i, e)
			}
		}
		if len(own) != 2*times {
			t.Errorf("%s: %d events", name, len(own))
		}
	}
	c.expected = len(c.events)
}

// joinsMeanwhile lets somebody join while the observer is about to be told that a
// guest has left.
type joinsMeanwhile struct {
	observer
	join func()
}

func (o *joinsMeanwhile) left(guest string, services []string) {
	joined := make(chan struct{})
	go func() {
		o.join()
		close(joined)
	}()
	select {
	case <-joined:
	case <-time.After(50 * time.Millisecond): // it has to wait
	}
	o.observer.left(guest, services)
}

// TestAHandOverIsToldAsItHappened has one operator of a guest leave while the next one
// joins: a guest that is on the line is not told to have left last.
func TestAHandOverIsToldAsItHappened(t *testing.T) {
	c := newEventful(t)
	c.load("wsgi_party main")
	first := c.join("one")
	c.expect("guest_joined one []")
	line := operatorOf(c, "main").Partyline()
	joined := make(chan struct{})
	line.observer = &joinsMeanwhile{line.observer, func() {
		c.join("one")
		close(joined)
	}}
	first.Leave()
	<-joined
	c.expect("guest_left one []", "guest_joined one []")
}

// TestGuestLeftIsNotToldWhileAReplicaIsConnected has the next operator of a guest
// connect without joining.
func TestGuestLeftIsNotToldWhileAReplicaIsConnected(t *testing.T) {
	c := newEventful(t)
	c.load("wsgi_party main")
	first := c.join("one")
	c.expect("guest_joined one []")
	replica := operatorOf(c, "main").Partyline().Operator("one")
	if err := replica.Connect("ping", partytest.Pong); err != nil {
		t.Fatal(err)
	}
	first.Leave()
	c.join("marker")
	c.expect("guest_joined marker []")
	c.join("one").Leave() // of whom everybody knows
	replica.Leave()
	c.expect("guest_left one [ping]")
}
