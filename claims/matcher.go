// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package claims

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/guestname"
	"github.com/wsgiparty/wsgiparty/internal/nearest"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/party"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(Matcher))
}

// Matcher is an HTTP request matcher for requests that an application claims. It matches the requests that
// a guest of a party says are its own, and every invite and ask addressed to this guest. So two
// applications can share one mount. A page moves from one to the other when the other one claims it, with
// no change to Caddy's config.
//
//	wsgi_party main {
//		invite /__invite__/ as new
//		invite /__invite__/ as legacy
//		@new wsgi_party claimed_by new
//		handle @new {
//			wsgi_party_guest new
//			reverse_proxy localhost:9000
//		}
//		handle {
//			wsgi_party_guest legacy
//			reverse_proxy localhost:8000
//		}
//	}
//
// A guest claims requests in its manifest, in `wsgi_party_guest`, or by a handler that it connects under
// the service `claims`. It is asked with the method, the host, the query, and the path that it would see,
// without its mount. Empty and dot segments of the path are resolved, whether they are escaped or not, as
// in Caddy's `path` matcher, but the path keeps its case. A WebSocket is a GET request, also over HTTP/2
// and HTTP/3: `reverse_proxy` turns its CONNECT into one.
//
// Only what the guest says counts. Nothing in a request, which anybody can make, makes it count as an
// invite or an ask. If the guest fails to say whether a request is its own, the request gets status 503,
// because neither application may get it by accident.
//
// With `share` only a part of the visitors goes to the guest. A hash of the guest's name and `by` chooses
// them, so they are always the same ones, and a larger share only adds to them. For all other visitors the
// guest's application is not asked, and a failure of the guest does not matter. To change the share until
// the config is loaded again, use `caddy wsgi-party share <party> <guest> <n>%`. `caddy wsgi-party route
// <party> <method> <path>` says who claims a request, and why others do not.
//
// The request variable `{http.vars.wsgi_party.claim}` is what the guest claims the request by, such as the
// pattern `GET /users/{id}`. It is set even if the share leaves the visitor to another application.
//
// In an `expression` the matcher is a function: `wsgi_party({'claimed_by': 'new', 'share': '10%'})`. If
// you use it outside of the party, write the status in `handle_errors`, as in `respond "Sorry"
// {err.status_code}`. Otherwise Caddy answers with status 200, since it does not see the status of an
// error in an expression.
type Matcher struct {
	// Required. The name of the guest. Global placeholders such as `{env.NEW}` are replaced when the
	// config loads.
	ClaimedBy string `json:"claimed_by,omitempty"`

	// The name of the party. Default: the party in whose routes the matcher is. Required elsewhere, such
	// as in a named route, even if a party invokes that. Requests must then arrive with the guest's mount
	// still in their paths: nothing may have stripped it.
	Party string `json:"party,omitempty"`

	// The share of the visitors whose requests match, if they are claimed, from `0%` to `100%`. Decimals
	// are allowed. Invites and asks always match. Default: `100%`.
	Share string `json:"share,omitempty"`

	// What identifies a visitor: a text with placeholders, such as `{http.request.cookie.session}`.
	// Requests for which it is empty are in no share but `100%`. Default: `{http.vars.client_ip}`.
	By string `json:"by,omitempty"`

	logger   *zap.Logger
	entry    *party.Entry
	state    *state
	claimant *party.Claimant
	server   string
	share    share
	several  atomic.Bool           // whether there are other matchers for the guest
	place    atomic.Pointer[place] // nil if no invite has come
}

// place is where a matcher stands.
type place struct {
	stripped string // of the path before a request comes there
	own      bool   // as the invite of the matcher's own guest has it
}

// CaddyModule returns the Caddy module information.
func (*Matcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.wsgi_party", New: func() caddy.Module { return new(Matcher) }}
}

// Provision finds the party.
func (m *Matcher) Provision(ctx caddy.Context) error {
	m.logger = ctx.Logger()
	if err := m.check(); err != nil {
		return fmt.Errorf("wsgi_party: %w", err)
	}
	if h := party.Around(ctx); m.Party == "" && h != nil {
		m.Party = h.Name()
	}
	if m.Party == "" {
		return fmt.Errorf("this wsgi_party matcher is in no party's routes (in a named route it never is): say whose guest %s is, as in `wsgi_party claimed_by %[1]s party <party>`; %s", m.ClaimedBy, party.WhichParties(ctx))
	}
	operator, err := party.Join(ctx, m.Party, "")
	if err != nil {
		return err
	}
	m.entry = operator.Partyline().Owner().(*party.Entry)
	m.claimant = m.entry.Claimant(m.ClaimedBy)
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		m.server = server.Name()
	}
	m.state = party.StateOf[state](m.entry)
	m.state.add(m)
	app, err := party.AppOf(ctx)
	if err == nil {
		app.WarnAtStart(m.warn)
	}
	return err
}

