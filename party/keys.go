// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

type (
	// Keys are those of one guest: the first signs, all are accepted.
	Keys = token.Keys

	// KeyError says what is wrong with a key, never what it is.
	KeyError = token.KeyError

	// Token is what a Party-Token says of the request it comes with: Keys sign it.
	Token = token.Token
)

// NewKeys returns a *KeyError for a key that is none, and the zero Keys for no key at all.
func NewKeys(keys []string) (Keys, error) { return token.NewKeys(keys) }

// ErrBrokeOff is the error for a response of a guest that ends in the middle.
var ErrBrokeOff = subrequest.ErrBrokeOff
