// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package subrequest

import (
	"bytes"
	"context"
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
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/goleak"

	_ "github.com/caddyserver/caddy/v2/modules/caddyevents"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"

	"github.com/wsgiparty/wsgiparty/internal/budget"
)

const limit = 10

// newRequest returns a request for rawURL to a server that is not known.
func newRequest(t *testing.T, ctx context.Context, rawURL string) (*http.Request, *ResponseWriter) {
	t.Helper()
	uri, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	w := NewResponseWriter(limit)
	return New((&http.Request{Method: http.MethodGet, URL: uri}).WithContext(ctx), nil, uri, "", w), w
}

type handler = caddyhttp.HandlerFunc

// send sends a request through the handler.
func send(t *testing.T, ctx context.Context, h handler) (*ResponseWriter, error) {
	t.Helper()
	r, w := newRequest(t, ctx, "/x")
	return w, Send(h, r, w)
}

func TestStatus(t *testing.T) {
	for name, c := range map[string]struct {
		respond func(w http.ResponseWriter)
		want    int
	}{
		"nobody answers":        {func(http.ResponseWriter) {}, 0},
		"header only":           {func(w http.ResponseWriter) { w.Header().Set("X", "y") }, 0},
		"informational only":    {func(w http.ResponseWriter) { w.WriteHeader(103) }, 0},
		"informational, final":  {func(w http.ResponseWriter) { w.WriteHeader(100); w.WriteHeader(103); w.WriteHeader(204) }, 204},
		"switching protocols":   {func(w http.ResponseWriter) { w.WriteHeader(101) }, 0},
		"first final":           {func(w http.ResponseWriter) { w.WriteHeader(404); w.WriteHeader(200); w.Write([]byte("x")) }, 404},
		"informational after":   {func(w http.ResponseWriter) { w.WriteHeader(201); w.WriteHeader(103) }, 201},
		"body only":             {func(w http.ResponseWriter) { w.Write([]byte("x")); w.WriteHeader(500) }, 200},
		"empty body":            {func(w http.ResponseWriter) { w.Write(nil) }, 200},
		"invalid, none":         {func(w http.ResponseWriter) { w.WriteHeader(0); w.WriteHeader(-1); w.WriteHeader(99) }, 0},
		"invalid, then valid":   {func(w http.ResponseWriter) { w.WriteHeader(-200); w.WriteHeader(302) }, 302},
		"invalid, too high":     {func(w http.ResponseWriter) { w.WriteHeader(1000) }, 1000},
		"flushed":               {func(w http.ResponseWriter) { w.(http.Flusher).Flush(); w.WriteHeader(500) }, 200},
		"flushed by controller": {func(w http.ResponseWriter) { flush(t, w) }, 200},
		"flushed after status":  {func(w http.ResponseWriter) { w.WriteHeader(500); flush(t, w) }, 500},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := send(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) error {
				c.respond(w)
				return nil
			})
			if err != nil || w.Status() != c.want {
				t.Errorf("status %d, error %v, want status %d", w.Status(), err, c.want)
			}
		})
	}
}

func flush(t *testing.T, w http.ResponseWriter) {
	if err := http.NewResponseController(w).Flush(); err != nil {
		t.Error("flushing:", err)
	}
}

func TestStatusIsZeroAtFirst(t *testing.T) {
	if w := NewResponseWriter(0); w.Status() != 0 || len(w.Body()) != 0 || len(w.Header()) != 0 {
		t.Errorf("%+v", w)
	}
}

func TestBodyIsBounded(t *testing.T) {
	for _, c := range []struct {
		writes  []string
		body    string
		tooLong bool
	}{
		{nil, "", false},
		{[]string{"12345", "67890"}, "1234567890", false},
		{[]string{"1234567890", ""}, "1234567890", false},
		{[]string{"12345678901"}, "1234567890", true},
		{[]string{"1234567890", "1"}, "1234567890", true},
		{[]string{"12345", "678901", "2"}, "1234567890", true},
	} {
		var written int
		var writeErr error
		w, err := send(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) error {
			for _, p := range c.writes {
				var n int
				n, writeErr = io.WriteString(w, p)
				written += n
			}
			return nil
		})
		if string(w.Body()) != c.body || written != len(c.body) {
			t.Errorf("%q: body %q, %d bytes written", c.writes, w.Body(), written)
		}
		if err != writeErr || isTooLong(err) != c.tooLong {
			t.Errorf("%q: the handler got %v, Send returned %v", c.writes, writeErr, err)
		}
		if c.tooLong && (w.Status() != 200 || err.Error() != "the response is longer than 10 bytes") {
			t.Errorf("%q: status %d, error %v", c.writes, w.Status(), err)
		}
	}
}

