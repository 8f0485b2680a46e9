// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What is said of a request holds for all of its routes.

package claims

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/party"
)

// decisionsVar is the request variable with what has been decided of a request, a *decision.
const decisionsVar = "wsgi_party.decisions"

// decision is whether a guest claims a request, and what shares there were then. Matchers that come
// later decide the same, though what is claimed, the share, or what visitors are told apart by has changed
// since: of `claimed_by new` and `not claimed_by new` one always matches.
type decision struct {
	claim    party.Claim
	entry    *party.Entry
	guest    string
	claims   bool
	inFull   bool // whether an application may have been asked
	shares   map[string]share
	visitors []visitor
	before   *decision // nil if none is
}

// visitor is who makes the request, as one matcher or several have it.
type visitor struct{ by, is string }

// String keeps the variable from showing what is decided, which is nobody else's.
func (*decision) String() string { return "" }

// sharedBy reports whether the visitor who makes the request is in the matcher's share.
func (d *decision) sharedBy(r *http.Request, m *Matcher) bool {
	s := m.shareIn(d.shares)
	switch {
	case s.all():
		return true
	case !m.several.Load():
		return s.has(m.ClaimedBy, m.visitor(r))
	}
	for _, v := range d.visitors {
		if v.by == m.By {
			return s.has(m.ClaimedBy, v.is)
		}
	}
	v := visitor{m.By, m.visitor(r)}
	d.visitors = append(d.visitors, v)
	return s.has(m.ClaimedBy, v.is)
}

// decide returns what has been decided of the request, or else has the guest say, and whether the visitor
// who makes it is in the share. For a guest with one matcher nothing is kept.
func (m *Matcher) decide(r *http.Request, asked ClaimRequest) (d *decision, shared bool, err error) {
	d = &decision{claim: party.Claim{ClaimRequest: asked}, entry: m.entry, guest: m.ClaimedBy, shares: m.state.setShares()}
	if m.several.Load() {
		d.before, _ = caddyhttp.GetVar(r.Context(), decisionsVar).(*decision)
		for last := d.before; last != nil; last = last.before {
			if last.entry != m.entry || last.guest != m.ClaimedBy || last.claim.ClaimRequest != asked {
				continue
			}
			if shared = last.sharedBy(r, m); last.claims || last.inFull || !shared {
				return last, shared, nil
			}
			d.shares, d.visitors = last.shares, last.visitors
			break
		}
	}
	shared = d.sharedBy(r, m)
	if d.inFull = shared; shared {
		d.claims, err = m.claimant.Claims(r.Context(), &d.claim)
	} else { // whatever it fails to say is no matter to this visitor
		d.claims, _ = m.claimant.ClaimsHere(r.Context(), &d.claim)
	}
	if err == nil && m.several.Load() {
		caddyhttp.SetVar(r.Context(), decisionsVar, d)
	}
	return d, shared, err
}
