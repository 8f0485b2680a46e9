// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

func TestAModuleMayJoinBeforeThePartyIsProvisioned(t *testing.T) {
	partytest.Guest(t, "invited", "invited", "who")
	partytest.OnProvision(t, "early", joins("main", "early", "who", "early"))
	partytest.OnProvision(t, "inside", joins("main", "inside", "who", "inside"))
	partytest.OnProvision(t, "late", joins("main", "late", "who", "late"))
	c := partytest.NewCaddy(t)
	c.Site(`
	route {
		test_app early
		wsgi_party main {
			ignore_missing_services
			invite /__invite__/
			route {
				test_app inside
				test_app invited
			}
		}
		test_app late
	}`)
	c.ExpectAnswers("main", "who", "invited", "early", "inside", "late")
	if answers, err := operatorOf(c, "main").AskAround(context.Background(), "nothing", nil); answers != nil || err != nil {
		t.Errorf("ignore_missing_services: %v, %v", answers, err)
	}
}

func TestJoinNeedsTheNameOfAParty(t *testing.T) {
	partytest.OnProvision(t, "nameless", func(ctx caddy.Context) error {
		_, err := Join(ctx, "", "bob")
		return err
	})
	c := partytest.NewCaddy(t)
	c.Site("respond running")
	err := c.TryLoad("ADDRESS {\ntest_app nameless\n}")
	if err == nil || !strings.Contains(err.Error(), `guest "bob": the party's name is empty; a party without a name is called "default"`) {
		t.Error(err)
	}
	c.Expect("/", 200, "running")
}

func TestJoinNeedsTheContextOfAConfig(t *testing.T) {
	for _, ctx := range []caddy.Context{{}, {Context: context.Background()}} {
		if _, err := Join(ctx, "main", "bob"); err == nil || !strings.Contains(err.Error(), "join in Provision") {
			t.Error(err)
		}
	}
}

func TestWhoJoinsWithoutANameAsksEveryone(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	var asker *Operator
	partytest.OnProvision(t, "asker", func(ctx caddy.Context) (err error) {
		asker, err = Join(ctx, DefaultParty, "")
		return err
	})
	c := partytest.NewCaddy(t)
	c.Site("test_app asker\nroute {\nwsgi_party {\ninvite /__invite__/\ntest_app one\n}\n}")
	if answers, err := asker.AskAround(context.Background(), "number", nil); err != nil || !slices.Equal(answers, []any{"1"}) {
		t.Error(answers, err)
	}
	if err := asker.Connect("number", partytest.Pong); err == nil {
		t.Error("it connects")
	}
}

// TestAFailedLoadLeavesNoTrace has loads fail after the invites were sent.
func TestAFailedLoadLeavesNoTrace(t *testing.T) {
	partytest.Guest(t, "old", "old", "who")
	invites := 0
	partytest.App(t, "new", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		invites++
		operator, _ := OperatorFrom(r)
		return operator.Connect("who", func(context.Context, any) (any, error) { return "new", nil })
	})
	partytest.OnProvision(t, "fails", func(caddy.Context) error { return errors.New("oh no") })
	partytest.OnProvision(t, "fails to start", partytest.DuringStart(t, func() error { return errors.New("oh no") }))
	c := partytest.NewCaddy(t)
	const site = "ADDRESS {\nroute {\nwsgi_party main {\ninvite /__invite__/\nroute {\ntest_app %s\n}\n}\n%s\n}\n}"
	c.Load(fmt.Sprintf(site, "old", ""))
	for i, config := range []string{
		fmt.Sprintf(site, "new", "test_app fails"),
		fmt.Sprintf(site, "new", `test_app "fails to start"`),
		fmt.Sprintf(site, "new", "") + "\nhttp://" + testport.Address(t) + " {\nbind unix//nonexistent/folder/socket\n}",
	} {
		if err := c.TryLoad(config); err == nil {
			t.Fatal("the load does not fail")
		}
		if invites != i+1 {
			t.Fatalf("%d invites were sent", invites)
		}
		c.ExpectAnswers("main", "who", "old")
		c.ExpectSoon("/", 200, "old")
	}
}

