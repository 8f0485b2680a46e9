// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// maxIdle is how long Caddy keeps connections that nobody uses.
const maxIdle = 2 * time.Minute

// checkConnections tests what the server does with more than one connection.
func (c *checker) checkConnections() {
	q := c.signed(c.inviteRequest())
	q.timeout = c.limits.beside
	if begun, err := c.begin(); err == nil {
		fresh := q
		fresh.fresh = true
		a := c.do(fresh)
		begun.Close()
		result := OK
		if a.err != nil {
			result = Warn
		}
		c.see("connections.workers", result, "beside an unfinished request: "+a.String())
	}
	kept := c.do(q)
	if kept.closed {
		c.see("connections.kept", OK, "closed")
		return
	}
	fresh := q
	fresh.fresh = true
	if a := c.do(fresh); a.err != nil && kept.err == nil {
		c.see("connections.kept", Fail, "while a connection is idle, another one gets "+a.String())
		c.client.kept.CloseIdleConnections()
		c.client.kept = c.client.fresh
		return
	}
	for parameter := range strings.SplitSeq(kept.header.Get("Keep-Alive"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		idle, err := strconv.Atoi(value)
		if !strings.EqualFold(name, "timeout") || err != nil {
			continue
		}
		result := OK
		if time.Duration(idle)*time.Second <= maxIdle {
			result = Warn
		}
		c.see("connections.kept", result, fmt.Sprintf("kept for %d s", idle))
	}
}

// begin sends the beginning of a request.
func (c *checker) begin() (net.Conn, error) {
	conn, err := c.client.dial(c.ctx, "", "")
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(c.limits.beside))
	if config := c.client.fresh.TLSClientConfig; config != nil {
		conn = tls.Client(conn, config)
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n", c.invite, c.client.origin.Host); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
