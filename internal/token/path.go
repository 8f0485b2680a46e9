// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"time"
)

// PathKey is what Caddy, and nobody else, signs the paths of tokens with, so that it
// knows its own. However it is printed, it does not show.
type PathKey struct{ secret func() *pathSecret } // see Keys

type pathSecret struct {
	key  [sha256.Size]byte
	macs *macs
}

func newPathKey(key [sha256.Size]byte) PathKey {
	secret := &pathSecret{key, newMACs(key[:])}
	return PathKey{func() *pathSecret { return secret }}
}

// NewPathKey returns a random key.
func NewPathKey() PathKey {
	var key [sha256.Size]byte
	_, _ = rand.Read(key[:]) // never fails
	return newPathKey(key)
}

// ParsePathKey returns a key that Bytes returned.
func ParsePathKey(b []byte) (PathKey, error) {
	if len(b) != sha256.Size {
		return PathKey{}, fmt.Errorf("it has %d bytes, not %d", len(b), sha256.Size)
	}
	return newPathKey([sha256.Size]byte(b)), nil
}

// Bytes returns the key, to be kept secret.
func (k PathKey) Bytes() []byte { return bytes.Clone(k.secret().key[:]) }

func (k PathKey) String() string { return redacted }

// Sign signs the path of a token of that party, which Keys.Sign is then to sign at the
// same time.
func (k PathKey) Sign(t *Token, party string, now time.Time) {
	t.begin(now)
	mac := k.mac(t, party)
	var encoded [43]byte
	t.MAC = string(base64.RawURLEncoding.AppendEncode(encoded[:0], mac[:]))
}

// Signed reports whether the key signed the path of this very token, which has been
// verified, for that party, and it has not expired.
func (k PathKey) Signed(t Token, party string, now time.Time) bool {
	given, err := base64.RawURLEncoding.DecodeString(t.MAC)
	mac := k.mac(&t, party)
	return err == nil && hmac.Equal(given, mac[:]) && now.Unix() <= t.expires
}

// mac authenticates what makes a token this one. Quotes keep apart what they are around.
func (k PathKey) mac(t *Token, party string) [sha256.Size]byte {
	macs := k.secret().macs
	m := macs.begin()
	defer macs.end(m)
	text := append(m.text[:0], "wsgi_party path v1"...)
	quote := func(words ...string) {
		for _, word := range words {
			text = strconv.AppendQuote(append(text, ' '), word)
		}
	}
	quote(party, t.Guest, t.ID)
	for _, n := range [...]int64{t.issuedAt, t.expires} {
		text = strconv.AppendInt(append(text, ' '), n, 10)
	}
	quote(t.Root)
	for _, ask := range t.Path {
		quote(ask.Guest, ask.Service)
	}
	m.text = text
	return [sha256.Size]byte(m.of(text))
}
