// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Connections on which an ask costs no change of goroutine.

package httpguest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"time"
)

const (
	maxDirectBody   = 64 << 10 // bytes of a request; a longer one might be written while the application waits for its answer to be read
	maxDirectHeader = 1 << 20  // bytes of a response
	maxInterim      = 5        // 1xx responses
	directBuffer    = 4 << 10
)

// directConns sends requests over HTTP/1.1. The goroutine that asks writes the request and reads the response, where
// those of http.Transport hand both over to others, which takes longer than all else.
type directConns struct {
	dial        func(context.Context) (net.Conn, error)
	idleTimeout time.Duration
	maxIdle     int

	mu     sync.Mutex
	idle   []*directConn // the one used last at the end
	sweep  *time.Timer   // set while there are some
	closed bool
}

type directConn struct {
	net.Conn
	idle    *idleCheck
	reader  *bufio.Reader
	writer  *bufio.Writer
	rest    int64 // bytes that may be read
	reused  bool
	idledAt time.Time
}

// Read reads what may be read.
func (c *directConn) Read(p []byte) (int, error) {
	if c.rest <= 0 {
		return 0, fmt.Errorf("the header of the response is longer than %d bytes", maxDirectHeader)
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.rest)])
	c.rest -= int64(n)
	return n, err
}

// RoundTrip sends a request, and once more by a new connection if one that was idle ends before there is an answer.
// All that a guest is asked may be sent twice.
func (t *directConns) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	c := t.take()
	for {
		if c == nil {
			var err error
			if c, err = t.connect(ctx); err != nil {
				return nil, err
			}
		}
		if trace := httptrace.ContextClientTrace(ctx); trace != nil && trace.GotConn != nil {
			trace.GotConn(httptrace.GotConnInfo{Conn: c, Reused: c.reused, WasIdle: c.reused})
		}
		stop := context.AfterFunc(ctx, func() { c.Close() }) // no deadline: a read_timeout sets its own
		response, err := c.roundTrip(r)
		if err == nil {
			response.Body = &directBody{response.Body, t, c, stop, !response.Close && response.StatusCode != http.StatusSwitchingProtocols}
			return response, nil
		}
		stop()
		c.Close()
		if !c.reused || !errors.Is(err, errNoResponse) || ctx.Err() != nil {
			return nil, err
		}
		if c = nil; r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// errNoResponse says that a connection ended before there was anything of a response.
var errNoResponse = errors.New("no response")

func (c *directConn) roundTrip(r *http.Request) (*http.Response, error) {
	writeErr := r.Write(c.writer)
	if writeErr == nil {
		writeErr = c.writer.Flush()
	}
	c.rest = maxDirectHeader + directBuffer
	if _, err := c.reader.Peek(1); err != nil { // although it may not have been written whole
		return nil, fmt.Errorf("%w: %w", errNoResponse, errors.Join(writeErr, err))
	}
	for range maxInterim + 1 {
		response, err := http.ReadResponse(c.reader, r)
		if err != nil {
			return nil, err
		}
		if response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols {
			c.rest = math.MaxInt64
			response.Close = response.Close || writeErr != nil
			return response, nil
		}
	}
	return nil, fmt.Errorf("more than %d 1xx responses", maxInterim)
}

// directBody is the body of a response, after which the connection is free.
type directBody struct {
	io.ReadCloser
	conns *directConns
	conn  *directConn // nil when it is somebody else's
	stop  func() bool
	keep  bool
}

func (b *directBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && b.conn != nil {
		b.release(err == io.EOF)
	}
	return n, err
}

func (b *directBody) Close() error {
	if b.conn != nil {
		b.release(false)
	}
	return nil
}

func (b *directBody) release(whole bool) {
	c := b.conn
	b.conn = nil
	if b.stop() && whole && b.keep && c.reader.Buffered() == 0 {
		b.conns.put(c)
		return
	}
	c.Close()
}

func (t *directConns) connect(ctx context.Context) (*directConn, error) {
	conn, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &directConn{Conn: conn, idle: newIdleCheck(conn)}
	c.reader, c.writer = bufio.NewReaderSize(c, directBuffer), bufio.NewWriterSize(conn, directBuffer)
	return c, nil
}

// take returns an idle connection, nil if there is none. What an application has sent on one meanwhile answers nobody.
func (t *directConns) take() *directConn {
	for {
		c := t.last()
		if c == nil || c.idle.isQuiet() {
			return c
		}
		c.Close()
	}
}

func (t *directConns) last() *directConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.idle)
	if n == 0 {
		return nil
	}
	c := t.idle[n-1]
	t.idle[n-1] = nil
	t.idle = t.idle[:n-1]
	c.reused = true
	return c
}

func (t *directConns) put(c *directConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || c.idle == nil || len(t.idle) >= t.maxIdle {
		c.Close()
		return
	}
	c.idledAt = time.Now()
	t.idle = append(t.idle, c)
	if t.sweep == nil && t.idleTimeout > 0 {
		t.sweep = time.AfterFunc(t.idleTimeout, t.closeOld)
	}
}

// closeOld closes connections that have been idle for too long.
func (t *directConns) closeOld() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep = nil
	t.idle = slices.DeleteFunc(t.idle, func(c *directConn) bool {
		old := time.Since(c.idledAt) >= t.idleTimeout
		if old {
			c.Close()
		}
		return old
	})
	if len(t.idle) > 0 && !t.closed {
		t.sweep = time.AfterFunc(t.idleTimeout-time.Since(t.idle[0].idledAt), t.closeOld)
	}
}

// close closes the connections that are idle, and has the others close when they would be.
func (t *directConns) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, c := range t.idle {
		c.Close()
	}
	t.idle = nil
	if t.sweep != nil {
		t.sweep.Stop()
	}
}
