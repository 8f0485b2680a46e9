// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What each guest has answered to one payload, when it is asked again, and the documents made of it.

package gather

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsgiparty/wsgiparty/party"
)

// set is what is known of each guest.
type set struct {
	gathering *gathering
	key       setKey
	ctx       context.Context // of asks, but for its end
	stored    bool            // also in Caddy's storage
	own, size int             // bytes; size is guarded by the gathering
	again     bool            // used more than once; guarded by the gathering

	documents atomic.Pointer[map[documentKey]*timed]
	changed   atomic.Bool // what documents are made of has, since
	asking    atomic.Bool
	building  atomic.Bool // a document, which may take long

	mu      sync.Mutex
	guests  map[string]*known
	all     everybody
	line    line          // when all was looked up
	relook  time.Time     // when it is to be looked up again
	flight  chan struct{} // closed when the guests that are being asked have been; nil while none is
	landed  time.Time     // when the last one was closed
	version int           // of what documents are made of
}

// known is what is known of a guest.
type known struct {
	last   result    // its last good answers, if got is not zero
	got    time.Time // when they were asked for
	tried  time.Time // when it was asked last; zero if it is to be asked
	asking bool
	late   bool      // others that were asked with it have answered long ago
	failed bool      // when it was asked last
	why    string    // without digits: counts and ports change
	stored time.Time // when these answers were asked for again that are stored
}

// line is a state of a party's line.
type line struct {
	entry   *party.Entry
	changes uint64
}

// documentKey is what documents of the same answers differ in.
type documentKey struct {
	note   bool
	origin string
}

const maxDocuments = 4 // of a set

// timed is a document with its time.
type timed struct {
	*document
	line    line
	version int
	fresh   time.Time // until when nothing is to be done about it
	usable  time.Time // until when it may be served while something is
}

// renew has guests asked whose time has come, and returns the document, or nil if there is something to wait for.
func (s *set) renew(q *question, now time.Time, current line, w *waiting) *document {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.landed { // what it has waited for counts, however short its time is
		now = s.landed
	}
	if s.line != current || !now.Before(s.relook) {
		s.look(q, now, current)
	}
	due := s.due(now)
	if len(due) > 0 && s.flight == nil && w.takeTurn(s) {
		s.ask(q, due, now)
	}
	missing, enough := false, false
	for name, k := range s.guests {
		missing = missing || !k.has() && !k.failed && !k.late && (k.asking || slices.Contains(due, name))
		enough = enough || k.has()
	}
	if missing && w.most > 0 {
		w.flight, w.enough = s.flight, enough
		return nil
	}
	return s.current(q, now).document
}

func (k *known) has() bool { return !k.got.IsZero() }

// look looks up the guests, and forgets those that have gone.
func (s *set) look(q *question, now time.Time, current line) {
	before := s.all
	s.all = q.look()
	var added []string
	for _, g := range s.all.guests {
		k := s.guests[g.name]
		switch {
		case k == nil:
			s.guests[g.name] = new(known)
			added = append(added, g.name)
		case k.failed && g.connected && (s.line.entry != current.entry || !before.has(g.name)):
			k.tried = time.Time{} // it may have been mended
		}
	}
	for name := range s.guests {
		if !slices.ContainsFunc(s.all.guests, func(g guest) bool { return g.name == name }) {
			delete(s.guests, name)
		}
	}
	if s.stored {
		s.load(q, added, now)
	}
	s.fit(q, nil)
	if s.line != current || !slices.Equal(before.guests, s.all.guests) { // mounts may have changed
		s.version++
	}
	s.line, s.relook = current, now.Add(min(s.gathering.fresh, maxLook))
}

// maxLook is how long it may be unseen that an invite has failed.
const maxLook = 10 * time.Second

// has reports whether the guest is connected.
func (e everybody) has(name string) bool {
	return slices.ContainsFunc(e.guests, func(g guest) bool { return g.name == name && g.connected })
}

// due returns the guests that are to be asked. It forgets what is too old.
func (s *set) due(now time.Time) (due []string) {
	for _, g := range s.all.guests {
		k := s.guests[g.name]
		if k.has() && !now.Before(k.got.Add(s.gathering.fresh+s.gathering.stale)) {
			s.forget(k)
		}
		if g.connected && !k.asking && (k.tried.IsZero() || !now.Before(k.tried.Add(s.gathering.fresh))) {
			due = append(due, g.name)
		}
	}
	return due
}

// forget forgets what a guest has answered.
func (s *set) forget(k *known) {
	k.got, k.last.answers = time.Time{}, nil
	s.version++
	s.changed.Store(true)
}

// current returns the document of what is known now. Its time is that until the next guest is to be asked, or forgotten.
func (s *set) current(q *question, now time.Time) *timed {
	d := &timed{line: s.line, version: s.version, fresh: s.relook, usable: now.Add(s.gathering.fresh + s.gathering.stale)}
	for _, g := range s.all.guests {
		k := s.guests[g.name]
		if g.connected {
			d.fresh = earlier(d.fresh, k.tried.Add(s.gathering.fresh))
		}
		if k.has() {
			d.usable = earlier(d.usable, k.got.Add(s.gathering.fresh+s.gathering.stale))
		}
	}
	d.fresh = earlier(d.fresh, d.usable)
	id := documentKey{q.note, q.origin}
	documents := make(map[documentKey]*timed)
	if before := s.documents.Load(); before != nil {
		for other, document := range *before {
			if document.version == s.version && (other == id || len(documents) < maxDocuments-1) {
				documents[other] = document
			}
		}
	}
	if same := documents[id]; same != nil {
		d.document = same.document
	} else {
		s.building.Store(true)
		defer s.building.Store(false)
		d.document = q.build(s.ctx, s.all, s.result)
	}
	documents[id] = d
	s.documents.Store(&documents)
	s.changed.Store(false)
	s.resized()
	return d
}

// result returns what documents are made of, nil for a guest that cannot be asked.
func (s *set) result(name string) *result {
	k := s.guests[name]
	switch {
	case k.has():
		return &result{answers: k.last.answers}
	case !s.all.has(name):
		return nil
	}
	return &result{err: errNotAsked}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// resized takes down how large the set is.
func (s *set) resized() {
	size := 0
	for _, k := range s.guests {
		size += k.last.size()
	}
	if documents := s.documents.Load(); documents != nil {
		for _, d := range *documents {
			size += len(d.body)
		}
	}
	s.gathering.resized(s, size)
}
