// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The page itself, and how it and its JSON are sent.

package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/wire"
)

//go:embed page.html
var markup string

//go:embed page.css
var style string

//go:embed page.js
var script string

// html is the whole page, the same for each party: it gets what it shows as JSON.
var html = []byte(strings.NewReplacer("/*style*/", style, "/*script*/", script).Replace(markup))

// policy lets the page run its own script, and load nothing but its JSON.
var policy = strings.Join([]string{
	"default-src 'none'", "script-src 'sha256-" + sum(script) + "'", "style-src 'sha256-" + sum(style) + "'", "connect-src 'self'",
	"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'",
}, "; ")

func sum(text string) string {
	hash := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(hash[:])
}

func setHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

func serveHTML(w http.ResponseWriter) error {
	h := w.Header()
	setHeaders(h)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(html)))
	_, err := w.Write(html)
	return err
}

// rendered is a document as JSON.
type rendered struct {
	json []byte
	etag string
}

func render(encoded []byte) *rendered {
	hash := sha256.Sum256(encoded)
	return &rendered{append(bytes.Clone(encoded), '\n'), `"` + base64.RawURLEncoding.EncodeToString(hash[:15]) + `"`}
}

// serveJSON sends the document, or 304 to whoever has it.
func serveJSON(w http.ResponseWriter, r *http.Request, document *rendered) error {
	h := w.Header()
	setHeaders(h)
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("ETag", document.etag)
	if wire.HasETag(r, document.etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(document.json)))
	_, err := w.Write(document.json)
	return err
}

// wantsJSON reports whether the request is the page's for what it shows.
func wantsJSON(r *http.Request) bool {
	return strings.Contains(strings.Join(r.Header.Values("Accept"), ","), "application/json")
}
