// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/measure"
)

// manyGuests are more than an ask looks through one by one.
const manyGuests = 2 * fewConnections

// otherGuests connects guests that must not be asked.
func otherGuests(t testing.TB, p *Partyline, n int, remote bool) {
	for i := range n {
		connectAs(t, remote, p.Operator(fmt.Sprint("other", i)), "s", neverCalled(t))
	}
}

// wantOf asks one guest, and wants these answers and no error.
func wantOf(t testing.TB, o *Operator, guest string, payload any, want ...any) {
	t.Helper()
	got, err := o.Ask(t.Context(), guest, "s", payload)
	check.ErrorIf(t, err != nil || !slices.Equal(got, want), "%q asks %q with %v: got %v, %v; want %v", o, guest, payload, got, err, want)
}

// fewAndMany runs a test on lines with few and many other guests.
func fewAndMany(t *testing.T, test func(t *testing.T, others int, remote bool)) {
	localAndRemote(t, func(t *testing.T, remote bool) {
		for _, others := range []int{0, 2, manyGuests} {
			t.Run(fmt.Sprint(others), func(t *testing.T) { test(t, others, remote) })
		}
	})
}

func TestADirectAskAsksAllHandlersOfOneGuest(t *testing.T) {
	fewAndMany(t, func(t *testing.T, others int, remote bool) {
		p := NewPartyline("main", Options{Addressee: func(string) func(any) string {
			return func(any) string { return "other0" } // a direct ask goes to its guest all the same
		}})
		p.SetOrder([]string{"other0", "shop"})
		shop := p.Operator("shop")
		connectAs(t, remote, shop, "s", answerWith("one"))
		otherGuests(t, p, others, remote)
		connectAs(t, remote, shop, "s", answerWith("two"))
		replica := p.Operator("shop")
		connectAs(t, remote, replica, "s", answerWith("a replica's"))

		for _, asker := range []string{"", "blog"} {
			wantOf(t, p.Operator(asker), "shop", nil, "one", "two")
		}
		first, err := First[string](t.Context(), p.Operator("").Direct("shop"), "s", nil)
		check.ErrorIf(t, err != nil || first != "one", "%q, %v", first, err)
		check.ErrorIf(t, p.Operator("").Direct("shop").Direct("other").Guest() != "", "it became a guest")
		shop.Leave()
		wantOf(t, p.Operator("blog"), "shop", nil, "a replica's")
	})
}

func TestADirectAskReturnsAnswersAndFailures(t *testing.T) {
	fewAndMany(t, func(t *testing.T, others int, remote bool) {
		p := NewPartyline("main", Options{})
		otherGuests(t, p, others, remote)
		shop := p.Operator("shop")
		for _, reaction := range "adfwpa" {
			connectAs(t, remote, shop, "s", reactions[reaction].handler)
		}
		asker := p.Operator("asker")
		answers, err := asker.Ask(t.Context(), "shop", "s", nil)
		check.Slices(t, answers, []any{"answer", "answer"})
		check.Fails(t, err, `guest "shop" failed to answer "s": file does not exist`, "oh no")
		failed, ok := errors.AsType[*HandlerError](err)
		check.ErrorIf(t, !ok || failed.Guest != "shop" || !errors.Is(err, fs.ErrNotExist), "%v", err)

		var statuses []string
		for reply := range asker.Direct("shop").Replies(t.Context(), "s", nil) {
			statuses = append(statuses, fmt.Sprint(reply.Guest, " ", reply.Err == nil, reply.Err == ErrHighAndDry))
		}
		check.Slices(t, statuses, []string{"shop true false", "shop false true", "shop false false", "shop false true", "shop false false", "shop true false"})
		counted := repliesOf(t, p, "shop", "s")
		check.ErrorIf(t, counted.Asked != 12 || counted.Answered != 4 || counted.Declined != 4 || counted.Failed != 4, "%+v", counted)
		asks, _ := p.Counts()
		check.ErrorIf(t, len(asks) != 1 || asks[0].Asks != 2, "%+v", asks)
		for _, asker := range p.Askers() {
			check.ErrorIf(t, asker != AskerCount{"asker", "s", 2}, "%+v", asker)
		}
	})
}

