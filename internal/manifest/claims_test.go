// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestParseTakesClaims(t *testing.T) {
	for body, want := range map[string]string{
		`{"claims": "urls"}`: `{"claims":["urls"]}`,
		`{"claims": []}`:     `{"claims":[]}`,
		`{"claims": ["urls", "GET /users/{id}", "Shop.Example.com/cart/"], "hosts": ["Shop.example.com", "*.b\u00fccher.example"]}`: `{"claims":["GET /users/{id}","Shop.Example.com/cart/","urls"],"hosts":["Shop.example.com","*.bücher.example"]}`,
		`{"hosts": []}`: `{"hosts":[]}`,
		`{"claims": ["/<a>&"], "services": {"claims": {"href": "/claims"}}}`: `{"services":{"claims":{"href":"/claims"}},"claims":["/<a>&"]}`,
	} {
		m := mustParse(t, body)
		check.Equal(t, text(t, m), want, "%s", body)
		check.Equal(t, text(t, mustParse(t, want)), want, "%s again", body)
	}
	m := mustParse(t, `{"claims": ["urls", "GET /users/{id}", "Shop.Example.com/cart/"], "hosts": ["*.b\u00fccher.example"]}`)
	pattern, _ := m.Claims.Patterns.Match("POST", "shop.example.com", "/cart")
	check.ErrorIf(t, pattern != "shop.example.com/cart/" || !m.Claims.URLs, "claimed by %q, %v", pattern, m.Claims.URLs)
	host, _ := m.Hosts.Match("a.xn--bcher-kva.example")
	check.Equal(t, host, "*.xn--bcher-kva.example", "claimed by")
}

func TestParseRefusesClaims(t *testing.T) {
	for body, want := range map[string]string{
		`{"claims": null}`:                                      `claims: it is null: write a list of patterns, ["/reports/", "GET /users/{id}"], or "urls" for all pages, or leave it out`,
		`{"claims": "/reports/"}`:                               `claims: it is "/reports/": write a list of patterns`,
		`{"claims": {"urls": true}}`:                            `claims: it is an object: write a list of patterns`,
		`{"claims": ["/", 7]}`:                                  `claims[1]: it is a number: write a list of patterns`,
		`{"claims": ["/", "urls", "urls"]}`:                     `claims[2]: "urls" occurs twice: write it once`,
		`{"claims": ["urls", "/a", "GET"]}`:                     `claims[2]: "GET": it is a method without a path`,
		`{"claims": ["/a", "urls", "/{x"]}`:                     `claims[2]: "/{x": bad wildcard segment`,
		`{"claims": ["/a/{x}", "/{y}/b"]}`:                      `claims[1]: "/{y}/b" conflicts with "/a/{x}": `,
		`{"hosts": "example.com"}`:                              `hosts: it is a string: write a list of hosts, ["shop.example.com", "*.example.org"], or leave it out`,
		`{"hosts": ["example.com", []]}`:                        `hosts[1]: it is a list: write a list of hosts`,
		`{"hosts": ["example.com", "https://x"]}`:               `hosts[1]: "https://x" is not a host name, because it has a scheme`,
		`{"claims": [` + strings.Repeat(`"/",`, 4097) + `"/"]}`: `claims: the list has 4098 patterns: write at most 4097`,
		`{"hosts": [` + strings.Repeat(`"a",`, 1000) + `"a"]}`:  `hosts: the list has 1001 hosts: write at most 1000`,
	} {
		_, err := Parse([]byte(body))
		check.Fails(t, err, "manifest: "+want)
	}
	var patterns []string
	for i := range 4096 {
		patterns = append(patterns, fmt.Sprintf(`"/%x"`, i))
	}
	m := mustParse(t, `{"claims": ["urls",`+strings.Join(patterns, ",")+`]}`)
	check.Equal(t, text(t, mustParse(t, text(t, m))), text(t, m), "4,096 patterns")
	_, err := Parse([]byte(`{"claims": ["/a/b",` + strings.Join(patterns, ",") + `]}`))
	check.Fails(t, err, `manifest: claims: 4097 patterns: write at most 4096`)
}

func TestMergeOfClaims(t *testing.T) {
	const fetched = `{"urls":{"a":"/a"},"services":{"claims":{"href":"/c"},"hosts":{"href":"/h"},"x":{"answer":1}},"claims":["/a"],"hosts":["a.example"]}`
	for _, test := range []struct {
		declared string
		allow    []string
		want     string
	}{
		{`{}`, nil, fetched},
		{`{"claims": ["/b"]}`, nil, `{"urls":{"a":"/a"},"services":{"hosts":{"href":"/h"},"x":{"answer":1}},"claims":["/b"],"hosts":["a.example"]}`},
		{`{"services": {"claims": {"href": "/d"}}, "hosts": ["b.example"]}`, nil, `{"urls":{"a":"/a"},"services":{"claims":{"href":"/d"},"x":{"answer":1}},"hosts":["b.example"]}`},
		{`{}`, []string{"claims"}, `{"services":{"claims":{"href":"/c"}},"claims":["/a"]}`},
		{`{}`, []string{"url", "x"}, `{"urls":{"a":"/a"},"services":{"x":{"answer":1}}}`},
		{`{"claims": []}`, []string{"claims", "hosts"}, `{"services":{"hosts":{"href":"/h"}},"claims":[],"hosts":["a.example"]}`},
	} {
		got := text(t, Merge(mustParse(t, test.declared), mustParse(t, fetched), test.allow))
		check.Equal(t, got, test.want, "%s with allow %q", test.declared, test.allow)
	}
	check.Equal(t, text(t, Merge(nil, mustParse(t, fetched), nil)), fetched, "fetched")
	check.Equal(t, text(t, Merge(mustParse(t, fetched), nil, []string{"x"})), fetched, "declared")
}
