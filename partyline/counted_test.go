// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestOnlyServicesConnectedNowAreInCountsInOrder(t *testing.T) {
	p := NewPartyline("main", Options{})
	if asks, replies := p.Counts(); asks == nil || replies == nil || len(asks)+len(replies) > 0 {
		t.Errorf("nobody: got %#v, %#v", asks, replies)
	}
	a, b := p.Operator("a"), p.Operator("b")
	for _, service := range []string{"z", "m", "a"} {
		connect(t, b, service, pong)
		connect(t, a, service, pong)
	}
	connect(t, a, "only a's", pong)
	anyone := p.Operator("")
	anyone.AskAround(t.Context(), "m", nil)
	anyone.AskAround(t.Context(), "only a's", nil)
	wantFigures(t, p, "a 0, m 1, only a's 1, z 0, "+
		"a/a 0 0 0 0, a/m 1 1 0 0, a/only a's 1 1 0 0, a/z 0 0 0 0, b/a 0 0 0 0, b/m 1 1 0 0, b/z 0 0 0 0")
	a.Leave()
	wantFigures(t, p, "a 0, m 1, z 0, b/a 0 0 0 0, b/m 1 1 0 0, b/z 0 0 0 0")
	anyone.AskAround(t.Context(), "m", nil)
	b.Leave()
	if asks, replies := p.Counts(); asks == nil || replies == nil || len(asks)+len(replies) > 0 {
		t.Errorf("nobody any more: got %#v, %#v", asks, replies)
	}

	// Who comes back goes on.
	connect(t, p.Operator("a"), "only a's", pong)
	wantFigures(t, p, "only a's 1, a/only a's 1 1 0 0")
	connect(t, p.Operator("a"), "m", failWith(fs.ErrExist))
	connect(t, p.Operator("c"), "m", pong)
	anyone.AskAround(t.Context(), "m", nil)
	wantFigures(t, p, "m 3, only a's 1, a/m 2 1 0 1, a/only a's 1 1 0 0, c/m 1 1 0 0")
}

func TestReplicasAreCountedTogether(t *testing.T) {
	p := NewPartyline("main", Options{})
	first, second := p.Operator("a"), p.Operator("a")
	connect(t, first, "s", pong)
	connect(t, second, "s", failWith(ErrHighAndDry))
	anyone := p.Operator("")
	anyone.AskAround(t.Context(), "s", nil)
	first.Leave()
	anyone.AskAround(t.Context(), "s", nil)
	wantFigures(t, p, "s 2, a/s 2 1 1 0")
}

func TestPartylinesThatFollowEachOtherAreCountedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counts := new(Counts)
		before, after := NewPartyline("main", Options{Counts: counts}), NewPartyline("main", Options{Counts: counts})
		other := NewPartyline("main", Options{})
		for _, p := range []*Partyline{before, after, other} {
			connect(t, p.Operator("a"), "s", pong)
			connect(t, p.Operator("b"), "s", failWith(fs.ErrExist))
			connectRemote(t, p.Operator("c"), "s", func(context.Context, any) (any, error) { time.Sleep(time.Second); return nil, nil })
		}
		connect(t, before.Operator("a"), "gone", pong)
		connect(t, after.Operator("d"), "s", pong)
		before.Operator("").AskAround(t.Context(), "s", nil)
		before.Operator("").AskAround(t.Context(), "gone", nil)
		after.Operator("").AskAround(t.Context(), "s", nil)
		before.Operator("").AskAround(t.Context(), "s", nil) // asks in flight finish where they began
		wantFigures(t, before, "gone 1, s 3, a/gone 1 1 0 0, a/s 3 3 0 0, b/s 3 0 0 3, c/s 3 3 0 0")
		wantFigures(t, after, "s 3, a/s 3 3 0 0, b/s 3 0 0 3, c/s 3 3 0 0, d/s 1 1 0 0")
		got := repliesOf(t, after, "c", "s").Durations
		check.ErrorIf(t, got.Count != 3 || got.Sum != 3*time.Second, "counted %+v", got)
		check.Equal(t, repliesOf(t, before, "b", "s").LastFailure, repliesOf(t, after, "b", "s").LastFailure, "not the same last failure")
		wantFigures(t, other, "s 0, a/s 0 0 0 0, b/s 0 0 0 0, c/s 0 0 0 0")
		later := NewPartyline("main", Options{Counts: counts})
		connect(t, later.Operator("a"), "s", pong)
		wantFigures(t, later, "s 3, a/s 3 3 0 0")
	})
}

