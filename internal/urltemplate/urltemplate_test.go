// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package urltemplate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	stduritemplate "github.com/std-uritemplate/std-uritemplate/go/v2"
	"github.com/wsgiparty/wsgiparty/internal/measure"
)

func mustParse(t testing.TB, text string) *Template {
	t.Helper()
	template, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return template
}

var ctx = context.Background()

type values = map[string]any

func TestExpand(t *testing.T) {
	for _, c := range []struct {
		template string
		values   values
		want     string
	}{
		// Literals.
		{"/", nil, "/blog/"},
		{"posts", nil, "/blog/posts"},
		{"/posts/", nil, "/blog/posts/"},
		{"?q=1", nil, "/blog/?q=1"},
		{"#top", nil, "/blog/#top"},
		{"{?q}", nil, "/blog/"},
		{"/a:b/@c;d=e,f!$&'()*+=~[]", nil, "/blog/a:b/@c;d=e,f!$&'()*+=~[]"},
		{"/café/\u2e2e/%C3%A9%2c", nil, "/blog/caf%C3%A9/%E2%B8%AE/%C3%A9%2c"},
		{"/.well-known/...x/..x/x..", nil, "/blog/.well-known/...x/..x/x.."},
		{"/a?next=//b/../c&d=%0d%0a%5c#/../e?f//", nil, "/blog/a?next=//b/../c&d=%0d%0a%5c#/../e?f//"},

		// Expressions in the path.
		{"/posts/{slug}", values{"slug": "hello-world", "other": 1}, "/blog/posts/hello-world"},
		{"posts/{slug}", values{"slug": "a b/c?d#e&f=g%h"}, "/blog/posts/a%20b%2Fc%3Fd%23e%26f%3Dg%25h"},
		{"{slug}", values{"slug": "http://x"[:5]}, "/blog/http%3A"},
		{"/{a}/{b}", values{"a": "1", "b": "2"}, "/blog/1/2"},
		{"/{a,b}", values{"a": "1", "b": "2"}, "/blog/1,2"},
		{"/{a}", values{"a": ""}, "/blog/"},
		{"{/a}", values{"a": "x"}, "/blog/x"},
		{"{/a}/{a}", values{"a": "x"}, "/blog/x/x"},
		{"{/a,b}/c", values{"a": "x", "b": "y"}, "/blog/x/y/c"},
		{"/a{/list*}", values{"list": []any{"x y", "ü", nil, true}}, "/blog/a/x%20y/%C3%BC/true"},
		{"/a{/path*}", values{"path": "css/x y.css"}, "/blog/a/css/x%20y.css"},
		{"/a{/path*,b}/c", values{"path": "x/y", "b": "z/z"}, "/blog/a/x/y/z%2Fz/c"},
		{"/a{/path*,list*}", values{"path": "x/y", "list": []any{"z/z", 1}}, "/blog/a/x/y/z%2Fz/1"},
		{"/a/{list}", values{"list": []string{"x", "y"}}, "/blog/a/x,y"},
		{"/a/{list*}", values{"list": []string{"x", "y"}}, "/blog/a/x,y"},
		{"/map{.ext}", values{"ext": "html"}, "/blog/map.html"},
		{"/map{;x,y,empty}", values{"x": "1024", "y": "768", "empty": ""}, "/blog/map;x=1024;y=768;empty"},
		{"/~{name:1}/{name}", values{"name": "éva"}, "/blog/~%C3%A9/%C3%A9va"},
		{"/{x.y_0%41}", values{"x.y_0%41": "v"}, "/blog/v"},

		// In the query and the fragment.
		{"/search{?q,page}", values{"q": "a&b=c d", "page": 2}, "/blog/search?q=a%26b%3Dc%20d&page=2"},
		{"/search{?q,page}", values{"page": "2"}, "/blog/search?page=2"},
		{"/search{?q,page}", values{"q": nil}, "/blog/search"},
		{"/search{?q}", values{"q": ""}, "/blog/search?q="},
		{"/search{?q}", values{"q": "../..//\\\r\n"}, "/blog/search?q=..%2F..%2F%2F%5C%0D%0A"},
		{"/search?lang=en{&q}", values{"q": "x"}, "/blog/search?lang=en&q=x"},
		{"/search?lang={lang}&x", nil, "/blog/search?lang=&x"},
		{"/search{?q}#r{n}", values{"n": 7}, "/blog/search#r7"},
		{"/x{?list}", values{"list": []any{1, "b c"}}, "/blog/x?list=1,b%20c"},
		{"/x{?list*}", values{"list": []any{json.Number("1"), "b"}}, "/blog/x?list=1&list=b"},
		{"/x{?list*,q}", values{"list": []any{"é\U0001f600"}, "q": "r"}, "/blog/x?list=%C3%A9%F0%9F%98%80&q=r"},
		{"/x{?m}", values{"m": values{"b": 2, "a": "1", "c": nil}}, "/blog/x?m=a,1,b,2"},
		{"/x{?m*}", values{"m": values{"b": 2, "a": "1"}}, "/blog/x?a=1&b=2"},
		{"/x{?m*,n}", values{"m": map[string]int{"b": 2}, "n": json.Number("3")}, "/blog/x?b=2&n=3"},
		{"/x{?list,m,q}", values{"list": []any{}, "m": values{"a": nil}, "q": []any{nil}}, "/blog/x"},
		{"/x{?q:3}", values{"q": "äöüß"}, "/blog/x?q=%C3%A4%C3%B6%C3%BC"},
		{"/x{?q:9999}", values{"q": "äöüß"}, "/blog/x?q=%C3%A4%C3%B6%C3%BC%C3%9F"},
		{"/x{?a:2,list*}", values{"a": "€uro", "list": []any{"€uro"}}, "/blog/x?a=%E2%82%ACu&list=%E2%82%ACuro"},

		// What only looks like a way out.
		{"/{x}", values{"x": "\u2e2e\u2e2e"}, "/blog/%E2%B8%AE%E2%B8%AE"},
		{"/{x}", values{"x": "\u2e2e/"}, "/blog/%E2%B8%AE%2F"},
		{"/{x}", values{"x": "a/b"}, "/blog/a%2Fb"},
		{"/{x}", values{"x": "..."}, "/blog/..."},
		{"/{x}", values{"x": "a..b"}, "/blog/a..b"},
		{"/{x}", values{"x": "100%"}, "/blog/100%25"},
		{"/{x}", values{"x": "%zz%2"}, "/blog/%25zz%252"},
		{"/v{x}", values{"x": ".."}, "/blog/v.."},
		{"/{x}", values{"x": "javascript:alert(1)"}, "/blog/javascript%3Aalert%281%29"},
		{"/{x}", values{"x": "\xff\xfeé\xff"}, "/blog/%EF%BF%BD%EF%BF%BD%C3%A9%EF%BF%BD"},
	} {
		template := mustParse(t, c.template)
		if got, err := template.Expand(ctx, "/blog", c.values); err != nil || got != c.want {
			t.Errorf("%q with %v = %q, %v, want %q", c.template, c.values, got, err, c.want)
		}
		if got := template.String(); got != c.template {
			t.Errorf("%q is %q", c.template, got)
		}
	}
}

