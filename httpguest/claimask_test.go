// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/party"
)

const asksClaims = `{"services": {"claims": {"href": "/__invite__/claims{?method,host,path,query}"}}}`

// newClaimTest is a guest that is asked which requests it claims.
func newClaimTest(t *testing.T, options ...string) (*guestTest, *testbackend.Backend) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(asksClaims))
	b.On("/__invite__/claims", jsonOf("true"))
	c.load(blogAt(b, options...))
	c.await("claims")
	return c, b
}

// asked is how often it was.
func asked(b *testbackend.Backend) int { return len(b.Requests("/__invite__/claims")) }

func (c *guestTest) expectAsked(b *testbackend.Backend, n int, what string) {
	c.Helper()
	check.Equal(c, asked(b), n, "asked %s", what)
}

// awaitDown waits until requests for the path have found the application of the guest to be down: the first may
// break off on a connection that was kept, which need not mean that.
func (c *guestTest) awaitDown(guest, path string) {
	c.Helper()
	partytest.Eventually(c, "it is found to be down", func() bool {
		c.Get(path)
		return applicationOf(c, guest).IsDown()
	})
}

func TestWhatIsClaimedByAnHrefIsKept(t *testing.T) {
	c, b := newClaimTest(t, "claim_cache 1h", "forward Cookie")
	const by = "its answer to /__invite__/claims{?method,host,path,query}"
	yes := map[string]string{"GET example.com/a/./b?x=1": by}
	c.expectClaims("blog", yes)
	r := b.Requests("/__invite__/claims")[0]
	check.Equal(t, r.URI, "/__invite__/claims?method=GET&host=example.com&path=%2Fa%2Fb", "it is asked with")
	check.ErrorIf(t, r.Header["Cookie"] != nil || r.Header["Authorization"] != nil, "%v", r.Header)
	c.expectClaims("blog", map[string]string{"GET example.com/a/b?y=2": by})
	c.expectAsked(b, 1, "twice the same")
	c.expectClaims("blog", map[string]string{"HEAD example.com/a/b": by, "GET example.org/a/b": by, "GET example.com/A/b": by, "GET example.com/a%2Fb": by, "GET example.com/a/b/": by})
	c.expectAsked(b, 6, "others")
	b.On("/__invite__/claims", jsonOf("false"))
	c.expectClaims("blog", yes)
	const no = "(its application says no, asked at /__invite__/claims"
	c.expectClaims("blog", map[string]string{"GET example.com/a/c": no})
	b.On("/__invite__/claims", jsonOf("true"))
	c.expectClaims("blog", map[string]string{"GET example.com/a/c": no})
	c.load(blogAt(b, "claim_cache 1h", "max_asks 8"))
	c.expectClaims("blog", map[string]string{"GET example.com/a/c": no})
	c.expectAsked(b, 7, "after a reload")
	wsgiparty.SendInvites(c.party, "blog") // who wants to know now
	c.expectClaims("blog", map[string]string{"GET example.com/a/c": by})
	c.expectAsked(b, 8, "after an invite")
	b.On("/__invite__/claims", jsonOf(" true\r\n"))
	c.expectClaims("blog", map[string]string{"GET /line-feed": by})
	for what, response := range map[string]testbackend.Response{"another type": jsonOf(`"true"`), "a list": jsonOf(`[true]`), "204": {Status: 204}} {
		b.On("/__invite__/claims", response)
		c.expectClaims("blog", map[string]string{"GET /" + strings.ReplaceAll(what, " ", ""): "(its application says no"})
	}
}

func TestWhatIsClaimedByAnHrefIsAskedAgainAfterAWhile(t *testing.T) {
	c, b := newClaimTest(t, "claim_cache 100ms")
	c.expectClaims("blog", map[string]string{"GET /a": "its answer to"})
	b.On("/__invite__/claims", jsonOf("false"))
	partytest.Eventually(t, "it is asked again", func() bool {
		got, _ := c.askClaim("blog", "GET /a")
		return strings.HasPrefix(got, "(its application says no")
	})
}

