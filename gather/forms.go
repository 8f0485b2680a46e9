// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What documents are made like.

package gather

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// form is one way to make a document.
type form struct {
	mediaType string
	absolute  bool                                        // its links need an origin
	isJSON    bool                                        // what templates get is its value
	most      int64                                       // answers, once they are checked; any number if it is 0
	check     func(p *part, origin string) error          // what of answers is not taken; it may change them; nil for all
	write     func(f *frame) (document []byte, err error) // of parts that are taken
}

// part is what one guest has answered, as decoded JSON that is the document's own.
type part struct {
	guest         string
	mount, origin string
	linkable      func(url string) (string, error)
	answers       []any
}

// frame is what a document is made of.
type frame struct {
	party  string
	parts  []*part
	absent []string                 // that are to be named in it
	mounts func() map[string]string // of all guests that are invited
}

const jsonType = "application/json"

var forms = map[string]*form{
	"list":         {mediaType: jsonType, isJSON: true, write: writeList},
	"map":          {mediaType: jsonType, isJSON: true, write: writeMap},
	"merge":        {mediaType: jsonType, isJSON: true, check: checkObjects, write: writeMerged},
	"lines":        {mediaType: "text/plain; charset=utf-8", check: checkLines, write: writeLines},
	"linkset":      {mediaType: "application/linkset+json", absolute: true, isJSON: true, check: checkLinkset, write: writeLinkset},
	"sitemapindex": {mediaType: "application/xml; charset=utf-8", absolute: true, most: maxSitemaps, check: checkSitemaps, write: writeSitemapIndex},
	"openapi":      {mediaType: jsonType, isJSON: true, check: checkAPIs, write: writeOpenAPI},
	"opml":         {mediaType: "text/x-opml; charset=utf-8", absolute: true, check: checkOutlines, write: writeOPML},
}

func writeList(f *frame) ([]byte, error) {
	list := []any{}
	for _, p := range f.parts {
		list = append(list, p.answers...)
	}
	return wire.Encode(list)
}

func writeMap(f *frame) ([]byte, error) {
	object := make(map[string]any)
	for _, guest := range f.absent {
		object[guest] = nil
	}
	for _, p := range f.parts {
		object[p.guest] = p.answers
		if len(p.answers) == 1 {
			object[p.guest] = p.answers[0]
		}
	}
	return wire.Encode(object)
}

func checkObjects(p *part, _ string) error {
	for _, answer := range p.answers {
		if _, ok := answer.(map[string]any); !ok {
			return fmt.Errorf("the answer is %s, but `as merge` needs objects", kindOf(answer))
		}
	}
	return nil
}

func writeMerged(f *frame) ([]byte, error) {
	all := make(map[string]any)
	for _, p := range f.parts {
		for _, answer := range p.answers {
			merge(all, answer.(map[string]any))
		}
	}
	return wire.Encode(all)
}

// merge adds the members of one object to those of another.
func merge(all, more map[string]any) {
	for name, value := range more {
		first, ok := all[name]
		if !ok {
			all[name] = value
			continue
		}
		switch first := first.(type) {
		case []any:
			if list, ok := value.([]any); ok {
				all[name] = append(first, list...)
			}
		case map[string]any:
			if object, ok := value.(map[string]any); ok {
				merge(first, object)
			}
		}
	}
}

// each replaces the answers by what take makes of each, or of each element of those that are lists.
func (p *part) each(take func(element any) (any, error)) error {
	var all []any
	for _, answer := range p.answers {
		list, ok := answer.([]any)
		if !ok {
			list = []any{answer}
		}
		for _, element := range list {
			taken, err := take(element)
			if err != nil {
				return err
			}
			all = append(all, taken)
		}
	}
	p.answers = all
	return nil
}

// checkLines makes the answers texts of one or more lines, without the end of the last one.
func checkLines(p *part, _ string) error {
	return p.each(func(element any) (any, error) {
		text, ok := element.(string)
		if !ok {
			return nil, fmt.Errorf("the answer has %s, but `as lines` takes strings", kindOf(element))
		}
		text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
		if i := strings.IndexFunc(text, breaksLines); i >= 0 {
			return nil, fmt.Errorf("the line %.100q has a %q: leave it out", text, []rune(text[i:])[0])
		}
		return strings.TrimSuffix(text, "\n"), nil
	})
}

// breaksLines reports whether some programs take the character for the end of a line or of the text.
func breaksLines(r rune) bool {
	return r == '\u2028' || r == '\u2029' || r != '\n' && r != '\t' && unicode.IsControl(r)
}

func writeLines(f *frame) ([]byte, error) {
	var text strings.Builder
	for _, p := range f.parts {
		for _, lines := range p.answers {
			text.WriteString(lines.(string))
			text.WriteByte('\n')
		}
	}
	return []byte(text.String()), nil
}

// kindOf says what a decoded value is.
func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "true or false"
	case string:
		return "a string"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return "a number"
}
