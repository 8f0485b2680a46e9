// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Links to pages of many guests.

package main

import (
	"fmt"
	"strings"
)

// linkRows starts a Caddy with a hundred guests, each of which has a page.
func linkRows(s *stage) ([]row, error) {
	free, err := addresses(2)
	if err != nil {
		return nil, err
	}
	var guests strings.Builder
	for i := range 100 {
		fmt.Fprintf(&guests, `
		invite /app%[1]d/__invite__/
		handle_path /app%[1]d/* {
			wsgi_party_guest {
				url page%[1]d /users/{id}
			}
			respond 204
		}
`, i)
	}
	err = s.caddy(free[0], free[1], fmt.Sprintf(`
	wsgi_party main {
		%s
		handle /bench {
			bench main
		}
	}`, &guests))
	if err != nil {
		return nil, err
	}
	link := func(name, page string) contender {
		c := timed("link", "http://"+free[1]+"/bench?by=%s&for="+page+"&askers=1&times=%d")
		c.name = name
		return c
	}
	return []row{{
		work:        "a link to a page of the 100th guest",
		contenders:  []contender{link(ours, "page99"), link("one to a page of the first", "page0")},
		comparisons: []comparison{{ours, "one to a page of the first", 1.1}},
	}}, nil
}
