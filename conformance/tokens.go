// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// maxPlaces is how many places are tested with all wrong tokens.
const maxPlaces = 8

// place is where a token is wanted.
type place struct {
	name  string
	right request
	// served reports whether a response is that to a right token.
	served func(response) bool
}

// places returns the invite and what is below its path.
func (c *checker) places() []place {
	places := []place{{"the invite", c.inviteRequest(), func(a response) bool {
		return a.status == http.StatusNotModified || a.status/100 == 2 && (a.mediaType() == manifestType || bytes.Equal(a.body, c.body))
	}}}
	for _, h := range c.hrefs {
		if !h.private || !h.served() && !h.answered.crashed() || h.answered.status == 0 {
			continue // nobody could tell an answer from a refusal
		}
		if len(places) > maxPlaces {
			c.see("complete", Warn, fmt.Sprintf("wrong tokens were sent to the first %d hrefs below the invite's path", maxPlaces))
			break
		}
		right := h.answered
		places = append(places, place{h.place, h.right, func(a response) bool {
			return a.status == http.StatusNoContent || a.status == http.StatusOK && (a.isJSON() || bytes.Equal(a.body, right.body)) || right.crashed() && a.status == right.status
		}})
	}
	return places
}

// checkTokens sends tokens, right and wrong ones.
func (c *checker) checkTokens() {
	if c.manifest == nil || len(c.keys) == 0 {
		return
	}
	for i, p := range c.places() {
		c.checkRightTokens(p, i == 0)
		right := sign(c.keys[0], joseHeader, c.claimsOf(&p.right))
		c.do(p.right.with("Party-Token", right)) // what is altered then may be remembered
		for _, w := range c.wrongTokens(p.right, right) {
			a := c.do(w.request(p.right, c.claimsOf(&p.right)))
			seen, result := fmt.Sprintf("%s: %s", p.name, a), OK
			switch {
			case p.served(a) && w.id == "token.guest":
				result = Warn
			case p.served(a), a.crashed():
				result = Fail
			}
			if w.how != "" && result != OK {
				seen += " to " + w.how
			}
			c.see(w.id, result, seen)
			if a.status == 0 {
				return
			}
			if result == OK && w.id != "token.missing" && w.id != "token.malformed" { // of which a server may refuse the header
				if a.status != http.StatusUnauthorized {
					result = Warn
				}
				c.see("token.status", result, fmt.Sprintf("%s: %s", p.name, a))
			}
		}
	}
}

func (c *checker) checkRightTokens(p place, isInvite bool) {
	try := func(id, how string, q request, token string) {
		a := c.do(q.with("Party-Token", token))
		seen := fmt.Sprintf("%s: %s", p.name, a)
		if how != "" {
			seen += " to " + how
		}
		c.expect(id, p.served(a), seen)
	}
	right, q := c.claimsOf(&p.right), p.right
	if !isInvite {
		if served := p.served(c.do(c.signed(q))); served {
			c.see("token.right", OK, p.name)
			try("token.path", "", q, sign(c.keys[0], joseHeader, right.with("path", [][2]string{{"", "menu"}, {"shop", "render"}}, "root", "r", "mac", "m", "x", 1)))
		}
		return
	}
	try("token.right", "", q, sign(c.keys[0], joseHeader, right))
	try("token.leeway", "one of 20 s from now", q, sign(c.keys[0], joseHeader, right.at(20*time.Second)))
	try("token.leeway", "one that expired 20 s ago", q, sign(c.keys[0], joseHeader, right.at(-80*time.Second)))
	for i, key := range c.keys[1:] {
		try("token.keys", fmt.Sprintf("key %d", i+2), q, sign(key, joseHeader, right))
	}
	if !strings.Contains(q.target, "?") {
		q.target += "?a=%C3%A9&b=c%20d&e=%2F+%25&f"
		try("token.query", q.target, q, sign(c.keys[0], joseHeader, c.claimsOf(&q)))
	}
}

// wrong is a request whose token is to be refused. It is made when it is sent, as a token that has
// expired would be refused for that.
type wrong struct {
	id, how string
	token   func(right claims) string // "" is none
	body    []byte                    // in the place of the right one, if it is not nil
}

// otherBody is one for which no token is; as a batch it is one, too.
const (
	otherBody  = `{"wsgi_party_check":1}`
	otherBatch = `[{"payload":` + otherBody + `}]`
)

