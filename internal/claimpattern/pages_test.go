// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package claimpattern

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
)

func pagesOf(t testing.TB, texts ...string) *Pages {
	t.Helper()
	var templates []*urltemplate.Template
	for _, text := range texts {
		templates = append(templates, check.Value(urltemplate.Parse(text))(t))
	}
	return NewPages(templates)
}

func TestPages(t *testing.T) {
	p := pagesOf(t, "/", "/posts/{slug}", "/posts/", "/posts/{slug}/edit{?draft}", "/{lang}/about", "/page{n}.html", "/{name}.json", "about#team",
		"/search{?q,page}", "/find?lang=en{&q}", "/files{/path*}", "/wiki{/path*}/history", "/docs{/path*}.html", "/t{/y,m}/x", "/caf%C3%A9/{x}", "/feed{.format}",
		"/a%2Fb", "/v{major}-{minor}/", "/m{;x}", "/deep{/a*}/mid{/b*}/end", "/list/{x,y}")
	for path, want := range map[string]string{
		"/":                        "/",
		"/posts/":                  "/posts/",
		"/posts":                   "/posts/",
		"/posts/hello":             "/posts/{slug}",
		"/posts/a%2Fb":             "/posts/{slug}",
		"/posts/hello/":            "",
		"/posts/a/b":               "",
		"/posts/a/edit":            "/posts/{slug}/edit{?draft}",
		"/Posts/":                  "",
		"/en/about":                "/{lang}/about",
		"/posts/about":             "/posts/{slug}",
		"/page7.html":              "/page{n}.html",
		"/page.html":               "",
		"/page7.htm":               "",
		"/x.json":                  "/{name}.json",
		"/.json":                   "",
		"/page1.json":              "/{name}.json",
		"/about":                   "about#team",
		"/about/":                  "",
		"/search":                  "/search{?q,page}",
		"/find":                    "/find?lang=en{&q}",
		"/files":                   "/files{/path*}",
		"/files/":                  "/files{/path*}",
		"/files/a/b/c":             "/files{/path*}",
		"/filesx":                  "",
		"/wiki/a/b/history":        "/wiki{/path*}/history",
		"/wiki/history":            "",
		"/wiki/a/b":                "",
		"/docs/a/b.html":           "/docs{/path*}.html",
		"/docs/b.html":             "/docs{/path*}.html",
		"/docs/.html":              "",
		"/docs/a/b":                "",
		"/t/2026/11/x":             "/t{/y,m}/x",
		"/t/2026/x":                "",
		"/caf%C3%A9/x":             "/caf%C3%A9/{x}",
		"/feed.xml":                "/feed{.format}",
		"/feed":                    "",
		"/a%2Fb":                   "/a%2Fb",
		"/a/b":                     "",
		"/v1-2":                    "/v{major}-{minor}/",
		"/v1-2/":                   "/v{major}-{minor}/",
		"/v-2/":                    "",
		"/v1--":                    "/v{major}-{minor}/",
		"/v1-":                     "",
		"/m;x=1":                   "/m{;x}",
		"/deep/a/b/mid/c/end":      "/deep{/a*}/mid{/b*}/end",
		"/deep/a":                  "",
		"/deep/end":                "",
		"/list/1,2":                "/list/{x,y}",
		"":                         "",
		"posts/":                   "",
		"/%zz":                     "",
		"/posts/%zz":               "",
		"/posts//":                 "",
		strings.Repeat("/x", 4096): "",
	} {
		got, ok := p.Match(path)
		check.ErrorIf(t, got != want || ok != (want != ""), "%.60s is claimed by %q, %v, want %q", path, got, ok, want)
	}
	_, ok := NewPages(nil).Match("/")
	check.ErrorIf(t, ok, "no pages claim something")
	got, _ := pagesOf(t, "{/x*}").Match("/a/b")
	check.Equal(t, got, "{/x*}", "all paths")
	got, _ = pagesOf(t, "{/x*}/").Match("/a/b")
	check.Equal(t, got, "{/x*}/", "all paths with a slash")
}

// least returns the least time that it takes, of several where the machine is busy with something else.
func least(enough time.Duration, do func()) time.Duration {
	least := time.Hour
	for tries := 0; least > enough && tries < 100; tries++ {
		began := time.Now()
		do()
		least = min(least, time.Since(began))
	}
	return least
}

func TestTheCostOfPages(t *testing.T) {
	var mixed, many []string
	for i := range 4096 {
		mixed = append(mixed, fmt.Sprintf("/{x}a%x", i))
		many = append(many, fmt.Sprintf("{/x*}/%x", i))
	}
	for name, p := range map[string]*Pages{"texts": pagesOf(t, mixed...), "{/x*}": pagesOf(t, many...), "one": pagesOf(t, strings.Repeat("/{x}a{y}", 30))} {
		for _, path := range []string{"/" + strings.Repeat("a", 8000), strings.Repeat("/a", 8000)} {
			took := least(100*time.Millisecond, func() { p.Match(path) })
			t.Logf("%s: %v", name, took)
			check.ErrorIf(t, took > 100*time.Millisecond, "%s: %.9s takes %v", name, path, took)
		}
	}
}

// FuzzPages has each URL that a template expands to claimed.
func FuzzPages(f *testing.F) {
	f.Add("/posts/{slug}", "hello", "a")
	f.Add("/a{/x*}.html{?y}", "1", "2")
	f.Add("/p{x}{y}q{.x}", "..", "%2f")
	f.Add("{/x*}/m{/x*}/", "é", "q")
	f.Fuzz(func(t *testing.T, text, x, y string) {
		template, err := urltemplate.Parse(text)
		if err != nil {
			return
		}
		p := NewPages([]*urltemplate.Template{template})
		values := make(map[string]any)
		for i, name := range template.Variables() {
			values[name] = []any{x, []string{x, y}, y, map[string]string{x: y}}[i%4]
		}
		expanded, err := template.Expand(t.Context(), "", values)
		if err != nil {
			return
		}
		parsed, err := url.Parse(expanded)
		if err != nil {
			t.Fatal(err)
		}
		path := parsed.EscapedPath()
		if strings.Contains(path, "//") || len(x) == 0 || len(y) == 0 {
			return
		}
		got, ok := p.Match(path)
		check.ErrorIf(t, !ok || got != text, "%q expands to %q, which is claimed by %q, %v", text, path, got, ok)
	})
}
