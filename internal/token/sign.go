// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// How tokens are signed.

package token

import (
	"crypto/rand"
	"encoding/base64"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Sign returns the token as it is sent, signed with the first key.
func (k Keys) Sign(t Token, now time.Time) (string, error) {
	if k.IsZero() {
		return "", errNoKey
	}
	t.begin(now)
	if err := t.check(); err != nil {
		return "", err
	}
	macs := k.secrets().signing
	m := macs.begin()
	defer macs.end(m)
	m.json = t.appendClaims(m.json[:0])
	m.text = base64.RawURLEncoding.AppendEncode(append(m.text[:0], encodedHeader...), m.json)
	mac := m.of(m.text)
	m.text = base64.RawURLEncoding.AppendEncode(append(m.text, '.'), mac)
	if len(m.text) > MaxLength {
		return "", errTooLong
	}
	return string(m.text), nil
}

// encodedHeader is {"alg":"HS256","typ":"JWT"}, and the dot.
const encodedHeader = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."

// appendClaims appends the claims as JSON, by hand because every ask has a token.
func (t *Token) appendClaims(b []byte) []byte {
	text := func(before, value string) {
		b, _ = jsontext.AppendQuote(append(b, before...), value) // check has seen that it is UTF-8
	}
	text(`{"aud":`, t.Guest)
	b = strconv.AppendInt(append(b, `,"iat":`...), t.issuedAt, 10)
	b = strconv.AppendInt(append(b, `,"exp":`...), t.expires, 10)
	text(`,"jti":`, t.ID)
	text(`,"htm":`, t.Method)
	text(`,"htu":`, t.URI)
	b = append(base64.RawURLEncoding.AppendEncode(append(b, `,"bsh":"`...), t.BodyHash[:]), '"')
	text(`,"mnt":`, t.Mount)
	b = append(b, `,"path":[`...)
	for i, ask := range t.Path {
		if i > 0 {
			b = append(b, ',')
		}
		text("[", ask.Guest)
		text(",", ask.Service)
		b = append(b, ']')
	}
	b = append(b, ']')
	if t.Root != "" {
		text(`,"root":`, t.Root)
	}
	if t.MAC != "" {
		text(`,"mac":`, t.MAC)
	}
	return append(b, '}')
}

// begin sets what differs in each token.
func (t *Token) begin(now time.Time) {
	if t.ID == "" {
		t.ID = rand.Text()
	}
	t.issuedAt, t.expires = now.Unix(), now.Add(Lifetime).Unix()
}
