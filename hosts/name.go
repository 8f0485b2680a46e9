// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wsgiparty/wsgiparty/internal/lru"
	"golang.org/x/net/idna"
)

const (
	maxName  = 253 // bytes of a name, in ASCII
	maxLabel = 63

	maxConverted  = 1000
	convertedKept = 24 * time.Hour
)

// converted keeps internationalized names in ASCII. To convert one, or to check one that has been, takes longer
// than to find out whose it is.
var converted = lru.New[string, string](maxConverted)

// hostOf returns the name as guests are asked for it, in lower case and ASCII. An error says why there can
// be no certificate for it that browsers take.
func hostOf(name string) (string, error) {
	if len(name) > 4*maxName { // in UTF-8 a name may be longer than it is then
		return "", fmt.Errorf("it has %d bytes, but a name has at most %d", len(name), maxName)
	}
	if !utf8.ValidString(name) {
		return "", errors.New("it is not UTF-8")
	}
	if isPlain(name) {
		return name, checkName(name)
	}
	if host, ok := converted.Get(name); ok {
		return host, nil
	}
	ascii, err := idna.Lookup.ToASCII(name)
	if err != nil {
		return "", err
	}
	host := strings.ToLower(ascii)
	if err := checkName(host); err != nil {
		return "", err
	}
	converted.Put(name, host, convertedKept)
	return host, nil
}

// isPlain reports whether the name is what idna would make of it.
func isPlain(name string) bool {
	for i := range len(name) {
		if c := name[i]; c >= 0x80 || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return !strings.Contains(name, "xn--")
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("it is empty")
	case len(name) > maxName:
		return fmt.Errorf("it has %d bytes, but a name has at most %d", len(name), maxName)
	case name[len(name)-1] == '.':
		return errors.New("it ends with a dot")
	}
	label, last := 0, 0 // where it begins; the first of the last
	for i := range len(name) + 1 {
		if i < len(name) && name[i] != '.' {
			c := name[i]
			if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' {
				continue
			}
			return badByte(name, c)
		}
		switch length := i - label; {
		case length == 0:
			return errors.New("it has an empty label")
		case length > maxLabel:
			return fmt.Errorf("it has a label of %d bytes, but a label has at most %d", length, maxLabel)
		case name[label] == '-' || name[i-1] == '-':
			return errors.New("it has a label that begins or ends with a hyphen")
		}
		label, last = i+1, label
	}
	if c := name[last]; c < 'a' || c > 'z' { // as of 127.1, 0x7f.1 or 2130706433, which are addresses to browsers
		return errors.New("it is an IP address, or its last label begins like a number")
	}
	return nil
}

// badByte says what a byte is that no name has.
func badByte(name string, c byte) error {
	switch _, err := netip.ParseAddr(strings.Trim(name, "[]")); {
	case err == nil:
		return errors.New("it is an IP address")
	case c == '*':
		return errors.New("it is a wildcard")
	case c == ':':
		return errors.New("it has a port")
	}
	return fmt.Errorf("it has a %q, but a name has only letters, digits, hyphens and dots", c)
}
