// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Who served what in one step.

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// guests are who may serve a page.
var guests = []string{"legacy", "new"}

// row is of one page.
type row struct {
	path     string // where it was seen last
	requests int
	served   map[string]int // by guest
	failed   int
	back     int // how often a side was taken that was left already
}

type table struct {
	rows     map[string]*row
	failures []error
	back     int
}

func newTable(step []request, each bool) *table {
	t := &table{rows: make(map[string]*row)}
	for _, page := range pages {
		t.rows[page] = &row{served: make(map[string]int)}
	}
	sides := make(map[string]*side)
	for _, r := range step { // in the order in which they ended
		row := t.rows[r.page]
		row.requests++
		if r.err == nil && !slices.Contains(guests, r.guest) {
			r.err = fmt.Errorf("%s was served by %q", r.path, r.guest)
		}
		if r.err != nil {
			row.failed++
			t.failures = append(t.failures, r.err)
			continue
		}
		row.path = r.path
		row.served[r.guest]++
		who := r.page
		if each {
			who += " " + r.visitor
		}
		if sides[who] == nil {
			sides[who] = &side{first: r.guest}
		}
		if sides[who].back(r) {
			row.back++
			t.back++
		}
	}
	return t
}

// side is where a page is, for one visitor or all.
type side struct {
	first string
	left  time.Time // when a request that the other side had served was over
}

// back returns whether a request was served by the side that had been left before it began.
func (s *side) back(r request) bool {
	if r.guest != s.first && s.left.IsZero() {
		s.left = r.ended
	}
	return r.guest == s.first && !s.left.IsZero() && r.started.After(s.left)
}

func (t *table) print(out io.Writer, title string) {
	if title != "" {
		fmt.Fprintln(out, title)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "PAGE\tAT\tREQUESTS\t%s\tFAILED\tWENT BACK\n", strings.ToUpper(strings.Join(guests, "\t")))
	for _, page := range pages {
		r := t.rows[page]
		fmt.Fprintf(w, "%s\t%s\t%d", page, r.path, r.requests)
		for _, guest := range guests {
			fmt.Fprintf(w, "\t%d", r.served[guest])
		}
		fmt.Fprintf(w, "\t%d\t%d\n", r.failed, r.back)
	}
	w.Flush()
	for _, err := range t.failures[:min(3, len(t.failures))] {
		fmt.Fprintln(out, err)
	}
	fmt.Fprintln(out)
}
