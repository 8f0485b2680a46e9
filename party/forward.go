// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The headers that asks forward from the request that led to them.

package party

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/reservedheader"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// TraceHeaders are those of the W3C's Trace Context, which every ask forwards.
var TraceHeaders = []string{"Traceparent", "Tracestate"}

// headerList is a list of headers that grows while the config loads.
type headerList struct{ list atomic.Pointer[[]string] }

func (l *headerList) all() []string {
	if list := l.list.Load(); list != nil {
		return *list
	}
	return nil
}

// add adds those that are not on the list. The app must be locked.
func (l *headerList) add(headers ...string) {
	all := slices.Clone(l.all())
	for _, header := range headers {
		if header = http.CanonicalHeaderKey(header); !slices.Contains(all, header) {
			all = append(all, header)
		}
	}
	l.list.Store(&all)
}

// Forward adds to the headers that asks forward from the request that led to them.
func (a *App) Forward(headers []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forwarded.add(headers...)
}

type (
	forwardedKey    struct{} // of the http.Header that an ask forwards
	askedByGuestKey struct{} // of the *guestRequest that a guest asks in
	forwardOnlyKey  struct{} // of the headers but which an ask forwards none
)

// guestRequest is what the asks in a guest's request forward, of which there may be many.
type guestRequest struct {
	placeholders any         // those of the request
	forwarded    http.Header // by its own asks
	nested       http.Header // by asks that others led to
}

// askedByGuest returns the context of a request in which a guest asks. Its headers are not a
// visitor's but the guest's own: those to forward are what it sends as Party-Forward-<name>.
func (a *App) askedByGuest(r *http.Request) context.Context {
	loop := strings.Join(r.Header[loopHeader], ",")
	header := func(name string) string {
		return strings.Join(r.Header[http.CanonicalHeaderKey(name)], ",")
	}
	forwarded, value := forwardedBy(header, reservedheader.Forward, a.forwardedIn(r.Context())), loopOf(loop, false)
	forwarded[loopHeader] = []string{value}
	asked := &guestRequest{r.Context().Value(caddy.ReplacerCtxKey), forwarded, forwarded}
	if nested := loopOf(loop, true); nested != value {
		asked.nested = maps.Clone(forwarded)
		asked.nested[loopHeader] = []string{nested}
	}
	return context.WithValue(r.Context(), askedByGuestKey{}, asked)
}

// forwardedBy returns the headers that the asks in a request forward: those of its trace, and those that begin with the prefix.
func forwardedBy(header func(name string) string, prefix string, names []string) http.Header {
	forwarded := make(http.Header)
	for _, name := range TraceHeaders {
		if value := header(name); value != "" {
			forwarded[name] = []string{value}
		}
	}
	for _, name := range names {
		if value := header(prefix + name); value != "" {
			forwarded[name] = []string{value}
		}
	}
	return forwarded
}

// ForwardOnly returns the context for an ask that forwards, to guests that want them, no other headers of the request
// that led to it than these and the trace. It is experimental.
func ForwardOnly(ctx context.Context, headers []string) context.Context {
	canonical := make([]string, len(headers))
	for i, header := range headers {
		canonical[i] = http.CanonicalHeaderKey(header)
	}
	return context.WithValue(ctx, forwardOnlyKey{}, canonical)
}

// forwardedIn returns the headers that an ask in that context forwards.
func (a *App) forwardedIn(ctx context.Context) []string {
	all := a.forwarded.all()
	only, ok := ctx.Value(forwardOnlyKey{}).([]string)
	if !ok {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(header string) bool { return !slices.Contains(only, header) })
}

