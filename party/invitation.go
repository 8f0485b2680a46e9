// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/token"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// Invitation is what an invite brings its guest. It keeps its config in memory, so a guest that keeps an
// invitation must let go of it when the next one comes.
type Invitation struct {
	// Operator is the guest's handle on the partyline.
	Operator *partyline.Operator

	// URI is the invite's. Its path is the one that requests have when they reach the
	// party. Where it has a scheme and a host, links to the guest begin with them.
	URI *url.URL

	// Prefix is what was stripped from the path before that. It is the beginning of every path that the guest
	// links to. It is empty where that differs for each request: see PrefixFor.
	Prefix string

	// Again is whether the guest was sent an invite in this config before: somebody wants
	// to know now what comes of it.
	Again bool

	host     *Host
	invited  *invited
	mount    *mount
	accepted atomic.Bool
	advice   atomic.Pointer[string]
	below    atomic.Pointer[basesBelow]
	manifest atomic.Pointer[ManifestInfo]
	keys     atomic.Pointer[token.Keys]
	ask      atomic.Pointer[partyAsk]
	refresh  atomic.Pointer[func(context.Context)]
	over     chan struct{} // closed when the invite itself is

	mu       sync.Mutex
	operator *partyline.Operator // the guest's now
	soFar    *InviteInfo         // nil unless the guest has called Defer
	reported chan struct{}       // closed by the first report after that
	told     news                // last
	starts   bool                // and that it may be starting
}

type invitationKey struct{}

// PeekInvitation returns what an invite brings its guest, nil on an ordinary request, for a
// handler that may leave it to another one.
func PeekInvitation(r *http.Request) *Invitation {
	i, _ := r.Context().Value(invitationKey{}).(*Invitation)
	return i
}

// InvitationFrom returns what an invite brings its guest, and accepts it: the guest has joined if it then
// answers with a 2xx status. It returns false on an ordinary request, whatever that contains, and whatever path
// a rewrite has given it.
//
// The request's context ends with the invite, so do not keep it to ask later. Since an invite stays in the
// process, the context also ends as soon as somebody is about to connect to something in it. A guest that has to
// connect to something to join uses a context of its own.
func InvitationFrom(r *http.Request) (*Invitation, bool) {
	i := PeekInvitation(r)
	if i != nil {
		i.Accept()
		i.claimBelow(r)
	}
	return i, i != nil
}

// OperatorFrom is InvitationFrom for a guest that needs only the operator.
func OperatorFrom(r *http.Request) (*partyline.Operator, bool) {
	if i, ok := InvitationFrom(r); ok {
		return i.Operator, true
	}
	return nil, false
}

// Host returns the party that the guest is invited to.
func (i *Invitation) Host() *Host { return i.host }

// Party returns the name of the party.
func (i *Invitation) Party() string { return i.host.name }

// Context returns the context for what the guest does in the background. It ends with the party that has invited
// the guest.
func (i *Invitation) Context() context.Context { return i.host.ctx }

// Timeout returns how long the invite may take.
func (i *Invitation) Timeout() time.Duration { return i.host.settings.InviteTimeout }

// PrefixFor returns the escaped Prefix of links that are made for the request, or in answer to the ask, that ctx
// belongs to. It is always the same, unless the party's prefix comes from a header that a trusted proxy sets.
func (i *Invitation) PrefixFor(ctx context.Context) string { return i.host.escapedPrefixFor(ctx) }

// Origin returns the scheme and host that links to the guest begin with, empty if its invite has none.
func (i *Invitation) Origin() string {
	if i.URI.IsAbs() {
		return originOf(i.URI)
	}
	return ""
}

// Matcher returns a request matcher, as written in the Caddyfile. With it, what stands in front of the guest,
// such as authentication, lets the party's own requests to the guest pass.
func (i *Invitation) Matcher() string { return i.host.matcher(i.invited.guest) }

// SetKeys makes keys the guest's. It returns an error if one of them is another guest's.
func (i *Invitation) SetKeys(keys token.Keys) error {
	if err := i.host.app.addKeys(i.host.name, i.invited.guest, keys); err != nil {
		return err
	}
	i.keys.Store(&keys)
	i.host.app.askChanges.Add(1)
	return nil
}

// Keys returns the guest's keys, which may be made while the config starts.
func (i *Invitation) Keys() token.Keys {
	if keys := i.keys.Load(); keys != nil {
		return *keys
	}
	return token.Keys{}
}

