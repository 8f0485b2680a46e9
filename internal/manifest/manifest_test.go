// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
)

const example = `{
  "urls":     {"post": "/posts/{slug}", "home": "/", "search": "/search{?q,page}"},
  "services": {
    "ping":   {"answer": "pong"},
    "user":   {"href": "/api/user{?id}"},
    "render": [{"href": "/__invite__/render/a"}, {"href": "/__invite__/render/b"}]
  }
}`

func mustParse(t testing.TB, body string) *Manifest {
	t.Helper()
	m, err := Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// text is a manifest for comparing.
func text(t testing.TB, m *Manifest) string {
	t.Helper()
	encoded, err := m.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func TestParse(t *testing.T) {
	m := mustParse(t, example)
	if names := slices.Sorted(maps.Keys(m.URLs)); !slices.Equal(names, []string{"home", "post", "search"}) {
		t.Errorf("URLs %q", names)
	}
	if got := m.URLs["search"].Variables(); !slices.Equal(got, []string{"q", "page"}) {
		t.Errorf("search has variables %q", got)
	}
	if names := slices.Sorted(maps.Keys(m.Services)); !slices.Equal(names, []string{"ping", "render", "user"}) {
		t.Errorf("services %q", names)
	}
	if h := m.Services["ping"]; len(h) != 1 || string(h[0].Answer) != `"pong"` || h[0].Href != nil {
		t.Errorf("ping: %+v", h)
	}
	if h := m.Services["user"]; len(h) != 1 || h[0].Answer != nil || h[0].Href.String() != "/api/user{?id}" {
		t.Errorf("user: %+v", h)
	}
	if h := m.Services["render"]; len(h) != 2 || h[0].Href.String() != "/__invite__/render/a" || h[1].Href.String() != "/__invite__/render/b" {
		t.Errorf("render: %+v", h)
	}
}

func TestParseTakes(t *testing.T) {
	name64 := strings.Repeat("n", 64)
	for body, want := range map[string]string{
		`{}`:                             `{}`,
		" \r\n\t{ } \n":                  `{}`,
		`{"urls": {}, "services": {}}`:   `{}`,
		`{"urls": {"a": "b{?c}#{d}"}}`:   `{"urls":{"a":"b{?c}#{d}"}}`,
		`{"urls": {"a": "\/caf\u00e9"}}`: `{"urls":{"a":"/café"}}`,
		`{"urls": {"A-z.0:_": "/", "` + name64 + `": "/"}}`:                                               `{"urls":{"A-z.0:_":"/","` + name64 + `":"/"}}`,
		`{"services": {"one:x": [{"href": "/a"}]}}`:                                                       `{"services":{"one:x":{"href":"/a"}}}`,
		`{"services": {"s": [{"answer": 1}, {"href": "a"}, {"answer": 1}]}}`:                              `{"services":{"s":[{"answer":1},{"href":"a"},{"answer":1}]}}`,
		`{"services": {"s": {"answer": null}}}`:                                                           `{"services":{"s":{"answer":null}}}`,
		`{"services": {"s": {"answer": {"b": [1, 12345678901234567890.10]}}}}`:                            `{"services":{"s":{"answer":{"b":[1,12345678901234567890.10]}}}}`,
		`{"services": {"s": {"answer": "<a&\u003c>` + "\u2028" + `"}}}`:                                   `{"services":{"s":{"answer":"<a&\u003c>` + "\u2028" + `"}}}`,
		`{"services": {"s": {"answer": {"answer": 1, "href": 2}}}}`:                                       `{"services":{"s":{"answer":{"answer":1,"href":2}}}}`,
		`{"v": 2, "URLS": 1, "urls ": 1, "Services": [], "x": {"a": [{"b": 0}]}}`:                         `{}`,
		`{"services": {"s": {"href": "/", "Method": "PUT", "Answer": 1, "types": [], "": {}}}}`:           `{"services":{"s":{"href":"/"}}}`,
		`{"services": {"s": [{"href": "/", "method": "GET"}, {"method": "\u0050OST", "href": "/{?x}"}]}}`: `{"services":{"s":[{"href":"/","method":"GET"},{"href":"/{?x}","method":"POST"}]}}`,
		`{"services": {"s": [{"href": "/", "method": "POST"}, {"href": "/{?x}", "method": "GET"}]}}`:      `{"services":{"s":[{"href":"/"},{"href":"/{?x}"}]}}`,
		`{"services": {"s": [{"href": "/", "batch": true}, {"href": "/{x}", "batch": false}]}}`:           `{"services":{"s":[{"href":"/","batch":true},{"href":"/{x}"}]}}`,
		`{"services": {"s": {"href": "/", "type": "Text/Plain"}}}`:                                        `{"services":{"s":{"href":"/","type":"text/plain"}}}`,
		`{"services": {"s": {"answer": 1, "method": 2}}}`:                                                 `{"services":{"s":{"answer":1}}}`,
		`{"services": {"s": {"answer": ` + strings.Repeat("[", 61) + strings.Repeat("]", 61) + `}}}`:      `{"services":{"s":{"answer":` + strings.Repeat("[", 61) + strings.Repeat("]", 61) + `}}}`,
	} {
		if got := text(t, mustParse(t, body)); got != want {
			t.Errorf("%s is %s, want %s", body, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for body, want := range map[string]string{
		// JSON
		"":                          "it is empty: write {} if there is nothing to say",
		" \n":                       "it is empty: write {} if there is nothing to say",
		"\ufeff{}":                  "byte 0: a byte order mark: write JSON without one",
		"{\"a\": \"é\xff\"}":        "a: not UTF-8: write it in UTF-8",
		"{\"a\": \"\xc0\xae\"}":     "a: not UTF-8: write it in UTF-8",
		"{\"a\": \"\xed\xa0\x80\"}": "a: not UTF-8: write it in UTF-8",
		"{} x":                      "byte 3, line 1: invalid character 'x' after top-level value: write one JSON object",
		"{}{}":                      "byte 2, line 1: invalid character '{' after top-level value: write one JSON object",
		"{\n\"a\": 1,\n}":           "byte 10, line 3: invalid character '}' looking for beginning of object key string: write one JSON object",
		`{"a": 01}`:                 "byte 7, line 1: invalid character '1' after object key:value pair: write one JSON object",
		`{"urls": {`:                "byte 9, line 1: unexpected end of JSON input: write one JSON object",
		"<!doctype html>":           "byte 0, line 1: invalid character '<' looking for beginning of value: write one JSON object",
		"{\"a\": \"\n\"}":           "byte 7, line 1: invalid character '\\n' in string literal: write one JSON object",
		strings.Repeat("[", 60000):  "byte 10000, line 1: invalid character '[' exceeded max depth: write one JSON object",
		`{"a": ` + deep(64) + `}`:   "a[0][0][0][0][0][0][0]: it is nested more than 64 levels deep: flatten it",
		`{"services": {"s": {"answer": ` + deep(62) + `}}}`: "services.s.answer[0][0][0][0][0]: it is nested more than 64 levels deep: flatten it",
		strings.Repeat(" ", maxSize-1) + "{}":               "it has 65537 bytes: write at most 65536",

		// Types
		`[]`:                               `it is a list: write {"urls": {…}, "services": {…}}`,
		`null`:                             `it is null: write {"urls": {…}, "services": {…}}`,
		`"x"`:                              `it is a string: write {"urls": {…}, "services": {…}}`,
		` 1 `:                              `it is a number: write {"urls": {…}, "services": {…}}`,
		`{"urls": []}`:                     `urls: it is a list: write {"post": "/posts/{slug}"}, or leave it out`,
		`{"urls": null}`:                   `urls: it is null: write {"post": "/posts/{slug}"}, or leave it out`,
		`{"services": "x"}`:                `services: it is a string: write {"ping": {"answer": "pong"}}, or leave it out`,
		`{"services": []}`:                 `services: it is a list: write {"ping": {"answer": "pong"}}, or leave it out`,
		`{"urls": {"a": 1}}`:               `urls.a: it is a number: write a template such as "/posts/{slug}"`,
		`{"urls": {"a": null}}`:            `urls.a: it is null: write a template such as "/posts/{slug}"`,
		`{"urls": {"a:b": {"href": "/"}}}`: `urls["a:b"]: it is an object: write a template such as "/posts/{slug}"`,
		`{"services": {"s": "pong"}}`:      `services.s: it is a string: write {"answer": …} or {"href": "/api/user{?id}"}`,
		`{"services": {"s": true}}`:        `services.s: it is a boolean: write {"answer": …} or {"href": "/api/user{?id}"}`,
		`{"services": {"s": []}}`:          `services.s: the list is empty: leave the service out`,
		`{"services": {"s": [{"answer": 1}, [{"answer": 1}]]}}`:               `services.s[1]: it is a list: write {"answer": …} or {"href": "/api/user{?id}"}`,
		`{"services": {"s": [null]}}`:                                         `services.s[0]: it is null: write {"answer": …} or {"href": "/api/user{?id}"}`,
		`{"services": {"s": {}}}`:                                             `services.s: it has neither an answer nor an href: write {"answer": …} or {"href": "/api/user{?id}"}`,
		`{"services": {"s": {"Href": "/"}}}`:                                  `services.s: it has neither an answer nor an href: write {"answer": …} or {"href": "/api/user{?id}"}`,
		`{"services": {"s": [{"answer": null, "href": "/"}]}}`:                `services.s[0]: it has both an answer and an href: write {"answer": …} or {"href": "/api/user{?id}"}`,
		`{"services": {"s": {"href": null}}}`:                                 `services.s.href: it is null: write a path such as "/api/user{?id}"`,
		`{"services": {"render": [{"href": "/"}, {"href": ["/"]}]}}`:          `services.render[1].href: it is a list: write a path such as "/api/user{?id}"`,
		`{"services": {"s": {"href": "/", "method": "PUT"}}}`:                 `services.s.method: it is "PUT": write "GET" or "POST", or leave it out: then an href with expressions is a GET, and any other a POST`,
		`{"services": {"s": {"href": "/", "batch": 1}}}`:                      `services.s.batch: it is a number: write true, or leave it out`,
		`{"services": {"s": {"href": "/{x}", "batch": true}}}`:                `services.s.batch: a batch of asks is one POST with all their payloads: leave batch out, or write an href without expressions and without another method`,
		`{"services": {"s": {"href": "/x", "method": "GET", "batch": true}}}`: `services.s.batch: a batch of asks is one POST with all their payloads: leave batch out, or write an href without expressions and without another method`,
		`{"services": {"s": [{"href": "/", "method": null}]}}`:                `services.s[0].method: it is null: write "GET" or "POST", or leave it out: then an href with expressions is a GET, and any other a POST`,
		`{"services": {"s": {"href": "/", "method": "get"}}}`:                 `services.s.method: it is "get": write "GET" or "POST", or leave it out: then an href with expressions is a GET, and any other a POST`,

		`{"services": {"s": {"href": "/", "type": 1}}}`:                               `services.s.type: it is 1: write a media type without parameters, such as "text/plain"`,
		`{"services": {"s": {"href": "/", "type": "text"}}}`:                          `services.s.type: it is "text": write a media type without parameters, such as "text/plain"`,
		`{"services": {"s": {"href": "/", "type": "text/*"}}}`:                        `services.s.type: it is "text/*": write a media type without parameters, such as "text/plain"`,
		`{"services": {"s": {"href": "/", "type": "text/html; charset=utf-8"}}}`:      `services.s.type: it is "text/html; charset=utf-8": write a media type without parameters, such as "text/plain"`,
		`{"services": {"s": {"href": "/", "type": "application/ld+json"}}}`:           `services.s.type: it is "application/ld+json", which is the default: leave it out`,
		`{"services": {"s": {"href": "/", "type": "text/plain", "batch": true}}}`:     `services.s.type: the answer to a batch is JSON: leave out this or batch`,
		`{"services": {"url": [{"answer": "/"}, {"href": "/", "type": "text/css"}]}}`: `services.url: an href has the type text/css, but answers to this service are JSON: leave the type out`,

		// Duplicates
		`{"urls": {}, "urls": {}}`:                                                      `urls: it occurs twice: write it once`,
		`{"urls": {}, "\u0075rls": {}}`:                                                 `urls: it occurs twice: write it once`,
		`{"x": 1, "y": 2, "x": 1}`:                                                      `x: it occurs twice: write it once`,
		`{"urls": {"a": "/", "b": "/", "a": "/"}}`:                                      `urls.a: it occurs twice: write it once`,
		`{"services": {"a.b": {"answer": 1}, "a.b": 2}}`:                                `services["a.b"]: it occurs twice: write it once`,
		`{"services": {"s": {"href": "/", "href": "/"}}}`:                               `services.s.href: it occurs twice: write it once`,
		`{"services": {"s": [{"answer": [{"k": 1, "k": 2}]}]}}`:                         `services.s[0].answer[0].k: it occurs twice: write it once`,
		`{"x": [0, {"": 1, "": 1}]}`:                                                    `x[1][""]: it occurs twice: write it once`,
		`{"` + strings.Repeat("é", 9999) + `":1,"` + strings.Repeat("é", 9999) + `":1}`: `["` + strings.Repeat("é", 32) + `"…]: it occurs twice: write it once`,

		// Names
		`{"urls": {"": "/"}}`:                                                  `urls: a name is empty: write 1 to 64 characters`,
		`{"urls": {"` + strings.Repeat("n", 65) + `": "/"}}`:                   `urls: the name "` + strings.Repeat("n", 64) + `"… has 65 bytes: write no more than 64`,
		`{"services": {"` + strings.Repeat("n", 65) + `": 0}}`:                 `services: the name "` + strings.Repeat("n", 64) + `"… has 65 bytes: write no more than 64`,
		`{"urls": {"a b": "/"}}`:                                               `urls: the name "a b" has a ' ': write letters, digits and . _ : - only`,
		`{"urls": {"a/b": "/"}}`:                                               `urls: the name "a/b" has a '/': write letters, digits and . _ : - only`,
		`{"services": {"é": {"answer": 1}}}`:                                   `services: the name "é" has a 'é': write letters, digits and . _ : - only`,
		`{"services": {"a\n": {"answer": 1}}}`:                                 `services: the name "a\n" has a '\n': write letters, digits and . _ : - only`,
		`{"services": {"a\u0000": {"answer": 1}}}`:                             `services["a\x00"]: a NUL in a member's name: leave it out`,
		`{"services": {"ok": {"answer": 1}, "\ud800": 1, "t": {"answer": 1}}}`: `services: half of a surrogate pair: write both halves`,
		"{\"\xff\": 1}":                                                        "byte 2: not UTF-8: write it in UTF-8",
		`{"services": {"s": [{"answer": {"a": "\udc00"}}]}}`:                   `services.s[0].answer.a: half of a surrogate pair: write both halves`,
		`{"services": {"s": {"answer": {"a\u0000b": 1}}}}`:                     `services.s.answer["a\x00b"]: a NUL in a member's name: leave it out`,
		`{"services": {"s": {"answer": [1, 1e999]}}}`:                          `services.s.answer[1]: the number 1e999 is out of a double's range: write it as a string`,
		`{"services": {"s": {"answer": ` + strings.Repeat("9", 5000) + `}}}`:   `services.s.answer: a number of 5000 characters: write no more than 64, or write it as a string`,
		`{"x": -` + strings.Repeat("9", 64) + `}`:                              `x: a number of 65 characters: write no more than 64, or write it as a string`,

		// Templates
		`{"urls": {"a": ""}}`:                                               `urls.a: template "", byte 0: nothing: write / for the mount itself`,
		`{"urls": {"a": "/{http.request.uri.path}"}}`:                       `urls.a: template "/{http.request.uri.path}", byte 2: the variable "http.request.uri.path", which is a Caddy placeholder: in a Caddyfile, {path}, {file}, {host} and others become one: write another name, such as {page_path} for {path}`,
		`{"urls": {"a": "/x", "b": "/posts/{+slug}"}}`:                      `urls.b: template "/posts/{+slug}", byte 7: a reserved expansion, whose values would bring their own slashes, dots and query and so could leave the mount: write {slug}, or {/name*} for a list of segments`,
		`{"services": {"render": [{"href": "/a"}, {"href": "/%2e%2e/b"}]}}`: `services.render[1].href: template "/%2e%2e/b", byte 1: a segment "." or "..", which may lead out of the mount: write the path that it leads to`,
		`{"services": {"s": {"href": "/a{?q}#x"}}}`:                         `services.s.href: byte 6: a request has no fragment: leave out what begins with #`,
		`{"services": {"s": {"href": "https://evil/"}}}`:                    `services.s.href: template "https://evil/", byte 5: a : that makes the URL absolute: write what follows the mount, beginning with a slash`,
		`{"services": {"s": {"href": "//evil/"}}}`:                          `services.s.href: template "//evil/", byte 0: two slashes, after which comes a host: write what follows the mount, beginning with one slash`,
		`{"services": {"s": {"href": "/a\r\nHost: evil"}}}`:                 `services.s.href: template "/a\r\nHost: evil", byte 2: the control character '\r': leave it out`,
		`{"services": {"s": {"href": "/\\evil"}}}`:                          `services.s.href: template "/\\evil", byte 1: a backslash, which browsers take for a slash: write /`,
	} {
		m, err := Parse([]byte(body))
		if err == nil {
			t.Errorf("%.99s is parsed", body)
		} else if got := err.Error(); got != "manifest: "+want || m != nil {
			t.Errorf("%.99s: %.999s\nwant %s", body, got, want)
		}
	}
}

func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// members returns n members of an object.
func members(n int, value string) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"n%d":%s`, i, value)
	}
	return strings.Join(list, ",")
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		format string
		list   func(n int) string
		limit  int
		want   string
	}{
		{`{"urls":{%s}}`, func(n int) string { return members(n, `"/"`) }, maxURLs, "urls: it has 4097 URLs: write at most 4096"},
		{`{"services":{%s}}`, func(n int) string { return members(n, `{"answer":1}`) }, maxServices, "services: it has 257 services: write at most 256"},
		{`{"services":{"s":[%s]}}`, func(n int) string { return strings.TrimSuffix(strings.Repeat(`{"answer":1},`, n), ",") }, maxHandlers, "services.s: the list has 257 handlers: write at most 256"},
		{`{"services":{"s":[{"answer":1},%s]}}`, func(n int) string { return strings.TrimSuffix(strings.Repeat(`{"href":"/"},`, n), ",") }, maxHrefs, "services.s: the list has 17 hrefs, each of which is a request whenever somebody asks: write at most 16"},
		{`{%s}`, func(n int) string { return strings.Repeat(" ", n-2) }, maxSize, "it has 65537 bytes: write at most 65536"},
	} {
		if _, err := Parse(fmt.Appendf(nil, c.format, c.list(c.limit))); err != nil {
			t.Errorf("at the limit: %v", err)
		}
		if _, err := Parse(fmt.Appendf(nil, c.format, c.list(c.limit+1))); err == nil || err.Error() != "manifest: "+c.want {
			t.Errorf("over the limit: %v, want %s", err, c.want)
		}
	}
}

func TestErrorsAreDeterministic(t *testing.T) {
	for _, body := range []string{
		`{"urls": {"d": 1, "c": "//", "b": 2, "a b": "/"}, "services": {"s": 1}}`,
		`{"services": {"d": 1, "c": {}, "b": {"href": "/", "answer": 1}, "e": {"x": 1}}}`,
	} {
		_, first := Parse([]byte(body))
		for range 50 {
			if _, err := Parse([]byte(body)); err == nil || err.Error() != first.Error() {
				t.Fatalf("first %v, then %v", first, err)
			}
		}
	}
}

func TestMerge(t *testing.T) {
	declared := mustParse(t, `{"urls": {"a": "/declared", "b": "/b"}, "services": {"x": {"answer": "declared"}, "y": [{"answer": 1}, {"answer": 2}]}}`)
	fetched := mustParse(t, `{"urls": {"a": "/fetched", "c": "/c"}, "services": {"x": [{"answer": 1}, {"answer": 2}], "url": {"href": "/url"}, "z": {"href": "/z"}}}`)
	before := text(t, declared) + text(t, fetched)
	for _, c := range []struct {
		declared, fetched *Manifest
		allow             []string
		want              string
	}{
		{declared, fetched, nil, `{"urls":{"a":"/declared","b":"/b","c":"/c"},"services":{"url":{"href":"/url"},"x":{"answer":"declared"},"y":[{"answer":1},{"answer":2}],"z":{"href":"/z"}}}`},
		{declared, fetched, []string{"z", "x", "none"}, `{"urls":{"a":"/declared","b":"/b"},"services":{"x":{"answer":"declared"},"y":[{"answer":1},{"answer":2}],"z":{"href":"/z"}}}`},
		{declared, fetched, []string{"url"}, `{"urls":{"a":"/declared","b":"/b","c":"/c"},"services":{"url":{"href":"/url"},"x":{"answer":"declared"},"y":[{"answer":1},{"answer":2}]}}`},
		{declared, fetched, []string{}, text(t, declared)},
		{declared, nil, nil, text(t, declared)},
		{nil, fetched, nil, text(t, fetched)},
		{nil, fetched, []string{"z"}, `{"services":{"z":{"href":"/z"}}}`},
		{nil, nil, nil, `{}`},
		{&Manifest{}, &Manifest{}, nil, `{}`},
	} {
		merged := Merge(c.declared, c.fetched, c.allow)
		if got := text(t, merged); got != c.want {
			t.Errorf("with only %q: %s, want %s", c.allow, got, c.want)
		}
		merged.URLs["new"], merged.Services["new"] = nil, nil // its own maps
		delete(merged.URLs, "new")
	}
	if after := text(t, declared) + text(t, fetched); after != before {
		t.Errorf("Merge has changed the manifests to %s", after)
	}
}

func TestMarshalJSON(t *testing.T) {
	m := mustParse(t, example)
	want := `{"urls":{"home":"/","post":"/posts/{slug}","search":"/search{?q,page}"},"services":{"ping":{"answer":"pong"},"render":[{"href":"/__invite__/render/a"},{"href":"/__invite__/render/b"}],"user":{"href":"/api/user{?id}"}}}`
	if got := text(t, m); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, v := range []any{m, *m, []any{m}} {
		if got, err := json.Marshal(v); err != nil || string(bytes.Trim(got, "[]")) != want {
			t.Errorf("%T: %s, %v", v, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, body := range []string{
		example, `{}`, `{"urls":{"a":"/..{;x}"}}`, `{"urls":{"a":"//evil","a":"{+x}"}}`, `{"services":{"s":[{"answer":{"a":[null,1e9,"\u2028<"]}},{"href":"/a{/b*}"}]}}`, `{"urls":{"a:b":"/é{x}?y={z}"},"x":[[[]]]}`,
		`{"services":{"s":{"answer":null,"href":null}}}`, "\ufeff{}", "{\"\xff\":1}", `{"a":{"b":1,"b":2}}`, `{"urls":{"\ud800":"/"}} x`, `{"services":{"s":{"href":"/a\u000d\u000a#b"}}}`, deep(70),
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Parse(body)
		if _, again := Parse(body); fmt.Sprint(again) != fmt.Sprint(err) {
			t.Errorf("%q: first %v, then %v", body, err, again)
		}
		if err != nil {
			if m != nil || !strings.HasPrefix(err.Error(), "manifest: ") || len(err.Error()) > 6000 {
				t.Errorf("%q: %v, %v", body, m, err)
			}
			return
		}
		if !json.Valid(body) {
			t.Errorf("%q is not JSON", body)
		}
		checkTemplate := func(name string, template *urltemplate.Template) {
			if err := checkName(nil, name); err != nil {
				t.Error(err)
			}
			values := make(map[string]any)
			for i, variable := range template.Variables() {
				values[variable] = []any{"v", "..", "//x", []any{"a", ".."}}[(i+len(body))%4]
			}
			if url, err := template.Expand(context.Background(), "/blog", values); err == nil && (!strings.HasPrefix(url, "/blog/") || strings.Contains(url, "/../")) {
				t.Errorf("%q with %v is %q", template, values, url)
			}
		}
		for name, template := range m.URLs {
			checkTemplate(name, template)
		}
		for name, handlers := range m.Services {
			if len(handlers) == 0 {
				t.Errorf("%q has no handlers", name)
			}
			for _, h := range handlers {
				if (h.Answer == nil) == (h.Href == nil) {
					t.Errorf("%q has %+v", name, h)
				}
				if h.Href != nil {
					checkTemplate(name, h.Href)
				} else if !json.Valid(h.Answer) {
					t.Errorf("%q answers %q", name, h.Answer)
				}
			}
		}
		stored := text(t, m)
		restored, err := Parse([]byte(stored))
		if err != nil || len(stored) > len(body) {
			t.Fatalf("%q is stored as %q: %v", body, stored, err)
		}
		if again := text(t, restored); again != stored {
			t.Errorf("%q is stored as %q, and then as %q", body, stored, again)
		}
		if merged := text(t, Merge(m, restored, nil)); merged != stored {
			t.Errorf("%q merged with itself is %q", stored, merged)
		}
		if outer, err := json.Marshal(m); err != nil {
			t.Error(err)
		} else if _, err := Parse(outer); len(outer) <= maxSize && err != nil {
			t.Errorf("%q, escaped for HTML: %v", outer, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	large := `{"urls":{` + members(2000, `"/posts/{slug}"`) + `}}`
	for _, c := range []struct{ name, body string }{{"example", example}, {"urls=2000", large}} {
		body := []byte(c.body)
		b.Run(c.name+"/this", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := Parse(body); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/json.Unmarshal", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				var v any
				if err := json.Unmarshal(body, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
