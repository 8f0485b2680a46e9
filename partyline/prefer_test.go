// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// prefers prefers answers with an exclamation mark, of guests in capitals.
type prefers struct{ asked *[]string }

func (prefers) MayPrefer(guest string) bool { return strings.ToUpper(guest) == guest }

func (p prefers) Prefers(guest string, answer any) bool {
	*p.asked = append(*p.asked, guest)
	return strings.HasSuffix(fmt.Sprint(answer), "!")
}

// preferring is a partyline on which answers to s are preferred unless the payload is "any".
func preferring(asked *[]string) *Partyline {
	return NewPartyline("main", Options{
		Preference: func(service string) func(context.Context, any) Preference {
			if service != "s" {
				return nil
			}
			return func(_ context.Context, payload any) Preference {
				if payload == "any" {
					return nil
				}
				return prefers{asked}
			}
		},
		Addressee: func(string) func(any) string {
			return func(payload any) string {
				guest, _ := payload.(string)
				return strings.TrimPrefix(guest, "to ")
			}
		},
	})
}

func TestThePreferredAnswerComesFirst(t *testing.T) {
	localAndRemote(t, func(t *testing.T, remote bool) {
		for _, c := range []struct {
			guests  string // each with what it answers, or declines (-) or fails with (?)
			want    string // its replies
			asked   string // by First, while it waits for the first answer
			prefers string // whose answers were looked at
		}{
			{"", "", "", ""},
			{"a=1 b=2", "1 2", "a", ""},
			{"a=1 B=2 c=3", "1 2 3", "a B", "B"},
			{"a=1 B=2! c=3", "2! 1 3", "a B", "B"},
			{"a=1 b=2 C=3! D=4! e=5", "3! 1 2 4! 5", "a b C", "C"},
			{"A=1 b=2! C=3 d=4", "1 2! 3 4", "A b C", "A C"},
			{"a=- B=? c=3 D=4! e=-", "- ? 4! 3 -", "a B c D", "D"},
			{"a=1 B=- C=?", "- ? 1", "a B C", ""},
			{"A=1! b=2 C=3", "1! 2 3", "A", "A"},
		} {
			var looked, called []string
			p := preferring(&looked)
			for _, guest := range strings.Fields(c.guests) {
				name, answer, _ := strings.Cut(guest, "=")
				connectAs(t, remote, p.Operator(name), "s", func(context.Context, any) (any, error) {
					if !remote {
						called = append(called, name)
					}
					switch answer {
					case "-":
						return nil, ErrHighAndDry
					case "?":
						return nil, errors.New("failed")
					}
					return answer, nil
				})
			}
			p.SetIgnoreMissingServices(true)
			asker := p.Operator("")
			var replies []string
			for r := range asker.Replies(t.Context(), "s", nil) {
				switch {
				case r.Err == ErrHighAndDry:
					replies = append(replies, "-")
				case r.Err != nil:
					replies = append(replies, "?")
				default:
					replies = append(replies, r.Answer.(string))
				}
			}
			check.Equal(t, strings.Join(replies, " "), c.want, "replies of", c.guests)
			check.Equal(t, strings.Join(looked, " "), c.prefers, "looked at of", c.guests)

			want := strings.Fields(strings.NewReplacer("-", "", "?", "").Replace(c.want))
			answers, _ := asker.AskAround(t.Context(), "s", nil)
			check.Equal(t, fmt.Sprint(answers), fmt.Sprint(want), "answers of", c.guests)
			typed, _ := All[string](t.Context(), asker, "s", nil)
			check.Slices(t, typed, want, "typed answers of", c.guests)
			called = nil
			first, err := First[string](t.Context(), asker, "s", nil)
			check.ErrorIf(t, err == nil != (len(want) > 0) || err == nil && first != want[0], "first of %s: %q, %v", c.guests, first, err)
			if !remote {
				check.Equal(t, strings.Join(called, " "), c.asked, "asked for the first of", c.guests)
			}
		}
	})
}

