// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package claimpattern

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/claimpath"
)

func mustParse(t testing.TB, texts ...string) *Patterns {
	t.Helper()
	return check.Value(Parse(texts))(t)
}

func TestPatterns(t *testing.T) {
	p := mustParse(t, "/reports/", "GET /users/{id}", "POST /users/", "Shop.Example.com/cart/", "/files/{path...}", "/about/{$}", "/caf%C3%A9", "/a%2Fb/{x}", "bücher.example/", "/old/x")
	for request, want := range map[string]string{
		"GET /reports/":                       "/reports/",
		"PUT /reports/2026/7":                 "/reports/",
		"GET /reports":                        "/reports/",
		"CONNECT /reports":                    "/reports/",
		"CONNECT /reports/x":                  "/reports/",
		"POST /reportsx":                      "",
		"POST /Reports/":                      "", // paths keep their case
		"GET /users/7":                        "GET /users/{id}",
		"HEAD /users/7":                       "GET /users/{id}",
		"POST /users/7":                       "POST /users/",
		"PUT /users/7":                        "",
		"get /users/7":                        "",
		"POST /anything":                      "",
		"POST /about":                         "/about/{$}",
		"POST /about/":                        "/about/{$}",
		"POST /about/x":                       "",
		"POST /files":                         "/files/{path...}",
		"POST /files/a/b":                     "/files/{path...}",
		"POST /caf%C3%A9":                     "/caf%C3%A9",
		"POST /a%2Fb/c":                       "/a%2Fb/{x}",
		"POST /a/b/c":                         "",
		"POST shop.example.com/cart/1":        "shop.example.com/cart/",
		"POST shop.example.com/cart":          "shop.example.com/cart/",
		"POST www.example.com/cart/1":         "",
		"POST xn--bcher-kva.example/x":        "xn--bcher-kva.example/",
		"POST /old/x/":                        "",
		"POST shop.example.com/old/x":         "/old/x",
		"POST reports/":                       "",
		"POST /%zz":                           "",
		"POST /" + strings.Repeat("x/", 4096): "",
	} {
		method, rest, _ := strings.Cut(request, " ")
		slash := max(0, strings.IndexByte(rest, '/'))
		for range 2 { // the second time with a used request
			got, ok := p.Match(method, rest[:slash], rest[slash:])
			check.ErrorIf(t, got != want || ok != (want != ""), "%.60s is claimed by %q, %v, want %q", request, got, ok, want)
		}
	}
	_, ok := p.Match("GET", "", "")
	check.ErrorIf(t, ok, "an empty path is claimed")
	check.ErrorIf(t, !p.HasHosts() || mustParse(t, "/").HasHosts(), "hosts")
	_, ok = mustParse(t).Match("GET", "", "/")
	check.ErrorIf(t, ok, "no pattern claims something")
	for _, all := range []string{"/", "/{x...}"} {
		got, ok := mustParse(t, all).Match("PURGE", "h", "/x/y")
		check.ErrorIf(t, got != all || !ok, "%s: %q", all, got)
	}
}

func TestPatternsThatAreRefused(t *testing.T) {
	for texts, want := range map[string]string{
		"":                         `"": it is empty: write a pattern such as "/reports/" or "GET /users/{id}"`,
		"GET":                      `"GET": it is a method without a path: write both as one pattern, as in "GET /users/{id}" (in a Caddyfile with the quotes)`,
		"/a,/b,PUT":                `[2] "PUT": it is a method`,
		"users":                    `"users": it has no path: write one, which begins with a slash`,
		"/a b":                     `it has white space in its path: write it as %20, or make two patterns of it`,
		"get /users":               `its method is get, but methods are in capitals: write GET`,
		"GET users":                `"GET users": it has no path`,
		" /x":                      `it begins with white space`,
		"/x/{http.request.uuid}":   `it has a Caddy placeholder, {http.…}, which {uuid}, {path}, {file}, {host} and others become in a Caddyfile: write another name for the wildcard, such as {the_uuid}`,
		"/{http.request.uri.path}": `such as {the_path}`,
		"/search?q=x":              `it has a '?', but a pattern has only a path: leave out everything from there on, or write %3F`,
		"/a//b":                    `no path looks like that once Caddy has cleaned it: write "/a/b"`,
		"GET /a/../b/":             `no path looks like that once Caddy has cleaned it: write "/b/"`,
		"//":                       `write "/"`,
		"GET/users":                `GET is taken for a host: write a space between method and path, "GET /users"`,
		"/users/*":                 `it has a *, which is not a wildcard here: write "/users/" for everything that begins so, {name} for one segment, or %2A for a * itself`,
		"/users/{id}/x*":           `write "/users/{id}/" for`,
		"GET *":                    `it has no path`,
		"/users/%2A":               ``,
		"/a/{id":                   `bad wildcard segment (must end with '}'): write a pattern of Go's ServeMux, such as`,
		"/a/x{id}":                 `bad wildcard segment (must start with '{')`,
		"/{a}/{a}":                 `duplicate wildcard name "a"`,
		"/{a...}/b":                `{...} wildcard not at end`,
		"G(T /":                    `invalid method "G(T"`,
		"/:id,/{id}x":              `[1] "/{id}x": bad wildcard segment`,
		"/ok,/\x00":                `[1] "/\x00": it has an unprintable character: escape it`,
		"/\xff":                    `it has an unprintable character`,
		"/a\u2028":                 `it has an unprintable character`,
		"example.com:8080/":        `"example.com:8080" is not a host name, because it has a port: write it without the port, which covers all ports`,
		"http://example.com/":      `it has a scheme: write it without, as in example.com/reports/`,
		"*.example.com/":           `a pattern has a whole host, without a wildcard`,
		"{host}/":                  `"{host}" is not a host name, because it has a '{'`,
		"/a/{x},/b,/{y}/c":         `[2] "/{y}/c" conflicts with "/a/{x}": /{y}/c and /a/{x} both match some paths, like "/a/c". But neither is more specific than the other`,
		"/x,/y,/x":                 `[2] "/x" conflicts with "/x": /x matches the same requests as /x: leave one out`,
		"GET /a/,GET /a/b":         ``,
		"/a/,GET /{x}/":            `[1] "GET /{x}/" conflicts with "/a/": GET /{x}/ matches fewer methods than /a/, but has a more general path pattern`,
		"EXAMPLE.com/,GET  example.com/x,example.COM/": `[2] "example.COM/" conflicts with "EXAMPLE.com/"`,
	} {
		list := strings.Split(texts, ",")
		_, err := Parse(list)
		if want == "" {
			check.Nil(t, err)
			continue
		}
		problem, ok := err.(*Error)
		if !ok {
			t.Errorf("%q: %v", texts, err)
			continue
		}
		got := err.Error()
		if problem.Index > 0 {
			got = fmt.Sprintf("[%d] %s", problem.Index, got)
		}
		check.Has(t, got, want, "%q", texts)
		check.ErrorIf(t, strings.Contains(got, ".go:") || strings.Contains(got, "\n") || len(got) > 1200, "%q: %s", texts, got)
	}
	_, err := Parse([]string{"/a/{x}", "/{" + strings.Repeat("y", 50000) + "}/b"})
	check.ErrorIf(t, err == nil || len(err.Error()) > 2000, "%v", err)
}

