// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package claimpath writes the path of a request in the one form in which applications claim it.
package claimpath

import (
	"net/url"
	"path"
	"strings"
)

// Clean returns the escaped path of a URL in one form, however it is written: with a slash at its
// beginning, and at its end if there was one, and without empty and dot segments, as Caddy's path
// matcher has it. Only what has to be is escaped, a slash within a segment among it, unless it
// hides a dot segment, as in "..%2f": then every escaped slash is a slash. Case is kept.
//
// Clean does not allocate if the path is in that form and has no escapes.
func Clean(u *url.URL) string {
	if u.RawPath == "" && isClean(u.Path) {
		return u.Path
	}
	segments := strings.Split(u.EscapedPath(), "/")
	for i, segment := range segments {
		unescaped, err := url.PathUnescape(segment)
		if err != nil || hidesDots(unescaped) {
			return clean(escape(u.Path, '/'))
		}
		segments[i] = escape(unescaped, 0)
	}
	return clean(strings.Join(segments, "/"))
}

// Below returns what Clean has of a path when that of a mount, with no slash at its end, is stripped
// from its beginning. It strips as Caddy does, and returns false for a path from which Caddy strips
// nothing, or which its path matcher does not have below the mount.
func Below(u *url.URL, mount string) (below string, ok bool) {
	switch {
	case mount == "":
		return Clean(u), true
	case u.RawPath == "" && isClean(u.Path):
		return cut(u.Path, mount)
	}
	unescaped, err := url.PathUnescape(mount)
	if _, ok := cut(clean(u.Path), unescaped); err != nil || !ok {
		return "", false
	}
	escaped := canonical(clean(u.EscapedPath()))
	left, ok := cut(escaped, mount)
	if !ok {
		return "", false
	}
	if unescaped, err = url.PathUnescape(left); err != nil {
		return "", false
	}
	if len(left) < len(escaped)-len(mount) { // the slash behind it is escaped, and then Caddy unescapes all
		left = ""
	}
	return Clean(&url.URL{Path: unescaped, RawPath: left}), true
}

// cut cuts a mount, in any case, from the beginning of a path. The slash behind it may be escaped.
func cut(p, mount string) (string, bool) {
	if len(p) < len(mount) || !strings.EqualFold(p[:len(mount)], mount) {
		return "", false
	}
	rest := p[len(mount):]
	if behind, ok := strings.CutPrefix(rest, "%2F"); ok {
		return "/" + behind, true
	}
	if rest == "" {
		return "/", true
	}
	return rest, rest[0] == '/'
}

// canonical returns an escaped path in which only what has to be is escaped, but for dots.
func canonical(escaped string) string {
	segments := strings.Split(escaped, "/")
	for i, segment := range segments {
		if unescaped, err := url.PathUnescape(segment); err == nil && unescaped != "." && unescaped != ".." {
			segments[i] = escape(unescaped, 0)
		}
	}
	return strings.Join(segments, "/")
}

// isClean reports whether Clean has nothing to do.
func isClean(p string) bool {
	if p == "" || p[0] != '/' {
		return false
	}
	dots := true // whether the segment so far has nothing but dots
	for i := 1; i < len(p); i++ {
		switch c := p[i]; {
		case c == '/':
			if dots {
				return false
			}
			dots = true
		case c == '.':
		case !plain[c]:
			return false
		default:
			dots = false
		}
	}
	return !dots || p == "/" || p[len(p)-1] == '/'
}

// hidesDots reports whether a segment would have dot segments if its slashes were some.
func hidesDots(segment string) bool {
	if !strings.Contains(segment, "/") {
		return false
	}
	for part := range strings.SplitSeq(segment, "/") {
		if part == "." || part == ".." {
			return true
		}
	}
	return false
}

// clean is Clean for what is escaped as it is to be.
func clean(p string) string {
	cleaned := path.Clean("/" + p)
	if cleaned != "/" && strings.HasSuffix(p, "/") {
		cleaned += "/"
	}
	return cleaned
}

// plain are the bytes that need no escape in a segment: RFC 3986's pchar.
var plain = func() (set [256]bool) {
	for c := range set {
		set[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
	}
	for _, c := range []byte("-._~!$&'()*+,;=:@") {
		set[c] = true
	}
	return set
}()

// escape escapes what has to be, but for one byte that it keeps.
func escape(s string, keep byte) string {
	const hex = "0123456789ABCDEF"
	escaped := make([]byte, 0, len(s)+8)
	for i := range len(s) {
		c := s[i]
		if plain[c] || c == keep && c != 0 {
			escaped = append(escaped, c)
		} else {
			escaped = append(escaped, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(escaped)
}