// TestAsksInFlightFinishWhereTheyBegan has an ask, and a request, wait in one
// config while another one takes over.
func TestAsksInFlightFinishWhereTheyBegan(t *testing.T) {
	type waiting struct{ release chan struct{} }
	reached := make(chan waiting)
	generation := 0
	partytest.Behave(t, "app", func(caddy.Context) (partytest.ServeFunc, error) {
		generation++
		own := generation
		var operator *Operator
		return func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
			if invited, ok := OperatorFrom(r); ok {
				operator = invited
				return operator.Connect("generation", func(context.Context, any) (any, error) { return own, nil })
			}
			if r.URL.Path == "/wait" {
				w := waiting{make(chan struct{})}
				reached <- w
				<-w.release
			}
			// Asks after the config has ended, too, as no guest: it is its own.
			answers, err := operator.Partyline().Operator("").AskAround(r.Context(), "generation", nil)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(w, own, answers)
			return err
		}, nil
	})
	c := partytest.NewCaddy(t)
	load := func() { c.Site("wsgi_party main {\ninvite /__invite__/\ntest_app app\n}") }
	load()
	first := operatorOf(c, "main")

	askReached, askRelease := make(chan struct{}), make(chan struct{})
	blocker := first.Partyline().Operator("blocker")
	if err := blocker.Connect("generation", func(context.Context, any) (any, error) {
		close(askReached)
		<-askRelease
		return "blocker", nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := first.Partyline().Operator("last").Connect("generation", func(context.Context, any) (any, error) { return "last", nil }); err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 1)
	go func() {
		answers, err := first.AskAround(context.Background(), "generation", nil)
		asked <- fmt.Sprint(answers, err)
	}()
	<-askReached

	response := make(chan string, 1)
	go func() {
		_, body, err := c.TryGet("/wait")
		response <- fmt.Sprint(body, err)
	}()
	request := <-reached

	load()
	c.ExpectAnswers("main", "generation", 2)
	close(askRelease)
	if got := <-asked; got != "[1 blocker last] <nil>" {
		t.Errorf("the ask got %s", got)
	}
	blocker.Leave()
	close(request.release)
	if got := <-response; got != "1 [1 last]<nil>" {
		t.Errorf("the request got %s", got)
	}
	c.ExpectSoon("/", 200, "2 [2]")
}

// TestLookupIsOfTheRunningConfig looks while another config loads and starts.
func TestLookupIsOfTheRunningConfig(t *testing.T) {
	if _, ok := Lookup("main"); ok {
		t.Error("there is a party though nothing runs")
	}
	var seen []string
	look := func(when string) {
		operator, ok := Lookup("main")
		if !ok {
			seen = append(seen, when+": nobody")
			return
		}
		answers, err := operator.AskAround(context.Background(), "config", nil)
		seen = append(seen, fmt.Sprint(when, ": ", answers, err))
	}
	config := 0
	start := partytest.DuringStart(t, func() error { look("start"); return nil })
	partytest.OnProvision(t, "app", func(ctx caddy.Context) error {
		config++
		if err := joins("main", "app", "config", config)(ctx); err != nil {
			return err
		}
		if err := start(ctx); err != nil {
			return err
		}
		events, err := ctx.App("events")
		if err != nil {
			return err
		}
		look("provision")
		return events.(*caddyevents.App).On("started", eventHandler(func() { look("started") }))
	})
	c := partytest.NewCaddy(t)
	for range 2 {
		c.Site("route {\ntest_app app\nwsgi_party main\n}")
	}
	look("running")
	want := []string{
		"provision: nobody", "start: nobody", "started: nobody",
		"provision: [1] <nil>", "start: [1] <nil>", "started: [1] <nil>",
		"running: [2] <nil>",
	}
	if !slices.Equal(seen, want) {
		t.Errorf("got  %q\nwant %q", seen, want)
	}
	if _, ok := Lookup("other"); ok {
		t.Error("there is a party of another name")
	}
}

type eventHandler func()

func (h eventHandler) Handle(context.Context, caddy.Event) error { h(); return nil }

