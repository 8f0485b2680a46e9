// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package token makes and verifies the Party-Token, which proves to a guest that
// a request is the party's: a JWT signed with HS256 and the guest's key. Its claims,
// all of them always there:
//
//	aud   the guest
//	iat   when it was made, in whole seconds
//	exp   when it ends, at most 60 seconds later; clocks may differ by 30
//	jti   different in every token
//	htm   the request's method
//	htu   its path and query as sent, escaped, the mount included
//	bsh   SHA-256 of its body, which may be empty; base64url without padding, as all of a JWT
//	mnt   the mount: "/blog", or "" where there is none
//	path  the asks that led here, outermost first: [["<guest>", "<service>"], ...];
//	      the guest is "" where the asker is none; [] in an invite
//
// Two more, where there is a path, are for Caddy alone: a guest can sign what it likes.
//
//	root  the call in which the asks are
//	mac   that Caddy signed the path, in this token: see PathKey
package token

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// MaxPath is how many asks may have led to a request.
	MaxPath = 8

	// MaxLength is how long a token may be.
	MaxLength = 8 << 10

	// Lifetime is from a token's iat to its exp.
	Lifetime = 60 * time.Second

	// Leeway is how far the clock of whoever verifies a token may be off.
	Leeway = 30 * time.Second
)

// ErrTooDeep is the error for a token whose path has more than MaxPath asks.
var ErrTooDeep = fmt.Errorf("nested too deep: more than %d asks led here", MaxPath)

// ErrInvalid is the error for what is not a valid token. No such error quotes any
// of it.
var ErrInvalid = errors.New("invalid Party-Token")

var (
	errNoKey     = errors.New("there is no key to sign a Party-Token with")
	errMalformed = fmt.Errorf("%w: malformed", ErrInvalid)
	errTooLong   = fmt.Errorf("%w: longer than %d bytes", ErrInvalid, MaxLength)
	errSignature = fmt.Errorf("%w: not signed with HS256 and a key of this guest", ErrInvalid)
	errGuest     = fmt.Errorf("%w: for another guest", ErrInvalid)
	errExpired   = fmt.Errorf("%w: expired", ErrInvalid)
	errFuture    = fmt.Errorf("%w: from the future", ErrInvalid)
	errLifetime  = fmt.Errorf("%w: it ends before it begins or lasts more than %v", ErrInvalid, Lifetime)
)

// claimError is the error for the claim of that name.
type claimError string

func (e claimError) Error() string {
	return ErrInvalid.Error() + ": no " + string(e) + " or a wrong one"
}
func (e claimError) Unwrap() error { return ErrInvalid }

// Token is what a Party-Token says of the request it comes with.
type Token struct {
	Guest    string // whom the request is for
	ID       string // Sign makes one where it is empty
	Method   string
	URI      string // path and query as sent, the mount included
	Mount    string
	BodyHash [sha256.Size]byte
	Path     []Ask  // outermost first
	Root     string // the call that the asks of the path are in
	MAC      string // made by a PathKey

	issuedAt, expires int64 // of a token that was verified, or is to be signed
}

// Ask says which guest asked for which service. The guest is empty where
// the asker is none.
type Ask struct{ Guest, Service string }

// MarshalJSON makes an Ask a list of two strings.
func (a Ask) MarshalJSON() ([]byte, error) {
	return json.Marshal([2]string{a.Guest, a.Service})
}

// UnmarshalJSON takes a list of two strings.
func (a *Ask) UnmarshalJSON(data []byte) error {
	var pair []*string
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	if len(pair) != 2 || pair[0] == nil || pair[1] == nil {
		return claimError("path")
	}
	a.Guest, a.Service = *pair[0], *pair[1]
	return nil
}

// IsFor reports whether the token came with this request. An application may see
// its URI with or without the mount.
func (t Token) IsFor(method, uri string, body []byte) bool {
	if method != t.Method || sha256.Sum256(body) != t.BodyHash {
		return false
	}
	if uri == t.URI {
		return true
	}
	below, ok := strings.CutPrefix(t.URI, t.Mount)
	if below == "" || below[0] == '?' {
		below = "/" + below
	}
	return ok && below[0] == '/' && uri == below
}

// Verify returns what a token says that was signed for the guest with one of the
// keys. Its errors are ErrInvalid or ErrTooDeep.
func (k Keys) Verify(guest, text string, now time.Time) (Token, error) {
	if len(text) > MaxLength {
		return Token{}, errTooLong
	}
	if strings.ContainsAny(text, "\r\n") {
		return Token{}, errMalformed // base64 ignores them
	}
	if k.IsZero() {
		return Token{}, errSignature
	}
	var c claims
	_, err := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithStrictDecoding(),
		jwt.WithAudience(guest),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(Leeway),
		jwt.WithTimeFunc(func() time.Time { return now }),
	).ParseWithClaims(text, &c, func(parsed *jwt.Token) (any, error) {
		if _, ok := parsed.Header["crit"]; ok {
			return nil, errMalformed // RFC 7515: must be understood, and is not
		}
		return k.secrets().verifying, nil
	})
	if err != nil {
		return Token{}, withoutQuotes(err)
	}
	return c.token()
}

