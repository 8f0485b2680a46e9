// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/excerpt"
)

// client makes requests to one application. All it reads and all it waits for has an end.
type client struct {
	network, address string
	origin           *url.URL // whose host the application is told
	kept, fresh      *http.Transport
}

const (
	maxHeader = 64 << 10 // bytes of a response
	maxBody   = 1 << 20  // likewise, if nothing else is said
)

func newClient(network, address string, origin *url.URL, secure, insecure bool) *client {
	c := &client{network: network, address: address, origin: origin}
	transport := func(fresh bool) *http.Transport {
		t := &http.Transport{ // without Proxy: the environment's is none of the application's
			DialContext:            c.dial,
			DisableKeepAlives:      fresh,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        10 * time.Second,
			MaxResponseHeaderBytes: maxHeader,
			ExpectContinueTimeout:  time.Second,
		}
		if secure {
			t.TLSClientConfig = &tls.Config{ServerName: origin.Hostname(), InsecureSkipVerify: insecure} //nolint:gosec // the user's word
		}
		return t
	}
	c.kept, c.fresh = transport(false), transport(true)
	return c
}

func (c *client) close() { c.kept.CloseIdleConnections() }

func (c *client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, c.network, c.address)
	if err != nil {
		return nil, &unreachableError{err}
	}
	return conn, nil
}

// unreachableError is that of an address where nobody listens.
type unreachableError struct{ err error }

func (e *unreachableError) Error() string { return e.err.Error() }
func (e *unreachableError) Unwrap() error { return e.err }

// request is one to the application.
type request struct {
	method, target string // the target is path and query, escaped
	header         http.Header
	body           []byte
	fresh          bool          // on a connection of its own
	timeout        time.Duration // till the last byte
	most           int           // bytes of the body; maxBody if it is 0
}

// response is what came of a request.
type response struct {
	status int
	header http.Header
	body   []byte
	long   bool // the body is longer than was to be read
	closed bool // the connection is not kept
	took   time.Duration
	err    error

	element string // of a batch, if it is one that is no answer
}

// do makes the request. It follows no redirect and stores no cookie.
func (c *client) do(ctx context.Context, q request) (a response) {
	began := time.Now()
	defer func() { a.took = time.Since(began) }()
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	target, err := url.Parse(q.target)
	if err != nil {
		return response{err: err}
	}
	scheme := "http"
	if c.kept.TLSClientConfig != nil {
		scheme = "https"
	}
	target.Scheme, target.Host = scheme, c.origin.Host
	r := (&http.Request{Method: q.method, URL: target, Host: c.origin.Host, Header: q.header.Clone()}).WithContext(ctx)
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	c.forward(r.Header)
	if q.body != nil {
		r.ContentLength = int64(len(q.body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(q.body)), nil }
		r.Body, _ = r.GetBody()
		r.Header["Idempotency-Key"] = []string{} // has net/http send it again where the connection was just being closed
	}
	transport := c.kept
	if q.fresh {
		transport = c.fresh
	}
	got, err := transport.RoundTrip(r)
	if err != nil {
		return response{err: err}
	}
	defer got.Body.Close()
	a.status, a.header, a.closed = got.StatusCode, got.Header, got.Close
	most := cmp.Or(q.most, maxBody)
	a.body, a.err = io.ReadAll(io.LimitReader(got.Body, int64(most)+1))
	if len(a.body) > most {
		a.body, a.long, a.err = a.body[:most], true, nil
	}
	return a
}

// forward adds what Caddy's reverse_proxy does.
func (c *client) forward(header http.Header) {
	header.Set("X-Forwarded-For", "192.0.2.1")
	header.Set("X-Forwarded-Proto", c.origin.Scheme)
	header.Set("X-Forwarded-Host", c.origin.Host)
	header["User-Agent"] = []string{""} // which is none
}

// String says what came, for people.
func (a response) String() string {
	switch {
	case a.status == 0:
		return a.problem()
	case a.err != nil:
		return fmt.Sprintf("%d, and then %s", a.status, a.problem())
	}
	if a.element != "" {
		return excerpt.Of(a.element)
	}
	return fmt.Sprint(a.status)
}

// timedOut reports whether there was no answer, or no end of it, in time.
func (a response) timedOut() bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(a.err, context.DeadlineExceeded) || errors.As(a.err, &timeout) && timeout.Timeout()
}

func (a response) problem() string {
	switch {
	case a.timedOut():
		return fmt.Sprintf("no answer in %s", duration(a.took))
	case errors.Is(a.err, io.EOF), errors.Is(a.err, io.ErrUnexpectedEOF):
		return "the connection was closed in the middle"
	}
	return a.err.Error()
}

// typed says what came and its media type.
func (a response) typed() string {
	return fmt.Sprintf("%s with %s", a, cmp.Or(a.header.Get("Content-Type"), "no Content-Type"))
}

// crashed reports whether the application answered as one does that has failed, or not at all.
func (a response) crashed() bool { return a.err != nil || a.status >= 500 }

// isHarmless reports whether the application has not crashed. 501 is how servers answer to a method
// that they do not know.
func (a response) isHarmless() bool { return !a.crashed() || a.status == http.StatusNotImplemented }

func (a response) mediaType() string {
	mediaType, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	return mediaType
}

func (a response) isJSON() bool {
	mediaType := a.mediaType()
	return mediaType == "application/json" || strings.HasSuffix(mediaType, "+json")
}

// duration is how long something took, with the digits that matter.
func duration(d time.Duration) string {
	switch ms := float64(d) / float64(time.Millisecond); {
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return fmt.Sprintf("%.1f s", ms/1000)
	}
}

// patient is how long to wait for what is too late after so much time, to see how late.
func patient(limit time.Duration) time.Duration { return 2*limit + time.Second }

// none is how many there are.
func none(n int) string {
	if n == 0 {
		return "none"
	}
	return strconv.Itoa(n)
}
