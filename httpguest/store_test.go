// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// TestStoredManifestsAreTheirOwnGuests, also where the storage's names are the same.
func TestStoredManifestsAreTheirOwnGuests(t *testing.T) {
	seen := make(map[string]manifestKey)
	for _, key := range []manifestKey{
		{"main", "a/b", "/a/b/__invite__/"}, {"main", "ab", "/ab/__invite__/"}, {"main", "AB", "/AB/__invite__/"}, {"main", "AB", "/ab/__invite__/"},
		{"Main", "ab", "/ab/__invite__/"}, {"main", "ab", "/a.b/__invite__/"}, {"main", "..", "/../__invite__/"}, {"main", "", "/__invite__/"}, {"..", "ab", "/__invite__/"},
		{"main", "ab", "https://example.com/ab/__invite__/"}, {"main", "ab", "https://example.com:8443/ab/__invite__/"}, {"main ab", "", "/"}, {"main", "ab ", "/"},
	} {
		stored := key.storageKey(nil)
		other, ok := seen[stored]
		check.ErrorIf(t, ok || !strings.HasPrefix(stored, "wsgi_party/") || strings.Contains(stored, ".."), "%q and %q are both stored at %q", key, other, stored)
		seen[stored] = key
	}
}