// TestAnAnswerIsForNoOtherHost has a guest ask for a host that ends with the beginning of a path.
func TestAnAnswerIsForNoOtherHost(t *testing.T) {
	c, b := newClaimTest(t)
	b.On("/__invite__/claims", jsonOf("false"))
	for _, payload := range []string{`{"method": "GET", "host": "example.com/a", "path": "/b"}`, `{"method": "GET ", "host": "example.com", "path": "/a/b"}`, `{"method": "GET", "host": "example.com /a", "path": "/b"}`} {
		_, err := operatorOf(t, c.party).AskAround(t.Context(), party.ClaimsService, json.RawMessage(payload))
		check.ErrorIf(t, err != nil, "%v", err)
	}
	b.On("/__invite__/claims", jsonOf("true"))
	c.expectClaims("blog", map[string]string{"GET example.com/a/b": "its answer to"})
}

func TestThoseThatWaitForTheSameClaimAreOneRequest(t *testing.T) {
	c, b := newClaimTest(t)
	b.On("/__invite__/claims", testbackend.Response{Hold: true, Header: map[string]string{"Content-Type": "application/json"}, Body: "true"})
	var wait sync.WaitGroup
	answered := make(chan string, 50)
	for range 50 {
		wait.Go(func() {
			got, err := c.askClaim("blog", "GET /x")
			answered <- fmt.Sprint(strings.HasPrefix(got, "its answer"), err)
		})
	}
	awaitRequests(t, b, "/__invite__/claims", 1)
	partytest.AwaitSelects(t, 50, "askWhetherClaimed")
	b.Release()
	wait.Wait()
	close(answered)
	for got := range answered {
		check.Equal(t, got, "true <nil>", "one of them is told")
	}
	c.expectAsked(b, 1, "by 50")
}

// TestWhoDoesNotWaitForAClaimEndsItForNobody has the first of two go.
func TestWhoDoesNotWaitForAClaimEndsItForNobody(t *testing.T) {
	c, b := newClaimTest(t)
	b.On("/__invite__/claims", testbackend.Response{Hold: true, Header: map[string]string{"Content-Type": "application/json"}, Body: "true"})
	first, second := make(chan error, 1), make(chan string, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := operatorOf(t, c.party).AskAround(ctx, party.ClaimsService, party.ClaimRequest{Method: "GET", Path: "/x"})
		first <- err
	}()
	awaitRequests(t, b, "/__invite__/claims", 1)
	go func() {
		got, err := c.askClaim("blog", "GET /x")
		second <- fmt.Sprint(strings.HasPrefix(got, "its answer"), err)
	}()
	partytest.AwaitSelects(t, 2, "askWhetherClaimed")
	cancel()
	check.ErrorIf(t, !errors.Is(<-first, ctx.Err()), "the first does not go")
	b.Release()
	check.Equal(t, <-second, "true <nil>", "the second is told")
	c.expectAsked(b, 1, "by two")
}

// TestAFloodOfClaims has each path once: what is kept is bounded, and so is how often the application is asked.
func TestAFloodOfClaims(t *testing.T) {
	c, b := newClaimTest(t, "timeout 10s")
	b.On("/__invite__/claims", jsonOf("false"))
	refused, began := 0, time.Now()
	var mu sync.Mutex
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			for i := range 500 {
				_, err := c.askClaim("blog", fmt.Sprintf("GET /%d/%d/%s", worker, i, strings.Repeat("x", i%2*1100)))
				if err != nil {
					check.Has(t, err.Error(), "Caddy asks it at most 256 times a second which requests it claims, 64 times of these for guests: have one answer hold for more requests, write a longer claim_cache")
					mu.Lock()
					refused++
					mu.Unlock()
				}
			}
		})
	}
	wait.Wait()
	requests := b.Requests("/__invite__/claims")
	most := 256 * (1 + int(time.Since(began)/time.Second))
	check.ErrorIf(t, len(requests) > most, "%d asked in %v", len(requests), time.Since(began))
	check.ErrorIf(t, refused+len(requests) != 2000, "%d refused, %d asked in %v", refused, len(requests), time.Since(began))
	short := 0 // the others are too long to be kept
	for _, r := range requests {
		if len(r.URI) < 1000 {
			short++
		}
	}
	check.Equal(t, applicationOf(t, "blog").ClaimsKept(), short, "answers that are kept")
	_, stats := c.partyline().Counts()
	for _, s := range stats {
		check.ErrorIf(t, s.Service == "claims" && int(s.Refused) != refused, "counted as refused: %d of %d", s.Refused, refused)
	}
}

