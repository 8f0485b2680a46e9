// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Interleaved measuring: contenders take turns, so that whatever else the machine does is as bad for one as for the other.

package main

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A contender is one way to do a row's work.
type contender struct {
	name string
	// run does the work so many times, and returns how long that took.
	run func(times int) (time.Duration, error)
}

// ours is who a row is about, if there is no other way to do its work.
const ours = "the party"

// A comparison is of one contender with another, of which it may take at most so many times as long.
type comparison struct {
	of, with string
	goal     float64 // none if 0
}

// A row is one kind of work, and who does it.
type row struct {
	work        string
	contenders  []contender
	comparisons []comparison
	// remark says what else there is to see when all are warm, if it is not nil.
	remark func() (string, error)
}

// A figure is how many times as long as its peer a contender takes.
type figure struct {
	row
	comparison
	median, least, most float64
	each                time.Duration // what the contender takes, of use only beside others of this run
	seen                string        // the row's remark
}

type settings struct {
	rounds int           // of which the median counts
	turns  int           // of each contender in a round
	turn   time.Duration // about as long as one takes
}

// measure has the row's contenders do their work in turns, and compares them round by round.
func (s settings) measure(r row) ([]figure, error) {
	times := make([]int, len(r.contenders))
	for i, c := range r.contenders {
		n, err := s.fit(c)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", r.work, c.name, err)
		}
		times[i] = n
	}
	took := make(map[string][]float64) // nanoseconds, by round
	for range s.rounds {
		totals := make([]time.Duration, len(r.contenders))
		for turn := range s.turns {
			for i := range r.contenders {
				if turn%2 == 1 { // each follows each
					i = len(r.contenders) - 1 - i
				}
				d, err := r.contenders[i].run(times[i])
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", r.work, r.contenders[i].name, err)
				}
				totals[i] += d
			}
		}
		for i, c := range r.contenders {
			took[c.name] = append(took[c.name], float64(totals[i])/float64(s.turns*times[i]))
		}
	}
	var remark string
	if r.remark != nil {
		var err error
		if remark, err = r.remark(); err != nil {
			return nil, fmt.Errorf("%s: %w", r.work, err)
		}
	}
	var figures []figure
	for _, c := range r.comparisons {
		of, with := took[c.of], took[c.with]
		if of == nil || with == nil {
			return nil, fmt.Errorf("%s: nobody is called %q or %q", r.work, c.of, c.with)
		}
		ratios := make([]float64, s.rounds)
		for i := range ratios {
			ratios[i] = of[i] / with[i]
		}
		slices.Sort(ratios)
		figures = append(figures, figure{r, c, median(ratios), ratios[0], ratios[len(ratios)-1], time.Duration(median(of)), remark})
	}
	return figures, nil
}

// fit warms a contender up, and returns how often it does its work in a turn.
func (s settings) fit(c contender) (int, error) {
	for times := 16; ; times *= 2 {
		d, err := c.run(times)
		if err != nil {
			return 0, err
		}
		if d > s.turn/2 {
			return max(1, int(float64(times)*float64(s.turn)/float64(d))), nil
		}
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// by returns a contender of so many askers that do something at the same time.
func by(askers int, name string, do func() error) contender {
	return contender{name, func(times int) (time.Duration, error) {
		var left atomic.Int64
		left.Store(int64(times))
		var failed atomic.Value
		var all sync.WaitGroup
		began := time.Now()
		for range askers {
			all.Go(func() {
				for left.Add(-1) >= 0 {
					if err := do(); err != nil {
						failed.Store(err)
						return
					}
				}
			})
		}
		all.Wait()
		took := time.Since(began)
		err, _ := failed.Load().(error)
		return took, err
	}}
}
