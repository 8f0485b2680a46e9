// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// signable are tokens with all that may be special in JSON.
func signable() map[string]Token {
	invite := Token{Guest: "root", Method: "GET", URI: "/__invite__/"}
	ask, odd, deep, long := sample(), sample(), sample(), sample()
	NewPathKey().Sign(&ask, "main", now)
	odd.Guest, odd.ID, odd.Method, odd.Root = "\x00\"\u2028é\U0001F389", "</script>&amp;", "\u007f", "\\u0000\t"
	odd.URI, odd.Path = "/\"\\\b\f\n\r\t\x1f<>&'", []Ask{{"\n", "\\u0000"}, {"", "\ufffd"}, {`"],["`, "}"}}
	deep.Path = slices.Repeat([]Ask{{"a guest", "a service"}}, MaxPath)
	long.URI = "/" + strings.Repeat("é", 1500)
	return map[string]Token{"invite": invite, "ask": ask, "odd": odd, "deepest": deep, "long": long}
}

// TestATokenIsThatOfGolangJWT compares what is signed by hand with what golang-jwt signs, and has that verify it.
func TestATokenIsThatOfGolangJWT(t *testing.T) {
	k := newKeys(t, secret, oldSecret)
	for name, tok := range signable() {
		tok.begin(now)
		text := sign(t, k, tok)
		want, err := jwt.NewWithClaims(jwt.SigningMethodHS256, &claims{
			tok.Guest, tok.issuedAt, tok.expires, tok.ID, tok.Method, tok.URI, encode(tok.BodyHash), tok.Mount, append([]Ask{}, tok.Path...), tok.Root, tok.MAC,
		}).SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		if gotHead, wantHead := strings.Split(text, ".")[0], strings.Split(want, ".")[0]; gotHead != wantHead {
			t.Errorf("%s: header %s, want %s", name, gotHead, wantHead)
		}
		if got, want := payloadOf(t, text), payloadOf(t, want); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: claims %v, want %v", name, got, want)
		}
		if _, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return []byte(secret), nil }, jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func payloadOf(t *testing.T, text string) (payload map[string]any) {
	t.Helper()
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(strings.Split(text, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(decoded)))
	decoder.UseNumber()
	if err := decoder.Decode(&payload); err != nil {
		t.Fatalf("%s: %v", decoded, err)
	}
	return payload
}

// TestAPathIsSignedAsByEarlierVersions keeps Caddys that share a key able to take each other's tokens.
func TestAPathIsSignedAsByEarlierVersions(t *testing.T) {
	key := NewPathKey()
	for name, tok := range signable() {
		for range 2 { // the second time with what the first left
			key.Sign(&tok, "the \"party\"", now)
			mac := hmac.New(sha256.New, key.Bytes())
			fmt.Fprintf(mac, "wsgi_party path v1 %q %q %q %d %d %q", "the \"party\"", tok.Guest, tok.ID, tok.issuedAt, tok.expires, tok.Root)
			for _, ask := range tok.Path {
				fmt.Fprintf(mac, " %q %q", ask.Guest, ask.Service)
			}
			if want := encode64(mac.Sum(nil)); tok.MAC != want {
				t.Errorf("%s: %s, want %s", name, tok.MAC, want)
			}
		}
	}
}

func TestTokensAreSignedByManyAtOnce(t *testing.T) {
	keys, other := newKeys(t, secret), newKeys(t, otherSecret)
	var all sync.WaitGroup
	for name, tok := range signable() {
		for signer, secretOf := range map[*Keys]string{&keys: secret, &other: otherSecret} {
			all.Go(func() {
				for range 200 {
					text, err := signer.Sign(tok, now)
					if err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
					if dot := strings.LastIndex(text, "."); text != forge(sha256.New, secretOf, hs256, decoded(text[:dot])) {
						t.Errorf("%s: %s is not signed", name, text)
						return
					}
				}
			})
		}
	}
	all.Wait()
}

// decoded returns the payload of a token without its signature.
func decoded(text string) string {
	_, payload, _ := strings.Cut(text, ".")
	b, _ := base64.RawURLEncoding.DecodeString(payload)
	return string(b)
}

// TestSigningAllocatesLittle counts what a token costs whose path is signed, too: a tenth of this, but for the race
// detector, with which a sync.Pool forgets much.
func TestSigningAllocatesLittle(t *testing.T) {
	keys, key := newKeys(t, secret), NewPathKey()
	if n := testing.AllocsPerRun(200, func() {
		tok := sample()
		tok.ID = ""
		key.Sign(&tok, "main", now)
		if _, err := keys.Sign(tok, now); err != nil {
			t.Fatal(err)
		}
	}); n > 30 {
		t.Errorf("%v allocations", n)
	}
}
