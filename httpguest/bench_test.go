// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/measure"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/party"
)

// benchGuests is a party of applications behind unix sockets.
type benchGuests struct {
	*partytest.Caddy
	askAddress string
	plain      string // the address of one of the applications
}

// benchKey is the environment variable of the applications' keys, by number.
func benchKey(b testing.TB, n int) string {
	name := fmt.Sprint("WSGI_PARTY_BENCH_KEY_", n)
	b.Setenv(name, fmt.Sprintf("%032d", n))
	return "{env." + name + "}"
}

// newBenchGuests runs a party of so many applications that answer for ping, of which
// the first n hang.
func newBenchGuests(b testing.TB, guests, hanging int, timeout string, options ...string) *benchGuests {
	b.Helper()
	c := &benchGuests{partytest.NewCaddy(b), testport.Address(b), testport.Address(b)}
	serve := func(name string, h http.HandlerFunc) string {
		socket := filepath.Join(b.TempDir(), name)
		l := check.Value(net.Listen("unix", socket))(b)
		server := &http.Server{Handler: h}
		go server.Serve(l)
		if name == "well" {
			go server.Serve(check.Value(net.Listen("tcp", c.plain))(b))
		}
		b.Cleanup(func() {
			server.Close()
			benchClient.CloseIdleConnections()
		})
		return socket
	}
	well := serve("well", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/query" { // waits for a database, say
			time.Sleep(2 * time.Millisecond)
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `"pong"`)
	})
	hung := serve("hung", func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // until then a lost connection is not noticed
		<-r.Context().Done()
	})
	var config strings.Builder
	fmt.Fprintf(&config, "ADDRESS {\nwsgi_party main {\n")
	for g := range guests {
		socket, state := well, "well"
		if g < hanging {
			socket, state = hung, "hung"
		}
		fmt.Fprintf(&config, "invite /g%d/__invite__/\n", g)
		fmt.Fprintf(&config, `handle_path /g%[1]d/* {
			wsgi_party_guest {
				key %[2]s
				service ping /ping
				service ping%[1]d /ping
				service %[3]s /ping
				service query /query
				service query%[1]d /query
				url page%[1]d /pages/{id}{?q}
				timeout %[4]s
				%[6]s
			}
			reverse_proxy unix/%[5]s
		}
		`, g, benchKey(b, g), state, timeout, socket, strings.ReplaceAll(strings.Join(options, "\n"), "UPSTREAM", "unix/"+socket))
	}
	fmt.Fprintf(&config, "}\nreverse_proxy unix/%s\n}\nhttp://%s {\nwsgi_party_ask main\n}\n", well, c.askAddress)
	check.Must(b, caddy.Load(bytes.ReplaceAll(c.Adapt(config.String()), []byte(`"DEBUG"`), []byte(`"ERROR"`)), true))
	return c
}

// ask asks around for a service that so many answer for.
func (c *benchGuests) ask(service string, answers int) func() {
	operator := operatorOf(c, "main")
	return func() {
		if got, err := operator.AskAround(context.Background(), service, nil); err != nil || len(got) != answers {
			panic(fmt.Sprint(len(got), err))
		}
	}
}

// benchClient keeps as many connections alive as requests are made at once.
var benchClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// post sends a request as an application does that keeps its connection alive.
func post(url, key, body string) func() {
	return func() {
		r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			panic(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+key)
		response, err := benchClient.Do(r)
		if err != nil {
			panic(err)
		}
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			panic(fmt.Sprint(response.Status, err))
		}
	}
}

// BenchmarkAskOverHTTP asks applications behind unix sockets, each with a key. The
// reference is a request to one of them through the same route. To ask 16 that do
// nothing takes as long as the processors need for 16 requests, so that is compared
// with 16 requests at once, too; of 16 that wait for something else, all wait together.
func BenchmarkAskOverHTTP(b *testing.B) {
	c := newBenchGuests(b, 16, 0, "10s")
	request := post("http://"+c.Address+"/g0/ping", "", "null")
	measure.SideBySide(b,
		measure.Contender{Metric: "reference-ns/op", Against: 0, Do: request},
		measure.Contender{Metric: "ns/op", Against: 1, Do: c.ask("ping0", 1)},
		measure.Contender{Metric: "x-reference", Against: 0, Do: c.ask("ping0", 1)},
		measure.Contender{Metric: "x-16-guests", Against: 1, Do: c.ask("ping", 16)},
		measure.Contender{Metric: "x-16-requests", Against: 0, Do: func() {
			var requests sync.WaitGroup
			for range 16 {
				requests.Go(request)
			}
			requests.Wait()
		}},
		measure.Contender{Metric: "16-guests-x-16-requests", Against: 4, Do: c.ask("ping", 16)},
		measure.Contender{Metric: "waiting-ns/op", Against: 6, Do: c.ask("query0", 1)},
		measure.Contender{Metric: "x-16-waiting", Against: 6, Do: c.ask("query", 16)},
	)
}

