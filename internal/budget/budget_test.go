// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package budget

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestTakeAndGive(t *testing.T) {
	b := New(10)
	for _, step := range []struct {
		n    int
		want bool
	}{{4, true}, {7, false}, {6, true}, {0, true}, {1, false}} {
		if got := b.Take(step.n); got != step.want {
			t.Errorf("taking %d: %v", step.n, got)
		}
	}
	b.Give(3)
	if b.Take(4) || !b.Take(3) {
		t.Error("after giving back 3")
	}
	b.Raise(5)
	if b.Total() != 10 || b.Take(1) {
		t.Error("raised to less")
	}
	b.Raise(12)
	if b.Total() != 12 || b.Take(3) || !b.Take(2) {
		t.Error("raised to 12")
	}
}

func TestNoMoreIsTakenThanThereIs(t *testing.T) {
	b := New(1000)
	var taken atomic.Int64
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 1000 {
				if n := 1 + i; b.Take(n) {
					taken.Add(int64(n))
					if i%2 == 0 {
						taken.Add(int64(-n))
						b.Give(n)
					}
				}
				if b.used.Load() > 1000 {
					t.Error("more is used")
				}
			}
		})
	}
	group.Wait()
	if taken.Load() != b.used.Load() || taken.Load() > 1000 {
		t.Errorf("%d taken, %d used", taken.Load(), b.used.Load())
	}
}