// wrongTokens makes all of them for one request, some of a right one.
func (c *checker) wrongTokens(q request, token string) (all []wrong) {
	key := c.keys[0]
	add := func(id, how string, make func(right claims) string) { all = append(all, wrong{id, how, make, nil}) }
	text := func(id, how, text string) { add(id, how, func(claims) string { return text }) }
	signedBy := func(id, how, key string, header map[string]any) {
		add(id, how, func(right claims) string { return sign(key, header, right) })
	}
	claim := func(id, how string, pairs ...any) {
		add(id, how, func(right claims) string { return sign(key, joseHeader, right.with(pairs...)) })
	}

	text("token.missing", "", "")
	signedBy("token.key", "", rand.Text()+rand.Text(), joseHeader)
	signedBy("token.empty-key", "", "", joseHeader)
	for _, alg := range []any{"none", "None", "nOnE", nil} {
		header := map[string]any{"alg": alg, "typ": "JWT"}
		what := fmt.Sprintf("alg %v", alg)
		add("token.none", what, func(right claims) string { return encode(header) + "." + encode(right) + "." })
		signedBy("token.none", what+" and a signature by no key", "", header)
	}
	signed, signature := unsigned(token)
	text("token.none", "without its third part", signed)
	signedBy("token.header", "alg HS512 for HS256", key, map[string]any{"alg": "HS512", "typ": "JWT"})
	add("token.header", "HS512", func(right claims) string {
		return signWith(sha512.New, key, map[string]any{"alg": "HS512", "typ": "JWT"}, right)
	})
	signedBy("token.header", "crit", key, map[string]any{"alg": "HS256", "typ": "JWT", "crit": []string{"exp"}})

	flipped := []byte(signature)
	flipped[0] ^= 1 // another letter or digit, or none of base64url
	text("token.signature", "another first character", signed+"."+string(flipped))
	text("token.signature", "the first half", signed+"."+signature[:len(signature)/2])
	text("token.signature", "none", signed+".")
	header, _, _ := strings.Cut(signed, ".")
	altered := func(how string, change func(claims) claims) {
		add("token.claim", how, func(right claims) string { return header + "." + encode(change(right)) + "." + signature })
	}
	altered("another jti", func(right claims) claims { return right.with("jti", "x") })
	altered("a later exp", func(right claims) claims { return right.with("exp", right["iat"].(int64)+59) })

	shifted := func(id, how string, by time.Duration) {
		add(id, how, func(right claims) string { return sign(key, joseHeader, right.at(by)) })
	}
	shifted("token.expired", "one of 5 minutes ago", -5*time.Minute)
	shifted("token.early", "one of 5 minutes from now", 5*time.Minute)
	lasting := func(how string, from, to time.Duration) {
		add("token.lifetime", how, func(right claims) string {
			now := right["iat"].(int64)
			return sign(key, joseHeader, right.with("iat", now+int64(from/time.Second), "exp", now+int64(to/time.Second)))
		})
	}
	lasting("an hour", 0, time.Hour)
	lasting("a negative one", 20*time.Second, -20*time.Second)
	claim("token.guest", "one for wsgi-party-check", "aud", "wsgi-party-check")
	claim("token.method", "one for DELETE", "htm", http.MethodDelete)
	claim("token.uri", "one for another path", "htu", c.mount+"/wsgi-party-check")
	claim("token.uri", "one for another query", "htu", c.mount+pathOf(q.target)+"?wsgi-party-check")
	claim("token.uri", "one for a path that only ends the same", "htu", c.mount+"/wsgi-party-check"+q.target)
	other := otherBody
	if bytes.HasPrefix(q.body, []byte("[")) {
		other = otherBatch
	}
	hash := sha256.Sum256([]byte(other))
	claim("token.body", "one for another body", "bsh", base64.RawURLEncoding.EncodeToString(hash[:]))
	if q.body != nil {
		all = append(all, wrong{"token.body", "another body", func(right claims) string { return sign(key, joseHeader, right) }, []byte(other)})
	}
	claim("token.malformed", "iat that is text", "iat", "x")
	claim("token.malformed", "exp that is null", "exp", nil)
	claim("token.malformed", "htu that is a number", "htu", 1)
	claim("token.malformed", "mnt that is a list", "mnt", []string{})
	for _, malformed := range [][2]string{
		{"a word", "x"}, {"two dots", ".."}, {"nine dots", "........."}, {"no base64", "é.é.é"}, {"no JSON", "e30.eA.eA"}, {"an unsigned list", "W10.W10.W10"}, {"9 KiB", strings.Repeat("x", 9<<10)},
	} {
		text("token.malformed", malformed[0], malformed[1])
	}
	return all
}

// request returns what is to be refused in the place of the right request.
func (w *wrong) request(q request, right claims) request {
	if token := w.token(right); token != "" {
		q = q.with("Party-Token", token)
	}
	if w.body != nil {
		q.body = w.body
	}
	return q
}
