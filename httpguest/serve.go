// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Requests on their way to the application, and back.

package httpguest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/party"
)

// ServeHTTP takes the guest's invite, and passes everything else on.
func (g *Guest) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if i := party.PeekInvitation(r); i != nil {
		if passOn, err := g.offer(i, w, r); !passOn {
			return err
		}
		return next.ServeHTTP(w, r)
	}
	var i *party.Invitation
	a := g.speaksFor.Load()
	if a != nil {
		i = a.invitation
	}
	ordinary, status := g.host.PassOn(r, i)
	switch {
	case status != 0:
		w.WriteHeader(status) // an error might lead to other asks, or by handle_errors back to the guest
		return nil
	case a == nil || !ordinary:
		return next.ServeHTTP(w, r)
	}
	return a.passOn(w, r, next)
}

// passOn passes an ordinary request on to the application.
func (a *application) passOn(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (err error) {
	response := &responseWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	response.mounting = a.newMounting(w, r)
	passing, panics := a.meter.Begin(r), true
	defer func() {
		status := response.statusOf(err, panics)
		own := passing.End(status)
		if own && !panics && status != subrequest.StatusClientClosedRequest { // else it says nothing of the application
			a.noteRequest(err)
		}
	}()
	err = next.ServeHTTP(response, r)
	if panics = false; err == nil {
		response.mount(http.StatusOK) // nothing may have been written
	}
	return err
}

// responseWriter learns the status of a response, and puts it under the application's mount. Each response has one of its own: a handler that keeps
// it for longer than it may is not to write into another visitor's response.
type responseWriter struct {
	caddyhttp.ResponseWriterWrapper
	status   int       // 0 until a final one is written
	mounting *mounting // nil if the headers stay as they are
}

// statusOf returns the status that the client gets when the handlers have returned: as Caddy does,
// that of their error if they have written none.
func (w *responseWriter) statusOf(err error, panics bool) int {
	switch {
	case w.status != 0:
		return w.status
	case err == nil && !panics:
		return http.StatusOK
	}
	if failed, ok := errors.AsType[caddyhttp.HandlerError](err); ok && failed.StatusCode != 0 {
		return failed.StatusCode
	}
	return http.StatusInternalServerError
}

// note keeps the first final status. Others, of hints say, may be written by other goroutines.
func (w *responseWriter) note(status int) {
	if (status >= 200 || status == http.StatusSwitchingProtocols) && w.status == 0 {
		w.mount(status)
		w.status = status
	}
}

// mount puts the headers of a response that is about to be written under the mount.
func (w *responseWriter) mount(status int) {
	if w.mounting != nil && w.status == 0 && status != http.StatusSwitchingProtocols {
		w.mounting.put(w.Header())
	}
}

func (w *responseWriter) WriteHeader(status int) {
	w.note(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseWriter) Write(p []byte) (int, error) {
	w.note(http.StatusOK)
	return w.ResponseWriter.Write(p)
}

func (w *responseWriter) WriteString(s string) (int, error) {
	w.note(http.StatusOK)
	return io.WriteString(w.ResponseWriter, s)
}

func (w *responseWriter) ReadFrom(r io.Reader) (int64, error) {
	w.mount(http.StatusOK)
	n, err := w.ResponseWriterWrapper.ReadFrom(r)
	if n > 0 {
		w.note(http.StatusOK)
	}
	return n, err
}

// Flush is for handlers that look for an http.Flusher themselves.
func (w *responseWriter) Flush() { _ = w.FlushError() }

// FlushError flushes the response. That says nothing of its status: where a response is buffered, none is
// written yet.
func (w *responseWriter) FlushError() error {
	w.mount(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.note(http.StatusSwitchingProtocols)
	}
	return conn, buffered, err
}

// Interface guards
var (
	_ caddyhttp.MiddlewareHandler = (*Guest)(nil)
	_ io.ReaderFrom               = (*responseWriter)(nil)
	_ io.StringWriter             = (*responseWriter)(nil)
	_ http.Flusher                = (*responseWriter)(nil)
	_ http.Hijacker               = (*responseWriter)(nil)
	_ http.Pusher                 = (*responseWriter)(nil)
)
