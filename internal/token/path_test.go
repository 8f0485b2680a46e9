// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestOnlyWhatThePathKeySignedIsAPathOfCaddys(t *testing.T) {
	keys, own := newKeys(t, secret), NewPathKey()
	signed := func(change func(*Token)) Token {
		tok := sample()
		tok.Root = "call.1"
		own.Sign(&tok, "main", now)
		change(&tok)
		verified, err := keys.Verify(tok.Guest, sign(t, keys, tok), now)
		if err != nil {
			t.Fatal(err)
		}
		return verified
	}
	same := signed(func(*Token) {})
	if !own.Signed(same, "main", now) || !own.Signed(same, "main", now.Add(Lifetime)) {
		t.Error("its own path is none")
	}
	for name, signed := range map[string]bool{
		"another party":       own.Signed(same, "other", now),
		"another key":         NewPathKey().Signed(same, "main", now),
		"expired":             own.Signed(same, "main", now.Add(Lifetime+time.Second)),
		"no MAC":              own.Signed(signed(func(tok *Token) { tok.MAC = "" }), "main", now),
		"garbage for a MAC":   own.Signed(signed(func(tok *Token) { tok.MAC = "\x00" }), "main", now),
		"another guest":       own.Signed(signed(func(tok *Token) { tok.Guest = "shop" }), "main", now),
		"another id":          own.Signed(signed(func(tok *Token) { tok.ID += "x" }), "main", now),
		"another call":        own.Signed(signed(func(tok *Token) { tok.Root = "call.2" }), "main", now),
		"no call":             own.Signed(signed(func(tok *Token) { tok.Root = "" }), "main", now),
		"one ask less":        own.Signed(signed(func(tok *Token) { tok.Path = tok.Path[1:] }), "main", now),
		"one ask more":        own.Signed(signed(func(tok *Token) { tok.Path = append(tok.Path, tok.Path[0]) }), "main", now),
		"no path":             own.Signed(signed(func(tok *Token) { tok.Path = nil }), "main", now),
		"asks in other words": own.Signed(signed(func(tok *Token) { tok.Path = []Ask{{`shop" "render`, ""}, {"", "user"}}[1:] }), "main", now),
	} {
		if signed {
			t.Errorf("%s: it passes for a path of Caddy's", name)
		}
	}
	if _, err := keys.Verify("blog", sign(t, keys, sample()), now); err != nil {
		t.Errorf("a token without Caddy's own claims: %v", err)
	}
	later := sample() // the same token, signed by the guest at another time
	later.Root, later.ID, later.MAC = same.Root, same.ID, same.MAC
	text, err := keys.Sign(later, now.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	again, err := keys.Verify("blog", text, now)
	if err != nil || own.Signed(again, "main", now) {
		t.Errorf("with another time it passes for a path of Caddy's (error %v)", err)
	}
}

func TestAPathKeyIsReadAgainAndDoesNotShow(t *testing.T) {
	key := NewPathKey()
	again, err := ParsePathKey(key.Bytes())
	if err != nil || !bytes.Equal(again.Bytes(), key.Bytes()) || bytes.Equal(key.Bytes(), NewPathKey().Bytes()) {
		t.Error(again.Bytes(), err)
	}
	for _, length := range []int{0, 31, 33} {
		if _, err := ParsePathKey(make([]byte, length)); err == nil {
			t.Errorf("a key of %d bytes is taken", length)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		printed := fmt.Sprintf(verb, key) + fmt.Sprintf(verb, &key)
		if strings.Contains(printed, fmt.Sprintf("%x", key.Bytes())) || strings.Contains(printed, fmt.Sprint(key.Bytes())) {
			t.Errorf("%s: %s", verb, printed)
		}
	}
}