// TestBodiesAreCharged has two responses charged to a budget of both, and each to one
// of its own.
func TestBodiesAreCharged(t *testing.T) {
	both := Charge{budget.New(12), func() error { return errors.New("together too long") }}
	newWriter := func() *ResponseWriter {
		return NewResponseWriter(limit, Charge{budget.New(8), func() error { return errors.New("too long") }}, both)
	}
	a, b := newWriter(), newWriter()
	for _, step := range []struct {
		w    *ResponseWriter
		text string
		want string
	}{
		{a, "12345", ""}, {b, "12345", ""},
		{b, "678", "together too long"}, {b, "6", "together too long"}, // and gives back what it had
		{a, "678", ""},
	} {
		if _, err := io.WriteString(step.w, step.text); err != nil && err.Error() != step.want || err == nil && step.want != "" {
			t.Errorf("%q: %v, want %q", step.text, err, step.want)
		}
	}
	if string(a.Body()) != "12345678" || b.Body() != nil || !both.Take(4) || both.Take(1) {
		t.Errorf("%q and %q are kept", a.Body(), b.Body())
	}
	a.Drop()
	if a.Body() != nil || !both.Take(8) || both.Take(1) {
		t.Errorf("%q is kept", a.Body())
	}
	both.Give(12)
	if _, err := io.WriteString(newWriter(), "123456789"); err == nil || err.Error() != "too long" || !both.Take(12) {
		t.Errorf("%v, want that it is too long", err)
	}
	c := newWriter()
	c.Drop()
	if _, err := io.WriteString(c, ""); err != http.ErrHandlerTimeout {
		t.Error(err)
	}
}

func isTooLong(err error) bool {
	_, ok := errors.AsType[*tooLongError](err)
	return ok
}

func TestEndlessBodyEnds(t *testing.T) {
	var n int64
	w, err := send(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) error {
		n, _ = io.Copy(w, endless{})
		return nil
	})
	if !isTooLong(err) || n != limit || string(w.Body()) != strings.Repeat("x", limit) {
		t.Errorf("copied %d bytes, body %q, error %v", n, w.Body(), err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte("x"), len(p))), nil }

// TestTooLongIsWhyItFailed: reverse_proxy, for one, panics where a write fails.
func TestTooLongIsWhyItFailed(t *testing.T) {
	_, err := send(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = io.Copy(w, endless{})
		panic(http.ErrAbortHandler)
	})
	if !isTooLong(err) {
		t.Error(err)
	}
}

// TestWriterCannot has what the writer must not do, and that it says so.
func TestWriterCannot(t *testing.T) {
	var w http.ResponseWriter = NewResponseWriter(limit)
	if _, ok := w.(http.Hijacker); ok {
		t.Error("it is a Hijacker")
	}
	if conn, _, err := http.NewResponseController(w).Hijack(); conn != nil || !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("hijacking: %v, %v", conn, err)
	}
	if _, ok := w.(http.Pusher); ok {
		t.Error("it is a Pusher")
	}
	if _, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
		t.Error("it unwraps")
	}
}

func TestDeadlinesAreIgnored(t *testing.T) {
	w, err := send(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) error {
		c, past := http.NewResponseController(w), time.Now().Add(-time.Hour)
		if err := errors.Join(c.SetReadDeadline(past), c.SetWriteDeadline(past), c.SetReadDeadline(time.Time{})); err != nil {
			return err
		}
		_, err := io.WriteString(w, "x")
		return err
	})
	if err != nil || w.Status() != 200 {
		t.Errorf("status %d, error %v", w.Status(), err)
	}
}

func TestPanicIsAnError(t *testing.T) {
	for _, value := range []any{"oh", errors.New("oh"), nil, 42} {
		w, err := send(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(202)
			panicker(value)
			return nil
		})
		panicked, ok := errors.AsType[*PanicError](err)
		if !ok {
			t.Errorf("panic(%v): error %v", value, err)
			continue
		}
		if _, isNil := panicked.Value.(*runtime.PanicNilError); panicked.Value != value && !(value == nil && isNil) {
			t.Errorf("panic(%v): value %v", value, panicked.Value)
		}
		if want := fmt.Sprint("panic: ", panicked.Value); err.Error() != want || !bytes.Contains(panicked.Stack, []byte("panicker")) {
			t.Errorf("panic(%v): error %q, stack %s", value, err, panicked.Stack)
		}
		if w.Status() != 202 {
			t.Errorf("panic(%v): status %d", value, w.Status())
		}
	}
}

func TestAResponseThatBreaksOff(t *testing.T) {
	_, err := send(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(200)
		panic(http.ErrAbortHandler)
	})
	if err != ErrBrokeOff {
		t.Error(err)
	}
}

func panicker(value any) { panic(value) }

