// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import "testing"

func TestStringsAreEscapedAsAllElse(t *testing.T) {
	for _, text := range []string{"", "blog", `"\`, "\x00\b\f\n\r\t\x1f\x7f", "café", "<a&b>", "\u2028\u2029", "\xff", "\ufffd", "\U0001f37b", "\xed\xa0\x80"} {
		want, err := Encode(text)
		if got := appendString(nil, text); err != nil || string(got) != string(want) {
			t.Errorf("%q: %s, want %s, %v", text, got, want, err)
		}
	}
}
