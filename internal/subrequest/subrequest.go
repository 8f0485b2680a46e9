// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package subrequest sends requests that no client made through a chain of
// Caddy handlers, and takes the responses.
package subrequest

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgiparty/wsgiparty/internal/budget"
)

// The addresses of a subrequest are from 192.0.2.0/24, which is nobody's (RFC
// 5737): no remote_ip rule takes them for local.
const (
	remoteIP   = "192.0.2.1"
	remoteAddr = remoteIP + ":49152"
)

var localIP = net.IPv4(192, 0, 2, 2)

// New returns a request like r, with its method, path, query, headers and body, in
// that context, that is complete for every handler on its way, and must be sent only once.
// The server is the one it would have arrived at. An absolute origin gives the request
// its Host; one with the scheme https makes it count as having come over TLS. The
// prefix is what counts as stripped from the beginning of its original path.
func New(ctx context.Context, r *http.Request, server *caddyhttp.Server, origin *url.URL, prefix string, w *ResponseWriter) *http.Request {
	port := 80
	if origin.Scheme == "https" {
		port = 443
	}
	if text := origin.Port(); text != "" {
		if p, err := strconv.Atoi(text); err == nil {
			port = p
		}
	}
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, &net.TCPAddr{IP: localIP, Port: port})
	r = arriving(r.WithContext(ctx), r.Header.Clone(), origin)
	if server == nil {
		server = new(caddyhttp.Server) // handlers assert the type and then use it
	}
	stripped := r.URL
	if prefix != "" {
		original := *stripped
		original.Path = prefix + original.Path
		original.RawPath = (&url.URL{Path: prefix}).EscapedPath() + stripped.EscapedPath()
		r.URL = &original
	}
	r.RequestURI = r.URL.RequestURI()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, server)
	r.URL = stripped
	r.RequestURI = stripped.RequestURI()
	return r
}

// Direct returns a request like r for a transport, of which the caller gives it the context of its own. It has room for
// headers to be set, and the values of r's.
func Direct(ctx context.Context, r *http.Request, origin *url.URL) *http.Request {
	header := make(http.Header, directHeaders)
	maps.Copy(header, r.Header)
	return arriving(r.WithContext(ctx), header, origin)
}

// directHeaders is how many headers an ask commonly has in the end. A map that grows takes a multiple of the time.
const directHeaders = 16

// Forward completes the headers of a request that Direct returned, as a reverse_proxy does.
func Forward(r *http.Request) {
	values := [...]string{remoteIP, "http", r.Host, "1.1 Caddy", ""} // one allocation, of which handlers may change each
	if r.TLS != nil {
		values[1] = "https"
	}
	for i, name := range [...]string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Via", "User-Agent"} {
		if _, given := r.Header[name]; !given || i < 4 {
			r.Header[name] = values[i : i+1 : i+1]
		}
	}
}