func TestTheOperatorLeavesWhenItsContextEndsBeforeItsConfig(t *testing.T) {
	var end context.CancelFunc
	partytest.OnProvision(t, "app", func(ctx caddy.Context) error {
		ctx, end = caddy.NewContext(ctx)
		return joins("main", "temporary", "who", "temporary")(ctx)
	})
	partytest.OnProvision(t, "other", joins("main", "other", "who", "other"))
	c := partytest.NewCaddy(t)
	c.Site("route {\ntest_app app\ntest_app other\nwsgi_party main\n}")
	c.ExpectAnswers("main", "who", "temporary", "other")
	line := operatorOf(c, "main").Partyline()
	end()
	partytest.Eventually(t, "the operator leaves", func() bool { return slices.Equal(line.Services()["who"], []string{"other"}) })

	// Neither the config's end nor Cleanup disconnects the one that is left.
	c.Load("ADDRESS {\nrespond nothing\n}")
	time.Sleep(50 * time.Millisecond) // for what must not happen, in the background
	if got := line.Services()["who"]; !slices.Equal(got, []string{"other"}) {
		t.Errorf("after the end of the config: %v", got)
	}
}

// TestRequestsInFlightOutliveAConfigThatFailsToStart has a request wait in a config
// whose http app has started while another app of it fails to.
func TestRequestsInFlightOutliveAConfigThatFailsToStart(t *testing.T) {
	var reached, release chan struct{}
	partytest.Behave(t, "app", func(caddy.Context) (partytest.ServeFunc, error) {
		var operator *Operator
		return func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
			if invited, ok := OperatorFrom(r); ok {
				operator = invited
				return operator.Connect("who", partytest.Pong)
			}
			close(reached)
			<-release
			answers, err := operator.Partyline().Operator("").AskAround(context.Background(), "who", nil)
			_, err = fmt.Fprint(w, answers, err)
			return err
		}, nil
	})
	c := partytest.NewCaddy(t)
	answered := make(chan string, 1)
	partytest.OnProvision(t, "fails to start", partytest.DuringStart(t, func() error {
		go func() {
			response, err := http.Get("http://" + c.Address)
			if err != nil {
				answered <- "" // http has not started yet
				return
			}
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			answered <- string(body)
		}()
		select {
		case <-reached:
		case answer := <-answered:
			answered <- answer
		}
		return errors.New("oh no")
	}))
	outlived := 0
	for range 20 {
		reached, release = make(chan struct{}), make(chan struct{})
		if err := c.TryLoad("ADDRESS {\nroute {\nwsgi_party main {\ninvite /__invite__/\ntest_app app\n}\ntest_app \"fails to start\"\n}\n}"); err == nil {
			t.Fatal("the config starts")
		}
		time.Sleep(5 * time.Millisecond) // for what must not happen, in the background
		close(release)
		if answer := <-answered; answer == "[pong] <nil>" {
			outlived++
		} else if answer != "" {
			t.Fatalf("the request got %q", answer)
		}
	}
	if outlived == 0 {
		t.Error("no request was in flight")
	}
}

// TestInvitedGuestsLeaveWhenTheirContextEndsBeforeTheConfig is for a party that a
// module loads for a time.
func TestInvitedGuestsLeaveWhenTheirContextEndsBeforeTheConfig(t *testing.T) {
	partytest.Guest(t, "app", "pong", "ping")
	var end context.CancelCauseFunc
	partytest.OnProvision(t, "loader", func(ctx caddy.Context) error {
		inner, cancel := caddy.NewContextWithCause(ctx)
		end = cancel
		_, err := inner.LoadModuleByID("http.handlers.wsgi_party", []byte(`{"name": "main", "invites": ["/__invite__/"], "routes": [{"handle": [{"handler": "test_app", "key": "app"}]}]}`))
		return err
	})
	partytest.OnProvision(t, "other", joins("main", "other", "who", "other"))
	c := partytest.NewCaddy(t)
	c.Site("route {\ntest_app other\ntest_app loader\n}")
	c.ExpectAnswers("main", "ping", "pong")
	line := operatorOf(c, "main").Partyline()
	end(errors.New("no longer needed"))
	partytest.Eventually(t, "the guest leaves", func() bool { return line.Services()["ping"] == nil })
}

func TestTwoServersFromOneSiteBlockHaveReplicas(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	partytest.Guest(t, "two", "2", "number")
	c := partytest.NewCaddy(t)
	second := testport.Address(t)
	// Groups of routes are numbered through, so that the two handlers differ in them.
	c.Load("ADDRESS, http://" + second + ` {
		handle /x {
			respond x
		}
		handle {
			wsgi_party {
				invite /one/__invite__/ /two/__invite__/
				handle /one/* {
					test_app one
				}
				handle {
					test_app two
				}
			}
		}
	}`)
	if joined := partytest.LogEntries(t, "guest joined"); len(joined) != 4 {
		t.Errorf("%d guests joined: %v", len(joined), joined)
	}
	c.ExpectAnswers(DefaultParty, "number", "1", "2")
	for _, address := range []string{c.Address, second} {
		(&partytest.Caddy{TB: t, Address: address}).Expect("/one/", 200, "one")
		(&partytest.Caddy{TB: t, Address: address}).Expect("/two/__invite__/", 404, "")
	}
}

