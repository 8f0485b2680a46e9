// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package subrequest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/goleak"

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
	return New(ctx, &http.Request{Method: http.MethodGet, URL: uri}, nil, uri, "", w), w
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
	both := Charge{budget.New(12), "longer than %d together"}
	newWriter := func() *ResponseWriter {
		return NewResponseWriter(limit, Charge{budget.New(8), "too long: %d"}, both)
	}
	a, b := newWriter(), newWriter()
	for _, step := range []struct {
		w    *ResponseWriter
		text string
		want string
	}{
		{a, "12345", ""}, {b, "12345", ""},
		{b, "678", "longer than 12 together"}, {b, "6", "longer than 12 together"}, // and gives back what it had
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
	if _, err := io.WriteString(newWriter(), "123456789"); err == nil || err.Error() != "too long: 8" || !both.Take(12) {
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
