// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

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
		if _, err := c.ask("who", nil); err == nil || strings.Contains(err.Error(), "it took longer") {
			t.Error(err)
		}
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
	c.load(fmt.Sprintf(`
	invite /blog/__invite__/
	handle_path /blog/* {
		wsgi_party_guest
		reverse_proxy %s %s {
			lb_policy round_robin
		}
	}`, processes[0].Upstream(), processes[1].Upstream()))

	v := applicationOf(t, "blog")
	asked := func(n int) int { return len(processes[n].Requests("/__invite__/")) }
	// seen returns the links there are until both processes have been asked for their
	// manifest so many times more.
	seen := func(times int) string {
		t.Helper()
		links := make(map[string]bool)
		one, two := asked(0)+times, asked(1)+times
		for deadline := time.Now().Add(time.Minute); asked(0) < one || asked(1) < two; time.Sleep(5 * time.Millisecond) {
			check.FatalIf(t, time.Now().After(deadline), "one of them is never asked")
			v.FetchSoon()
			if len(c.partyline().Services()["url"]) == 0 && len(links) == 0 {
				continue // not yet
			}
			link, err := wsgiparty.URLFor(context.Background(), operatorOf(c, c.party), "home", nil)
			check.FatalIf(t, err != nil, "it is not there: %v", err)
			links[link] = true
			for range 2 { // so that the next one asked for its manifest is the other one
				answers, err := c.ask("who", nil)
				check.FatalIf(t, err != nil || len(answers) != 1, "it does not answer: %s %v", answers, err)
			}
		}
		return fmt.Sprint(links)
	}
	check.Equal(t, seen(2), "map[/blog/1:true]", "with an old version that is no guest, the links")
	be(processes[1], 2)
	check.Equal(t, seen(2), "map[/blog/1:true /blog/2:true]", "with two versions that are guests, the links")
	be(processes[0], 2)
	seen(1)
	partytest.Eventually(t, "the new version has taken over", func() bool {
		link, err := wsgiparty.URLFor(context.Background(), operatorOf(c, c.party), "home", nil)
		return err == nil && link == "/blog/2"
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
