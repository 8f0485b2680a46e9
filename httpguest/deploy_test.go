// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/fcgi"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/party"
)

// TestAnApplicationThatStartsLateIsUpForVisitors has the same application behind a party
// and without one, started a while after Caddy, behind proxies that take what they
// cannot connect to for down.
func TestAnApplicationThatStartsLateIsUpForVisitors(t *testing.T) {
	application := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		if strings.HasSuffix(r.URL.Path, "/__invite__/") {
			partytest.Manifest(`{"urls": {"home": "/"}}`)(w, r)
		}
	})
	serveFCGI := func(l net.Listener, h http.Handler) error { return fcgi.Serve(l, h) }
	tests := map[string]struct {
		transport string
		serve     func(net.Listener, http.Handler) error
		early     bool // visitors come before the application is there
	}{
		"http":          {"", http.Serve, false},
		"http-early":    {"", http.Serve, true},
		"fastcgi":       {"transport fastcgi", serveFCGI, false},
		"fastcgi-early": {"transport fastcgi", serveFCGI, true},
		"retries":       {"lb_try_duration 300ms", http.Serve, false},
		"retries-early": {"lb_try_duration 300ms", http.Serve, true},
		"localhost":     {"", http.Serve, false},
	}
	c := newGuestTest(t)
	with, without := "", ""
	addresses := make(map[string][2]string)
	for name, test := range tests {
		addresses[name] = [2]string{testport.Address(t), testport.Address(t)}
		proxy := func(address string) string {
			if name == "localhost" {
				address = strings.Replace(address, "127.0.0.1", "localhost", 1)
			}
			return "reverse_proxy " + address + " {\nfail_duration 3s\n" + test.transport + "\n}\n"
		}
		with += fmt.Sprintf("invite /with/%s/__invite__/ as %[1]s\nhandle_path /with/%[1]s/* {\nwsgi_party_guest\n%s}\n", name, proxy(addresses[name][0]))
		without += fmt.Sprintf("handle_path /without/%s/* {\n%s}\n", name, proxy(addresses[name][1]))
	}
	c.Caddy.Load("ADDRESS {\n" + without + "wsgi_party " + c.party + " {\n" + with + "}\n}")
	var all sync.WaitGroup
	for name, test := range tests {
		all.Go(func() {
			if !test.early {
				partytest.Eventually(t, "it has been asked for the manifest", func() bool { return len(partytest.InvitesLogged(t, name)) > 0 })
			}
			var visits sync.WaitGroup
			var answeredWith, answeredWithout atomic.Int64
			for i := range 30 {
				if i == 0 && !test.early || i == 5 && test.early {
					for _, address := range addresses[name] {
						l := check.Value(net.Listen("tcp", address))(t)
						t.Cleanup(func() { l.Close() })
						go func() { _ = test.serve(l, application) }()
					}
				}
				for path, answered := range map[string]*atomic.Int64{"/with/": &answeredWith, "/without/": &answeredWithout} {
					visits.Go(func() {
						if status, _, err := c.TryGet(path + name + "/"); err == nil && status == 200 {
							answered.Add(1)
						}
					})
				}
				time.Sleep(150 * time.Millisecond)
			}
			visits.Wait()
			// Taken for down by an invite, it would miss 20. A busy machine mixes up a few.
			check.ErrorIf(t, answeredWith.Load() < answeredWithout.Load()-10 || answeredWithout.Load() == 0, "%s: %d visits are answered, and %d without the party", name, answeredWith.Load(), answeredWithout.Load())
		})
	}
	all.Wait()
	partytest.Eventually(t, "all have joined", func() bool { return len(c.partyline().Services()["url"]) == len(tests) })
}

func oneOfTwo(first, second string) string {
	return "invite /blog/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest\nreverse_proxy " + first + " " + second + " {\nlb_policy first\nlb_try_duration 1s\nfail_duration 1h\n}\n}"
}

