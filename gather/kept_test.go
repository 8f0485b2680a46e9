// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package gather_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/gather"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/measure"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/party"
)

// stored returns the files with a guest's answers.
func (g *guests) stored(name string) []string {
	g.Helper()
	return check.Value(filepath.Glob(filepath.Join(g.Storage(), "wsgi_party", g.party, name+"-*.json")))(g)
}

func TestAnswersAreKeptOverReloads(t *testing.T) {
	g := newGuests(t)
	g.on("one", 1)
	g.on("two", 2)
	g.serve("cache 1h", "one", "two")
	g.expect("[1,2]")
	g.on("one", errDown)
	g.serve("cache 1h", "one", "two")
	g.expect("[1,2]")
	g.serve("cache 1h\nabsent fail", "two", "one")
	g.expect("[2,1]")
	check.Equal(t, g.times("one")+g.times("two"), 2, "asks")
	g.serve("cache 1h", "two")
	g.expect("[2]")
}

func TestAGuestThatFailsHasItsLastAnswerServed(t *testing.T) {
	g := newGuests(t)
	g.on("one", 1)
	g.on("two", 2)
	g.serve("cache 1ms 1h\nabsent fail", "one", "two")
	g.expect("[1,2]")
	g.on("two", errDown)
	g.on("one", "changed")
	g.becomes(`["changed",2]`)
	partytest.Eventually(t, "it fails", func() bool { g.doc(); return len(partytest.LogEntries(t, "guest failed")) > 0 })
	entry := partytest.LogEntries(t, "guest failed")[0]
	check.ErrorIf(t, entry["level"] != "warn" || entry["guest"] != "two" || entry["service"] != "doc" || entry["last_answer_served"] != true || entry["error"] == "", entry)
	for range 10 {
		g.expect(`["changed",2]`)
	}
	check.Equal(t, len(partytest.LogEntries(t, "guest failed")), 1, "it is logged once")
	g.on("two", errors.New("another fault"))
	partytest.Eventually(t, "it fails otherwise", func() bool { g.doc(); return len(partytest.LogEntries(t, "guest failed")) > 1 })
	check.Has(t, partytest.LogEntries(t, "guest failed")[1]["error"].(string), "another fault")
	g.on("two", "well")
	g.becomes(`["changed","well"]`)
	g.on("two", wsgiparty.ErrHighAndDry) // which is an answer
	g.becomes(`["changed"]`)
}

// TestAnApplicationThatDiesIsNotMissed is of one behind reverse_proxy, which is asked again and again.
func TestAnApplicationThatDiesIsNotMissed(t *testing.T) {
	g := newGuests(t)
	g.on("one", 1)
	a := partytest.NewApplication(t, `{"services": {"doc": {"href": "/doc"}}}`, partytest.JSON(`{"from": "application"}`))
	site := func() {
		g.Site(strings.Replace(g.config("cache 1ms 1h\nabsent fail", "one"), "handle /doc", "invite /app/__invite__/\n"+partytest.Mounted("app", "hrefs /doc", a)+"handle /doc", 1))
	}
	site()
	g.becomes(`[1,{"from":"application"}]`)
	asked := len(a.Requests())
	check.ErrorIf(t, asked == 0, "it was not asked")
	a.Close()
	for range 300 {
		g.expect(`[1,{"from":"application"}]`)
	}
	partytest.Eventually(t, "it fails", func() bool { g.doc(); return len(partytest.LogEntries(t, "guest failed")) > 0 })
	site()
	g.expect(`[1,{"from":"application"}]`)
	kept.Clear() // as a new process does
	site()
	g.expect(`[1,{"from":"application"}]`)
}

func TestALastAnswerIsForgottenWhenItIsTooOld(t *testing.T) {
	g := newGuests(t)
	g.on("one", 1)
	g.on("two", 2)
	g.serve("cache 1ms 1ms\nabsent note", "one", "two")
	g.expect("[1,2]")
	g.on("one", errDown)
	g.becomes("[2]")
	check.Equal(t, g.doc().Header.Get("Party-Absent"), "one")
}

// TestAnswersAreKeptOverRestarts has a new process begin while one application is down, and another one fails.
func TestAnswersAreKeptOverRestarts(t *testing.T) {
	g := newGuests(t)
	for _, name := range []string{"one", "two", "three"} {
		g.on(name, name)
	}
	g.serve("", "one", "two", "three")
	g.expect(`["one","two","three"]`)
	for _, name := range []string{"one", "two", "three"} {
		partytest.Eventually(t, "it is stored", func() bool { return len(g.stored(name)) == 1 })
	}
	kept.Clear()
	g.isDown("one")
	g.on("two", errDown)
	check.Must(t, os.WriteFile(g.stored("three")[0], []byte(`{"asked": "2026-01-01T00:00:00Z", "answers": [`), 0o600))
	g.on("three", "new")
	g.serve("absent note", "one", "two", "three")
	r := g.doc()
	check.Equal(t, r.Body+r.Header.Get("Party-Absent"), `["one","two","new"]`)
	check.Equal(t, len(partytest.LogEntries(t, "the guest's last answer cannot be read from storage")), 1)
	check.Equal(t, g.times("two"), 1, "it is fresh")

	kept.Clear()
	for _, name := range []string{"one", "two", "three"} {
		check.Must(t, os.RemoveAll(g.stored(name)[0]))
	}
	g.serve("absent note", "one", "two", "three")
	r = g.doc()
	check.Equal(t, r.Body, `["new"]`)
	check.Equal(t, r.Header.Get("Party-Absent"), "one, two")
}

