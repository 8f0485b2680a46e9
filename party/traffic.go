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

	// meterVar begins the name of the one with the Meter of the last guest of a party that the request has come to.
	meterVar = "wsgi_party.meter."

	guestPlaceholder = "http.wsgi_party.guest"
)

// Meter counts the requests to a guest.
type Meter struct {
	name     any // boxed once
	guest    *traffic.Guest
	variable string
}

// Meter returns that of the guest, for the handler that speaks for it and passes requests on.
func (i *Invitation) Meter() *Meter {
	e := i.host.entry
	return &Meter{i.invited.guest, e.history.traffic.Guest(i.invited.guest), meterVar + e.Name()}
}

// String keeps the variable from showing more than the guest's name.
func (m *Meter) String() string { return m.name.(string) }

// Passing is an ordinary request on its way to a guest's application.
type Passing struct {
	meter       *Meter
	vars        map[string]any
	claim, path string
}

// Begin is called with each ordinary request before it is passed on. It sets the placeholder
// `{http.wsgi_party.guest}`. When the request comes back, End counts it.
func (m *Meter) Begin(r *http.Request) Passing {
	if placeholders, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		placeholders.Set(guestPlaceholder, m.name)
	}
	claim := ""
	vars, ok := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if ok {
		vars[m.variable] = m
	}
	if c, ok := vars[ClaimVar].(*Claim); ok {
		claim = c.ClaimedBy()
	}
	path := ""
	if claim == "" {
		path = claimpath.Clean(r.URL) // now: handlers may rewrite it
	}
	return Passing{m, vars, claim, path}
}

// End counts the request by the status that the client gets. It returns false, and counts nothing, if
// the request went on to another guest of the party, whose handler stands behind this one.
func (p Passing) End(status int) bool {
	if last, ok := p.vars[p.meter.variable].(*Meter); ok && last != p.meter {
		return false
	}
	p.meter.guest.Count(status, p.claim, p.path)
	return true
}

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
