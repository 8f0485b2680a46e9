// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package claims

import (
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestTheVerdictSaysForHowManyItIs(t *testing.T) {
	fresh := func(share string, claims bool) claimantJSON {
		return claimantJSON{Guest: "new", Claims: claims, Matchers: []matcherJSON{{Share: share}}}
	}
	legacy := claimantJSON{Guest: "legacy"}
	for want, r := range map[string]routeJSON{
		"to new":                         {Guest: "new", Guests: []claimantJSON{fresh("100%", true), legacy}},
		"to new for 10% of the visitors": {Guest: "new", Guests: []claimantJSON{fresh("10%", true), legacy}},
		"to the routes after the matchers: whoever claims it does not get it": {Guests: []claimantJSON{fresh("0%", true), legacy}},
		"to the routes after the matchers: none of their guests claims it":    {Guests: []claimantJSON{fresh("100%", false), legacy}},
	} {
		check.Equal(t, r.where(), want)
	}
}
