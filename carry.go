// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgiparty/wsgiparty/internal/reservedheader"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// traceHeaders are those of the W3C's Trace Context.
var traceHeaders = []string{"Traceparent", "Tracestate"}

// carriedKey is the context key of the headers that asks take along.
type carriedKey struct{}

// fromOutsideKey is the context key of the placeholders of a request to wsgi_party_ask,
// whose headers are not a visitor's but the asking guest's own.
type fromOutsideKey struct{}

// carry makes the context of an ask's remote handlers. It takes down the headers of the
// request that led to the ask, of which they may take some along: they cannot read them
// later, since whoever asks may be changing the request by then. And it bounds what the
// ask collects from them.
func (a *App) carry(ctx context.Context) context.Context {
	ctx = a.withPrefixes(withCollecting(ctx))
	placeholders, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ctx
	}
	carried := make(http.Header)
	take := func(prefix string, names []string) {
		for _, name := range names {
			if value, ok := placeholders.GetString("http.request.header." + prefix + name); ok && value != "" {
				carried[name] = []string{value}
			}
		}
	}
	take("", traceHeaders)
	loop, _ := placeholders.GetString("http.request.header." + loopHeader)
	carried[loopHeader] = []string{loopOf(loop, partyline.Depth(ctx) > 1)}
	if names := a.forwarded.Load(); names != nil {
		prefix := ""
		if ctx.Value(fromOutsideKey{}) == placeholders {
			prefix = reservedheader.Forward
		}
		take(prefix, *names)
	}
	return context.WithValue(ctx, carriedKey{}, carried)
}

// addCarried adds those of the headers that an ask takes along which it does not have
// itself.
func addCarried(ctx context.Context, header http.Header, names []string) {
	carried, _ := ctx.Value(carriedKey{}).(http.Header)
	for _, name := range names {
		name = http.CanonicalHeaderKey(name)
		values, ok := carried[name]
		if _, own := header[name]; ok && !own {
			header[name] = slices.Clone(values) // others take it along, too, and handlers may change it
		}
	}
}
