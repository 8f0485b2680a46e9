// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package nearest

import (
	"strings"
	"testing"
)

func TestWord(t *testing.T) {
	for written, want := range map[string]string{
		"url":                     "urls",
		"URLs":                    "urls",
		"uris":                    "urls",
		"service":                 "services",
		"serivces":                "services",
		"ulrs":                    "urls",
		"max-asks":                "max_asks",
		"":                        "",
		"u":                       "",
		"title":                   "",
		"links":                   "",
		"urls":                    "urls",
		"key":                     "",
		strings.Repeat("s", 1e6):  "",
		strings.Repeat("\xff", 4): "",
	} {
		if got := Word(written, "urls", "services", "max_asks"); got != want {
			t.Errorf("%.20q: %q, want %q", written, got, want)
		}
	}
}
