// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package testbackend gives tests an application in a process of its own that
// misbehaves on command. The process is the test binary, started again: this package's
// init keeps it from running tests.
package testbackend

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Response is what the application answers.
type Response struct {
	Status int // default: 200
	Header map[string]string
	Body   string // which is a 304 where the request has the ETag of Header

	Wait    time.Duration // before the header
	Pause   time.Duration // between the header and the body
	Hold    bool          // wait for Release, or until the client goes away
	Raw     string        // all that is written, instead of HTTP
	Reset   bool          // the connection, instead of an answer
	Cut     bool          // close the connection before the end of the body
	Endless bool          // the body is repeated until nobody reads it
}

// Request is what the application was sent.
type Request struct {
	Method, URI, Host string
	Header            http.Header
	Body              string
	Began, Ended      time.Time // Ended is zero while it is being answered
}

// Backend is an application that runs until the test ends. Its methods are to be
// called by the test's goroutine, unless they say otherwise.
type Backend struct {
	t         testing.TB
	network   string
	address   string
	responses map[string][]Response

	mu      sync.Mutex
	command *exec.Cmd // nil if it does not run
	stdin   io.WriteCloser
	stdout  *bufio.Reader
	before  []Request // of the processes before
}

// Start starts an application that listens at a TCP address, or a unix socket if that
// is empty. All it answers is 404, until it is told otherwise.
func Start(t testing.TB, address string) *Backend {
	t.Helper()
	b := New(t, address)
	b.Start()
	return b
}

// New returns an application that does not run yet.
func New(t testing.TB, address string) *Backend {
	t.Helper()
	b := &Backend{t: t, network: "tcp", address: address, responses: make(map[string][]Response)}
	if address == "" {
		dir, err := os.MkdirTemp("", "backend") // t.TempDir is longer than the path of a socket may be
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		b.network, b.address = "unix", filepath.Join(dir, "s")
	}
	t.Cleanup(b.Kill)
	return b
}

// Upstream is the address as reverse_proxy takes it.
func (b *Backend) Upstream() string {
	if b.network == "unix" {
		return "unix/" + b.address
	}
	return b.address
}

// Start starts the application again, at the same address.
func (b *Backend) Start() {
	b.t.Helper()
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), variable+"="+b.network+" "+b.address, "GORACE=atexit_sleep_ms=0")
	c.Stderr = os.Stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	b.command, b.stdin, b.stdout = c, stdin, bufio.NewReader(stdout)
	b.mu.Unlock()
	b.tell(command{Responses: b.responses})
}

// Kill kills the application, which may not run any more.
func (b *Backend) Kill() {
	if b.command == nil {
		return
	}
	requests := b.Requests("")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before = requests
	b.command.Process.Kill()
	b.command.Wait()
	b.command = nil
}

// On has the requests to a path answered like that, one after the other, and all that
// follow like the last one. The path of all others is "".
func (b *Backend) On(path string, responses ...Response) {
	b.t.Helper()
	b.responses[path] = responses
	if b.command != nil {
		b.tell(command{Responses: map[string][]Response{path: responses}})
	}
}

// Release ends the Hold of the requests that are being answered.
func (b *Backend) Release() {
	b.t.Helper()
	b.tell(command{Release: true})
}

// Requests returns what was sent to a path, or all for "", also to the processes
// before.
func (b *Backend) Requests(path string) []Request {
	b.t.Helper()
	requests := b.before
	if b.command != nil {
		requests = append(slices.Clip(requests), b.tell(command{})...)
	}
	return slices.DeleteFunc(slices.Clone(requests), func(r Request) bool {
		own, _, _ := strings.Cut(r.URI, "?")
		return path != "" && own != path
	})
}

// tell has the process follow a command.
func (b *Backend) tell(c command) []Request {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	encoded, err := json.Marshal(c)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(b.stdin, "%s\n", encoded); err != nil {
		b.t.Fatalf("telling the backend: %v", err)
	}
	line, err := b.stdout.ReadBytes('\n')
	if err != nil {
		b.t.Fatalf("hearing from the backend: %v", err)
	}
	var requests []Request
	if err := json.Unmarshal(line, &requests); err != nil {
		b.t.Fatal(err)
	}
	return requests
}
