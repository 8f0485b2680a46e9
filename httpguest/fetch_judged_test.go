// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/party"
)

// judged is a guest whose application's answers the test invents, and the times at
// which they come.
type judged struct {
	*httpguest.Fetcher
	t    testing.TB
	time time.Time
}

// newJudged returns one whose application has answered this.
func newJudged(t *testing.T, c *guestTest, response testbackend.Response, options ...string) *judged {
	t.Helper()
	b := testbackend.Start(t, "")
	b.On("/__invite__/", response)
	c.load(blogAt(b, options...))
	partytest.Eventually(t, "it is judged", func() bool {
		_, ok := httpguest.Remembered(c.party, "blog", "/blog/__invite__/")
		return ok && len(partytest.InvitesLogged(t, "blog")) > 0
	})
	return &judged{httpguest.NewFetcher(applicationOf(t, "blog")), t, time.Now()}
}

// answers has the application answer, so long after it did before, and returns when
// it is to be asked again.
func (j *judged) answers(after time.Duration, status int, headers ...string) time.Duration {
	h := make(http.Header)
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return j.judges(after, &http.Response{StatusCode: status, Header: h, Body: http.NoBody}, nil)
}

func (j *judged) answersManifest(body string) time.Duration {
	return j.judges(0, &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {partytest.ManifestType}}, Body: io.NopCloser(strings.NewReader(body))}, nil)
}

func (j *judged) judges(after time.Duration, response *http.Response, err error) time.Duration {
	j.time = j.time.Add(after)
	return j.Hear(response, err, j.time)
}

// TestAGuestThatIsNotOnTheLineJoinsByTheSameManifest has the operator of its invite leave,
// as that of an invite does which ends when the guest has just taken it.
func TestAGuestThatIsNotOnTheLineJoinsByTheSameManifest(t *testing.T) {
	c := newGuestTest(t)
	const same = `{"services": {"ping": {"answer": "pong"}}}`
	j := newJudged(t, c, manifestOf(same))
	c.expectAsk("ping", nil, `"pong"`)
	j.Leave()
	if _, err := c.ask("ping", nil); err == nil {
		t.Error("it has not left")
	}
	j.answersManifest(same)
	c.expectAsk("ping", nil, `"pong"`)
}

// TestWhenAGuestLeaves has an application say that it is none, as an old version does
// that is still there while a new one is deployed.
func TestWhenAGuestLeaves(t *testing.T) {
	c := newGuestTest(t)
	j := newJudged(t, c, manifestOf(`{"urls": {"home": "/", "both": "/both"}}`))
	is404 := func(after time.Duration) {
		t.Helper()
		want := 30 * time.Second // until it has left
		wait := j.answers(after, 404)
		check.ErrorIf(t, wait != want && j.HasManifest() || !j.HasManifest() && (wait < 10*time.Second || wait > 5*time.Minute), "it is asked again after %v", wait)
	}
	stays := func() {
		t.Helper()
		c.expectLink("home", "/blog/")
	}
	is404(0)
	stays()
	for range 5 {
		is404(29 * time.Second / 5) // these are one
		stays()
	}
	is404(2 * time.Second)
	stays()
	j.answers(time.Hour, 304) // not in a row
	is404(time.Minute)
	is404(time.Minute)
	stays()
	j.answers(time.Minute, 500) // likewise
	is404(time.Minute)
	is404(30 * time.Second)
	stays()
	if _, err := os.Stat(c.stored("blog")); err != nil {
		t.Error(err)
	}
	check.ErrorIf(t, len(partytest.LogEntries(t, "guest left")) > 0, "it leaves too early")

	is404(30 * time.Second)
	c.expectLink("home", "")
	all := c.partyline().Guests()
	check.ErrorIf(t, len(all) != 0 || len(partytest.LogEntries(t, "guest left")) != 1, "on the line are %v", all)
	_, ok := httpguest.Remembered(c.party, "blog", "/blog/__invite__/")
	check.ErrorIf(t, ok, "the next config would have it")
	if _, err := os.Stat(c.stored("blog")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is in storage: %v", err)
	}
	is404(time.Minute)

	j.answersManifest(`{"urls": {"home": "/again"}}`)
	c.expectLink("home", "/blog/again")
	is404(time.Minute)
	is404(time.Minute)
	c.expectLink("home", "/blog/again")

	j = newJudged(t, c, manifestOf(`{"urls": {"home": "/", "both": "/both"}}`), "url both /declared", "fetch_manifest")
	for range 3 {
		is404(time.Minute)
	}
	c.expectLink("home", "")
	c.expectLink("both", "/blog/declared")
}

