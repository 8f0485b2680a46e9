// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What an ask takes along to another node, where the guest is.

package party

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// Baggage is what an ask takes along to another node. Only Caddys make it. It is experimental.
type Baggage struct {
	Path     [][2]string       `json:"path"`               // the guests and services of the asks that led to it, itself the last one
	Root     string            `json:"root"`               // of the call that it is part of
	Headers  http.Header       `json:"headers,omitempty"`  // that the guest is to get
	Prefixes map[string]string `json:"prefixes,omitempty"` // of the request that led to it, by header
}

// BaggageOf returns what an ask takes along, with those of the given headers that it forwards. The context is
// that in which a remote handler is called.
func (e *Entry) BaggageOf(ctx context.Context, forward []string) Baggage {
	b := Baggage{Headers: make(http.Header), Prefixes: e.app.prefixesIn(ctx)}
	AddForwarded(ctx, b.Headers, TraceHeaders)
	AddForwarded(ctx, b.Headers, forward)
	AddForwarded(ctx, b.Headers, []string{loopHeader})
	for _, step := range partyline.PathOf(ctx, e.Partyline) {
		b.Path = append(b.Path, [2]string{step.Guest, step.Service})
	}
	if root := rootOf(ctx); root != nil {
		b.Root = root.id
	}
	return b
}

// Unpack returns the context for an ask of another node, with what it took along, and the guest that asks.
// End it when the ask has been answered. It returns false for an ask without a path, or of a call that has ended.
func (e *Entry) Unpack(ctx context.Context, b Baggage) (_ context.Context, asker string, end func(), ok bool) {
	if len(b.Path) == 0 || len(b.Path) > maxBaggagePath {
		return nil, "", nil, false
	}
	call, release := callOf(b.Root)
	if call == nil {
		return nil, "", nil, false
	}
	placeholders := caddy.NewReplacer() // of the request that led to the ask, of which nothing else is known
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, placeholders)
	forwarded := make(http.Header)
	for name, values := range b.Headers {
		name = http.CanonicalHeaderKey(name)
		if slices.Contains(TraceHeaders, name) || slices.Contains(e.app.forwarded.all(), name) {
			forwarded[name] = values
		}
	}
	forwarded[loopHeader] = []string{loopOf(strings.Join(b.Headers[loopHeader], ","), true)}
	ctx = context.WithValue(ctx, askedByGuestKey{}, &guestRequest{placeholders, forwarded, forwarded})
	ctx = context.WithValue(ctx, prefixesKey{}, e.app.checked(b.Prefixes))
	last := len(b.Path) - 1
	var steps []partyline.Step
	for _, step := range b.Path[:last] {
		steps = append(steps, partyline.Step{Guest: step[0], Service: step[1]})
	}
	ctx, _ = partyline.WithPath(ctx, e.Partyline, steps, call)
	return ctx, b.Path[last][0], release, true
}

// maxBaggagePath is as deep as asks can be nested, and one more.
const maxBaggagePath = 33

// checked returns those of the prefixes of a request on another node that requests here could have.
func (a *App) checked(of map[string]string) prefixes {
	found := make(prefixes)
	for _, header := range a.prefixHeaders.all() {
		if prefix, ok := of[header]; ok && len(prefix) <= maxPrefix && checkPrefixPath(prefix) == nil {
			found[header] = prefix
		}
	}
	return found
}

// awayCalls are the calls of other nodes, by their roots: what they cost here is counted together.
var awayCalls = struct {
	sync.Mutex
	of map[string]*awayCall
}{of: make(map[string]*awayCall)}

// awayCall is a call that began on another node.
type awayCall struct {
	*partyline.Call
	asks int       // under way
	last time.Time // when the last one ended
}

const (
	maxAwayCalls  = 4096
	keepsAwayCall = 10 * time.Second // after its last ask
)

// callOf returns the call of that root, and what ends an ask that is part of it. The call is nil if it began here, and has
// ended.
func callOf(id string) (call *partyline.Call, release func()) {
	if process, _, _ := strings.Cut(id, "."); process == processID {
		call := runningCall(id)
		return call, func() { runtime.KeepAlive(call) }
	}
	awayCalls.Lock()
	defer awayCalls.Unlock()
	c := awayCalls.of[id]
	if c == nil {
		if len(awayCalls.of) >= maxAwayCalls {
			dropAwayCalls()
		}
		c = &awayCall{Call: new(partyline.Call)}
		c.Attach(func() (any, func()) { return &root{id: id}, func() {} })
		awayCalls.of[id] = c
	}
	c.asks++
	return c.Call, func() {
		awayCalls.Lock()
		defer awayCalls.Unlock()
		c.asks--
		c.last = time.Now()
	}
}

// awayCallOf returns a call that began on another node, nil if none of it is known here.
func awayCallOf(id string) *partyline.Call {
	awayCalls.Lock()
	defer awayCalls.Unlock()
	if c := awayCalls.of[id]; c != nil {
		return c.Call
	}
	return nil
}

// dropAwayCalls forgets calls of which there is no ask, those that had one last only if there is nothing else to
// forget.
func dropAwayCalls() {
	idle := func(atLeast time.Duration) (n int) {
		for id, c := range awayCalls.of {
			if c.asks == 0 && time.Since(c.last) >= atLeast {
				c.End()
				delete(awayCalls.of, id)
				n++
			}
		}
		return n
	}
	if idle(keepsAwayCall) == 0 {
		idle(0)
	}
}
