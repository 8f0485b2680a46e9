// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/excerpt"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/party"
)

// judged is a guest whose application's answers the test invents, and the times at
// which they come.
type judged struct {
	*httpguest.Fetcher
	c    *guestTest
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
	return &judged{httpguest.NewFetcher(applicationOf(t, "blog")), c, time.Now()}
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

// isStored reports whether its manifest is in the storage.
func (j *judged) isStored() bool {
	_, err := os.Stat(j.c.stored("blog"))
	return err == nil
}

// TestAGuestThatIsNotOnTheLineJoinsByTheSameManifest has the operator of its invite leave,
// as that of an invite does which ends when the guest has just taken it.
func TestAGuestThatIsNotOnTheLineJoinsByTheSameManifest(t *testing.T) {
	c := newGuestTest(t)
	const same = `{"services": {"ping": {"answer": "pong"}}}`
	j := newJudged(t, c, manifestOf(same))
	c.expectAsk("ping", nil, `"pong"`)
	j.Leave()
	c.expectFailure("ping", nil)
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
		wait := j.answers(after, 404)
		check.ErrorIf(t, wait != 30*time.Second && j.HasManifest() || wait < 10*time.Second || wait > 5*time.Minute, "it is asked again after %v", wait)
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
	check.ErrorIf(t, !j.isStored() || len(partytest.LogEntries(t, "guest left")) > 0, "it leaves too early")

	is404(30 * time.Second)
	c.expectLink("home", "")
	all := c.partyline().Guests()
	check.ErrorIf(t, len(all) != 0 || len(partytest.LogEntries(t, "guest left")) != 1, "on the line are %v", all)
	_, known := httpguest.Remembered(c.party, "blog", "/blog/__invite__/")
	check.ErrorIf(t, known || j.isStored(), "the next config would have it")
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
	check.Equal(t, j.isStored(), false, "that it is stored again")
	j.answersManifest(`{"services": {"ping": {"answer": 2}}, "urls": {"about": "/about", "home": "/"}}`)
	check.Equal(t, j.isStored(), true, "that another one is stored")
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

// TestManifestsThatChangeLeaveNothing has one change very often.
func TestManifestsThatChangeLeaveNothing(t *testing.T) {
	c := newGuestTest(t)
	j := newJudged(t, c, manifestOf(`{"urls": {"home": "/"}}`))
	changed := 0
	change := func(times int) uint64 {
		t.Helper()
		for range times {
			changed++
			j.answersManifest(fmt.Sprintf(`{"urls": {"page%d": "/%[1]d"}, "services": {"service%[1]d": {"answer": %q}, "ping": {"href": "/%[1]d"}}}`, changed, strings.Repeat("x", 10<<10)))
		}
		answers, err := c.ask(fmt.Sprint("service", changed), nil)
		check.FatalIf(t, len(answers) < 10<<10 || err != nil, "%d %v", len(answers), err)
		return heap()
	}
	before := change(200)
	after := change(1000)
	check.ErrorIf(t, after > before+4<<20, "%d KB are in use, and %d after 1000 changes", before>>10, after>>10)
}

// TestServicesThatAreGoneLeaveNoBreakers has each service asked for before it goes.
func TestServicesThatAreGoneLeaveNoBreakers(t *testing.T) {
	c := newGuestTest(t)
	j := newJudged(t, c, manifestOf(`{"urls": {"home": "/"}}`))
	for n := range 20 {
		service := fmt.Sprint("service", n)
		j.answersManifest(fmt.Sprintf(`{"services": {%q: {"href": "/x"}, "other": {"href": "/x"}}}`, service))
		for _, name := range []string{service, "other"} {
			if _, err := c.ask(name, nil); err == nil {
				t.Fatal("nobody failed")
			}
		}
	}
	check.Equal(t, j.Breakers(), 2, "breakers for 2 services")
}

// TestAnUnchangedManifestIsNotParsedAgain counts what is allocated for it, and for one
// that says the same in other words.
func TestAnUnchangedManifestIsNotParsedAgain(t *testing.T) {
	c := newGuestTest(t)
	urls := make(map[string]string)
	for i := range 500 {
		urls[fmt.Sprint("page", i)] = fmt.Sprintf("/page/%d/{id}", i)
	}
	body := check.Value(json.Marshal(map[string]any{"urls": urls}))(t)
	j := newJudged(t, c, manifestOf(string(body)))
	same := testing.AllocsPerRun(3, func() { j.answersManifest(string(body)) })
	n := 0
	other := testing.AllocsPerRun(3, func() {
		n++
		j.answersManifest(string(body) + strings.Repeat(" ", n))
	})
	check.ErrorIf(t, same*10 > other, "%v allocations for the same, %v for one that is written otherwise", same, other)
	check.Equal(t, len(partytest.LogEntries(t, "manifest changed")), 0, "times that it changed")
}

// TestAChangeOfALargeManifestIsOneShortLine has one with as many names as may be.
func TestAChangeOfALargeManifestIsOneShortLine(t *testing.T) {
	c := newGuestTest(t)
	j := newJudged(t, c, manifestOf(`{"urls": {"home": "/"}}`))
	services := make(map[string]any)
	for i := range 256 {
		services[fmt.Sprintf("%s%03d", strings.Repeat("s", 60), i)] = map[string]int{"answer": i}
	}
	body := check.Value(json.Marshal(map[string]any{"urls": map[string]string{"home": "/"}, "services": services}))(t)
	j.answersManifest(string(body))
	changed := partytest.LogEntries(t, "manifest changed")
	check.FatalIf(t, len(changed) != 1 || changed[0]["services"] != 257.0 || changed[0]["urls"] != 1.0 || len(changed[0]["first"].([]any)) != 5, "logged %v", changed)
	line, _ := json.Marshal(changed[0])
	check.ErrorIf(t, len(line) > 1000, "the line has %d bytes", len(line))
}

// heap returns what is in use.
func heap() uint64 {
	var stats runtime.MemStats
	for range 3 { // what a finalizer or a cleanup frees is free one later
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// TestOfALongAnswerOnlyTheBeginningIsKept has an outcome of many invites.
func TestOfALongAnswerOnlyTheBeginningIsKept(t *testing.T) {
	all := make([]wsgiparty.InviteInfo, 64)
	long := strings.Repeat("x", 1<<20)
	before := heap()
	for i := range all {
		all[i].SetAnswer(http.Header{"Location": {strings.Clone(long)}}, []byte(long))
	}
	after := heap()
	check.ErrorIf(t, after > before+16<<20, "%d MB are kept", (after-before)>>20)
	got := all[0]
	check.ErrorIf(t, len(got.Answer) != excerpt.Max || len(got.Location) != excerpt.Max, got)
}