// Cleanup forgets the matcher.
func (m *Matcher) Cleanup() error {
	if m.state != nil {
		m.state.remove(m)
	}
	return nil
}

// check sets the defaults, and returns what is wrong with the settings.
func (m *Matcher) check() (err error) {
	if m.ClaimedBy == "" {
		return errors.New("claimed_by is missing: write whose requests to match, as in `wsgi_party claimed_by new`")
	}
	if m.ClaimedBy, err = caddy.NewReplacer().ReplaceOrErr(m.ClaimedBy, true, true); err != nil {
		return fmt.Errorf("claimed_by: %w", err)
	}
	if err := guestname.Check(m.ClaimedBy); err != nil {
		return fmt.Errorf("claimed_by %q cannot be a guest: %w", m.ClaimedBy, err)
	}
	if m.share, err = parseShare(cmp.Or(m.Share, "100%")); err != nil {
		return err
	}
	m.By = cmp.Or(m.By, byClientIP)
	if open := strings.IndexByte(m.By, '{'); open < 0 || !strings.Contains(m.By[open:], "}") {
		return fmt.Errorf("by %q is the same for all visitors: write a placeholder, such as {client_ip} or {http.request.cookie.session}", m.By)
	}
	return nil
}

// warn warns of a guest that the party does not have.
func (m *Matcher) warn() {
	guests, hosted := m.entry.Expected()
	if !hosted || slices.Contains(guests, m.ClaimedBy) { // of a party that is not there the app warns
		return
	}
	m.logger.Warn("a matcher is for a guest that the party does not have: it matches nothing", zap.String("party", m.Party), zap.String("claimed_by", m.ClaimedBy),
		zap.String("hint", fmt.Sprintf("no guest of party %s is called %q%s; %s; correct the name, or write `invite <uri> as %s` in the wsgi_party block", m.Party, m.ClaimedBy, nearest.DidYouMean(m.ClaimedBy, guests...), nearest.ThereAre("guest", guests), m.ClaimedBy)))
}

// MatchWithError reports whether the guest claims the request, or is to have it since it is an
// invite or an ask that is addressed to this guest.
func (m *Matcher) MatchWithError(r *http.Request) (bool, error) {
	if e, guest := party.AddressedTo(r); e != nil {
		own := e == m.entry && guest == m.ClaimedBy
		m.learnPlace(r, own)
		return own, nil
	}
	stripped := ""
	if p := m.place.Load(); p != nil {
		stripped = p.stripped
	}
	seen, ok := m.claimant.See(r.URL, stripped)
	if !ok {
		return false, nil
	}
	d, shared, err := m.decide(r, ClaimRequest{Method: methodOf(r), Host: party.HostOf(r.Host), Path: seen, RawQuery: r.URL.RawQuery})
	if err != nil {
		status := http.StatusServiceUnavailable
		if r.Context().Err() != nil { // the client has gone
			status = subrequest.StatusClientClosedRequest
		}
		return false, caddyhttp.Error(status, err)
	}
	if d.claims {
		caddyhttp.SetVar(r.Context(), party.ClaimVar, &d.claim)
	}
	return d.claims && shared, nil
}

// methodOf returns the request's method as the application gets it from reverse_proxy, which makes a GET request
// with an Upgrade of the extended CONNECT that opens a WebSocket over HTTP/2 or HTTP/3.
func methodOf(r *http.Request) string {
	if r.Method == http.MethodConnect && (r.ProtoMajor == 2 && r.Header.Get(":protocol") == "websocket" || r.ProtoMajor == 3 && r.Proto == "websocket") {
		return http.MethodGet
	}
	return r.Method
}

// learnPlace notes what is stripped of paths before they come to the matcher, which invites show while the
// config loads. Those of other guests may be stripped of something else.
func (m *Matcher) learnPlace(r *http.Request, own bool) {
	if stripped, ok := m.entry.StrippedFrom(r); ok {
		if known := m.place.Load(); known == nil || own || !known.own {
			m.place.Store(&place{stripped, own})
		}
	}
}

// Interface guards
var (
	_ caddy.Provisioner                 = (*Matcher)(nil)
	_ caddy.CleanerUpper                = (*Matcher)(nil)
	_ caddyhttp.RequestMatcherWithError = (*Matcher)(nil)
	_ caddyhttp.CELLibraryProducer      = (*Matcher)(nil)
)
