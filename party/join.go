// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// DefaultParty is the name of a party whose handler leaves it out.
const DefaultParty = "default"

// Join returns an operator on the partyline of the config that ctx belongs to,
// for a module that is not invited. It is to be called in Provision, with the
// context given there; the party's handler may be provisioned later. With an
// empty guest name the operator cannot connect, and asks everyone.
//
// When ctx ends before its config does, the operator leaves. It does not when
// the config ends: requests in flight may still ask.
//
// It returns an error for an empty party name. A party without a name of its own
// is called DefaultParty.
func Join(ctx caddy.Context, party, guest string) (*partyline.Operator, error) {
	if party == "" {
		return nil, fmt.Errorf("joining a partyline as guest %q: the party's name is empty; a party without a name is called %q", guest, DefaultParty)
	}
	a, err := AppOf(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.entry(party)
	e.joined = append(e.joined, joining{guest, moduleOf(ctx)})
	o := a.operator(ctx, e, guest)
	o.Join()
	return o, nil
}

// moduleOf returns the ID of the module that is being provisioned.
func moduleOf(ctx caddy.Context) string {
	modules := ctx.Modules()
	if len(modules) == 0 {
		return ""
	}
	return string(modules[len(modules)-1].CaddyModule().ID)
}

// Lookup returns an operator on a partyline of the running config that asks
// everyone, for code that is given no caddy.Context. It returns false if that
// config has no such partyline. A config that is still loading, or failed to, is
// never asked. Since a reload makes new partylines, the operator is not to be kept.
func Lookup(party string) (*partyline.Operator, bool) {
	a, ok := Running()
	if !ok {
		return nil, false
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	e, ok := a.entries[party]
	if !ok {
		return nil, false
	}
	return e.anyone, true
}

// PartyInfo is what there is to know of a party of the running config.
type PartyInfo struct {
	// Partyline is the party's. It tells who is on the line, and what was asked.
	Partyline *partyline.Partyline

	// Invites are those of all handlers that name the party, by server and as
	// configured.
	Invites []InviteInfo

	// InvitesSent is how many invites came to which result since the process
	// began, from config to config. All results are in it.
	InvitesSent map[InviteResult]uint64
}

// Parties returns the parties of the running config in alphabetical order. A config
// that is still loading, or failed to, is never asked.
func Parties() []PartyInfo {
	a, ok := Running()
	if !ok {
		return nil
	}
	a.mu.RLock()
	lines := slices.Collect(maps.Values(a.entries))
	a.mu.RUnlock()
	parties := make([]PartyInfo, 0, len(lines))
	for _, e := range lines {
		info := PartyInfo{Partyline: e.Partyline, InvitesSent: make(map[InviteResult]uint64)}
		for _, h := range a.hostsOf(e.Name()) {
			info.Invites = append(info.Invites, h.Invites()...)
		}
		for i, result := range inviteResults {
			info.InvitesSent[result] = e.history.invites[i].Load()
		}
		parties = append(parties, info)
	}
	slices.SortFunc(parties, func(a, b PartyInfo) int {
		return cmp.Compare(a.Partyline.Name(), b.Partyline.Name())
	})
	return parties
}

// operator returns a new operator that leaves when ctx ends, unless its config ends.
func (a *App) operator(ctx context.Context, e *Entry, guest string) *partyline.Operator {
	if guest != "" {
		kept.Hold(&a.holds, guestsKept, guestIn{e.Name(), guest})
	}
	o := e.Operator(guest)
	stop := context.AfterFunc(ctx, func() {
		if !a.endedWith(ctx) {
			o.Leave()
		}
	})
	o.OnLeave(func() { stop() })
	return o
}

// endedWith reports whether ctx ended because the config did, whose context Caddy ends with
// a cause of its own, such as "stopping apps" in unsyncedStop.
func (a *App) endedWith(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return cause != nil && cause != context.Canceled && cause != context.DeadlineExceeded && a.ctx.Err() != nil
}
