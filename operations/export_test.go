// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations

// What the tests decode.
type (
	PartyJSON = partyJSON
	CountJSON = countJSON
	SentJSON  = sentJSON
)

var SplitAdminPath = splitAdminPath
