// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/token"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// Entry is what an App has of a party: its partyline, and all who brought it about.
type Entry struct {
	*partyline.Partyline
	app     *App
	history *history
	anyone  *partyline.Operator // asks everyone
	hosts   []*Host             // the handlers that name it
	joined  []joining           // by Join
	bases   atomic.Pointer[[]based]

	origins sync.Map // of scheme and host, to nil: where guests' URLs may lead
	mounts  sync.Map // of guest to *mount
	values  sync.Map // that packages keep for it
}

// joining says which module joined a partyline, and as whom.
type joining struct{ guest, module string }

// history is what is counted of all partylines of one name, from config to config.
type history struct {
	asks    partyline.Counts
	invites [len(inviteResults)]atomic.Uint64
}

var histories = kept.New(func(string) *history { return new(history) }, nil)

// guestIn is a guest of a party.
type guestIn struct{ party, guest string }

// guestsKept are those of whom the histories of their parties tell.
var guestsKept = kept.New(func(guestIn) struct{} { return struct{}{} }, func(k guestIn, _ struct{}) {
	if h, ok := histories.Lookup(k.party); ok {
		h.asks.Forget(k.guest)
	}
})

// entry returns the entry of that name, a new one if there is none yet. The
// app must be locked.
func (a *App) entry(name string) *Entry {
	e, ok := a.entries[name]
	if !ok {
		e = &Entry{app: a, history: kept.Hold(&a.holds, histories, name)}
		e.Partyline = partyline.NewPartyline(name, partyline.Options{
			Observer:      &observer{a, e},
			RemoteContext: a.remoteContext,
			Addressee:     addressee,
			Counts:        &e.history.asks,
			Owner:         e,
		})
		e.anyone = e.Operator("")
		e.bases.Store(new([]based))
		a.entries[name] = e
	}
	return e
}

// Entry returns that of a party which a module has joined.
func (a *App) Entry(party string) *Entry {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.entries[party]
}

// add makes a handler one of those that host its party, and returns the entry.
// A handler that would mute another is an error.
func (a *App) add(h *Host) (*Entry, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.entry(h.name)
	for _, other := range e.hosts {
		if err := h.conflict(other); err != nil {
			return nil, err
		}
	}
	e.hosts = append(e.hosts, h)
	if h.prefixHeader != "" {
		a.awaitPrefix(h.prefixHeader)
	}
	var guests []string
	for _, h := range e.inOrder() {
		for _, i := range h.guests.invited {
			guests = append(guests, i.guest)
		}
	}
	e.SetOrder(guests)
	e.SetIgnoreMissingServices(h.settings.IgnoreMissingServices)
	bases := slices.Clone(*e.bases.Load())
	for _, i := range h.guests.invited {
		if i.uri.IsAbs() {
			e.origins.Store(originOf(i.uri), nil)
		}
		bases = append(bases, based{i, h})
	}
	e.bases.Store(&bases)
	return e, nil
}

// remove undoes add.
func (a *App) remove(h *Host) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e, ok := a.entries[h.name]; ok {
		e.hosts = slices.DeleteFunc(e.hosts, func(other *Host) bool { return other == h })
	}
}

// hostsOf returns those of a party, in order.
func (a *App) hostsOf(name string) []*Host {
	a.mu.RLock()
	defer a.mu.RUnlock()
	e, ok := a.entries[name]
	if !ok {
		return nil
	}
	return e.inOrder()
}

// inOrder returns the handlers in an order that is the same for every load of a
// config. The app must be locked.
func (e *Entry) inOrder() []*Host {
	return slices.SortedStableFunc(slices.Values(e.hosts), func(a, b *Host) int {
		return cmp.Compare(a.server.Name(), b.server.Name())
	})
}

// addKeys makes keys those of a guest of the party. One that is another guest's is an
// error.
func (a *App) addKeys(party, guest string, keys token.Keys) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !keys.IsZero() {
		a.pathKeyOnce.Do(func() { a.events.onStart(func() { go a.loadPathKey() }) })
	}
	return a.keys.Add(party, guest, keys)
}

// Identify returns the guest of the party whose key the request has, and its keys.
func (e *Entry) Identify(r *http.Request) (string, token.Keys, bool) {
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", token.Keys{}, false
	}
	e.app.mu.RLock()
	defer e.app.mu.RUnlock()
	return e.app.keys.Identify(e.Name(), strings.TrimSpace(key))
}