// TestAnUpstreamThatIsDownKeepsNoGuestAway has a proxy try its other upstream.
func TestAnUpstreamThatIsDownKeepsNoGuestAway(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`))
	c.load(oneOfTwo(testport.Address(t), b.Upstream()))
	c.await("url")
	partytest.Eventually(t, "it is told", func() bool { return len(partytest.InvitesLogged(t, "blog")) > 0 })
	entries := partytest.InvitesLogged(t, "blog")
	check.ErrorIf(t, len(entries) != 1 || entries[0]["msg"] != partytest.Message(wsgiparty.InviteJoined), "logged %v", entries)
}

// TestTheLastUpstreamIsNotTakenForDown has two that come up after Caddy has asked twice.
func TestTheLastUpstreamIsNotTakenForDown(t *testing.T) {
	c := newGuestTest(t)
	first, second := testbackend.New(t, testport.Address(t)), testbackend.New(t, testport.Address(t))
	c.load(oneOfTwo(first.Upstream(), second.Upstream()))
	times := make(map[time.Time]bool)
	partytest.Eventually(t, "it is asked three times", func() bool {
		if o := invitesOf(t, c.party, false)["blog"]; o.Err != nil {
			times[o.Time] = true
		}
		return len(times) == 3
	})
	for _, b := range []*testbackend.Backend{first, second} {
		b.On("/page", ofType("text/plain", "page"))
		b.Start()
	}
	c.Expect("/blog/page", 200, "page")
}

// TestAnApplicationThatAnswersWith500IsNotAskedForAWhile has a proxy take it for down
// because of that.
func TestAnApplicationThatAnswersWith500IsNotAskedForAWhile(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", testbackend.Response{Status: 500}, testbackend.Response{Status: 500}, manifestOf(`{"urls": {"home": "/"}}`))
	b.On("/page", ofType("text/plain", "page"))
	config := func(more string) string {
		return "invite /blog/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest\nreverse_proxy " + b.Upstream() + " {\n" + more + "\n}\n}"
	}
	counted := config("fail_duration 300ms\nunhealthy_status 5xx")
	c.load(counted)
	partytest.Eventually(t, "it has answered", func() bool { return len(partytest.InvitesLogged(t, "blog")) == 1 })
	first := partytest.InvitesLogged(t, "blog")[0]
	check.Equal(t, first["asked_again_in"], 300.0, "it is asked again in")
	check.Contains(t, fmt.Sprint(first["hint"]), []string{"counts this answer (unhealthy_status)", "5m0s", "`caddy wsgi-party invite " + c.party + " blog`"}, "the hint lacks")
	visit := func() {
		t.Helper()
		partytest.Eventually(t, "it is up", func() bool {
			status, _, err := c.TryGet("/blog/page")
			return err == nil && status == 200
		})
		for range 10 { // and stays it
			c.ExpectSoon("/blog/page", 200, "page")
			time.Sleep(60 * time.Millisecond)
		}
	}
	visit()
	applicationOf(t, "blog").FetchSoon()
	c.load(counted) // a reload changes nothing
	c.load(counted)
	const notYet = "an application that answered with a 5xx status is not asked for its manifest yet"
	partytest.Eventually(t, "it is said", func() bool { return len(partytest.LogEntries(t, notYet)) == 2 })
	info := invitesOf(t, c.party, false)["blog"]
	check.ErrorIf(t, info.Result != wsgiparty.InviteFailed || info.Status != 500 || !strings.Contains(info.Hint, "or at once if you run `caddy wsgi-party invite "+c.party+" blog`"), "after the reloads it is shown as %+v", info)
	visit()
	check.Equal(t, len(b.Requests("/__invite__/")), 1, "times that it was asked")
	for _, want := range []int{500, 200} {
		infos := wsgiparty.SendInvites(c.party, "blog")
		check.ErrorIf(t, len(infos) != 1 || infos[0].Status != want, "asked again: %+v", infos)
	}
	c.expectLink("home", "/blog/")

	// Nobody says that of a proxy that does not count it.
	b.On("/__invite__/", testbackend.Response{Status: 500})
	c.load(strings.ReplaceAll(config("fail_duration 300ms\nunhealthy_status 404"), "/blog", "/wiki"))
	partytest.Eventually(t, "it has answered", func() bool { return len(partytest.InvitesLogged(t, "wiki")) == 1 })
	hint := fmt.Sprint(partytest.InvitesLogged(t, "wiki")[0]["hint"])
	check.ErrorIf(t, strings.Contains(hint, "counts"), "the hint is %s", hint)
}

// TestAnApplicationThatIsTooSlowForAnAskIsUpForVisitors has a visitor who waits longer.
func TestAnApplicationThatIsTooSlowForAnAskIsUpForVisitors(t *testing.T) {
	c, b := newBlogTest(t)
	slow := jsonOf("1")
	slow.Wait = 400 * time.Millisecond
	b.On("/slow", slow)
	c.load("invite /blog/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest {\nservice slow /slow\ntimeout 50ms\n}\nreverse_proxy " + b.Upstream() + " {\nfail_duration 1h\n}\n}")
	_, err := c.ask("slow", nil)
	check.ErrorIf(t, !party.TimedOut(err) || errors.Is(err, context.Canceled), "the ask ended with %v", err)
	c.Expect("/blog/slow", 200, "1")
}

// TestAnApplicationThatIsStartingIsNoWarning has one that is not there, and comes.
func TestAnApplicationThatIsStartingIsNoWarning(t *testing.T) {
	httpguest.Waits{Unreached: time.Second, Starting: 5 * time.Second}.Set(t)
	c := newGuestTest(t)
	b := testbackend.New(t, testport.Address(t))
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`))
	c.load(blogAt(b))
	levels := func() (levels []string) {
		for _, e := range partytest.InvitesLogged(t, "blog") {
			levels = append(levels, fmt.Sprint(e["level"], " ", e["msg"]))
		}
		return levels
	}
	partytest.Eventually(t, "it is a warning", func() bool { return len(levels()) == 2 })
	time.Sleep(1200 * time.Millisecond) // for what must not happen, in the background
	check.Equal(t, fmt.Sprint(levels()), "[info invite failed warn invite failed]", "logged")
	again := partytest.InvitesLogged(t, "blog")[0]["asked_again_in"]
	check.ErrorIf(t, again == nil, "it is not said when it is asked again")
	b.Start()
	c.await("url")
	partytest.Eventually(t, "it is told", func() bool {
		return fmt.Sprint(levels()) == "[info invite failed warn invite failed info guest joined]"
	})

	// One that answers is another thing.
	b.On("/__invite__/", testbackend.Response{Status: 403})
	c.load(strings.ReplaceAll(blogAt(b), "/blog", "/wiki"))
	partytest.Eventually(t, "it is a warning", func() bool {
		entries := partytest.InvitesLogged(t, "wiki")
		return len(entries) == 1 && entries[0]["level"] == "warn"
	})
}

