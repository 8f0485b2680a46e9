// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"errors"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestOfAGuestHereAndOnAnotherNodeOnlyTheOneHereIsAsked(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("first"), "s", answerWith("first"))
	away := p.OperatorOn("b", "shop")
	connect(t, away, "s", answerWith("b"))
	connect(t, away, "only b has it", answerWith("b"))
	connect(t, p.Operator("last"), "s", answerWith("last"))
	asker := p.Operator("")
	wantAnswers(t, asker, "s", "first", "b", "last")

	for range 2 { // it takes the place, and gives it back
		here := p.Operator("shop")
		connect(t, here, "s", answerWith("here"))
		wantAnswers(t, asker, "s", "first", "here", "last")
		connect(t, here, "s", answerWith("here, too"))
		wantAnswers(t, asker, "s", "first", "here", "last", "here, too")
		late := p.OperatorOn("c", "shop")
		connect(t, late, "s", neverCalled(t))
		wantAnswers(t, asker, "s", "first", "here", "last", "here, too")
		wantAnswers(t, asker, "only b has it", "b")
		here.Leave()
		wantAnswers(t, asker, "s", "first", "b", "last")
		late.Leave()
	}
}

func TestAGuestOfSeveralNodesIsTheOneThatConnectedFirst(t *testing.T) {
	p := NewPartyline("main", Options{})
	b, c := p.OperatorOn("b", "shop"), p.OperatorOn("c", "shop")
	connect(t, b, "s", answerWith("b"))
	connect(t, c, "s", answerWith("c"))
	wantAnswers(t, p.Operator(""), "s", "b")
	b.Leave()
	wantAnswers(t, p.Operator(""), "s", "c")
}

func TestAnOperatorThatAsksHereAsksNoGuestsOfOtherNodes(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("blog"), "s", answerWith("blog"))
	connectRemote(t, p.Operator("shop"), "s", answerWith("shop"))
	connect(t, p.OperatorOn("b", "wiki"), "s", neverCalled(t))
	connectRemote(t, p.OperatorOn("b", "far"), "s", neverCalled(t))
	wantAnswers(t, p.Operator("").Here(), "s", "blog", "shop")
	wantAnswers(t, p.Operator("").Here().Only("wiki"), "s")
	wantAnswers(t, p.Operator("").Only("shop").Here(), "s", "shop")
	wantAnswers(t, p.Operator("blog").Here().Local(), "s")
	check.Fails(t, p.Operator("blog").Here().Connect("s", answerWith(1)), "cannot connect", `"blog"`)
	check.ErrorIf(t, (*Operator)(nil).Here() != nil, "a nil operator has one")
}

func TestWhoIsWhere(t *testing.T) {
	p := NewPartyline("main", Options{})
	b := p.OperatorOn("b", "shop")
	connect(t, b, "s", answerWith("b"))
	connect(t, b, "far", answerWith("b"))
	connect(t, p.Operator("blog"), "s", answerWith("blog"))
	check.Equal(t, len(p.GuestsHere()), 1)
	shop, _ := p.Guest("shop")
	check.Equal(t, shop.Node, "b")
	connect(t, p.Operator("shop"), "s", answerWith("here"))
	shop, _ = p.Guest("shop")
	check.Equal(t, shop.Node, "")
	check.Slices(t, shop.Services, []string{"far", "s"})
	here := p.GuestsHere()
	check.Equal(t, len(here), 2)
	check.Slices(t, here[1].Services, []string{"s"})
}

func TestAHandlerOfSeveralRepliesForEach(t *testing.T) {
	p := NewPartyline("main", Options{})
	broken := errors.New("broken")
	replies := Replies{{Answer: 1}, {Err: ErrHighAndDry}, {Err: broken}, {Answer: 2}}
	for _, connect := range []func(string, Handler) error{p.OperatorOn("b", "shop").ConnectPrompt, p.OperatorOn("b", "wiki").ConnectRemote} {
		check.Must(t, connect("s", func(context.Context, any) (any, error) { return replies, nil }))
	}
	answers, err := p.Operator("").AskAround(t.Context(), "s", nil)
	check.Slices(t, answers, []any{1, 2, 1, 2})
	check.ErrorIf(t, !errors.Is(err, broken), "got %v", err)
	var n int
	for r := range p.Operator("").Replies(t.Context(), "s", nil) {
		failed, ok := errors.AsType[*HandlerError](r.Err)
		check.ErrorIf(t, ok && (failed.Guest != r.Guest || failed.Service != "s"), "got %v of %s", r.Err, r.Guest)
		n++
	}
	check.Equal(t, n, 8)
	first, err := First[int](t.Context(), p.Operator(""), "s", nil)
	check.ErrorIf(t, first != 1 || err != nil, "got %v, %v", first, err)
	_, counts := p.Counts()
	check.ErrorIf(t, counts[0].Failed < 2 || counts[0].LastFailure == nil, "got %+v", counts[0])
}