// TestExpandAsInJSON: a value is what it is in JSON.
func TestExpandAsInJSON(t *testing.T) {
	type named string
	template, text := mustParse(t, "/x{?v}"), "text"
	for _, c := range []struct {
		value any
		want  string
	}{
		{true, "?v=true"}, {false, "?v=false"},
		{0, "?v=0"}, {-7, "?v=-7"}, {int8(-8), "?v=-8"}, {int64(math.MinInt64), "?v=-9223372036854775808"},
		{uint(7), "?v=7"}, {uint64(math.MaxUint64), "?v=18446744073709551615"},
		{1e6, "?v=1000000"}, {float32(0.1), "?v=0.1"}, {1e21, "?v=1e%2B21"}, {-0.5, "?v=-0.5"},
		{json.Number("12345678901234567890.10"), "?v=12345678901234567890.10"}, {json.Number("1E+2"), "?v=1E%2B2"},
		{json.RawMessage(`12345678901234567890`), "?v=12345678901234567890"}, {json.RawMessage("null"), ""},
		{named("n"), "?v=n"}, {&text, "?v=text"}, {(*string)(nil), ""}, {[]string(nil), ""}, {map[string]string{}, ""},
		{time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), "?v=2026-11-22T00%3A00%3A00Z"},
		{struct {
			A int `json:"a"`
		}{1}, "?v=a,1"},
		{[]int{1, 2}, "?v=1,2"}, {[]any{named("n"), &text, (*string)(nil)}, "?v=n,text"}, {[2]bool{true}, "?v=true,false"},
		{map[string]any{"": ""}, "?v=,"},
	} {
		if got, err := template.Expand(ctx, "", values{"v": c.value}); err != nil || got != "/x"+c.want {
			t.Errorf("%#v: %q, %v, want %q", c.value, got, err, "/x"+c.want)
		}
	}
}

