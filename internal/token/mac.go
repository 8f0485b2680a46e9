// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// MACs, which every ask takes two of.

package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync"
)

// macs makes HMAC-SHA256s under one key. It may be used by several goroutines.
type macs struct{ pool sync.Pool }

// mac is one of them being made. Its text is room for what it is made of.
type mac struct {
	hash hash.Hash // which keeps what it has computed of the key
	text []byte
	json []byte
	sum  [sha256.Size]byte
}

// maxKept is how much room, in bytes, is kept for the next MAC.
const maxKept = 2 * MaxLength

func newMACs(key []byte) *macs {
	return &macs{sync.Pool{New: func() any { return &mac{hash: hmac.New(sha256.New, key)} }}}
}

func (m *macs) begin() *mac { return m.pool.Get().(*mac) }

func (m *macs) end(made *mac) {
	if cap(made.text)+cap(made.json) <= maxKept {
		m.pool.Put(made)
	}
}

// of returns the MAC of a text, which is good until the end.
func (m *mac) of(text []byte) []byte {
	m.hash.Reset()
	_, _ = m.hash.Write(text)
	return m.hash.Sum(m.sum[:0])
}
