// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/fcgi"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/party"
)

// TestNoInviteReachesAnApplicationWhileTheConfigLoads has an application that never
// answers, and invites that are taken, and others that are not.
func TestNoInviteReachesAnApplicationWhileTheConfigLoads(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("", testbackend.Response{Hold: true})
	started := make(chan time.Time, 1)
	partytest.OnProvision(t, "start", partytest.DuringStart(t, func() error {
		time.Sleep(200 * time.Millisecond) // for what must not happen, in the background
		started <- time.Now()
		return nil
	}))
	config := "test_app /start start\ninvite_timeout 30s\n"
	for guest, handlers := range map[string]string{
		"taken": "wsgi_party_guest", "wrong": "wsgi_party_guest swapped", "swapped": "wsgi_party_guest wrong", "nobody": "wsgi_party_guest other",
		"inside": "wsgi_party_guest taken\nwsgi_party_guest inside",
	} {
		config += fmt.Sprintf("invite /%s/__invite__/\nhandle /%[1]s/* {\n%s\nreverse_proxy %s\n}\n", guest, handlers, b.Upstream())
	}
	c.load(config + "handle /unused/* {\nwsgi_party_guest\nreverse_proxy " + b.Upstream() + "\n}")
	at := <-started
	awaitRequests(t, b, "/taken/__invite__/", 1)
	awaitRequests(t, b, "/inside/__invite__/", 1)
	for _, r := range b.Requests("") {
		check.ErrorIf(t, r.Began.Before(at) || r.URI != "/taken/__invite__/" && r.URI != "/inside/__invite__/", "%s %v after the start", r.URI, r.Began.Sub(at))
		check.Equal(t, r.Header.Get("Accept"), partytest.ManifestType, "%s is not a request for a manifest: %v", r.URI, r.Header)
	}
}

// TestStrictInvitesDoNotWaitForApplications loads a config whose application is down, and
// one whose invite no handler takes. To validate a config asks no application.
func TestStrictInvitesDoNotWaitForApplications(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.New(t, "")
	b.On("/__invite__/", manifestOf(`{"services": {"ping": {"answer": 1}}}`))
	c.load("strict_invites\n" + blogAt(b))
	partytest.Eventually(t, "it is not there", func() bool { return len(partytest.LogEntries(t, "invite failed")) == 1 })
	b.Start()
	c.await("ping")
	check.Nil(t, caddy.Validate(partytest.ParseConfig(t, c.Adapt(c.inParty("strict_invites\n"+strings.ReplaceAll(blogAt(b), "blog", "wiki"))))))
	check.Equal(t, len(b.Requests("")), 1, "requests")
	check.Fails(t, c.TryLoad(c.inParty("strict_invites\n"+strings.Replace(blogAt(b), "wsgi_party_guest", "wsgi_party_guest other", 1))), "strict_invites is set")
}

// TestAGuestInTwoServersIsAskedOnce has a site with two ports.
func TestAGuestInTwoServersIsAskedOnce(t *testing.T) {
	httpguest.Waits{Apart: time.Millisecond}.Set(t)
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/1"}, "services": {"who": {"href": "/who"}}}`), manifestOf(`{"urls": {"home": "/1"}, "services": {"who": {"href": "/who"}}}`),
		manifestOf(`{"urls": {"home": "/2"}, "services": {"who": {"href": "/who"}}}`))
	b.On("/who", jsonOf("1"))
	second := testport.Address(t)
	c.Caddy.Load("ADDRESS, http://" + second + " {\nwsgi_party " + c.party + " {\n" + blogAt(b) + "\n}\n}")
	replicas := func() int {
		guests := c.partyline().Guests()
		if len(guests) != 1 {
			return 0
		}
		return guests[0].Replicas
	}
	partytest.Eventually(t, "both servers have it", func() bool { return replicas() == 2 })
	c.expectAsk("who", nil, "1")
	c.expectAsk("url", wsgiparty.URLRequest{Name: "home"}, "/blog/1")
	check.Equal(t, len(b.Requests("/who")), 1, "times that the application is asked")
	applicationOf(t, "blog").FetchSoon()
	awaitRequests(t, b, "/__invite__/", 3)
	partytest.Eventually(t, "its new operator takes over from the old one", func() bool { return replicas() == 2 })
	c.expectAsk("who", nil, "1")
	answers, err := c.ask("url", wsgiparty.URLRequest{Name: "home"})
	check.ErrorIf(t, answers != "/blog/1" && answers != "/blog/2" || err != nil, "%s %v", answers, err)
}

