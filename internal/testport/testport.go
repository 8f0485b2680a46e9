// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package testport gives tests addresses to listen on.
package testport

import (
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
)

var given atomic.Int64

// Address returns an address on the loopback interface that nothing listens on.
// Test processes that run at once are given different ones: Caddy's listeners
// share a port without complaint.
func Address(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := 10000 + os.Getpid()%200*100 + int(given.Add(1)%100)
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no address is free")
	return ""
}