// TestIdenticalHandlersDifferInTheGroupsOfRoutes has one party written twice, whose
// groups of routes the Caddyfile numbers through.
func TestIdenticalHandlersDifferInTheGroupsOfRoutes(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	c := partytest.NewCaddy(t)
	const party = " {\nwsgi_party {\ninvite /one/__invite__/\nhandle /one/* {\ntest_app one\n}\nhandle {\nrespond x\n}\n}\n}\n"
	c.Load("ADDRESS" + party + "http://" + testport.Address(t) + party)
	c.ExpectAnswers(DefaultParty, "number", "1")
}

func TestTwoSitesShareAPartyByName(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	partytest.Guest(t, "two", "2", "number")
	c := partytest.NewCaddy(t)
	c.Load(`
	ADDRESS {
		wsgi_party main {
			invite /one/__invite__/
			test_app one
		}
	}
	http://` + testport.Address(t) + ` {
		wsgi_party main {
			invite /two/__invite__/
			test_app two
		}
	}`)
	answers, err := All[string](context.Background(), operatorOf(c, "main"), "number", nil)
	if slices.Sort(answers); err != nil || !slices.Equal(answers, []string{"1", "2"}) {
		t.Error(answers, err)
	}
}

// TestHandlersThatWouldMuteAnotherAreAnError names both handlers in the error.
func TestHandlersThatWouldMuteAnotherAreAnError(t *testing.T) {
	partytest.Guest(t, "app", "pong", "ping")
	const site = "%s {\nwsgi_party %s {\n%s\nhandle %s {\ntest_app app\n}\n}\n}\n"
	for name, test := range map[string]struct {
		one, two [2]string // name and options
		want     []string
	}{
		"the same guest": {
			[2]string{"main", "invite /a/__invite__/ /b/__invite__/"}, [2]string{"main", "invite /c/__invite__/ /b/__invite__/"},
			[]string{`both invite guest "b"`, "(inviting a, b)", "(inviting c, b)", `"invite /b/__invite__/ as <guest>"`, `server "srv0"`, `server "srv1"`},
		},
		"no name": {
			[2]string{"", "invite /a/__invite__/"}, [2]string{"", "invite /b/__invite__/"},
			[]string{"both leave out the party's name", "(inviting a)", "(inviting b)", "give each a name of its own"},
		},
		"ignore_missing_services": {
			[2]string{"main", "ignore_missing_services"}, [2]string{"main", "invite /b/__invite__/"},
			[]string{"disagree on ignore_missing_services", "(inviting nobody)", "(inviting b)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := partytest.NewCaddy(t)
			c.Site("respond running")
			err := c.TryLoad(fmt.Sprintf(site, "ADDRESS", test.one[0], test.one[1], "/one/*") +
				fmt.Sprintf(site, "http://"+testport.Address(t), test.two[0], test.two[1], "/two/*"))
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not contain %q: %v", want, err)
				}
			}
			c.Expect("/", 200, "running")
		})
	}
	t.Run("a default name and the same name said", func(t *testing.T) {
		c := partytest.NewCaddy(t)
		c.Load(fmt.Sprintf(site, "ADDRESS", "", "invite /a/__invite__/", "*") +
			fmt.Sprintf(site, "http://"+testport.Address(t), DefaultParty, "invite /b/__invite__/", "*"))
		c.ExpectAnswers(DefaultParty, "ping", "pong", "pong")
	})
}