// TestAnApplicationComesAndGoes has one that is down at first, comes up, dies, and is
// there again with another manifest, in one config.
func TestAnApplicationComesAndGoes(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.New(t, testport.Address(t))
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/1"}, "services": {"who": {"href": "/who/1"}}}`))
	b.On("/who/1", jsonOf("1"))
	c.load(blogAt(b))
	partytest.Eventually(t, "it is not there", func() bool { return len(partytest.LogEntries(t, "invite failed")) == 1 })
	c.expectLink("home", "")

	b.Start()
	c.await("who")
	c.expectLink("home", "/blog/1")
	c.expectAsk("who", nil, "1")

	b.Kill()
	for range 2 * httpguest.BreakerFailures {
		_, err := c.ask("who", nil)
		check.ErrorIf(t, err == nil || strings.Contains(err.Error(), "it took longer"), err)
	}
	c.expectLink("home", "/blog/1")
	silent := partytest.LogEntries(t, "guest does not answer")
	if len(silent) != 1 || silent[0]["party"] != c.party || silent[0]["guest"] != "blog" || silent[0]["service"] != "who" || !strings.Contains(fmt.Sprint(silent[0]["error"]), "connect") {
		t.Errorf("that it does not answer is logged as %v", silent)
	}

	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/2"}, "services": {"who": {"href": "/who/2"}}}`))
	b.On("/who/1")
	b.On("/who/2", jsonOf("2"))
	b.Start()
	partytest.Eventually(t, "it is asked again", func() bool { answers, err := c.ask("who", nil); return answers == "2" && err == nil })
	c.expectLink("home", "/blog/2")
	check.Equal(t, len(partytest.LogEntries(t, "guest left")), 0, "it has left meanwhile")
	again := partytest.LogEntries(t, "guest answers again")
	check.ErrorIf(t, len(again) != 1 || again[0]["service"] != "who", "that it answers again is logged as %v", again)
}