// TestAFloodOfClaimsLeavesThoseThatAreKnown has the application asked as often as it may be.
func TestAFloodOfClaimsLeavesThoseThatAreKnown(t *testing.T) {
	c, b := newClaimTest(t, "claim_cache 100ms")
	known := map[string]string{"GET /known": "its answer to"}
	c.expectClaims("blog", known)
	b.On("/__invite__/claims", jsonOf("false"))
	time.Sleep(100 * time.Millisecond)
	letAskAgain := applicationOf(t, "blog").UseUpClaimAsks()
	_, err := c.askClaim("blog", "GET /unknown")
	check.Fails(t, err, "asks it at most 256 times a second")
	c.expectClaims("blog", known)
	c.expectAsked(b, 1, "while it may not be")
	letAskAgain()
	partytest.Eventually(t, "it is asked again", func() bool {
		got, _ := c.askClaim("blog", "GET /known")
		return strings.HasPrefix(got, "(its application says no")
	})
}

// TestAnApplicationThatDoesNotSay is neither a yes nor a no.
func TestAnApplicationThatDoesNotSay(t *testing.T) {
	for _, passes := range []bool{false, true} {
		options := "timeout 2s"
		if passes {
			options += "\nunavailable pass"
		}
		t.Run(options, func(t *testing.T) {
			c, b := newClaimTest(t, options)
			expect := func(path, want string) {
				t.Helper()
				got, err := c.askClaim("blog", "GET "+path)
				if passes {
					check.ErrorIf(t, err != nil, "%v", err)
					check.Has(t, got, "its application did not say, and `unavailable pass` leaves its requests to others: ")
					check.Has(t, got, want)
				} else {
					check.Fails(t, err, want)
				}
			}
			b.On("/__invite__/claims", testbackend.Response{Status: 500})
			for range 20 {
				expect("/a", "status 500")
			}
			c.expectAsked(b, 1, "by each request")
			b.On("/__invite__/claims", jsonOf("true"))
			time.Sleep(500 * time.Millisecond)
			c.expectClaims("blog", map[string]string{"GET /a": "its answer to"})
			b.On("/__invite__/claims", ofType("text/html", "true"))
			expect("/b", "not JSON")
			b.On("/__invite__/claims", testbackend.Response{Hold: true})
			expect("/c", "longer than 2s")
			b.Kill()
			for i := range 40 {
				expect(fmt.Sprint("/d/", i), "")
			}
		})
	}
}