func TestExpandMounts(t *testing.T) {
	template := mustParse(t, "/posts/{slug}")
	for mount, want := range map[string]string{
		"": "/posts/x", "/": "/posts/x", "//": "/posts/x", "/blog": "/blog/posts/x", "/blog/": "/blog/posts/x", "/a/b": "/a/b/posts/x", "/caf%C3%A9": "/caf%C3%A9/posts/x",
	} {
		if got, err := template.Expand(ctx, mount, values{"slug": "x"}); err != nil || got != want {
			t.Errorf("mount %q: %q, %v, want %q", mount, got, err, want)
		}
		if got, err := Join(mount, "posts/x"); err != nil || got != want {
			t.Errorf("mount %q: Join: %q, %v, want %q", mount, got, err, want)
		}
	}
	for _, mount := range []string{
		"blog", "https://evil", "//evil", "/a//b", "/..", "/a/../b", "/%2e%2e", "/a?b", "/a#b", `/a\b`, "/a b", "/a\n", "/%", "/%5c", "/\xff",
	} {
		if got, err := template.Expand(ctx, mount, values{"slug": "x"}); err == nil || !strings.HasPrefix(err.Error(), "the mount ") {
			t.Errorf("mount %q: %q, %v", mount, got, err)
		}
		if got, err := Join(mount, "posts/x"); err == nil || !strings.HasPrefix(err.Error(), "the mount ") {
			t.Errorf("mount %q: Join: %q, %v", mount, got, err)
		}
	}
}

func TestExpandMissing(t *testing.T) {
	for _, text := range []string{
		"/posts/{x}", "{x}", "{/x}", "/a{/x*}", "/a{.x}", "/a{;x}", "/{a,x}", "/{x:3}", "/{x}?y={x}", "/{a}/{x}{?b}#{c}", "/{list,x}",
	} {
		template := mustParse(t, text)
		for _, missing := range []values{
			nil, {"x": nil}, {"X": 1}, {"x": []any{}}, {"x": []any{nil}}, {"x": values{}}, {"x": values{"a": nil}}, {"x": (*int)(nil)}, {"x": []int(nil)},
		} {
			given := values{"a": "1", "list": []any{1}}
			for name, value := range missing {
				given[name] = value
			}
			if got, err := template.Expand(ctx, "/blog", given); !errors.Is(err, ErrMissing) || !strings.HasSuffix(err.Error(), `: "x"`) {
				t.Errorf("%q with %v: %q, %v", text, given, got, err)
			}
		}
	}
}

