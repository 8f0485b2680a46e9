// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/measure"
)

// BenchmarkDirect asks applications directly. The reference is a keep-alive request to one of them.
func BenchmarkDirect(b *testing.B) {
	c := newBenchGuests(b, 16, 0, "10s", "direct UPSTREAM")
	plain := post("http://"+c.plain+"/ping", "", "null")
	endpoint := post("http://"+c.askAddress+"/ping1", fmt.Sprintf("%032d", 0), "null")
	many := func(n int, do func()) func() {
		return func() {
			var all sync.WaitGroup
			for range n {
				all.Go(do)
			}
			all.Wait()
		}
	}
	measure.SideBySide(b,
		measure.Contender{Metric: "plain-ns/op", Against: 0, Do: plain},
		measure.Contender{Metric: "ns/op", Against: 1, Do: c.ask("ping0", 1)},
		measure.Contender{Metric: "x-plain", Against: 0, Do: c.ask("ping0", 1)},
		measure.Contender{Metric: "endpoint-x-plain", Against: 0, Do: endpoint},
		measure.Contender{Metric: "16-plain-x-plain", Against: 0, Do: many(16, plain)},
		measure.Contender{Metric: "16-guests-x-16-plain", Against: 4, Do: c.ask("ping", 16)},
		measure.Contender{Metric: "16-endpoint-x-16-plain", Against: 4, Do: many(16, endpoint)},
		measure.Contender{Metric: "16-guests-endpoint-x-16-plain", Against: 4, Do: post("http://"+c.askAddress+"/ping", fmt.Sprintf("%032d", 0), "null")},
	)
}
