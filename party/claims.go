// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What guests say is theirs: requests, and hosts.

package party

import (
	"github.com/wsgiparty/wsgiparty/partyline"
)

// ClaimsService is the service that guests connect to say which requests are theirs: the
// payload is a ClaimRequest. The answer true claims it. Anything else does not, nor does a
// handler that declines or fails.
const ClaimsService = "claims"

// HostsService is the service that guests connect to say which hosts are theirs: the payload
// is the host's name, in lower case and ASCII, without a port. The answer true claims it.
const HostsService = "hosts"

// ClaimRequest is the payload of ClaimsService: what a request is claimed by. Handlers get it
// by ClaimRequestOf, since guests that are no Go modules ask with JSON. It never has a header
// or a cookie.
type ClaimRequest struct {
	Method string `json:"method"`

	// Host is the request's, in lower case, without a port. It may be empty.
	Host string `json:"host,omitempty"`

	// Path is what the guest sees, without its mount, escaped as in a URL: cleaned of double slashes
	// and of dot-segments, also escaped ones, as Caddy's path matcher does. Only what has to be is
	// escaped, and a slash within a segment: %2F.
	Path string `json:"path"`

	// RawQuery is what follows the question mark, as it came.
	RawQuery string `json:"query,omitempty"`
}

// ClaimRequestOf is PayloadAs[ClaimRequest], quicker for payloads that came as JSON.
func ClaimRequestOf(payload any) (ClaimRequest, error) {
	if r, ok := payload.(ClaimRequest); ok {
		return r, nil
	}
	return partyline.PayloadAs[ClaimRequest](payload)
}
