// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/party"
)

func TestAClaimKeepsWhyForWhoeverAsks(t *testing.T) {
	request := party.ClaimRequest{Method: "GET", Host: "example.com", Path: "/a", RawQuery: "b=c"}
	claim := &party.Claim{ClaimRequest: request}
	got, err := party.ClaimRequestOf(claim)
	check.ErrorIf(t, err != nil || got.Method != "GET" || got.RawQuery != "b=c" || got.WantsReasons(), "got %+v, %v", got, err)
	got.Because("nobody listens")
	got.By("GET /a")
	got.By("/a/")
	check.Equal(t, claim.ClaimedBy(), "GET /a", "claimed by")
	check.Equal(t, len(claim.Reasons()), 0, "reasons")

	claim = &party.Claim{ClaimRequest: request, Explain: true}
	got, _ = party.ClaimRequestOf(claim)
	check.Equal(t, got.WantsReasons(), true, "wants reasons")
	var several sync.WaitGroup
	for i := range 100 {
		several.Go(func() { got.Because(fmt.Sprint("reason ", i%50)) })
	}
	several.Wait()
	check.Equal(t, len(claim.Reasons()), 32, "reasons")
}

func TestAClaimIsThePayloadThatItIs(t *testing.T) {
	request := party.ClaimRequest{Method: "GET", Path: "/a"}
	encoded, err := json.Marshal(&party.Claim{ClaimRequest: request, Explain: true})
	check.ErrorIf(t, err != nil || string(encoded) != `{"method":"GET","path":"/a"}`, "%s, %v", encoded, err)
	for _, payload := range []any{request, json.RawMessage(encoded), map[string]any{"method": "GET", "path": "/a"}} {
		got, err := party.ClaimRequestOf(payload)
		check.ErrorIf(t, err != nil || got != request, "%T: %+v, %v", payload, got, err)
		got.By("nobody")
		got.Because("nobody asks")
		check.Equal(t, testing.AllocsPerRun(10, func() { got.By("nobody") }), 0, "allocations")
	}
}