// BenchmarkAskEndpoint has an application ask from outside the process, for a link and
// for what another application answers: once, and 50 times in one request. The latter
// are as many requests to that application, of which 48 are made at a time.
func BenchmarkAskEndpoint(b *testing.B) {
	for name, ask := range map[string]struct{ path, payload, element string }{
		"links": {"/url?first", `{"name":"page1","values":{"id":7}}`, `{"service":"url","payload":{"name":"page1","values":{"id":7}},"first":true}`},
		"hrefs": {"/ping1", "null", `{"service":"ping1"}`},
	} {
		b.Run(name, func(b *testing.B) {
			c := newBenchGuests(b, 2, 0, "10s")
			key := fmt.Sprintf("%032d", 0)
			base := "http://" + c.askAddress
			measure.SideBySide(b,
				measure.Contender{Metric: "ns/op", Against: 0, Do: post(base+ask.path, key, ask.payload)},
				measure.Contender{Metric: "x-50", Against: 0, Do: post(base+"/", key, "["+strings.Repeat(ask.element+",", 49)+ask.element+"]")},
			)
		})
	}
}

// BenchmarkURLFor asks for a link to a page that a manifest's template describes.
func BenchmarkURLFor(b *testing.B) {
	c := newBenchGuests(b, 1, 0, "10s")
	operator := operatorOf(c, "main")
	values := map[string]any{"id": json.Number("7"), "q": "a b"}
	measure.SideBySide(b, measure.Contender{Metric: "ns/op", Against: 0, Do: func() {
		if link, err := wsgiparty.URLFor(context.Background(), operator, "page0", values); err != nil || link != "/g0/pages/7?q=a%20b" {
			panic(fmt.Sprint(link, err))
		}
	}})
}

// linksOfMany are ways to ask for a link to one of 100 guests.
var linksOfMany = []string{"plain", "named", "claimed", "endpoint"}

// linkOfMany asks as nobody, or as a guest by what the page is called behind its guest's name, or where
// guests claim their pages, or from outside the process.
func linkOfMany(t testing.TB, way string) func(guest int) (ask func()) {
	claims, asker, name := "", "", "page%d"
	switch way {
	case "claimed":
		claims = "claim urls"
	case "named":
		asker, name = "g50", "g%d:page%[1]d"
	}
	c := newBenchGuests(t, 100, 0, "10s", claims)
	operator := operatorOf(c, "main").Partyline().Operator(asker)
	values := map[string]any{"id": json.Number("7")}
	return func(guest int) func() {
		page, want := fmt.Sprintf(name, guest), fmt.Sprintf("/g%d/pages/7", guest)
		if way == "endpoint" {
			return post("http://"+c.askAddress+"/url?first", fmt.Sprintf("%032d", 1), fmt.Sprintf(`{"name":%q,"values":{"id":7}}`, page))
		}
		return func() {
			if link, err := wsgiparty.URLFor(context.Background(), operator, page, values); err != nil || link != want {
				panic(fmt.Sprint(link, err))
			}
		}
	}
}

// BenchmarkLinkOfManyGuests asks for links to the first of 100 guests, and to the 33rd and the last.
func BenchmarkLinkOfManyGuests(b *testing.B) {
	for _, way := range linksOfMany {
		b.Run(way, func(b *testing.B) {
			link := linkOfMany(b, way)
			measure.SideBySide(b,
				measure.Contender{Metric: "ns/op", Against: 0, Do: link(0)},
				measure.Contender{Metric: "x-33rd", Against: 0, Do: link(32)},
				measure.Contender{Metric: "x-100th", Against: 0, Do: link(99)},
			)
		})
	}
}

// TestALinkOfTheLastGuestTakesNoLonger compares it with one of the first of 100.
func TestALinkOfTheLastGuestTakesNoLonger(t *testing.T) {
	for _, way := range linksOfMany {
		link := linkOfMany(t, way)
		take := func(ask func()) func() time.Duration {
			return func() time.Duration {
				began := time.Now()
				for range 100 {
					ask()
				}
				return time.Since(began)
			}
		}
		first, last := take(link(0)), take(link(99))
		first() // opens connections, and finds whom to ask
		measure.TakesAtMost(t, 1.1, first, last)
	}
}

