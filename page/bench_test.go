// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"context"
	"fmt"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// BenchmarkCount adds up what 300 guests make of asks for 50 services each.
func BenchmarkCount(b *testing.B) {
	line := partyline.NewPartyline("main", partyline.Options{})
	for g := range 300 {
		o := line.Operator(fmt.Sprintf("app-%03d", g))
		for s := range 50 {
			check.Must(b, o.Connect(fmt.Sprintf("service-%d", s), func(context.Context, any) (any, error) { return "an answer", nil }))
		}
	}
	for s := range 50 {
		_, _ = line.Operator("app-000").AskAround(b.Context(), fmt.Sprintf("service-%d", s), nil)
	}
	b.ReportAllocs()
	for b.Loop() {
		s := &snapshot{guests: make(map[string]*guest), services: make(map[string]*service)}
		s.count(line)
	}
}
