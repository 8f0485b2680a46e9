// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package reservedheader removes from a request what only the party may tell an
// application, however a client writes it.
package reservedheader

import (
	"io"
	"net/http"
	"strings"
	"sync"
)

// The reserved headers. All that begin with Forward are.
const (
	Token   = "Party-Token"
	Ask     = "Party-Ask"
	Forward = "Party-Forward-"
	Prefix  = "X-Forwarded-Prefix"
)

// Loop is CDN-Loop (RFC 8586), which is not reserved: the party adds to it.
const Loop = "Cdn-Loop" // as net/http has it

// Strip deletes the reserved headers, in any case and with any of "-", "_" and "."
// for each other, from the header and the trailers of a request, and their names
// from its Connection header, which would have a proxy drop them later, and its
// Trailer header. CGI and all that follows it make HTTP_PARTY_TOKEN of Party_Token,
// and PHP does of Party.Token. Trailers that come with the end of the body are
// deleted then. All else stays as it is.
func Strip(r *http.Request) {
	for name := range r.Header {
		switch len(name) {
		case len("Connection"), len("Trailer"):
			if strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Trailer") {
				stripNames(r.Header, name)
			}
		default:
			if Reserves(name) {
				delete(r.Header, name)
			}
		}
	}
	// net/http adds all trailers that come to those announced. Without any it sets
	// the field of the request it made, which this may be.
	if r.Trailer == nil && r.ContentLength >= 0 {
		return
	}
	stripTrailer(r)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &body{ReadCloser: r.Body, r: r}
	}
}

func stripTrailer(r *http.Request) {
	for name := range r.Trailer {
		if Reserves(name) {
			delete(r.Trailer, name)
		}
	}
}

// Reserves reports whether the name is that of a reserved header, however it is written.
func Reserves(name string) bool {
	switch len(name) {
	case len(Token):
		return folds(name, Token)
	case len(Ask):
		return folds(name, Ask)
	case len(Prefix):
		if folds(name, Prefix) {
			return true
		}
	}
	return len(name) >= len(Forward) && fold(name[0]) == 'p' && folds(name[:len(Forward)], Forward)
}

// folds reports whether s is reserved in another case or with other separators.
func folds(s, reserved string) bool {
	if len(s) != len(reserved) {
		return false
	}
	for i := range len(s) {
		if fold(s[i]) != fold(reserved[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case c == '_' || c == '.':
		return '-'
	}
	return c
}

// stripNames deletes the reserved ones of the names that a header lists.
func stripNames(h http.Header, header string) {
	values := h[header]
	if !listReserved(values) {
		return
	}
	var kept []string // not in place: the slice may be another request's, too
	for _, value := range values {
		var names []string
		empty := true
		for name := range strings.SplitSeq(value, ",") {
			if trimmed := trim(name); !Reserves(trimmed) {
				names = append(names, name)
				empty = empty && trimmed == ""
			}
		}
		if !empty {
			kept = append(kept, strings.Join(names, ","))
		}
	}
	if kept == nil {
		delete(h, header)
		return
	}
	h[header] = kept
}

func listReserved(values []string) bool {
	for _, value := range values {
		for len(value) >= len(Ask) {
			var name string
			name, value, _ = strings.Cut(value, ",")
			if Reserves(trim(name)) {
				return true
			}
		}
	}
	return false
}

// trim trims what net/textproto does, and so proxies.
func trim(s string) string { return strings.Trim(s, " \t\r\n") }

// body strips a request's trailers when they have come.
type body struct {
	io.ReadCloser
	r  *http.Request
	mu sync.Mutex // a transport may close what it reads
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.strip()
	}
	return n, err
}

// Close reads what is left of the body, where net/http's does.
func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.strip()
	return err
}

func (b *body) strip() {
	b.mu.Lock()
	defer b.mu.Unlock()
	stripTrailer(b.r)
}
