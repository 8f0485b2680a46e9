// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package excerpt shows people what others wrote.
package excerpt

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Max is how long an excerpt is at most, in bytes of the text.
const Max = 200

// Of returns the beginning of a text. It spoils no terminal, and does not keep the
// rest in memory.
func Of(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return utf8.RuneError
		}
		return r
	}, strings.Clone(text[:min(len(text), Max)]))
}
