// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package urltemplate

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// problem is what is wrong with a URL, from byte at on, and what to write instead.
type problem struct {
	at          int
	what, write string
}

func (p *problem) String() string { return p.what + ": " + p.write }

var (
	emptySegment = problem{what: "two slashes with nothing between them", write: "write one, and none before {/…}"}
	dotSegment   = problem{what: `a segment "." or "..", which may lead out of the mount`, write: "write the path that it leads to"}
)

// checkRelative says what is wrong with the beginning of a URL relative to a mount.
func checkRelative(url string) *problem {
	if url == "" {
		return &problem{0, "nothing", "write / for the mount itself"}
	}
	if strings.HasPrefix(url, "//") {
		return &problem{0, "two slashes, after which comes a host", "write what follows the mount, beginning with one slash"}
	}
	if i := strings.IndexAny(url, ":/?#{"); i >= 0 && url[i] == ':' {
		return &problem{i, "a : that makes the URL absolute", "write what follows the mount, beginning with a slash"}
	}
	return nil
}

// check says what is wrong with a URL that begins with the slash of its path: what
// is not a character of a URL, and what in the path could be taken for a step up or a
// host, however often it is escaped. The advice is for who wrote the URL.
func check(url string) *problem {
	pathEnd := len(url)
	for i := 0; i < len(url); i++ {
		switch c := url[i]; {
		case c == '?' || c == '#':
			pathEnd = min(pathEnd, i)
		case c == '%':
			if !isEscape(url[i:]) {
				return &problem{i, "a % that begins no escape", "write %25"}
			}
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(url[i:])
			if r == utf8.RuneError && size == 1 {
				return &problem{i, "a byte that is not UTF-8", "write it in UTF-8"}
			}
			if isControl(r) {
				return &problem{i, fmt.Sprintf("the control character %U", r), "leave it out"}
			}
			i += size - 1
		case c < ' ' || c == 0x7f:
			return &problem{i, fmt.Sprintf("the control character %q", c), "leave it out"}
		case c == '\\':
			return &problem{i, "a backslash, which browsers take for a slash", "write /"}
		case c == ' ', c == '"', c == '<', c == '>', c == '^', c == '`', c == '{', c == '|', c == '}':
			return &problem{i, fmt.Sprintf("the character %q", c), fmt.Sprintf("write %%%02X", c)}
		}
	}
	for start := 1; start <= pathEnd; {
		end := pathEnd
		if i := strings.IndexByte(url[start:pathEnd], '/'); i >= 0 {
			end = start + i
		}
		if p := checkSegment(url[start:end], end == pathEnd); p != nil {
			p.at = start
			return p
		}
		start = end + 1
	}
	return nil
}

// checkSegment says what is wrong with what is between two slashes of a path, or
// after the last one. What follows a semicolon is left out by many.
func checkSegment(segment string, last bool) *problem {
	if segment != "" && segment[0] != '.' && segment[0] != ';' && strings.IndexByte(segment, '%') < 0 {
		return nil
	}
	segment = Unescape(segment)
	for _, r := range segment {
		if isControl(r) {
			return &problem{what: fmt.Sprintf("the control character %q, escaped", r), write: "leave it out"}
		}
		if r == '\\' {
			return &problem{what: "an escaped backslash, which may be taken for a slash", write: "write /"}
		}
	}
	for {
		name, rest, more := strings.Cut(segment, "/")
		name, _, _ = strings.Cut(name, ";")
		if name == "." || name == ".." {
			return new(dotSegment)
		}
		if name == "" && (more || !last) {
			return new(emptySegment)
		}
		if !more {
			return nil
		}
		segment = rest
	}
}

func isEscape(s string) bool {
	return len(s) > 2 && s[0] == '%' && hex(s[1]) >= 0 && hex(s[2]) >= 0
}

func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// Unescape unescapes s until no escape is left, in one go: each byte may complete an
// escape with two that came before it.
func Unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	buffer := make([]byte, 0, len(s))
	for i := range len(s) {
		buffer = append(buffer, s[i])
		for n := len(buffer); n >= 3 && isEscape(string(buffer[n-3:])); n = len(buffer) {
			buffer = append(buffer[:n-3], byte(hex(buffer[n-2])<<4|hex(buffer[n-1])))
		}
	}
	return string(buffer)
}

// escapeNonASCII escapes the bytes that are not ASCII.
func escapeNonASCII(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if s[i] < utf8.RuneSelf {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}
