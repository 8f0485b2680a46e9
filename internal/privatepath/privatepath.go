// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package privatepath tells paths that are not to be reached from outside,
// however they are written.
package privatepath

import (
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Set is a set of private paths, each with everything below it.
type Set struct {
	paths        []string
	lastSegments []string // of paths, each once: a path without one of them is not private
}

// Add makes the path and everything below it private. It returns false, and adds
// nothing, for the root.
func (s *Set) Add(private string) bool {
	private = path.Clean("/" + normalize(unescapeText(private), parameters))
	if private == "/" {
		return false
	}
	s.paths = append(s.paths, private)
	if last := path.Base(private); !slices.Contains(s.lastSegments, last) {
		s.lastSegments = append(s.lastSegments, last)
	}
	return true
}

// ContainsURL reports whether the path of a request's URL is private, as it is or as
// it was escaped. What follows the scheme in "http:path" is sent on as the path, too.
func (s *Set) ContainsURL(u *url.URL) bool {
	return s.Contains(u.Path) || u.RawPath != "" && s.Contains(u.RawPath) || u.Opaque != "" && s.Contains(u.Opaque)
}

// ContainsBehind is ContainsURL where a mount, which is not private, may have been
// stripped from the beginning of the path.
func (s *Set) ContainsBehind(mount string, u *url.URL) bool {
	if u.RawPath == "" && u.Opaque == "" && !s.mayContain(u.Path) {
		return false
	}
	return s.ContainsURL(u) || s.ContainsURL(Behind(mount, u))
}

// Behind returns the path of the URL as it was before the mount was stripped from it.
func Behind(mount string, u *url.URL) *url.URL {
	before := &url.URL{Path: mount + u.Path}
	if u.RawPath != "" {
		before.RawPath = mount + u.RawPath
	}
	if u.Opaque != "" {
		before.Opaque = mount + "/" + u.Opaque
	}
	return before
}

const (
	maxUnescapes = 8
	maxLength    = 8 << 10
)

// Contains reports whether a request path is, or is below, a private path, without
// regard to escapes, case, empty and dot segments, backslashes for slashes, what
// follows a semicolon, a question mark, a number sign or a NUL, dots and white space at
// the end of a segment, and a trailing slash. A path with ".." that names a private
// path's last segment is one, too, and so is one that is private once a host has been
// taken off it, as in "//host/path", or a script, as in "/index.php/path", or an
// extension, as in "/path.json": applications have one route for these. Of paths that
// are very long or escaped very often, those are private that might be.
func (s *Set) Contains(requestPath string) bool {
	if !s.mayContain(requestPath) {
		return false
	}
	// Rewrites and applications unescape once more, and which slashes there are when
	// one of them drops parameters is not known.
	for range maxUnescapes {
		if text := strings.ReplaceAll(unescapeText(requestPath), `\`, "/"); s.names(text) {
			if len(text) > maxLength || s.contains(normalize(text, parameters)) {
				return true
			}
			if strings.ContainsAny(text, pathEnds) && s.contains(normalize(text, parameters+pathEnds)) {
				return true
			}
		}
		unescaped := unescape(requestPath)
		if unescaped == requestPath {
			return false
		}
		requestPath = unescaped
	}
	return true
}

// contains is Contains for a normalized path.
func (s *Set) contains(requestPath string) bool {
	segments := strings.Split(requestPath, "/")
	if slices.Contains(segments, "..") {
		// What that leads to depends on what an application does first, if at all.
		return slices.ContainsFunc(segments, func(segment string) bool {
			return slices.ContainsFunc(s.lastSegments, func(last string) bool { return isBelow(segment, last) })
		})
	}
	if s.isBelow(path.Clean("/"+requestPath)) || s.isBelow(withoutScripts(segments)) {
		return true
	}
	if !strings.HasPrefix(requestPath, "//") {
		return false
	}
	_, afterHost, _ := strings.Cut(strings.TrimLeft(requestPath, "/"), "/")
	return s.isBelow(path.Clean("/"+afterHost)) || s.isBelow(withoutScripts(strings.Split(afterHost, "/")))
}

// withoutScripts returns a clean path without the segments that lead PHP to a script,
// which gets what follows as its path.
func withoutScripts(segments []string) string {
	rest := slices.DeleteFunc(slices.Clone(segments), func(segment string) bool { return strings.HasSuffix(segment, ".php") })
	return path.Clean("/" + strings.Join(rest, "/"))
}

// mayContain is cheap, so that ordinary requests are.
func (s *Set) mayContain(requestPath string) bool {
	if strings.IndexByte(requestPath, '%') >= 0 || strings.IndexByte(requestPath, '\\') >= 0 {
		return len(s.paths) > 0
	}
	return s.names(requestPath)
}

// names reports whether a segment begins like the last one of a private path.
func (s *Set) names(requestPath string) bool {
	for _, last := range s.lastSegments {
		for start := 0; ; {
			if hasPrefixFold(requestPath[start:], last) {
				return true
			}
			slash := strings.IndexByte(requestPath[start:], '/')
			if slash < 0 {
				break
			}
			start += slash + 1
		}
	}
	return false
}

// hasPrefixFold reports whether s begins with the lower-case prefix in any case.
// It may say so of an s that is not ASCII and does not.
func hasPrefixFold(s, prefix string) bool {
	for i := range len(prefix) {
		switch {
		case i == len(s):
			return false
		case s[i] >= utf8.RuneSelf:
			return true
		case lower(s[i]) != prefix[i]:
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func (s *Set) isBelow(requestPath string) bool {
	return slices.ContainsFunc(s.paths, func(private string) bool { return isBelow(requestPath, private) })
}

// isBelow reports whether it is the private path, has an extension besides, or is below
// it, which an escaped slash may begin, too.
func isBelow(requestPath, private string) bool {
	rest, ok := strings.CutPrefix(requestPath, private)
	return ok && (rest == "" || strings.IndexByte("/.%"+pathEnds, rest[0]) >= 0)
}

const (
	parameters = ";"
	pathEnds   = "?#\x00"
)

// normalize lower-cases p, makes backslashes slashes, and drops what follows one of the
// ends in each segment, and the dots and white space at its end: Windows does, and to a
// regular expression's $ a line may end with a line break.
func normalize(p, ends string) string {
	p = strings.ReplaceAll(strings.ToLower(p), `\`, "/")
	segments := strings.Split(p, "/")
	for i, segment := range segments {
		if end := strings.IndexAny(segment, ends); end >= 0 {
			segment = segment[:end]
		}
		segments[i] = strings.TrimRightFunc(segment, func(r rune) bool { return r == '.' || r <= ' ' })
		if segments[i] == "" {
			segments[i] = ".."[:min(2, strings.Count(segment, "."))]
		}
	}
	return strings.Join(segments, "/")
}

// unescape unescapes p once. What is not an escape stays.
func unescape(p string) string {
	if strings.IndexByte(p, '%') < 0 {
		return p
	}
	unescaped := make([]byte, 0, len(p))
	for len(p) > 0 {
		if c, ok := escaped(p); ok {
			unescaped, p = append(unescaped, c), p[3:]
		} else {
			unescaped, p = append(unescaped, p[0]), p[1:]
		}
	}
	return string(unescaped)
}

// unescapeText unescapes all but slashes in p until nothing changes.
func unescapeText(p string) string {
	if strings.IndexByte(p, '%') < 0 {
		return p
	}
	var text []byte
	for i := range len(p) {
		text = append(text, p[i])
		for start := len(text) - 3; start >= 0; start -= 2 {
			c, ok := escaped(text[start:])
			if !ok || c == '/' || c == '\\' {
				break
			}
			text = append(text[:start], c)
		}
	}
	return string(text)
}

// escaped returns what the escape at the beginning of p stands for.
func escaped[T string | []byte](p T) (byte, bool) {
	if len(p) < 3 || p[0] != '%' {
		return 0, false
	}
	c, err := strconv.ParseUint(string(p[1:3]), 16, 8)
	return byte(c), err == nil
}
