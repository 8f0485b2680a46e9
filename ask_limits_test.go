// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// servesLong answers with a JSON string of so many bytes, which the path's last segment
// says.
func servesLong(t testing.TB) *attackedApp {
	t.Helper()
	var texts sync.Map // by length, so that tests of memory see Caddy's
	return newAttackedApp(t, "", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		text, ok := texts.Load(n)
		if !ok {
			text, _ = texts.LoadOrStore(n, `"`+strings.Repeat("x", n-2)+`"`)
		}
		serveJSON(text.(string))(w, r)
	})
}

// guestThatAsks is a guest that can ask, with this key.
const guestThatAsks = "invite /asker/__invite__/\nhandle_path /asker/* {\nwsgi_party_guest {\nkey {env.asker_PARTY_KEY}\nanswer x y\n}\nrespond 404\n}\n"

func TestAnAnswerStandsOnceInAResponse(t *testing.T) {
	c := newAskTest(t)
	a := newAttackedApp(t, "", serveJSON(`{"text": "needle-in-application"}`))
	key := keyOf(t, "asker")
	c.around(guestThatAsks + "invite /a/__invite__/\n" + mounted("a", "service s /s", a))
	long := strings.Repeat("needle-in-go,", 1000)
	c.joined("go", "s", answers(long))
	c.joined("raw", "s", answers(json.RawMessage(`["needle-in-raw"]`)))
	for _, request := range []asking{{path: "/s"}, {path: "/", body: `[{"service": "s"}]`}} {
		request.key = key
		body := c.do(request).body
		for needle, want := range map[string]int{"needle-in-application": 1, "needle-in-go": 1000, "needle-in-raw": 1} {
			if n := strings.Count(body, needle); n != want {
				t.Errorf("%s: %s is there %d times", request.path, needle, n)
			}
		}
		var results []wire.Asked
		if err := json.Unmarshal([]byte("["+strings.Trim(strings.TrimSpace(body), "[]")+"]"), &results); err != nil {
			t.Fatal(body, err)
		}
		if r := results[0]; len(r.Answers) != 3 || len(r.Replies) != 3 || r.Replies[0].Guest != "a" || r.Replies[1].Guest != "go" || r.Replies[2].Guest != "raw" {
			t.Errorf("%+v", r)
		}
	}
}

