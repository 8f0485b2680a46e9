// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Asking whose a request is: by what of its path the guest sees, and in links, where a guest that
// claims what it links to goes before others.

package party

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/claimpath"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// claimBelow has the guest claim requests by what it sees of their paths, as r came to it, which
// is its invite.
func (i *Invitation) claimBelow(r *http.Request) {
	if stripped, ok := i.strippedBefore(r); ok && !i.mount.taken {
		i.setMount(i.mount.path, cleanMount(stripped), true)
	}
}

// StrippedFrom returns what has been stripped of the path of an invite to any guest of the party
// where that comes by as r, and false for another request, and for a path that was rewritten.
func (e *Entry) StrippedFrom(r *http.Request) (stripped string, ok bool) {
	i := PeekInvitation(r)
	if i == nil || i.host.entry != e {
		return "", false
	}
	stripped, ok = i.strippedBefore(r)
	return cleanMount(stripped), ok
}

// Claimant asks one guest whether requests are its own.
type Claimant struct {
	entry      *Entry
	guest      string
	ask, local *partyline.Operator
}

// Claimant returns that of a guest, whether it is on the line or not.
func (e *Entry) Claimant(guest string) *Claimant {
	ask := e.anyone.Only(guest)
	return &Claimant{e, guest, ask, ask.Local()}
}

// See returns what the guest sees of the path of a request, which has come to where so much of it
// has been stripped as StrippedFrom says. It returns false for a path that is not below the guest's mount.
func (c *Claimant) See(u *url.URL, stripped string) (seen string, ok bool) {
	if !strings.HasPrefix(u.Path, "/") && u.Path != "" { // it is not a path, but * or what is left of a prefix
		return "", false
	}
	unseen := ""
	if m, ok := c.entry.mounts.Load(c.guest); ok {
		unseen = m.(*mount).unseen
	}
	rest, ok := strings.CutPrefix(unseen, stripped)
	if !ok { // the guest sees more of it than is left
		u, rest = withPrefix(stripped, u), unseen
	}
	return claimpath.Below(u, rest)
}

// withPrefix returns the URL with something escaped before its path.
func withPrefix(escaped string, u *url.URL) *url.URL {
	unescaped, _ := url.PathUnescape(escaped) // it is a part of a URL's
	return &url.URL{Path: unescaped + u.Path, RawPath: escaped + u.EscapedPath()}
}

// Claims reports whether the guest claims a request. It returns an error if the guest has failed to
// say so, which is neither yes nor no.
func (c *Claimant) Claims(ctx context.Context, claim *Claim) (bool, error) {
	return c.claims(ctx, c.ask, claim)
}

// ClaimsHere is Claims by what is known in this process: where only the guest's application could
// say, it does not claim the request.
func (c *Claimant) ClaimsHere(ctx context.Context, claim *Claim) (bool, error) {
	return c.claims(ctx, c.local, claim)
}

func (c *Claimant) claims(ctx context.Context, asks *partyline.Operator, claim *Claim) (bool, error) {
	var failed error
	ctx, replied, end := within(ctx)
	defer end()
	for r := range asks.Replies(ctx, ClaimsService, claim) {
		replied(r.Guest, r.Err)
		switch {
		case r.Err == nil && isTrue(r.Answer):
			return true, nil
		case r.Err == nil || r.Err == partyline.ErrHighAndDry:
		default:
			failed = firstError(failed, r.Err)
		}
	}
	if failed != nil {
		failed = &UnknownClaimError{c.entry.Name(), c.guest, failed}
	}
	return false, failed
}

// UnknownClaimError is why it is not known whether a guest claims a request.
type UnknownClaimError struct {
	Party, Guest string
	Err          error
}

func (e *UnknownClaimError) Error() string {
	return fmt.Sprintf("cannot tell whether guest %q of party %q claims the request: %v", e.Guest, e.Party, e.Err)
}