func TestADirectAskOfAGuestThatIsNotConnected(t *testing.T) {
	fewAndMany(t, func(t *testing.T, others int, remote bool) {
		p := NewPartyline("main", Options{})
		otherGuests(t, p, others, remote)
		connectAs(t, remote, p.Operator("shop"), "elsewhere", neverCalled(t))
		asker := p.Operator("asker")
		replies := func(guest, service string) (all []Reply) {
			return slices.Collect(asker.Direct(guest).Replies(t.Context(), service, nil))
		}
		for _, of := range []NoSuchServiceError{{"main", "s", "shop"}, {"main", "s", "nobody"}, {"main", "s", "asker"}, {"main", "missing", "shop"}} {
			answers, err := asker.Ask(t.Context(), of.Guest, of.Service, nil)
			check.Equal(t, len(answers), 0, "answers")
			check.Fails(t, err, fmt.Sprintf(`guest %q on partyline "main" is not connected under service %q`, of.Guest, of.Service))
			none, ok := errors.AsType[*NoSuchServiceError](err)
			check.ErrorIf(t, !ok || *none != of || !errors.Is(err, ErrPartyline), "%#v", err)
			check.Deep(t, replies(of.Guest, of.Service), []Reply{{Err: err}}, "replies")
		}
		p.SetIgnoreMissingServices(true)
		for _, guest := range []string{"shop", "nobody", "asker"} {
			wantOf(t, asker, guest, nil)
			check.Equal(t, len(replies(guest, "s")), 0, "replies")
		}
		_, err := asker.Ask(t.Context(), "shop", "missing", nil)
		check.Nil(t, err)
	})
}

// TestADirectAskNeedsAGuest also where missing services are ignored.
func TestADirectAskNeedsAGuest(t *testing.T) {
	for _, ignore := range []bool{false, true} {
		p := NewPartyline("main", Options{IgnoreMissingServices: ignore})
		connect(t, p.Operator("shop"), "s", neverCalled(t))
		for _, service := range []string{"s", "missing"} {
			_, err := p.Operator("asker").Ask(t.Context(), "", service, nil)
			check.Fails(t, err, `an ask of one guest for service "`+service+`" has no guest`, "write the guest's name")
			check.ErrorIf(t, !errors.Is(err, ErrPartyline), "%v is not ErrPartyline", err)
		}
	}
	var none *Operator
	_, err := none.Ask(t.Context(), "shop", "s", nil)
	check.ErrorIf(t, err != errNoOperator || none.Direct("shop") != nil || none.RemoteHandlers("s", nil) != 0, "a nil operator asks: %v", err)
	check.Fails(t, NewPartyline("main", Options{}).Operator("a").Direct("b").Connect("s", pong), `asks only guest "b" cannot connect`)
}

func TestAGuestThatAsksItselfDirectlyGetsNothing(t *testing.T) {
	fewAndMany(t, func(t *testing.T, others int, remote bool) {
		p := NewPartyline("main", Options{})
		otherGuests(t, p, others, remote)
		shop := p.Operator("shop")
		connectAs(t, remote, shop, "s", neverCalled(t))
		wantOf(t, shop, "shop", nil)
		_, err := First[any](t.Context(), shop.Direct("shop"), "s", nil)
		check.ErrorIf(t, err != ErrHighAndDry, "%v", err)
	})
}

// TestDirectAsksEndInsteadOfGoingInACircle of two guests, each of which asks the other one.
func TestDirectAsksEndInsteadOfGoingInACircle(t *testing.T) {
	fewAndMany(t, func(t *testing.T, others int, remote bool) {
		p := NewPartyline("main", Options{})
		otherGuests(t, p, others, remote)
		for guest, other := range map[string]string{"a": "b", "b": "a"} {
			o := p.Operator(guest)
			connectAs(t, remote, o, "s", func(ctx context.Context, _ any) (any, error) {
				answers, err := o.Ask(ctx, other, "s", nil)
				return fmt.Sprint(guest, answers), err
			})
		}
		wantOf(t, p.Operator("asker"), "a", nil, "a[b[]]") // b does not ask a, which asks already
	})
	p := NewPartyline("main", Options{}) // callers that are not guests go on until it is too deep
	asked, nobody := 0, p.Operator("")
	connect(t, p.Operator("a"), "s", func(ctx context.Context, _ any) (any, error) {
		asked++
		_, err := nobody.Ask(ctx, "a", "s", nil)
		return nil, err
	})
	_, err := nobody.Ask(t.Context(), "a", "s", nil)
	check.ErrorIf(t, !errors.Is(err, ErrLoop) || asked != maxDepth, "asked %d times: %v", asked, err)
}

