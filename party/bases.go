// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"net/url"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/invitepath"
)

// based is a guest of a party, as far as its base is concerned.
type based struct {
	*invited
	host *Host
}

// basesBelow are the bases of other guests that lie below a guest's own.
type basesBelow struct {
	of     *[]based          // whose they were when they were looked up
	guests map[string]string // by base, as invitepath.Clean has it
}

// Base returns what comes before __invite__ in the path of the invite, or else before its
// last slash, unescaped. It is empty for a guest that has all paths which are no other
// guest's. It is experimental.
func (i *Invitation) Base() string { return i.invited.base }

// OtherGuestAt returns the other guest whose base lies below that of the guest, and to which
// an escaped path of the party belongs, and that base. It returns false if there is none,
// which may change while the config loads. It is experimental.
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

func (i *Invitation) basesBelow() map[string]string {
	all := i.host.entry.bases.Load()
	if known := i.below.Load(); known != nil && known.of == all {
		return known.guests
	}
	own := i.invited
	below := invitepath.Clean(invitepath.Escape(own.base)) + "/"
	guests := make(map[string]string)
	for _, other := range *all {
		if other.guest == own.guest || other.base == "" || other.host != i.host && onAnotherSite(other.uri, own.uri) {
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
