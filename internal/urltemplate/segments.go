// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Which paths a template can expand to.

package urltemplate

import (
	"net/url"
	"strings"
)

// Segment is a segment of the paths that a template expands to.
type Segment struct {
	// Texts are what stands before, between and behind its variables, unescaped: one, if
	// it has none.
	Texts []string

	// Many is whether others may come before it that are variables, as {/x*} expands to.
	Many bool
}

// Segments returns the segments of the template's path. The last one is empty if the path
// ends in a slash.
func (t *Template) Segments() []Segment {
	var segments []Segment
	last := func() *Segment { return &segments[len(segments)-1] }
	text := func(escaped string) {
		unescaped, err := url.PathUnescape(escaped)
		if err != nil {
			unescaped = escaped // Parse has checked it
		}
		last().Texts[len(last().Texts)-1] += unescaped
	}
	begin := func(many bool) { segments = append(segments, Segment{[]string{""}, many}) }
	for _, p := range t.parts {
		end := strings.IndexAny(p.literal, "?#")
		literal := p.literal
		if end >= 0 {
			literal = literal[:end]
		}
		for i, piece := range strings.Split(literal, "/") {
			if i > 0 {
				begin(false)
			}
			if piece != "" {
				text(piece)
			}
		}
		if end >= 0 || p.operator == "?" || p.operator == "&" {
			break
		}
		for i, v := range p.variables {
			switch p.operator {
			case "/":
				begin(v.explode)
			case ".", ";":
				text(p.operator)
			default:
				if i > 0 {
					continue // a,b is one text
				}
			}
			last().Texts = append(last().Texts, "")
		}
	}
	return segments
}