func TestACancelledDirectAskEnds(t *testing.T) {
	fewAndMany(t, func(t *testing.T, others int, remote bool) {
		p := NewPartyline("main", Options{})
		otherGuests(t, p, others, remote)
		ctx, cancel := context.WithCancel(t.Context())
		shop := p.Operator("shop")
		connectAs(t, remote, shop, "s", func(context.Context, any) (any, error) { return "in time", nil })
		connect(t, shop, "s", func(context.Context, any) (any, error) { cancel(); return "the last", nil })
		connect(t, shop, "s", neverCalled(t))
		answers, err := p.Operator("").Ask(ctx, "shop", "s", nil)
		check.Slices(t, answers, []any{"in time", "the last"})
		check.ErrorIf(t, err != context.Canceled, "%v", err)
		answers, err = p.Operator("").Ask(ctx, "shop", "s", nil)
		check.ErrorIf(t, len(answers) > 0 || err != context.Canceled, "%v, %v", answers, err)
	})
}

// endObserver notes how asks end.
type endObserver struct {
	toldObserver
	ended []string
}

func (o *endObserver) BeginAsk(guest, service string) func(answered, declined, failed int, err error) {
	return func(answered, declined, failed int, err error) {
		o.ended = append(o.ended, fmt.Sprintf("%s asks %s: %d %d %d %v", guest, service, answered, declined, failed, err))
	}
}

func TestADirectAskIsObserved(t *testing.T) {
	told := new(endObserver)
	p := NewPartyline("main", Options{Observer: told})
	connect(t, p.Operator("shop"), "s", pong)
	connect(t, p.Operator("blog"), "s", neverCalled(t))
	wantOf(t, p.Operator("asker"), "shop", nil, "pong")
	_, missing := p.Operator("asker").Ask(t.Context(), "nobody", "s", nil)
	check.Slices(t, told.ended, []string{"asker asks s: 1 0 0 <nil>", "asker asks s: 0 0 0 " + missing.Error()})
	wantFigures(t, p, "s 1, blog/s 0 0 0 0, shop/s 1 1 0 0")
}

// TestADirectAskCallsNoHandlerWithoutTheKey of a service that has keys.
func TestADirectAskCallsNoHandlerWithoutTheKey(t *testing.T) {
	for _, others := range []int{0, 2, manyGuests} {
		p := keyedLine()
		for i := range others {
			connectKeyed(t, p.Operator(fmt.Sprint("other", i)), "page")
		}
		connectKeyed(t, p.Operator("shop"), "page cart")
		connectKeyed(t, p.Operator("shop 2"), "page")
		asker := p.Operator("")
		for payload, want := range map[any][]any{"page": {"shop"}, "cart": {"shop"}, "missing": nil, 1: {"shop"}} {
			wantOf(t, asker, "shop", payload, want...)
		}
		asked := repliesOf(t, p, "shop", "s").Asked
		wantOf(t, asker, "shop", "missing")
		check.Equal(t, repliesOf(t, p, "shop", "s").Asked, asked, "calls")
		wantOf(t, asker, "shop 2", "cart")
		for i := range others {
			check.Equal(t, repliesOf(t, p, fmt.Sprint("other", i), "s").Asked, 0, "calls of another guest")
		}
	}
}

func TestADirectAskMayBeginBeforeAnybodyWaits(t *testing.T) {
	verifyNoLeak(t)
	for _, others := range []int{0, 2, manyGuests} {
		p, a := NewPartyline("main", Options{Preference: func(string) func(context.Context, any) Preference {
			return func(context.Context, any) Preference { t.Error("preferences"); return nil }
		}}), &async{t: t}
		otherGuests(t, p, others, false)
		a.connect(p.Operator("shop"), "s")
		asker := p.Operator("asker")
		check.ErrorIf(t, asker.Direct("nobody").Begin(t.Context(), "s", nil) != nil, "an ask of nobody begins")
		replies := asker.Direct("shop").Begin(t.Context(), "s", nil)
		check.Equal(t, a.begun, 1, "handlers begun")
		a.replys[0]("begun", nil)
		for reply := range replies {
			check.ErrorIf(t, reply.Answer != "begun" || reply.Guest != "shop", "%+v", reply)
		}
		check.Equal(t, asker.Direct("shop").RemoteHandlers("s", nil), 1, "remote handlers")
		check.Equal(t, asker.RemoteHandlers("s", nil), 1, "remote handlers of all")
		for _, o := range []*Operator{asker.Direct("nobody"), asker.Local(), asker.Local().Direct("shop"), asker.Direct("shop").Local()} {
			check.Equal(t, o.RemoteHandlers("s", nil), 0, "remote handlers")
		}
		wantOf(t, asker.Local(), "shop", nil)
		_, err := asker.Direct("nobody").Local().AskAround(t.Context(), "s", nil)
		check.Fails(t, err, `guest "nobody"`)
		connect(t, p.Operator("both"), "s", answerWith("local"))
		connectRemote(t, p.Operator("both"), "s", neverCalled(t))
		check.ErrorIf(t, asker.Direct("both").Begin(t.Context(), "s", nil) != nil, "a handler that is not remote begins")
	}
}

