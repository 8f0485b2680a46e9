// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"context"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/measure"
)

func TestOneAskerHasThreeQuartersOfTheSlots(t *testing.T) {
	for maxAsks, want := range map[int]int{1: 1, 2: 2, 3: 3, 4: 3, 5: 4, 8: 6, 64: 48, 65: 49, 4096: 3072} {
		check.Equal(t, newSlots(maxAsks, time.Second, nil).ofOne, want, "max_asks %d", maxAsks)
	}
}

// BenchmarkSlots takes slots and gives them back, while nobody waits.
func BenchmarkSlots(b *testing.B) {
	s := newSlots(defaultMaxAsks, time.Second, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	take := func() {
		release, _, err := s.acquire(ctx, "asker", false)
		if err != nil {
			panic(err)
		}
		release()
	}
	measure.SideBySide(b,
		measure.Contender{Metric: "ns/op", Against: 0, Do: take},
		measure.Contender{Metric: "parallel-ns/op", Against: 1, Parallel: true, Do: take},
		measure.Contender{Metric: "x-parallel", Against: 0, Parallel: true, Do: take},
	)
}

func TestTakingASlotAllocatesOnceAtMost(t *testing.T) {
	s := newSlots(defaultMaxAsks, time.Second, nil)
	if n := testing.AllocsPerRun(1000, func() {
		release, _, err := s.acquire(context.Background(), "asker", false)
		if err != nil {
			panic(err)
		}
		release()
	}); n > 1 {
		t.Errorf("it allocates %v times", n)
	}
}
