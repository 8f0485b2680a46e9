// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The version of a party's line, by which applications know how long what they were answered is so.

package party

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strconv"
	"sync"

	"github.com/wsgiparty/wsgiparty/partyline"
)

// LineHeader is the header of answers that says which version the line has.
const LineHeader = "Party-Line"

// lineVersion is a version as it is told.
type lineVersion struct {
	text    string
	changes uint64 // of the partyline, by then
}

// newLineID returns what tells the versions of a line from those of all others, of this process, of those before it and of
// other machines.
func newLineID() string {
	var id [12]byte
	_, _ = rand.Read(id[:]) // which does not fail
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// LineVersion returns the version of the party's line. It changes when anybody joins or leaves, or has a new
// manifest, and is never one that this or another line had before. Read the version before you ask, and the
// answers are at least as new as the version. It is experimental.
func (e *Entry) LineVersion() string { return e.version().text }

func (e *Entry) version() *lineVersion {
	changes := e.Changes()
	if known := e.line.Load(); known != nil && known.changes == changes {
		return known
	}
	version := &lineVersion{e.lineID + "." + strconv.FormatUint(changes, 10), changes}
	e.line.Store(version)
	return version
}

// Lasting finds out whether what comes of an ask holds until the version of the line changes. It is for one
// ask, and experimental.
type Lasting struct {
	context.Context

	mu    sync.Mutex
	said  []string // the guests that have said so, and whose replies are to come
	first [2]string
	no    bool
}

type lastingKey struct{}

// WithLasting returns the context for an ask that is to find that out, nil for one to which other asks have led: what
// comes of it depends on them.
func WithLasting(ctx context.Context) *Lasting {
	if partyline.Depth(ctx) > 0 {
		return nil
	}
	l := &Lasting{Context: ctx}
	l.said = l.first[:0]
	return l
}

// Value returns the context's, and itself.
func (l *Lasting) Value(key any) any {
	if _, ok := key.(lastingKey); ok {
		return l
	}
	return l.Context.Value(key)
}

// Replied notes that the guest has replied: it holds if its handler has said so, and did not fail.
func (l *Lasting) Replied(guest string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.said, guest)
	if i < 0 || err != nil && err != partyline.ErrHighAndDry {
		l.no = true
		return
	}
	l.said = slices.Delete(l.said, i, i+1)
}

// Holds reports whether everything does that was replied so far.
func (l *Lasting) Holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.no
}

// SayLasting says, in a handler of the guest's, that what it answers to this payload, or that it declines, is so for
// whoever asks until the version of the line changes, but for the prefix of links: an application may
// keep it so long. It is experimental.
func SayLasting(ctx context.Context, guest string) {
	if l, ok := ctx.Value(lastingKey{}).(*Lasting); ok && partyline.Depth(ctx) == 1 {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.said = append(l.said, guest)
	}
}

// within returns the context for an ask on which what comes of the one in ctx depends, and what is to be called with
// that one's replies, and at its end.
func within(ctx context.Context) (inner context.Context, replied func(guest string, err error), end func()) {
	outer, ok := ctx.Value(lastingKey{}).(*Lasting)
	if !ok {
		return ctx, func(string, error) {}, func() {}
	}
	l := WithLasting(ctx)
	if l == nil {
		l = &Lasting{Context: ctx, no: true}
	}
	return l, l.Replied, func() {
		if !l.Holds() {
			outer.mu.Lock()
			outer.no = true
			outer.mu.Unlock()
		}
	}
}