// Accept makes whoever handles the request the guest that is invited.
func (i *Invitation) Accept() {
	i.advice.Store(nil)
	i.accepted.Store(true)
}

// Accepted reports whether somebody has accepted it.
func (i *Invitation) Accepted() bool { return i.accepted.Load() }

// Advise says what to do about the invite if nobody accepts it, or about a guest that joins by it.
func (i *Invitation) Advise(hint string) { i.advice.Store(&hint) }

// ByManifest says, before the invite is over, by which manifest the guest joins. Later reports carry their own.
func (i *Invitation) ByManifest(m ManifestInfo) { i.manifest.Store(&m) }

// Defer says, before the invite is answered with a 2xx status, that its outcome is still open: soFar, of which
// Result, Status, Hint and OldManifest count, holds until Report is called. A guest that has not joined so far
// is not announced before.
func (i *Invitation) Defer(soFar InviteInfo) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.soFar, i.reported = &soFar, make(chan struct{})
}

// OnStart calls f in a goroutine as soon as the invite is over and the config has started.
func (i *Invitation) OnStart(f func()) {
	i.host.app.events.onStart(func() {
		<-i.over
		f()
	})
}

// OnRefresh has f called when somebody wants this guest, which is on the line, to check at once what it now
// answers for. By the time f returns, or its context ends, the result must have been reported.
func (i *Invitation) OnRefresh(f func(ctx context.Context)) { i.refresh.Store(&f) }

// settle adds to what came of the invite what the guest said of that.
func (i *Invitation) settle(info *InviteInfo) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if advice := i.advice.Load(); advice != nil && (info.Result == InviteJoined || !info.Accepted) {
		if info.Hint = *advice; info.Err == errLeavesProcess {
			info.Err = nil // it is no matter where it went on to
		}
	}
	if m := i.manifest.Load(); m != nil && info.Result == InviteJoined {
		info.Manifest = *m
	}
	if i.soFar != nil && info.Result == InviteJoined {
		info.Result, info.Hint, info.OldManifest = i.soFar.Result, i.soFar.Hint, i.soFar.OldManifest
		if info.pending = info.Result != InviteJoined; info.pending {
			info.Status = i.soFar.Status
			return
		}
	}
	i.told, i.starts = newsOf(info), info.Starting
}

// Report says, after the invite, what has come of it since. A guest may call it as often as it likes: only news
// is counted, logged and announced. The fields that say who is invited, Accepted and Services need not be set.
// Report returns whether it was news.
func (i *Invitation) Report(info InviteInfo) (isNews bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	info.Accepted, info.Services = true, i.operator.Services()
	i.describe(&info)
	i.invited.last.Store(&info)
	if n := newsOf(&info); n != i.told {
		isNews, i.told, i.starts = true, n, info.Starting
		i.host.tell(&info, i.operator)
	} else if i.starts && !info.Starting {
		isNews, i.starts = true, false
		i.host.log(&info)
	}
	if i.reported != nil {
		close(i.reported)
		i.reported = nil
	}
	return isNews
}

// describe sets what is known of the invite itself.
func (i *Invitation) describe(info *InviteInfo) {
	info.Server, info.URI, info.Guest, info.invitation = i.host.server.Name(), i.invited.uri.String(), i.invited.guest, i
}

// awaitReport waits, for a while, for the first report of a guest that has called Defer.
func (i *Invitation) awaitReport(ctx context.Context) {
	i.mu.Lock()
	reported := i.reported
	i.mu.Unlock()
	if reported != nil {
		ctx, cancel := context.WithTimeout(ctx, i.Timeout())
		defer cancel()
		_ = await(ctx, reported)
	}
}

// Replace replaces the guest's operator with a new one, which connect connects. The new one joins before the old
// one leaves, so the guest is never gone. If ctx has ended by then, nothing is replaced.
func (i *Invitation) Replace(ctx context.Context, connect func(*partyline.Operator) error) error {
	operator := i.host.entry.operatorUntil(i.host.ctx, i.invited.guest)
	if err := connect(operator); err != nil {
		operator.Leave()
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if ctx.Err() != nil {
		operator.Leave()
		return ctx.Err()
	}
	operator.Join()
	i.operator.Leave()
	i.operator = operator
	return nil
}

// OnLine reports whether the guest is on the line by this invitation.
func (i *Invitation) OnLine() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.operator.OnLine()
}

// Services returns the services that the guest is connected under.
func (i *Invitation) Services() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.operator.Services()
}

// Leave takes the guest off the line.
func (i *Invitation) Leave() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.operator.Leave()
}
