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
	for done := 0; done < b.N; done += turn {
		for i, c := range contenders {
			began := time.Now()
			if c.parallel {
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
			for range turn {
				c.do()
			}
			times[i] += time.Since(began)
		}
	}
	turns := (b.N + turn - 1) / turn
	for i, c := range contenders {
		if c.against == i {
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
			return nil, err
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

func pong(context.Context, any) (any, error) { return "pong", nil }

// newBenchLine returns the same guests under the same services as a partyline,
// with an operator of another guest, and as a reference. One service is ping.
func newBenchLine(b *testing.B, guests, services int, ledger *ledger) (*Operator, *reference) {
	b.Helper()
	p := newPartyline("bench", Options{}, ledger)
	snapshot := make(map[string][]Handler)
	for s := range services {
		name := "ping"
		if s > 0 {
			name = fmt.Sprint("other", s)
		}
		for g := range guests {
			if err := p.Operator(fmt.Sprint("guest", g)).Connect(name, pong); err != nil {
				b.Fatal(err)
			}
			snapshot[name] = append(snapshot[name], pong)
		}
	}
	r := new(reference)
	r.services.Store(&snapshot)
	return p.Operator("asker"), r
}

// BenchmarkAskAround asks 1, 4, 16 and 64 guests, with nothing else connected and
// with 1000 other services, from one goroutine and from all processors, with a
// context that can be cancelled.
func BenchmarkAskAround(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, guests := range []int{1, 4, 16, 64} {
		b.Run(fmt.Sprintf("guests=%d", guests), func(b *testing.B) {
			operator, ref := newBenchLine(b, guests, 1, new(ledger))
			uncounted, _ := newBenchLine(b, guests, 1, nil)
			among1000, _ := newBenchLine(b, guests, 1001, new(ledger))
			asking := func(ask func(context.Context, string, any) ([]any, error)) func() {
				return func() {
					if answers, err := ask(ctx, "ping", nil); err != nil || len(answers) != guests {
						panic(fmt.Sprint(answers, err))
					}
				}
			}
			sideBySide(b,
				contender{metric: "reference-ns/op", against: 0, do: asking(ref.askAround)},
				contender{metric: "ns/op", against: 1, do: asking(operator.AskAround)},
				contender{metric: "x-reference", against: 0, do: asking(operator.AskAround)},
				contender{metric: "uncounted-ns/op", against: 3, do: asking(uncounted.AskAround)},
				contender{metric: "x-1000-services", against: 2, do: asking(among1000.AskAround)},
				contender{metric: "x-parallel", against: 1, parallel: true, do: asking(operator.AskAround)},
			)
		})
	}
}

// BenchmarkFirst takes the first of 16 answers.
func BenchmarkFirst(b *testing.B) {
	operator, ref := newBenchLine(b, 16, 1, new(ledger))
	sideBySide(b,
		contender{metric: "reference-ns/op", against: 0, do: func() { ref.askAround(context.Background(), "ping", nil) }},
		contender{metric: "ns/op", against: 1, do: func() { First[string](context.Background(), operator, "ping", nil) }},
	)
}

// BenchmarkReplies ranges over 16 replies.
func BenchmarkReplies(b *testing.B) {
	operator, ref := newBenchLine(b, 16, 1, new(ledger))
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
