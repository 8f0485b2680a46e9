// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package testbackend

import (
	"bufio"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// variable is the environment variable that makes this process the application.
const variable = "WSGIPARTY_TEST_BACKEND"

func init() {
	network, address, ok := strings.Cut(os.Getenv(variable), " ")
	if !ok {
		return
	}
	if err := serve(network, address); err != nil {
		log.Fatal(err)
	}
	os.Exit(0)
}

// command is a line that the process reads. It answers each with the requests it got.
type command struct {
	Responses map[string][]Response
	Release   bool
}

type application struct {
	mu        sync.Mutex
	responses map[string][]Response
	requests  []*Request
	released  chan struct{}
}

// serve serves until stdin ends, as it does with the test, however that ends.
func serve(network, address string) error {
	if network == "unix" {
		os.Remove(address) // that of a process that was killed
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	a := &application{responses: make(map[string][]Response), released: make(chan struct{})}
	go func() { log.Fatal(http.Serve(listener, a)) }()
	commands := bufio.NewReader(os.Stdin)
	for {
		line, err := commands.ReadBytes('\n')
		if err != nil {
			return nil
		}
		var c command
		if err := json.Unmarshal(line, &c); err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(a.follow(c)); err != nil {
			return err
		}
	}
}

func (a *application) follow(c command) []Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	for path, responses := range c.Responses {
		a.responses[path] = responses
	}
	if c.Release {
		close(a.released)
		a.released = make(chan struct{})
	}
	requests := make([]Request, len(a.requests))
	for i, r := range a.requests {
		requests[i] = *r
	}
	return requests
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	body, _ := io.ReadAll(r.Body)
	received := &Request{Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header, Body: string(body), Began: began}
	response, released := a.take(received)
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		received.Ended = time.Now()
	}()
	time.Sleep(response.Wait)
	if response.Hold {
		select {
		case <-released:
		case <-r.Context().Done():
			return
		}
	}
	response.write(w, r)
}

// take takes down a request, and returns how to answer it.
func (a *application) take(r *Request) (Response, chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, r)
	path, _, _ := strings.Cut(r.URI, "?")
	responses, ok := a.responses[path]
	if !ok {
		path = ""
		responses = a.responses[path]
	}
	switch len(responses) {
	case 0:
		return Response{Status: http.StatusNotFound}, a.released
	case 1:
	default:
		a.responses[path] = responses[1:]
	}
	return responses[0], a.released
}

func (response *Response) write(w http.ResponseWriter, r *http.Request) {
	if response.Reset || response.Raw != "" {
		connection, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		if tcp, ok := connection.(*net.TCPConn); ok && response.Reset {
			tcp.SetLinger(0)
		}
		io.WriteString(connection, response.Raw)
		connection.Close()
		return
	}
	for name, value := range response.Header {
		w.Header().Set(name, value)
	}
	status := response.Status
	if status == 0 {
		status = http.StatusOK
	}
	if tag := response.Header["ETag"]; tag != "" && status == http.StatusOK && r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if response.Cut {
		w.Header().Set("Content-Length", strconv.Itoa(len(response.Body)+1))
	}
	w.WriteHeader(status)
	if response.Pause > 0 || response.Cut {
		http.NewResponseController(w).Flush()
		time.Sleep(response.Pause)
	}
	for {
		if _, err := io.WriteString(w, response.Body); err != nil || !response.Endless {
			break
		}
	}
	if response.Cut {
		panic(http.ErrAbortHandler)
	}
}
