// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package urltemplate

import (
	"fmt"
	"strings"
	"unicode/utf8"

	stduritemplate "github.com/std-uritemplate/std-uritemplate/go/v2"
)

// expand appends the expansion of the expression: as the library has it, which is
// slow, so it gets only what has a list or an object in it.
func (p *part) expand(buffer []byte, e *expansion) ([]byte, error) {
	start, first := len(buffer), true
	for i := range p.variables {
		v := &p.variables[i]
		text, ok := textOf(e.values[v.name])
		if !ok || v.prefix > 0 {
			value, err := v.in(e)
			if err != nil {
				return nil, err
			}
			if value == nil {
				if p.required {
					return nil, fmt.Errorf("%w: %s", ErrMissing, quote(v.name))
				}
				continue
			}
			if text, ok = value.(string); !ok {
				return p.expandByLibrary(buffer[:start], e)
			}
		}
		if len(buffer)+len(text) > maxLength {
			return nil, errTooLong
		}
		buffer = p.appendText(buffer, first, v, text)
		first = false
	}
	return buffer, nil
}

func (p *part) expandByLibrary(buffer []byte, e *expansion) ([]byte, error) {
	substitutions := make(stduritemplate.Substitutions, len(p.variables))
	least := len(buffer)
	for i := range p.variables {
		v := &p.variables[i]
		value, err := v.in(e)
		if err != nil {
			return nil, err
		}
		if least += p.leastLength(v, value); least > maxLength {
			return nil, errTooLong // before the library makes it
		}
		if value == nil && p.required {
			return nil, fmt.Errorf("%w: %s", ErrMissing, quote(v.name))
		}
		if text, ok := value.(string); ok && p.operator == "/" && v.explode {
			value = strings.Split(text, "/") // see appendText
		}
		substitutions[v.name] = value
	}
	expanded, err := stduritemplate.Expand(p.library, substitutions)
	return append(buffer, expanded...), err
}

// leastLength returns how long the expansion of a variable's value is at least.
func (p *part) leastLength(v *variable, value any) int {
	length, elements := 0, 0
	switch value := value.(type) {
	case string:
		return len(value)
	case []string:
		elements = len(value)
		for _, text := range value {
			length += len(text) + 1
		}
	case map[string]string:
		elements = len(value)
		for name, text := range value {
			length += len(name) + len(text) + 2
		}
		if v.explode {
			elements = 0 // their names are their own
		}
	}
	if v.explode && strings.Contains(";?&", p.operator) && p.operator != "" {
		length += elements * len(v.name)
	}
	return max(0, length-1)
}

// expansion is the values of one expansion.
type expansion struct {
	values map[string]any
	simple map[string]any // those that have been simplified
}

// simplified returns a value as simplify has it, which a template that has it many
// times calls once.
func (e *expansion) simplified(name string) (any, error) {
	value := e.values[name]
	if text, ok := textOf(value); ok {
		return text, nil
	}
	if value == nil {
		return nil, nil
	}
	if simple, ok := e.simple[name]; ok {
		return simple, nil
	}
	simple, err := simplify(value)
	if err != nil {
		return nil, err
	}
	if e.simple == nil {
		e.simple = make(map[string]any)
	}
	e.simple[name] = simple
	return simple, nil
}

// in returns the value of the variable as the library takes it.
func (v *variable) in(e *expansion) (any, error) {
	value, err := e.simplified(v.name)
	if err != nil {
		return nil, fmt.Errorf("the value of %s: %w", quote(v.name), err)
	}
	if v.prefix == 0 || value == nil {
		return value, nil
	}
	text, ok := value.(string)
	if !ok {
		return nil, fmt.Errorf("the value of %s: a list or an object has no first %d characters", quote(v.name), v.prefix)
	}
	return firstRunes(text, v.prefix), nil // the library counts bytes
}

// appendText appends a variable's text, first or not in its expression. In {/path*} it is
// the list of the segments between its slashes, which RFC 6570 would escape: that is how
// routes of frameworks, <path:path>, take and give what they call a path.
func (p *part) appendText(buffer []byte, first bool, v *variable, text string) []byte {
	switch {
	case first:
		buffer = append(buffer, p.operator...)
	case p.operator == "":
		buffer = append(buffer, ',')
	case p.operator == "?":
		buffer = append(buffer, '&')
	default:
		buffer = append(buffer, p.operator...)
	}
	switch p.operator {
	case "?", "&":
		buffer = append(append(buffer, v.name...), '=')
	case ";":
		buffer = append(buffer, v.name...)
		if text != "" {
			buffer = append(buffer, '=')
		}
	case "/":
		for v.explode {
			segment, rest, more := strings.Cut(text, "/")
			if !more {
				break
			}
			buffer = append(appendEscaped(buffer, segment), '/')
			text = rest
		}
	}
	return appendEscaped(buffer, text)
}

// appendEscaped appends text with everything escaped that means something in a URL.
func appendEscaped(buffer []byte, text string) []byte {
	const digits = "0123456789ABCDEF"
	if !utf8.ValidString(text) {
		text = string([]rune(text)) // U+FFFD for each wrong byte
	}
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			buffer = append(buffer, c)
		default:
			buffer = append(buffer, '%', digits[c>>4], digits[c&15])
		}
	}
	return buffer
}

// firstRunes returns the first n characters of s.
func firstRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
