// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package claimpath_test

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/claimpath"
)

// of returns the URL of a request to the path.
func of(t testing.TB, requested string) *url.URL {
	t.Helper()
	u, err := url.ParseRequestURI(requested)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestOneForm(t *testing.T) {
	for requested, want := range map[string]string{
		"/":                  "/",
		"/a":                 "/a",
		"/a/":                "/a/",
		"/a/b.c/d":           "/a/b.c/d",
		"/.well-known/x":     "/.well-known/x",
		"/a.../b":            "/a.../b",
		"/...":               "/...",
		"/a//b///":           "/a/b/",
		"//a":                "/a",
		"/%2f":               "/%2F",
		"/a/./b/../c":        "/a/c",
		"/a/.":               "/a",
		"/a/..":              "/",
		"/a/../":             "/",
		"/../../a":           "/a",
		"/a/%2e%2E/b":        "/b",
		"/a/%2e/b":           "/a/b",
		"/a/.%2e":            "/",
		"/%61/%62%63":        "/a/bc",
		"/A/bC":              "/A/bC",
		"/a%2fb/c":           "/a%2Fb/c",
		"/a/b%2f..%2fc/d":    "/a/c/d",
		"/a/..%2fb":          "/b",
		"/a/..%2Fb%2fc/x%2f": "/b/c/x/",
		"/a/x%2f%2fy":        "/a/x%2F%2Fy",
		"/a/%252e%252e/b":    "/a/%252e%252e/b",
		"/a%2525":            "/a%2525",
		"/a;x=1/b;y":         "/a;x=1/b;y",
		"/a/..;/b":           "/a/..;/b",
		"/a%3Bx":             "/a;x",
		"/a%3fb%23c":         "/a%3Fb%23c",
		"/a b":               "/a%20b",
		"/caf%c3%a9":         "/caf%C3%A9",
		"/café":              "/caf%C3%A9",
		"/a(b)!*'":           "/a(b)!*'",
		"/a%28b%29":          "/a(b)",
		`/a\..\b`:            "/a%5C..%5Cb",
		"/a%00b":             "/a%00b",
		"/[a]":               "/%5Ba%5D",
		"/a/b/?q=/../":       "/a/b/",
	} {
		u := of(t, requested)
		got := claimpath.Clean(u)
		check.ErrorIf(t, got != want, "%s: %s, want %s", requested, got, want)
		again := of(t, got)
		check.ErrorIf(t, claimpath.Clean(again) != got, "%s: %s the second time", requested, claimpath.Clean(again))
		check.ErrorIf(t, again.EscapedPath() != got, "%s: net/url has %s of it", got, again.EscapedPath())
	}
	for u, want := range map[*url.URL]string{{}: "/", {Path: "*"}: "/*", {Path: "a/b"}: "/a/b", {Path: "/a/b", RawPath: "/stale"}: "/a/b", {Opaque: "//x"}: "/"} {
		check.ErrorIf(t, claimpath.Clean(u) != want, "%#v: %s", u, claimpath.Clean(u))
	}
}

func TestACleanPathIsNotAllocated(t *testing.T) {
	for _, requested := range []string{"/", "/invoices/7", "/.well-known/a.b/", "/a;x/@b"} {
		u := of(t, requested)
		check.Equal(t, testing.AllocsPerRun(100, func() { claimpath.Clean(u) }), 0, requested)
	}
}

func TestBelowAMount(t *testing.T) {
	for _, c := range []struct{ path, mount, want string }{
		{"/shop/a", "/shop", "/a"},
		{"/SHOP/A", "/shop", "/A"},
		{"/shop", "/shop", "/"},
		{"/shop/", "/shop", "/"},
		{"/a//b", "", "/a/b"},
		{"/shopping", "/shop", ""},
		{"/sho", "/shop", ""},
		{"/shop%2Fa", "/shop", "/a"},
		{"/caf%C3%A9/a", "/caf%C3%A9", "/a"},
		{"/caf%c3%a9/a", "/caf%C3%A9", "/a"},
		{"/other/shop/a", "/shop", ""},
		{"/sho%70//a", "/shop", "/a"},
		{"//shop/../shop/a", "/shop", "/a"},
		{"/shop/%2e%2e/a", "/shop", ""},
		{"/shop/%2e%2e/shop/a", "/shop", "/shop/a"}, // Caddy strips the first
		{"/x/%2e%2e/shop/a", "/shop", ""},           // and here nothing
		{"/x%2f..%2fshop/a", "/shop", ""},
		{"/shop/x/%2e%2e/a", "/shop", "/a"},
		{"/shop/x%2f..%2fa", "/shop", "/a"},
		{"/shop/%2e./shop/a", "/shop", "/shop/a"},
		{"/shop%2f./a", "/shop", "/a"},
		{"/shop%2f/a", "/shop", "/a"},
		{"/shop%2f/a%2fb", "/shop", "/a/b"}, // Caddy unescapes all that is left
		{"/shop/a%2fb", "/shop", "/a%2Fb"},
	} {
		got, ok := claimpath.Below(of(t, c.path), c.mount)
		check.ErrorIf(t, ok != (c.want != "") || ok && got != c.want, "%s below %q: %q %v", c.path, c.mount, got, ok)
	}
	u := of(t, "/shop/a")
	check.Equal(t, testing.AllocsPerRun(100, func() { claimpath.Below(u, "/shop") }), 0, "allocations")
}

// FuzzClean holds Clean to what net/http's ServeMux, which claims, and Caddy's path matcher, which
// routes, have of a path.
func FuzzClean(f *testing.F) {
	for _, seed := range []string{"/", "/a//b", "/a/%2e%2e/b", "/a%2f..%2fb", "/a%2fb/", "/..%2f", "/a;x/..;/", "/%", "/a%2f%2e", "/é/%ff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, requested string) {
		u, err := url.ParseRequestURI("/" + requested)
		if err != nil {
			return
		}
		got := claimpath.Clean(u)
		again, err := url.ParseRequestURI(got)
		if err != nil || again.Host != "" || again.EscapedPath() != got || claimpath.Clean(again) != got {
			t.Fatalf("%q: %q, and of that %+v, %v", requested, got, again, err)
		}
		for segment := range strings.SplitSeq(strings.Trim(got, "/"), "/") {
			if got != "/" && (segment == "" || segment == "." || segment == "..") {
				t.Fatalf("%q: segment %q in %q", requested, segment, got)
			}
		}
		// The path matcher sees the same segments, but that an escaped slash is one.
		unescaped, _ := url.PathUnescape(got)
		if seen, want := caddyhttp.CleanPath(u.Path, true), caddyhttp.CleanPath(unescaped, true); seen != want {
			t.Fatalf("%q: %q, but Caddy has %q", requested, got, seen)
		}
		// The ServeMux would not redirect.
		mux := http.NewServeMux()
		mux.Handle("/", http.NotFoundHandler())
		if _, pattern := mux.Handler(&http.Request{Method: "GET", URL: again}); pattern != "/" || path.Clean(again.Path) == "" {
			t.Fatalf("%q: the ServeMux has %q of %q", requested, pattern, got)
		}
	})
}