// TestInvitesOfApplicationsAreSentAgain asks for it while the application is not a guest.
func TestInvitesOfApplicationsAreSentAgain(t *testing.T) {
	httpguest.Waits{Apart: time.Millisecond}.Set(t)
	partytest.App(t, "slow", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		err := next.ServeHTTP(w, r)
		if party.PeekInvitation(r) != nil {
			time.Sleep(100 * time.Millisecond) // in which the application answers
		}
		return err
	})
	c, b := newBlogTest(t)
	c.load(`
	invite /blog/__invite__/
	handle_path /blog/* {
		route {
			test_app slow
			wsgi_party_guest
			reverse_proxy ` + b.Upstream() + `
		}
	}`)
	partytest.Eventually(t, "it is not a guest", func() bool { return len(partytest.InvitesLogged(t, "blog")) == 1 })
	again := func(result wsgiparty.InviteResult, status int, sent bool) {
		t.Helper()
		infos := wsgiparty.SendInvites(c.party, "blog")
		check.ErrorIf(t, len(infos) != 1 || infos[0].Result != result || infos[0].Status != status || infos[0].Sent != sent, "%+v", infos)
	}
	again(wsgiparty.InviteNotAnswered, 404, true)
	b.On("/__invite__/", manifestOf(`{"services": {"ping": {"answer": 1}}}`))
	again(wsgiparty.InviteJoined, 200, true)
	c.expectAsk("ping", nil, "1")
	again(wsgiparty.InviteJoined, 200, true) // it is asked what it answers for now
	check.Equal(t, len(b.Requests("/__invite__/")), 4, "requests for its manifest")
	c.expectAsk("ping", nil, "1")
	infos := wsgiparty.SendInvites(c.party, "")
	check.ErrorIf(t, len(infos) != 1 || infos[0].Sent, "%+v", infos)
	guests := c.partyline().Guests()
	check.ErrorIf(t, len(guests) != 1 || guests[0].Replicas != 1, "%+v", guests)
}

// TestAGuestAsksWhileItIsInvited has a Go module ask an application in the context of
// its own invite, which is not to be taken for the application's.
func TestAGuestAsksWhileItIsInvited(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, testport.Address(t))
	b.On("/ping", jsonOf(`"pong"`))
	var got any
	partytest.App(t, "asker", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		o, ok := wsgiparty.OperatorFrom(r)
		if !ok {
			return nil
		}
		var err error
		got, err = wsgiparty.First[string](r.Context(), o, "ping", nil)
		return err
	})
	c.load(blogAt(b, "service ping /ping") + `
	invite /asker/__invite__/
	handle_path /asker/* {
		test_app asker
	}`)
	check.Equal(t, got, "pong", "got, want the application's answer")
}

