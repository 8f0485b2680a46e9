// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

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
// and an empty object are not values. Without one that the path needs the error is
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
		return "", fmt.Errorf("the mount %s is not a path: write it like /blog", quote(mount))
	}
	if mount != "" {
		if p := check(mount); p != nil {
			return "", fmt.Errorf("the mount %s, byte %d: %s", quote(mount), p.at, p)
		}
	}
	return mount, nil
}

// quote returns s quoted for an error, and cut if it is long.
func quote(s string) string {
	if len(s) > 200 {
		return strconv.Quote(strings.ToValidUTF8(s[:200], "")) + "…"
	}
	return strconv.Quote(s)
}