// TestTheLastGoodManifestStays has all answers come that are not the last word.
func TestTheLastGoodManifestStays(t *testing.T) {
	c := newGuestTest(t)
	j := newJudged(t, c, manifestOf(`{"urls": {"home": "/"}, "services": {"ping": {"answer": 1}}}`))
	stays := func(what string) {
		t.Helper()
		c.expectLink("home", "/blog/")
		c.expectAsk("ping", nil, "1")
		check.FatalIf(t, t.Failed(), what)
	}
	for _, status := range []int{301, 302, 303, 307, 308, 400, 401, 403, 406, 429, 500, 502, 503, 504} {
		for range 4 {
			j.answers(time.Hour, status)
		}
		stays(fmt.Sprint(status))
	}
	for _, body := range []string{"", "{", "[]", `{"urls": {"home": "//evil"}}`, `{"urls": {"home": "/1", "home": "/2"}}`, `{"services": {"a b": {"answer": 1}}}`} {
		j.answersManifest(body)
		stays(body)
	}
	for _, err := range []error{errors.New("oh no"), wsgiparty.ErrMisrouted, &party.TimeoutError{After: time.Second}} {
		j.judges(0, nil, err)
		stays(err.Error())
	}
}

// TestTheSameManifestIsNotTakenForANewOne has an application that sends no ETag.
func TestTheSameManifestIsNotTakenForANewOne(t *testing.T) {
	c := newGuestTest(t)
	j := newJudged(t, c, manifestOf(`{"urls": {"home": "/", "about": "/about"}, "services": {"ping": {"answer": 1}}}`))
	check.Must(t, os.Remove(c.stored("blog")))
	j.answersManifest(`{"services": {"ping": {"answer": 1}}, "urls": {"about": "/about", "home": "/"}}`)
	if _, err := os.Stat(c.stored("blog")); err == nil {
		t.Errorf("it is stored again: %v", err)
	}
	j.answersManifest(`{"services": {"ping": {"answer": 2}}, "urls": {"about": "/about", "home": "/"}}`)
	if _, err := os.Stat(c.stored("blog")); err != nil {
		t.Errorf("another one is not: %v", err)
	}
	c.expectAsk("ping", nil, "2")
}

// TestEachChangeIsLoggedOnce has the application answer one thing and another.
func TestEachChangeIsLoggedOnce(t *testing.T) {
	c := newGuestTest(t)
	j := newJudged(t, c, manifestOf("{}"))
	for _, status := range []int{304, 304, 500, 500, 503, 503, 403, 304, 304, 404, 404, 200, 304} {
		j.answers(time.Second, status)
	}
	var got []string
	for _, e := range partytest.InvitesLogged(t, "blog") {
		got = append(got, fmt.Sprint(e["msg"], " ", e["status"]))
	}
	check.Equal(t, len(partytest.LogEntries(t, "manifest changed")), 0, "times that the manifest changed")
	for _, path := range []string{"/1", "/1", "/2"} {
		j.answersManifest(`{"urls": {"home": "` + path + `"}}`)
	}
	changed := partytest.LogEntries(t, "manifest changed")
	if len(changed) != 2 || len(partytest.InvitesLogged(t, "blog")) != len(got) || changed[0]["guest"] != "blog" || changed[0]["party"] != c.party || fmt.Sprint(changed[0]["first"], changed[0]["services"], changed[0]["urls"]) != "[url] 1 1" {
		t.Errorf("of changes is logged %v", changed)
	}
	want := []string{"guest joined <nil>", "invite failed 500", "invite failed 503", "invite refused 403", "guest joined <nil>", "invite not answered 404", "invite not answered 200", "guest joined <nil>"}
	check.Slices(t, got, want, "got")
}

// TestTheFirstManifestBesideWhatIsDeclaredIsAChange has the guest on the line before that.
func TestTheFirstManifestBesideWhatIsDeclaredIsAChange(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`))
	c.load(blogAt(b, "url about /about", "fetch_manifest"))
	partytest.Eventually(t, "it is logged", func() bool { return len(partytest.LogEntries(t, "manifest changed")) == 1 })
	c.expectLink("home", "/blog/")
	c.expectLink("about", "/blog/about")
	if panics := partytest.LogEntries(t, "asking an application for its manifest panicked"); len(panics) > 0 || len(partytest.LogEntries(t, "guest joined")) != 1 {
		t.Errorf("it joined %d times, and there panicked %v", len(partytest.LogEntries(t, "guest joined")), panics)
	}
}
