// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations

// What tests of the package need of it beyond its API.
const AdminPath = adminPath

type CountJSON = countJSON

var ErrNoEndpoint = &errNoEndpoint

type GuestJSON = guestJSON
type PartyJSON = partyJSON
type SentJSON = sentJSON

var SplitAdminPath = splitAdminPath
