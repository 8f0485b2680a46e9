// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// async is a handler that can be begun, and answers when it is told to.
type async struct {
	t      *testing.T
	begun  int
	replys []func(any, error)
}

func (a *async) connect(o *Operator, service string) {
	check.Must(a.t, o.ConnectAsync(service, failWith(errors.New("it is called, not begun")), func(_ context.Context, _ any, reply func(any, error)) {
		a.begun++
		a.replys = append(a.replys, reply)
	}))
}

func TestAsksBeginBeforeAnybodyWaits(t *testing.T) {
	verifyNoLeak(t)
	p, a := NewPartyline("main", Options{}), &async{t: t}
	a.connect(p.Operator("one"), "x")
	o := p.Operator("asker")
	first, second := o.Begin(t.Context(), "x", 1), o.Begin(t.Context(), "x", 2)
	check.Equal(t, a.begun, 2, "handlers begun")
	a.replys[1]("second", nil)
	a.replys[0](nil, ErrHighAndDry)
	a.replys[0]("again", nil) // which is too late
	for reply := range first {
		check.ErrorIf(t, reply.Guest != "one" || reply.Err != ErrHighAndDry, "%+v", reply)
	}
	for reply := range second {
		check.ErrorIf(t, reply.Guest != "one" || reply.Answer != "second" || reply.Err != nil, "%+v", reply)
	}
	for range second {
		t.Error("replies come again")
	}
	_, counts := p.Counts()
	check.ErrorIf(t, len(counts) != 1 || counts[0].Answered != 1 || counts[0].Declined != 1, "%+v", counts)
}

// TestWhatBeginsTogetherWithOthers are all handlers of an ask; those that cannot be begun have goroutines.
func TestWhatBeginsTogetherWithOthers(t *testing.T) {
	verifyNoLeak(t)
	p, a := NewPartyline("main", Options{}), &async{t: t}
	a.connect(p.Operator("one"), "x")
	connectRemote(t, p.Operator("two"), "x", answerWith(2))
	a.connect(p.Operator("three"), "x")
	replies := p.Operator("asker").Begin(t.Context(), "x", nil)
	a.replys[0](1, nil)
	a.replys[1](3, nil)
	var answers []any
	for reply := range replies {
		answers = append(answers, reply.Answer)
	}
	check.Equal(t, fmt.Sprint(answers), "[1 2 3]")
}

func TestWhatCannotBegin(t *testing.T) {
	p, a := NewPartyline("main", Options{}), &async{t: t}
	o := p.Operator("asker")
	check.ErrorIf(t, o.Begin(t.Context(), "x", nil) != nil, "a service that nobody has begins")
	a.connect(p.Operator("one"), "x")
	connect(t, p.Operator("two"), "x", answerWith(2))
	check.ErrorIf(t, o.Begin(t.Context(), "x", nil) != nil, "a handler that is not remote begins")
	check.Equal(t, a.begun, 0, "handlers begun")
}

func TestABeginningThatPanics(t *testing.T) {
	p := NewPartyline("main", Options{})
	check.Must(t, p.Operator("one").ConnectAsync("x", answerWith(1), func(context.Context, any, func(any, error)) { panic("oh no") }))
	for reply := range p.Operator("asker").Begin(t.Context(), "x", nil) {
		check.Has(t, reply.Err.Error(), "oh no")
	}
}

// TestAnAskThatBeganEndsWithItsContext although the handler says nothing any more.
func TestAnAskThatBeganEndsWithItsContext(t *testing.T) {
	p, a := NewPartyline("main", Options{}), &async{t: t}
	a.connect(p.Operator("one"), "x")
	ctx, cancel := context.WithCancel(t.Context())
	replies := p.Operator("asker").Begin(ctx, "x", nil)
	cancel()
	for reply := range replies {
		check.ErrorIf(t, reply.Guest != "" || reply.Err != context.Canceled, "%+v", reply)
	}
}
