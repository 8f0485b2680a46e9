// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package measure lets tests and benchmarks compare ways to do the same in one run.
package measure

import (
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"
)

// TakesAtMost fails the test if what is measured takes more than so many times as long
// as the reference. Both are measured in turns, and the least of each counts: whatever
// else the machine does makes them longer, and never shorter.
func TakesAtMost(t testing.TB, times float64, reference, measured func() time.Duration) {
	t.Helper()
	leastReference, least := reference(), measured()
	for began, turns := time.Now(), 0; turns < 30 || time.Since(began) < 20*time.Second; turns++ { // on a busy machine
		if float64(least) <= times*float64(leastReference) {
			break
		}
		leastReference, least = min(leastReference, reference()), min(least, measured())
	}
	ratio := float64(least) / float64(leastReference)
	t.Logf("%v, %.2f times as long as %v", least, ratio, leastReference)
	if ratio > times {
		t.Errorf("it takes %v, %.2f times as long as %v, which may be %v times", least, ratio, leastReference, times)
	}
}

// Contender is one of several ways to do the same, to be measured side by side.
type Contender struct {
	Metric   string // the unit its figure is reported in
	Against  int    // the Contender it is a ratio to; itself for ns/op
	Parallel bool
	Do       func()
	Minus    func() // if not nil, what do costs more is reported, in ns/op and allocs/op
}

// SideBySide runs the contenders in turns, so that a noisy machine is as noisy
// for one as for the other, and reports each as a ratio. The allocations are
// those of the last one.
func SideBySide(b *testing.B, contenders ...Contender) {
	b.Helper()
	heap := make([]byte, 16<<20) // about a running Caddy's, or the garbage collector would run all the time
	defer runtime.KeepAlive(heap)
	const turn = 200
	times := make([]time.Duration, len(contenders))
	differences := make([][]time.Duration, len(contenders))
	take := func(do func()) time.Duration {
		began := time.Now()
		for range turn {
			do()
		}
		return time.Since(began)
	}
	for done := 0; done < b.N; done += turn {
		for i, c := range contenders {
			if c.Minus != nil {
				for range 4 { // each twice, so that it is the same to be first and to be last
					before, more, again, after := take(c.Minus), take(c.Do), take(c.Do), take(c.Minus)
					differences[i] = append(differences[i], more+again-before-after)
				}
				continue
			}
			if c.Parallel {
				began := time.Now()
				var group sync.WaitGroup
				for range runtime.GOMAXPROCS(0) {
					group.Go(func() {
						for range turn * 50 / runtime.GOMAXPROCS(0) {
							c.Do()
						}
					})
				}
				group.Wait()
				times[i] += time.Since(began) / 50
				continue
			}
			times[i] += take(c.Do)
		}
	}
	turns := (b.N + turn - 1) / turn
	for i, c := range contenders {
		if c.Minus != nil {
			slices.Sort(differences[i])
			median := differences[i][len(differences[i])/2] // the mean is made by the few that something interrupted
			b.ReportMetric(float64(median)/(2*turn), c.Metric+"-ns/op")
			b.ReportMetric(testing.AllocsPerRun(100, c.Do)-testing.AllocsPerRun(100, c.Minus), c.Metric+"-allocs/op")
		} else if c.Against == i {
			b.ReportMetric(float64(times[i])/float64(turns*turn), c.Metric)
		} else {
			b.ReportMetric(float64(times[i])/float64(times[c.Against]), c.Metric)
		}
	}
	b.ReportMetric(testing.AllocsPerRun(100, contenders[len(contenders)-1].Do), "allocs")
}

// UnderRaceDetector says whether the test was built with -race.
func UnderRaceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
