// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package traffic_test

import (
	"fmt"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/measure"
	"github.com/wsgiparty/wsgiparty/internal/traffic"
)

// BenchmarkCount counts requests that all are of one kind, by one goroutine and by several,
// and a flood: of paths that are all different, and of such that come twice.
func BenchmarkCount(b *testing.B) {
	var m traffic.Meter
	path, claim := m.Guest("path"), m.Guest("claim")
	once, twice := m.Guest("once"), m.Guest("twice")
	paths := make([]string, 1<<16)
	for i := range paths {
		paths[i] = fmt.Sprintf("/%x/%x/x", i*7919, i)
	}
	n, t := 0, 0
	measure.SideBySide(b,
		measure.Contender{Metric: "claim-ns/op", Against: 0, Do: func() { claim.Count(200, "GET /invoices/{id}", "") }},
		measure.Contender{Metric: "parallel-x-one", Against: 3, Parallel: true, Do: func() { path.Count(200, "", "/invoices/7/lines") }},
		measure.Contender{Metric: "once-ns/op", Against: 2, Do: func() { once.Count(200, "", paths[n%len(paths)]); n++ }},
		measure.Contender{Metric: "path-ns/op", Against: 3, Do: func() { path.Count(200, "", "/invoices/7/lines") }},
		measure.Contender{Metric: "twice-ns/op", Against: 4, Do: func() { twice.Count(200, "", paths[t/2%len(paths)]); t++ }},
	)
}
