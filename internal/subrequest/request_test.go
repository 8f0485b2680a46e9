// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package subrequest

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	_ "github.com/caddyserver/caddy/v2/modules/caddyevents"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"
)

func TestRequest(t *testing.T) {
	for rawURL, want := range map[string]struct {
		path, rawPath, query, uri string
		host, name, local         string
		https                     bool
	}{
		"/":                               {path: "/", uri: "/", host: "localhost", name: "localhost", local: "192.0.2.2:80"},
		"/a/b/?c=d&e":                     {path: "/a/b/", query: "c=d&e", uri: "/a/b/?c=d&e", host: "localhost", name: "localhost", local: "192.0.2.2:80"},
		"/a%2Fb/c%20d?e=%2F":              {path: "/a/b/c d", rawPath: "/a%2Fb/c%20d", query: "e=%2F", uri: "/a%2Fb/c%20d?e=%2F", host: "localhost", name: "localhost", local: "192.0.2.2:80"},
		"/caf%C3%A9":                      {path: "/café", uri: "/caf%C3%A9", host: "localhost", name: "localhost", local: "192.0.2.2:80"},
		"http://example.com":              {path: "/", uri: "/", host: "example.com", name: "example.com", local: "192.0.2.2:80"},
		"http://example.com?q":            {path: "/", query: "q", uri: "/?q", host: "example.com", name: "example.com", local: "192.0.2.2:80"},
		"http://example.com:8080/x#y":     {path: "/x", uri: "/x", host: "example.com:8080", name: "example.com", local: "192.0.2.2:8080"},
		"https://example.com/x?y=z":       {path: "/x", query: "y=z", uri: "/x?y=z", host: "example.com", name: "example.com", local: "192.0.2.2:443", https: true},
		"https://example.com:8443//x/../": {path: "//x/../", uri: "//x/../", host: "example.com:8443", name: "example.com", local: "192.0.2.2:8443", https: true},
		"https://[2001:db8::1]:8443/x":    {path: "/x", uri: "/x", host: "[2001:db8::1]:8443", name: "2001:db8::1", local: "192.0.2.2:8443", https: true},
	} {
		r, _ := newRequest(t, t.Context(), rawURL)
		if r.Method != "GET" || r.URL.Path != want.path || r.URL.RawPath != want.rawPath || r.URL.RawQuery != want.query || r.RequestURI != want.uri || r.Host != want.host {
			t.Errorf("%s: %s %#v, RequestURI %q, Host %q", rawURL, r.Method, r.URL, r.RequestURI, r.Host)
		}
		if r.URL.Scheme+r.URL.Host+r.URL.Fragment != "" {
			t.Errorf("%s: URL %s is not one of a server's request", rawURL, r.URL)
		}
		if parsed, err := url.ParseRequestURI(r.RequestURI); err != nil || parsed.Path != r.URL.Path || parsed.EscapedPath() != r.URL.EscapedPath() {
			t.Errorf("%s: RequestURI means %v (%v), URL is %v", rawURL, parsed, err, r.URL)
		}
		if local := r.Context().Value(http.LocalAddrContextKey).(net.Addr); local.String() != want.local || local.Network() != "tcp" {
			t.Errorf("%s: local address %v", rawURL, local)
		}
		if (r.TLS != nil) != want.https || want.https && (!r.TLS.HandshakeComplete || r.TLS.ServerName != want.name || r.TLS.Version != tls.VersionTLS13) {
			t.Errorf("%s: TLS %+v", rawURL, r.TLS)
		}
		if b, err := io.ReadAll(r.Body); len(b) > 0 || err != nil || r.ContentLength != 0 || r.Header == nil || r.Proto != "HTTP/1.1" || !r.ProtoAtLeast(1, 1) {
			t.Errorf("%s: body %q (%v), %+v", rawURL, b, err, r)
		}
		port := want.local[strings.LastIndex(want.local, ":")+1:]
		scheme := map[bool]string{false: "http", true: "https"}[want.https]
		for placeholder, value := range map[string]string{
			"{http.request.scheme}": scheme, "{http.request.host}": want.name, "{http.request.hostport}": want.host,
			"{http.request.local}": want.local, "{http.request.local.host}": "192.0.2.2", "{http.request.local.port}": port,
			"{http.request.remote}": "192.0.2.1:49152", "{http.request.remote.host}": "192.0.2.1", "{http.request.remote.port}": "49152",
			"{http.request.uri}": want.uri, "{http.request.orig_uri}": want.uri, "{http.request.orig_method}": "GET",
		} {
			if placeholder == "{http.request.host}" && strings.Contains(value, "::") && scheme == "http" {
				continue
			}
			if got := replacer(r).ReplaceAll(placeholder, "?"); got != value {
				t.Errorf("%s: %s is %q, want %q", rawURL, placeholder, got, value)
			}
		}
		for _, protocol := range []string{"http", "https", "grpc"} {
			if caddyhttp.MatchProtocol(protocol).Match(r) != (protocol == scheme) {
				t.Errorf("%s: protocol %s", rawURL, protocol)
			}
		}
	}
}

