// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"slices"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestALocalOperatorAsksNobodyOutsideThisProcess(t *testing.T) {
	p := NewPartyline("main", Options{Addressee: func(string) func(any) string {
		return func(payload any) string { return payload.(string) }
	}})
	p.SetOrder([]string{"both", "remote", "local"})
	connectRemote(t, p.Operator("remote"), "s", neverCalled(t))
	connectRemote(t, p.Operator("both"), "s", neverCalled(t))
	connect(t, p.Operator("both"), "s", answerWith("never: a replica's"))
	both := p.Operator("both 2")
	connectRemote(t, both, "s", neverCalled(t))
	connect(t, both, "s", answerWith("both"))
	connect(t, p.Operator("local"), "s", answerWith("local"))
	connectRemote(t, p.Operator("only remote"), "far", neverCalled(t))

	for _, test := range []struct {
		operator *Operator
		payload  string
		want     []any
	}{
		{p.Operator("").Local(), "", []any{"local", "both"}},
		{p.Operator("local").Local(), "", []any{"both"}},
		{p.Operator("").Local(), "local", []any{"local"}},
		{p.Operator("").Local(), "remote", nil},
		{p.Operator("").Local().Only("both 2"), "", []any{"both"}},
		{p.Operator("").Only("both 2").Local(), "", []any{"both"}},
		{p.Operator("").Only("remote").Local(), "", nil},
	} {
		got, err := test.operator.AskAround(t.Context(), "s", test.payload)
		check.ErrorIf(t, err != nil || !slices.Equal(got, test.want), "%q: got %v, %v, want %v", test.payload, got, err, test.want)
	}
	got, err := p.Operator("").Local().AskAround(t.Context(), "far", "")
	check.ErrorIf(t, err != nil || len(got) > 0, "got %v, %v", got, err) // it is not missing
	check.Fails(t, p.Operator("local").Local().Connect("s", answerWith(1)), "cannot connect", `"local"`)
	check.ErrorIf(t, (*Operator)(nil).Local() != nil, "a nil operator has a local one")

	check.Slices(t, p.RemoteGuests("s"), []string{"both", "remote", "both 2"})
	check.Slices(t, p.RemoteGuests("missing"), nil)
}

func TestTheGenerationOfAServiceIsOfWhoIsConnected(t *testing.T) {
	p := NewPartyline("main", Options{})
	last := p.Generation("s")
	changes := func(changed bool, what string) {
		t.Helper()
		now := p.Generation("s")
		check.ErrorIf(t, (now != last) != changed, "%s: %d after %d", what, now, last)
		last = now
	}
	one, two := p.Operator("a"), p.Operator("a")
	connect(t, one, "s", answerWith(1))
	changes(true, "somebody has connected")
	connect(t, one, "other", answerWith(1))
	changes(false, "it is another service")
	connect(t, two, "s", answerWith(2))
	one.Leave()
	changes(true, "a replica has taken over")
	two.Leave()
	changes(true, "everybody has left")
	before := last
	connect(t, p.Operator("a"), "s", answerWith(3))
	changes(true, "somebody is there again")
	check.ErrorIf(t, last <= before, "%d comes after %d", last, before)
}
