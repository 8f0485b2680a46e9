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
	"strings"
)

// Set is a set of private paths, each with everything below it.
type Set struct {
	paths        []string
	lastSegments []string // of paths, each once: a path without one of them is not private
}

// Add makes the path and everything below it private. It returns false, and adds
// nothing, for the root.
func (s *Set) Add(private string) bool {
	private = clean(dropParameters(private))
	if private == "/" {
		return false
	}
	s.paths = append(s.paths, private)
	last := path.Base(private)
	for _, known := range s.lastSegments {
		if known == last {
			return true
		}
	}
	s.lastSegments = append(s.lastSegments, last)
	return true
}

// Contains reports whether an unescaped request path is, or is below, a private
// path in the eyes of any application: without regard to case, empty and dot
// segments, the parameters after a semicolon, and a trailing slash.
func (s *Set) Contains(requestPath string) bool {
	if !s.mayContain(requestPath) {
		return false
	}
	// Applications differ in what they do first.
	return s.isBelow(clean(dropParameters(requestPath))) || s.isBelow(dropParameters(clean(requestPath)))
}

// mayContain is cheap, so that ordinary requests are.
func (s *Set) mayContain(requestPath string) bool {
	for _, last := range s.lastSegments {
		if containsFold(requestPath, last) {
			return true
		}
	}
	return false
}

// containsFold reports whether s contains the lower-case substr in any case. It
// may say so of an s that is not ASCII and does not.
func containsFold(s, substr string) bool {
	first := substr[0]
	for i := range len(s) {
		c := lower(s[i])
		if c >= 0x80 {
			return true
		}
		if c == first && len(s)-i >= len(substr) {
			j := 1
			for j < len(substr) && lower(s[i+j]) == substr[j] {
				j++
			}
			if j == len(substr) {
				return true
			}
		}
	}
	return false
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func (s *Set) isBelow(requestPath string) bool {
	for _, private := range s.paths {
		if rest, ok := strings.CutPrefix(requestPath, private); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

func clean(p string) string { return path.Clean("/" + strings.ToLower(p)) }

// dropParameters drops what follows a semicolon in each segment.
func dropParameters(p string) string {
	if !strings.Contains(p, ";") {
		return p
	}
	segments := strings.Split(p, "/")
	for i, segment := range segments {
		segments[i], _, _ = strings.Cut(segment, ";")
	}
	return strings.Join(segments, "/")
}
