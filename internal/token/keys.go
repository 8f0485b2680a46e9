// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
)

// MinKey is how many bytes a key has at least.
const MinKey = 32

const redacted = "[redacted]"

// Keys are those of one guest: the first signs, all are accepted. However they
// are printed or encoded, they do not show. The zero value has none.
type Keys struct {
	secrets func() *secrets // fmt looks behind pointers, and calls no methods of what is in an unexported field
}

type secrets struct {
	verifying jwt.VerificationKeySet // of []byte
	digests   [][sha256.Size]byte
	signing   *macs // under the first key
}

// KeyError says what is wrong with a key, never what it is.
type KeyError struct {
	// Index is the key's among those given.
	Index int

	// Problem is what is wrong, such as "is empty".
	Problem string
}

func (e *KeyError) Error() string { return fmt.Sprintf("key %d %s", e.Index+1, e.Problem) }

// NewKeys refuses a key that is empty, shorter than MinKey, or that no header can
// carry, with a *KeyError. A key that is there twice counts once; without any the zero
// Keys are returned.
func NewKeys(keys []string) (Keys, error) {
	var s secrets
	for i, key := range keys {
		var wrong string
		switch {
		case key == "":
			wrong = "is empty"
		case len(key) < MinKey:
			wrong = fmt.Sprintf("has %d bytes, but needs at least %d", len(key), MinKey)
		case strings.TrimSpace(key) != key:
			wrong = "begins or ends with white space"
		case strings.ContainsFunc(key, unicode.IsControl):
			wrong = "has a control character or a line break in it"
		}
		if wrong != "" {
			return Keys{}, &KeyError{i, wrong}
		}
		if digest := sha256.Sum256([]byte(key)); !s.has(digest) {
			s.digests = append(s.digests, digest)
			s.verifying.Keys = append(s.verifying.Keys, []byte(key))
		}
	}
	if len(s.digests) == 0 {
		return Keys{}, nil
	}
	s.signing = newMACs(s.verifying.Keys[0].([]byte))
	return Keys{func() *secrets { return &s }}, nil
}

func (s *secrets) has(digest [sha256.Size]byte) bool {
	found := 0
	for i := range s.digests {
		found |= subtle.ConstantTimeCompare(s.digests[i][:], digest[:])
	}
	return found == 1
}

// IsZero reports whether there is no key.
func (k Keys) IsZero() bool { return k.secrets == nil }

// SignAddress returns what shows the guest that it was Caddy who said where to ask, and which version the line there
// has: a MAC of all that stands before it in a Party-Ask.
func (k Keys) SignAddress(said string) string {
	return k.sign("wsgi_party ask v1\x00" + said)
}

func (k Keys) sign(text string) string {
	mac := hmac.New(sha256.New, k.secrets().verifying.Keys[0].([]byte))
	_, _ = io.WriteString(mac, text)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (k Keys) String() string               { return redacted }
func (k Keys) GoString() string             { return redacted }
func (k Keys) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (k Keys) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (k Keys) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// Ring has the keys of the guests of several parties and tells by its key which guest
// asks. The zero Ring is empty. It is not for use by several goroutines while keys are added.
type Ring struct {
	entries []entry
	keys    map[owner]Keys // as they were added last
}

type owner struct{ party, guest string }

type entry struct {
	digest [sha256.Size]byte
	owner
}

// Add adds the keys of a guest of a party. It fails, and adds nothing, if one is another
// guest's. A guest may be added again, with the same keys or others.
func (r *Ring) Add(party, guest string, keys Keys) error {
	if keys.IsZero() {
		return nil
	}
	o := owner{party, guest}
	for _, e := range r.entries {
		if e.owner == o || !keys.secrets().has(e.digest) {
			continue
		}
		one, other := e.guest, guest
		if one == other {
			one, other = one+" of party "+e.party, other+" of party "+party
		}
		return fmt.Errorf("the guests %q and %q share a key: each needs its own, such as one that `openssl rand -base64 32` prints", one, other)
	}
	for _, digest := range keys.secrets().digests {
		if e := (entry{digest, o}); !slices.Contains(r.entries, e) {
			r.entries = append(r.entries, e)
		}
	}
	if r.keys == nil {
		r.keys = make(map[owner]Keys)
	}
	r.keys[o] = keys
	return nil
}

// Identify returns the guest of the party whose key this is, and the keys it has. How
// long it takes depends on the length of the key given, and on nothing else about it.
func (r *Ring) Identify(party, key string) (guest string, keys Keys, ok bool) {
	digest := sha256.Sum256([]byte(key))
	found := 0
	for i := range r.entries {
		same := subtle.ConstantTimeCompare(r.entries[i].digest[:], digest[:])
		found = subtle.ConstantTimeSelect(same, i+1, found)
	}
	if found == 0 || r.entries[found-1].party != party {
		return "", Keys{}, false
	}
	o := r.entries[found-1].owner
	return o.guest, r.keys[o], true
}

// Interface guards
var (
	_ fmt.Formatter          = Keys{}
	_ fmt.Stringer           = Keys{}
	_ fmt.GoStringer         = Keys{}
	_ encoding.TextMarshaler = Keys{}
	_ json.Marshaler         = Keys{}
)
