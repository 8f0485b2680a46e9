// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What this node says of its own guests.

package trunk

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"

	"go.uber.org/zap"
)

// announced is what the others have been told.
type announced struct {
	guests  map[guestKey]announcedGuest
	version uint64
	warned  bool // of guests that are too many, or too long
}

type announcedGuest struct {
	says    *announcement
	digest  string
	version uint64
}

// announce tells the others what has changed. The link must be locked.
func (l *link) announce() {
	now := l.own()
	for key, guest := range now {
		if last, ok := l.announced.guests[key]; ok && last.digest == guest.digest {
			continue
		}
		l.announced.version++
		guest.version = l.announced.version
		l.announced.guests[key] = guest
		l.publish(l.subject("roster"), l.guestMessage(key, guest))
	}
	for key := range l.announced.guests {
		if _, still := now[key]; !still {
			l.announced.version++
			delete(l.announced.guests, key)
			l.publish(l.subject("roster"), l.guestMessage(key, announcedGuest{version: l.announced.version}))
		}
	}
}

func (l *link) guestMessage(key guestKey, guest announcedGuest) message {
	return message{Kind: "guest", Party: key.party, Guest: key.guest, Says: guest.says, Digest: guest.digest, Version: guest.version}
}

// own returns the guests of this node, of the config that started last.
func (l *link) own() map[guestKey]announcedGuest {
	own := make(map[guestKey]announcedGuest)
	g := l.current()
	if g == nil {
		return own
	}
	for _, party := range slices.Sorted(maps.Keys(g.entries)) {
		e := g.entries[party]
		for _, info := range e.GuestsHere() {
			key := guestKey{party, info.Name}
			says := &announcement{info.Services, e.StatementOf(info.Name)}
			encoded, err := json.Marshal(says)
			if err == nil && len(encoded) > maxGuest { // others can still ask for all that
				says.Manifest, says.MorePages = nil, true
				encoded, err = json.Marshal(says)
			}
			if err != nil || len(encoded) > maxGuest || len(info.Services) > maxServices || len(own) == maxGuests {
				if !l.announced.warned {
					l.announced.warned = true
					l.logger.Warn("a guest is not announced to other nodes", zap.String("party", party), zap.String("guest", info.Name), zap.Error(err),
						zap.String("hint", "a node announces up to 1000 guests, each of up to 64 KiB and 1024 services"))
				}
				continue
			}
			own[key] = announcedGuest{says: says, digest: digestOf(encoded)}
		}
	}
	return own
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:12])
}

// digestOfAll is of all guests of a node: two nodes that know the same of it come to the same.
func digestOfAll(digests map[string]string) string {
	var text []byte
	for _, key := range slices.Sorted(maps.Keys(digests)) {
		text = append(append(append(append(text, key...), 0), digests[key]...), 0)
	}
	return digestOf(text)
}

func (a *announced) digests() map[string]string {
	digests := make(map[string]string, len(a.guests))
	for key, guest := range a.guests {
		digests[key.text()] = guest.digest
	}
	return digests
}
