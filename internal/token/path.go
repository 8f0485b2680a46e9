// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"
)

// PathKey is what Caddy, and nobody else, signs the paths of tokens with, so that it
// knows its own. However it is printed, it does not show.
type PathKey struct{ secret func() *[sha256.Size]byte } // see Keys

// NewPathKey returns a random key.
func NewPathKey() PathKey {
	secret := new([sha256.Size]byte)
	_, _ = rand.Read(secret[:]) // never fails
	return PathKey{func() *[sha256.Size]byte { return secret }}
}

// ParsePathKey returns a key that Bytes returned.
func ParsePathKey(b []byte) (PathKey, error) {
	if len(b) != sha256.Size {
		return PathKey{}, fmt.Errorf("it has %d bytes, not %d", len(b), sha256.Size)
	}
	secret := [sha256.Size]byte(b)
	return PathKey{func() *[sha256.Size]byte { return &secret }}, nil
}

// Bytes returns the key, to be kept secret.
func (k PathKey) Bytes() []byte { return k.secret()[:] }

func (k PathKey) String() string { return redacted }

// Sign signs the path of a token of that party, which Keys.Sign is then to sign at the
// same time.
func (k PathKey) Sign(t *Token, party string, now time.Time) {
	t.begin(now)
	t.MAC = base64.RawURLEncoding.EncodeToString(k.mac(t, party))
}

// Signed reports whether the key signed the path of this very token, which has been
// verified, for that party, and it has not expired.
func (k PathKey) Signed(t Token, party string, now time.Time) bool {
	mac, err := base64.RawURLEncoding.DecodeString(t.MAC)
	return err == nil && hmac.Equal(mac, k.mac(&t, party)) && now.Unix() <= t.expires
}

// mac authenticates what makes a token this one. %q keeps apart what it quotes.
func (k PathKey) mac(t *Token, party string) []byte {
	hash := hmac.New(sha256.New, k.secret()[:])
	fmt.Fprintf(hash, "wsgi_party path v1 %q %q %q %d %d %q", party, t.Guest, t.ID, t.issuedAt, t.expires, t.Root)
	for _, ask := range t.Path {
		fmt.Fprintf(hash, " %q %q", ask.Guest, ask.Service)
	}
	return hash.Sum(nil)
}
