// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package claims registers the http.matchers.wsgi_party module, which sends requests to the
// application that says they are its own. So a new application can replace a legacy one route by
// route, and nobody has to maintain a table of routes.
package claims

import "github.com/wsgiparty/wsgiparty/party"

// ClaimsService is the service that guests connect to say which requests are theirs. See
// [party.ClaimsService].
const ClaimsService = party.ClaimsService

// ClaimRequest is the payload of ClaimsService. See [party.ClaimRequest].
type ClaimRequest = party.ClaimRequest

// ClaimRequestOf returns the payload of ClaimsService as a ClaimRequest. See [party.ClaimRequestOf].
func ClaimRequestOf(payload any) (ClaimRequest, error) { return party.ClaimRequestOf(payload) }