func TestManyPatterns(t *testing.T) {
	texts := make([]string, MaxPatterns+1)
	for i := range texts {
		texts[i] = fmt.Sprintf("/%d/{x}", i)
	}
	p := mustParse(t, texts[:MaxPatterns]...)
	got, _ := p.Match("GET", "", "/4095/x")
	check.Equal(t, got, "/4095/{x}", "the last")
	_, err := Parse(texts)
	check.Fails(t, err, "4097 patterns: write at most 4096")
}

// TestTheCostOfPatterns is for patterns that somebody chose to make it great, in 64 KiB.
func TestTheCostOfPatterns(t *testing.T) {
	wild, methods := []string{}, []string{}
	for i := range MaxPatterns {
		wild = append(wild, fmt.Sprintf("/{a}/%x", i))
		methods = append(methods, fmt.Sprintf("M%X /{a}", i))
	}
	for name, patterns := range map[string][]string{"wildcards": wild, "methods": methods} {
		began := time.Now()
		p := mustParse(t, patterns...)
		took := time.Since(began)
		each := least(50*time.Millisecond, func() { p.Match("M0", "h0", "/a/a/a/a/a/a/a/a/a/a/b") })
		t.Logf("%s: parsed in %v, a match in %v", name, took, each)
		check.ErrorIf(t, took > 20*time.Second || each > 50*time.Millisecond, "%s: parsed in %v, a match in %v", name, took, each)
	}
}

// FuzzPatterns compares with a mux that is asked as servers ask it.
func FuzzPatterns(f *testing.F) {
	f.Add("/reports/\nGET /users/{id}", "GET", "", "/users/7")
	f.Add("/tree/\n/{x}\nh/", "PUT", "h", "/tree")
	f.Add("/a/{$}\n/a/{x...}", "HEAD", "", "/a")
	f.Add("/a%2Fb", "GET", "x:1", "/a%2fb")
	f.Fuzz(func(t *testing.T, text, method, host, path string) {
		texts := strings.Split(text, "\n")
		p, err := Parse(texts)
		if err != nil {
			check.ErrorIf(t, len(err.Error()) > 4096, "%d bytes: %.100s", len(err.Error()), err)
			return
		}
		got, ok := p.Match(method, host, path)
		again, okAgain := p.Match(method, host, path)
		check.ErrorIf(t, got != again || ok != okAgain || ok == (got == ""), "%q %v, %q %v", got, ok, again, okAgain)
		r, err := http.NewRequest(method, "http://example.com"+path, nil)
		if err != nil || r.URL.EscapedPath() != path || method == "CONNECT" || method == "" || path == "" || claimpath.Clean(r.URL) != path {
			return
		}
		r.Host = host
		mux := new(http.ServeMux)
		for _, text := range texts {
			parsed, _ := parse(text)
			mux.HandleFunc(parsed.String(), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(299) })
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		slash := w.Header().Get("Location") != "" && strings.TrimSuffix(strings.SplitN(w.Header().Get("Location"), "?", 2)[0], "/") == path
		check.ErrorIf(t, ok != (w.Code == 299 || slash), "%q: %s %s%s: %q, the mux says %d %q", texts, method, host, path, got, w.Code, w.Header())
	})
}
