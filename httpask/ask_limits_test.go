// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

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

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// servesLong answers with a JSON string of so many bytes, which the path's last segment
// says.
func servesLong(t testing.TB) *partytest.Application {
	t.Helper()
	var texts sync.Map // by length, so that tests of memory see Caddy's
	return partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		text, ok := texts.Load(n)
		if !ok {
			text, _ = texts.LoadOrStore(n, `"`+strings.Repeat("x", n-2)+`"`)
		}
		partytest.JSON(text.(string))(w, r)
	})
}

func TestAnAnswerStandsOnceInAResponse(t *testing.T) {
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", partytest.JSON(`{"text": "needle-in-application"}`))
	key := partytest.Key(t, "asker")
	c.Around(partytest.Asker + "invite /a/__invite__/\n" + partytest.Mounted("a", "service s /s", a))
	long := strings.Repeat("needle-in-go,", 1000)
	connectMain(c, "go", "s", partytest.Answers(long))
	connectMain(c, "raw", "s", partytest.Answers(json.RawMessage(`["needle-in-raw"]`)))
	for _, request := range []partytest.Asking{{Key: key, Path: "/s"}, {Key: key, Path: "/", Body: `[{"service": "s"}]`}} {
		response := c.Ask(request)
		for needle, want := range map[string]int{"needle-in-application": 1, "needle-in-go": 1000, "needle-in-raw": 1} {
			check.Equal(t, strings.Count(response.Body, needle), want, "%s: times that %s is there", request.Path, needle)
		}
		r := asked(t, response)[0]
		check.ErrorIf(t, len(r.Answers) != 3 || len(r.Replies) != 3 || r.Replies[0].Guest != "a" || r.Replies[1].Guest != "go" || r.Replies[2].Guest != "raw", "%+v", r)
	}
}

// TestAShortListOfAsksDoesNotCallEverybodyAtOnce asks, in lists, 256 times those who have
// 128 handlers, each of which waits.
func TestAShortListOfAsksDoesNotCallEverybodyAtOnce(t *testing.T) {
	c := partytest.NewCaddy(t)
	key := partytest.Key(t, "asker")
	c.Around(partytest.Asker)
	operator := connectMain(c, "go", "quick", partytest.Answers(1))
	const maxUnderWay = 4096
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
		check.Must(t, err)
	}
	results := make(chan partytest.Response, 2)
	for range 2 {
		go func() {
			response, err := c.TryAsk(t.Context(), partytest.Asking{Key: key, Path: "/", Body: listOf(128, "slow")})
			check.Nil(t, err)
			results <- response
		}()
	}
	partytest.Eventually(t, "as many wait as may", func() bool { return underWay.Load() >= maxUnderWay })
	c.ExpectAsk(partytest.Asking{Key: key, Path: "/quick"}, answered("1", "go")) // which waits for nobody
	close(release)
	for range 2 {
		if r := <-results; r.Status != http.StatusOK || strings.Count(r.Body, `"answered"`) != 128*128 {
			t.Errorf("%d, %d answers", r.Status, strings.Count(r.Body, `"answered"`))
		}
	}
	check.ErrorIf(t, called.Load() != 256*128 || most.Load() > maxUnderWay, "%d calls, %d of them at once", called.Load(), most.Load())
	c.ExpectAsk(partytest.Asking{Key: key, Path: "/slow?first"}, answered("1", "go")) // all have ended
}

func TestFirstDoesNotListWhoDeclinedBefore(t *testing.T) {
	c := partytest.NewCaddy(t)
	key := partytest.Key(t, "asker")
	c.Around(partytest.Asker)
	for i := range 1000 {
		connectMain(c, fmt.Sprint("shy", i), "s", partytest.Declines)
	}
	connectMain(c, "broken", "s", partytest.Fails)
	connectMain(c, "last", "s", partytest.Answers(1))
	want := `{"answers": [1], "replies": [{"guest": "broken", "mount": "", "status": "failed", "error": "guest \"broken\" failed to answer \"s\": oh no"}, {"guest": "last", "mount": "", "status": "answered"}]}`
	c.ExpectAsk(partytest.Asking{Key: key, Path: "/s?first"}, want)
	c.ExpectAsk(partytest.Asking{Key: key, Path: "/", Body: `[{"service": "s", "first": true}]`}, "["+want+"]")
	check.Equal(t, strings.Count(c.Ask(partytest.Asking{Key: key, Path: "/s"}).Body, "declined"), 1000, "without first, declined")
}