func TestAGuestThatIsGoneIsForgotten(t *testing.T) {
	counts := new(Counts)
	ask := func(services string, guests ...string) *Partyline {
		p := NewPartyline("main", Options{Counts: counts})
		for _, guest := range guests {
			for _, service := range strings.Fields(services) {
				connect(t, p.Operator(guest), service, pong)
			}
		}
		for _, service := range strings.Fields(services) {
			p.Operator("").AskAround(t.Context(), service, nil)
		}
		return p
	}
	ask("s", "a", "b")
	ask("only_as", "a")
	counts.Forget("a")
	wantFigures(t, ask("s only_as", "a", "b"), "only_as 1, s 2, a/only_as 1 1 0 0, a/s 1 1 0 0, b/only_as 1 1 0 0, b/s 2 2 0 0")
}

func TestServicesBeyond512AreCountedTogether(t *testing.T) {
	const services = maxCountedServices + 88
	p := NewPartyline("main", Options{})
	many, anyone := p.Operator("many"), p.Operator("")
	name := func(i int) string { return fmt.Sprintf("%04d", i) }
	connect(t, p.Operator("early"), name(550), pong)
	for i := range services {
		connect(t, many, name(i), pong)
		connect(t, many, name(i), failWith(ErrHighAndDry)) // a second handler is no second service
	}
	for _, i := range []int{3, 520, 530, 550} {
		connect(t, p.Operator("late"), name(i), pong)
	}
	for i := range services {
		for range i/400 + 1 {
			check.Value(anyone.AskAround(t.Context(), name(i), nil))(t)
		}
	}
	asks, replies := p.Counts()
	total := uint64(0)
	for i, c := range asks {
		total += c.Asks
		want := AskCount{name(i), uint64(i/400) + 1}
		switch i {
		case maxCountedServices:
			want = AskCount{name(550), 2} // somebody's service of its own
		case maxCountedServices + 1:
			want = AskCount{otherServices, 2 * 87}
		}
		check.Equal(t, c, want, "counted")
	}
	check.ErrorIf(t, len(asks) != maxCountedServices+2 || total != services+200, "%d asks for %d services", total, len(asks))
	got := make(map[string]int)
	for _, c := range replies {
		got[c.Guest]++
		want := uint64(1)
		if c.Service >= name(400) {
			want = 2
		}
		if c.Guest == "many" && c.Service == otherServices {
			want = 2 * 88
		}
		declined := uint64(0)
		if c.Guest == "many" {
			declined = want
		}
		check.ErrorIf(t, c.Asked != want+declined || c.Answered != want || c.Declined != declined || c.Failed != 0, "counted %+v", c)
	}
	check.Deep(t, got, map[string]int{"early": 1, "late": 4, "many": maxCountedServices + 1}, "services counted")

	// Who has left was there all the same.
	many.Leave()
	renewed := p.Operator("many")
	connect(t, renewed, "new", pong)
	connect(t, renewed, name(0), pong)
	wantAnswers(t, anyone, "new", "pong")
	wantAnswers(t, anyone, name(0), "pong")
	check.Equal(t, repliesOf(t, p, "many", otherServices).Answered, 2*88+1, "counted")
	check.Equal(t, repliesOf(t, p, "many", name(0)).Answered, 2, "counted")
}

func TestAServiceCountedByItselfStaysSo(t *testing.T) {
	p := NewPartyline("main", Options{})
	early, anyone := p.Operator("early"), p.Operator("")
	connect(t, early, "s", pong)
	wantAnswers(t, anyone, "s", "pong")
	early.Leave()
	many := p.Operator("many")
	for i := range maxCountedServices {
		connect(t, many, fmt.Sprint(i), pong)
	}
	connect(t, many, "s", pong) // one too many for this guest
	wantAnswers(t, anyone, "s", "pong")
	asks, _ := p.Counts()
	check.Equal(t, asks[len(asks)-1], (AskCount{"s", 2}), "counted")
	check.Equal(t, repliesOf(t, p, "many", otherServices).Asked, 1, "counted")
}

func TestNamesThatComeAndGoTakeNoMoreMemory(t *testing.T) {
	p := NewPartyline("main", Options{})
	anyone := p.Operator("")
	last := p.Operator("a")
	for i := range 2000 {
		o := p.Operator("a")
		connect(t, o, fmt.Sprint(i), pong)
		anyone.AskAround(t.Context(), fmt.Sprint(i), nil)
		last.Leave()
		last = o
	}
	check.Equal(t, p.options.Counts.services["a"], maxCountedServices+1, "counters")
	check.Equal(t, p.options.Counts.services[""], maxCountedServices+1, "counters of services")
	wantFigures(t, p, fmt.Sprintf("other %d, a/other %[1]d %[1]d 0 0", 2000-maxCountedServices))
}