// TestAnApplicationThatIsDown leaves its requests to others, if that is wanted, until it is up again.
func TestAnApplicationThatIsDown(t *testing.T) {
	for _, fetches := range []bool{true, false} {
		t.Run(fmt.Sprint(fetches), func(t *testing.T) {
			httpguest.Waits{Apart: 10 * time.Millisecond}.Set(t)
			httpguest.SetDownFor(t, time.Hour)
			c, b := newBlogTest(t)
			b.On("/__invite__/", manifestOf(`{"claims": ["/a/"], "services": {"claims": {"href": "/__invite__/claims"}}}`))
			b.On("/__invite__/claims", jsonOf("true"))
			b.On("/a/", testbackend.Response{Body: "hello"})
			options := "unavailable pass"
			if !fetches {
				options += "\nclaim /a/\nservice claims /__invite__/claims\nfetch_manifest off"
			}
			c.load(blogAt(b, options))
			c.await("claims")
			up, down := map[string]string{"GET /a/": "/a/", "GET /b": "its answer to"}, map[string]string{"GET /a/": "(its application is down, and `unavailable pass` leaves its requests to others", "GET /b": "(its application is down"}
			isUp := func() bool { got, _ := c.askClaim("blog", "GET /a/"); return got == "/a/" }
			goesDown := func() {
				t.Helper()
				b.Kill()
				status, _ := c.Get("/blog/a/")
				check.Equal(t, status, http.StatusBadGateway, "the first request that finds it down")
				c.awaitDown("blog", "/blog/a/")
				c.expectClaims("blog", down)
			}
			c.expectClaims("blog", up)
			c.Expect("/blog/a/", 200, "hello")
			c.expectClaims("blog", up)

			goesDown()
			check.Equal(t, len(partytest.LogEntries(t, "an application is down: its requests are left to others")), 1, "told")
			c.load(blogAt(b, options, "timeout 3s"))
			c.expectClaims("blog", down)
			if fetches {
				asked := invitesOf(t, c.party, false)["blog"].Time
				partytest.Eventually(t, "it is asked again", func() bool { return invitesOf(t, c.party, false)["blog"].Time.After(asked) })
				c.expectClaims("blog", down)
				b.Start()
				partytest.Eventually(t, "it is up again", isUp)
			} else {
				b.Start()
				status, _ := c.Get("/blog/a/") // as one that another route sends there
				check.Equal(t, status, 200)
			}
			c.expectClaims("blog", up)
			check.Equal(t, len(partytest.LogEntries(t, "an application is up again: it gets its requests again")), 1, "told")

			if fetches {
				goesDown()
				return
			}
			httpguest.SetDownFor(t, 500*time.Millisecond)
			b.Kill()
			c.awaitDown("blog", "/blog/a/")
			partytest.Eventually(t, "it is tried again", isUp)
		})
	}
}

// TestWhatIsNoSignOfAnApplicationThatIsDown are its own answers, and errors that a visitor can choose.
func TestWhatIsNoSignOfAnApplicationThatIsDown(t *testing.T) {
	for _, options := range []string{"", "\nclaim /\nfetch_manifest off"} {
		t.Run(options, func(t *testing.T) {
			httpguest.Waits{Apart: time.Minute}.Set(t)
			c, b := newBlogTest(t)
			b.On("/__invite__/", manifestOf(`{"claims": ["/"]}`))
			c.load(strings.Replace(blogAt(b, "unavailable pass"+options), "reverse_proxy "+b.Upstream(), "reverse_proxy /held "+b.Upstream()+" {\ntransport http {\nresponse_header_timeout 100ms\n}\n}\nreverse_proxy "+b.Upstream(), 1))
			c.await("claims")
			for status, response := range map[int]testbackend.Response{503: {Status: 503}, 404: {Status: 404}, 504: {Hold: true}, 502: {Reset: true}} {
				path := "/x"
				if response.Hold {
					path = "/held"
				}
				b.On(path, response)
				got, _ := c.Get("/blog" + path)
				check.Equal(t, got, status, "the status")
				c.expectClaims("blog", map[string]string{"GET /x": "/"})
			}
			b.Kill()
			c.awaitDown("blog", "/blog/x")
		})
	}
}

// TestWhatIsNoSignOfAnApplicationThatIsUp are panics, and visitors who have not waited: of those reverse_proxy
// returns no error, but writes status 499.
func TestWhatIsNoSignOfAnApplicationThatIsUp(t *testing.T) {
	httpguest.SetDownFor(t, time.Hour)
	c := newGuestTest(t)
	partytest.App(t, "app", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		switch r.URL.Path {
		case "/down":
			return caddyhttp.Error(http.StatusServiceUnavailable, errors.New("no upstreams available"))
		case "/panics":
			panic(http.ErrAbortHandler)
		case "/gone":
			w.WriteHeader(499)
		}
		return nil
	})
	c.load("invite /__invite__/ as app\nroute {\nwsgi_party_guest app {\nclaim /\nunavailable pass\nfetch_manifest off\n}\ntest_app app\n}")
	down := map[string]string{"GET /": "(its application is down"}
	for _, path := range []string{"/down", "/panics", "/gone"} {
		_, _, _ = c.TryGet(path)
		c.expectClaims("app", down)
	}
	c.Expect("/", http.StatusOK, "")
	c.expectClaims("app", map[string]string{"GET /": "/"})
}

