// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

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
	var invited *partytest.Operator
	refuse := false
	partytest.OnInvites(t, "app", func(w http.ResponseWriter, r *http.Request, operator *partytest.Operator) error {
		if invited = operator; refuse {
			return partytest.Responds(http.StatusForbidden)(w, r, operator)
		}
		return partytest.Connects("pong", "ping")(w, r, operator)
	})
	c := newEventful(t)
	h := holdEvents(c, "slow")
	c.load("wsgi_party main {\ninvite /one/__invite__/\ntest_app app\n}")
	c.expect("guest_joined one [ping]")
	var many []*wsgiparty.Operator
	for i := range 50 {
		many = append(many, c.join(fmt.Sprint("guest", i)))
		c.expect(fmt.Sprintf("guest_joined guest%d []", i))
		check.Must(t, many[i].Connect(fmt.Sprint("service", i), partytest.Pong))
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
	wsgiparty.SendInvites("main", "")
	c.join("next", "a")
	refuse = false
	wsgiparty.SendInvites("main", "")
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
	partytest.OnProvision(t, "soon-gone", func(ctx caddy.Context) error {
		operator, _ := wsgiparty.Join(ctx, "main", "soon-gone")
		defer operator.Leave()
		return operator.Connect("ping", partytest.Pong)
	})
	c := newEventful(t)
	h := holdEvents(c, "slow")
	c.load("test_app soon-gone\nwsgi_party main")
	c.join("slow")
	<-h.reached
	c.join("brief", "ping").Leave()
	c.join("back", "before").Leave()
	c.join("back", "after")
	close(h.release)
	c.join("marker")
	on := make(map[string]bool)
	for last := ""; last != "guest_joined marker []"; {
		last = c.next(1)[0]
		fields := strings.SplitN(strings.Split(last, " [")[0], " ", 2)
		if joined := fields[0] == "guest_joined"; joined == on[fields[1]] {
			t.Errorf("%s, but on the line: %v", last, on)
		} else {
			on[fields[1]] = joined
		}
	}
	check.ErrorIf(t, !on["back"] || on["brief"] || on["soon-gone"], "in the end there are %v", on)
}

// TestAGuestThatLeavesWithinItsInviteIsToldToJoinLater has a guest think better of it.
func TestAGuestThatLeavesWithinItsInviteIsToldToJoinLater(t *testing.T) {
	ready := false
	partytest.OnInvites(t, "app", func(w http.ResponseWriter, r *http.Request, operator *partytest.Operator) error {
		err := partytest.Connects("pong", "ping")(w, r, operator)
		if !ready {
			operator.Leave()
		}
		return err
	})
	c := newEventful(t)
	c.load("wsgi_party main {\ninvite /one/__invite__/\ntest_app app\n}")
	c.join("nobody-before")
	c.expect("guest_joined nobody-before []")
	ready = true
	infos := wsgiparty.SendInvites("main", "one")
	check.FatalIf(t, len(infos) != 1 || !infos[0].Sent || infos[0].Result != wsgiparty.InviteJoined, infos)
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
	check.Equal(t, len(panics), 3*3, "panics are logged")
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
		c.join("nobody-hears-of").Leave() // the config ends before
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
		c.join("nobody-hears-of").Leave()
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
		wsgiparty.Parties()
		c.note(fmt.Sprint(c.AskAround("main", "number", nil)))
		substitute, err := wsgiparty.Join(c.ctx, "main", "substitute")
		if err != nil {
			return err
		}
		wsgiparty.SendInvites("main", "")
		substitute.Leave()
		return nil
	})
	partytest.OnProvision(t, "member", partytest.Joins("main", "member", "number", 1))
	c.load("test_app member\nwsgi_party main {\ninvite /nobody/__invite__/\n}")
	c.expect("guest_joined member [number]", `invite_not_answered nobody [] /nobody/__invite__/ 0 ""`)
	leaves := c.join("leaves")
	c.expect("guest_joined leaves []")
	leaves.Leave()
	c.expect("guest_left leaves []", "[1] <nil>")
	c.join("marker")
	partytest.Eventually(t, "the rest", func() bool {
		return slices.Contains(c.rest(), "guest_joined marker []") && slices.Contains(c.rest(), "guest_left substitute []")
	})
	c.next(len(c.rest()))
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
	events := c.next(2 * guests * times)
	for name := range told {
		own := slices.DeleteFunc(slices.Clone(events), func(e string) bool { return !strings.Contains(e, " "+name+" ") })
		for i, e := range own {
			check.Equal(t, e, []string{"guest_joined ", "guest_left "}[i%2]+name+" []", i)
		}
		check.Equal(t, len(own), 2*times, "%s: events", name)
	}
}

// TestGuestLeftIsNotToldWhileAReplicaIsConnected has the next operator of a guest
// connect without joining.
func TestGuestLeftIsNotToldWhileAReplicaIsConnected(t *testing.T) {
	c := newEventful(t)
	c.load("wsgi_party main")
	first := c.join("one")
	c.expect("guest_joined one []")
	replica := connectMain(c, "one", "ping", partytest.Pong)
	first.Leave()
	c.join("marker")
	c.expect("guest_joined marker []")
	c.join("one").Leave() // of whom everybody knows
	replica.Leave()
	c.expect("guest_left one [ping]")
}

// TestTellingOfGuestsThatJoinIsNotQuadratic counts what the events of many guests
// allocate: for each, about as much among four times as many.
func TestTellingOfGuestsThatJoinIsNotQuadratic(t *testing.T) {
	const guests = 750 // and 3,000
	perGuest := func(n int) float64 {
		told, marker := make(chan struct{}), fmt.Sprint("guest", n-1)
		partytest.HandleEvents(t, "", func(_ context.Context, e caddy.Event) error {
			if e.Data["guest"] == marker {
				close(told)
			}
			services := e.Data["services"].([]string)
			check.ErrorIf(t, len(services) != 2 || services[0] != "a", "%s is told with the services %q", e.Data["guest"], services)
			return nil
		})
		var before, after runtime.MemStats
		partytest.OnProvision(t, "many", func(ctx caddy.Context) error {
			for g := range n {
				operator := check.Value(wsgiparty.Join(ctx, "main", fmt.Sprint("guest", g)))(t)
				partytest.Connect(t, operator, fmt.Sprint("service", g), partytest.Pong)
				partytest.Connect(t, operator, "a", partytest.Pong)
			}
			runtime.ReadMemStats(&before)
			return nil
		})
		c := partytest.NewCaddy(t)
		check.Must(t, caddy.Load(subscribed(c.Adapt("ADDRESS {\nroute {\ntest_app many\nwsgi_party main\n}\n}"), "guest_joined"), true))
		<-told
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc-before.TotalAlloc) / float64(n)
	}
	few, many := perGuest(guests), perGuest(4*guests)
	check.ErrorIf(t, many > 2*few, "%.0f bytes for each of %d guests, %.0f for each of %d", few, guests, many, 4*guests)
}
