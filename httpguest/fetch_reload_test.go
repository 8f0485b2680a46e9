// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
)

func checkOnceASecond(t *testing.T, b *testbackend.Backend) {
	t.Helper()
	requests := b.Requests("/__invite__/")
	for i := 1; i < len(requests); i++ {
		// Half a second may pass from when it is asked until it notices.
		apart := requests[i].Began.Sub(requests[i-1].Began)
		check.ErrorIf(t, apart < 500*time.Millisecond, "asked again after %v", apart)
		check.ErrorIf(t, requests[i].Began.Before(requests[i-1].Ended), "asked twice at a time")
	}
}

// TestReloadsAskForTheManifestOnceASecond has each of several configs find that there is
// no manifest yet.
func TestReloadsAskForTheManifestOnceASecond(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", testbackend.Response{Status: 403})
	for range 5 {
		c.load(blogAt(b))
	}
	partytest.Eventually(t, "it is asked three times", func() bool { return len(b.Requests("/__invite__/")) >= 3 })
	checkOnceASecond(t, b)
}

// TestANewManifestReplacesTheOldWithoutAGap asks continuously while it does.
func TestANewManifestReplacesTheOldWithoutAGap(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/1"}, "services": {"version": {"answer": 1}, "old": {"answer": 1}}}`, "ETag", `"1"`),
		manifestOf(`{"urls": {"home": "/2"}, "services": {"version": {"answer": 2}, "new": {"answer": 1}}}`, "ETag", `"2"`),
		testbackend.Response{Status: 304}) // without the ETag
	c.load(blogAt(b) + `
	invite /later/__invite__/
	handle_path /later/* {
		wsgi_party_guest {
			url home /later
		}
	}`)
	c.await("version")
	line := c.partyline()
	check.Equal(t, fmt.Sprint(line.Services()["url"]), "[blog later]", "of the URLs are asked")
	applicationOf(t, "blog").FetchSoon()
	for deadline := time.Now().Add(10 * time.Second); ; {
		link, err := wsgiparty.URLFor(context.Background(), line.Operator(""), "home", nil)
		check.ErrorIf(t, err != nil || link != "/blog/1" && link != "/blog/2", "%q %v", link, err)
		version, err := c.ask("version", nil)
		check.ErrorIf(t, err != nil || version != "1" && version != "2", "%q %v", version, err)
		if link == "/blog/2" && version == "2" {
			break
		}
		check.FatalIf(t, time.Now().After(deadline), "it is not asked for again")
	}
	partytest.Eventually(t, "what it does not have any more is gone", func() bool { return line.Services()["old"] == nil })
	c.expectAsk("new", nil, "1")
	check.Equal(t, fmt.Sprint(line.Services()["url"]), "[blog later]", "of the URLs are asked")
	if n := len(partytest.LogEntries(t, "guest left")); n > 0 {
		t.Errorf("%d guests left", n)
	}
	check.Equal(t, line.Guests()[0].Replicas, 1, "it has operators")

	for n := 3; n <= 4; n++ {
		applicationOf(t, "blog").FetchSoon()
		awaitRequests(t, b, "/__invite__/", n)
	}
	for i, r := range b.Requests("/__invite__/") {
		want := []string{"", `"1"`, `"2"`, `"2"`}[i]
		check.Equal(t, r.Header.Get("If-None-Match"), want, "request %d has If-None-Match", i)
	}
	c.expectAsk("version", nil, "2")
}