func TestAResponseHasAtMostMaxResponse(t *testing.T) {
	c := partytest.NewCaddy(t)
	key := partytest.Key(t, "asker")
	const most = 100_000
	c.Load("ADDRESS {\nwsgi_party main {\n" + partytest.Asker + "}\n}\nhttp://" + c.Endpoint + " {\nwsgi_party_ask main {\nmax_response " + strconv.Itoa(most) + "B\n}\n}")
	connectMain(c, "a", "three", partytest.Answers(strings.Repeat("a", 40_000)))
	connectMain(c, "b", "three", partytest.Answers(json.RawMessage(`"`+strings.Repeat("b", 40_000)+`"`)))
	connectMain(c, "c", "three", partytest.Answers(strings.Repeat("c", 40_000)))
	connectMain(c, "d", "three", partytest.Answers("d"))
	connectMain(c, "e", "long", partytest.Answers(map[string]string{"e": strings.Repeat("e", 30_000)}))
	for i := range 2000 {
		connectMain(c, fmt.Sprint("many", i), "many", partytest.Declines)
	}

	// By itself: the reply for which there is no room has failed.
	response := c.Ask(partytest.Asking{Key: key, Path: "/three"})
	one := asked(t, response)[0]
	check.FatalIf(t, len(one.Answers) != 3 || len(one.Replies) != 4 || string(one.Answers[2]) != `"d"`, "%.100s", response.Body)
	r := one.Replies[2]
	check.ErrorIf(t, r.Guest != "c" || r.Status != "failed" || !strings.Contains(r.Error, "longer than max_response"), "%+v", r)
	check.ErrorIf(t, len(response.Body) > most || response.Header.Get("Content-Length") != strconv.Itoa(len(response.Body)), "%d bytes, Content-Length %s", len(response.Body), response.Header.Get("Content-Length"))
	c.ExpectProblem(partytest.Asking{Key: key, Path: "/many"}, http.StatusRequestEntityTooLarge, "max_response, 100000 bytes")

	// In a batch: the ask for which there is no room is a result that says so.
	response = c.Ask(partytest.Asking{Key: key, Path: "/", Body: `[{"service": "long"}` + strings.Repeat(`, {"service": "long"}`, 9) + `, {"service": "many"}, {"service": "three"}, {"service": "x"}, {"service": "none"}]`})
	var results []json.RawMessage
	if err := json.Unmarshal([]byte(response.Body), &results); err != nil || response.Status != http.StatusOK || len(results) != 14 {
		t.Fatalf("%d %.100s: %v", response.Status, response.Body, err)
	}
	for i, result := range results {
		switch i {
		case 0, 1, 2:
			check.Has(t, string(result), `"answered"`, "result %d: %.200s", i, result)
		case 12:
			check.Equal(t, string(result), `{"answers":[],"replies":[]}`, "result %d: %.200s", i, result)
		case 13:
			partytest.IsProblem(t, "a service that nobody has", string(result), http.StatusNotFound)
		default:
			partytest.IsProblem(t, fmt.Sprint("result ", i), string(result), http.StatusRequestEntityTooLarge, "max_response, 100000 bytes", "by itself")
		}
	}
	check.ErrorIf(t, len(response.Body) > most, "%d bytes", len(response.Body))
	if response := c.Ask(partytest.Asking{Key: key, Path: "/", Body: listOf(256, "long")}); response.Status != http.StatusOK || len(response.Body) > most {
		t.Errorf("%d, %d bytes", response.Status, len(response.Body))
	}

	// Where there is not even room for that, the whole is refused.
	c.Load("ADDRESS {\nwsgi_party main {\n" + partytest.Asker + "}\n}\nhttp://" + c.Endpoint + " {\nwsgi_party_ask main {\nmax_response 50B\n}\n}")
	partytest.Eventually(t, "the new config refuses", func() bool {
		response, err := c.TryAsk(t.Context(), partytest.Asking{Key: key, Path: "/x"})
		return err == nil && response.Status == http.StatusRequestEntityTooLarge
	})
	c.ExpectProblem(partytest.Asking{Key: key, Path: "/", Body: `[{"service": "x"}]`}, http.StatusRequestEntityTooLarge, "max_response, 50 bytes")
}

