// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Which of a party's paths are a guest's: those below its mount, which is stripped, its
// base, which no other guest has, and those of its invite, which are hidden.

package party

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/claimpath"
	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/privatepath"
	"github.com/wsgiparty/wsgiparty/internal/reservedheader"
)

// mount is where a guest is mounted.
type mount struct {
	prefix     func(context.Context) string // of the party, escaped, for whoever asks in that context
	path       string                       // in the party, escaped
	stripped   string                       // the same, unescaped
	allPrivate bool                         // what is below it
	unseen     string                       // what the guest does not see of the path, as claimpath.Clean has it
	taken      bool                         // whether that is by the invite as the guest took it
	here       bool                         // not on another node
}

// pathFor returns where the guest is mounted for whoever asks in that context, escaped.
func (m *mount) pathFor(ctx context.Context) string { return m.prefix(ctx) + m.path }

// MountFor returns the path at which an invited guest, or one of another node, is mounted for whoever asks in that
// context, escaped. It is empty for other guests.
func (e *Entry) MountFor(ctx context.Context, guest string) string {
	if m, ok := e.mounts.Load(guest); ok {
		return m.(*mount).pathFor(ctx)
	}
	return ""
}

// Mount says, before the invite is answered, where the guest is mounted: the escaped path in
// the party that is stripped before requests reach it.
func (i *Invitation) Mount(path string) {
	i.setMount(path, cleanMount(path), true)
}

func (i *Invitation) setMount(path, unseen string, taken bool) {
	stripped, _ := url.PathUnescape(path) // it is a part of a URL's escaped path
	i.mount = &mount{i.host.escapedPrefixFor, path, stripped, i.host.guests.private.Contains(stripped), unseen, taken, true}
	i.host.entry.mounts.Store(i.invited.guest, i.mount)
	i.host.entry.Changed()
}

// cleanMount returns an escaped path in the form in which requests are claimed, without a slash at its end.
func cleanMount(escaped string) string {
	unescaped, _ := url.PathUnescape(escaped)
	return strings.TrimSuffix(claimpath.Clean(&url.URL{Path: unescaped, RawPath: escaped}), "/")
}

// strippedBefore returns what has been stripped of the path of the invite where it comes by as r.
func (i *Invitation) strippedBefore(r *http.Request) (escaped string, ok bool) {
	escaped, ok = strings.CutSuffix(i.URI.EscapedPath(), r.URL.EscapedPath())
	return strings.TrimSuffix(escaped, "/"), ok
}

// MountFor returns the path at which the guest is mounted for whoever asks in that context,
// escaped, with the party's prefix.
func (i *Invitation) MountFor(ctx context.Context) string { return i.mount.pathFor(ctx) }

// PassOn readies a request, which is not an invite, to be passed on to an application by the handler
// in the party's routes that speaks for it: a client can say nothing that is the party's to say,
// and the application learns its mount, and where it can ask. The invitation is the application's, nil as long as it has
// not come. If the request is to be answered instead, PassOn returns the status, else 0. Ordinary requests are those that
// a client makes, and not the party.
func (h *Host) PassOn(r *http.Request, i *Invitation) (ordinary bool, status int) {
	d := deliveryOf(r)
	delivered := i != nil && d != nil && d.entry == i.host.entry && d.reach(i.invited.guest)
	switch {
	case !delivered && h.hidesBehind(r, d, i):
		return d == nil, http.StatusNotFound
	case !delivered && d != nil: // it is another guest's
		return false, 0
	case CheckLoops(r.Header) != nil:
		return d == nil, http.StatusLoopDetected
	}
	mount := ""
	if i != nil { // what is asked in the request later has the prefix that it has now
		i.host.app.keepPrefixes(r)
		mount = i.MountFor(r.Context())
	}
	reservedheader.Strip(r)
	if i != nil {
		i.tell(r, mount)
	}
	if delivered && d.prepare != nil {
		d.prepare(r)
	}
	return d == nil, 0
}

// hidesBehind reports whether a request has a private path at a handler that speaks for a guest, to which it
// is not delivered. The party has compared the path, but since then it may have been rewritten.
func (h *Host) hidesBehind(r *http.Request, d *delivery, i *Invitation) bool {
	if i == nil { // the mount is not known
		if d == nil {
			return h.guests.privateEnds.ContainsURL(r.URL)
		}
		return h.guests.private.ContainsURL(r.URL) && !d.private.ContainsURL(r.URL)
	}
	private := &i.host.guests.private
	if !i.mount.allPrivate && !private.ContainsBehind(i.mount.stripped, r.URL) && (h == i.host || !h.guests.privateEnds.ContainsURL(r.URL)) {
		return false
	}
	// The handler of the guest that it is for may be next, with the same mount.
	if d == nil || i.mount.allPrivate {
		return true
	}
	if mounted := privatepath.Behind(i.mount.stripped, r.URL); private.ContainsURL(mounted) {
		return !d.private.ContainsURL(mounted)
	}
	return !d.private.ContainsURL(r.URL)
}

// basesBelow are the bases of other guests that lie below a guest's own.
type basesBelow struct {
	of     *[]*invited       // whose they were when they were looked up
	guests map[string]string // by base, as invitepath.Clean has it
}

// Base returns what comes before __invite__ in the path of the invite, or else before its last slash,
// unescaped. It is empty for a guest that has all paths which are no other guest's.
func (i *Invitation) Base() string { return i.invited.base }

// OtherGuestAt returns the other guest whose base lies below that of the guest, and to which
// an escaped path of the party belongs, and that base. It returns false if there is none,
// which may change while the config loads.
func (i *Invitation) OtherGuestAt(target string) (guest, base string, ok bool) {
	others := i.basesBelow()
	if len(others) == 0 {
		return "", "", false
	}
	cleaned := invitepath.Clean(target)
	for end := 1; end <= len(cleaned); end++ {
		if end < len(cleaned) && cleaned[end] != '/' {
			continue
		}
		if guest, ok := others[cleaned[:end]]; ok {
			return guest, cleaned[:end], true
		}
	}
	return "", "", false
}

// OthersBelow reports whether OtherGuestAt returns true for any path.
func (i *Invitation) OthersBelow() bool { return len(i.basesBelow()) > 0 }

func (i *Invitation) basesBelow() map[string]string {
	all := i.host.entry.invited.Load()
	if known := i.below.Load(); known != nil && known.of == all {
		return known.guests
	}
	own := i.invited
	below := invitepath.Clean(invitepath.Escape(own.base)) + "/"
	guests := make(map[string]string)
	for _, other := range *all {
		if other.guest == own.guest || other.base == "" || other.host != own.host && onAnotherSite(other.uri, own.uri) {
			continue
		}
		if base := invitepath.Clean(invitepath.Escape(other.base)); strings.HasPrefix(base, below) {
			guests[base] = other.guest
		}
	}
	i.below.Store(&basesBelow{all, guests})
	return guests
}

// onAnotherSite reports whether both invites say their host, and another one.
func onAnotherSite(a, b *url.URL) bool {
	return a.IsAbs() && b.IsAbs() && !strings.EqualFold(a.Hostname(), b.Hostname())
}