func TestWhatOnlyTheWholeConfigShowsIsWarnedAboutAtStart(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	partytest.OnProvision(t, "lost", joins("mian", "lost", "number", 3))
	partytest.OnProvision(t, "double", joins("main", "one", "number", 1))
	c := partytest.NewCaddy(t)
	c.Site("route {\ntest_app lost\ntest_app double\nwsgi_party main {\ninvite /one/__invite__/\ntest_app one\n}\n}")
	lost := partytest.LogEntries(t, "no wsgi_party handler names the party that was joined")
	if len(lost) != 1 || lost[0]["party"] != "mian" || fmt.Sprint(lost[0]["guests"]) != "[lost]" || lost[0]["level"] != "warn" {
		t.Error(lost)
	}
	double := partytest.LogEntries(t, "a module joined under the name of an invited guest: only one of the two is asked")
	if len(double) != 1 || double[0]["party"] != "main" || double[0]["guest"] != "one" || double[0]["level"] != "warn" {
		t.Error(double)
	}
}

func TestCleanupLetsAnotherHandlerInviteTheGuests(t *testing.T) {
	partytest.Guest(t, "app", "pong", "ping")
	ctx := partytest.ProvisionContext(t)
	for range 2 {
		inner, end := caddy.NewContext(ctx)
		if _, err := inner.LoadModuleByID("http.handlers.wsgi_party", []byte(fmt.Sprintf(
			`{"invites": ["/app/__invite__/"], "routes": [{"handle": [{"handler": "test_app", "key": "app"}]}], "invite_timeout": %d}`, time.Now().UnixNano()))); err != nil {
			t.Fatal(err)
		}
		end()
	}
	if err := new(Party).Cleanup(); err != nil {
		t.Errorf("cleaning up what was not provisioned: %v", err)
	}
}

func TestAsksAreLoggedAtDebugLevelWithoutWhatWasSaid(t *testing.T) {
	partytest.Guest(t, "one", "secret answer", "number")
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /one/__invite__/\ntest_app one\n}")
	if err := operatorOf(c, "main").Partyline().Operator("two").Connect("number", func(context.Context, any) (any, error) {
		return nil, ErrHighAndDry
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := operatorOf(c, "main").Partyline().Operator("three").AskAround(context.Background(), "number", "secret payload"); err != nil {
		t.Fatal(err)
	}
	if _, err := operatorOf(c, "main").AskAround(context.Background(), "missing", nil); err == nil {
		t.Error("the service is not missing")
	}
	entries := partytest.LogEntries(t, "asked around")
	if len(entries) != 2 {
		t.Fatal(entries)
	}
	if missing := entries[1]; missing["service"] != "missing" || !strings.Contains(fmt.Sprint(missing["error"]), "nobody") {
		t.Error(missing)
	}
	for key, want := range map[string]any{"level": "debug", "logger": "wsgi_party", "party": "main", "guest": "three",
		"service": "number", "answered": 1., "declined": 1., "failed": 0.} {
		if entries[0][key] != want {
			t.Errorf("%s: %v, want %v", key, entries[0][key], want)
		}
	}
	if strings.Contains(partytest.Logged(), "secret") {
		t.Error("what was said is in the log")
	}
}

// TestAskingCostsNothingMoreWhereDebugLoggingIsOff compares a config's partyline
// with one that has no log.
func TestAskingCostsNothingMoreWhereDebugLoggingIsOff(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	c := partytest.NewCaddy(t)
	config := bytes.ReplaceAll(c.Adapt("ADDRESS {\nwsgi_party main {\ninvite /one/__invite__/\ntest_app one\n}\n}"), []byte(`"DEBUG"`), []byte(`"INFO"`))
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	operator := operatorOf(c, "main")
	if allocations := testing.AllocsPerRun(100, func() {
		if _, err := operator.AskAround(context.Background(), "number", nil); err != nil {
			t.Error(err)
		}
	}); allocations != 1 {
		t.Errorf("%v allocations", allocations)
	}
	if allocations := testing.AllocsPerRun(100, func() { Lookup("main") }); allocations != 0 {
		t.Errorf("Lookup: %v allocations", allocations)
	}
	if entries := partytest.LogEntries(t, "asked around"); len(entries) != 0 {
		t.Error(entries)
	}
}

// TestTheAdminAPIChangesInvites drives a real admin endpoint.
func TestTheAdminAPIChangesInvites(t *testing.T) {
	reached, release := make(chan struct{}), make(chan struct{})
	generation := 0
	partytest.Behave(t, "app", func(caddy.Context) (partytest.ServeFunc, error) {
		generation++
		own := generation
		return func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
			if operator, ok := OperatorFrom(r); ok {
				return operator.Connect("who", func(context.Context, any) (any, error) { return operator.Guest(), nil })
			}
			if r.URL.Path == "/wait" {
				close(reached)
				<-release
			}
			_, err := fmt.Fprint(w, own)
			return err
		}, nil
	})
	c := partytest.NewCaddy(t)
	admin := testport.Address(t)
	call := func(method, path, body string) (status int, answer string) {
		t.Helper()
		partytest.Eventually(t, "the admin endpoint answers", func() bool { // a reload replaces it
			r, err := http.NewRequest(method, "http://"+admin+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.Close = true
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				return false
			}
			defer response.Body.Close()
			read, err := io.ReadAll(response.Body)
			status, answer = response.StatusCode, string(read)
			return err == nil
		})
		return status, answer
	}
	adapted := c.Adapt("ADDRESS {\nwsgi_party main {\ninvite /one/__invite__/ /two/__invite__/\ntest_app app\n}\n}")
	adapted = bytes.Replace(adapted, []byte(`"disabled":true`), []byte(`"listen":"`+admin+`"`), 1)
	adapted = bytes.Replace(adapted, []byte(`"handler":"wsgi_party"`), []byte(`"@id":"party","handler":"wsgi_party"`), 1)
	if err := caddy.Load(adapted, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Load("ADDRESS {\nrespond done\n}") }) // ends the admin endpoint
	c.ExpectAnswers("main", "who", "one", "two")

	waited := make(chan string, 1)
	go func() {
		_, body, err := c.TryGet("/wait")
		waited <- fmt.Sprint(body, err)
	}()
	<-reached

	if status, body := call("PATCH", "/id/party/invites", `["/two/__invite__/", {"uri": "/x/__invite__/", "guest": "three"}]`); status != 200 {
		t.Fatal(status, body)
	}
	c.ExpectAnswers("main", "who", "two", "three")
	c.ExpectSoon("/one/__invite__/", 200, "2")
	c.ExpectSoon("/x/__invite__/", 404, "")
	close(release)
	if got := <-waited; got != "1<nil>" {
		t.Errorf("the request in flight finished in config %s", got)
	}

	for _, bad := range []string{`["one"]`, `[{"uri": "/one/__invite__/", "gest": "one"}]`, `["/"]`, `["/a/__invite__/", "/a/__invite__/x"]`} {
		if status, body := call("PATCH", "/id/party/invites", bad); status < 400 || !strings.Contains(body, "invite") {
			t.Errorf("%s: %d %s", bad, status, body)
		}
		c.ExpectAnswers("main", "who", "two", "three")
	}

	if status, body := call("POST", "/load", string(adapted)); status != 200 {
		t.Fatal(status, body)
	}
	c.ExpectAnswers("main", "who", "one", "two")
	status, body := call("GET", "/id/party/invites", "")
	var invites []Invite
	if err := json.Unmarshal([]byte(body), &invites); status != 200 || err != nil || len(invites) != 2 {
		t.Error(status, body, err)
	}
}

