// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// TestLogins has NATS demand each kind of login that has not the other tests' user and password, and a node try one that
// NATS does not know.
func TestLogins(t *testing.T) {
	t.Setenv("TRUNK_SECRET", secret)
	t.Setenv("OTHER_SECRET", "another one")
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		name = filepath.Join(dir, name)
		check.Must(t, os.WriteFile(name, data, 0o600))
		return name
	}
	user, seed, _ := newNKey(t, nkeys.CreateUser)
	_, otherSeed, _ := newNKey(t, nkeys.CreateUser)
	operator, _, operatorKey := newNKey(t, nkeys.CreateOperator)
	account, _, accountKey := newNKey(t, nkeys.CreateAccount)
	_, _, otherAccountKey := newNKey(t, nkeys.CreateAccount)
	credentials := func(accountKey nkeys.KeyPair) []byte {
		formatted, err := jwt.FormatUserConfig(encode(t, jwt.NewUserClaims(user), accountKey), seed)
		check.Must(t, err)
		return formatted
	}
	for login, c := range map[string]struct{ config, option, otherOption string }{
		"token": {fmt.Sprintf("authorization { token: %q }", secret), "token {env.TRUNK_SECRET}", "token {env.OTHER_SECRET}"},
		"nkey":  {fmt.Sprintf("authorization { users: [{ nkey: %s }] }", user), "nkey " + file("nkey", seed), "nkey " + file("other.nkey", otherSeed)},
		"credentials": {
			fmt.Sprintf("operator: %s\nresolver: MEMORY\nresolver_preload: { %s: %s }", encode(t, jwt.NewOperatorClaims(operator), operatorKey), account, encode(t, jwt.NewAccountClaims(account), operatorKey)),
			"credentials " + file("user.creds", credentials(accountKey)), "credentials " + file("other.creds", credentials(otherAccountKey)),
		},
	} {
		t.Run(login, func(t *testing.T) {
			where := testport.Address(t)
			p := start(t, nil, "nats-server", "-c", file(login+".conf", []byte("listen: "+where+"\n"+c.config)))
			eventually(t, "NATS listens", func() bool { return strings.Contains(p.log.String(), "Server is ready") })
			node := func(name, option string) *caddyNode { return newNode(t, name, "nats nats://"+where+"\n"+option) }
			a, b := node("a", c.option), node("b", c.option)
			a.run()
			b.run()
			eventually(t, "they know each other", func() bool { return len(a.guestsShown()) == 2 && len(b.guestsShown()) == 2 })
			said := node("c", c.otherOption).try()
			check.ErrorIf(t, !strings.Contains(said, "refuses the login"), "got %s", said)
		})
	}
}

// newNKey returns a new key with its public key and seed.
func newNKey(t *testing.T, create func() (nkeys.KeyPair, error)) (public string, seed []byte, pair nkeys.KeyPair) {
	pair, err := create()
	check.Must(t, err)
	public, err = pair.PublicKey()
	check.Must(t, err)
	seed, err = pair.Seed()
	check.Must(t, err)
	return public, seed, pair
}

func encode(t *testing.T, claims jwt.Claims, by nkeys.KeyPair) string {
	encoded, err := claims.Encode(by)
	check.Must(t, err)
	return encoded
}
