// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package guestname says what a guest may be called. Names stand in tokens, URLs, file names
// and the names of pages, where some characters mean something else.
package guestname

import (
	"errors"
	"fmt"
	"strings"
)

const most = 64

// Check says why a guest cannot be called that, and what to write.
func Check(name string) error {
	if name == "" {
		return errors.New("it is empty: write 1 to 64 letters, digits and . _ / -")
	}
	if len(name) > most {
		return fmt.Errorf("it has %d bytes: write no more than %d", len(name), most)
	}
	for _, r := range name {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_', r == '/', r == '-':
		case r == ':':
			return errors.New("it has a ':', which separates a guest's name from a page's: write letters, digits and . _ / - only")
		default:
			return fmt.Errorf("it has a %q: write letters, digits and . _ / - only", r)
		}
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "." || segment == ".." {
			return fmt.Errorf("it has %q between slashes, which would lead elsewhere in a path: leave it out", segment)
		}
	}
	return nil
}
