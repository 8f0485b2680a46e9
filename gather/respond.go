// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Documents as responses.

package gather

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"golang.org/x/net/http/httpguts"
)

// AbsentHeader is the header with the names of the guests that are absent, a list.
const AbsentHeader = "Party-Absent"

// document is what came of asking, ready to be sent.
type document struct {
	body   []byte
	absent []string
	err    error // why there is none

	etag, length []string // values of headers
	absentHeader []string
}

// newDocument makes the headers of a document.
func newDocument(body []byte, absent []string) *document {
	hash := sha256.Sum256(body)
	d := &document{body: body, absent: absent,
		etag:   []string{`"` + base64.RawURLEncoding.EncodeToString(hash[:16]) + `"`},
		length: []string{strconv.Itoa(len(body))},
	}
	if len(absent) > 0 {
		d.absentHeader = []string{strings.Join(absent, ", ")}
	}
	return d
}

// headers are those that all documents of a handler have.
type headers struct {
	absent           string
	mediaType        []string
	control          []string
	controlForAbsent []string // where a guest is
}

// newHeaders makes them. What depends on placeholders may be a visitor's own: nobody else is to keep it, and a browser,
// which several may share, is to ask. All else is as public as what the site sends otherwise: without "public", what
// was sent to somebody who has logged in is not kept for others (RFC 9111, section 3.5).
func (g *Gather) newHeaders() headers {
	h := headers{absent: g.Absent, mediaType: []string{g.form.mediaType}}
	if g.Type != "" {
		h.mediaType[0] = g.Type
	}
	fresh, _ := g.Cache.times()
	switch {
	case g.Cache.Off:
		h.control = []string{"no-store"}
		h.controlForAbsent = h.control
	case !g.payload.Fixed():
		h.control = []string{"private, no-cache"}
		h.controlForAbsent = h.control
	default:
		h.control = []string{"max-age=" + strconv.Itoa(int(fresh.Seconds()))}
		h.controlForAbsent = []string{"no-cache"}
	}
	return h
}

func (h *headers) check() error {
	if _, _, err := mime.ParseMediaType(h.mediaType[0]); err != nil || !httpguts.ValidHeaderFieldValue(h.mediaType[0]) || !strings.Contains(h.mediaType[0], "/") {
		return fmt.Errorf("type is %q, which is not a media type: write one, such as application/json", h.mediaType[0])
	}
	return nil
}

func (h *headers) serve(w http.ResponseWriter, r *http.Request, d *document) error {
	if h.absent == absentFail && len(d.absent) > 0 {
		return serveProblem(w, r, d.absent)
	}
	header := w.Header()
	header["Etag"] = d.etag
	header["Cache-Control"] = h.control
	if len(d.absent) > 0 {
		header["Cache-Control"] = h.controlForAbsent
		if h.absent == absentNote {
			header[AbsentHeader] = d.absentHeader
		}
	}
	if wire.HasETag(r, d.etag[0]) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	header["Content-Type"] = h.mediaType
	header["Content-Length"] = d.length
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := w.Write(d.body)
	return err
}

// serveProblem responds that guests are absent (RFC 9457).
func serveProblem(w http.ResponseWriter, r *http.Request, absent []string) error {
	body, err := wire.Encode(struct {
		Type   string   `json:"type"`
		Title  string   `json:"title"`
		Status int      `json:"status"`
		Detail string   `json:"detail"`
		Absent []string `json:"absent"`
	}{"about:blank", http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable, "no answer from " + strings.Join(absent, ", "), absent})
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set(AbsentHeader, strings.Join(absent, ", "))
	w.WriteHeader(http.StatusServiceUnavailable)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err = w.Write(body)
	return err
}

// originOf returns the scheme and host by which the client knows the site.
func originOf(r *http.Request) (string, error) {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	host := r.Host
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		if proto := r.Header.Get("X-Forwarded-Proto"); proto == "http" || proto == "https" {
			scheme = proto
		}
		if forwarded := r.Header.Get("X-Forwarded-Host"); forwarded != "" && !strings.Contains(forwarded, ",") {
			host = forwarded
		}
	}
	parsed, err := url.Parse(scheme + "://" + host)
	if err != nil || parsed.Host != host || host == "" || len(host) > 255 || !httpguts.ValidHostHeader(host) || strings.ContainsAny(host, `/\?#@"'<>& `) {
		return "", fmt.Errorf("the host %.100q cannot be used in links", host)
	}
	return scheme + "://" + strings.ToLower(host), nil
}
