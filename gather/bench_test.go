// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package gather_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/measure"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// handlers are a gathered document of so many guests, and a `respond` with the same body.
func handlers(t testing.TB, n int, options string) (gathered, respond func()) {
	t.Helper()
	g := newGuests(t)
	var names []string
	for i := range n {
		name := fmt.Sprint("guest", i)
		names = append(names, name)
		g.on(name, map[string]any{"title": "Entry of " + name, "href": "/posts"})
	}
	// Outside of the party, whose routes would be matched before, and are many.
	site := func(respond string) {
		party := strings.Replace(g.config("", names...), "handle /doc", "handle /in", 1)
		g.Site(fmt.Sprintf("handle /doc {\nheader Load %d\nwsgi_party_gather doc {\nparty %s\n%s\n}\n}\nhandle /respond {\nheader Load 0\nrespond `%s`\n}\nhandle {\n%s\n}", g.loads, g.party, options, respond, party))
	}
	site("")
	body := g.doc().Body
	site(strings.NewReplacer("{", `\{`, "}", `\}`).Replace(body))
	check.Equal(t, g.fetch("GET", "/doc").Body, body)
	g.doc()
	app := check.Value(caddy.ActiveContext().App("http"))(t).(*caddyhttp.App)
	var server *caddyhttp.Server
	for _, server = range app.Servers {
	}
	call := func(path string) func() {
		return func() {
			r, _ := http.NewRequest("GET", "http://"+g.Address+path, nil)
			server.ServeHTTP(partytest.Discard{}, r)
		}
	}
	return call("/doc"), call("/respond")
}

// BenchmarkGather compares a gathered document with `respond` and the same body: what it costs more, and how much more 100 guests are than 5.
func BenchmarkGather(b *testing.B) {
	five, respond := handlers(b, 5, "cache 1h\nrebase href")
	check.Equal(b, testing.AllocsPerRun(100, five)-testing.AllocsPerRun(100, respond) <= 30, true)
	measure.SideBySide(b, measure.Contender{Metric: "over-respond", Do: five, Minus: respond})
}

func BenchmarkGatherOf100(b *testing.B) {
	five, _ := handlers(b, 5, "cache 1h\nrebase href")
	hundred, _ := handlers(b, 100, "cache 1h\nrebase href")
	measure.SideBySide(b, measure.Contender{Metric: "ns/op-5", Against: 0, Do: five}, measure.Contender{Metric: "x-of-5", Against: 0, Do: hundred})
}

// TestItAllocatesLittleMoreThanRespond counts exactly.
func TestItAllocatesLittleMoreThanRespond(t *testing.T) {
	if measure.UnderRaceDetector() {
		return // it allocates itself
	}
	gathered, respond := handlers(t, 5, "cache 1h\nrebase href")
	more := testing.AllocsPerRun(100, gathered) - testing.AllocsPerRun(100, respond)
	t.Logf("%v allocations over respond", more)
	check.ErrorIf(t, more > 30, more)
	hundred, _ := handlers(t, 100, "cache 1h\nrebase href")
	check.Equal(t, testing.AllocsPerRun(100, hundred), testing.AllocsPerRun(100, gathered), "of 100 guests as of 5")
}

// TestUnderLoadEachGuestIsAskedOnce, and every response is complete while one of them is dead.
func TestUnderLoadEachGuestIsAskedOnce(t *testing.T) {
	g := newGuests(t)
	for i := range 5 {
		g.on(fmt.Sprint("g", i), i)
	}
	g.serve("cache 1h\nabsent fail", "g0", "g1", "g2", "g3", "g4")
	load := func() {
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 20}}
		defer client.CloseIdleConnections()
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				for range 100 {
					response, err := client.Get("http://" + g.Address + "/doc")
					if err != nil {
						t.Error(err)
						return
					}
					body, _ := io.ReadAll(response.Body)
					response.Body.Close()
					var all []int
					if err := json.Unmarshal(body, &all); err != nil || len(all) != 5 {
						t.Errorf("%d %s", response.StatusCode, body)
						return
					}
				}
			})
		}
		group.Wait()
	}
	load()
	for i := range 5 {
		check.Equal(t, g.times(fmt.Sprint("g", i)), 1)
	}
	g.serve("cache 1ms 24h\nabsent fail", "g0", "g1", "g2", "g3", "g4")
	g.doc()
	g.isDown("g2")
	load()
}

// TestADyingGuestMakesNobodyWait has it hang and then fail, again and again, while others are asked as often as can be.
func TestADyingGuestMakesNobodyWait(t *testing.T) {
	g := newGuests(t)
	names := []string{"g0", "g1", "g2", "g3", "g4"}
	for i, name := range names {
		g.on(name, i)
	}
	g.serve("cache 1ms 24h\nabsent fail", names...)
	g.becomes("[0,1,2,3,4]")
	load := func() time.Duration {
		began := time.Now()
		for range 100 {
			g.expect("[0,1,2,3,4]")
		}
		return time.Since(began)
	}
	measure.TakesAtMost(t, 5, func() time.Duration { g.on("g2", 2); return load() }, func() time.Duration {
		hangs := make(chan struct{})
		defer close(hangs)
		g.on("g2", func(context.Context, any) (any, error) { <-hangs; return nil, errDown })
		return load()
	})
}
