// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/wsgiparty/wsgiparty/internal/token"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// root is what Caddy keeps of a call while that is under way, for what guests that are
// applications of their own ask in it.
type root struct {
	id string

	mu   sync.Mutex
	urls []string // that were given out, the last one last
}

const (
	maxGivenURLs = 64
	maxGivenURL  = 8 << 10 // bytes
)

var (
	processID = rand.Text()
	rootCount atomic.Uint64
	roots     sync.Map // of id to weak.Pointer[partyline.Call]
)

// rootOf returns the root of the call in which a handler was called with ctx, nil if
// that has ended.
func rootOf(ctx context.Context) *root {
	c := partyline.CallOf(ctx)
	if c == nil {
		return nil
	}
	attached, _ := c.Attach(func() (any, func()) {
		id := processID + "." + strconv.FormatUint(rootCount.Add(1), 10)
		forget := func(id string) { roots.Delete(id) }
		roots.Store(id, weak.Make(c))
		runtime.AddCleanup(c, forget, id) // handlers may still ask when the call has ended
		return &root{id: id}, func() { forget(id) }
	}).(*root)
	return attached
}

// ID returns what the call is known by as long as it is under way.
func (r *root) ID() string {
	if r == nil {
		return processID + ".ended"
	}
	return r.id
}

// withPath returns a context that knows which asks led here, outermost first. It
// returns false if the call that they were in was of this process and has ended. The
// context is to be ended when what was asked with it has been answered.
func withPath(ctx context.Context, line *partyline.Partyline, path []token.Ask, rootID string) (_ context.Context, end func(), ok bool) {
	var under *partyline.Call
	if process, _, _ := strings.Cut(rootID, "."); process == processID {
		if loaded, ok := roots.Load(rootID); ok {
			under = loaded.(weak.Pointer[partyline.Call]).Value()
		}
		if under == nil {
			return ctx, nil, false
		}
	}
	steps := make([]partyline.Step, len(path))
	for i, step := range path {
		steps[i] = partyline.Step(step)
	}
	ctx, call := partyline.WithPath(ctx, line, steps, under)
	if under != nil {
		return ctx, func() {}, true
	}
	return ctx, call.End, true
}

// give takes down a URL that is given out to somebody who asks.
func (r *root) give(answer any) {
	url, ok := answer.(string)
	if raw, isRaw := answer.(json.RawMessage); isRaw {
		ok = json.Unmarshal(raw, &url) == nil
	}
	if r == nil || !ok || len(url) > maxGivenURL {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.urls) == maxGivenURLs {
		r.urls = slices.Delete(r.urls, 0, 1)
	}
	r.urls = append(r.urls, url)
}

// gave reports whether the URL was given out.
func (r *root) gave(url string) bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.urls, url)
}
