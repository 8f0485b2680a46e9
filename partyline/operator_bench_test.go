// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/measure"
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
func (l benchLine) under(b *testing.B, services int) (*Partyline, *reference) {
	b.Helper()
	p := NewPartyline("bench", Options{})
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
// processors, with a context that can be cancelled.
func BenchmarkAskAround(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, line := range []benchLine{{guests: 1}, {guests: 4}, {guests: 16}, {guests: 64}, {guests: 16, declining: 16}} {
		name := fmt.Sprintf("guests=%d", line.guests)
		if line.declining > 0 {
			name += fmt.Sprintf(",declining=%d", line.declining)
		}
		b.Run(name, func(b *testing.B) {
			counted, ref := line.under(b, 1)
			among1000, _ := line.under(b, 1001)
			asking := func(ask func(context.Context, string, any) ([]any, error)) func() {
				return func() {
					if answers, err := ask(ctx, "ping", nil); err != nil || len(answers) != line.guests-line.declining {
						panic(fmt.Sprint(answers, err))
					}
				}
			}
			around := func(p *Partyline) func() { return asking(p.Operator("asker").AskAround) }
			measure.SideBySide(b,
				measure.Contender{Metric: "reference-ns/op", Against: 0, Do: asking(ref.askAround)},
				measure.Contender{Metric: "ns/op", Against: 1, Do: around(counted)},
				measure.Contender{Metric: "x-reference", Against: 0, Do: around(counted)},
				measure.Contender{Metric: "x-1000-services", Against: 1, Do: around(among1000)},
				measure.Contender{Metric: "x-parallel", Against: 1, Parallel: true, Do: around(counted)},
			)
		})
	}
}

// BenchmarkKeyed takes the only answer, by a key, of the first and the last of 100 guests that have 50 keys
// each. It is compared with that of a guest that is alone, and has none.
func BenchmarkKeyed(b *testing.B) {
	line, alone := keyedLine(), keyedLine()
	connect(b, alone.Operator("guest0"), "s", pong)
	for g := range 100 {
		keys := make(map[string]bool)
		for k := range 50 {
			keys[fmt.Sprint("guest", g, ":page", k)] = true
		}
		if err := line.Operator(fmt.Sprint("guest", g)).ConnectKeyed("s", func(key string) bool { return keys[key] }, pong); err != nil {
			b.Fatal(err)
		}
	}
	first := func(p *Partyline, key string) func() {
		operator := p.Operator("asker")
		return func() {
			if _, err := First[string](context.Background(), operator, "s", key); err != nil {
				panic(err)
			}
		}
	}
	measure.SideBySide(b,
		measure.Contender{Metric: "alone-ns/op", Against: 0, Do: first(alone, "guest0:page7")},
		measure.Contender{Metric: "ns/op", Against: 1, Do: first(line, "guest0:page7")},
		measure.Contender{Metric: "x-alone", Against: 0, Do: first(line, "guest0:page7")},
		measure.Contender{Metric: "x-100th", Against: 1, Do: first(line, "guest99:page7")},
	)
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
			counted, ref := c.line.under(b, 1)
			first := func(p *Partyline) func() {
				o := p.Operator(c.asker)
				return func() {
					if _, err := First[string](context.Background(), o, "ping", nil); err != nil {
						panic(err)
					}
				}
			}
			measure.SideBySide(b,
				measure.Contender{Metric: "reference-ns/op", Against: 0, Do: func() { ref.askAround(context.Background(), "ping", nil) }},
				measure.Contender{Metric: "ns/op", Against: 0, Do: first(counted)},
			)
		})
	}
}

// BenchmarkReplies ranges over 16 replies.
func BenchmarkReplies(b *testing.B) {
	line, ref := benchLine{guests: 16}.under(b, 1)
	operator := line.Operator("asker")
	measure.SideBySide(b,
		measure.Contender{Metric: "reference-ns/op", Against: 0, Do: func() { ref.askAround(context.Background(), "ping", nil) }},
		measure.Contender{Metric: "ns/op", Against: 1, Do: func() {
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
	measure.SideBySide(b, measure.Contender{Metric: "ns/op", Against: 0, Do: func() { operator.AskAround(context.Background(), "ping", nil) }})
}
