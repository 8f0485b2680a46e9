// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"net/http"
	"net/url"

	"github.com/wsgiparty/wsgiparty/internal/privatepath"
)

// mount is where a guest is mounted.
type mount struct {
	host       *Host
	path       string // in the party, escaped
	stripped   string // the same, unescaped
	allPrivate bool   // what is below it
}

func newMount(h *Host, path string) *mount {
	m := &mount{host: h, path: path}
	m.stripped, _ = url.PathUnescape(path) // it is a part of a URL's escaped path
	m.allPrivate = h.guests.private.Contains(m.stripped)
	return m
}

// pathFor returns where the guest is mounted for whoever asks in that context, escaped.
func (m *mount) pathFor(ctx context.Context) string { return m.host.escapedPrefixFor(ctx) + m.path }

// mountOf returns where an invited guest is mounted for whoever asks in that context. It is
// empty for others.
func (e *Entry) mountOf(ctx context.Context, guest string) string {
	if m, ok := e.mounts.Load(guest); ok {
		return m.(*mount).pathFor(ctx)
	}
	return ""
}

// Mount says, before the invite is answered, where the guest is mounted: the escaped path in
// the party that is stripped before requests reach it. It is experimental.
func (i *Invitation) Mount(path string) {
	i.mount = newMount(i.host, path)
	i.host.entry.mounts.Store(i.invited.guest, i.mount)
}

// MountFor returns the path at which the guest is mounted for whoever asks in that context,
// escaped, with the party's prefix. It is experimental.
func (i *Invitation) MountFor(ctx context.Context) string { return i.mount.pathFor(ctx) }

// MountIn is MountFor for a request that a handler is about to pass on, as if it came with
// that path as its X-Forwarded-Prefix: what is asked in it later has the prefix that it has
// now. It is experimental.
func (i *Invitation) MountIn(r *http.Request) string {
	i.host.app.keepPrefixes(r)
	return i.MountFor(r.Context())
}

// HidesBehind reports whether a request has a private path at a handler in the party's
// routes that speaks for a guest, to which it is not delivered. The party has compared it,
// but since then it may have been rewritten. The invitation is the guest's, nil as long as
// it has not come. It is experimental.
func (h *Host) HidesBehind(r *http.Request, i *Invitation) bool {
	d := DeliveryOf(r)
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
	mounted := privatepath.Behind(i.mount.stripped, r.URL)
	if private.ContainsURL(mounted) {
		return !d.private.ContainsURL(mounted)
	}
	return !d.private.ContainsURL(r.URL)
}