// remoteContext makes the context of an ask's remote handlers. It takes down the headers that
// they may forward: they cannot read them later, since whoever asks may be changing the request
// by then. And it bounds what the ask collects from them.
func (a *App) remoteContext(ctx context.Context) context.Context {
	ctx = a.withPrefixes(withCollecting(ctx))
	placeholders, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ctx
	}
	nested, prefix := partyline.Depth(ctx) > 1, ""
	if asked, ok := ctx.Value(askedByGuestKey{}).(*guestRequest); ok && asked.placeholders == placeholders {
		switch {
		case ctx.Value(forwardOnlyKey{}) != nil:
			prefix = reservedheader.Forward
		case nested:
			return context.WithValue(ctx, forwardedKey{}, asked.nested)
		default:
			return context.WithValue(ctx, forwardedKey{}, asked.forwarded)
		}
	}
	header := func(name string) string {
		value, _ := placeholders.GetString("http.request.header." + name)
		return value
	}
	forwarded := forwardedBy(header, prefix, a.forwardedIn(ctx))
	forwarded[loopHeader] = []string{loopOf(header(loopHeader), nested)}
	return context.WithValue(ctx, forwardedKey{}, forwarded)
}

// Apart returns the context for a request that is made for several asks, of which ctx is one's: it does not end with that,
// and what is answered to it counts for none of them until it is given to TakeAnswer.
func Apart(ctx context.Context) context.Context {
	return Uncollected(context.WithoutCancel(ctx))
}

// Uncollected is Apart for a request that ends with the ask.
func Uncollected(ctx context.Context) context.Context {
	return context.WithValue(ctx, collectingKey{}, (*collecting)(nil))
}

// ComesFromOutside reports whether an ask was led to by a request that has come through a Caddy before, of which requests
// for it say so.
func ComesFromOutside(ctx context.Context) bool { return forwardedLoop(ctx) != loopID }

// Forwarded returns what an ask forwards of a header. The context is that in which a remote handler is called.
func Forwarded(ctx context.Context, header string) string {
	forwarded, _ := ctx.Value(forwardedKey{}).(http.Header)
	return forwarded.Get(header)
}

// AddForwarded adds to a request's headers those of the given ones that an ask forwards, and the
// request does not have itself. The context is that in which a remote handler is called.
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

// What CDN-Loop (RFC 8586) says of a request: which Caddys it, and what led to it, have passed.
// Asks are nested in ways that nothing else shows where they lead through other Caddys, or
// through applications that hand no token back.
const (
	loopHeader    = reservedheader.Loop
	maxLoopHeader = 4 << 10
	maxLoops      = 4 // of a request through this process
)

// loopID is this process's in CDN-Loop.
var loopID = "wsgi-party-" + processID

// loopsIn returns how often a request has come through this process.
func loopsIn(values []string) (n int) {
	for _, value := range values {
		for info := range strings.SplitSeq(value, ",") {
			if id, _, _ := strings.Cut(info, ";"); strings.TrimSpace(id) == loopID {
				n++
			}
		}
	}
	return n
}

// CheckLoops returns an error for a request that is to be answered with status 508.
func CheckLoops(header http.Header) error {
	if loopsIn(header[loopHeader]) >= maxLoops {
		return errLoops
	}
	return nil
}

var errLoops = fmt.Errorf("the request has come through this Caddy %d times (CDN-Loop)", maxLoops)

// loopOf returns the CDN-Loop of an ask's requests, from that of the request that led to it. Of
// asks that lead to each other, which are bounded by other means, the first counts.
func loopOf(before string, nested bool) string {
	if len(before) > maxLoopHeader { // the last ones count
		_, before, _ = strings.Cut(before[len(before)-maxLoopHeader:], ",")
	}
	switch {
	case strings.Trim(before, ", \t") == "":
		return loopID
	case nested && loopsIn([]string{before}) > 0:
		return before
	}
	return before + ", " + loopID
}

// forwardedLoop returns the CDN-Loop of a request in that context.
func forwardedLoop(ctx context.Context) string {
	if forwarded, ok := ctx.Value(forwardedKey{}).(http.Header); ok {
		return forwarded[loopHeader][0]
	}
	return loopID
}