func (e *UnknownClaimError) Unwrap() error { return e.Err }

// WithStatus returns the error of a handler with its status, where it is an UnknownClaimError and
// Caddy's servers would not see that: expressions wrap what matchers return.
func WithStatus(err error) error {
	if _, ok := err.(caddyhttp.HandlerError); ok {
		return err
	}
	if unknown, ok := errors.AsType[*UnknownClaimError](err); ok {
		return caddyhttp.Error(http.StatusServiceUnavailable, unknown)
	}
	return err
}

// firstError returns the first of two errors that says more than that nobody claims anything.
func firstError(first, next error) error {
	if _, missing := errors.AsType[*partyline.NoSuchServiceError](next); missing || first != nil {
		return first
	}
	return next
}

func isTrue(answer any) bool {
	switch answer := answer.(type) {
	case bool:
		return answer
	case json.RawMessage:
		return string(bytes.TrimSpace(answer)) == "true" // Flask, for one, ends it with a line feed
	}
	return false
}

// linkPreference prefers links to what their guests claim.
type linkPreference struct {
	entry *Entry
	ctx   context.Context // that links are asked for in
}

// preference has links follow claims. A party in which nobody claims anything has none.
func (e *Entry) preference(service string) func(context.Context, any) partyline.Preference {
	if service != URLService {
		return nil
	}
	return func(ctx context.Context, _ any) partyline.Preference {
		if !e.IsConnected("", ClaimsService) {
			return nil
		}
		return linkPreference{e, ctx}
	}
}

// MayPrefer reports whether the guest claims anything.
func (p linkPreference) MayPrefer(guest string) bool {
	return p.entry.IsConnected(guest, ClaimsService)
}

// Prefers reports whether the guest claims a visit to the link that it has answered.
func (p linkPreference) Prefers(guest string, answer any) bool {
	link, ok := answer.(string)
	if raw, isRaw := answer.(json.RawMessage); isRaw {
		ok = json.Unmarshal(raw, &link) == nil
	}
	u, err := url.Parse(link)
	if !ok || err != nil || !strings.HasPrefix(u.Path, "/") {
		return false
	}
	m, _ := p.entry.mounts.Load(guest)
	if m, ok := m.(*mount); ok {
		if u.RawPath, ok = claimpath.Below(u, cleanMount(m.prefix(p.ctx))); !ok {
			return false
		}
		if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
			return false
		}
	}
	claimant := p.entry.Claimant(guest)
	seen, ok := claimant.See(u, "")
	if !ok {
		return false
	}
	request := ClaimRequest{Method: http.MethodGet, Host: HostOf(u.Host), Path: seen, RawQuery: u.RawQuery}
	if original, ok := p.ctx.Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && u.Host == "" {
		request.Host = HostOf(original.Host) // at which the link leads to the same site
	}
	claims, err := claimant.Claims(p.ctx, &Claim{ClaimRequest: request})
	return claims && err == nil
}

// HostOf returns the host that a request's Host names, as a ClaimRequest has it.
func HostOf(hostport string) string {
	host := hostport
	if end := strings.LastIndexByte(host, ':'); end > strings.LastIndexByte(host, ']') && (host[0] == '[' || strings.IndexByte(host, ':') == end) {
		host = host[:end]
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	return strings.ToLower(host)
}

// Expected returns the names of the guests that the party is to have: those that are invited, in
// order, and those that modules joined as. It returns false if no handler names the party.
func (e *Entry) Expected() (guests []string, hosted bool) {
	e.app.mu.RLock()
	defer e.app.mu.RUnlock()
	for _, i := range e.invites() {
		if !slices.Contains(guests, i.guest) {
			guests = append(guests, i.guest)
		}
	}
	for _, guest := range slices.Sorted(maps.Keys(e.joinedAs)) {
		if !slices.Contains(guests, guest) {
			guests = append(guests, guest)
		}
	}
	return guests, len(e.hosts) > 0
}