// BenchmarkGuest passes requests through a party with a guest handler, and without.
func BenchmarkGuest(b *testing.B) {
	without, with := partytest.NewBenchChain(b, 1, true), partytest.NewBenchChain(b, 1, true, `{"handler": "wsgi_party_guest", "urls": {"home": "/"}}`)
	measure.SideBySide(b,
		measure.Contender{Metric: "without-ns/op", Against: 0, Do: without.Serve},
		measure.Contender{Metric: "guest", Do: with.Serve, Minus: without.Serve},
		measure.Contender{Metric: "ns/op", Against: 2, Do: with.Serve},
	)
}

// BenchmarkMeter passes requests on to an application that are counted, claimed and not, and such that are not counted.
func BenchmarkMeter(b *testing.B) {
	c := newGuestTest(b)
	c.load("invite /app/__invite__/\nhandle_path /app/* {\nwsgi_party_guest {\nurl home /\n}\n}")
	a, w := applicationOf(b, "app"), http.ResponseWriter(partytest.Discard{})
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusOK)
		return nil
	})
	request := func(claim any) *http.Request {
		r := check.Value(http.NewRequest("GET", "http://localhost/invoices/7/lines", nil))(b)
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
		caddyhttp.SetVar(r.Context(), party.ClaimVar, claim)
		return r
	}
	passOn := func(r *http.Request) func() {
		return func() { a.PassOn(w, r, next) }
	}
	unclaimed, claimed := request(nil), request("GET /invoices/{id}/lines")
	without := func() { next.ServeHTTP(w, unclaimed) }
	measure.SideBySide(b,
		measure.Contender{Metric: "claimed", Do: passOn(claimed), Minus: without},
		measure.Contender{Metric: "unclaimed", Do: passOn(unclaimed), Minus: without},
		measure.Contender{Metric: "ns/op", Against: 2, Do: passOn(unclaimed)},
	)
}

// BenchmarkPartyAsk passes requests to a guest that is told where to ask, and to one that is not.
func BenchmarkPartyAsk(b *testing.B) {
	partytest.Key(b, "app0")
	const key = `, "keys": ["{env.app0_PARTY_KEY}"]`
	without, with := partytest.NewBenchGuest(b, "", key), partytest.NewBenchGuest(b, `"ask_on": {"listen": "127.0.0.1:2080"}, `, key)
	measure.SideBySide(b,
		measure.Contender{Metric: "without-ns/op", Against: 0, Do: without.Serve},
		measure.Contender{Metric: "party-ask", Do: with.Serve, Minus: without.Serve},
		measure.Contender{Metric: "ns/op", Against: 2, Do: with.Serve},
	)
}

// TestSayingWhereToAskAllocatesNothing counts what a request to a guest does that is told its mount
// anyway.
func TestSayingWhereToAskAllocatesNothing(t *testing.T) {
	partytest.Key(t, "app0")
	var allocations []float64
	for _, askOn := range []string{"", `"ask_on": {"listen": "127.0.0.1:2080"}, `} {
		chain := partytest.NewBenchGuest(t, askOn, `, "keys": ["{env.app0_PARTY_KEY}"]`)
		allocations = append(allocations, testing.AllocsPerRun(100, chain.Serve))
		check.Equal(t, chain.Request().Header.Get("Party-Ask") != "", askOn != "", "Party-Ask")
		check.Equal(t, chain.Request().Header.Get("X-Forwarded-Prefix"), "/app0")
	}
	check.Equal(t, allocations[0], allocations[1], "allocations without and with: %v", allocations)
}

// BenchmarkHangingGuest asks 16 applications, one of which hangs, with a time-out of
// 100 ms: while that is not known yet, and when it is left alone.
func BenchmarkHangingGuest(b *testing.B) {
	const timeout = 100 * time.Millisecond
	c := newBenchGuests(b, 16, 1, timeout.String())
	operator := operatorOf(c, "main")
	ask := func() time.Duration {
		began := time.Now()
		answers, err := operator.AskAround(context.Background(), "ping", nil)
		check.FatalIf(b, len(answers) != 15 || err == nil, len(answers), err)
		return time.Since(began)
	}
	var known time.Duration
	for range httpguest.BreakerFailures {
		known += ask()
	}
	b.ReportMetric(float64(known)/float64(httpguest.BreakerFailures*timeout), "x-timeout")
	measure.SideBySide(b,
		measure.Contender{Metric: "15-guests-ns/op", Against: 0, Do: c.ask("well", 15)},
		measure.Contender{Metric: "x-15-guests", Against: 0, Do: func() { ask() }},
	)
}
