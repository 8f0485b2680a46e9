// Copyright 2026 The wsgi_party Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

// Package urltemplate expands URL templates (RFC 6570) below a mount, the path
// prefix under which an application is reached, and lets nothing out of it.
package urltemplate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	stduritemplate "github.com/std-uritemplate/std-uritemplate/go/v2"
)

// ErrMissing is returned, wrapped, for values that lack one that the path needs.
var ErrMissing = errors.New("the path needs a value that is missing")

const (
	// maxLength of a URL, so that neither a template nor values can make one without
	// end.
	maxLength = 64 << 10

	// maxExpressions of a template: each takes time, also where it expands to nothing.
	maxExpressions = 64
)

var errTooLong = fmt.Errorf("its values make a URL of more than %d bytes", maxLength)

// Template is a URL template relative to a mount. It does not change once parsed.
type Template struct {
	text      string
	parts     []part
	variables []string
	required  []string
}

// part is literal text, escaped, and the expression that follows it.
type part struct {
	literal   string
	variables []variable // none if no expression follows
	operator  string     // "" or one of "/.;?&"
	required  bool       // in the path
	library   string     // the expression as the library gets it, without prefix lengths
}

type variable struct {
	name    string
	explode bool
	prefix  int // 0: all of it
}

// Parse parses a template that, with or without a first slash, begins at the mount.
// The errors are for whoever wrote it, and say at which byte and what to write.
//
// Refused is what can lead out of the mount by its form, and what RFC 6570 has but
// would not be what was meant: reserved and fragment expansion, which let a value
// bring its own slashes and query, and expressions after {?…}, which would become
// part of the path where {?…} expands to nothing.
func Parse(text string) (*Template, error) {
	p := parser{template: &Template{text: text}, seen: make(map[string]bool)}
	if err := p.parse(); err != nil {
		return nil, err
	}
	return p.template, nil
}

// String returns the template's text as it was parsed.
func (t *Template) String() string { return t.text }

// Start returns the beginning of the template's path, escaped and with a first slash,
// that is the same whatever the values are: whole segments of it, or all of them.
func (t *Template) Start() string {
	first := &t.parts[0]
	if i := strings.IndexAny(first.literal, "?#"); i >= 0 {
		return first.literal[:i]
	}
	if first.variables == nil || first.operator == "/" || first.operator == "?" {
		return first.literal
	}
	return first.literal[:strings.LastIndexByte(first.literal, '/')+1]
}

// Variables returns the names of the variables, each once.
func (t *Template) Variables() []string { return slices.Clone(t.variables) }

// Required returns the names of the variables that the path needs: those before the
// query and the fragment.
func (t *Template) Required() []string { return slices.Clone(t.required) }

// HasExpressions reports whether the template has any variables.
func (t *Template) HasExpressions() bool { return len(t.variables) > 0 }

// Expand returns the mount, in its escaped form, and below it the template with its
// variables replaced by the values, which can be whatever has a form in JSON: numbers
// are written as there, lists and objects as RFC 6570 has it, and null, an empty list
// and an empty object are no value. Without one that the path needs the error is
// ErrMissing; if the context has ended, the error is its; any other error says that a
// value is nothing for a URL or leads out of the mount.
func (t *Template) Expand(ctx context.Context, mount string, values map[string]any) (string, error) {
	mount, err := cleanMount(mount)
	if err != nil {
		return "", err
	}
	e := expansion{values: values}
	buffer := append(make([]byte, 0, 256), mount...)
	for i := range t.parts {
		p := &t.parts[i]
		buffer = append(buffer, p.literal...)
		if p.variables != nil {
			if err := ctx.Err(); err != nil {
				return "", err
			}
			if buffer, err = p.expand(buffer, &e); err != nil {
				return "", fmt.Errorf("template %s: %w", quote(t.text), err)
			}
		}
		if len(buffer) > maxLength {
			return "", fmt.Errorf("template %s: %w", quote(t.text), errTooLong)
		}
	}
	url := string(buffer)
	if p := check(url); p != nil {
		return "", fmt.Errorf("template %s: its values make %s", quote(t.text), p.what)
	}
	return url, nil
}

// Join returns the mount, in its escaped form, and below it the URL, which may have a
// query and a fragment and, with or without a first slash, begins at the mount.
func Join(mount, url string) (string, error) {
	mount, err := cleanMount(mount)
	if err != nil {
		return "", err
	}
	if len(url) > maxLength {
		return "", fmt.Errorf("the URL %s has more than %d bytes", quote(url), maxLength)
	}
	if p := checkRelative(url); p != nil {
		return "", fmt.Errorf("the URL %s, byte %d: %s", quote(url), p.at, p)
	}
	if url[0] != '/' {
		mount += "/"
	}
	if p := check(mount + url); p != nil {
		return "", fmt.Errorf("the URL %s, byte %d: %s", quote(url), max(0, p.at-len(mount)), p)
	}
	return escapeNonASCII(mount + url), nil
}

// Check returns an error for a rooted path, with a query, that could lead elsewhere than
// it seems to: what Expand and Join return passes it.
func Check(url string) error {
	if len(url) > maxLength {
		return fmt.Errorf("the URL %s has more than %d bytes", quote(url), maxLength)
	}
	p := checkRelative(url)
	if p == nil {
		p = check(url)
	}
	if p != nil {
		return fmt.Errorf("the URL %s, byte %d: %s", quote(url), p.at, p)
	}
	return nil
}

// cleanMount returns the mount without a last slash.
func cleanMount(mount string) (string, error) {
	mount = strings.TrimRight(mount, "/")
	if mount != "" && (mount[0] != '/' || strings.ContainsAny(mount, "?#")) {
		return "", fmt.Errorf("the mount %s is no path: write it like /blog", quote(mount))
	}
	if mount != "" {
		if p := check(mount); p != nil {
			return "", fmt.Errorf("the mount %s, byte %d: %s", quote(mount), p.at, p)
		}
	}
	return mount, nil
}

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
		buffer = p.appendText(buffer, first, v.name, text)
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

// appendText appends a variable's text, first or not in its expression.
func (p *part) appendText(buffer []byte, first bool, name, text string) []byte {
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
		buffer = append(append(buffer, name...), '=')
	case ";":
		buffer = append(buffer, name...)
		if text != "" {
			buffer = append(buffer, '=')
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

// quote returns s quoted for an error, and cut if it is long.
func quote(s string) string {
	if len(s) > 200 {
		return strconv.Quote(strings.ToValidUTF8(s[:200], "")) + "…"
	}
	return strconv.Quote(s)
}
