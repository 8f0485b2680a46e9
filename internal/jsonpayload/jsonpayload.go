// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package jsonpayload is a payload that a config says as JSON, with placeholders in its
// strings. They are replaced in the strings' values, never in the JSON's text: quotes and
// braces in what a visitor sends inject nothing.
package jsonpayload

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/nearest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// Max is how long a payload's strings may be with their placeholders replaced, in bytes, all together.
const Max = 1 << 20

// ErrTooLong is the error of a payload whose strings are longer than Max.
var ErrTooLong = fmt.Errorf("with its placeholders replaced, the payload is longer than %d bytes", Max)

// Payload is a payload as a config says it. The zero one is null.
type Payload struct {
	value any // with the types below where placeholders are to be replaced, and above these
	fixed bool
}

type (
	text struct {
		text  string
		typed bool // may become a number, true, false or null
	}
	list   []any
	object map[string]any
)

// Parse parses a payload, null if the text is empty. Types are the members whose strings become what they say
// when, with their placeholders replaced, they are a number, true, false or null. A member
// is meant wherever it stands; if its value is a list, so are the strings in that.
func Parse(jsonText []byte, types []string) (*Payload, error) {
	all, err := ParseAll([][]byte{jsonText}, types)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// ParseAll is Parse for several payloads, of which each type need only be in one.
func ParseAll(jsonTexts [][]byte, types []string) ([]*Payload, error) {
	p := parser{types: types, found: make(map[string]bool)}
	var all []*Payload
	for _, text := range jsonTexts {
		value, err := wire.ParsePayload(text)
		if err != nil {
			return nil, fmt.Errorf("%w; write JSON, in backquotes in a Caddyfile: `{\"name\": \"home\"}`, or `\"home\"` for a string", err)
		}
		compiled, dynamic, err := p.compile(value, "")
		if err != nil {
			return nil, err
		}
		all = append(all, &Payload{compiled, !dynamic})
	}
	for _, name := range types {
		if !p.found[name] || name == "" {
			return nil, p.unknown(name)
		}
	}
	return all, nil
}

type parser struct {
	types []string
	found map[string]bool // members whose values have placeholders
}

// compile returns the value with what is to be replaced, and whether there is anything.
// The member is that whose value it is, or in whose list it is.
func (p *parser) compile(value any, member string) (compiled any, dynamic bool, err error) {
	switch value := value.(type) {
	case string:
		if !strings.ContainsAny(value, "{}") {
			return value, false, nil
		}
		if _, err := caddy.NewEmptyReplacer().ReplaceOrErr(value, false, false); err != nil {
			return nil, false, fmt.Errorf("the payload has the string %.100q: %w", value, err)
		}
		p.found[member] = true
		return text{value, slices.Contains(p.types, member)}, true, nil
	case []any:
		for i, element := range value {
			compiled, isDynamic, err := p.compile(element, member)
			if err != nil {
				return nil, false, err
			}
			value[i], dynamic = compiled, dynamic || isDynamic
		}
		if dynamic {
			return list(value), true, nil
		}
	case map[string]any:
		for name, element := range value {
			if opens := strings.IndexByte(name, '{'); opens >= 0 && strings.Contains(name[opens:], "}") {
				return nil, false, fmt.Errorf("the payload's member %.100q has a placeholder in its name, but placeholders are replaced only in values: write a list of names and values instead", name)
			}
			compiled, isDynamic, err := p.compile(element, name)
			if err != nil {
				return nil, false, err
			}
			value[name], dynamic = compiled, dynamic || isDynamic
		}
		if dynamic {
			return object(value), true, nil
		}
	}
	return value, false, nil
}

func (p *parser) unknown(name string) error {
	delete(p.found, "") // what is not a member's
	have := slices.Sorted(maps.Keys(p.found))
	if len(have) == 0 {
		return fmt.Errorf("payload_types says %q, but no member of the payload has a placeholder in its value: write a number, true or null as such in the JSON", name)
	}
	return fmt.Errorf("payload_types says %q, but no member of the payload with that name has a placeholder in its value%s; there is %s", name, nearest.DidYouMean(name, have...), strings.Join(have, ", "))
}

// Fixed reports whether the payload is the same for all requests.
func (p *Payload) Fixed() bool { return p.fixed || p.value == nil }

// Fill returns the payload with its placeholders replaced, once: what they stand for is not
// looked at for others. Those that are not known are empty. Strings are UTF-8, numbers are
// json.Number. Who gets the payload must not change it: what has no placeholders is shared. An error is ErrTooLong.
func (p *Payload) Fill(placeholders *caddy.Replacer) (any, error) {
	if p.fixed {
		return p.value, nil
	}
	f := filler{placeholders, Max}
	value := f.fill(p.value)
	if f.room < 0 {
		return nil, ErrTooLong
	}
	return value, nil
}

type filler struct {
	placeholders *caddy.Replacer
	room         int
}

func (f *filler) fill(value any) any {
	if f.room < 0 {
		return nil
	}
	switch value := value.(type) {
	case text:
		return f.replace(value)
	case list:
		filled := make([]any, len(value))
		for i, element := range value {
			filled[i] = f.fill(element)
		}
		return filled
	case object:
		filled := make(map[string]any, len(value))
		for name, element := range value {
			filled[name] = f.fill(element)
		}
		return filled
	}
	return value
}

func (f *filler) replace(t text) any {
	replaced := strings.ToValidUTF8(f.placeholders.ReplaceAll(t.text, ""), "\ufffd")
	if f.room -= len(replaced); f.room < 0 {
		return nil
	}
	if t.typed {
		if value, err := literal(replaced); err == nil {
			return value
		}
	}
	return replaced
}

var errNoLiteral = errors.New("neither a number, true, false nor null")

// literal returns what a number, true, false or null in JSON is.
func literal(text string) (any, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "null":
		return nil, nil
	}
	if text == "" || text[0] != '-' && (text[0] < '0' || text[0] > '9') || text[len(text)-1] < '0' || text[len(text)-1] > '9' {
		return nil, errNoLiteral // nor may spaces be around it
	}
	value, err := wire.ParseJSON([]byte(text))
	if _, ok := value.(json.Number); !ok {
		return nil, errNoLiteral
	}
	return value, err
}
