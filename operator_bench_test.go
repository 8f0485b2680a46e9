package wsgiparty

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
)

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

// BenchmarkAskAround asks 1, 4, 16 and 64 guests, with 1 and with 1000 other
// services connected, from one goroutine and from all processors, beside the
// same with the reference.
func BenchmarkAskAround(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, guests := range []int{1, 4, 16, 64} {
		// Both lines are there from the start, so that both pay for the same heap.
		var lines []benchLine
		for _, services := range []int{1, 1001} {
			lines = append(lines, newBenchLine(b, guests, services))
		}
		for _, l := range lines {
			for _, c := range []struct {
				name string
				ask  func(context.Context, string, any) ([]any, error)
			}{{"reference", l.reference.askAround}, {"partyline", l.asker.AskAround}} {
				name := fmt.Sprintf("guests=%d/services=%d", guests, l.services)
				b.Run(name+"/serial/"+c.name, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if answers, err := c.ask(ctx, "ping", 1); err != nil || len(answers) != guests {
							b.Fatal(answers, err)
						}
					}
				})
				b.Run(name+"/parallel/"+c.name, func(b *testing.B) {
					b.ReportAllocs()
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							if answers, err := c.ask(ctx, "ping", 1); err != nil || len(answers) != guests {
								b.Error(answers, err)
								return
							}
						}
					})
				})
			}
		}
	}
}

type benchLine struct {
	services  int
	reference *reference
	asker     *Operator
}

func newBenchLine(b *testing.B, guests, services int) benchLine {
	p := NewPartyline("bench", Options{})
	snapshot := make(map[string][]Handler)
	for s := range services {
		name := fmt.Sprintf("other%d", s)
		if s == 0 {
			name = "ping"
		}
		for g := range guests {
			if err := p.Operator(fmt.Sprintf("guest%d", g)).Connect(name, pong); err != nil {
				b.Fatal(err)
			}
			snapshot[name] = append(snapshot[name], pong)
		}
	}
	r := new(reference)
	r.services.Store(&snapshot)
	return benchLine{services, r, p.Operator("asker")}
}

func BenchmarkOther(b *testing.B) {
	p := NewPartyline("bench", Options{IgnoreMissingServices: true})
	for g := range 16 {
		p.Operator(fmt.Sprintf("guest%d", g)).Connect("ping", pong)
	}
	asker := p.Operator("asker")
	b.Run("missing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			asker.AskAround(context.Background(), "nothing", 1)
		}
	})
	b.Run("First", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			First[string](context.Background(), asker, "ping", 1)
		}
	})
	b.Run("Replies", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			for range asker.Replies(context.Background(), "ping", 1) {
				n++
			}
		}
	})
	b.Run("ReplyUsed", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			for r := range asker.Replies(context.Background(), "ping", 1) {
				if r.Err == nil {
					n++
				}
			}
		}
	})
}
