// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestAsksAreCountedByAsker(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("shop"), "price", pong)
	connect(t, p.Operator("shop"), "stock", failWith(ErrHighAndDry))
	connect(t, p.Operator("wiki"), "price", failWith(ErrHighAndDry))
	check.Slices(t, p.Askers(), []AskerCount{})
	ask := func(o *Operator, service string, times int) {
		for range times {
			_, _ = o.AskAround(context.Background(), service, nil)
		}
	}
	ask(p.Operator("blog"), "price", 3)
	ask(p.Operator("blog").Only("shop"), "price", 1)
	ask(p.Operator("blog").Local(), "stock", 2)
	ask(p.Operator("shop"), "price", 5)
	ask(p.Operator(""), "stock", 4)
	ask(p.Operator("blog"), "nothing", 1)
	check.Slices(t, p.Askers(), []AskerCount{{"", "stock", 4}, {"blog", "price", 4}, {"blog", "stock", 2}, {"shop", "price", 5}})
	asks, replies := p.Counts()
	check.Slices(t, asks, []AskCount{{"price", 9}, {"stock", 6}})
	check.Slices(t, []uint64{replies[0].Asked, replies[1].Asked, replies[2].Asked}, []uint64{4, 6, 8})

	p.options.Counts.Forget("blog")
	check.Slices(t, p.Askers(), []AskerCount{{"", "price", 4}, {"", "stock", 6}, {"shop", "price", 5}})
	asks, _ = p.Counts()
	check.Slices(t, asks, []AskCount{{"price", 9}, {"stock", 6}})
}

// TestNoAskIsLostBetweenAskers has guests ask for the first time, from all sides, while others connect and
// somebody reads.
func TestNoAskIsLostBetweenAskers(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("host"), "s", pong)
	const askers, each = 16, 500
	var asking, reading sync.WaitGroup
	done := make(chan struct{})
	reading.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
				p.Askers()
				o := p.Operator(fmt.Sprint("late", i))
				connect(t, o, "s", pong)
				o.Leave()
			}
		}
	})
	for i := range 2 * askers {
		asking.Go(func() {
			for range each {
				if _, err := p.Operator(fmt.Sprint("asker", i%askers)).AskAround(context.Background(), "s", nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	asking.Wait()
	close(done)
	reading.Wait()
	counts := p.Askers()
	check.Equal(t, len(counts), askers)
	for _, c := range counts {
		check.Equal(t, c.Asks, uint64(2*each), c.Guest)
	}
	asks, replies := p.Counts()
	check.Slices(t, asks, []AskCount{{"s", 2 * askers * each}})
	check.Equal(t, replies[0].Asked, uint64(2*askers*each))
}

func TestAskersBeyondTheLimitAreCountedTogether(t *testing.T) {
	counts := new(Counts)
	p := NewPartyline("main", Options{Counts: counts})
	connect(t, p.Operator("host"), "s", pong)
	ask := func(guest string) {
		_, _ = p.Operator(guest).AskAround(context.Background(), "s", nil)
	}
	for i := range maxPairs + 10 {
		ask(fmt.Sprint("asker", i))
	}
	askers := p.Askers()
	check.Equal(t, len(askers), maxPairs+1)
	check.Equal(t, askers[0], AskerCount{"", "s", 10})
	counts.Forget("asker7")
	ask("another")
	check.Slices(t, p.Askers()[:2], []AskerCount{{"", "s", 11}, {"another", "s", 1}})
}

func TestCountingAskersAllocatesNothing(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("host"), "s", pong)
	asker, nobody := p.Operator("asker"), p.Operator("")
	ask := func(o *Operator) func() {
		return func() { _, _ = o.AskAround(context.Background(), "s", nil) }
	}
	ask(asker)()
	check.Equal(t, testing.AllocsPerRun(100, ask(asker)), testing.AllocsPerRun(100, ask(nobody)))
	check.Equal(t, testing.AllocsPerRun(100, ask(asker)), 1.0)
}
