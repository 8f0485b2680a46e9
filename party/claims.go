// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What guests say is theirs: requests, and hosts.

package party

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/wsgiparty/wsgiparty/internal/claimpath"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// ClaimsService is the service that guests connect to say which requests are theirs: the
// payload is a ClaimRequest. The answer true claims it. Anything else does not, nor does a
// handler that declines or fails.
const ClaimsService = "claims"

// HostsService is the service that guests connect to say which hosts are theirs: the payload
// is the host's name, in lower case and ASCII, without a port. The answer true claims it.
const HostsService = "hosts"

// ClaimRequest is the payload of ClaimsService: the parts of a request that guests can claim it by.
// Handlers get it by ClaimRequestOf, since guests that are not Go modules ask with JSON. It never has
// a header or a cookie.
type ClaimRequest struct {
	Method string `json:"method"`

	// Host is the request's, in lower case, without a port. It may be empty.
	Host string `json:"host,omitempty"`

	// Path is the path that the guest sees, without its mount, escaped as in a URL. Double slashes and
	// dot segments, also escaped ones, are resolved as in Caddy's path matcher. Only what must be is
	// escaped, and a slash within a segment: %2F.
	Path string `json:"path"`

	// RawQuery is what follows the question mark, as it came.
	RawQuery string `json:"query,omitempty"`

	claim *Claim // that it was asked with; nil if nobody wants to know why
}

// ClaimRequestOf is PayloadAs[ClaimRequest], but faster for payloads that came as JSON.
func ClaimRequestOf(payload any) (ClaimRequest, error) {
	switch payload := payload.(type) {
	case ClaimRequest:
		return payload, nil
	case *Claim:
		r := payload.ClaimRequest
		r.claim = payload
		return r, nil
	}
	return partyline.PayloadAs[ClaimRequest](payload)
}

// CleanClaimRequestOf is ClaimRequestOf for payloads that anybody may have written: the host is in lower case, and the
// path in the form that ClaimRequest says.
func CleanClaimRequestOf(payload any) (ClaimRequest, error) {
	r, err := ClaimRequestOf(payload)
	if err == nil {
		r.Path, err = cleanPath(r.Path)
	}
	r.Host = strings.ToLower(r.Host)
	return r, err
}

// cleanPath returns an escaped path in the form in which it is claimed, whoever wrote it.
func cleanPath(escaped string) (string, error) {
	u := url.URL{Path: escaped}
	if strings.IndexByte(escaped, '%') >= 0 {
		var err error
		if u.Path, err = url.PathUnescape(escaped); err != nil {
			return "", fmt.Errorf("the path is not escaped as in a URL: %w", err)
		}
		u.RawPath = escaped
	}
	return claimpath.Clean(&u), nil
}

// By tells the asker by which pattern, or by what else, the request is claimed. A handler calls it before it
// answers true.
func (r ClaimRequest) By(pattern string) {
	if r.claim == nil {
		return
	}
	r.claim.mu.Lock()
	defer r.claim.mu.Unlock()
	if r.claim.by == "" {
		r.claim.by = pattern
	}
}

// Because tells the asker why a handler does not claim the request.
func (r ClaimRequest) Because(why string) {
	if !r.WantsReasons() {
		return
	}
	r.claim.mu.Lock()
	defer r.claim.mu.Unlock()
	if len(r.claim.reasons) < maxReasons && !slices.Contains(r.claim.reasons, why) {
		r.claim.reasons = append(r.claim.reasons, why)
	}
}

// WantsReasons reports whether anybody listens to Because, for a reason that is expensive to say.
func (r ClaimRequest) WantsReasons() bool { return r.claim != nil && r.claim.Explain }

// maxReasons is how many a guest may give for one request.
const maxReasons = 32

// Claim is a ClaimRequest to ask with: a pointer to it is a payload of ClaimsService which
// keeps what handlers say of why.
type Claim struct {
	ClaimRequest
	Explain bool `json:"-"` // whether to keep why a handler does not claim it

	mu      sync.Mutex
	by      string
	reasons []string
}

// ClaimedBy returns by what a handler that answered claims the request, empty if it has not said.
func (c *Claim) ClaimedBy() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by
}

// String is ClaimedBy, so that Caddy prints the request variable that holds a Claim as that.
func (c *Claim) String() string { return c.ClaimedBy() }

// Reasons returns why handlers do not claim the request.
func (c *Claim) Reasons() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.reasons)
}

// AddressedTo returns whom an invite or an ask is addressed to that comes by as a request: the
// guest and its party. It returns nil for an ordinary request, whatever that contains.
func AddressedTo(r *http.Request) (e *Entry, guest string) {
	if i := PeekInvitation(r); i != nil {
		return i.host.entry, i.invited.guest
	}
	if d := deliveryOf(r); d != nil {
		return d.entry, d.guest
	}
	return nil, ""
}
