// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Requests that are an application's because it has a page there.

package claimpattern

import (
	"cmp"
	"net/url"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
)

// Pages are the templates of an application's pages. They do not change once made.
//
// They are not patterns of a mux, since templates may overlap in ways in which patterns may
// not, and since a variable may be a part of a segment.
type Pages struct{ root page }

// page is where a path has come to, segment by segment.
type page struct {
	texts map[string]*page // by the next segment
	mixed []mixed          // where the next segment has text and variables
	any   *page            // where the next segment is a variable
	many  []many           // where the next segments are

	template string // that ends here; "" if none does
	below    string // of which {/x*} is the end
}

// mixed is a segment of texts and variables.
type mixed struct {
	texts []string
	next  *page
}

// many is {/x*} and the segments that follow it, the last of them at the end.
type many struct {
	rest     []urltemplate.Segment
	template string
}

// NewPages returns the pages of these templates.
func NewPages(templates []*urltemplate.Template) *Pages {
	p := new(Pages)
	for _, t := range templates {
		p.root.add(t.Segments(), t.String())
	}
	return p
}

func (p *page) add(segments []urltemplate.Segment, template string) {
	for i, segment := range segments {
		if segment.Many {
			if i == len(segments)-1 && isVariable(segment.Texts) {
				p.below = cmp.Or(p.below, template)
			} else {
				p.many = append(p.many, many{segments[i:], template})
			}
			return
		}
		p = p.next(segment.Texts)
	}
	p.template = cmp.Or(p.template, template)
}

// next returns where a segment leads, which it makes if it is not there.
func (p *page) next(texts []string) *page {
	switch {
	case len(texts) == 1:
		if p.texts == nil {
			p.texts = make(map[string]*page)
		}
		if p.texts[texts[0]] == nil {
			p.texts[texts[0]] = new(page)
		}
		return p.texts[texts[0]]
	case isVariable(texts):
		if p.any == nil {
			p.any = new(page)
		}
		return p.any
	}
	next := new(page)
	p.mixed = append(p.mixed, mixed{texts, next})
	return next
}

// isVariable reports whether a segment is variables without text.
func isVariable(texts []string) bool { return len(texts) > 1 && strings.Join(texts, "") == "" }

// Match returns the template of a page at an escaped path, or at the path with a slash at its end.
func (p *Pages) Match(path string) (template string, ok bool) {
	if path == "" || path[0] != '/' {
		return "", false
	}
	template = p.root.match(path[1:])
	return template, template != ""
}

// match returns the template that the rest of a path leads to, "" if none. It looks at each
// page below once at most.
func (p *page) match(rest string) string {
	escaped, after, more := strings.Cut(rest, "/")
	segment, ok := unescape(escaped)
	if !ok {
		return ""
	}
	if next := p.texts[segment]; next != nil {
		if template := next.behind(after, more); template != "" {
			return template
		}
	}
	for i := range p.mixed {
		if m := &p.mixed[i]; matches(m.texts, segment) {
			if template := m.next.behind(after, more); template != "" {
				return template
			}
		}
	}
	if p.any != nil && segment != "" {
		if template := p.any.behind(after, more); template != "" {
			return template
		}
	}
	if p.many != nil {
		if template := p.matchMany(rest); template != "" {
			return template
		}
	}
	return p.below
}

// behind is match behind a segment, which may have been the last.
func (p *page) behind(rest string, more bool) string {
	if more {
		return p.match(rest)
	}
	template := p.template
	if slash := p.texts[""]; template == "" && slash != nil {
		template = slash.template
	}
	return cmp.Or(template, p.below)
}

func unescape(segment string) (string, bool) {
	if strings.IndexByte(segment, '%') < 0 {
		return segment, true
	}
	unescaped, err := url.PathUnescape(segment)
	return unescaped, err == nil
}

// matchMany is match for what follows {/x*}.
func (p *page) matchMany(rest string) string {
	last, ok := unescape(rest[strings.LastIndexByte(rest, '/')+1:])
	if !ok {
		return ""
	}
	for i := range p.many {
		if m := &p.many[i]; m.mayEndIn(last) && m.matches(rest, last) {
			return m.template
		}
	}
	return ""
}

// mayEndIn is matches for the last segment of a path, quickly.
func (m *many) mayEndIn(segment string) bool {
	texts := m.rest[len(m.rest)-1].Texts
	return texts[len(texts)-1] == "" || strings.HasSuffix(segment, texts[len(texts)-1])
}

// matches reports whether the rest of a path, and its last segment, ends with what follows {/x*}. Where that
// has a further {/x*}, what is between the two may be anything.
func (m *many) matches(rest, segment string) bool {
	segments := m.rest
	if last := segments[len(segments)-1]; len(segments) > 1 && len(last.Texts) == 1 && last.Texts[0] == "" && segment != "" {
		segments = segments[:len(segments)-1] // the slash may be missing
	}
	for {
		last := segments[len(segments)-1]
		if !matches(last.Texts, segment) {
			return false
		}
		segments = segments[:len(segments)-1]
		i := strings.LastIndexByte(rest, '/')
		if last.Many {
			return len(segments) == 0 || i >= 0 && strings.Count(rest[:i], "/")+1 >= len(segments)
		}
		if i < 0 {
			return false
		}
		rest = rest[:i]
		var ok bool
		if segment, ok = unescape(rest[strings.LastIndexByte(rest, '/')+1:]); !ok {
			return false
		}
	}
}

// matches reports whether a segment consists of the texts, with something for each variable
// between two of them.
func matches(texts []string, segment string) bool {
	rest, ok := strings.CutPrefix(segment, texts[0])
	if !ok || len(texts) == 1 {
		return ok && rest == ""
	}
	last := texts[len(texts)-1]
	for _, text := range texts[1 : len(texts)-1] {
		if rest == "" {
			return false
		}
		i := strings.Index(rest[1:], text)
		if i < 0 {
			return false
		}
		rest = rest[1+i+len(text):]
	}
	return len(rest) > len(last) && strings.HasSuffix(rest, last)
}
