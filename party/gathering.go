// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What asks need whose answers are for many requests.

package party

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// InvitedGuest is a guest that a party invites.
type InvitedGuest struct {
	Guest  string
	OnLine bool // whether it has joined
	Failed bool // whether its last invite has
}

// Invited returns the guests that the party invites, in the order in which they are asked. It is experimental.
func (e *Entry) Invited() []InvitedGuest {
	var guests []InvitedGuest
	for _, i := range e.app.invitesOf(e.Name()) {
		n := slices.IndexFunc(guests, func(g InvitedGuest) bool { return g.Guest == i.guest })
		if n < 0 {
			_, onLine := e.Guest(i.guest)
			n, guests = len(guests), append(guests, InvitedGuest{Guest: i.guest, OnLine: onLine})
		}
		if info := i.last.Load(); info != nil && info.Result == InviteFailed {
			guests[n].Failed = !guests[n].OnLine
		}
	}
	return guests
}

// OriginOf returns the scheme and host of the guest's invite, empty if that says none. It is experimental.
func (e *Entry) OriginOf(guest string) string {
	for _, i := range *e.invited.Load() {
		if i.guest == guest && i.uri.IsAbs() {
			return originOf(i.uri)
		}
	}
	return ""
}

// Shared returns the context for an ask whose answers are for all whose links have the same prefixes as those of whoever asks
// in ctx: it has nothing else of ctx, and does not end with it. The text is another one for other prefixes, and empty for
// none. It is experimental.
func (e *Entry) Shared(ctx context.Context) (context.Context, string) {
	found := e.app.prefixesIn(ctx)
	if len(found) == 0 {
		return context.Background(), ""
	}
	var text strings.Builder
	for _, header := range slices.Sorted(maps.Keys(found)) {
		text.WriteString(header + ": " + found[header] + "\n")
	}
	return context.WithValue(context.Background(), prefixesKey{}, found), text.String()
}

// Ended reports whether the config has ended. It is experimental.
func (e *Entry) Ended() bool { return e.app.ctx.Err() != nil }

// Storage returns that of the config. It is experimental.
func (e *Entry) Storage() *Storage { return e.app.Storage() }
