// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package claims registers the http.matchers.wsgi_party module, by which requests go to the
// application that says they are its own: a legacy system is replaced one route at a time, without
// a table of routes that somebody has to keep.
package claims

import "github.com/wsgiparty/wsgiparty/party"

// Service is the service that guests connect to say which requests are theirs. See
// [party.ClaimsService].
const Service = party.ClaimsService

// Request is the payload of Service. See [party.ClaimRequest].
type Request = party.ClaimRequest

// RequestOf returns the payload of Service as a Request. See [party.ClaimRequestOf].
func RequestOf(payload any) (Request, error) { return party.ClaimRequestOf(payload) }
