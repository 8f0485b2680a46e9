// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What guests that are applications of their own ask, which comes from outside the process: in
// which call, by which path, and as JSON.

package party

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/wsgiparty/wsgiparty/internal/reservedheader"
	"github.com/wsgiparty/wsgiparty/internal/token"
	"github.com/wsgiparty/wsgiparty/partyline"
)

type (
	Keys     = token.Keys     // of one guest: the first signs, all are accepted
	KeyError = token.KeyError // says what is wrong with a key, never what it is
	Token    = token.Token    // what a Party-Token says of the request it comes with: Keys sign it
)

// NewKeys returns a *KeyError for a key that is none, and the zero Keys for no key at all.
func NewKeys(keys []string) (Keys, error) { return token.NewKeys(keys) }

// processPathKey is what paths are signed with until the key in Caddy's storage, which Caddys
// share, is there, and for good where it cannot be had.
var processPathKey = token.NewPathKey()

// SignPath signs the asks that led to one, which the guest is sent with the token, as its path.
// The context is the ask's.
func (i *Invitation) SignPath(ctx context.Context, t *Token, path []partyline.Step, now time.Time) {
	for _, step := range path {
		t.Path = append(t.Path, token.Ask(step))
	}
	key := &processPathKey
	if stored := i.host.app.pathKey.Load(); stored != nil {
		key = stored
	}
	if call := rootOf(ctx); call != nil {
		t.Root = call.id
	} else {
		t.Root = processID + ".ended"
	}
	key.Sign(t, i.host.name, now)
}

// signed reports whether Caddy signed the path of the token.
func (e *Entry) signed(t token.Token, now time.Time) bool {
	stored := e.app.pathKey.Load()
	return processPathKey.Signed(t, e.Name(), now) || stored != nil && stored.Signed(t, e.Name(), now)
}

// AskContext returns the context in which a guest with those keys asks by a request from outside the process. It
// is the context of the request. If the guest hands its Party-Token back, the context knows which asks led to
// the request, and which prefix they had. End it when the asks have been answered. The error is
// token.ErrTooDeep, or says what is wrong with the token.
func (e *Entry) AskContext(r *http.Request, guest string, keys token.Keys) (ctx context.Context, end func(), err error) {
	ctx, end = e.withPrefixOf(e.app.askedByGuest(r), guest, r.Header.Get(reservedheader.Prefix)), func() {}
	text := r.Header.Get(reservedheader.Token)
	if text == "" {
		return ctx, end, nil
	}
	now := time.Now()
	t, err := keys.Verify(guest, text, now)
	if err != nil {
		return ctx, end, err
	}
	if len(t.Path) == 0 || !e.signed(t, now) {
		return ctx, end, nil // what a guest says itself is not a path
	}
	if len(t.Path) >= token.MaxPath {
		return ctx, end, token.ErrTooDeep
	}
	var under *partyline.Call
	if process, _, _ := strings.Cut(t.Root, "."); process == processID {
		if under = runningCall(t.Root); under == nil {
			return ctx, end, nil // it has ended
		}
	} else {
		under = awayCallOf(t.Root)
	}
	steps := make([]partyline.Step, len(t.Path))
	for i, step := range t.Path {
		steps[i] = partyline.Step(step)
	}
	ctx, call := partyline.WithPath(ctx, e.Partyline, steps, under)
	if under == nil {
		end = call.End
	}
	return ctx, end, nil
}

// StateOf returns the T that a package keeps for a party, a zero T the first time. The type must be the
// package's own.
func StateOf[T any](e *Entry) *T {
	key := reflect.TypeFor[T]()
	state, ok := e.values.Load(key)
	if !ok {
		state, _ = e.values.LoadOrStore(key, new(T))
	}
	return state.(*T)
}

// root is what Caddy keeps of a call while that is under way.
type root struct {
	id string // by which the call is known so long

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

// rootOf returns the root of the call in which a handler was called with ctx, nil if that has ended.
func rootOf(ctx context.Context) *root {
	c := partyline.CallOf(ctx)
	if c == nil {
		return nil
	}
	attached, _ := c.Attach(func() (any, func()) {
		id := string(strconv.AppendUint(append(append(make([]byte, 0, 64), processID...), '.'), rootCount.Add(1), 10))
		forget := func(id string) { roots.Delete(id) }
		roots.Store(id, weak.Make(c))
		runtime.AddCleanup(c, forget, id) // handlers may still ask when the call has ended
		return &root{id: id}, func() { forget(id) }
	}).(*root)
	return attached
}

// runningCall returns the call of this process that is known by that id, nil if it has ended.
func runningCall(id string) *partyline.Call {
	if loaded, ok := roots.Load(id); ok {
		return loaded.(weak.Pointer[partyline.Call]).Value()
	}
	return nil
}

// GiveURL takes down that who asks for a URL in that context is given this answer.
func GiveURL(ctx context.Context, answer any) {
	r := rootOf(ctx)
	if r == nil {
		return
	}
	url, ok := answer.(string)
	if raw, isRaw := answer.(json.RawMessage); isRaw {
		ok = json.Unmarshal(raw, &url) == nil
	}
	if !ok || len(url) > maxGivenURL {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.urls) == maxGivenURLs {
		r.urls = slices.Delete(r.urls, 0, 1)
	}
	r.urls = append(r.urls, url)
}

// GaveURL reports whether the URL was given to somebody who asked for one in the same call, and
// who may answer with it.
func GaveURL(ctx context.Context, url string) bool {
	r := rootOf(ctx)
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.urls, url)
}