// withoutQuotes returns one of this package's errors: others may quote the token.
func withoutQuotes(err error) error {
	if e, ok := errors.AsType[claimError](err); ok {
		return e
	}
	for _, known := range []struct{ is, becomes error }{
		{errLifetime, errLifetime},
		{errMalformed, errMalformed},
		{jwt.ErrTokenMalformed, errMalformed},
		{jwt.ErrTokenInvalidAudience, errGuest},
		{jwt.ErrTokenRequiredClaimMissing, claimError("aud")}, // all others are there
		{jwt.ErrTokenExpired, errExpired},
		{jwt.ErrTokenUsedBeforeIssued, errFuture},
	} {
		if errors.Is(err, known.is) {
			return known.becomes
		}
	}
	return errSignature
}

// check finds what no token may say.
func (t Token) check() error {
	isText := func(s string) bool { return s != "" && utf8.ValidString(s) }
	switch {
	case !isText(t.Guest):
		return claimError("aud")
	case !isText(t.ID):
		return claimError("jti")
	case !isText(t.Method):
		return claimError("htm")
	case !isText(t.URI) || t.URI[0] != '/':
		return claimError("htu")
	case t.Mount != "" && (!isText(t.Mount) || t.Mount[0] != '/' || strings.HasSuffix(t.Mount, "/")):
		return claimError("mnt")
	case len(t.Path) > MaxPath:
		return ErrTooDeep
	}
	for _, ask := range t.Path {
		if !isText(ask.Service) || !utf8.ValidString(ask.Guest) {
			return claimError("path")
		}
	}
	return nil
}

type claims struct {
	Guest    string `json:"aud"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
	ID       string `json:"jti"`
	Method   string `json:"htm"`
	URI      string `json:"htu"`
	BodyHash string `json:"bsh"`
	Mount    string `json:"mnt"`
	Path     []Ask  `json:"path"`
	Root     string `json:"root,omitempty"`
	MAC      string `json:"mac,omitempty"`
}

// UnmarshalJSON demands every claim but those of Caddy's own, and its name as it is:
// encoding/json would take "AUD" for "aud".
func (c *claims) UnmarshalJSON(data []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return errMalformed
	}
	for _, claim := range []struct {
		name     string
		value    any
		optional bool
	}{
		{"aud", &c.Guest, false}, {"iat", &c.IssuedAt, false}, {"exp", &c.Expires, false}, {"jti", &c.ID, false}, {"htm", &c.Method, false},
		{"htu", &c.URI, false}, {"bsh", &c.BodyHash, false}, {"mnt", &c.Mount, false}, {"path", &c.Path, false},
		{"root", &c.Root, true}, {"mac", &c.MAC, true},
	} {
		member, ok := members[claim.name]
		if !ok && claim.optional {
			continue
		}
		if !ok || string(member) == "null" || json.Unmarshal(member, claim.value) != nil {
			return claimError(claim.name)
		}
	}
	if c.IssuedAt < 0 || c.Expires < c.IssuedAt || c.Expires-c.IssuedAt > int64(Lifetime/time.Second) {
		return errLifetime
	}
	return nil
}

func encode(hash [sha256.Size]byte) string { return base64.RawURLEncoding.EncodeToString(hash[:]) }

func (c *claims) token() (Token, error) {
	t := Token{
		Guest: c.Guest, ID: c.ID, Method: c.Method, URI: c.URI, Mount: c.Mount, Path: c.Path, Root: c.Root, MAC: c.MAC,
		issuedAt: c.IssuedAt, expires: c.Expires,
	}
	hash, _ := base64.RawURLEncoding.DecodeString(c.BodyHash)
	copy(t.BodyHash[:], hash)
	if encode(t.BodyHash) != c.BodyHash {
		return Token{}, claimError("bsh")
	}
	if err := t.check(); err != nil {
		return Token{}, err
	}
	return t, nil
}

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) {
	return jwt.NewNumericDate(time.Unix(c.Expires, 0)), nil
}

func (c *claims) GetIssuedAt() (*jwt.NumericDate, error) {
	return jwt.NewNumericDate(time.Unix(c.IssuedAt, 0)), nil
}

func (c *claims) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil }
func (c *claims) GetIssuer() (string, error)              { return "", nil }
func (c *claims) GetSubject() (string, error)             { return "", nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)  { return jwt.ClaimStrings{c.Guest}, nil }

// Interface guards
var (
	_ jwt.Claims       = (*claims)(nil)
	_ json.Marshaler   = Ask{}
	_ json.Unmarshaler = (*Ask)(nil)
)
