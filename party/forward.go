// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgiparty/wsgiparty/internal/reservedheader"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// TraceHeaders are those of the W3C's Trace Context, which every ask forwards. They are
// experimental.
var TraceHeaders = []string{"Traceparent", "Tracestate"}

// Forward adds to the headers that asks forward from the request that led to them. It is
// experimental.
func (a *App) Forward(headers []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []string
	if before := a.forwarded.Load(); before != nil {
		all = slices.Clone(*before)
	}
	for _, header := range headers {
		if header = http.CanonicalHeaderKey(header); !slices.Contains(all, header) {
			all = append(all, header)
		}
	}
	a.forwarded.Store(&all)
}

type (
	forwardedKey    struct{} // of the http.Header that an ask forwards
	askedByGuestKey struct{} // of the placeholders of a request in which a guest asks
)

// askedByGuest returns the context of a request in which a guest asks. Its headers are not
// a visitor's but the guest's own: those to forward are what it sends as
// Party-Forward-<name>.
func askedByGuest(r *http.Request) context.Context {
	return context.WithValue(r.Context(), askedByGuestKey{}, r.Context().Value(caddy.ReplacerCtxKey))
}

// remoteContext makes the context of an ask's remote handlers. It takes down the headers
// that they may forward: they cannot read them later, since whoever asks may be changing
// the request by then. And it bounds what the ask collects from them.
func (a *App) remoteContext(ctx context.Context) context.Context {
	ctx = a.withPrefixes(withCollecting(ctx))
	placeholders, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ctx
	}
	forwarded := make(http.Header)
	read := func(prefix string, headers []string) {
		for _, header := range headers {
			if value, ok := placeholders.GetString("http.request.header." + prefix + header); ok && value != "" {
				forwarded[header] = []string{value}
			}
		}
	}
	read("", TraceHeaders)
	loop, _ := placeholders.GetString("http.request.header." + loopHeader)
	forwarded[loopHeader] = []string{loopOf(loop, partyline.Depth(ctx) > 1)}
	if headers := a.forwarded.Load(); headers != nil {
		prefix := ""
		if ctx.Value(askedByGuestKey{}) == placeholders {
			prefix = reservedheader.Forward
		}
		read(prefix, *headers)
	}
	return context.WithValue(ctx, forwardedKey{}, forwarded)
}

// AddForwarded adds to a request's headers those of the given ones that an ask forwards,
// and the request does not have itself. The context is that in which a remote handler is
// called. It is experimental.
func AddForwarded(ctx context.Context, header http.Header, headers []string) {
	forwarded, _ := ctx.Value(forwardedKey{}).(http.Header)
	for _, name := range headers {
		name = http.CanonicalHeaderKey(name)
		values, ok := forwarded[name]
		if _, own := header[name]; ok && !own {
			header[name] = slices.Clone(values) // others forward it, too, and handlers may change it
		}
	}
}