func TestGoexitIsAnError(t *testing.T) {
	_, err := send(t, t.Context(), func(http.ResponseWriter, *http.Request) error {
		runtime.Goexit()
		return nil
	})
	if _, ok := errors.AsType[*PanicError](err); !ok || err.Error() != "panic: the handler ended its goroutine" {
		t.Error(err)
	}
}

func TestErrorIsTheHandlers(t *testing.T) {
	want := caddyhttp.Error(http.StatusTeapot, errors.New("oh"))
	if _, err := send(t, t.Context(), func(http.ResponseWriter, *http.Request) error { return want }); err != want {
		t.Error(err)
	}
}

var errCause = errors.New("the cause")

func timeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, errCause)
	t.Cleanup(cancel)
	return ctx
}

func TestHangingHandlerEnds(t *testing.T) {
	before := goleak.IgnoreCurrent()
	defer goleak.VerifyNone(t, before)
	for name, end := range map[string]func(ctx context.Context) error{
		"with its context's error": context.Context.Err,
		"with another error":       func(context.Context) error { return caddyhttp.Error(502, errors.New("no answer")) },
		"without an error":         func(context.Context) error { return nil },
		"with a panic":             func(context.Context) error { panic(http.ErrAbortHandler) },
	} {
		_, err := send(t, timeout(t), func(_ http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			return end(r.Context())
		})
		if err != errCause && (err != nil || name != "without an error") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// unseen is a context whose end is not seen before the handler returns.
type unseen struct{ context.Context }

func (unseen) Done() <-chan struct{} { return nil }

func TestErrorOfAnEndedContextIsItsCause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	if _, err := send(t, unseen{ctx}, func(_ http.ResponseWriter, r *http.Request) error {
		cancel(errCause)
		return fmt.Errorf("dialing: %w", r.Context().Err())
	}); err != errCause {
		t.Error(err)
	}
	if _, err := send(t, unseen{ctx}, func(http.ResponseWriter, *http.Request) error { return nil }); err != nil {
		t.Error("the handler succeeded all the same:", err)
	}
}

func TestSendAfterTheContextEnded(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errCause)
	if _, err := send(t, ctx, func(_ http.ResponseWriter, r *http.Request) error { return r.Context().Err() }); err != errCause {
		t.Error(err)
	}
}

// TestAbandonedHandler has one that ignores its context and writes on, while the
// response is being looked at.
func TestAbandonedHandler(t *testing.T) {
	for name, first := range map[string]string{"that wrote nothing": "", "that wrote": "before", "that wrote too much": "more than ten bytes"} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			defer goleak.VerifyNone(t, before)
			release, late := make(chan struct{}), make(chan error, 3)
			w, err := send(t, timeout(t), func(w http.ResponseWriter, _ *http.Request) error {
				if first != "" {
					_, _ = io.WriteString(w, first)
				}
				<-release
				for range cap(late) {
					w.Header().Set("Late", "yes")
					w.WriteHeader(500)
					flush(t, w)
					n, err := io.WriteString(w, "late")
					if n != 0 {
						t.Errorf("%d late bytes written", n)
					}
					late <- err
				}
				panic("late")
			})
			if err != errCause {
				t.Error("Send returned", err)
			}
			close(release)
			for range cap(late) {
				if body := string(w.Body()); body != first[:min(len(first), limit)] {
					t.Errorf("body %q", body)
				}
				if status := w.Status(); status != 0 && first == "" || status != 200 && first != "" {
					t.Errorf("status %d", status)
				}
				if err := <-late; err != http.ErrHandlerTimeout && !isTooLong(err) || isTooLong(err) && len(first) <= limit {
					t.Error("writing late:", err)
				}
			}
		})
	}
}

func TestWritingAfterSend(t *testing.T) {
	var kept http.ResponseWriter
	w, err := send(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) error {
		kept = w
		return nil
	})
	kept.WriteHeader(200)
	if _, writeErr := kept.Write([]byte("x")); err != nil || writeErr != http.ErrHandlerTimeout || w.Status() != 0 || len(w.Body()) != 0 {
		t.Errorf("Send returned %v, Write %v; status %d, body %q", err, writeErr, w.Status(), w.Body())
	}
}

func TestWriterCanBeReadMeanwhile(t *testing.T) {
	r, w := newRequest(t, t.Context(), "/x")
	done := make(chan error)
	go func() {
		done <- Send(handler(func(w http.ResponseWriter, _ *http.Request) error {
			for range limit {
				_, _ = io.WriteString(w, "x")
			}
			return nil
		}), r, w)
	}()
	for w.Status() != 200 || len(w.Body()) < limit {
		runtime.Gosched()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

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
			r := New((&http.Request{Method: http.MethodGet, URL: uri}).WithContext(t.Context()), server, uri, "", w)
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
