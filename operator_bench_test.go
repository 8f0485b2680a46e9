// Copyright 2026 The wsgi_party Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package wsgiparty

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// contender is one of several ways to do the same, to be measured side by side.
type contender struct {
	metric   string // the unit its figure is reported in
	against  int    // the contender it is a ratio to; itself for ns/op
	parallel bool
	do       func()
	minus    func() // if not nil, what do costs more is reported, in ns/op and allocs/op
}

// sideBySide runs the contenders in turns, so that a noisy machine is as noisy
// for one as for the other, and reports each as a ratio. The allocations are
// those of the last one.
func sideBySide(b *testing.B, contenders ...contender) {
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
			if c.minus != nil {
				for range 4 { // each twice, so that it is the same to be first and to be last
					before, more, again, after := take(c.minus), take(c.do), take(c.do), take(c.minus)
					differences[i] = append(differences[i], more+again-before-after)
				}
				continue
			}
			if c.parallel {
				began := time.Now()
				var group sync.WaitGroup
				for range runtime.GOMAXPROCS(0) {
					group.Go(func() {
						for range turn * 50 / runtime.GOMAXPROCS(0) {
							c.do()
						}
					})
				}
				group.Wait()
				times[i] += time.Since(began) / 50
				continue
			}
			times[i] += take(c.do)
		}
	}
	turns := (b.N + turn - 1) / turn
	for i, c := range contenders {
		if c.minus != nil {
			slices.Sort(differences[i])
			median := differences[i][len(differences[i])/2] // the mean is made by the few that something interrupted
			b.ReportMetric(float64(median)/(2*turn), c.metric+"-ns/op")
			b.ReportMetric(testing.AllocsPerRun(100, c.do)-testing.AllocsPerRun(100, c.minus), c.metric+"-allocs/op")
		} else if c.against == i {
			b.ReportMetric(float64(times[i])/float64(turns*turn), c.metric)
		} else {
			b.ReportMetric(float64(times[i])/float64(times[c.against]), c.metric)
		}
	}
	b.ReportMetric(testing.AllocsPerRun(100, contenders[len(contenders)-1].do), "allocs")
}

// reference is the least that asking around could do: one atomic load of a map
// snapshot, a lookup, and a loop appending to a slice of the exact size.
type reference struct {
	services atomic.Pointer[map[string][]Handler]
}

