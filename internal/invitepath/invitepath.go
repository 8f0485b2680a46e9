// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package invitepath knows what the path of an invite says of the guest: its base, which
// comes before the segment __invite__, and its name.
package invitepath

import (
	"cmp"
	"net/url"
	"path"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
)

// Segment ends the base.
const Segment = "__invite__"

// Cut returns what comes before the segment, or all of the path and false.
func Cut(path string) (before string, found bool) {
	if before, _, found := strings.Cut(path+"/", "/"+Segment+"/"); found {
		return before, true
	}
	return path, false
}

// Base returns the base of a guest that is invited at an unescaped path: what comes before the segment, or
// else before the last slash. It is empty for one that has all paths which are no other guest's.
func Base(invite string) string {
	before, ok := Cut(invite)
	if !ok {
		before = invite[:strings.LastIndexByte(invite, '/')+1]
	}
	return strings.TrimSuffix(path.Clean("/"+before), "/")
}

// Guest returns the name of a guest whose invite, to an unescaped path, does not say it.
func Guest(path string) string {
	before, _ := Cut(path)
	return cmp.Or(strings.Trim(before, "/"), "root")
}

// Escape escapes a path for a URL.
func Escape(unescaped string) string { return (&url.URL{Path: unescaped}).EscapedPath() }

// IsUnder reports whether a path is, or is below, another one. Both are unescaped; a
// spelling that is only taken for that does not count.
func IsUnder(target, base string) bool {
	rest, ok := strings.CutPrefix(target, strings.TrimSuffix(base, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// Clean returns what an escaped path may be taken for by whoever unescapes it again, drops
// parameters, or does not mind the case.
func Clean(escaped string) string {
	if isClean(escaped) {
		return escaped
	}
	unescaped := strings.ToLower(urltemplate.Unescape(escaped))
	if i := strings.IndexAny(unescaped, "?#\x00"); i >= 0 {
		unescaped = unescaped[:i]
	}
	segments := strings.Split(unescaped, "/")
	for i, segment := range segments {
		segment, _, _ = strings.Cut(segment, ";")
		segments[i] = strings.TrimRight(segment, ". ")
	}
	return path.Clean(strings.Join(segments, "/"))
}

// isClean reports whether a path, of which no segment is empty or only dots, is as Clean
// has it, but for a last slash.
func isClean(escaped string) bool {
	for i := range len(escaped) {
		switch c := escaped[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '/', c == '-', c == '_', c == '~':
		case c == '.' && i+1 < len(escaped) && escaped[i+1] != '/':
		default:
			return false
		}
	}
	return true
}
