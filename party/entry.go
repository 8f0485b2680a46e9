// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/guestname"
	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/token"
	"github.com/wsgiparty/wsgiparty/internal/traffic"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

// DefaultParty is the name of a party whose handler leaves it out.
const DefaultParty = "default"

// Entry is a party of an App: its partyline, and everybody who named it.
type Entry struct {
	*partyline.Partyline
	app     *App
	logger  *zap.Logger // the app's, with the party's name
	history *history
	anyone  *partyline.Operator // asks everyone
	hosts   []*Host             // the handlers that name it, in an order that is the same for every load of a config
	invited atomic.Pointer[[]*invited]

	joinedAs, joinedBy map[string]bool // the guests that modules joined as, and these modules

	lineID string
	line   atomic.Pointer[lineVersion]

	origins    sync.Map // of scheme and host, to nil: where guests' URLs may lead
	mounts     sync.Map // of guest to *mount
	away       sync.Map // of guest to *partyline.Operator, for those of other nodes
	conditions sync.Map // of guest to func() []Condition
	statements sync.Map // of guest to func() Statement
	values     sync.Map // that packages keep for it
}

// history is what is counted of all partylines of one name, from config to config.
type history struct {
	asks    partyline.Counts
	traffic traffic.Meter
	invites [len(inviteResults)]atomic.Uint64
}

var histories = kept.New(func(string) *history { return new(history) }, nil)

type guestIn struct{ party, guest string }

// guestsKept are those of whom the histories of their parties tell.
var guestsKept = kept.New(func(guestIn) struct{} { return struct{}{} }, func(k guestIn, _ struct{}) {
	if h, ok := histories.Lookup(k.party); ok {
		h.asks.Forget(k.guest)
		h.traffic.Forget(k.guest)
	}
})

// entry returns the entry of that name, a new one if there is none yet. The app must be locked.
func (a *App) entry(name string) *Entry {
	e, ok := a.entries[name]
	if !ok {
		e = &Entry{app: a, logger: a.logger.With(zap.String("party", name)), history: kept.Hold(&a.holds, histories, name),
			lineID: newLineID(), joinedAs: make(map[string]bool), joinedBy: make(map[string]bool)}
		e.Partyline = partyline.NewPartyline(name, partyline.Options{Observer: observer{e}, RemoteContext: a.remoteContext, Addressee: addressee, Key: askKey, Preference: e.preference, Counts: &e.history.asks, Owner: e})
		e.anyone = e.Operator("")
		e.invited.Store(new([]*invited))
		a.entries[name] = e
		a.newParties = append(a.newParties, e)
	}
	return e
}

// Entry returns the entry of a party that a module has joined.
func (a *App) Entry(party string) *Entry {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.entries[party]
}

// add makes a handler one of those that host its party, and returns the entry. A handler
// that would mute another is an error.
func (a *App) add(h *Host) (*Entry, error) {
	a.mu.Lock()
	defer a.unlock()
	e := a.entry(h.name)
	for _, other := range e.hosts {
		if err := h.conflict(other); err != nil {
			return nil, err
		}
	}
	for _, other := range a.askingHosts() {
		if err := h.conflictAtAddress(other); err != nil {
			return nil, err
		}
	}
	e.hosts = append(e.hosts, h)
	a.askChanges.Add(1)
	slices.SortStableFunc(e.hosts, func(a, b *Host) int { return cmp.Compare(a.server.Name(), b.server.Name()) })
	if h.prefixHeader != "" {
		a.prefixHeaders.add(h.prefixHeader)
	}
	var order []string
	for _, i := range e.invites() {
		order = append(order, i.guest)
	}
	e.SetOrder(order)
	e.SetIgnoreMissingServices(h.settings.IgnoreMissingServices)
	for _, i := range h.guests.invited {
		if i.uri.IsAbs() {
			e.origins.Store(originOf(i.uri), nil)
		}
	}
	invited := slices.Concat(*e.invited.Load(), h.guests.invited)
	e.invited.Store(&invited)
	return e, nil
}

// remove undoes add.
func (a *App) remove(h *Host) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h.entry.hosts = slices.DeleteFunc(h.entry.hosts, func(other *Host) bool { return other == h })
	a.askChanges.Add(1)
}

// invitesOf returns the invites of a party, by server and as configured.
func (a *App) invitesOf(party string) []*invited {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if e, ok := a.entries[party]; ok {
		return e.invites()
	}
	return nil
}