func (r *reference) askAround(ctx context.Context, service string, payload any) ([]any, error) {
	handlers, ok := (*r.services.Load())[service]
	if !ok {
		return nil, &NoSuchServiceError{Service: service}
	}
	answers := make([]any, 0, len(handlers))
	for _, h := range handlers {
		answer, err := h(ctx, payload)
		if err != nil {
			if err == ErrHighAndDry {
				continue
			}
			return nil, err
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

func pong(context.Context, any) (any, error) { return "pong", nil }

// benchLine is a number of guests, of which the first decline.
type benchLine struct{ guests, declining int }

// under connects the same guests under the same services to a partyline, and to a
// reference. One service is ping.
func (l benchLine) under(b *testing.B, services int, ledger *ledger) (*Partyline, *reference) {
	b.Helper()
	p := newPartyline("bench", Options{}, ledger)
	snapshot := make(map[string][]Handler)
	for s := range services {
		name := "ping"
		if s > 0 {
			name = fmt.Sprint("other", s)
		}
		for g := range l.guests {
			h := pong
			if g < l.declining {
				h = failWith(ErrHighAndDry)
			}
			connect(b, p.Operator(fmt.Sprint("guest", g)), name, h)
			snapshot[name] = append(snapshot[name], h)
		}
	}
	r := new(reference)
	r.services.Store(&snapshot)
	return p, r
}

// BenchmarkAskAround asks 1, 4, 16 and 64 guests, and 16 that decline, with nothing
// else connected and with 1000 other services, from one goroutine and from all
// processors, with a context that can be cancelled. What counting costs is the
// difference to a partyline without a ledger, which notes what came of each handler
// all the same: that part is in uncounted-ns/op.
func BenchmarkAskAround(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, line := range []benchLine{{guests: 1}, {guests: 4}, {guests: 16}, {guests: 64}, {guests: 16, declining: 16}} {
		name := fmt.Sprintf("guests=%d", line.guests)
		if line.declining > 0 {
			name += fmt.Sprintf(",declining=%d", line.declining)
		}
		b.Run(name, func(b *testing.B) {
			counted, ref := line.under(b, 1, new(ledger))
			uncounted, _ := line.under(b, 1, nil)
			among1000, _ := line.under(b, 1001, new(ledger))
			asking := func(ask func(context.Context, string, any) ([]any, error)) func() {
				return func() {
					if answers, err := ask(ctx, "ping", nil); err != nil || len(answers) != line.guests-line.declining {
						panic(fmt.Sprint(answers, err))
					}
				}
			}
			around := func(p *Partyline) func() { return asking(p.Operator("asker").AskAround) }
			sideBySide(b,
				contender{metric: "reference-ns/op", against: 0, do: asking(ref.askAround)},
				contender{metric: "ns/op", against: 1, do: around(counted)},
				contender{metric: "x-reference", against: 0, do: around(counted)},
				contender{metric: "uncounted-ns/op", against: 3, do: around(uncounted)},
				contender{metric: "counting", do: around(counted), minus: around(uncounted)},
				contender{metric: "x-1000-services", against: 2, do: around(among1000)},
				contender{metric: "x-parallel", against: 1, parallel: true, do: around(counted)},
			)
		})
	}
}

// BenchmarkFirst takes the first of 16 answers, asked for by somebody else and by
// the first of the guests, and the only one, of the last.
func BenchmarkFirst(b *testing.B) {
	for _, c := range []struct {
		name, asker string
		line        benchLine
	}{
		{"guests=16", "asker", benchLine{guests: 16}},
		{"guests=16,asker=guest", "guest0", benchLine{guests: 16}},
		{"guests=16,declining=15", "asker", benchLine{guests: 16, declining: 15}},
	} {
		b.Run(c.name, func(b *testing.B) {
			counted, ref := c.line.under(b, 1, new(ledger))
			uncounted, _ := c.line.under(b, 1, nil)
			first := func(p *Partyline) func() {
				o := p.Operator(c.asker)
				return func() {
					if _, err := First[string](context.Background(), o, "ping", nil); err != nil {
						panic(err)
					}
				}
			}
			sideBySide(b,
				contender{metric: "reference-ns/op", against: 0, do: func() { ref.askAround(context.Background(), "ping", nil) }},
				contender{metric: "uncounted-ns/op", against: 1, do: first(uncounted)},
				contender{metric: "counting", do: first(counted), minus: first(uncounted)},
				contender{metric: "ns/op", against: 3, do: first(counted)},
			)
		})
	}
}

// BenchmarkReplies ranges over 16 replies.
func BenchmarkReplies(b *testing.B) {
	line, ref := benchLine{guests: 16}.under(b, 1, new(ledger))
	operator := line.Operator("asker")
	sideBySide(b,
		contender{metric: "reference-ns/op", against: 0, do: func() { ref.askAround(context.Background(), "ping", nil) }},
		contender{metric: "ns/op", against: 1, do: func() {
			for reply := range operator.Replies(context.Background(), "ping", nil) {
				if reply.Err != nil {
					panic(reply.Err)
				}
			}
		}},
	)
}

// BenchmarkMissing asks for what nobody is connected under.
func BenchmarkMissing(b *testing.B) {
	operator := NewPartyline("bench", Options{IgnoreMissingServices: true}).Operator("asker")
	sideBySide(b, contender{metric: "ns/op", against: 0, do: func() { operator.AskAround(context.Background(), "ping", nil) }})
}
