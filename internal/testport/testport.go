// Copyright 2026 The wsgi_party Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

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
