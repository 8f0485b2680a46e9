// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"hash"
	"maps"
	"strings"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/token"
)

// claims are those of a Party-Token, which here may be wrong.
type claims map[string]any

// claimsOf returns the right claims for a request.
func (c *checker) claimsOf(q *request) claims {
	return c.claimsUnder(c.mount, q)
}

func (c *checker) claimsUnder(mount string, q *request) claims {
	now, hash := time.Now().Unix(), sha256.Sum256(q.body)
	return claims{
		"aud": c.guest, "iat": now, "exp": now + int64(token.Lifetime/time.Second), "jti": rand.Text(), "htm": q.method, "htu": mount + q.target,
		"bsh": base64.RawURLEncoding.EncodeToString(hash[:]), "mnt": mount, "path": [][2]string{},
	}
}

// with returns the claims with others in the place of some, in pairs.
func (c claims) with(pairs ...any) claims {
	changed := maps.Clone(c)
	for i := 0; i < len(pairs); i += 2 {
		changed[pairs[i].(string)] = pairs[i+1]
	}
	return changed
}

// at returns the claims as if they had been made at that time from now.
func (c claims) at(offset time.Duration) claims {
	seconds := int64(offset / time.Second)
	return c.with("iat", c["iat"].(int64)+seconds, "exp", c["exp"].(int64)+seconds)
}

// joseHeader is that of each right token.
var joseHeader = map[string]any{"alg": "HS256", "typ": "JWT"}

// sign returns a token. The key may be empty, and the header wrong.
func sign(key string, header map[string]any, c claims) string {
	return signWith(sha256.New, key, header, c)
}

func signWith(hash func() hash.Hash, key string, header map[string]any, c claims) string {
	signed := encode(header) + "." + encode(c)
	mac := hmac.New(hash, []byte(key))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func encode(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // of what is made here
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// unsigned returns the token without its signature, and the signature.
func unsigned(token string) (signed, signature string) {
	i := strings.LastIndexByte(token, '.')
	return token[:i], token[i+1:]
}