// TestAShortListOfAsksDoesNotCallEverybodyAtOnce asks, in lists, 256 times those who have
// 128 handlers, each of which waits.
func TestAShortListOfAsksDoesNotCallEverybodyAtOnce(t *testing.T) {
	c := newAskTest(t)
	key := keyOf(t, "asker")
	c.around(guestThatAsks)
	operator := c.joined("go", "quick", answers(1))
	var called, underWay, most atomic.Int64
	release := make(chan struct{})
	for range 128 {
		err := operator.ConnectRemote("slow", func(ctx context.Context, _ any) (any, error) {
			called.Add(1)
			n := underWay.Add(1)
			defer underWay.Add(-1)
			for before := most.Load(); n > before && !most.CompareAndSwap(before, n); before = most.Load() {
			}
			select {
			case <-release:
			case <-ctx.Done():
			}
			return 1, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	results := make(chan adminResponse, 2)
	for range 2 {
		go func() {
			response, err := c.try(t.Context(), asking{key: key, path: "/", body: "[" + strings.Repeat(`{"service": "slow"},`, 127) + `{"service": "slow"}]`})
			if err != nil {
				t.Error(err)
			}
			results <- response
		}()
	}
	eventually(t, "as many wait as may", func() bool { return underWay.Load() >= maxUnderWay })
	c.gives(asking{key: key, path: "/quick"}, `{"answers": [1], "replies": [{"guest": "go", "mount": "", "status": "answered"}]}`) // which waits for nobody
	close(release)
	for range 2 {
		if r := <-results; r.status != http.StatusOK || strings.Count(r.body, `"answered"`) != 128*128 {
			t.Errorf("%d, %d answers", r.status, strings.Count(r.body, `"answered"`))
		}
	}
	if called.Load() != 256*128 || most.Load() > maxUnderWay {
		t.Errorf("%d calls, %d of them at once", called.Load(), most.Load())
	}
	c.gives(asking{key: key, path: "/slow?first"}, `{"answers": [1], "replies": [{"guest": "go", "mount": "", "status": "answered"}]}`) // all have ended
}

func TestFirstDoesNotListWhoDeclinedBefore(t *testing.T) {
	c := newAskTest(t)
	key := keyOf(t, "asker")
	c.around(guestThatAsks)
	for i := range 1000 {
		c.joined(fmt.Sprint("shy", i), "s", declining)
	}
	c.joined("broken", "s", failing)
	c.joined("last", "s", answers(1))
	want := `{"answers": [1], "replies": [{"guest": "broken", "mount": "", "status": "failed", "error": "guest \"broken\" failed to answer \"s\": oh no"}, {"guest": "last", "mount": "", "status": "answered"}]}`
	c.gives(asking{key: key, path: "/s?first"}, want)
	c.gives(asking{key: key, path: "/", body: `[{"service": "s", "first": true}]`}, "["+want+"]")
	if n := strings.Count(c.do(asking{key: key, path: "/s"}).body, "declined"); n != 1000 {
		t.Errorf("without first, %d declined", n)
	}
}

func TestAResponseHasAtMostMaxResponse(t *testing.T) {
	c := newAskTest(t)
	key := keyOf(t, "asker")
	const most = 100_000
	c.load("ADDRESS {\nwsgi_party main {\n" + guestThatAsks + "}\n}\nhttp://" + c.endpoint + " {\nwsgi_party_ask main {\nmax_response " + strconv.Itoa(most) + "B\n}\n}")
	c.joined("a", "three", answers(strings.Repeat("a", 40_000)))
	c.joined("b", "three", answers(json.RawMessage(`"`+strings.Repeat("b", 40_000)+`"`)))
	c.joined("c", "three", answers(strings.Repeat("c", 40_000)))
	c.joined("d", "three", answers("d"))
	c.joined("e", "long", answers(map[string]string{"e": strings.Repeat("e", 30_000)}))
	for i := range 2000 {
		c.joined(fmt.Sprint("many", i), "many", declining)
	}

	// By itself: the reply for which there is no room has failed.
	response := c.do(asking{key: key, path: "/three"})
	var one wire.Asked
	if err := json.Unmarshal([]byte(response.body), &one); err != nil || len(one.Answers) != 3 || len(one.Replies) != 4 || string(one.Answers[2]) != `"d"` {
		t.Fatalf("%d %.100s: %v", response.status, response.body, err)
	}
	if r := one.Replies[2]; r.Guest != "c" || r.Status != "failed" || !strings.Contains(r.Error, "longer than max_response") {
		t.Errorf("%+v", r)
	}
	if len(response.body) > most || response.header.Get("Content-Length") != strconv.Itoa(len(response.body)) {
		t.Errorf("%d bytes, Content-Length %s", len(response.body), response.header.Get("Content-Length"))
	}
	c.fails(asking{key: key, path: "/many"}, http.StatusRequestEntityTooLarge, "max_response, 100000 bytes")

	// In a batch: the ask for which there is no room is a result that says so.
	response = c.do(asking{key: key, path: "/", body: `[{"service": "long"}` + strings.Repeat(`, {"service": "long"}`, 9) + `, {"service": "many"}, {"service": "three"}, {"service": "x"}, {"service": "none"}]`})
	var results []json.RawMessage
	if err := json.Unmarshal([]byte(response.body), &results); err != nil || response.status != http.StatusOK || len(results) != 14 {
		t.Fatalf("%d %.100s: %v", response.status, response.body, err)
	}
	for i, result := range results {
		switch i {
		case 0, 1, 2:
			if !strings.Contains(string(result), `"answered"`) {
				t.Errorf("result %d: %.200s", i, result)
			}
		case 12:
			if string(result) != `{"answers":[],"replies":[]}` {
				t.Errorf("result %d: %.200s", i, result)
			}
		case 13:
			isProblem(t, "a service that nobody has", string(result), http.StatusNotFound)
		default:
			isProblem(t, fmt.Sprint("result ", i), string(result), http.StatusRequestEntityTooLarge, "max_response, 100000 bytes", "by itself")
		}
	}
	if len(response.body) > most {
		t.Errorf("%d bytes", len(response.body))
	}
	if response := c.do(asking{key: key, path: "/", body: "[" + strings.Repeat(`{"service": "long"},`, 255) + `{"service": "long"}]`}); response.status != http.StatusOK || len(response.body) > most {
		t.Errorf("%d, %d bytes", response.status, len(response.body))
	}

	// Where there is not even room for that, the whole is refused.
	c.load("ADDRESS {\nwsgi_party main {\n" + guestThatAsks + "}\n}\nhttp://" + c.endpoint + " {\nwsgi_party_ask main {\nmax_response 50B\n}\n}")
	eventually(t, "the new config refuses", func() bool {
		response, err := c.try(t.Context(), asking{key: key, path: "/x"})
		return err == nil && response.status == http.StatusRequestEntityTooLarge
	})
	c.fails(asking{key: key, path: "/", body: `[{"service": "x"}]`}, http.StatusRequestEntityTooLarge, "max_response, 50 bytes")
}

// TestABatchOfLongAnswersIsBounded has a batch ask for 128 MB.
func TestABatchOfLongAnswersIsBounded(t *testing.T) {
	c := newAskTest(t)
	a := servesLong(t)
	key := keyOf(t, "asker")
	c.around(guestThatAsks + "invite /a/__invite__/\n" + mounted("a", "timeout 60s\nservice long /500000\nservice short /9", a))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	response := c.do(asking{key: key, path: "/", body: "[" + strings.Repeat(`{"service": "long"},`, 255) + `{"service": "short"}]`})
	runtime.ReadMemStats(&after)
	var results []wire.Asked
	if err := json.Unmarshal([]byte(response.body), &results); err != nil || len(results) != 256 {
		t.Fatalf("%d, %d bytes: %v", response.status, len(response.body), err)
	}
	if len(response.body) > 8<<20 {
		t.Errorf("%d bytes", len(response.body))
	}
	answered, refused := 0, 0 // others fail as they like on a busy machine
	for _, result := range results {
		answered += len(result.Answers)
		if len(result.Replies) == 1 && strings.Contains(result.Replies[0].Error, "what all answer to one ask, or one batch of asks, is longer than 8388608 bytes together") {
			refused++
		}
	}
	if answered < 8 || answered > 17 || refused == 0 {
		t.Errorf("%d answered, %d refused", answered, refused)
	}
	// All of this is in the test's process, the application and the response as read, too.
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 512<<20 {
		t.Errorf("%d MB were allocated", allocated>>20)
	}
}

func TestMaxAnswerIsForAllHrefsOfAService(t *testing.T) {
	c := newCaddy(t)
	a := servesLong(t)
	c.site("wsgi_party main {\ninvite /a/__invite__/\n" + mounted("a", "max_answer 1000B\nservice many /400\nservice many /401\nservice many /402\nservice one /1000\nservice more /1001", a) + "}")
	answers, err := c.line("main").AskAround(t.Context(), "many", nil)
	if err == nil || len(answers) != 2 || strings.Count(err.Error(), "what it answers to one ask is longer than 1000 bytes (max_answer)") != 1 {
		t.Errorf("%d answers, %v", len(answers), err)
	}
	for range 2 { // each ask anew
		if answers, err := c.line("main").AskAround(t.Context(), "one", nil); err != nil || len(answers) != 1 {
			t.Errorf("%d answers, %v", len(answers), err)
		}
	}
	if err := c.failure("main", "more", nil); !strings.Contains(err.Error(), "the response is longer than 1000 bytes") {
		t.Error(err)
	}
}

// TestWhatAGoCallersAskCollectsIsBounded asks twelve guests for 12 MB, and one that may
// answer so much itself.
func TestWhatAGoCallersAskCollectsIsBounded(t *testing.T) {
	c := newCaddy(t)
	a := servesLong(t)
	var site strings.Builder
	for i := range 12 {
		fmt.Fprintf(&site, "invite /a%d/__invite__/\n%s", i, mounted(fmt.Sprint("a", i), "timeout 60s\nservice long /1000000\nservice bad /bad", a))
	}
	c.site("wsgi_party main {\n" + site.String() + "invite /large/__invite__/\n" + mounted("large", "timeout 60s\nmax_answer 12MiB\nservice large /12000000", a) + "}")
	size := func(answers []any) (n int) {
		for _, answer := range answers {
			n += len(answer.(json.RawMessage))
		}
		return n
	}
	collected, err := c.line("main").AskAround(t.Context(), "long", nil)
	if n := size(collected); n > maxCollected || len(collected) < 4 || err == nil || !strings.Contains(err.Error(), "8388608 bytes together") {
		t.Errorf("%d answers of %d bytes, %.300v", len(collected), n, err)
	}
	if collected, err := c.line("main").AskAround(t.Context(), "large", nil); err != nil || size(collected) != 12_000_000 {
		t.Errorf("%d answers, %v", len(collected), err)
	}
	// Asks that another one leads to have their own.
	operator := c.line("main").Partyline().Operator("leads")
	for range 2 {
		connect(t, operator, "leads", func(ctx context.Context, _ any) (any, error) {
			answers, err := operator.AskAround(ctx, "large", nil)
			return size(answers), err
		})
	}
	if got, err := c.line("main").AskAround(t.Context(), "leads", nil); err != nil || fmt.Sprint(got) != "[12000000 12000000]" {
		t.Errorf("%v, %v", got, err)
	}
}
