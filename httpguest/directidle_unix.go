// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

// Whether anything has come on a connection that is idle.

package httpguest

import (
	"net"
	"syscall"
)

const canCheckIdle = true

// idleCheck reads from a connection without waiting.
type idleCheck struct {
	raw   syscall.RawConn
	read  func(fd uintptr)
	one   [1]byte
	quiet bool
}

// newIdleCheck returns nil for a connection that cannot be checked.
func newIdleCheck(conn net.Conn) *idleCheck {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	check := &idleCheck{raw: raw}
	check.read = func(fd uintptr) {
		_, err := syscall.Read(int(fd), check.one[:])
		check.quiet = err == syscall.EAGAIN
	}
	return check
}

// isQuiet reports whether the connection is open, and nothing has come. It reads what has: such a connection
// is to be closed.
func (c *idleCheck) isQuiet() bool {
	c.quiet = false
	return c.raw.Control(c.read) == nil && c.quiet // and not Read, which fails when a deadline has passed
}