// TestAStorageThatHangsDelaysADocumentOnce has the stored answers of ten guests be pipes, which nobody writes to.
func TestAStorageThatHangsDelaysADocumentOnce(t *testing.T) {
	g := newGuests(t)
	var names []string
	for i := range 10 {
		names = append(names, fmt.Sprint("guest", i))
		g.on(names[i], i)
	}
	g.serve("", names...)
	g.doc()
	for _, name := range names {
		partytest.Eventually(t, "it is stored", func() bool { return len(g.stored(name)) == 1 })
		pipe := g.stored(name)[0]
		check.Must(t, os.Remove(pipe))
		check.Must(t, syscall.Mkfifo(pipe, 0o600))
		defer check.Value(os.OpenFile(pipe, os.O_RDWR, 0))(t).Close() // ends the waiting
	}
	kept.Clear()
	g.serve("", names...)
	began := time.Now()
	g.expect("[0,1,2,3,4,5,6,7,8,9]")
	check.ErrorIf(t, time.Since(began) > 18*time.Second, "it took %v, as if each guest's storage was waited for", time.Since(began))
}

// TestALongAnswerIsNotStored has one guest whose answer has more than 1 MiB.
func TestALongAnswerIsNotStored(t *testing.T) {
	g := newGuests(t)
	g.on("one", strings.Repeat("x", 1<<20))
	g.on("two", strings.Repeat("x", 1<<19))
	g.serve("", "one", "two")
	check.Equal(t, len(g.doc().Body), 1<<20+1<<19+7)
	partytest.Eventually(t, "the other is stored", func() bool { return len(g.stored("two")) == 1 })
	check.Equal(t, len(g.stored("one")), 0)
}

func TestOneAskServesAllWhoWait(t *testing.T) {
	g := newGuests(t)
	answer := make(chan int)
	g.on("one", func(context.Context, any) (any, error) { return <-answer, nil })
	g.on("two", 2)
	g.serve("", "one", "two")
	var group sync.WaitGroup
	var mu sync.Mutex
	var bodies []string
	for range 50 {
		group.Go(func() {
			body := g.doc().Body
			mu.Lock()
			defer mu.Unlock()
			bodies = append(bodies, body)
		})
	}
	answer <- 1
	group.Wait()
	check.Slices(t, slices.Compact(bodies), []string{"[1,2]"})
	check.Equal(t, g.times("one")+g.times("two"), 2, "asks")
}

// TestWhatIsStaleIsServedAtOnce has a guest that answers again only when everybody has been served.
func TestWhatIsStaleIsServedAtOnce(t *testing.T) {
	g := newGuests(t)
	g.on("one", 1)
	g.isDown("down") // nobody waits for it either
	g.serve("cache 1ms", "down", "one")
	g.expect("[1]")
	began, answer := make(chan bool, 9), make(chan int)
	g.on("one", func(context.Context, any) (any, error) { began <- true; return <-answer, nil })
	partytest.Eventually(t, "it is asked", func() bool { g.expect("[1]"); return len(began) > 0 })
	before := g.times("one")
	for range 20 {
		g.expect("[1]")
	}
	check.Equal(t, g.times("one"), before, "times that it was asked")
	g.on("one", 3)
	answer <- 2
	g.becomes("[3]")
}

// TestAGuestThatComesLaterIsAskedAlone has one whose application takes its invite when the document is there.
func TestAGuestThatComesLaterIsAskedAlone(t *testing.T) {
	g := newGuests(t)
	g.on("one", 1)
	g.isDown("late")
	g.serve("cache 1h\nabsent note", "late", "one")
	r := g.doc()
	check.Equal(t, r.Body+r.Header.Get("Party-Absent"), "[1]late")
	g.on("late", "here")
	party.SendInvites(g.party, "late")
	g.expect(`["here",1]`)
	check.Equal(t, g.times("one"), 1, "times that the other was asked")
	operator, _ := wsgiparty.Lookup(g.party)
	check.Must(t, operator.Partyline().Operator("joined").Connect("doc", func(context.Context, any) (any, error) { return "joined", nil }))
	g.expect(`["here",1,"joined"]`)
}