func replacer(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}

func TestRemoteAddrIsNobodys(t *testing.T) {
	ctx := caddyContext(t)
	r, _ := newRequest(t, t.Context(), "/")
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !netip.MustParsePrefix("192.0.2.0/24").Contains(addr.Addr()) {
		t.Fatal(r.RemoteAddr, err)
	}
	for want, ranges := range map[bool][]string{false: caddyhttp.PrivateRangesCIDR(), true: {"192.0.2.0/24"}} {
		remote, client := caddyhttp.MatchRemoteIP{Ranges: ranges}, caddyhttp.MatchClientIP{Ranges: ranges}
		if err := errors.Join(remote.Provision(ctx), client.Provision(ctx)); err != nil {
			t.Fatal(err)
		}
		if got, err := remote.MatchWithError(r); got != want || err != nil {
			t.Errorf("remote_ip %v: %t, %v", ranges, got, err)
		}
		if got, err := client.MatchWithError(r); got != want || err != nil {
			t.Errorf("client_ip %v: %t, %v", ranges, got, err)
		}
	}
}

// TestPlaceholders has those that panic on a request that lacks something.
func TestPlaceholders(t *testing.T) {
	names := []string{"http.shutting_down", "http.time_until_shutdown", "http.vars.client_ip", "http.vars.none", "http.response.header.X", "http.error.status_code"}
	for _, name := range strings.Fields(`method scheme proto proto_name host port hostport local local.host local.port remote remote.host
		remote.host/24 remote.port uri uri_escaped uri.path uri.path_escaped uri.path.0 uri.path.file uri.path.file.base uri.path.file.ext
		uri.path.dir uri.query uri.query_escaped uri.query.a uri.prefixed_query duration duration_ms uuid body body_base64 orig_method
		orig_uri orig_uri.path orig_uri.path.0 orig_uri.path.file orig_uri.path.file_escaped orig_uri.path.dir orig_uri.query
		orig_uri.prefixed_query host.labels.0 header.X cookie.x tls.version tls.cipher_suite tls.resumed tls.proto
		tls.proto_mutual tls.server_name tls.ech tls.client.fingerprint tls.client.public_key tls.client.public_key_sha256
		tls.client.issuer tls.client.serial tls.client.subject tls.client.certificate_pem tls.client.certificate_der_base64
		tls.client.san.dns_names tls.client.san.dns_names.0 tls.client.san.ips.0 tls.client.san.emails tls.client.san.uris.0`) {
		names = append(names, "http.request."+name)
	}
	for _, rawURL := range []string{"/a/b.c?a=b", "https://example.com:8443/a/b.c?a=b", "https://example.com"} {
		for _, server := range []*caddyhttp.Server{nil, new(caddyhttp.Server)} {
			uri, _ := url.Parse(rawURL)
			w := NewResponseWriter(limit)
			r := New(t.Context(), &http.Request{Method: http.MethodGet, URL: uri}, server, uri, "", w)
			for _, name := range names {
				replacer(r).ReplaceAll("{"+name+"}", "")
			}
			if got := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); got == nil || server != nil && got != server {
				t.Errorf("server %p, want %p", got, server)
			}
			for name, ok := range map[string]func(v any) bool{
				"http.request.duration":    func(v any) bool { d, ok := v.(time.Duration); return ok && d >= 0 && d < time.Minute },
				"http.request.uuid":        func(v any) bool { s, ok := v.(string); return ok && len(s) == 36 },
				"http.request.body":        func(v any) bool { return v == "" },
				"http.vars.client_ip":      func(v any) bool { return v == "192.0.2.1" },
				"http.shutting_down":       func(v any) bool { return v == false },
				"http.request.tls.version": func(v any) bool { return v == "tls1.3" || r.TLS == nil },
			} {
				if v, known := replacer(r).Get(name); !known || !ok(v) {
					t.Errorf("%s: %s is %v", rawURL, name, v)
				}
			}
		}
	}
}