// TestALongETagIsNotSentBack has an application send one that it would refuse itself.
func TestALongETagIsNotSentBack(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`, "ETag", `"`+strings.Repeat("x", 64<<10)+`"`))
	c.load(blogAt(b))
	c.await("url")
	applicationOf(t, "blog").FetchSoon()
	awaitRequests(t, b, "/__invite__/", 2)
	got := b.Requests("/__invite__/")[1].Header.Get("If-None-Match")
	check.ErrorIf(t, got != "", "If-None-Match of %d bytes", len(got))
	c.expectLink("home", "/blog/")
}

// TestLastGoodManifestsPassFromConfigToConfig has configs that come one after the
// other, in which the guest is the same one, or another.
func TestLastGoodManifestsPassFromConfigToConfig(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}, "services": {"ping": {"href": "/ping"}}}`, "ETag", `"1"`, "Cache-Control", "max-age=3600"),
		testbackend.Response{Status: 403})
	b.On("/ping", jsonOf(`"pong"`))
	blog := blogAt(b)
	c.load(blog)
	c.await("url")
	requests := 1
	is := func(what, config, link string, asked int) {
		t.Helper()
		c.Caddy.Load(config)
		c.expectLink("home", link) // at once
		if requests += asked; asked > 0 {
			awaitRequests(t, b, "/__invite__/", requests)
			partytest.Eventually(t, "it is judged", func() bool { return len(partytest.LogEntries(t, "invite refused")) > 0 })
		} else {
			time.Sleep(50 * time.Millisecond) // for what must not happen, in the background
		}
		n := len(b.Requests("/__invite__/"))
		check.FatalIf(t, n != requests, "%s: %d requests, want %d", what, n, requests)
		if link != "" {
			c.expectAsk("ping", nil, `"pong"`)
		}
		partytest.ResetLog()
	}
	same := c.inParty(blog)
	other := *c
	other.party = partytest.FreshParty()
	is("the same", same, "/blog/", 0)
	is("the same again", same, "/blog/", 0)
	is("another name", c.inParty(strings.Replace(blog, "/__invite__/", "/__invite__/ as other", 1)), "", 1)
	is("another query", c.inParty(strings.Replace(blog, "/__invite__/", "/__invite__/?a as blog", 1)), "", 1)
	is("another path", c.inParty(strings.Replace(blog, "/__invite__/", "/__invite__/more as blog", 1)), "", 0)
	is("another host", c.inParty(strings.Replace(blog, "/blog/__invite__/", "http://localhost/blog/__invite__/", 1)), "", 1)
	is("options of the handler", c.inParty(blogAt(b, "timeout 3s")), "/blog/", 0)
	c.party, other.party = other.party, c.party
	is("another party", c.inParty(blog), "", 1)
	c.party = other.party
	is("nothing", "ADDRESS {\nwsgi_party "+c.party+"\n}", "", 0)
	is("the same at last", same, "/blog/", 0)

	// Once it has failed, it is stale.
	applicationOf(t, "blog").FetchSoon()
	requests++
	awaitRequests(t, b, "/__invite__/", requests)
	partytest.Eventually(t, "it is judged", func() bool { return len(partytest.LogEntries(t, "invite refused")) == 1 })
	is("a stale one", same, "/blog/", 1)
	all := b.Requests("/__invite__/")
	check.Equal(t, all[len(all)-1].Header.Get("If-None-Match"), `"1"`, "If-None-Match")
}

// TestAConfigThatFailsToLoadAsksNobody has one that would have asked for a manifest.
func TestAConfigThatFailsToLoadAsksNobody(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`))
	c.load(blogAt(b))
	c.await("url")
	partytest.OnProvision(t, "fails", func(caddy.Context) error { return errors.New("oh no") })
	for range 3 {
		if err := c.TryLoad(strings.Replace(c.inParty(blogAt(b)), "/__invite__/", "/__invite__/?new", 1) + "\nhttp://localhost:1 {\ntest_app fails\n}"); err == nil {
			t.Error("it loads")
		}
	}
	c.expectLink("home", "/blog/")
	time.Sleep(50 * time.Millisecond) // for what must not happen, in the background
	check.Equal(t, len(b.Requests("")), 1, "requests")
}

// TestLastGoodManifestsAreKeptInStorage forgets what the process knows: Caddy in a
// process of its own does so in cmd/caddy.
func TestLastGoodManifestsAreKeptInStorage(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}, "services": {"ping": {"href": "/ping"}, "two": [{"answer": 1.50}, {"answer": "<&>"}]}}`))
	c.load(blogAt(b))
	c.await("url")
	file := c.stored("blog")
	var stored []byte
	partytest.Eventually(t, "it is stored", func() bool {
		var err error
		stored, err = os.ReadFile(file)
		return err == nil
	})
	manifest := `{"urls":{"home":"/"},"services":{"ping":{"href":"/ping"},"two":[{"answer":1.50},{"answer":"<&>"}]}}`
	is := func(stored []byte) bool {
		return strings.HasPrefix(string(stored), `{"fetched":"20`) && strings.HasSuffix(string(stored), `Z","manifest":`+manifest+`}`)
	}
	check.ErrorIf(t, !is(stored), "stored is %s", stored)
	b.Kill()
	restart := func(directives string) {
		t.Helper()
		check.Must(t, caddy.Stop())
		kept.Clear()
		c.load(directives)
	}
	restart(blogAt(b))
	c.expectLink("home", "/blog/")
	c.expectAsk("two", nil, `1.50 "<&>"`)
	restart(strings.Replace(blogAt(b), "/__invite__/", "/__invite__/ as other", 1))
	c.expectLink("home", "")
	restart(strings.Replace(blogAt(b), "/__invite__/", "/__invite__/?a as blog", 1))
	c.expectLink("home", "")

	// What cannot be read is not there.
	check.Must(t, os.WriteFile(file, []byte("{"), 0o600))
	b.Start()
	restart(blogAt(b))
	warned := partytest.LogEntries(t, "the guest's last manifest cannot be read from storage")
	check.ErrorIf(t, len(warned) != 1 || warned[0]["guest"] != "blog" || !strings.Contains(fmt.Sprint(warned[0]["error"]), "JSON"), "warned of %v", warned)
	c.await("url")
	c.expectLink("home", "/blog/")
	partytest.Eventually(t, "it is stored again", func() bool {
		stored, err := os.ReadFile(file)
		return err == nil && is(stored)
	})
}
