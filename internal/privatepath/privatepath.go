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

// Package privatepath tells paths that are not to be reached from outside,
// however they are written.
package privatepath

import (
	"path"
	"slices"
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
	private = path.Clean("/" + normalize(private))
	if private == "/" {
		return false
	}
	s.paths = append(s.paths, private)
	if last := path.Base(private); !slices.Contains(s.lastSegments, last) {
		s.lastSegments = append(s.lastSegments, last)
	}
	return true
}

// Contains reports whether an unescaped request path is, or is below, a private
// path, without regard to case, empty and dot segments, backslashes for slashes,
// the parameters after a semicolon, dots and white space at the end of a segment,
// and a trailing slash. A path with ".." that names a private path's last segment is
// one, too, and so is one that is private once a host has been taken off it, as in
// "//host/path", or a script, as in "/index.php/path", or an extension, as in
// "/path.json": applications have one route for these.
func (s *Set) Contains(requestPath string) bool {
	if !s.mayContain(requestPath) {
		return false
	}
	requestPath = normalize(requestPath)
	segments := strings.Split(requestPath, "/")
	if slices.Contains(segments, "..") {
		// What that leads to depends on what an application does first, if at all.
		return slices.ContainsFunc(segments, func(segment string) bool {
			return slices.ContainsFunc(s.lastSegments, func(last string) bool { return isSegment(segment, last) })
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

// isSegment reports whether it is that segment, or has an extension besides.
func isSegment(segment, private string) bool {
	rest, ok := strings.CutPrefix(segment, private)
	return ok && (rest == "" || rest[0] == '.')
}

// mayContain is cheap, so that ordinary requests are.
func (s *Set) mayContain(requestPath string) bool {
	for _, last := range s.lastSegments {
		start := true // of a segment
		for i := range len(requestPath) {
			if start && hasPrefixFold(requestPath[i:], last) {
				return true
			}
			start = requestPath[i] == '/' || requestPath[i] == '\\'
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
	for _, private := range s.paths {
		if rest, ok := strings.CutPrefix(requestPath, private); ok && (rest == "" || rest[0] == '/' || rest[0] == '.') {
			return true
		}
	}
	return false
}

// normalize lower-cases p, makes backslashes slashes, and drops what follows a
// semicolon in each segment, and the dots and white space at its end: Windows does,
// and to a regular expression's $ a line may end with a line break.
func normalize(p string) string {
	p = strings.ReplaceAll(strings.ToLower(p), `\`, "/")
	segments := strings.Split(p, "/")
	for i, segment := range segments {
		segment, _, _ = strings.Cut(segment, ";")
		segments[i] = strings.TrimRightFunc(segment, func(r rune) bool { return r == '.' || r <= ' ' })
		if segments[i] == "" {
			segments[i] = ".."[:min(2, strings.Count(segment, "."))]
		}
	}
	return strings.Join(segments, "/")
}
