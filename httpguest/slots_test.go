// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/measure"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestOneAskerHasThreeQuartersOfTheSlots(t *testing.T) {
	for maxAsks, want := range map[int]int{1: 1, 2: 2, 3: 3, 4: 3, 5: 4, 8: 6, 64: 48, 65: 49, 4096: 3072} {
		check.Equal(t, newSlots(maxAsks, time.Second, nil).ofOne, want, "max_asks %d", maxAsks)
	}
}

// TestASlotIsGivenBackWhenTheFailureCounts and no sooner, also if the handlers have returned long before: an ask that
// waits for the slot would be sent to an application that does not answer.
func TestASlotIsGivenBackWhenTheFailureCounts(t *testing.T) {
	for _, holds := range []bool{false, true} {
		a := &application{slots: newSlots(1, time.Second, nil)}
		underWay := func() int { return a.slots.taken + a.slots.nested }
		opened := false
		a.logger = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(io.Discard), zap.WarnLevel), zap.Hooks(func(zapcore.Entry) error {
			opened = true
			check.Equal(t, underWay(), 1, "asks under way when the breaker opens")
			return nil
		}))
		for range breakerFailures {
			a.guarded("who", func(held *slot) (any, error) {
				if _, err := a.slots.acquire(t.Context(), held, "asker", holds); err != nil {
					return nil, err
				}
				held.done()
				return nil, &unreachableError{errors.New("no answer")}
			})
			check.Equal(t, underWay(), 0, "asks under way when one has ended")
		}
		check.ErrorIf(t, !opened, "the breaker did not open")
		a.guarded("who", func(*slot) (any, error) { panic("the service is not left alone") })
	}
}

// BenchmarkSlots takes slots and gives them back, while nobody waits.
func BenchmarkSlots(b *testing.B) {
	s := newSlots(defaultMaxAsks, time.Second, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	take := func() {
		held := new(slot)
		if _, err := s.acquire(ctx, held, "asker", false); err != nil {
			panic(err)
		}
		held.done()
		held.done()
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
		held := new(slot)
		if _, err := s.acquire(context.Background(), held, "asker", false); err != nil {
			panic(err)
		}
		held.done()
		held.done()
	}); n > 1 {
		t.Errorf("it allocates %v times", n)
	}
}