// TestGuestsLeaveVisitorsTheirTurn has one ask as often as it can.
func TestGuestsLeaveVisitorsTheirTurn(t *testing.T) {
	c, b := newClaimTest(t)
	guest := c.partyline().Operator("other")
	refused, began := 0, time.Now()
	for i := range 200 {
		if _, err := guest.AskAround(t.Context(), party.ClaimsService, party.ClaimRequest{Method: "GET", Path: fmt.Sprint("/", i)}); err != nil {
			refused++
		}
	}
	most := 64 * (1 + int(time.Since(began)/time.Second))
	check.ErrorIf(t, asked(b) > most || asked(b)+refused != 200, "%d are refused, %d asked in %v", refused, asked(b), time.Since(began))
	c.expectClaims("blog", map[string]string{"GET /visitor": "its answer to"})
}

// TestRequestsGoWhereTheyAreClaimed with an application that is asked, and one at the same mount that gets the rest.
func TestRequestsGoWhereTheyAreClaimed(t *testing.T) {
	for _, passes := range []bool{false, true} {
		t.Run(fmt.Sprint(passes), func(t *testing.T) {
			c, b := newBlogTest(t)
			legacy := testbackend.Start(t, "")
			legacy.On("", testbackend.Response{Body: "legacy"})
			b.On("", testbackend.Response{Body: "new"})
			b.On("/__invite__/", manifestOf(asksClaims))
			b.On("/__invite__/claims", jsonOf("true"), jsonOf("false"))
			options := "claim_cache 1h"
			if passes {
				options += "\nunavailable pass"
			}
			config := "invite /__invite__/ as new\ninvite /__invite__/ as legacy\n@new wsgi_party claimed_by new\nhandle @new {\nwsgi_party_guest new {\n" + options + "\n}\nreverse_proxy " + b.Upstream() +
				"\n}\nhandle {\nwsgi_party_guest legacy {\nfetch_manifest off\n}\nreverse_proxy " + legacy.Upstream() + "\n}\n"
			c.load(config)
			c.await("claims")
			for range 3 {
				c.Expect("/a", 200, "new")
				c.Expect("/b", 200, "legacy")
			}
			c.expectAsked(b, 2, "for both")
			c.load(config + "# again")
			c.ExpectSoon("/a", 200, "new")
			c.expectAsked(b, 2, "after a reload")
			b.Kill()
			kept, other := 502, 503 // what is known to be its own fails, and what is not known is nobody's
			if passes {
				kept, other = 200, 200
				c.awaitDown("new", "/a")
			}
			status, body := c.Get("/a")
			check.ErrorIf(t, status != kept || passes && body != "legacy", "%d %s", status, body)
			status, body = c.Get("/c")
			check.ErrorIf(t, status != other || passes && body != "legacy", "%d %s", status, body)
		})
	}
}

// TestThePaceOfClaims is for every second, wherever it begins.
func TestThePaceOfClaims(t *testing.T) {
	allows, now := httpguest.Pace(), time.Now()
	var allowed []time.Time
	for i := range 5000 {
		now = now.Add(time.Duration(i%7) * time.Millisecond / 4)
		if allows(now) {
			allowed = append(allowed, now)
		}
	}
	for i := 256; i < len(allowed); i++ {
		check.ErrorIf(t, allowed[i].Sub(allowed[i-256]) < time.Second, "257 in %v", allowed[i].Sub(allowed[i-256]))
	}
	check.ErrorIf(t, len(allowed) < 3*256, "%d allowed in %v", len(allowed), allowed[len(allowed)-1].Sub(allowed[0]))
}
