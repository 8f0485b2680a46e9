// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestSoak has many goroutines ask, connect and leave while configs, good and
// broken, are loaded. No answer is lost or doubled or comes from another config,
// and memory and goroutines end where they began.
func TestSoak(t *testing.T) {
	const guests = 4
	var generation atomic.Int64 // of the config that is loading
	for g := range guests {
		name := fmt.Sprint("guest", g)
		partytest.Behave(t, name, func(caddy.Context) (partytest.ServeFunc, error) {
			own := generation.Load()
			var operator *wsgiparty.Operator
			return func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				if invited, ok := wsgiparty.OperatorFrom(r); ok {
					operator = invited
					return operator.Connect("generation", partytest.Answers(own))
				}
				answers, err := wsgiparty.All[int64](r.Context(), operator, "generation", nil)
				if err != nil {
					return err
				}
				return json.NewEncoder(w).Encode(append(answers, own))
			}, nil
		})
	}
	partytest.OnProvision(t, "broken", func(caddy.Context) error { return errors.New("oh no") })
	// One guest is always connected, through one replica after the other.
	var handover sync.Mutex
	replicas := make(map[*wsgiparty.Partyline]*wsgiparty.Operator)
	partytest.OnProvision(t, "replicated", func(ctx caddy.Context) error {
		operator := check.Value(wsgiparty.Join(ctx, "main", "replicated"))(t)
		handover.Lock()
		defer handover.Unlock()
		replicas[operator.Partyline()] = operator
		return operator.Connect("generation", partytest.Answers(generation.Load()))
	})
	c := partytest.NewCaddy(t)
	site := "ADDRESS {\nroute {\ntest_app replicated\nwsgi_party main {\n"
	for g := range guests {
		site += fmt.Sprintf("invite /guest%[1]d/__invite__/\ntest_app /guest%[1]d/* guest%[1]d\n", g)
	}
	good, broken := c.Adapt(site+"}\n}\n}"), c.Adapt(site+"}\ntest_app broken\n}\n}")
	load := func() {
		generation.Add(1)
		check.Nil(t, caddy.Load(good, true))
		generation.Add(1)
		check.Fails(t, caddy.Load(broken, true), "oh no")
	}
	load()
	memory := func() uint64 {
		partytest.ResetLog()
		var stats runtime.MemStats
		for range 3 {
			runtime.GC()
		}
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	for range 5 {
		load()
	}
	memoryBefore, goroutinesBefore := memory(), runtime.NumGoroutine()

	// expect fails the test unless the answers are one of each guest, all of one config.
	expect := func(who string, answers []int64) {
		check.ErrorIf(t, len(answers) != guests+1 || slices.Min(answers) != slices.Max(answers), "%s: %v, want %d of one config", who, answers, guests+1)
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	var asks, requests, handovers, loads atomic.Int64
	counts := map[string]*atomic.Int64{"asks": &asks, "requests": &requests, "connections": &handovers, "loads": &loads}
	var group sync.WaitGroup
	group.Go(func() { // five seconds, and longer where the machine is slow
		enough := time.After(5 * time.Second)
		select {
		case <-ctx.Done():
		case <-enough:
			for _, n := range counts {
				for n.Load() < 10 && ctx.Err() == nil && !t.Failed() {
					time.Sleep(10 * time.Millisecond)
				}
			}
			stop()
		}
	})
	forever := func(do func()) {
		group.Go(func() {
			for ctx.Err() == nil && !t.Failed() {
				do()
			}
		})
	}
	for range 4 {
		forever(func() {
			answers, err := wsgiparty.All[int64](context.Background(), operatorOf(c, "main"), "generation", nil)
			check.Nil(t, err)
			expect("ask", answers)
			asks.Add(1)
		})
	}
	for range 2 { // connect, hand over and leave, beside whatever is loaded meanwhile
		forever(func() {
			line := operatorOf(c, "main").Partyline()
			answer, err := wsgiparty.First[int64](context.Background(), line.Operator(""), "generation", nil)
			check.Nil(t, err)
			next := line.Operator("replicated")
			check.Nil(t, next.Connect("generation", partytest.Answers(answer)))
			handover.Lock()
			replicas[line].Leave()
			replicas[line] = next
			handover.Unlock()
			own := line.Operator("for a moment")
			check.Nil(t, own.Connect(fmt.Sprint("service", rand.IntN(100)), partytest.Pong))
			own.Leave()
			handovers.Add(1)
		})
	}
	for g := range 2 {
		path := fmt.Sprintf("/guest%d/", g)
		forever(func() {
			response, err := http.Get("http://" + c.Address + path)
			if err != nil {
				return // Caddy itself resets connections on reload
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				return
			}
			var answers []int64
			check.Nil(t, json.Unmarshal(body, &answers))
			expect(path, answers)
			requests.Add(1)
		})
	}
	forever(func() {
		load()
		loads.Add(1)
		partytest.ResetLog()
	})
	group.Wait()
	t.Logf("%d asks, %d requests, %d connections, %d times two loads", asks.Load(), requests.Load(), handovers.Load(), loads.Load())
	for name, n := range counts {
		check.ErrorIf(t, n.Load() < 10, "only %d %s", n.Load(), name)
	}

	clear(replicas)
	http.DefaultClient.CloseIdleConnections()
	partytest.Eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutinesBefore+2 })
	partytest.Eventually(t, "memory is free again", func() bool { return memory() < memoryBefore+2<<20 })
}
