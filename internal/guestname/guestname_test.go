// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package guestname

import (
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "blog", "Blog-2.0_x", "shop/old", "a/b/c", "...", "a..b", ".well-known", "-", strings.Repeat("a", 64)} {
		check.Nil(t, Check(name))
	}
	for name, want := range map[string]string{
		"": "is empty", ".": `has "."`, "..": `has ".."`, "../../x": `has ".."`, "a/..": `has ".."`, "a/./b": `has "."`, "a:b": "a ':', which separates a guest's name",
		"a b": `a ' '`, "größe": `a 'ö'`, "a\x00": `a '\x00'`, "a\n": `a '\n'`, "a%2Fb": `a '%'`, "a\\b": `a '\\'`, "~user": `a '~'`, "a;b": `a ';'`,
		"{env.X}": `a '{'`, "\xff": `a '`, strings.Repeat("a", 65): "has 65 bytes: write no more than 64",
	} {
		check.Fails(t, Check(name), want)
	}
}
