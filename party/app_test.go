// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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
	partytest.App(t, "new", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		invites++
		operator, _ := wsgiparty.OperatorFrom(r)
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
		check.FatalIf(t, invites != i+1, "%d invites were sent", invites)
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
		var operator *wsgiparty.Operator
		return func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
			if invited, ok := wsgiparty.OperatorFrom(r); ok {
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
	check.Must(t, first.Partyline().Operator("last").Connect("generation", func(context.Context, any) (any, error) { return "last", nil }))
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
	check.Equal(t, <-asked, "[1 blocker last] <nil>", "the ask got")
	blocker.Leave()
	close(request.release)
	check.Equal(t, <-response, "1 [1 last]<nil>", "the request got")
	c.ExpectSoon("/", 200, "2 [2]")
}

// TestLookupIsOfTheRunningConfig looks while another config loads and starts.
func TestLookupIsOfTheRunningConfig(t *testing.T) {
	if _, ok := wsgiparty.Lookup("main"); ok {
		t.Error("there is a party though nothing runs")
	}
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
		if err := partytest.Joins("main", "app", "config", config)(ctx); err != nil {
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
	check.Slices(t, seen, want, "got")
	if _, ok := wsgiparty.Lookup("other"); ok {
		t.Error("there is a party of another name")
	}
}

type eventHandler func()

func (h eventHandler) Handle(context.Context, caddy.Event) error { h(); return nil }

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
			r := check.Value(http.NewRequest(method, "http://"+admin+path, strings.NewReader(body)))(t)
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
	check.Must(t, caddy.Load(adapted, true))
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
	check.Equal(t, <-waited, "1<nil>", "the request in flight finished in config")

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
	var invites []wsgiparty.Invite
	if err := json.Unmarshal([]byte(body), &invites); status != 200 || err != nil || len(invites) != 2 {
		t.Error(status, body, err)
	}
}

// TestARequestThatBeganBeforeAReloadSeesItsConfigWhole has a reload after it was found
// out which config is running.
func TestARequestThatBeganBeforeAReloadSeesItsConfigWhole(t *testing.T) {
	partytest.Guest(t, "app", "pong", "ping")
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}")
	before, _ := party.Running()
	c.Site("wsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}")
	check.Equal(t, len((*before.Entries())["main"].InOrder()), 1, "handlers, so that a request shows guests without invites, and invites nobody")
}

// TestAConfigThatEndsBlamesNoStorage has it end while the storage hangs.
func TestAConfigThatEndsBlamesNoStorage(t *testing.T) {
	const message = "the key for the paths of Party-Tokens is not in storage: Caddys that share it do not know each other's asks"
	c := partytest.NewCaddy(t)
	pipe := filepath.Join(c.Storage(), filepath.FromSlash((*party.PathKeyName)))
	check.Must(t, errors.Join(os.MkdirAll(filepath.Dir(pipe), 0o700), syscall.Mkfifo(pipe, 0o600)))
	writer := check.Value(os.OpenFile(pipe, os.O_RDWR, 0))(t)
	defer writer.Close() // ends the waiting
	partytest.Key(t, "blog")
	const config = "invite /blog/__invite__/\nhandle /blog/* {\nwsgi_party_guest {\nkey {env.blog_PARTY_KEY}\nanswer a 1\n}\n}\n"
	for i := range 12 { // which stop what is in them in different orders
		c.Site("wsgi_party main {\n" + config + "header Load " + fmt.Sprint(i) + "\n}")
	}
	partytest.Eventually(t, "the storage hangs", func() bool { return len(partytest.LogEntries(t, message)) > 0 })
	told := partytest.LogEntries(t, message)
	check.ErrorIf(t, slices.ContainsFunc(told, func(e partytest.Entry) bool { return e["error"] != (*party.ErrStorageHangs).Error() }), "%v", told)
}

// TestManyMayUseTheStorageAtOnce has more use it than may at once.
func TestManyMayUseTheStorageAtOnce(t *testing.T) {
	partytest.NewCaddy(t).Site("wsgi_party main")
	a, _ := party.Running()
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			called := false
			err := a.Storage().Do(func(context.Context, certmagic.Storage) error {
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
	var mu sync.Mutex
	var first, last *wsgiparty.Invitation
	var parties []weak.Pointer[party.Host]
	partytest.App(t, "keeper", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		if i, ok := wsgiparty.InvitationFrom(r); ok {
			mu.Lock()
			defer mu.Unlock()
			if last = i; first == nil {
				first = i
			}
			parties = append(parties, weak.Make(i.Host()))
			return i.Operator.Connect("ping", partytest.Pong)
		}
		delivered := wsgiparty.DeliveredTo(r, "keeper")
		_, err := fmt.Fprint(w, "keeper ", delivered)
		return err
	})
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, `{"urls": {"home": "/"}}`, partytest.Echo)
	site := "ADDRESS {\nwsgi_party main {\ninvite /keeper/__invite__/ /blog/__invite__/\ntest_app /keeper/* keeper\n" + partytest.Mounted("blog", "", a) + "handle /keeper2/* {\nreverse_proxy " + a.Address() + "\n}\n}\n}"
	send := func(i *wsgiparty.Invitation, path, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		r := check.Value(http.NewRequestWithContext(ctx, "GET", path, nil))(t)
		got := ""
		if response, err := i.Send(r); err != nil {
			got = err.Error()
		} else {
			got = partytest.ReadAll(t, response)
		}
		check.Has(t, got, want, path)
	}
	both := func() (*wsgiparty.Invitation, *wsgiparty.Invitation) {
		mu.Lock()
		defer mu.Unlock()
		return first, last
	}
	goroutines := 0
	for load := range reloads {
		c.Load(site)
		first, last := both()
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
	partytest.Eventually(t, "the configs that nobody keeps are gone", func() bool {
		runtime.GC()
		return alive() <= 4
	})
	check.ErrorIf(t, parties[0].Value() == nil || alive() < 2, "the first invitation keeps no party, so that the test shows nothing")
	// Its config has ended, and no other has the party.
	first, _ = both()
	c.Load("ADDRESS {\nrespond nothing\n}")
	send(first, "/keeper/x", "keeper true")
	runtime.KeepAlive(first)
}
