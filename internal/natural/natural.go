// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package natural orders names as people do: app2 comes before app10.
package natural

import (
	"cmp"
	"strings"
)

// Compare is strings.Compare, but for digits in a row, which it compares as the number that they are.
func Compare(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		m, xRest := cutNumber(x)
		n, yRest := cutNumber(y)
		switch {
		case m != "" && n != "":
			m, n = strings.TrimLeft(m, "0"), strings.TrimLeft(n, "0")
			if c := cmp.Or(cmp.Compare(len(m), len(n)), strings.Compare(m, n)); c != 0 {
				return c
			}
			x, y = xRest, yRest
		case x[0] != y[0]:
			return cmp.Compare(x[0], y[0])
		default:
			x, y = x[1:], y[1:]
		}
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(a, b))
}

// cutNumber cuts off the digits that a text begins with.
func cutNumber(s string) (number, rest string) {
	i := 0
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:]
}