// arriving makes of a copy of a request what a server has of it.
func arriving(r *http.Request, header http.Header, origin *url.URL) *http.Request {
	r.URL = &url.URL{Path: cmp.Or(r.URL.Path, "/"), RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery}
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	r.Host, r.RemoteAddr = cmp.Or(origin.Host, "localhost"), remoteAddr
	if r.Header = header; header == nil {
		r.Header = make(http.Header)
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	if origin.Scheme == "https" {
		r.TLS = &tls.ConnectionState{
			Version:           tls.VersionTLS13,
			HandshakeComplete: true,
			CipherSuite:       tls.TLS_AES_128_GCM_SHA256,
			ServerName:        origin.Hostname(),
		}
	}
	return r
}

// StatusClientClosedRequest is the status that reverse_proxy gives a request whose context
// was canceled, and no error.
const StatusClientClosedRequest = 499

// Send sends r through the handler in a goroutine of its own. It returns when
// the handler has, or when the request's context has ended, with its cause; a
// handler that ignores that is abandoned. A panic is returned as a *PanicError, but for
// that of a response that breaks off, which is ErrBrokeOff.
func Send(handler caddyhttp.Handler, r *http.Request, w *ResponseWriter) error {
	done := make(chan error, 1) // so that an abandoned handler can end
	go func() {
		growStack()
		err := errEnded
		defer func() {
			if value := recover(); value == http.ErrAbortHandler {
				err = ErrBrokeOff
			} else if value != nil {
				err = &PanicError{Value: value, Stack: debug.Stack()}
			}
			done <- err
		}()
		err = handler.ServeHTTP(w, r)
	}()
	ctx := r.Context()
	select {
	case err := <-done:
		if tooLong := w.end(); tooLong != nil {
			return tooLong
		}
		if ctx.Err() != nil && (err != nil || w.Status() == StatusClientClosedRequest) {
			err = context.Cause(ctx)
		}
		return err
	case <-ctx.Done():
		_ = w.end() // the cause says that the handler may still be running
		return context.Cause(ctx)
	}
}

// growStack grows the goroutine's stack to what a request through Caddy's handlers
// needs, while there is hardly anything on it to be copied. Growing by and by takes a
// fifth of the time of a request to an application.
//
//go:noinline
func growStack() {
	var frame [16 << 10]byte
	use(&frame)
}

//go:noinline
func use(*[16 << 10]byte) {}

// ErrBrokeOff is what comes of a handler that ends its response before it is complete,
// as net/http has it: by the panic http.ErrAbortHandler. reverse_proxy does when the
// application does.
var ErrBrokeOff = errors.New("the response broke off")

var errEnded error = &PanicError{Value: "the handler ended its goroutine"}

// PanicError is the panic of a handler.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// ResponseWriter takes the response to a subrequest. It flushes for nothing,
// ignores deadlines and informational responses, and cannot be hijacked.
type ResponseWriter struct {
	limit   int
	charges []Charge
	header  http.Header

	mu     sync.Mutex // an abandoned handler may go on writing
	status int
	body   []byte
	err    error // what further writes return
}

// Charge is a budget that a response's body is charged to.
type Charge struct {
	*budget.Budget
	TooLong string // what is said of one that exceeds it, with %d for the bytes
}

// Exceeded returns the error for a body that exceeds the budget.
func (c Charge) Exceeded() error { return fmt.Errorf(c.TooLong, c.Total()) }

// NewResponseWriter returns a ResponseWriter that takes up to limit bytes of
// body, all of which are charged; writing more is an error, for the handler and of
// Send.
func NewResponseWriter(limit int, charges ...Charge) *ResponseWriter {
	return &ResponseWriter{limit: limit, charges: charges}
}

// Header returns the response's header. Once Send has abandoned the handler, that
// may be changing it: it is not to be read then.
func (w *ResponseWriter) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

// WriteHeader takes the first status that is not informational. It never panics.
func (w *ResponseWriter) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(status)
}

func (w *ResponseWriter) writeHeader(status int) {
	if w.status == 0 && w.err == nil && status >= 200 {
		w.status = status
	}
}

func (w *ResponseWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(http.StatusOK)
	if w.err != nil {
		return 0, w.err
	}
	n := min(len(p), w.limit-len(w.body))
	for i, c := range w.charges {
		if !c.Take(n) {
			for _, c := range w.charges[:i] {
				c.Give(n)
			}
			w.giveBack() // at once, or all that are under way would fail together
			w.err = c.Exceeded()
			return 0, w.err
		}
	}
	w.body = append(w.body, p[:n]...)
	if n < len(p) {
		w.err = &tooLongError{w.limit}
	}
	return n, w.err
}

// Flush does what net/http's does to the status of a response: it is 200 then.
func (w *ResponseWriter) Flush() { w.WriteHeader(http.StatusOK) }

// SetReadDeadline does nothing: the request's context bounds it.
func (*ResponseWriter) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing: the request's context bounds it.
func (*ResponseWriter) SetWriteDeadline(time.Time) error { return nil }

// Status returns the response's status, 0 if the handler gave none.
func (w *ResponseWriter) Status() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// Body returns what was written.
func (w *ResponseWriter) Body() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.body
}

// Drop gives back what the body was charged, and forgets it. Further writes fail.
func (w *ResponseWriter) Drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.giveBack()
	if w.err == nil {
		w.err = http.ErrHandlerTimeout
	}
}

func (w *ResponseWriter) giveBack() {
	for _, c := range w.charges {
		c.Give(len(w.body))
	}
	w.body = nil
}

// end makes further writes fail. It returns an error if there were too many.
func (w *ResponseWriter) end() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.err = http.ErrHandlerTimeout
	return nil
}

type tooLongError struct{ limit int }

func (e *tooLongError) Error() string {
	return fmt.Sprintf("the response is longer than %d bytes", e.limit)
}

// Interface guards
var (
	_ http.ResponseWriter = (*ResponseWriter)(nil)
	_ http.Flusher        = (*ResponseWriter)(nil)
)
