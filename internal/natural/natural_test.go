// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package natural

import (
	"slices"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestNamesAreOrderedAsPeopleOrderThem(t *testing.T) {
	ordered := strings.Fields("-1 0 00 01 1 2 010 11 99999999999999999999 100000000000000000000 A a a- a1 a01b a1b a1b2 a1b10 a2 a10 a10/b2 a10/b12 ab b größe1 größe2 größe10")
	shuffled := slices.Clone(ordered)
	slices.Reverse(shuffled)
	slices.SortFunc(shuffled, Compare)
	check.Equal(t, strings.Join(shuffled, " "), strings.Join(ordered, " "))
	check.Equal(t, testing.AllocsPerRun(100, func() { Compare("team-3/app-010", "team-3/app-9") }), 0.0)
}

// FuzzCompare checks that it is an order.
func FuzzCompare(f *testing.F) {
	f.Add("a1", "a01", "a2")
	f.Add("1", "/", ":")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, bc, ac := Compare(a, b), Compare(b, c), Compare(a, c)
		if ab != -Compare(b, a) || (ab == 0) != (a == b) {
			t.Errorf("%q and %q: %d", a, b, ab)
		}
		if ab <= 0 && bc <= 0 && ac > 0 {
			t.Errorf("%q ≤ %q ≤ %q", a, b, c)
		}
	})
}
