// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package claimpattern

import (
	"fmt"
	"testing"
)

func BenchmarkMatch(b *testing.B) {
	var patterns, templates []string
	for i := range 33 {
		patterns = append(patterns, fmt.Sprintf("/reports/%d/", i), fmt.Sprintf("GET /users/{id}/%d", i), fmt.Sprintf("shop.example.com/cart/%d/{$}", i))
		templates = append(templates, fmt.Sprintf("/reports/%d/", i), fmt.Sprintf("/users/{id}/%d", i), fmt.Sprintf("/page%d{n}.html", i))
	}
	set, pages := mustParse(b, patterns...), pagesOf(b, templates...)
	for _, bench := range []struct{ name, path string }{
		{"literal", "/reports/7/2026"}, {"wildcard", "/users/12/7"}, {"nothing", "/invoices/7"}, {"slash", "/reports/7"}, {"escape", "/users/a%2Fb/7"},
	} {
		b.Run("pattern/"+bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				set.Match("GET", "example.com", bench.path)
			}
		})
		b.Run("page/"+bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				pages.Match(bench.path)
			}
		})
	}
}