// caddyContext returns the context of an empty config, which ends with the test.
func caddyContext(t *testing.T) caddy.Context {
	t.Helper()
	discard := &caddy.CustomLog{BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output": "discard"}`)}}
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{caddy.DefaultLoggerName: discard}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}

// routes returns the handler that routes in JSON are.
func routes(t *testing.T, config string) caddyhttp.Handler {
	t.Helper()
	var list caddyhttp.RouteList
	if err := json.Unmarshal([]byte(config), &list); err != nil {
		t.Fatal(config, err)
	}
	if err := list.Provision(caddyContext(t)); err != nil {
		t.Fatal(config, err)
	}
	return list.Compile(handler(func(http.ResponseWriter, *http.Request) error { return nil }))
}

// TestGroups has what handle blocks are: of a group one route is run, anew for
// each request.
func TestGroups(t *testing.T) {
	h := routes(t, `[
		{"group": "g", "match": [{"path": ["/a*"]}], "handle": [{"handler": "static_response", "status_code": 201}]},
		{"group": "g", "handle": [{"handler": "vars", "second": "run"}]},
		{"group": "g", "handle": [{"handler": "static_response", "status_code": 500}]},
		{"handle": [{"handler": "static_response", "status_code": 202, "body": "{http.vars.second}"}]}]`)
	for range 3 {
		for path, want := range map[string]string{"/a": "201 ", "/b": "202 run"} {
			r, w := newRequest(t, t.Context(), path)
			if err := Send(h, r, w); err != nil || fmt.Sprintf("%d %s", w.Status(), w.Body()) != want {
				t.Errorf("%s: %d %s, %v, want %s", path, w.Status(), w.Body(), err, want)
			}
		}
	}
}

// TestCaddysHandlers sends requests through handlers that take much of them for
// granted.
func TestCaddysHandlers(t *testing.T) {
	var seen string
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Get("X-Forwarded-Proto") + " " + r.Header.Get("X-Forwarded-For") + " " + r.Header.Get("X-Forwarded-Host")
		w.WriteHeader(http.StatusEarlyHints)
		flush(t, w)
	}))
	defer backend.Close()
	const answer = `{"handler": "static_response", "body": "{http.vars.v}"}`
	for _, c := range []struct {
		handlers string
		want     int // negative: an error with this status, -1 without one
	}{
		{`{"handler": "vars", "v": "{http.request.local.port}"}, ` + answer, 200},
		{`{"handler": "map", "source": "{http.request.host}", "destinations": ["{m}"], "mappings": [{"input": "example.com", "outputs": ["x"]}]}, ` + answer, 200},
		{`{"handler": "headers", "request": {"set": {"X": ["{http.request.remote}"]}}, "response": {"set": {"Y": ["z"]}, "deferred": true}}, ` + answer, 200},
		{`{"handler": "rewrite", "uri": "/y{uri}"}, ` + answer, 200},
		{`{"handler": "encode", "encodings": {"gzip": {}}}, ` + answer, 200},
		{`{"handler": "request_body", "max_size": 1}, ` + answer, 200},
		{`{"handler": "log_append", "key": "k", "value": "{http.request.duration}"}, ` + answer, 200},
		{`{"handler": "push", "resources": [{"target": "/y"}]}, ` + answer, 200},
		{`{"handler": "templates", "mime_types": [""]}, {"handler": "static_response", "body": "{{.ClientIP}}"}`, 200},
		{`{"handler": "intercept", "handle_response": [{"match": {"status_code": [418]}, "routes": [{"handle": [` + answer + `]}]}]}, {"handler": "static_response", "status_code": 418}`, 200},
		{`{"handler": "subroute", "routes": [{"group": "g", "handle": [` + answer + `]}]}`, 200},
		{`{"handler": "static_response", "abort": true}`, -1},
		{`{"handler": "error", "status_code": "404"}`, -404},
		{`{"handler": "file_server", "root": "/nonexistent"}`, -404},
		{`{"handler": "invoke", "name": "none"}`, -1},
		{`{"handler": "reverse_proxy", "upstreams": [{"dial": "` + backend.Listener.Addr().String() + `"}], "flush_interval": -1}`, 200},
		{`{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:1"}]}`, -502},
	} {
		h := routes(t, `[{"handle": [`+c.handlers+`]}]`)
		r, w := newRequest(t, t.Context(), "https://example.com/x")
		err := Send(h, r, w)
		got := w.Status()
		if err != nil {
			got = -1
			if handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err); ok && handlerErr.StatusCode != 0 {
				got = -handlerErr.StatusCode
			}
		}
		if got != c.want {
			t.Errorf("%s: %d %q, %v", c.handlers, w.Status(), w.Body(), err)
		}
		if panicked, ok := errors.AsType[*PanicError](err); ok {
			t.Errorf("%s: %v\n%s", c.handlers, err, panicked.Stack)
		}
	}
	backend.Close()
	if want := "https 192.0.2.1 example.com"; seen != want {
		t.Errorf("the backend saw %q, want %q", seen, want)
	}
}
