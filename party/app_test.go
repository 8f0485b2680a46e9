// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"weak"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/party"
)

func TestMain(m *testing.M) {
	partytest.Main(m, wsgiparty.Lookup, wsgiparty.Join, wsgiparty.OperatorFrom, wsgiparty.ErrHighAndDry)
}

var (
	operatorOf  = partytest.OperatorOf(wsgiparty.Lookup)
	connectMain = partytest.ConnectMain(wsgiparty.Lookup)
	invitesOf   = partytest.InvitesOf[wsgiparty.InviteInfo](wsgiparty.Parties)
)

// onInvite makes `test_app key` do that when it is invited, and say its key to everybody else.
func onInvite(t testing.TB, key string, do func(i *wsgiparty.Invitation, r *http.Request) error) {
	t.Helper()
	partytest.App(t, key, func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		if i, ok := wsgiparty.InvitationFrom(r); ok {
			return do(i, r)
		}
		_, err := io.WriteString(w, key)
		return err
	})
}

// TestAFailedLoadLeavesNoTrace has loads fail after the invites were sent.
func TestAFailedLoadLeavesNoTrace(t *testing.T) {
	partytest.Guest(t, "old", "old", "who")
	invites := 0
	onInvite(t, "new", func(i *wsgiparty.Invitation, _ *http.Request) error {
		invites++
		return i.Operator.Connect("who", partytest.Answers("new"))
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
		check.FatalIf(t, c.TryLoad(config) == nil, "the load does not fail")
		check.FatalIf(t, invites != i+1, "%d invites were sent", invites)
		c.ExpectAnswers("main", "who", "old")
		c.ExpectSoon("/", 200, "old")
	}
}

// TestAsksInFlightFinishWhereTheyBegan has an ask, and a request, wait in one
// config while another one takes over.
func TestAsksInFlightFinishWhereTheyBegan(t *testing.T) {
	reached, release := make(chan struct{}), make(chan struct{})
	generation := 0
	partytest.Behave(t, "app", func(caddy.Context) (partytest.ServeFunc, error) {
		generation++
		own := generation
		var operator *wsgiparty.Operator
		return func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
			if invited, ok := wsgiparty.OperatorFrom(r); ok {
				operator = invited
				return operator.Connect("generation", partytest.Answers(own))
			}
			if r.URL.Path == "/wait" {
				close(reached)
				<-release
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
	blocker := connectMain(c, "blocker", "generation", func(context.Context, any) (any, error) {
		close(askReached)
		<-askRelease
		return "blocker", nil
	})
	connectMain(c, "last", "generation", partytest.Answers("last"))
	asked := make(chan string, 1)
	go func() { asked <- fmt.Sprint(first.AskAround(context.Background(), "generation", nil)) }()
	<-askReached

	response := make(chan string, 1)
	go func() {
		_, body, err := c.TryGet("/wait")
		response <- fmt.Sprint(body, err)
	}()
	<-reached

	load()
	c.ExpectAnswers("main", "generation", 2)
	close(askRelease)
	check.Equal(t, <-asked, "[1 blocker last] <nil>", "the ask got")
	blocker.Leave()
	close(release)
	check.Equal(t, <-response, "1 [1 last]<nil>", "the request got")
	c.ExpectSoon("/", 200, "2 [2]")
}

// TestLookupIsOfTheRunningConfig looks while another config loads and starts.
func TestLookupIsOfTheRunningConfig(t *testing.T) {
	_, ok := wsgiparty.Lookup("main")
	check.ErrorIf(t, ok, "there is a party though nothing runs")
	var seen []string
	look := func(when string) {
		operator, ok := wsgiparty.Lookup("main")
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
		err := errors.Join(partytest.Joins("main", "app", "config", config)(ctx), start(ctx))
		look("provision")
		events, _ := ctx.App("events")
		return errors.Join(err, events.(*caddyevents.App).On("started", partytest.EventFunc(func(context.Context, caddy.Event) error { look("started"); return nil })))
	})
	c := partytest.NewCaddy(t)
	for range 2 {
		c.Site("route {\ntest_app app\nwsgi_party main\n}")
	}
	look("running")
	check.Slices(t, seen, []string{"provision: nobody", "start: nobody", "started: nobody",
		"provision: [1] <nil>", "start: [1] <nil>", "started: [1] <nil>", "running: [2] <nil>"})
	_, ok = wsgiparty.Lookup("other")
	check.ErrorIf(t, ok, "there is a party of another name")
}

// TestRequestsInFlightOutliveAConfigThatFailsToStart has a request wait in a config
// whose http app has started while another app of it fails to.
func TestRequestsInFlightOutliveAConfigThatFailsToStart(t *testing.T) {
	var reached, release chan struct{}
	partytest.Behave(t, "app", func(caddy.Context) (partytest.ServeFunc, error) {
		var operator *wsgiparty.Operator
		return func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
			if invited, ok := wsgiparty.OperatorFrom(r); ok {
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
			_, body, _ := c.TryGet("/")
			answered <- body // empty where http has not started yet
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
		check.Fails(t, c.TryLoad("ADDRESS {\nroute {\nwsgi_party main {\ninvite /__invite__/\ntest_app app\n}\ntest_app \"fails to start\"\n}\n}"), "oh no")
		time.Sleep(5 * time.Millisecond) // for what must not happen, in the background
		close(release)
		if answer := <-answered; answer == "[pong] <nil>" {
			outlived++
		} else if answer != "" {
			t.Fatalf("the request got %q", answer)
		}
	}
	check.ErrorIf(t, outlived == 0, "no request was in flight")
}

// TestTheAdminAPIChangesInvites drives a real admin endpoint.
func TestTheAdminAPIChangesInvites(t *testing.T) {
	reached, release := make(chan struct{}), make(chan struct{})
	generation := 0
	partytest.Behave(t, "app", func(caddy.Context) (partytest.ServeFunc, error) {
		generation++
		own := generation
		return func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
			if operator, ok := wsgiparty.OperatorFrom(r); ok {
				return operator.Connect("who", partytest.Answers(operator.Guest()))
			}
			if r.URL.Path == "/wait" {
				close(reached)
				<-release
			}
			_, err := fmt.Fprint(w, own)
			return err
		}, nil
	})
	c := partytest.NewCaddyWithAdmin(t)
	call := func(method, path, body string) (response partytest.Response) {
		partytest.Eventually(t, "the admin endpoint answers", func() (ok bool) { // a reload replaces it
			var err error
			response, err = c.TryCall(context.Background(), method, path, strings.NewReader(body))
			return err == nil
		})
		return response
	}
	config := bytes.Replace(c.Adapt("ADDRESS {\nwsgi_party main {\ninvite /one/__invite__/ /two/__invite__/\ntest_app app\n}\n}"),
		[]byte(`"handler":"wsgi_party"`), []byte(`"@id":"party","handler":"wsgi_party"`), 1)
	c.LoadJSON(config)
	c.ExpectAnswers("main", "who", "one", "two")

	waited := make(chan string, 1)
	go func() {
		_, body, err := c.TryGet("/wait")
		waited <- fmt.Sprint(body, err)
	}()
	<-reached

	check.Equal(t, call("PATCH", "/id/party/invites", `["/two/__invite__/", {"uri": "/x/__invite__/", "guest": "three"}]`).Status, 200)
	c.ExpectAnswers("main", "who", "two", "three")
	c.ExpectSoon("/one/__invite__/", 200, "2")
	c.ExpectSoon("/x/__invite__/", 404, "")
	close(release)
	check.Equal(t, <-waited, "1<nil>", "the request in flight finished in config")

	for _, bad := range []string{`["one"]`, `[{"uri": "/one/__invite__/", "gest": "one"}]`, `["/"]`, `["/a/__invite__/", "/a/__invite__/x"]`} {
		response := call("PATCH", "/id/party/invites", bad)
		check.ErrorIf(t, response.Status < 400 || !strings.Contains(response.Body, "invite"), "%s: %v", bad, response)
		c.ExpectAnswers("main", "who", "two", "three")
	}

	check.Equal(t, call("POST", "/load", string(config)).Status, 200)
	c.ExpectAnswers("main", "who", "one", "two")
	var invites []wsgiparty.Invite
	partytest.Decode(t, call("GET", "/id/party/invites", ""), &invites)
	check.Equal(t, len(invites), 2, "invites")
}

// TestARequestThatBeganBeforeAReloadSeesItsConfigWhole has a reload after it was found
// out which config is running.
func TestARequestThatBeganBeforeAReloadSeesItsConfigWhole(t *testing.T) {
	partytest.Guest(t, "app", "pong", "ping")
	c := partytest.NewCaddy(t)
	load := func() { c.Site("wsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}") }
	load()
	before, _ := party.Running()
	load()
	check.Equal(t, len(party.HostsOf(before, "main")), 1, "handlers, so that a request shows guests without invites, and invites nobody")
}

// TestAConfigThatEndsBlamesNoStorage has it end while the storage hangs.
func TestAConfigThatEndsBlamesNoStorage(t *testing.T) {
	const message = "the key for the paths of Party-Tokens is not in storage: Caddys that share the storage do not recognize each other's asks"
	c := partytest.NewCaddy(t)
	pipe := filepath.Join(c.Storage(), "wsgi_party", "path.key")
	check.Must(t, errors.Join(os.MkdirAll(filepath.Dir(pipe), 0o700), syscall.Mkfifo(pipe, 0o600)))
	writer := check.Value(os.OpenFile(pipe, os.O_RDWR, 0))(t)
	defer writer.Close() // ends the waiting
	partytest.Key(t, "blog")
	const config = "invite /blog/__invite__/\nhandle /blog/* {\nwsgi_party_guest {\nkey {env.blog_PARTY_KEY}\nanswer a 1\n}\n}\n"
	for i := range 12 { // which stop what is in them in different orders
		c.Site("wsgi_party main {\n" + config + "header Load " + fmt.Sprint(i) + "\n}")
	}
	partytest.Eventually(t, "the storage hangs", func() bool { return len(partytest.LogEntries(t, message)) > 0 })
	for _, told := range partytest.LogEntries(t, message) {
		check.Equal(t, told["error"], any(party.ErrStorageHangs.Error()))
	}
}

// TestManyMayUseTheStorageAtOnce has more use it than may at once.
func TestManyMayUseTheStorageAtOnce(t *testing.T) {
	partytest.NewCaddy(t).Site("wsgi_party main")
	a, _ := party.Running()
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			called := false
			err := party.StorageDo(a.Storage(), func(context.Context, certmagic.Storage) error {
				time.Sleep(time.Millisecond) // for others to come
				called = true
				return nil
			})
			check.ErrorIf(t, !called || err != nil, "called: %t, %v", called, err)
		})
	}
	group.Wait()
}

// TestAnInvitationThatIsKeptKeepsItsConfigAndNoOther has a Go guest keep what its first
// invite and its last one brought, over 100 reloads, and send with both.
func TestAnInvitationThatIsKeptKeepsItsConfigAndNoOther(t *testing.T) {
	const reloads = 100
	var first, last *wsgiparty.Invitation
	var parties []weak.Pointer[party.Host]
	partytest.App(t, "keeper", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		if i, ok := wsgiparty.InvitationFrom(r); ok {
			if last = i; first == nil {
				first = i
			}
			parties = append(parties, weak.Make(i.Host()))
			return i.Operator.Connect("ping", partytest.Pong)
		}
		_, err := fmt.Fprint(w, "keeper ", wsgiparty.DeliveredTo(r, "keeper"))
		return err
	})
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, `{"urls": {"home": "/"}}`, partytest.Echo)
	site := "wsgi_party main {\ninvite /keeper/__invite__/ /blog/__invite__/\ntest_app /keeper/* keeper\n" + partytest.Mounted("blog", "", a) +
		"handle /keeper2/* {\nreverse_proxy " + a.Address() + "\n}\n}"
	send := func(i *wsgiparty.Invitation, path, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		r := check.Value(http.NewRequestWithContext(ctx, "GET", path, nil))(t)
		if response, err := i.Send(r); err != nil {
			check.Fails(t, err, want)
		} else {
			check.Equal(t, partytest.ReadAll(t, response), want, path)
		}
	}
	goroutines := 0
	for load := range reloads {
		c.Site(site)
		send(last, "/keeper/x", "keeper true")
		if load%10 == 0 {
			send(first, "/keeper/x", "keeper true")
			send(first, "/keeper2/x", "misrouted")
			// It asks those of its own time, who may have gone.
			answers, err := first.Operator.AskAround(context.Background(), "ping", nil)
			check.ErrorIf(t, len(answers) != 0 || err != nil, "%v %v", answers, err)
		}
		if load == reloads/10 {
			goroutines = runtime.NumGoroutine()
		}
	}
	partytest.Eventually(t, "no more goroutines than after a few", func() bool { return runtime.NumGoroutine() <= goroutines+20 })
	alive := func() (n int) {
		for _, p := range parties {
			if p.Value() != nil {
				n++
			}
		}
		return n
	}
	partytest.Eventually(t, "the configs that nobody keeps are gone", func() bool { runtime.GC(); return alive() <= 4 })
	check.ErrorIf(t, parties[0].Value() == nil || alive() < 2, "the first invitation keeps no party, so that the test shows nothing")
	// Its config has ended, and no other has the party.
	c.Site("respond nothing")
	send(first, "/keeper/x", "keeper true")
	runtime.KeepAlive(first)
}
