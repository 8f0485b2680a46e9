// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package testsite runs the Caddyfiles of examples in tests.
package testsite

import (
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// Run runs a Caddyfile whose site is http://localhost:8080, at another port and with
// more replaced in it, until the test ends. It returns the site's address.
func Run(t testing.TB, caddyfile string, replace ...string) string {
	t.Helper()
	address := "http://" + strings.Replace(testport.Address(t), "127.0.0.1", "localhost", 1)
	text, err := os.ReadFile(caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	config := "{\nadmin off\npersist_config off\nstorage_check off\nstorage_clean_interval off\n}\n" +
		strings.NewReplacer(append(replace, "http://localhost:8080", address)...).Replace(string(text))
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(adapted, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return address
}
