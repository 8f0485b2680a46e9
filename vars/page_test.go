// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package vars

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/check"
)

// FuzzPage has anything stand in the placeholder, and in what that refers to.
func FuzzPage(f *testing.F) {
	for _, text := range []string{"p", "shop:item?slug=hello", "p?a=@x", "p?a=@x&a=@y&b=%26", "p?a=@", "?", "p?a=%zz", "p?a=@http.wsgi_party.url.p?a=@x", "p?%40=@x"} {
		f.Add(text, "value", "")
		f.Add(text, "\"}{env.HOME}\x00\n", "&a=b")
	}
	f.Fuzz(func(t *testing.T, text, x, y string) {
		p, err := parsePage(text)
		if err != nil {
			check.ErrorIf(t, checkPlaceholders("{"+urlPrefix+text+"}") == nil && !strings.Contains(text, "}"), "%q: the config loads: %v", text, err)
			return
		}
		placeholders := caddy.NewEmptyReplacer()
		placeholders.Set("x", x)
		placeholders.Set("y", y)
		values, id, ok := p.fill(placeholders)
		check.FatalIf(t, !ok, "%q: not filled", text)
		n := 0
		for key, value := range values {
			list, isList := value.([]any)
			if !isList {
				list = []any{value}
			}
			n += len(list)
			for _, one := range list {
				_, isString := one.(string)
				check.ErrorIf(t, !isString || utf8.ValidString(text) && utf8.ValidString(key) && !utf8.ValidString(one.(string)) && !strings.Contains(text, "%"), "%q: %q is %q", text, key, one)
			}
		}
		check.Equal(t, n, len(p.values), text)
		placeholders.Set("x", x+"0")
		_, other, _ := p.fill(placeholders)
		check.Equal(t, other != id, strings.Contains(fmt.Sprintf("%+v", p.values), "placeholder:x}"), text)
	})
}