func TestNoCountIsLostOrDoubledWhileGuestsComeAndGo(t *testing.T) {
	verifyNoLeak(t)
	p := NewPartyline("main", Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var handlers handlerCounts
	var asks [3]atomic.Uint64
	services := []string{"few", "many", "unanimous"}
	type payload struct {
		random uint64
		cancel context.CancelFunc
	}
	join := func(guest, service string) *Operator {
		o := p.Operator(guest)
		connectAs(t, guest == "remote", o, service, handlers.of(guest, service).handler(func(got any) byte {
			p := got.(payload)
			if p.random%16 == 0 {
				p.cancel()
			}
			if service == "unanimous" {
				return "ad"[p.random>>8%2]
			}
			return "aaadaafaadaaadap"[(p.random+uint64(guest[0])*7+uint64(guest[len(guest)-1]))%16]
		}))
		return o
	}
	for i := range 20 {
		join(fmt.Sprint("constant", i), "many")
		join(fmt.Sprint("constant", i), "unanimous")
	}
	join("constant", "few")
	join("remote", "few")

	var changing, asking sync.WaitGroup
	for i := range 4 {
		changing.Go(func() {
			guest := fmt.Sprint("visitor", i)
			current := join(guest, services[0])
			for n := i; ctx.Err() == nil; n++ {
				renewed := join(guest, services[n%3])
				if n%4 == 0 {
					join(guest, services[n%3]).Leave() // a replica
				}
				current.Leave()
				current = renewed
			}
			current.Leave()
		})
	}
	changing.Go(func() {
		last := make(map[string]uint64)
		upwards := func(key string, n uint64) {
			check.ErrorIf(t, n < last[key], "%s went from %d to %d", key, last[key], n)
			last[key] = n
		}
		for ctx.Err() == nil {
			asks, replies := p.Counts()
			for _, c := range asks {
				upwards(c.Service, c.Asks)
			}
			for _, c := range replies {
				key := c.Guest + "/" + c.Service
				for what, n := range map[string]uint64{"asked": c.Asked, "answered": c.Answered, "declined": c.Declined, "failed": c.Failed, "timed": c.Durations.Count} {
					upwards(key+" "+what, n)
				}
				came := c.Answered + c.Declined + c.Failed
				check.ErrorIf(t, c.Asked < came || c.Guest != "remote" && c.Asked != came, "half an ask: %+v", c)
			}
		}
	})
	for i := range 4 {
		asking.Go(func() {
			asker := p.Operator([]string{"", "asker", "visitor0", "constant1"}[i])
			for ctx.Err() == nil {
				random := rand.Uint64()
				n := int(random >> 32 % 3)
				asked, cancel := context.WithCancel(t.Context())
				payload := payload{random, cancel}
				if n == 0 { // or a remote handler might not be waited for
					payload.cancel = func() {}
				}
				switch how := random >> 40 % 4; {
				case how == 0 && n > 0:
					First[string](asked, asker, services[n], payload)
				case how == 1 && n > 0:
					left := random >> 48 % 32
					for range asker.Replies(asked, services[n], payload) {
						if left == 0 {
							break
						}
						left--
					}
				case how == 2:
					All[string](asked, asker, services[n], payload)
				default:
					asker.AskAround(asked, services[n], payload)
				}
				cancel()
				asks[n].Add(1)
			}
		})
	}
	asking.Wait()
	changing.Wait()

	for i := range 4 { // only who is connected is in Counts
		for _, service := range services {
			connect(t, p.Operator(fmt.Sprint("visitor", i)), service, pong)
		}
	}
	handlers.check(t, "when all is quiet", p)
	got, _ := p.Counts()
	check.Slices(t, got, []AskCount{{"few", asks[0].Load()}, {"many", asks[1].Load()}, {"unanimous", asks[2].Load()}})
	check.ErrorIf(t, got[0].Asks == 0 || got[1].Asks == 0 || got[2].Asks == 0, "nobody asked: %v", got)
}

// TestAnAskIsCountedWhateverBecomesOfItsOrder changes the order before and while guests are asked who all
// answer or all decline, which are counted together, with readers now and then.
func TestAnAskIsCountedWhateverBecomesOfItsOrder(t *testing.T) {
	for name, change := range map[string]func(p *Partyline, connect func(p *Partyline, guest string) *Operator) (undo func()){
		"nothing": func(*Partyline, func(*Partyline, string) *Operator) func() { return func() {} },
		"a guest comes and goes": func(p *Partyline, connect func(*Partyline, string) *Operator) func() {
			return connect(p, "visitor").Leave
		},
		"a replica comes and goes": func(p *Partyline, connect func(*Partyline, string) *Operator) func() {
			return connect(p, "b").Leave
		},
		"guests change places": func(p *Partyline, _ func(*Partyline, string) *Operator) func() {
			p.SetOrder([]string{"c", "a"})
			return func() { p.SetOrder(nil) }
		},
		"another partyline counts there": func(p *Partyline, connect func(*Partyline, string) *Operator) func() {
			next := NewPartyline("main", Options{Counts: p.options.Counts})
			for _, guest := range []string{"c", "b"} {
				connect(next, guest)
			}
			next.Operator("").AskAround(context.Background(), "s", byte('a'))
			return func() { next.Operator("").AskAround(context.Background(), "s", byte('d')) }
		},
		"somebody is forgotten": func(p *Partyline, _ func(*Partyline, string) *Operator) func() {
			p.options.Counts.Forget("somebody")
			return func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for at := range 5 { // how many are asked before the change
				for _, reaction := range []byte("ad") {
					for _, asker := range []string{"", "a", "b", "c"} {
						p := NewPartyline("main", Options{})
						var handlers handlerCounts
						connect := func(p *Partyline, guest string) *Operator {
							o := p.Operator(guest)
							connect(t, o, "s", handlers.of(guest, "s").handler(func(payload any) byte { return payload.(byte) }))
							return o
						}
						for _, guest := range []string{"a", "b", "c", "visitor"} {
							connect(p, guest)
						}
						read := func() { p.Counts() }
						undo := func() {}
						for _, between := range []func(){func() {}, read, func() { undo() }, read} {
							replies := 0
							for range p.Operator(asker).Replies(t.Context(), "s", reaction) {
								if replies++; replies == at {
									undo = change(p, connect)
									between()
								}
							}
							p.Operator(asker).AskAround(t.Context(), "s", reaction)
						}
						undo()
						handlers.check(t, fmt.Sprintf("changed after %d, %q asks, all %c", at, asker, reaction), p)
					}
				}
			}
		})
	}
}