// invites is invitesOf for an app that is locked.
func (e *Entry) invites() (all []*invited) {
	for _, h := range e.hosts {
		all = append(all, h.guests.invited...)
	}
	return all
}

// addKeys makes keys those of a guest of the party. One that is another guest's is an error.
func (a *App) addKeys(party, guest string, keys token.Keys) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !keys.IsZero() {
		a.pathKeyOnce.Do(func() { a.events.onStart(a.loadPathKey) })
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

// Join returns an operator on the partyline of the config that ctx belongs to, for a module that is not invited.
// Call it in Provision, with the context given there; the party's handler may be provisioned later. With an
// empty guest name the operator cannot connect, and asks everyone.
//
// When ctx ends before its config does, the operator leaves. When the config ends, it does not: requests in
// flight may still ask.
//
// Join returns an error for an empty party name, and for a guest name that no invite could have. A party that
// has no name in the config is called DefaultParty.
func Join(ctx caddy.Context, party, guest string) (*partyline.Operator, error) {
	if party == "" {
		return nil, fmt.Errorf("joining a partyline as guest %q: the party's name is empty; a party without a name is called %q", guest, DefaultParty)
	}
	if guest != "" {
		if err := guestname.Check(guest); err != nil {
			return nil, fmt.Errorf("joining party %q as guest %q, which cannot be a guest's name: %w", party, guest, err)
		}
	}
	a, err := AppOf(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.unlock()
	e := a.entry(party)
	if modules := ctx.Modules(); len(modules) > 0 { // the last one is being provisioned
		e.joinedBy[string(modules[len(modules)-1].CaddyModule().ID)] = true
	}
	if guest != "" {
		e.joinedAs[guest] = true
	}
	o := e.operatorUntil(ctx, guest)
	o.Join()
	return o, nil
}

// operatorUntil returns a new operator that leaves when ctx ends, unless its config ends.
func (e *Entry) operatorUntil(ctx context.Context, guest string) *partyline.Operator {
	if guest != "" {
		kept.Hold(&e.app.holds, guestsKept, guestIn{e.Name(), guest})
	}
	o := e.Operator(guest)
	stop := context.AfterFunc(ctx, func() {
		if !e.app.endedWith(ctx) {
			o.Leave()
		}
	})
	o.OnLeave(func() { stop() })
	return o
}

// endedWith reports whether ctx ended because the config did, whose context Caddy ends with
// a cause of its own, such as "stopping apps" in unsyncedStop.
func (a *App) endedWith(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return cause != nil && cause != context.Canceled && cause != context.DeadlineExceeded && a.ctx.Err() != nil
}

// Lookup returns an operator on a partyline of the running config that asks everyone, for code without a
// caddy.Context. It returns false if that config has no such partyline. It never uses a config that is still
// loading, or failed to load. Do not keep the operator: a reload makes new partylines.
func Lookup(party string) (*partyline.Operator, bool) {
	if a, ok := Running(); ok {
		if e := a.Entry(party); e != nil {
			return e.anyone, true
		}
	}
	return nil, false
}

// PartyInfo describes a party of the running config.
type PartyInfo struct {
	Partyline   *partyline.Partyline    // tells who is on the line, and what was asked
	Loaded      time.Time               // when the config was loaded
	Invites     []InviteInfo            // of all handlers that name the party, by server and as configured
	AskURLs     []string                // where guests are told that they can ask, by ask_on
	InvitesSent map[InviteResult]uint64 // since the process began, from config to config; all results are in it
}

// Parties returns the parties of the running config in alphabetical order. It never uses a config that is still
// loading, or failed to load.
func Parties() []PartyInfo {
	a, ok := Running()
	if !ok {
		return nil
	}
	a.mu.RLock()
	entries := slices.Collect(maps.Values(a.entries))
	a.mu.RUnlock()
	slices.SortFunc(entries, func(a, b *Entry) int { return cmp.Compare(a.Name(), b.Name()) })
	parties := make([]PartyInfo, 0, len(entries))
	for _, e := range entries {
		parties = append(parties, e.Info())
	}
	return parties
}

// Info describes the party as it is now.
func (e *Entry) Info() PartyInfo {
	info := PartyInfo{Partyline: e.Partyline, Loaded: e.app.loaded, Invites: sent(e.app.invitesOf(e.Name())), AskURLs: e.app.askURLsOf(e), InvitesSent: make(map[InviteResult]uint64)}
	for i, result := range inviteResults {
		info.InvitesSent[result] = e.history.invites[i].Load()
	}
	return info
}
