// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// verifiedByHand reports whether a key signed text, by way of nothing that this
// package uses to say so.
func verifiedByHand(text string, keys ...string) bool {
	signed, signature, ok := cutLast(text, ".")
	if !ok || strings.Count(signed, ".") != 1 {
		return false
	}
	head, _, _ := strings.Cut(signed, ".")
	header, err := base64.RawURLEncoding.DecodeString(head)
	var h struct{ Alg string }
	if err != nil || json.Unmarshal(header, &h) != nil || h.Alg != "HS256" {
		return false
	}
	return slices.ContainsFunc(keys, func(key string) bool {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(signed))
		return signature == encode64(mac.Sum(nil))
	})
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+len(sep):], true
}

// FuzzVerify verifies text as it is, with text for the payload and the header of
// a token signed with one of the keys or another, and put into a valid token.
func FuzzVerify(f *testing.F) {
	keys := newKeys(f, secret, oldSecret)
	valid := sign(f, keys, sample())
	for _, text := range []string{
		valid, "", ".", "..", "...", "=", "\n", "null", "{}", "[]", hs256, `{"alg":"none"}`, `{"alg":"HS256","crit":[]}`, claimsWith(nil),
		claimsWith(map[string]any{"path": slices.Repeat([][]string{{"a", "b"}}, 9)}), claimsWith(map[string]any{"iat": -1 << 63, "exp": 1<<63 - 1}),
		strings.Repeat("[", 2000), strings.Split(valid, ".")[1], strings.Replace(claimsWith(nil), "aud", "AUD", 1), "\xff\u2028",
	} {
		for at := range 3 {
			f.Add(text, uint16(at*100), uint8(at))
		}
	}
	signers := []string{secret, oldSecret, otherSecret, ""}
	f.Fuzz(func(t *testing.T, text string, at uint16, how uint8) {
		key := signers[how&3]
		cut := int(at) % (len(valid) + 1)
		for _, tried := range []string{
			text,
			forge(sha256.New, key, hs256, text),
			forge(sha256.New, key, text, claimsWith(nil)),
			valid[:cut] + text + valid[cut:],
			valid[:cut] + text,
			text + valid[cut:],
		} {
			tok, err := keys.Verify("blog", tried, now)
			if err != nil {
				if !reflect.DeepEqual(tok, Token{}) {
					t.Errorf("%q: %+v with error %v", tried, tok, err)
				}
				if errors.Is(err, ErrInvalid) == errors.Is(err, ErrTooDeep) || len(err.Error()) > 100 {
					t.Errorf("%q: error %v", tried, err)
				}
				if !verifiedByHand(tried, secret, oldSecret) && errors.Is(err, ErrTooDeep) {
					t.Errorf("%q: %v, but nobody signed it", tried, err)
				}
				continue
			}
			if !verifiedByHand(tried, secret, oldSecret) {
				t.Fatalf("%q verifies", tried)
			}
			if _, err := newKeys(t, otherSecret).Verify("blog", tried, now); err == nil {
				t.Fatalf("%q verifies with another key", tried)
			}
			if _, err := keys.Verify("blog", tried, now.Add(Lifetime+2*Leeway)); err == nil {
				t.Errorf("%q never expires", tried)
			}
			again, err := keys.Verify("blog", sign(t, keys, tok), now)
			if err != nil || !reflect.DeepEqual(again, begun(tok)) {
				t.Errorf("%q: %+v, signed again %+v, error %v", tried, tok, again, err)
			}
			if tok.Guest != "blog" || tok.ID == "" || tok.Method == "" || tok.URI == "" || len(tok.Path) > MaxPath {
				t.Errorf("%q: %+v", tried, tok)
			}
		}
	})
}

// FuzzSign signs any strings: what is signed verifies as what it was.
func FuzzSign(f *testing.F) {
	f.Add("blog", "GET", "/blog/x", "/blog", "shop", "render", []byte{})
	f.Add("\u2028", "<>&", "/é?\x7f", "/\\\"", "", "\x00", []byte("body"))
	f.Add("\xff", "\xff", "/\xff", "/", "a", "\xff", []byte("\xff"))
	f.Fuzz(func(t *testing.T, guest, method, uri, mount, asker, service string, body []byte) {
		keys := newKeys(t, secret)
		tok := Token{Guest: guest, ID: "x", Method: method, URI: uri, Mount: mount, BodyHash: sha256.Sum256(body), Path: []Ask{{asker, service}}}
		text, err := keys.Sign(tok, now)
		if err != nil {
			return
		}
		if got, err := keys.Verify(guest, text, now); err != nil || !reflect.DeepEqual(got, begun(tok)) {
			t.Errorf("%+v became %+v, error %v", tok, got, err)
		}
		if !verifiedByHand(text, secret) || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			t.Errorf("%+v is %q", tok, text)
		}
		if !tok.IsFor(method, uri, body) || tok.IsFor(method, uri, append(bytes.Clone(body), 'x')) || tok.IsFor(method+"x", uri, body) {
			t.Errorf("%+v: IsFor", tok)
		}
		if below, ok := strings.CutPrefix(uri, mount); ok && strings.HasPrefix(below, "/") && !tok.IsFor(method, below, body) {
			t.Errorf("%+v: not for %q", tok, below)
		}
	})
}
