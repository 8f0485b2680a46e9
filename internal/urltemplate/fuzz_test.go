// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package urltemplate

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	stduritemplate "github.com/std-uritemplate/std-uritemplate/go/v2"
)

// staysUnder fails unless everybody takes the result for a URL of the site, below
// the mount.
func staysUnder(t *testing.T, mount, result string) {
	t.Helper()
	fail := func(who string, got any) {
		t.Helper()
		t.Errorf("%q is not under %q for %s: %v", result, mount, who, got)
	}
	if rest, ok := strings.CutPrefix(result, mount); !ok || !strings.HasPrefix(rest, "/") {
		fail("the eye", result)
	}
	if i := strings.IndexFunc(result, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' || r == '"' || r == '<' || r == '>' }); i >= 0 {
		fail("a header or an attribute", i)
	}
	base, _ := url.Parse("https://site.example/")
	reference, err := url.Parse(result)
	if err != nil {
		t.Errorf("net/url: %v", err)
		return
	}
	resolved := base.ResolveReference(reference)
	below := unescapeOnce(mount) + "/"
	switch {
	case resolved.Scheme != "https" || resolved.Host != "site.example" || resolved.User != nil || resolved.Opaque != "":
		fail("net/url", resolved)
	case !strings.HasPrefix(resolved.EscapedPath(), mount+"/") || !strings.HasPrefix(resolved.Path, below):
		fail("net/url", resolved)
	case !strings.HasPrefix(path.Clean(resolved.Path)+"/", below) || strings.Contains(resolved.Path, "//"):
		fail("a server that cleans", resolved.Path)
	}
	if got := browse(result); !strings.HasPrefix(got, mount+"/") {
		fail("a browser", got)
	}
	// Servers, proxies and applications behind each other that unescape again, take
	// backslashes for slashes and drop parameters.
	below = unescapeSlowly(mount) + "/"
	p, _, _ := strings.Cut(result, "?")
	p, _, _ = strings.Cut(p, "#")
	for {
		for _, parameters := range []bool{true, false} {
			spelling := strings.ReplaceAll(p, `\`, "/")
			if !parameters {
				segments := strings.Split(spelling, "/")
				for i, segment := range segments {
					segments[i], _, _ = strings.Cut(segment, ";")
				}
				spelling = strings.Join(segments, "/")
			}
			if strings.Contains(spelling, "//") || !strings.HasPrefix(unescapeSlowly(path.Clean(spelling))+"/", below) {
				fail("who unescapes", p)
			}
		}
		once := unescapeOnce(p)
		if once == p {
			return
		}
		p = once
	}
}

// browse resolves a URL as the URL Standard has it for https://site.example/, and
// returns its path or, if it has a host of its own, that.
func browse(reference string) string {
	reference = strings.TrimFunc(reference, func(r rune) bool { return r <= ' ' })
	reference = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(reference)
	if i := strings.IndexAny(reference, "?#"); i >= 0 {
		reference = reference[:i]
	}
	reference = strings.ReplaceAll(reference, `\`, "/")
	if strings.HasPrefix(reference, "//") || !strings.HasPrefix(reference, "/") {
		return reference
	}
	var resolved []string
	segments := strings.Split(reference[1:], "/")
	for i, segment := range segments {
		dots := strings.ReplaceAll(strings.ToLower(segment), "%2e", ".")
		if dots == ".." && len(resolved) > 0 {
			resolved = resolved[:len(resolved)-1]
		}
		if dots != "." && dots != ".." {
			resolved = append(resolved, segment)
		} else if i == len(segments)-1 {
			resolved = append(resolved, "")
		}
	}
	return "/" + strings.Join(resolved, "/")
}

var mounts = []string{"", "/blog", "/a/b", "/caf%C3%A9"}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"/", "/posts/{slug}", "posts{/a,b*}{?c:3,d}#{e}", "/a?b={c}{&d}", "/%2e%2e", "/..{;x}", "//evil", "https://x", "/é\u2e2e/{.x}", "/{+x}", "/a\\b\r\n", "{/x}{x}", "/%252e{x}", "/;{x}/;", "/{x}%2f{y}",
	} {
		f.Add(text, uint8(0))
		f.Add(text, uint8(1))
	}
	hostile := []any{
		"..", "", ".", "../x", "%2e", "/", "\\", "2e", ";", "x", []any{"..", "a"}, []any{"", ""}, []any{"a", "..", ""}, values{"..": "."}, values{"": ""}, 0.5, "\u2e2e", "e", "%25", "//evil", "\n",
	}
	f.Fuzz(func(t *testing.T, text string, at uint8) {
		if len(text) > 500 {
			return // unescaping slowly is quadratic
		}
		template, err := Parse(text)
		if _, again := Parse(text); fmt.Sprint(again) != fmt.Sprint(err) {
			t.Errorf("%q: first %v, then %v", text, err, again)
		}
		mount := mounts[int(at)%len(mounts)]
		if err != nil {
			if template != nil || !strings.Contains(err.Error(), ", byte ") || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if template.String() != text {
			t.Errorf("%q is %q", text, template)
		}
		all, required := template.Variables(), template.Required()
		for _, name := range required {
			if !slices.Contains(all, name) {
				t.Errorf("%q requires %q of %q", text, name, all)
			}
		}
		given := make(values)
		for i, name := range all {
			given[name] = hostile[(int(at)+i)%len(hostile)]
		}
		if got, err := template.Expand(ctx, mount, given); err == nil {
			staysUnder(t, mount, got)
		}
		for _, name := range all {
			less := make(values)
			for _, other := range all {
				less[other] = "v"
			}
			delete(less, name)
			_, err := template.Expand(ctx, mount, less)
			if errors.Is(err, ErrMissing) != slices.Contains(required, name) {
				t.Errorf("%q, which requires %q, without %q: %v", text, required, name, err)
			}
			if len(all) > 50 {
				break
			}
		}
		if !template.HasExpressions() {
			got, err := template.Expand(ctx, mount, nil)
			if err != nil {
				t.Fatalf("%q has no expressions: %v", text, err)
			}
			if joined, err := Join(mount, text); err != nil || joined != got {
				t.Errorf("%q: Expand has %q, Join %q, %v", text, got, joined, err)
			}
		}
	})
}

func FuzzExpand(f *testing.F) {
	for _, text := range []string{
		"/posts/{a}", "{a}", "{/a,b}", "/x{/a*}", "/{a}/{b}", "/{a}.{b}", "/.{a}", "/{a,b}", "/x{.a*}", "/x{;a,b*}", "/x{?a,b}", "/x{?a*,b*}", "/x?y={a}{&b*}", "/x#{a}", "/{a:3}{b:2}", "/{a}%2f{b}", "/{a};{b}", "/é{a}{?b}",
	} {
		for i, value := range []string{"..", "%2e%2e", "\u2e2e", "//evil", "a\r\nb", `..\`, "é\xff", "", "/", "2e", "%", ";", "hello world"} {
			f.Add(text, value, "b/../"+value, uint8(i))
			f.Add(text, value, value, uint8(7*i))
		}
	}
	f.Fuzz(func(t *testing.T, text, a, b string, kinds uint8) {
		if len(text)+len(a)+len(b) > 500 {
			return
		}
		template, err := Parse(text)
		if err != nil {
			return
		}
		given := make(values)
		for i, name := range template.Variables() {
			switch kinds >> (2 * (i % 4)) & 3 {
			case 0:
				given[name] = a
			case 1:
				given[name] = b
			case 2:
				given[name] = []any{a, b}
			case 3:
				given[name] = map[string]any{a: b, b: a}
			}
		}
		mount := mounts[int(kinds)%len(mounts)]
		got, err := template.Expand(ctx, mount, given)
		if again, errAgain := template.Expand(ctx, mount, given); again != got || fmt.Sprint(errAgain) != fmt.Sprint(err) {
			t.Errorf("%q with %q: first %q, %v, then %q, %v", text, given, got, err, again, errAgain)
		}
		if err != nil {
			if got != "" || errors.Is(err, ErrMissing) {
				t.Errorf("%q with %q: %q, %v", text, given, got, err)
			}
			return
		}
		staysUnder(t, mount, got)
		rest, _ := strings.CutPrefix(got, mount)
		if joined, err := Join(mount, rest); err != nil || joined != got {
			t.Errorf("Join(%q, %q) = %q, %v", mount, rest, joined, err)
		}
		// Except for lengths, which it counts in bytes, and texts for {/path*}, whose slashes it
		// escapes, that is what the library has.
		for _, part := range template.parts {
			if slices.ContainsFunc(part.variables, func(v variable) bool {
				text, _ := given[v.name].(string)
				return v.prefix > 0 || part.operator == "/" && v.explode && strings.Contains(text, "/")
			}) {
				return
			}
		}
		simple := make(stduritemplate.Substitutions)
		for name, value := range given {
			if simple[name], err = simplify(value); err != nil {
				t.Fatal(err)
			}
		}
		want, err := stduritemplate.Expand(text, simple)
		if err != nil {
			t.Fatalf("the library: %v", err)
		}
		if !strings.HasPrefix(want, "/") {
			want = "/" + want
		}
		if want = mount + escapeNonASCII(want); got != want {
			t.Errorf("%q with %q: %q, and the library has %q", text, given, got, want)
		}
	})
}

func FuzzJoin(f *testing.F) {
	for _, href := range []string{"/", "posts/1?q#f", "//evil", "/../x", "/%2e%2e/", "/a%2f..", "\\evil", "javascript:x", "/%252e./é", "/a;b/..;c", "/\t/x", "%2f", "/a%2fb//"} {
		f.Add(href, uint8(0))
		f.Add(href, uint8(1))
	}
	f.Fuzz(func(t *testing.T, href string, at uint8) {
		if len(href) > 500 {
			return
		}
		mount := mounts[int(at)%len(mounts)]
		got, err := Join(mount, href)
		if err != nil {
			return
		}
		staysUnder(t, mount, got)
		rest, _ := strings.CutPrefix(got, mount)
		if again, err := Join(mount, rest); err != nil || again != got {
			t.Errorf("%q becomes %q, and that %q, %v", href, got, again, err)
		}
	})
}

func FuzzUnescape(f *testing.F) {
	for _, s := range []string{"%2e", "%25%32%65", "%2%352e", "%%32e", "%252525", "100%", "%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 500 {
			return
		}
		if got, want := Unescape(s), unescapeSlowly(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	})
}
