// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package standing serves HTTP at addresses that stay open from config to config.
//
// With a listener for each config, connections that wait to be accepted by the old one
// when it closes are reset, if it is one of TCP, and those that clients keep alive end.
package standing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// timeouts are how long clients may take. How long a response takes to make is for the handler to
// bound, which the time-outs of net/http for whole requests and responses would do, too.
type timeouts struct {
	readHeader, readBody, idle time.Duration
	write                      time.Duration // from when the response begins
	end                        time.Duration // of all requests, when the address closes
}

// defaults are what an address has. Only tests change them.
var defaults = timeouts{readHeader: 10 * time.Second, readBody: 30 * time.Second, idle: 5 * time.Minute, write: 30 * time.Second, end: 10 * time.Second}

// Server serves an address for one config, until it ends.
type Server struct {
	address *address
	listen  caddy.NetworkAddress
	handler Handler
}

// Handler is what a config serves an address by.
type Handler interface {
	http.Handler
	LogError(message string) // of net/http: what clients do wrong, and panics
}

// address is one at which this process listens.
type address struct {
	timeouts
	key      string
	listener *onceCloser
	server   *http.Server

	mu      sync.RWMutex
	servers []*Server // the last one serves; never none
}

var (
	mu        sync.Mutex // also while an address is opened
	addresses = make(map[string]*address)
	closing   sync.WaitGroup
)

// Serve has the handler serve an address of one port from now on, in place of those that serve
// it already, until it ends. What these are serving they serve to the end.
func Serve(ctx context.Context, listen caddy.NetworkAddress, handler Handler) (*Server, error) {
	mu.Lock()
	defer mu.Unlock()
	key := keyOf(listen)
	if a := addresses[key]; a != nil {
		if err := setMode(listen); err != nil {
			return nil, err
		}
		s := &Server{a, listen, handler}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.servers = append(a.servers, s)
		return s, nil
	}
	listener, err := open(ctx, listen)
	if err != nil {
		return nil, err
	}
	a := &address{timeouts: defaults, key: key, listener: listener}
	a.server = &http.Server{Handler: a, ErrorLog: log.New(a, "", 0), ReadHeaderTimeout: a.readHeader, IdleTimeout: a.idle}
	s := &Server{a, listen, handler}
	a.servers = []*Server{s}
	addresses[key] = a
	go func() { _ = a.server.Serve(listener) }() // until it is closed
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() net.Addr { return s.address.listener.Addr() }

// End ends the serving: others go on at the address, or it is closed. Then requests that are
// being served have a while to end, for which End does not wait.
func (s *Server) End() error {
	mu.Lock()
	defer mu.Unlock()
	a := s.address
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.Index(a.servers, s)
	if i < 0 || addresses[a.key] != a {
		return nil // it has ended before
	}
	if len(a.servers) > 1 {
		a.servers = slices.Delete(a.servers, i, i+1)
		return setMode(a.servers[len(a.servers)-1].listen) // another config may have had another one
	}
	delete(addresses, a.key) // connections that are open already are served to the end
	err := a.listener.Close()
	closing.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), a.end)
		defer cancel()
		if a.server.Shutdown(ctx) != nil {
			a.server.Close()
		}
	})
	return err
}

// Wait waits until all requests to addresses that have been closed have ended.
func Wait() { closing.Wait() }

// handler is the last config's.
func (a *address) handler() Handler {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.servers[len(a.servers)-1].handler
}

// ServeHTTP serves a request by the last config.
func (a *address) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	deadlines := http.NewResponseController(w)
	_ = deadlines.SetWriteDeadline(time.Time{}) // that of the response before
	if r.ContentLength != 0 {
		_ = deadlines.SetReadDeadline(time.Now().Add(a.readBody))
		r.Body = &body{r.Body, deadlines}
	}
	a.handler().ServeHTTP(&writer{w, deadlines, a.write, false}, r)
}

// body bounds how long a client may take to send it, and not what comes after.
type body struct {
	io.ReadCloser
	deadlines *http.ResponseController
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF { // from now on net/http waits for the client to go
		_ = b.deadlines.SetReadDeadline(time.Time{})
	}
	return n, err
}

// Write has the last config log a line: the one that opened the address may have closed its log.
func (a *address) Write(line []byte) (int, error) {
	a.handler().LogError(strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}

// writer bounds how long a client may take to read a response.
type writer struct {
	http.ResponseWriter
	deadlines *http.ResponseController
	timeout   time.Duration
	begun     bool
}

func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) WriteHeader(status int) {
	w.begin()
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(p)
}

func (w *writer) begin() {
	if !w.begun {
		w.begun = true
		_ = w.deadlines.SetWriteDeadline(time.Now().Add(w.timeout))
	}
}

func open(ctx context.Context, listen caddy.NetworkAddress) (*onceCloser, error) {
	if path, _ := unixSocket(listen); path != "" { // which Caddy would delete, whatever it is
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("%s already exists, and is not a socket: delete it, or write another path", path)
		}
	}
	opened, err := listen.Listen(ctx, 0, net.ListenConfig{})
	if err != nil {
		return nil, err
	}
	listener, ok := opened.(net.Listener)
	if !ok {
		if closer, ok := opened.(interface{ Close() error }); ok {
			_ = closer.Close()
		}
		return nil, errors.New("its network has no connections")
	}
	return &onceCloser{Listener: listener}, nil
}

// onceCloser is a listener that may be closed twice, which Caddy's may not.
type onceCloser struct {
	net.Listener
	once sync.Once
	err  error
}

func (l *onceCloser) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}

// setMode gives a socket that is open already the mode that the address says.
func setMode(listen caddy.NetworkAddress) error {
	path, mode := unixSocket(listen)
	if path == "" {
		return nil
	}
	return os.Chmod(path, mode)
}

// unixSocket returns the path and the mode of a unix socket, nothing for another address, or
// one that is not a file.
func unixSocket(listen caddy.NetworkAddress) (path string, mode fs.FileMode) {
	if !listen.IsUnixNetwork() || strings.HasPrefix(listen.Host, "@") {
		return "", 0
	}
	path, bits, ok := strings.Cut(listen.Host, "|")
	if mode = 0o200; ok { // Caddy's default
		parsed, _ := strconv.ParseUint(bits, 8, 32) // it has been parsed before
		mode = fs.FileMode(parsed)
	}
	return path, mode
}

// keyOf is the same for the same address.
func keyOf(listen caddy.NetworkAddress) string {
	if listen.IsUnixNetwork() {
		listen.Host, _, _ = strings.Cut(listen.Host, "|")
	}
	return listen.Network + "/" + listen.JoinHostPort(0)
}