func TestExpandRefuses(t *testing.T) {
	dots, slashes, backslash, control := "a segment", "two slashes", "an escaped backslash", "the control character"
	for _, c := range []struct {
		template string
		value    any
		want     string
	}{
		{"/{x}", "..", dots}, {"/{x}", ".", dots}, {"{x}", "..", dots}, {"{/x}", "..", dots}, {"/{x}/y", "..", dots}, {"/a/{x}", "..", dots},
		{"/{x}", "../", dots}, {"/{x}", "../../etc", dots}, {"/{x}", "a/../../b", dots}, {"/{x}", "a/..", dots}, {"/{x}", "a/./b", dots},
		{"/{x}", "%2e%2e", dots}, {"/{x}", "%2E.", dots}, {"/{x}", ".%2e%2f", dots}, {"/{x}", "%252e%252E", dots}, {"/{x}", "%25%32%65%2525%32%65", dots}, {"/{x}", "a%2f..%2Fb", dots},
		{"/{x}", "..;", dots}, {"/{x}", "..;v=1/b", dots}, {"/{x}", "a/..%3bv", dots}, {"/{x}", ".;", dots}, {"/..{x}", ";", dots}, {"/..{x}", "", dots}, {"/.{x}", "", dots}, {"/.{x}", ".", dots}, {"/a{x}", "/..", dots},
		{"/{.x}", "", dots}, {"/{.x}", ".", dots}, {"/{x}{.x}", "", dots},
		{"/{x*}", []any{"..", "a"}, ""}, {"{/x*}", []any{"a", "..", "b"}, dots}, {"{/x*}", []any{"a", "."}, dots}, {"{/x*}", []any{"a", "%2e%2e"}, dots}, {"/a{.x*}", []any{".", "a"}, ""},
		{"/{x}", "/evil", slashes}, {"/{x}", "//evil", slashes}, {"{x}", "//evil", slashes}, {"{/x}", "/evil", slashes}, {"{/x}", "", ""}, {"/{x}", "%2fevil", slashes}, {"/{x}", "%252Fevil", slashes},
		{"/{x}", "https://evil", slashes}, {"/{x}/y", "", slashes}, {"/{x}/y", "a/", slashes}, {"/{x}/y", ";", slashes}, {"/a/{x}", "b//c", slashes}, {"{/x*}", []any{"", "evil"}, slashes}, {"{/x*}", []any{"a", "", "b"}, slashes}, {"{/x*}", "/evil", slashes}, {"{/x*}", "a//b", slashes}, {"{/x*}", "a/../b", dots}, {"{/x*}", "a/%2e%2e", dots}, {"{/x*}", "a/", ""},
		{"/{x}", `\evil`, backslash}, {"/{x}", `..\..`, backslash}, {"/{x}", "a%5cb", backslash}, {"/{x}", "%255C", backslash}, {"/a{;x}", `\`, backslash},
		{"/{x}", "a\r\nSet-Cookie: b", control}, {"/{x}", "\x00", control}, {"/{x}", "\t..", control}, {"/{x}", "%0d%0a", control}, {"/{x}", "%2500", control}, {"/{x}", "\x7f", control}, {"/{x}", "\u0085", control}, {"/{x}", "\u2028", control},
		{"/{x}?y", "..", dots}, {"/{x}#y", "..", dots}, {"/{x}{?q}", "..", dots},
		{"{/x}", "", ""},
	} {
		got, err := mustParse(t, c.template).Expand(ctx, "/blog", values{"x": c.value})
		if c.want == "" {
			if err != nil {
				t.Errorf("%q with %q: %v", c.template, c.value, err)
			}
			staysUnder(t, "/blog", got)
			continue
		}
		if err == nil || errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "its values make "+c.want) {
			t.Errorf("%q with %q: %q, %v, want %q", c.template, c.value, got, err, c.want)
		}
		if s := fmt.Sprint(c.value); err != nil && len(s) > 5 && strings.Contains(err.Error(), s) {
			t.Errorf("%q with %q: the error has the value: %v", c.template, c.value, err)
		}
	}
}

func TestExpandRefusesValuesWithoutForm(t *testing.T) {
	many := make([]any, maxElements+1)
	object := make(values)
	for i := range maxElements + 1 {
		object[fmt.Sprint(i)] = nil
	}
	for _, c := range []struct {
		template string
		value    any
		want     string
	}{
		{"/{x}", []any{[]any{"a"}}, "contains another"}, {"/{x}", []any{[]any{}}, "contains another"}, {"/{x}", values{"a": values{}}, "contains another"}, {"{?x*}", [][]int{{1}}, "contains another"}, {"{?x}", []any{[]int{1}}, "contains another"}, {"{?x}", values{"a": []int{1}}, "contains another"},
		{"/{x:3}", []any{"abcd"}, "first 3 characters"}, {"{?x:3}", values{"a": "b"}, "first 3 characters"},
		{"/{x}", math.NaN(), "unsupported value"}, {"/{x}", make(chan int), "unsupported type"}, {"{?x}", []any{math.Inf(1)}, "unsupported value"}, {"{?x}", values{"a": func() {}}, "unsupported type"},
		{"{?x}", many, "more than 4096 elements"}, {"{?x}", object, "more than 4096 elements"},
		{"{?x}", strings.Repeat("é", maxLength/6), "more than 65536 bytes"},
	} {
		got, err := mustParse(t, c.template).Expand(ctx, "/blog", values{"x": c.value})
		if err == nil || errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q with %T: %.99q, %.999v", c.template, c.value, got, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		text string
		at   int
		want string // in the error
	}{
		{"", 0, "write / for the mount itself"},
		{"https://site.example/x", 5, "absolute"}, {"javascript:alert(1)", 10, "absolute"}, {"a:b", 1, "absolute"}, {"mailto:{x}", 6, "absolute"}, {":x", 0, "absolute"},
		{"//evil", 0, "a host"}, {"///evil", 0, "a host"}, {"//{x}", 0, "a host"}, {"/a//b", 3, "write one"}, {"/a//", 3, "write one"}, {"a//b", 2, "write one"}, {"/a/%2fb", 3, "write one"}, {"/a%2F/b", 1, "write one"}, {"/a%252f%2fb", 1, "write one"}, {"/;x/a", 1, "write one"},
		{"/{/x}", 1, "none before {/…}"}, {"/a/{/x}", 3, "none before {/…}"}, {"{/x}//a", 5, "write one"},
		{"..", 0, "the path that it leads to"}, {"/..", 1, "leads to"}, {"/a/../b", 3, "leads to"}, {"./a", 0, "leads to"}, {"/.", 1, "leads to"}, {"/a/.?b", 3, "leads to"}, {"/a/..#b", 3, "leads to"}, {"{x}/../b", 4, "leads to"},
		{"/%2e%2E/b", 1, "leads to"}, {"/.%2e", 1, "leads to"}, {"/%2e", 1, "leads to"}, {"/%252e%252e", 1, "leads to"}, {"/%25%32e%2e", 1, "leads to"}, {"/a%2f..%2fb", 1, "leads to"}, {"/..;x", 1, "leads to"}, {"/..%3bx", 1, "leads to"}, {"/..{;x}", 1, "leads to"}, {"/..{?x}", 1, "leads to"},
		{`/a\b`, 2, "write /"}, {`\\evil`, 0, "write /"}, {`/\evil`, 1, "write /"}, {"/a%5cb", 1, "backslash"}, {"/a%255Cb", 1, "backslash"}, {`/a?b\c`, 4, "write /"},
		{"/a\r\nb", 2, `control character '\r'`}, {"/\tb", 1, `control character '\t'`}, {"/b\x00", 2, "control"}, {"/b\x7f", 2, "control"}, {"/\u0085", 1, "control character U+0085"}, {"/a\u2028", 2, "U+2028"}, {"/x?a\nb", 4, "control"}, {"/x%0d%0a", 1, "control"}, {"/x%00", 1, "control"}, {"/%250a", 1, "control"}, {"/%C2%85", 1, "control"},
		{"/a b", 2, "write %20"}, {`/a"b`, 2, "write %22"}, {"/a|b", 2, "write %7C"}, {"/posts/<slug>", 7, "write {name} for a variable, or %3C"}, {"/a>", 2, "write %3E"}, {"/a^`", 2, "write %5E"}, {"/x?a b", 4, "write %20"},
		{"/100%", 4, "write %25"}, {"/%zz", 1, "write %25"}, {"/%2{x}", 1, "write %25"}, {"/%{x}", 1, "write %25"}, {"/x?%u002e", 3, "write %25"},
		{"/\xff", 1, "UTF-8"}, {"/é\xc0\xae", 3, "UTF-8"}, {"/\xed\xa0\x80", 1, "UTF-8"},

		{"/{", 1, "write } after it, or %7B"}, {"/{x", 1, "write } after it"}, {"/a}b", 2, "or %7D"}, {"/{}", 1, "as in {slug}"}, {"/{x}}", 4, "or %7D"},
		{"/{?}", 3, "as in {slug}"}, {"/{,x}", 2, "write {x}"}, {"/{x,}", 4, "as in {slug}"}, {"/{x,,y}", 4, "as in {slug}"}, {"/{*}", 2, "as in {slug}"}, {"/{:3}", 2, "as in {slug}"},
		{"/{{x}}", 2, `"{x" with a '{'`}, {"/{a{b}", 3, "'{'"}, {"/{post-id}", 6, "as in {post_id}"}, {"/{a b}", 3, "' '"}, {"/{ a}", 2, "' '"}, {"/{é}", 2, "'é'"}, {"/{a..b}", 4, "single dots"}, {"/{a.}", 3, "single dots"}, {"/{%4}", 2, "'%'"}, {"/{a/b}", 3, "'/'"}, {"/{a\n}", 3, `'\n'`}, {"/{a\xff}", 3, "letters"}, {"/{-x}", 2, "'-'"}, {"/{x**}", 3, "'*'"}, {"/{x*y}", 3, "'*'"},
		{"/{=x}", 2, "write {x}"}, {"/{!x}", 2, "not an operator"}, {"/{@x}", 2, "not an operator"}, {"/{|x}", 2, "not an operator"}, {"/{$HOME}", 2, "write {HOME}"}, {"/{!a\nb}", 2, "write {name}"}, {"/{+" + strings.Repeat("x", 50) + "}", 1, "write {name}, or"},
		{"/{x:}", 3, "{name:3}"}, {"/{x:0}", 3, "{name:3}"}, {"/{x:10000}", 3, "{name:3}"}, {"/{x:+1}", 3, "{name:3}"}, {"/{x:01}", 3, "{name:3}"}, {"/{x:3*}", 3, "{name:3}"}, {"/{id:int}", 4, `":int", which is not a length`}, {"/{a,x:y}", 5, "{name:3}"},
		{"/{x,x}", 4, "second time"}, {"/{?a,b*,a:3}", 8, "second time"},

		{"/{+x}", 1, "write {x}, or {/name*}"}, {"{+path}", 0, "write {path}, or {/name*}"}, {"/a?b={+x}", 5, "could leave the mount"}, {"/a{#x}", 2, "write #{x}"}, {"{#x,y}", 0, "could leave the mount"},
		{"/{http.request.uri.path}", 2, "{page_path} for {path}"}, {"/a{?q,http.vars.x}", 6, "Caddy placeholder"}, {"/{http.}", 2, "placeholder"},

		{"/a{&q}", 2, "write {?q}"}, {"/a?b{?q,r}", 4, "write {&q,r}"}, {"/a{?q}{&r}", 6, "as in {?q,page}"}, {"/a{?q}{?r}", 6, "as in {?q,page}"}, {"/a{?q}{r}", 6, "as in {?q,page}"}, {"/a{?q}/b", 6, "?lang=en{&q,page}"}, {"/a{?q}&b=c", 6, "?lang=en{&q,page}"}, {"/a{?q}?", 6, "?lang=en{&q,page}"},
		{"/a#b{?q}", 4, "write {?q} before the #"}, {"/a#b{&q}", 4, "write {&q} before the #"},
	} {
		_, err := Parse(c.text)
		if err == nil {
			t.Errorf("%q is parsed", c.text)
			continue
		}
		if place := fmt.Sprintf(", byte %d: ", c.at); !strings.HasPrefix(err.Error(), fmt.Sprintf("template %q", c.text)+place) {
			t.Errorf("%q: %v, want byte %d", c.text, err, c.at)
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
	long := "/" + strings.Repeat("x", 1<<16) + "\n{" + strings.Repeat("y", 1<<16)
	if _, err := Parse(long); err == nil || len(err.Error()) > 500 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

func TestVariables(t *testing.T) {
	for _, c := range []struct {
		text           string
		all, required  []string
		hasExpressions bool
	}{
		{"/", nil, nil, false},
		{"/a?b#c", nil, nil, false},
		{"/{x}", []string{"x"}, []string{"x"}, true},
		{"{?q,page}", []string{"q", "page"}, nil, true},
		{"/{b}/{a:3}/{b}{?c*,a}#{d}", []string{"b", "a", "c", "d"}, []string{"b", "a"}, true},
		{"{/a*}{.b}{;c}?x={d}{&e}", []string{"a", "b", "c", "d", "e"}, []string{"a", "b", "c"}, true},
		{"/a#{x}", []string{"x"}, nil, true},
		{"/a#?{x}", []string{"x"}, nil, true},
		{"/{x.y}", []string{"x.y"}, []string{"x.y"}, true},
		{"/{httpx}{http}", []string{"httpx", "http"}, []string{"httpx", "http"}, true},
	} {
		template := mustParse(t, c.text)
		if got := template.Variables(); !slices.Equal(got, c.all) {
			t.Errorf("%q has variables %q, want %q", c.text, got, c.all)
		}
		if got := template.Required(); !slices.Equal(got, c.required) {
			t.Errorf("%q requires %q, want %q", c.text, got, c.required)
		}
		if got := template.HasExpressions(); got != c.hasExpressions {
			t.Errorf("%q: HasExpressions() = %t", c.text, got)
		}
	}
	template := mustParse(t, "/{x}")
	template.Variables()[0], template.Required()[0] = "y", "y"
	if template.Variables()[0] != "x" || template.Required()[0] != "x" {
		t.Error("what Variables and Required return is the template's own")
	}
}

func TestJoin(t *testing.T) {
	for href, want := range map[string]string{
		"/": "/blog/", "/posts/1": "/blog/posts/1", "posts/1": "/blog/posts/1", "posts/": "/blog/posts/", "?q=1": "/blog/?q=1", "#x": "/blog/#x",
		"/a?u=https://x/../y//&v=%2e%2e%5c": "/blog/a?u=https://x/../y//&v=%2e%2e%5c", "/a%2Fb": "/blog/a%2Fb", "/a:b": "/blog/a:b", "/café?é": "/blog/caf%C3%A9?%C3%A9",
		"/\u2e2e": "/blog/%E2%B8%AE", "/a%20b": "/blog/a%20b", "/.x/..y/...": "/blog/.x/..y/...", "/blog/x": "/blog/blog/x", "/caf%E9": "/blog/caf%E9",
	} {
		if got, err := Join("/blog", href); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", href, got, err, want)
		}
	}
	for href, want := range map[string]string{
		"": "byte 0: nothing", "//evil": "byte 0: ", "///evil": "byte 0: ", "https://evil/": "byte 5: ", "javascript:alert(1)": "byte 10: ", "data:,": "byte 4: ", "HTTP:evil": "byte 4: ", "mailto:x": "byte 6: ",
		`\\evil`: "byte 0: a backslash", `/\evil`: "byte 1: a backslash", `\evil`: "byte 0: a backslash", "/\t/evil": "byte 1: the control", "/a\r\nb": "byte 2: the control", "\x01/a": "byte 0: the control",
		" //evil": `byte 0: the character ' '`, "/a b": "byte 2: ", "/a\"><script>": "byte 2: ", "/a{x}": "byte 2: ", "/%": "byte 1: a %", "/\xc0\xae": "byte 1: a byte",
		"..": "byte 0: a segment", "/../x": "byte 1: a segment", "/a/../b": "byte 3: a segment", "x/./y": "byte 2: a segment", "/%2e%2E": "byte 1: a segment", "/.%2e/x": "byte 1: a segment", "/%252e%252e/": "byte 1: a segment", "/%25252e.": "byte 1: a segment", "/a%2f..": "byte 1: a segment", "/a%2f%2e%2e%2fb": "byte 1: a segment", "/..;x/": "byte 1: a segment", "/..%3b": "byte 1: a segment",
		"/a//b": "byte 3: two slashes", "/%2fevil": "byte 1: two slashes", "%2fevil": "byte 0: two slashes", "/a%2F/b": "byte 1: two slashes", "/a%2f%252fb": "byte 1: two slashes",
		"/a%5c..": "byte 1: an escaped backslash", "/%255cevil": "byte 1: an escaped", "/%0d%0ax": "byte 1: the control", "/%00": "byte 1: the control", "/%09/evil": "byte 1: the control",
		"/" + strings.Repeat("x", maxLength): " has more than 65536 bytes",
	} {
		got, err := Join("/blog", href)
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 500 {
			t.Errorf("%q: %q, %v, want %q", href, got, err, want)
		}
		if _, bare := Join("", href); fmt.Sprint(bare) != fmt.Sprint(err) {
			t.Errorf("%q: without a mount %v, else %v", href, bare, err)
		}
	}
}

// TestUnescapeIsAFixedPoint: it is what unescaping again and again comes to.
func TestUnescapeIsAFixedPoint(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "%": "%", "%2": "%2", "%zz": "%zz", "%2e": ".", "%252e": ".", "%25%32%65": ".", "%2525252e": ".", "%%32e": ".", "%2%35": "%", "%2%352e": ".", "a%20b%": "a b%", "%25zz": "%zz", "%2525": "%",
	} {
		if got := Unescape(s); got != want || unescapeSlowly(s) != want {
			t.Errorf("%q: %q and slowly %q, want %q", s, got, unescapeSlowly(s), want)
		}
	}
	nested := func(levels int) func() time.Duration {
		nested := "%" + strings.Repeat("25", levels) + "2e"
		return func() time.Duration {
			began := time.Now()
			got := Unescape(nested)
			took := time.Since(began)
			if got != "." {
				t.Errorf("%d levels: %q", levels, got)
			}
			return took
		}
	}
	const few, factor = 1 << 8, 64 // quadratic is 4096 times as much
	measure.TakesAtMost(t, 8*factor, nested(few), nested(few*factor))
}

// unescapeOnce unescapes as lenient servers do.
func unescapeOnce(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if isEscape(s[i:]) {
			b.WriteByte(byte(hex(s[i+1])<<4 | hex(s[i+2])))
			i += 2
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func unescapeSlowly(s string) string {
	for {
		once := unescapeOnce(s)
		if once == s {
			return s
		}
		s = once
	}
}

// TestTemplateDoesNotChange: what Expand does to one leaves it as Parse does.
func TestTemplateDoesNotChange(t *testing.T) {
	const text = "/posts/{slug}{/list*}{?q:3,m*}"
	template := mustParse(t, text)
	done := make(chan struct{})
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 100 {
				got, err := template.Expand(ctx, "/blog", values{"slug": "s", "list": []any{"a", 1}, "q": "long", "m": values{"k": "v"}})
				if want := "/blog/posts/s/a/1?q=lon&k=v"; err != nil || got != want {
					t.Errorf("%q, %v, want %q", got, err, want)
				}
			}
		}()
	}
	for range 4 {
		<-done
	}
	if !reflect.DeepEqual(template, mustParse(t, text)) {
		t.Errorf("it has become %+v", template)
	}
}

func TestExpandAllocates(t *testing.T) {
	given := values{"slug": "hello-world", "page": json.Number("2"), "q": "grüße"}
	for _, text := range []string{"/posts/{slug}", "/{slug}{?q,page}"} {
		template := mustParse(t, text)
		if n := testing.AllocsPerRun(100, func() { _, _ = template.Expand(ctx, "/blog", given) }); n > 3 {
			t.Errorf("%q: %v allocations", text, n)
		}
	}
}

func BenchmarkExpand(b *testing.B) {
	for _, c := range []struct {
		text   string
		values values
	}{
		{"/posts/{slug}", values{"slug": "hello-world"}},
		{"/archive/{year}/{month}", values{"year": 2026, "month": json.Number("11")}},
		{"/search{?q,page}", values{"q": "grüße aus köln", "page": "2"}},
		{"/files{/path*}", values{"path": []any{"css", "site.css"}}},
	} {
		template := mustParse(b, c.text)
		simple := make(stduritemplate.Substitutions)
		for name, value := range c.values {
			simple[name], _ = simplify(value)
		}
		b.Run(c.text+"/this", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := template.Expand(ctx, "/blog", c.values); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.text+"/library", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := stduritemplate.Expand(c.text, simple); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("/posts/{slug}{?page}"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkJoin(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Join("/blog", "/posts/hello%20world?page=2"); err != nil {
			b.Fatal(err)
		}
	}
}