func TestAForgottenGuestThatIsConnectedIsCounted(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", pong)
	wantAnswers(t, p.Operator(""), "s", "pong")
	p.options.Counts.Forget("a")
	wantAnswers(t, p.Operator(""), "s", "pong")
	wantFigures(t, p, "s 2, a/s 2 2 0 0")
}

func TestMoreAsksAreCountedThanFitNextToAnOrdersNumber(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", pong)
	counter := p.service("s").counter
	for i := range counter.shards {
		counter.shards[i][answered].Add(math.MaxUint32 - 1)
	}
	n := len(counter.shards)
	for range 100 * n {
		wantAnswers(t, p.Operator(""), "s", "pong")
	}
	wantFigures(t, p, fmt.Sprintf("s %d, a/s %[1]d %[1]d 0 0", (math.MaxUint32-1+100)*n))
}

func TestAsksAndReadersThatMeetInOneShardAreCounted(t *testing.T) {
	const askers, asks = 4, 50_000
	p := NewPartyline("main", Options{})
	for guest := range 3 {
		connect(t, p.Operator(fmt.Sprint(guest)), "s", pong)
	}
	p.service("s").counter.shards = p.service("s").counter.shards[:1]
	var asking, reading sync.WaitGroup
	for range askers {
		asking.Go(func() {
			for range asks {
				p.Operator("").AskAround(t.Context(), "s", nil)
			}
		})
	}
	done := make(chan struct{})
	for range 2 {
		reading.Go(func() {
			for last := uint64(0); ; {
				select {
				case <-done:
					return
				default:
				}
				_, replies := p.Counts()
				check.ErrorIf(t, replies[2].Answered < last, "went from %d to %d", last, replies[2].Answered)
				last = replies[2].Answered
			}
		})
	}
	asking.Wait()
	close(done)
	reading.Wait()
	wantFigures(t, p, fmt.Sprintf("s %d, 0/s %[1]d %[1]d 0 0, 1/s %[1]d %[1]d 0 0, 2/s %[1]d %[1]d 0 0", askers*asks))
}

func TestWhatAnEarlierPartylineCountsAsOtherIsRead(t *testing.T) {
	counts := new(Counts)
	before, after := NewPartyline("main", Options{Counts: counts}), NewPartyline("main", Options{Counts: counts})
	many := before.Operator("many")
	for i := range maxCountedServices {
		connect(t, many, fmt.Sprint(i), pong)
	}
	connect(t, many, "s", pong)
	connect(t, after.Operator("early"), "s", pong)
	connect(t, after.Operator("many"), "s", pong)
	wantAnswers(t, before.Operator(""), "s", "pong")
	check.Equal(t, repliesOf(t, after, "many", otherServices).Answered, 1, "counted")
}
