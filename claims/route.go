// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Who claims a request, by what, and why others do not.

package claims

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/nearest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"golang.org/x/net/http/httpguts"
)

// The JSON of the endpoint.
type (
	routeJSON struct {
		Party   string         `json:"party"`
		Method  string         `json:"method"`
		Host    string         `json:"host"`
		Path    string         `json:"path"`
		Guest   string         `json:"guest"`   // whose matcher is the first to match for anybody, empty if none is
		Pattern string         `json:"pattern"` // by which it claims the request
		Guests  []claimantJSON `json:"guests"`
	}
	claimantJSON struct {
		Guest    string        `json:"guest"`
		Path     string        `json:"path"` // as the guest would see it, empty for one that is not below its mount
		Claims   bool          `json:"claims"`
		Pattern  string        `json:"pattern"`
		Error    string        `json:"error"`
		Why      []string      `json:"why"` // it claims the request or not, and gets it or not
		Matchers []matcherJSON `json:"matchers"`
	}
	matcherJSON struct {
		Server     string `json:"server"`
		Share      string `json:"share"`      // now
		Configured string `json:"configured"` // what it is in the config
		By         string `json:"by"`         // what it is chosen by
	}
)

// routed is a request that somebody wants to know the route of.
type routed struct {
	method, host string
	url          *url.URL
}

// parseRouted returns what the query of a request to the endpoint asks for.
func parseRouted(query url.Values) (routed, error) {
	r := routed{method: cmp.Or(strings.ToUpper(query.Get("method")), http.MethodGet), host: party.HostOf(query.Get("host"))}
	if !httpguts.ValidHeaderFieldName(r.method) { // a token, too
		return r, fmt.Errorf("method is %q: write one such as GET", r.method)
	}
	path := query.Get("path")
	if !strings.HasPrefix(path, "/") {
		return r, fmt.Errorf("path is %q: write the path of a request, which begins with a slash, such as /invoices/7", path)
	}
	u, err := url.ParseRequestURI(path)
	if err != nil || u.Host != "" {
		// It may begin with two slashes.
		u, err = new(url.URL).Parse("//host" + path)
	}
	if err != nil {
		if urlError, ok := errors.AsType[*url.Error](err); ok {
			err = urlError.Err // without the URL made of it
		}
		return r, fmt.Errorf("path is %q: %w: write the path of a request, such as /invoices/7, with each %% as %%25", path, err)
	}
	r.url = u
	return r, nil
}

// route says who claims the request.
func route(ctx context.Context, e *party.Entry, r routed) routeJSON {
	j := routeJSON{Party: e.Name(), Method: r.method, Host: r.host, Path: r.url.RequestURI(), Guests: []claimantJSON{}}
	matchers := party.StateOf[state](e).all()
	var before []string // whose matchers have matched for some visitors
	nobodyLeft := false
	for _, guest := range guestsOf(e, matchers) {
		c := claimant(ctx, e, guest, r)
		own := slices.DeleteFunc(slices.Clone(matchers), func(m *Matcher) bool { return m.ClaimedBy != guest })
		for _, m := range own {
			c.Matchers = append(c.Matchers, toJSON(m))
		}
		switch {
		case !c.Claims && c.Error == "":
		case len(own) == 0:
			c.Why = append(c.Why, "but no matcher of the config says `claimed_by "+guest+"`")
		case nobodyLeft:
			c.Why = append(c.Why, "but "+all(before, "comes", "come")+" first")
		default:
			share := own[0].shareNow()
			who := "all visitors"
			if !share.all() {
				who = fmt.Sprintf("%v of the visitors (by %s)", share, own[0].By)
			}
			if len(before) > 0 {
				who += " that " + all(before, "leaves", "leave") + " over"
			}
			if c.Claims {
				c.Why = append(c.Why, "its matcher matches for "+who)
			} else {
				c.Why = append(c.Why, who+" get status 503")
			}
			if c.Claims && j.Guest == "" && share.percent > 0 {
				j.Guest, j.Pattern = guest, c.Pattern
			}
			before, nobodyLeft = append(before, guest), share.all()
		}
		j.Guests = append(j.Guests, c)
	}
	return j
}

// all returns what several guests do, or one.
func all(guests []string, does, do string) string {
	if len(guests) == 1 {
		do = does
	}
	return strings.Join(guests, " and ") + " " + do
}

// guestsOf returns the guests of a party, those first for whom matchers are, in the order of these.
func guestsOf(e *party.Entry, matchers []*Matcher) (guests []string) {
	add := func(guest string) {
		if !slices.Contains(guests, guest) {
			guests = append(guests, guest)
		}
	}
	for _, m := range matchers {
		add(m.ClaimedBy)
	}
	expected, _ := e.Expected()
	for _, guest := range expected {
		add(guest)
	}
	for _, guest := range e.Guests() {
		add(guest.Name)
	}
	return guests
}

// claimant says whether one guest claims the request, and why.
func claimant(ctx context.Context, e *party.Entry, guest string, r routed) claimantJSON {
	c := claimantJSON{Guest: guest, Why: []string{}, Matchers: []matcherJSON{}}
	asked := e.Claimant(guest)
	seen, ok := asked.See(r.url, "")
	switch {
	case !ok:
		c.Why = append(c.Why, "the path is not below the guest's mount, "+e.MountFor(ctx, guest))
		return c
	case !e.IsConnected(guest, ClaimsService):
		c.Path = seen
		c.Why = append(c.Why, notConnected(e, guest))
		return c
	}
	claim := &party.Claim{ClaimRequest: ClaimRequest{Method: r.method, Host: r.host, Path: seen, RawQuery: r.url.RawQuery}, Explain: true}
	claims, err := asked.Claims(ctx, claim)
	c.Path, c.Claims = seen, claims
	switch {
	case claims:
		c.Pattern = claim.ClaimedBy()
		c.Why = append(c.Why, "it claims the request")
	case err != nil:
		c.Error = wire.Message(err)
		c.Why = append(claim.Reasons(), "it fails to say: "+c.Error)
	default:
		if c.Why = claim.Reasons(); len(c.Why) == 0 {
			c.Why = append(c.Why, "it says no")
		}
	}
	return c
}

func notConnected(e *party.Entry, guest string) string {
	if _, ok := e.Guest(guest); !ok {
		if expected, _ := e.Expected(); !slices.Contains(expected, guest) {
			return "the party has no guest of this name" + nearest.DidYouMean(guest, expected...)
		}
		return "it is not on the line: `caddy wsgi-party show " + e.Name() + "` says why"
	}
	return "it claims nothing: it has no patterns, and answers for no service " + ClaimsService
}

func toJSON(m *Matcher) matcherJSON {
	return matcherJSON{m.server, m.shareNow().String(), m.share.String(), m.By}
}