// TestEventsTellOfRemoteGuests does not wait for half a minute between the answers
// that the application is not a guest any more.
func TestEventsTellOfRemoteGuests(t *testing.T) {
	httpguest.Waits{Broken: time.Second, Apart: time.Millisecond}.Set(t)
	c := partytest.NewCaddy(t)
	events, expected := partytest.KeepEvents(t), 0
	expect := func(want ...string) {
		t.Helper()
		var got []string
		partytest.Eventually(t, fmt.Sprintf("%q is told", want), func() bool {
			got = events.Events()[expected:]
			return len(got) >= len(want)
		})
		check.Slices(t, got, want, "got")
		expected += len(got)
	}
	blog := partytest.NewInvited(t, partytest.Manifest(`{"services": {"ping": {"answer": 1}, "gone": {"href": "/gone"}}}`))
	refusing := partytest.NewInvited(t, partytest.Status(403))
	c.Site("route {\ntest_app events\nwsgi_party main {\ninvite /evblog/__invite__/\n" + partytest.Mounted("evblog", "", blog) + "}\n}")
	expect("guest_joined evblog [gone ping]")
	c.Site("route {\ntest_app events\nwsgi_party main {\ninvite /evblog/__invite__/ /evother/__invite__/\n" + partytest.Mounted("evblog", "", blog) + partytest.Mounted("evother", "", refusing) + "}\n}")
	// The next config begins with the last manifest, and with the other's answer.
	expect("guest_joined evblog [gone ping]", "invite_refused evother []")

	var failures atomic.Int64
	blog.OnInvite(func(w http.ResponseWriter, r *http.Request) {
		if failures.Add(1) > 2 {
			<-r.Context().Done() // nothing more is told by itself
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	partytest.Eventually(t, "it has failed twice, which is told once", func() bool {
		_, _ = operatorOf(c, "main").AskAround(t.Context(), "gone", nil)
		return failures.Load() > 2
	})
	expect("invite_failed evblog [gone ping]")

	f := httpguest.NewFetcher(applicationOf(t, "evblog"))
	for i := range 3 {
		f.Hear(&http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody}, nil, time.Now().Add(time.Duration(i)*31*time.Second))
	}
	expect("invite_not_answered evblog [gone ping]", "guest_left evblog [gone ping]", "invite_not_answered evblog []")
	blog.OnInvite(partytest.Manifest(`{"services": {"ping": {"answer": 2}}}`))
	wsgiparty.SendInvites("main", "evblog")
	expect("guest_joined evblog [ping]")
}

// TestInvitesAreCountedAndToldOfWhenTheirResultChanges has an application be asked
// again and again.
func TestInvitesAreCountedAndToldOfWhenTheirResultChanges(t *testing.T) {
	httpguest.Waits{Broken: time.Millisecond, Apart: time.Millisecond}.Set(t)
	c, party := partytest.NewCaddyWithAdmin(t), partytest.FreshParty()
	blog := partytest.NewInvited(t, partytest.Manifest(`{"services": {"gone": {"href": "/gone"}}}`))
	c.Site("wsgi_party " + party + " {\ninvite /blog/__invite__/\n" + partytest.Mounted("blog", "", blog) + "}")
	invitesOf(t, party, true)
	again := func(times int) { // a 404 has it asked again
		t.Helper()
		for range times {
			before := blog.Invites()
			partytest.Eventually(t, "it is invited again", func() bool {
				_, _ = operatorOf(c, party).AskAround(t.Context(), "gone", nil)
				return blog.Invites() > before
			})
		}
	}
	invites := func(joined, notAnswered, refused, failed float64) {
		t.Helper()
		want := partytest.Figures{"joined": joined, "not_answered": notAnswered, "refused": refused, "failed": failed}
		partytest.Eventually(t, fmt.Sprint("the invites are counted ", want), func() bool {
			figures := c.Figures(party)
			for outcome, n := range want {
				if figures["invites_total"+partytest.Labels(map[string]string{"outcome": outcome})] != n {
					return false
				}
			}
			return true
		})
	}
	invites(1, 0, 0, 0)
	again(1)
	blog.OnInvite(partytest.Status(503))
	again(2)
	invites(1, 0, 0, 1)
	blog.OnInvite(partytest.Status(403))
	again(1)
	invites(1, 0, 1, 1)
	check.Equal(t, len(partytest.LogEntries(t, "invite failed")), 1, "logged times that it failed")
	refused := partytest.LogEntries(t, "invite refused")
	check.ErrorIf(t, len(refused) != 1 || !strings.Contains(fmt.Sprint(refused[0]["hint"]), "not vars partyline blog"), "logged that it was refused: %v", refused)
	joined := partytest.LogEntries(t, "guest joined")
	check.ErrorIf(t, len(joined) != 1 || joined[0]["guest"] != "blog", "logged that it joined: %v", joined)
}

const leavesProcess = "the invite reached a handler that would send it over the network, but an invite stays in this process"

// listen counts the connections to an address, on which nobody answers.
func listen(t *testing.T, network, address string) *atomic.Int64 {
	t.Helper()
	l := check.Value(net.Listen(network, address))(t)
	t.Cleanup(func() { l.Close() })
	connections := new(atomic.Int64)
	go func() {
		for {
			connection, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			defer connection.Close()
		}
	}()
	return connections
}

// TestNothingOfAnInviteLeavesTheProcess has handlers that would send it on, with no
// wsgi_party_guest in front of them, to one who never answers.
func TestNothingOfAnInviteLeavesTheProcess(t *testing.T) {
	const guests = 20 // net/http dials at once with the request's end, or it does not
	for name, directives := range map[string]string{
		"http":         "reverse_proxy TCP",
		"https":        "reverse_proxy https://TCP",
		"h2c":          "reverse_proxy h2c://TCP",
		"unix":         "reverse_proxy unix/UNIX",
		"localhost":    "reverse_proxy localhost:PORT",
		"retries":      "reverse_proxy TCP {\nlb_try_duration 1h\nlb_retries 100\nfail_duration 1h\n}",
		"buffers":      "reverse_proxy TCP {\nrequest_buffers 4096\n}",
		"fastcgi":      "root /\nphp_fastcgi TCP {\ntry_files index.php\nlb_try_duration 10s\nfail_duration 1h\n}",
		"fastcgi-unix": "reverse_proxy unix/UNIX {\ntransport fastcgi\n}",
		"forward_auth": "forward_auth TCP {\nuri /auth\n}\nrespond in",
		"a names":      "reverse_proxy {\ndynamic a localhost PORT {\nresolvers TCP\n}\nlb_try_duration 10s\n}",
		"another guest": `wsgi_party_guest another
			reverse_proxy TCP`,
	} {
		t.Run(name, func(t *testing.T) {
			c := newGuestTest(t)
			address, socket := testport.Address(t), filepath.Join(t.TempDir(), "socket")
			_, port, _ := net.SplitHostPort(address)
			connections, more := listen(t, "tcp", address), listen(t, "unix", socket)
			directives := strings.NewReplacer("TCP", address, "PORT", port, "UNIX", socket).Replace(directives)
			config := "invite_timeout 1h\n"
			for i := range guests {
				config += fmt.Sprintf("invite /%d/__invite__/\n", i)
			}
			c.load(config + "route {\n" + directives + "\n}")
			infos := wsgiparty.SendInvites(c.party, "7")
			check.ErrorIf(t, len(infos) != 1 || infos[0].Result != wsgiparty.InviteNotAnswered, "sent after the start: %+v", infos)
			for i := range guests {
				for _, e := range partytest.InvitesLogged(t, fmt.Sprint(i)) {
					if name == "another guest" { // which does not pass it on
						continue
					}
					check.ErrorIf(t, e["msg"] != partytest.Message(wsgiparty.InviteNotAnswered) || e["status"] != 0.0 || e["error"] != leavesProcess || !strings.Contains(fmt.Sprint(e["hint"]), "wsgi_party_guest"), "it is told as %v", e)
				}
			}
			check.Equal(t, connections.Load()+more.Load(), 0, "connections")
		})
	}
}

// TestNoInviteMarksAnUpstreamDown has a proxy whose application is not there while the
// config loads, and is asked by a visitor as soon as it is.
func TestNoInviteMarksAnUpstreamDown(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, "page")
	})
	for name, test := range map[string]struct {
		proxy string
		serve func(net.Listener) error
	}{
		"http":    {"reverse_proxy ADDR {\nfail_duration 1h\n}", func(l net.Listener) error { return http.Serve(l, page) }},
		"fastcgi": {"reverse_proxy ADDR {\ntransport fastcgi\nfail_duration 1h\n}", func(l net.Listener) error { return fcgi.Serve(l, page) }},
	} {
		t.Run(name, func(t *testing.T) {
			c := newGuestTest(t)
			address := testport.Address(t)
			c.load("invite_timeout 1h\ninvite /blog/__invite__/\n" + strings.Replace(test.proxy, "ADDR", address, 1))
			l := check.Value(net.Listen("tcp", address))(t)
			t.Cleanup(func() { l.Close() })
			go func() { _ = test.serve(l) }()
			c.Expect("/", 200, "page")
		})
	}
}

// TestAGuestThatConnectsWhileItIsInvited has a Go guest make a request in the context of
// its invite.
func TestAGuestThatConnectsWhileItIsInvited(t *testing.T) {
	c, b := newBlogTest(t)
	partytest.App(t, "app", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		if _, ok := wsgiparty.OperatorFrom(r); !ok {
			return nil
		}
		request, err := http.NewRequestWithContext(r.Context(), "GET", "http://"+b.Upstream(), nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
	c.load("invite /blog/__invite__/\ntest_app app")
	o := partytest.InvitesLogged(t, "blog")[0]
	check.ErrorIf(t, o["msg"] != partytest.Message(wsgiparty.InviteFailed) || o["error"] != leavesProcess || !strings.Contains(fmt.Sprint(o["hint"]), "a context of its own"), "it is told as %v", o)
	check.Equal(t, len(b.Requests("")), 0, "requests")
}