// TestARollingDeploy has two processes of an application behind one list of upstreams.
// One after the other is replaced by a version that has another manifest.
func TestARollingDeploy(t *testing.T) {
	httpguest.Waits{Apart: time.Millisecond}.Set(t)
	c := newGuestTest(t)
	processes := []*testbackend.Backend{testbackend.New(t, testport.Address(t)), testbackend.New(t, testport.Address(t))}
	be := func(b *testbackend.Backend, version int) {
		b.Kill()
		b.On("/__invite__/", manifestOf(fmt.Sprintf(`{"urls": {"home": "/%d"}, "services": {"who": {"href": "/who"}}}`, version)))
		if version == 0 { // which knows nothing of parties yet
			b.On("/__invite__/")
		}
		b.On("/who", jsonOf(fmt.Sprint(version)))
		b.Start()
	}
	be(processes[0], 1)
	be(processes[1], 0)
	c.load(strings.Replace(blogAt(processes[0]), processes[0].Upstream(), processes[0].Upstream()+" "+processes[1].Upstream()+" {\nlb_policy round_robin\n}", 1))
	v := applicationOf(t, "blog")
	asked := func(n int) int { return len(processes[n].Requests("/__invite__/")) }
	// see asks for the link until both processes have been asked for their manifest often, and
	// checks that these are the links there are.
	see := func(want ...string) {
		t.Helper()
		links := make(map[string]bool)
		one, two := asked(0)+3, asked(1)+3
		partytest.Eventually(t, "both are asked", func() bool {
			v.FetchSoon()
			if len(links) == 0 && len(c.partyline().Services()["url"]) == 0 {
				return false // not yet
			}
			links[check.Value(wsgiparty.URLFor(t.Context(), operatorOf(c, c.party), "home", nil))(t)] = true
			for range 2 { // so that the next one asked for its manifest is the other one
				answers, err := c.ask("who", nil)
				check.FatalIf(t, err != nil || len(answers) != 1, "it does not answer: %s %v", answers, err)
			}
			return asked(0) >= one && asked(1) >= two && len(links) >= len(want)
		})
		check.Slices(t, slices.Sorted(maps.Keys(links)), want, "links")
	}
	see("/blog/1") // the old version is not a guest
	be(processes[1], 2)
	see("/blog/1", "/blog/2")
	be(processes[0], 2)
	partytest.Eventually(t, "the new version has taken over", func() bool {
		v.FetchSoon()
		return check.Value(wsgiparty.URLFor(t.Context(), operatorOf(c, c.party), "home", nil))(t) == "/blog/2"
	})
	check.Equal(t, len(partytest.LogEntries(t, "guest left")), 0, "times that it left")
}

// TestEveryAskIsAnsweredThroughReloadsAndAChange asks while 20 configs come and go and
// the manifest changes.
func TestEveryAskIsAnsweredThroughReloadsAndAChange(t *testing.T) {
	c, b := newBlogTest(t)
	version := func(n int) testbackend.Response {
		return manifestOf(fmt.Sprintf(`{"urls": {"home": "/%[1]d"}, "services": {"who": {"href": "/who"}, "version": {"answer": %[1]d}}}`, n), "ETag", fmt.Sprintf(`"%d"`, n))
	}
	b.On("/__invite__/", version(1))
	b.On("/who", jsonOf(`"blog"`))
	config := func(n int) string {
		return blogAt(b, fmt.Sprintf("timeout %ds", 10+n)) + `
	invite /shop/__invite__/
	handle_path /shop/* {
		wsgi_party_guest {
			url shop /
			service who /who
		}
		reverse_proxy ` + b.Upstream() + `
	}`
	}
	c.load(config(0))
	c.await("version")

	stop := make(chan struct{})
	var asking sync.WaitGroup
	var mu sync.Mutex
	asked := make(map[string]int)
	for range 2 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for service, payload := range map[string]any{"who": nil, "version": nil, "url": wsgiparty.URLRequest{Name: "home"}} {
					answers, err := operatorOf(c, c.party).AskAround(context.Background(), service, payload)
					got := joinAnswers(answers)
					check.ErrorIf(t, err != nil, "asking for %s: %v", service, err)
					mu.Lock()
					asked[got]++
					mu.Unlock()
				}
			}
		})
	}
	for n := range 20 {
		c.load(config(n + 1))
		if n == 10 {
			b.On("/__invite__/", version(2))
			applicationOf(t, "blog").FetchSoon()
			partytest.Eventually(t, "the new manifest counts", func() bool { answers, err := c.ask("version", nil); return answers == "2" && err == nil })
		}
		time.Sleep(10 * time.Millisecond)
	}
	close(stop)
	asking.Wait()
	for got := range asked {
		switch got {
		case `"blog" "blog"`, "1", "2", "/blog/1", "/blog/2":
		default:
			t.Errorf("%d times the answers were %q", asked[got], got)
		}
	}
	check.ErrorIf(t, asked[`"blog" "blog"`] < 20 || asked["1"] == 0 || asked["2"] == 0, "hardly asked: %v", asked)
	c.expectLink("home", "/blog/2")
	check.Equal(t, len(b.Requests("/__invite__/")), 2, "times that it is asked for the manifest")
	check.ErrorIf(t, strings.Contains(fmt.Sprint(partytest.LogEntries(t, "guest left")), "blog"), "it left meanwhile")
}