// TestAGuestThatFailedIsAskedAgain when its time has come, or it has come back.
func TestAGuestThatFailedIsAskedAgain(t *testing.T) {
	g := newGuests(t)
	g.on("one", errDown)
	g.on("two", 2)
	g.serve("cache 1h", "one", "two")
	for range 5 {
		g.expect("[2]")
	}
	check.Equal(t, g.times("one"), 1, "times that it was asked")
	g.on("one", 1)
	g.serve("cache 1h", "one", "two")
	g.doc()
	partytest.Eventually(t, "the answer is stored", func() bool { return len(g.stored("one")) == 1 })
	g.expect("[1,2]") // at once, though the document before has its time
	check.Equal(t, g.times("two"), 1, "times that the other was asked")
}

// TestFirstStartsInAnyOrder has applications come in ten orders: the document is the same.
func TestFirstStartsInAnyOrder(t *testing.T) {
	names := []string{"one", "two", "three", "four", "five"}
	etag := ""
	for start := range 10 {
		g := newGuests(t)
		for _, name := range names {
			g.isDown(name)
		}
		g.serve("as map", names...)
		for i := range names {
			name := names[(i*(start%4+1)+start)%len(names)]
			g.on(name, map[string]any{"c": name, "a": 1, "b": []int{1}})
			party.SendInvites(g.party, name)
			if start%2 == 0 {
				g.doc()
			}
		}
		r := g.doc()
		check.Equal(t, strings.Count(r.Body, `"c":`), 5, r.Body)
		check.ErrorIf(t, start > 0 && r.Header.Get("ETag") != etag, r.Body)
		etag = r.Header.Get("ETag")
	}
}

func TestAPayloadOfPlaceholdersIsKeptByItsValue(t *testing.T) {
	g := newGuests(t)
	g.on("one", func(_ context.Context, payload any) (any, error) { return payload, nil })
	g.serve("payload `{\"q\": \"{http.request.uri.query.q}\", \"n\": \"{http.request.uri.query.n}\"}`\npayload_types n\ncache 1h", "one")
	for range 3 {
		for query, want := range map[string]string{"q=a&n=1": `[{"n":1,"q":"a"}]`, "q=b&n=x": `[{"n":"x","q":"b"}]`, "q=%22%7D,%7Benv.HOME%7D&n=true": `[{"n":true,"q":"\"},{env.HOME}"}]`} {
			r := g.fetch("GET", "/doc?"+query)
			check.Equal(t, r.Body, want)
			check.Equal(t, r.Header.Get("Cache-Control"), "private, no-cache")
		}
	}
	check.Equal(t, g.times("one"), 3, "asks")
	check.Equal(t, len(g.stored("one")), 0, "what visitors say is not stored")
}

// TestWhatVisitorsMakeUpIsBounded has 1,000 of them ask for something else each, while one document is asked for again and again.
func TestWhatVisitorsMakeUpIsBounded(t *testing.T) {
	g := newGuests(t)
	large := strings.Repeat("x", 100<<10)
	if measure.UnderRaceDetector() { // which takes a minute for that
		large = large[:5<<10]
	}
	g.on("one", func(_ context.Context, payload any) (any, error) { return []any{payload, large}, nil })
	g.serve("payload `\"{http.request.uri.query.q}\"`\ncache 1h", "one")
	g.fetch("GET", "/doc?q=much")
	for i := range 1000 {
		check.Equal(t, g.fetch("GET", fmt.Sprint("/doc?q=", i)).Status, 200)
		if i%100 == 0 {
			g.fetch("GET", "/doc?q=much")
		}
	}
	before := g.times("one")
	g.fetch("GET", "/doc?q=much")
	check.Equal(t, g.times("one"), before, "what is asked for often stays")
	sets, size := partytest.Handlers[*gather.Gather](t)[0].Kept()
	check.ErrorIf(t, sets > gather.MaxSets || size > gather.MaxKept || sets < 100, sets, size)
	t.Logf("%d payloads, %d bytes", sets, size)
}

// TestPrefixesOfLinksAreKeptApart has a party behind a proxy that says its prefix.
func TestPrefixesOfLinksAreKeptApart(t *testing.T) {
	g := newGuests(t)
	g.on("one", map[string]any{"href": "/x"})
	config := "wsgi_party " + g.party + " {\nprefix {http.request.header.X-Forwarded-Prefix}\n" + strings.TrimPrefix(g.config("rebase href", "one"), "wsgi_party "+g.party+" {\n")
	g.LoadJSON([]byte(strings.Replace(string(g.Adapt("ADDRESS {\n"+config+"\n}")), `"routes":`, `"trusted_proxies":{"source":"static","ranges":["127.0.0.1"]},"routes":`, 1)))
	check.Equal(t, g.doc("X-Forwarded-Prefix", "/a").Body, `[{"href":"/a/one/x"}]`)
	check.Equal(t, g.doc("X-Forwarded-Prefix", "/b").Body, `[{"href":"/b/one/x"}]`)
	check.Equal(t, g.doc().Body, `[{"href":"/one/x"}]`)
	check.Equal(t, g.doc("X-Forwarded-Prefix", "/b").Body, `[{"href":"/b/one/x"}]`)
	check.Equal(t, g.times("one"), 3, "asks")
}
