// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What other nodes, which have a party of the same name, need to know of the guests of this one, and this one
// of theirs.

package party

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// Statement is what a guest says of itself that holds wherever it is asked. It is experimental.
type Statement struct {
	// Manifest is what the guest answers by value, as a manifest: pages, services that are constants only, claims
	// and hosts. It may be nil. The guest is asked for all other services that it is connected under.
	Manifest json.RawMessage `json:"manifest,omitempty"`

	// MorePages is whether the guest has pages besides those of the manifest.
	MorePages bool `json:"more_pages,omitempty"`

	// Forward are the headers that the guest is to get from the request that led to an ask.
	Forward []string `json:"forward,omitempty"`

	// Timeout is how long an ask of the guest may take. Zero: as long as the asker waits.
	Timeout time.Duration `json:"timeout,omitempty"`

	Mount SiteMount `json:"mount,omitzero"`
}

// SiteMount is where a guest is mounted in its site. It is experimental.
type SiteMount struct {
	Path         string `json:"path,omitempty"`          // in the party, escaped
	Unseen       string `json:"unseen,omitempty"`        // what of it the guest does not see
	Origin       string `json:"origin,omitempty"`        // scheme and host that links begin with; empty for links to the same site
	Prefix       string `json:"prefix,omitempty"`        // of the party, not escaped
	PrefixHeader string `json:"prefix_header,omitempty"` // in which each request has the prefix instead
}

// Check returns an error for a mount below which links could lead to another site.
func (m SiteMount) Check() error {
	if m.Prefix != "" {
		if err := checkPrefixPath(m.Prefix); err != nil {
			return err
		}
	}
	if m.Path != "" {
		return urltemplate.Check(m.Path)
	}
	return nil
}

// OnStatement has f called by whoever wants to know the guest's statement. The party adds the Mount.
func (i *Invitation) OnStatement(f func() Statement) {
	i.host.entry.statements.Store(i.invited.guest, func() Statement {
		s := f()
		m := i.mount
		s.Mount = SiteMount{Path: m.path, Unseen: m.unseen, Origin: i.Origin(), Prefix: i.host.settings.Prefix}
		if i.host.prefixHeader != "" {
			s.Mount.Prefix, s.Mount.PrefixHeader = "", i.host.prefixHeader
		}
		return s
	})
}

// StatementOf returns what a guest of this node says of itself: nothing, if it has not called OnStatement. It is
// experimental.
func (e *Entry) StatementOf(guest string) Statement {
	if f, ok := e.statements.Load(guest); ok {
		return f.(func() Statement)()
	}
	return Statement{}
}

// MountAway says where a guest of another node is mounted, unless it is mounted here, and returns the path for
// links in the context of an ask, escaped. It is experimental.
func (e *Entry) MountAway(guest string, at SiteMount) func(context.Context) string {
	escaped := invitepath.Escape(at.Prefix)
	prefix := func(ctx context.Context) string {
		if at.PrefixHeader == "" {
			return escaped
		}
		return invitepath.Escape(e.app.prefixesIn(ctx)[at.PrefixHeader])
	}
	stripped, _ := url.PathUnescape(at.Path)
	m := &mount{prefix: prefix, path: at.Path, stripped: stripped, unseen: at.Unseen}
	for {
		known, loaded := e.mounts.LoadOrStore(guest, m)
		if !loaded || known.(*mount).here {
			break
		}
		if e.mounts.CompareAndSwap(guest, known, m) {
			break
		}
	}
	e.Changed()
	return m.pathFor
}

// UnmountAway undoes MountAway.
func (e *Entry) UnmountAway(guest string) {
	if m, ok := e.mounts.Load(guest); ok && !m.(*mount).here {
		e.mounts.CompareAndDelete(guest, m)
	}
}

// AddOrigin lets links lead to a scheme and host, besides those of the party's invites. It is experimental.
func (e *Entry) AddOrigin(origin *url.URL) { e.origins.Store(originOf(origin), nil) }

// OnParty has f called with each party of the config: with those that are there at once, and with others when
// they are first joined. It is experimental.
func (a *App) OnParty(f func(*Entry)) {
	a.mu.Lock()
	a.onParty = append(a.onParty, f)
	there := slices.Collect(maps.Values(a.entries))
	a.mu.Unlock()
	for _, e := range there {
		f(e)
	}
}

// unlock unlocks the app, and tells of its new parties.
func (a *App) unlock() {
	parties, tell := a.newParties, a.onParty
	a.newParties = nil
	a.mu.Unlock()
	for _, e := range parties {
		for _, f := range tell {
			f(e)
		}
	}
}

// OperatorAway returns a new operator for a guest of another node. It does not leave with the config: requests
// in flight may still ask. It is experimental.
func (e *Entry) OperatorAway(node, guest string) *partyline.Operator {
	kept.Hold(&e.app.holds, guestsKept, guestIn{e.Name(), guest})
	o := e.OperatorOn(node, guest)
	e.away.Store(guest, o)
	o.OnLeave(func() { e.away.CompareAndDelete(guest, o) })
	return o
}