// TestABatchOfLongAnswersIsBounded has a batch ask for 128 MB.
func TestABatchOfLongAnswersIsBounded(t *testing.T) {
	c := partytest.NewCaddy(t)
	a := servesLong(t)
	key := partytest.Key(t, "asker")
	c.Around(partytest.Asker + "invite /a/__invite__/\n" + partytest.Mounted("a", "timeout 60s\nservice long /500000\nservice short /9", a))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	response := c.Ask(partytest.Asking{Key: key, Path: "/", Body: "[" + strings.Repeat(`{"service": "long"},`, 255) + `{"service": "short"}]`})
	runtime.ReadMemStats(&after)
	results := asked(t, response)
	check.FatalIf(t, len(results) != 256 || len(response.Body) > 8<<20, "%d results, %d bytes", len(results), len(response.Body))
	answered, refused := 0, 0 // others fail as they like on a busy machine
	for _, result := range results {
		answered += len(result.Answers)
		if len(result.Replies) == 1 && strings.Contains(result.Replies[0].Error, "all answers to one ask, or one batch of asks, are longer than 8388608 bytes together") {
			refused++
		}
	}
	check.ErrorIf(t, answered < 8 || answered > 17 || refused == 0, "%d answered, %d refused", answered, refused)
	// All of this is in the test's process, the application and the response as read, too.
	allocated := after.TotalAlloc - before.TotalAlloc
	check.ErrorIf(t, allocated > 512<<20, "%d MB were allocated", allocated>>20)
}

func TestMaxAnswerIsForAllHrefsOfAService(t *testing.T) {
	c := partytest.NewCaddy(t)
	a := servesLong(t)
	c.Site("wsgi_party main {\ninvite /a/__invite__/\n" + partytest.Mounted("a", "max_answer 1000B\nservice many /400\nservice many /401\nservice many /402\nservice one /1000\nservice more /1001", a) + "}")
	answers, err := operatorOf(c, "main").AskAround(t.Context(), "many", nil)
	check.ErrorIf(t, err == nil || len(answers) != 2 || strings.Count(err.Error(), "its answer to one ask is longer than 1000 bytes (max_answer)") != 1, "%d answers, %v", len(answers), err)
	for range 2 { // each ask anew
		if answers, err := operatorOf(c, "main").AskAround(t.Context(), "one", nil); err != nil || len(answers) != 1 {
			t.Errorf("%d answers, %v", len(answers), err)
		}
	}
	check.Has(t, c.Failure("main", "more", nil).Error(), "the response is longer than 1000 bytes")
}

// TestWhatAGoCallersAskCollectsIsBounded asks twelve guests for 12 MB, and one that may
// answer so much itself.
func TestWhatAGoCallersAskCollectsIsBounded(t *testing.T) {
	c := partytest.NewCaddy(t)
	a := servesLong(t)
	var site strings.Builder
	for i := range 12 {
		fmt.Fprintf(&site, "invite /a%d/__invite__/\n%s", i, partytest.Mounted(fmt.Sprint("a", i), "timeout 60s\nservice long /1000000\nservice bad /bad", a))
	}
	c.Site("wsgi_party main {\n" + site.String() + "invite /large/__invite__/\n" + partytest.Mounted("large", "timeout 60s\nmax_answer 12MiB\nservice large /12000000", a) + "}")
	size := func(answers []any) (n int) {
		for _, answer := range answers {
			n += len(answer.(json.RawMessage))
		}
		return n
	}
	collected, err := operatorOf(c, "main").AskAround(t.Context(), "long", nil)
	if n := size(collected); n > 8<<20 || len(collected) < 4 || err == nil || !strings.Contains(err.Error(), "8388608 bytes together") {
		t.Errorf("%d answers of %d bytes, %.300v", len(collected), n, err)
	}
	if collected, err := operatorOf(c, "main").AskAround(t.Context(), "large", nil); err != nil || size(collected) != 12_000_000 {
		t.Errorf("%d answers, %v", len(collected), err)
	}
	// Asks that another one leads to have their own.
	operator := operatorOf(c, "main").Partyline().Operator("leads")
	for range 2 {
		partytest.Connect(t, operator, "leads", func(ctx context.Context, _ any) (any, error) {
			answers, err := operator.AskAround(ctx, "large", nil)
			return size(answers), err
		})
	}
	got, err := operatorOf(c, "main").AskAround(t.Context(), "leads", nil)
	check.ErrorIf(t, err != nil || fmt.Sprint(got) != "[12000000 12000000]", "%v, %v", got, err)
}
