// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The migration meter: which guests the requests go to.

package party

import (
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/claimpath"
	"github.com/wsgiparty/wsgiparty/internal/traffic"
)

const (
	// ClaimVar is the request variable with the Claim by which a guest claims the request, also where
	// the request then goes to another guest. It prints as the pattern.
	ClaimVar = "wsgi_party.claim"

	guestPlaceholder = "http.wsgi_party.guest"
)

// Meter counts the requests to a guest.
type Meter struct {
	name  any // boxed once
	guest *traffic.Guest
}

// Meter returns that of the guest, for the handler that speaks for it and passes requests on.
func (i *Invitation) Meter() *Meter {
	return &Meter{i.invited.guest, i.host.entry.history.traffic.Guest(i.invited.guest)}
}

// Passing is an ordinary request on its way to a guest's application.
type Passing struct {
	guest       *traffic.Guest
	claim, path string
}

// Begin is called with each ordinary request before it is passed on. It sets the placeholder
// `{http.wsgi_party.guest}`. When the request comes back, End counts it.
func (m *Meter) Begin(r *http.Request) Passing {
	if placeholders, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		placeholders.Set(guestPlaceholder, m.name)
	}
	claim := ""
	if c, ok := caddyhttp.GetVar(r.Context(), ClaimVar).(*Claim); ok {
		claim = c.ClaimedBy()
	}
	path := ""
	if claim == "" {
		path = claimpath.Clean(r.URL) // now: handlers may rewrite it
	}
	return Passing{m.guest, claim, path}
}

// End counts the request by the status that the client gets.
func (p Passing) End(status int) { p.guest.Count(status, p.claim, p.path) }

// Traffic returns what the party's requests went to in the last hour or two, and by guest all that were
// counted from config to config. A guest is there if an application behind a handler that speaks for it has had
// requests, or is invited.
func (e *Entry) Traffic() traffic.Traffic {
	t := e.history.traffic.Read()
	t.Guests = slices.DeleteFunc(t.Guests, func(g traffic.GuestTraffic) bool {
		return g.All.Sum() == 0 && !e.IsInOrder(g.Guest) // as after a config that failed to load
	})
	return t
}
