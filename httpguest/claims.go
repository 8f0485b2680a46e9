// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Which requests, and hosts, are the application's.

package httpguest

import (
	"context"
	"maps"
	"slices"

	"github.com/wsgiparty/wsgiparty/internal/claimpattern"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// claimer says by what a request is the application's. It declines by ErrHighAndDry.
type claimer func(ctx context.Context, r party.ClaimRequest) (by string, err error)

// claimsOf returns what claims by the patterns of a manifest, and by its pages.
func (a *application) claimsOf(m *manifest.Manifest) claimer {
	patterns, declared := m.Claims.Patterns, a.declared.Claims != nil
	pages, declaredPages := new(claimpattern.Pages), new(claimpattern.Pages)
	if m.Claims.URLs {
		pages = pagesOf(m)
	}
	if m.Claims.URLs && declared {
		declaredPages = pagesOf(a.declared)
	}
	return func(_ context.Context, r party.ClaimRequest) (string, error) {
		host := r.Host
		if host != "" && patterns.HasHosts() && !a.app.HasHost(host) {
			host = ""
			r.Because("no site of this Caddy has its host, so patterns for that host claim nothing")
		}
		isOperators := declared
		by, ok := patterns.Match(r.Method, host, r.Path)
		if !ok {
			by, ok = declaredPages.Match(r.Path)
		}
		if !ok {
			by, ok = pages.Match(r.Path)
			isOperators = false
		}
		switch {
		case !ok && m.Claims.URLs:
			r.Because("none of its patterns matches, and none of its pages is there")
		case !ok:
			r.Because("none of its patterns matches")
		case isOperators || a.mayClaim(r):
			return by, nil
		}
		return "", partyline.ErrHighAndDry
	}
}

// pagesOf returns the pages of a manifest, always in the same order.
func pagesOf(m *manifest.Manifest) *claimpattern.Pages {
	var templates []*urltemplate.Template
	for _, name := range slices.Sorted(maps.Keys(m.URLs)) {
		templates = append(templates, m.URLs[name])
	}
	return claimpattern.NewPages(templates)
}

// constantClaim is for a service claims that is a constant.
func (a *application) constantClaim(answer string) claimer {
	declared := a.declaresService(party.ClaimsService)
	return func(_ context.Context, r party.ClaimRequest) (string, error) {
		if answer == "true" && (declared || a.mayClaim(r)) {
			return "its answer true for everything", nil
		}
		return "", partyline.ErrHighAndDry
	}
}

// claimOverHTTP is for a service claims that is an href.
func (a *application) claimOverHTTP(h manifest.Handler) claimer {
	declared := a.declaresService(party.ClaimsService)
	by, no := "its answer to "+h.Href.String(), "its application says no, asked at "+h.Href.String()
	ask := a.asker(party.ClaimsService, h)
	return func(ctx context.Context, r party.ClaimRequest) (string, error) {
		if !declared && !a.mayClaim(r) {
			return "", partyline.ErrHighAndDry
		}
		claims, err := a.askWhetherClaimed(ctx, h, ask, r)
		switch {
		case err != nil && a.passes() && ctx.Err() == nil:
			if r.WantsReasons() {
				r.Because("its application did not say, and `unavailable pass` leaves its requests to others: " + err.Error())
			}
		case err != nil:
			return "", err
		case claims:
			return by, nil
		default:
			r.Because(no)
		}
		return "", partyline.ErrHighAndDry
	}
}

// lastingClaims is answerClaims for what the manifest says itself.
func (a *application) lastingClaims(claim claimer) partyline.Handler {
	answer := a.answerClaims(claim)
	if a.passes() { // which depends on whether the application is up
		return answer
	}
	return func(ctx context.Context, payload any) (any, error) {
		party.SayLasting(ctx, a.guest())
		return answer(ctx, payload)
	}
}

// answerClaims returns a handler of the service claims.
func (a *application) answerClaims(claim claimer) partyline.Handler {
	return func(ctx context.Context, payload any) (any, error) {
		r, err := party.CleanClaimRequestOf(payload)
		if err != nil {
			return nil, err
		}
		if a.isDown() {
			r.Because("its application is down, and `unavailable pass` leaves its requests to others")
			return nil, partyline.ErrHighAndDry
		}
		by, err := claim(ctx, r)
		if err != nil {
			return nil, err
		}
		r.By(by)
		return true, nil
	}
}

// mayClaim reports whether a request is one that the application's manifest may claim.
func (a *application) mayClaim(r party.ClaimRequest) bool {
	base := a.invitation.Base()
	isBase := base == "" || base == a.stripped
	if isBase && !a.invitation.OthersBelow() {
		return true
	}
	target := a.path + r.Path
	if isBase || isUnder(target, base) {
		if _, _, isOthers := a.invitation.OtherGuestAt(target); !isOthers {
			return true
		}
	}
	if r.WantsReasons() {
		r.Because("its manifest may not claim it: " + a.checkURL(target).Error())
	}
	return false
}

// answerHosts returns a handler of the service hosts, for which claim is called only with
// hosts that a site has.
func (a *application) answerHosts(claim partyline.Handler) partyline.Handler {
	return func(ctx context.Context, payload any) (any, error) {
		host, err := partyline.PayloadAs[string](payload)
		if err != nil {
			return nil, err
		}
		if !a.app.HasHost(host) {
			return nil, partyline.ErrHighAndDry
		}
		return claim(ctx, host)
	}
}

func hostOf(h *manifest.Hosts) partyline.Handler {
	return func(_ context.Context, payload any) (any, error) {
		if _, ok := h.Match(payload.(string)); !ok {
			return nil, partyline.ErrHighAndDry
		}
		return true, nil
	}
}