// TestADirectAskFindsAGuestOfAnotherNode, which is none for who asks only here.
func TestADirectAskFindsAGuestOfAnotherNode(t *testing.T) {
	for _, others := range []int{0, manyGuests} {
		p := NewPartyline("main", Options{})
		otherGuests(t, p, others, false)
		connectRemote(t, p.OperatorOn("b", "shop"), "s", answerWith("away"))
		asker := p.Operator("asker")
		wantOf(t, asker, "shop", nil, "away")
		for _, o := range []*Operator{asker.Here(), asker.Direct("shop").Here()} {
			answers, err := o.Ask(t.Context(), "shop", "s", nil)
			none, ok := errors.AsType[*NoSuchServiceError](err)
			check.ErrorIf(t, len(answers) > 0 || !ok || none.Guest != "shop", "%v, %v", answers, err)
			check.Equal(t, o.Direct("shop").RemoteHandlers("s", nil), 0, "remote handlers")
		}
		here := p.Operator("shop")
		connect(t, here, "s", answerWith("here"))
		wantOf(t, asker, "shop", nil, "here")
		wantOf(t, asker.Here(), "shop", nil, "here")
		here.Leave()
		wantOf(t, asker, "shop", nil, "away")
	}
}

// TestADirectAskCostsTheSameAmongAThousandGuests as alone, also where these have keys.
func TestADirectAskCostsTheSameAmongAThousandGuests(t *testing.T) {
	for name, connect := range map[string]func(*Operator) error{
		"plain": func(o *Operator) error { return o.Connect("s", pong) },
		"keyed": func(o *Operator) error {
			return o.ConnectKeyed("s", func(key string) bool { return key == "page" }, pong)
		},
	} {
		t.Run(name, func(t *testing.T) {
			lineWith := func(guests int) *Operator {
				p := keyedLine()
				for i := range guests {
					check.Must(t, connect(p.Operator(fmt.Sprint(i))))
				}
				return p.Operator("asker")
			}
			ask := func(o *Operator, payload any) func() {
				return func() { o.Ask(context.Background(), "0", "s", payload) }
			}
			alone, among := lineWith(1), lineWith(1000)
			for _, payload := range []any{nil, "page", "missing"} {
				allocsAtMost(t, "alone", 1, ask(alone, payload))
				allocsAtMost(t, "among 1000", 1, ask(among, payload))
				took := func(f func()) func() time.Duration {
					return func() time.Duration {
						began := time.Now()
						for range 2000 {
							f()
						}
						return time.Since(began)
					}
				}
				measure.TakesAtMost(t, 5, took(ask(alone, payload)), took(ask(among, payload)))
			}
		})
	}
}

// BenchmarkAsk asks one guest directly, alone and among 1000.
func BenchmarkAsk(b *testing.B) {
	alone, _ := benchLine{guests: 1}.under(b, 1)
	among, _ := benchLine{guests: 1000}.under(b, 1)
	direct := func(p *Partyline, guest string) func() {
		o := p.Operator("asker")
		return func() {
			if answers, err := o.Ask(context.Background(), guest, "ping", nil); err != nil || len(answers) != 1 {
				panic(fmt.Sprint(answers, err))
			}
		}
	}
	asker := alone.Operator("asker")
	measure.SideBySide(b,
		measure.Contender{Metric: "around-ns/op", Against: 0, Do: func() { asker.AskAround(context.Background(), "ping", nil) }},
		measure.Contender{Metric: "ns/op", Against: 1, Do: direct(alone, "guest0")},
		measure.Contender{Metric: "x-around", Against: 0, Do: direct(alone, "guest0")},
		measure.Contender{Metric: "x-alone", Against: 1, Do: direct(among, "guest999")},
	)
}
