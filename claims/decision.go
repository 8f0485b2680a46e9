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
// later decide the same, though what is claimed, or the share, has changed since: of `claimed_by new` and
// `not claimed_by new` one always matches.
type decision struct {
	claim  party.Claim
	entry  *party.Entry
	guest  string
	claims bool
	inFull bool // whether an application may have been asked
	shares map[string]share
	before *decision // nil if none is
}

// String keeps the variable from showing what is decided, which is nobody else's.
func (*decision) String() string { return "" }

// decide returns what has been decided of the request, or else has the guest say, and whether the visitor
// who makes it is in the share. For a guest with one matcher nothing is kept.
func (m *Matcher) decide(r *http.Request, asked ClaimRequest) (d *decision, shared bool, err error) {
	shares, last := m.state.setShares(), (*decision)(nil)
	if m.several.Load() {
		last, _ = caddyhttp.GetVar(r.Context(), decisionsVar).(*decision)
		for d := last; d != nil; d = d.before {
			if d.entry != m.entry || d.guest != m.ClaimedBy || d.claim.ClaimRequest != asked {
				continue
			}
			shares = d.shares
			if shared = m.sharedBy(r, shares); d.claims || d.inFull || !shared {
				return d, shared, nil
			}
			break
		}
	}
	shared = m.sharedBy(r, shares)
	d = &decision{claim: party.Claim{ClaimRequest: asked}, entry: m.entry, guest: m.ClaimedBy, inFull: shared, shares: shares, before: last}
	if shared {
		d.claims, err = m.claimant.Claims(r.Context(), &d.claim)
	} else { // whatever it fails to say is no matter to this visitor
		d.claims, _ = m.claimant.ClaimsHere(r.Context(), &d.claim)
	}
	if err == nil && m.several.Load() {
		caddyhttp.SetVar(r.Context(), decisionsVar, d)
	}
	return d, shared, err
}