func TestALoopThatEndsTakesNoAnswerThatIsHeldBack(t *testing.T) {
	var looked []string
	p := preferring(&looked)
	for _, guest := range []string{"a", "b", "C", "d", "E"} {
		connect(t, p.Operator(guest), "s", answerWith(guest+strings.Repeat("!", strings.Count("C", guest))))
	}
	for end, want := range [][]string{{"C!"}, {"C!", "a"}, {"C!", "a", "b"}, {"C!", "a", "b", "d"}} {
		var got []string
		for r := range p.Operator("").Replies(t.Context(), "s", nil) {
			check.Nil(t, r.Err)
			if got = append(got, r.Answer.(string)); len(got) > end {
				break
			}
		}
		check.Slices(t, got, want, "got")
	}
}

func TestAnAskThatEndsGivesWhatIsHeldBack(t *testing.T) {
	var looked []string
	p := preferring(&looked)
	ctx, cancel := context.WithCancel(t.Context())
	connect(t, p.Operator("a"), "s", answerWith("a"))
	connect(t, p.Operator("b"), "s", func(context.Context, any) (any, error) { cancel(); return "b", nil })
	connect(t, p.Operator("C"), "s", neverCalled(t))
	answers, err := p.Operator("").AskAround(ctx, "s", nil)
	check.ErrorIf(t, !slices.Equal(answers, []any{"a", "b"}) || err != context.Canceled, "%v, %v", answers, err)
}

func TestAnAskWithoutAPreferenceIsAsEver(t *testing.T) {
	var looked []string
	p := preferring(&looked)
	for i := range 4 {
		connect(t, p.Operator(fmt.Sprint("G", i)), "s", answerWith("!"))
		connect(t, p.Operator(fmt.Sprint("G", i)), "other", answerWith("!"))
	}
	asker := p.Operator("")
	asker.AskAround(t.Context(), "s", "any")
	asker.AskAround(t.Context(), "other", nil)
	check.Equal(t, len(looked), 0, "looked at")
	allocsAtMost(t, "a service without preferences", 1, func() { asker.AskAround(context.Background(), "other", nil) })
	allocsAtMost(t, "an ask without preference", 1, func() { asker.AskAround(context.Background(), "s", "any") })
}

func TestOnlyOneGuestIsAsked(t *testing.T) {
	localAndRemote(t, func(t *testing.T, remote bool) {
		var looked []string
		p := preferring(&looked)
		p.SetOrder([]string{"a", "b"})
		for _, guest := range []string{"a", "b", "c"} {
			o := p.Operator(guest)
			connectAs(t, remote, o, "s", answerWith(guest+"1"))
			connectAs(t, remote, o, "s", answerWith(guest+"2"))
			check.Must(t, o.ConnectForAll("s", answerWith(guest+" for all")))
		}
		for _, payload := range []any{nil, "to a", "to b"} {
			got, err := p.Operator("asker").Only("b").AskAround(t.Context(), "s", payload)
			check.ErrorIf(t, err != nil || !slices.Equal(got, []any{"b1", "b2", "b for all"}), "%v: %v, %v", payload, got, err)
		}
		first, err := First[string](t.Context(), p.Operator("").Only("c"), "s", nil)
		check.ErrorIf(t, err != nil || first != "c1", "%q, %v", first, err)
		for asker, only := range map[string]string{"": "nobody", "b": "b"} { // who does not ask itself
			_, err := First[string](t.Context(), p.Operator(asker).Only(only), "s", nil)
			check.ErrorIf(t, err != ErrHighAndDry, "%q asks %q: %v", asker, only, err)
		}
		_, err = First[string](t.Context(), p.Operator("").Only("a"), "missing", nil)
		check.Fails(t, err, `"missing"`)
		check.Equal(t, len(looked), 0, "preferences")
		check.ErrorIf(t, repliesOf(t, p, "c", "s").Asked == 0 || repliesOf(t, p, "a", "s").Asked != 0 || repliesOf(t, p, "b", "s").Answered != 9, "miscounted")
	})
	var none *Operator
	check.ErrorIf(t, none.Only("a") != nil, "a nil operator made another")
	check.Fails(t, NewPartyline("main", Options{}).Operator("a").Only("b").Connect("s", pong), `asks only guest "b" cannot connect`)
}

func TestAskingOneGuestOnlyAllocatesOnce(t *testing.T) {
	p := lineOf(t, 100)
	ctx, one := context.Background(), p.Operator("").Only("50")
	allocsAtMost(t, "the first answer", 1, func() { First[string](ctx, one, "ping", nil) })
	allocsAtMost(t, "all answers", 1, func() { one.AskAround(ctx, "ping", nil) })
}
