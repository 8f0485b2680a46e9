// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
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
			a := c.do(w.request)
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

// wrong is a request whose token is to be refused.
type wrong struct {
	id, how string
	request
}

// wrongTokens makes all of them for one request, some of a right one.
func (c *checker) wrongTokens(q request, token string) (all []wrong) {
	key, right := c.keys[0], c.claimsOf(&q)
	add := func(id, how, token string) { all = append(all, wrong{id, how, q.with("Party-Token", token)}) }
	claim := func(id, how string, pairs ...any) { add(id, how, sign(key, joseHeader, right.with(pairs...))) }
	signed, signature := unsigned(token)
	now := time.Now().Unix()

	all = append(all, wrong{"token.missing", "", q})
	add("token.key", "", sign(rand.Text()+rand.Text(), joseHeader, right))
	add("token.empty-key", "", sign("", joseHeader, right))
	for _, alg := range []any{"none", "None", "nOnE", nil} {
		header := map[string]any{"alg": alg, "typ": "JWT"}
		what := fmt.Sprintf("alg %v", alg)
		add("token.none", what, encode(header)+"."+encode(right)+".")
		add("token.none", what+" and a signature of no key", sign("", header, right))
	}
	add("token.none", "no third part", signed)
	add("token.header", "alg HS512", sign(key, map[string]any{"alg": "HS512", "typ": "JWT"}, right))
	add("token.header", "crit", sign(key, map[string]any{"alg": "HS256", "typ": "JWT", "crit": []string{"exp"}}, right))

	flipped := []byte(signature)
	flipped[0] ^= 1 // another letter or digit, or none of base64url
	add("token.signature", "another first character", signed+"."+string(flipped))
	add("token.signature", "the first half", signed+"."+signature[:len(signature)/2])
	add("token.signature", "none", signed+".")
	header, _, _ := strings.Cut(signed, ".")
	add("token.claim", "another jti", header+"."+encode(right.with("jti", "x"))+"."+signature)
	add("token.claim", "a later exp", header+"."+encode(right.with("exp", now+59))+"."+signature)

	add("token.expired", "one of 5 minutes ago", sign(key, joseHeader, right.at(-5*time.Minute)))
	add("token.early", "one of 5 minutes from now", sign(key, joseHeader, right.at(5*time.Minute)))
	claim("token.lifetime", "an hour", "exp", now+3600)
	claim("token.lifetime", "less than none", "iat", now+20, "exp", now-20)
	claim("token.guest", "one for wsgi-party-check", "aud", "wsgi-party-check")
	claim("token.method", "one for DELETE", "htm", http.MethodDelete)
	claim("token.uri", "one for another path", "htu", c.mount+"/wsgi-party-check")
	claim("token.uri", "one for another query", "htu", c.mount+pathOf(q.target)+"?wsgi-party-check")
	claim("token.uri", "one for a path that only ends alike", "htu", c.mount+"/wsgi-party-check"+q.target)
	hash := sha256.Sum256([]byte(`{"wsgi_party_check":1}`))
	claim("token.body", "one for another body", "bsh", base64.RawURLEncoding.EncodeToString(hash[:]))
	if q.body != nil {
		replayed := q.with("Party-Token", sign(key, joseHeader, right))
		replayed.body = []byte(`{"wsgi_party_check":1}`)
		all = append(all, wrong{"token.body", "another body", replayed})
	}
	claim("token.malformed", "iat that is text", "iat", "x")
	claim("token.malformed", "exp that is null", "exp", nil)
	claim("token.malformed", "htu that is a number", "htu", 1)
	claim("token.malformed", "mnt that is a list", "mnt", []string{})
	for how, text := range map[string]string{
		"a word": "x", "two dots": "..", "nine dots": ".........", "no base64": "é.é.é", "no JSON": "e30.eA.eA", "9 KiB": strings.Repeat("x", 9<<10), "an unsigned list": "W10.W10.W10",
	} {
		add("token.malformed", how, text)
	}
	return all
}