// TestSoak has many goroutines ask, connect and leave while configs, good and
// broken, are loaded. No answer is lost or doubled or comes from another config,
// and memory and goroutines end where they began.
func TestSoak(t *testing.T) {
	const guests = 4
	var generation atomic.Int64 // of the config that is loading
	for g := range guests {
		name := fmt.Sprint("guest", g)
		partytest.Behave(t, name, func(caddy.Context) (partytest.ServeFunc, error) {
			own := generation.Load()
			var operator *Operator
			return func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				if invited, ok := OperatorFrom(r); ok {
					operator = invited
					return operator.Connect("generation", func(context.Context, any) (any, error) { return own, nil })
				}
				answers, err := All[int64](r.Context(), operator, "generation", nil)
				if err != nil {
					return err
				}
				return json.NewEncoder(w).Encode(append(answers, own))
			}, nil
		})
	}
	partytest.OnProvision(t, "broken", func(caddy.Context) error { return errors.New("oh no") })
	// One guest is always connected, through one replica after the other.
	var handover sync.Mutex
	replicas := make(map[*Partyline]*Operator)
	partytest.OnProvision(t, "replicated", func(ctx caddy.Context) error {
		operator, err := Join(ctx, "main", "replicated")
		if err != nil {
			return err
		}
		handover.Lock()
		defer handover.Unlock()
		replicas[operator.Partyline()] = operator
		own := generation.Load()
		return operator.Connect("generation", func(context.Context, any) (any, error) { return own, nil })
	})
	c := partytest.NewCaddy(t)
	var site strings.Builder
	site.WriteString("ADDRESS {\nroute {\ntest_app replicated\nwsgi_party main {\n")
	for g := range guests {
		fmt.Fprintf(&site, "invite /guest%[1]d/__invite__/\nhandle /guest%[1]d/* {\ntest_app guest%[1]d\n}\n", g)
	}
	site.WriteString("}\n")
	good, broken := c.Adapt(site.String()+"}\n}"), c.Adapt(site.String()+"test_app broken\n}\n}")
	load := func() {
		generation.Add(1)
		if err := caddy.Load(good, true); err != nil {
			t.Error(err)
		}
		generation.Add(1)
		if err := caddy.Load(broken, true); err == nil {
			t.Error("the broken config loads")
		}
	}
	load()
	memory := func() uint64 {
		partytest.ResetLog()
		var stats runtime.MemStats
		for range 3 {
			runtime.GC()
		}
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	for range 5 {
		load()
	}
	memoryBefore, goroutinesBefore := memory(), runtime.NumGoroutine()

	// check fails the test unless the answers are one of each guest, all of one config.
	check := func(who string, answers []int64, want int) {
		if len(answers) != want || slices.Min(answers) != slices.Max(answers) {
			t.Errorf("%s: %v, want %d of one config", who, answers, want)
		}
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	var asks, requests, handovers, loads atomic.Int64
	counts := map[string]*atomic.Int64{"asks": &asks, "requests": &requests, "connections": &handovers, "loads": &loads}
	var group sync.WaitGroup
	group.Go(func() { // five seconds, and longer where the machine is slow
		enough := time.After(5 * time.Second)
		select {
		case <-ctx.Done():
		case <-enough:
			for _, n := range counts {
				for n.Load() < 10 && ctx.Err() == nil && !t.Failed() {
					time.Sleep(10 * time.Millisecond)
				}
			}
			stop()
		}
	})
	forever := func(do func()) {
		group.Go(func() {
			for ctx.Err() == nil && !t.Failed() {
				do()
			}
		})
	}
	for range 4 {
		forever(func() {
			answers, err := All[int64](context.Background(), operatorOf(c, "main"), "generation", nil)
			if err != nil {
				t.Error(err)
			}
			check("ask", answers, guests+1)
			asks.Add(1)
		})
	}
	for range 2 { // connect, hand over and leave, beside whatever is loaded meanwhile
		forever(func() {
			line := operatorOf(c, "main").Partyline()
			answers, err := All[int64](context.Background(), line.Operator(""), "generation", nil)
			if err != nil || len(answers) == 0 {
				t.Error(answers, err)
				return
			}
			next := line.Operator("replicated")
			if err := next.Connect("generation", func(context.Context, any) (any, error) { return answers[0], nil }); err != nil {
				t.Error(err)
			}
			handover.Lock()
			replicas[line].Leave()
			replicas[line] = next
			handover.Unlock()
			own := line.Operator("for a moment")
			service := fmt.Sprint("service", rand.IntN(100))
			if err := own.Connect(service, partytest.Pong); err != nil {
				t.Error(err)
			}
			own.Leave()
			handovers.Add(1)
		})
	}
	for g := range 2 {
		path := fmt.Sprintf("/guest%d/", g)
		forever(func() {
			response, err := http.Get("http://" + c.Address + path)
			if err != nil {
				return // Caddy itself resets connections on reload
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				return
			}
			var answers []int64
			if err := json.Unmarshal(body, &answers); err != nil {
				t.Errorf("%d %q: %v", response.StatusCode, body, err)
				return
			}
			check(path, answers, guests+1)
			requests.Add(1)
		})
	}
	forever(func() {
		load()
		loads.Add(1)
		partytest.ResetLog()
	})
	group.Wait()
	t.Logf("%d asks, %d requests, %d connections, %d times two loads", asks.Load(), requests.Load(), handovers.Load(), loads.Load())
	for name, n := range counts {
		if n.Load() < 10 {
			t.Errorf("only %d %s", n.Load(), name)
		}
	}

	clear(replicas)
	http.DefaultClient.CloseIdleConnections()
	partytest.Eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutinesBefore+2 })
	partytest.Eventually(t, "memory is free again", func() bool { return memory() < memoryBefore+2<<20 })
}
