// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
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
	c.load(`
	test_app /start start
	invite /taken/__invite__/ /wrong/__invite__/ /swapped/__invite__/ /nobody/__invite__/ /inside/__invite__/
	invite_timeout 30s
	handle /taken/* {
		wsgi_party_guest
		reverse_proxy ` + b.Upstream() + `
	}
	handle /wrong/* {
		wsgi_party_guest swapped
		reverse_proxy ` + b.Upstream() + `
	}
	handle /swapped/* {
		wsgi_party_guest wrong
		reverse_proxy ` + b.Upstream() + `
	}
	handle /nobody/* {
		wsgi_party_guest other
		reverse_proxy ` + b.Upstream() + `
	}
	handle /unused/* {
		wsgi_party_guest
		reverse_proxy ` + b.Upstream() + `
	}
	handle /inside/* {
		wsgi_party_guest taken
		wsgi_party_guest inside
		reverse_proxy ` + b.Upstream() + `
	}`)
	at := <-started
	awaitRequests(t, b, "/taken/__invite__/", 1)
	awaitRequests(t, b, "/inside/__invite__/", 1)
	for _, r := range b.Requests("") {
		if r.Began.Before(at) || r.URI != "/taken/__invite__/" && r.URI != "/inside/__invite__/" {
			t.Errorf("%s %v after the start", r.URI, r.Began.Sub(at))
		}
		check.Equal(t, r.Header.Get("Accept"), partytest.ManifestType, "%s is no request for a manifest: %v", r.URI, r.Header)
	}
}

func TestStrictInvitesLoadThoughTheApplicationIsDown(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.New(t, "")
	b.On("/__invite__/", manifestOf(`{"services": {"ping": {"answer": 1}}}`))
	c.load("strict_invites\n" + blogAt(b))
	partytest.Eventually(t, "it is not there", func() bool { return len(partytest.LogEntries(t, "invite failed")) == 1 })
	b.Start()
	c.await("ping")

	err := c.TryLoad(c.inParty("strict_invites\n" + strings.Replace(blogAt(b), "wsgi_party_guest", "wsgi_party_guest other", 1)))
	check.Fails(t, err, "strict_invites is set")
}

// TestAGuestInTwoServersIsAskedOnce has a site with two ports.
func TestAGuestInTwoServersIsAskedOnce(t *testing.T) {
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

// TestMistakesOfTheFirstDayAreLogged has guests whose invite does not reach them.
func TestMistakesOfTheFirstDayAreLogged(t *testing.T) {
	const message = "no invite reached a wsgi_party_guest handler: its application is not on the line"
	c := newGuestTest(t)
	for name, test := range map[string]struct {
		directives string
		hints      []string
	}{
		"no invite":            {"handle_path /blog/* {\nwsgi_party_guest\n}", []string{"write `invite <mount>/__invite__/` in the wsgi_party block"}},
		"no invite for a name": {"handle_path /blog/* {\nwsgi_party_guest log\n}", []string{"write `invite <mount>/__invite__/ as log` in the wsgi_party block"}},
		"basic_auth": {"invite /blog/__invite__/\nhandle_path /blog/* {\nroute {\nbasic_auth {\nu $2a$14$ANZXnjQ6Fc3b.6WqRKZAsu/0Vv4LnLYrHG6vYsLsp0E/bXjLQNJpy\n}\nwsgi_party_guest\n}\n}",
			[]string{"/blog/__invite__/", "status 401", "`not vars partyline blog`"}},
		"redirect":   {"invite /blog/__invite__/\nhandle_path /blog/* {\nroute {\nredir * /there\nwsgi_party_guest\n}\n}", []string{"/blog/__invite__/", "status 302", "/there"}},
		"rate limit": {"invite /blog/__invite__/\nhandle_path /blog/* {\nroute {\nerror 429\nwsgi_party_guest\n}\n}", []string{"/blog/__invite__/", "status 429", "partyline"}},
	} {
		partytest.ResetLog()
		c.load(test.directives)
		warned := partytest.LogEntries(t, message)
		if len(warned) != 1 || warned[0]["level"] != "warn" || warned[0]["party"] != c.party {
			t.Errorf("%s: %v", name, warned)
			continue
		}
		for _, hint := range test.hints {
			check.Has(t, fmt.Sprint(warned[0]["hint"]), hint, "%s: the hint", name)
		}
	}
	c.load("invite /blog/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest {\nanswer a b\n}\n}")
	check.Equal(t, len(partytest.LogEntries(t, "guest joined")), 1, "it has not joined")
}

// TestThePartyPassesAuthentication has people log in, with the recipe of the hint.
func TestThePartyPassesAuthentication(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"services": {"who": {"href": "/who"}}}`))
	b.On("/who", jsonOf("1"))
	partytest.App(t, "guest", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		check.Equal(t, fmt.Sprint(caddyhttp.GetVar(r.Context(), "partyline")), "blog", "the variable partyline prints as")
		return next.ServeHTTP(w, r)
	})
	c.load(`
	invite /blog/__invite__/
	handle_path /blog/* {
		@people not vars partyline blog
		basic_auth @people {
			u $2a$14$ANZXnjQ6Fc3b.6WqRKZAsu/0Vv4LnLYrHG6vYsLsp0E/bXjLQNJpy
		}
		wsgi_party_guest
		test_app guest
		reverse_proxy ` + b.Upstream() + `
	}`)
	c.await("who")
	c.expectAsk("who", nil, "1")
	status, _ := c.Get("/blog/who")
	check.ErrorIf(t, status != 401, "people get %d", status)
	check.Equal(t, len(b.Requests("/who")), 1, "requests")
}

// TestInvitesOfApplicationsAreSentAgain asks for it while the application is no guest.
func TestInvitesOfApplicationsAreSentAgain(t *testing.T) {
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
	partytest.Eventually(t, "it is no guest", func() bool { return len(partytest.InvitesLogged(t, "blog")) == 1 })
	again := func(result wsgiparty.InviteResult, status int, sent bool) {
		t.Helper()
		infos := wsgiparty.SendInvites(c.party, "blog")
		check.ErrorIf(t, len(infos) != 1 || infos[0].Result != result || infos[0].Status != status || infos[0].Sent != sent, "%+v", infos)
	}
	again(wsgiparty.InviteNotAnswered, 404, true)
	b.On("/__invite__/", manifestOf(`{"services": {"ping": {"answer": 1}}}`))
	again(wsgiparty.InviteJoined, 200, true)
	c.expectAsk("ping", nil, "1")
	again(wsgiparty.InviteJoined, 200, false)
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
