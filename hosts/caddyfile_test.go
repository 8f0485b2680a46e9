// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package hosts_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestCaddyfile(t *testing.T) {
	for text, want := range map[string]string{
		"wsgi_party":          `{"module":"wsgi_party"}`,
		"wsgi_party main":     `{"module":"wsgi_party","party":"main"}`,
		`wsgi_party "a b"`:    `{"module":"wsgi_party","party":"a b"}`,
		"wsgi_party {$NO:me}": `{"module":"wsgi_party","party":"me"}`,
	} {
		config, _, err := partytest.AdaptCaddyfile("{\non_demand_tls {\npermission " + text + "\n}\n}\nhttps:// {\ntls {\non_demand\n}\n}\n")
		check.Nil(t, err)
		check.ErrorIf(t, !bytes.Contains(config, []byte(`"on_demand":{"permission":`+want+`}`)), "%s: %s", text, config)
	}
	for text, want := range map[string]string{
		"wsgi_party main new":     "wrong argument count or unexpected line ending after 'new': write `permission wsgi_party [<party>]`",
		`wsgi_party ""`:           "the party's name is empty: write a name, or leave it out",
		"wsgi_party main {\nx\n}": "permission wsgi_party takes no block",
		"wsgi_party {\nmain\n}":   "permission wsgi_party takes no block",
		"wsgi_party\nask http:/":  "already specified",
	} {
		_, _, err := partytest.AdaptCaddyfile("{\non_demand_tls {\npermission " + text + "\n}\n}\n")
		check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), ", at Caddyfile:"), "%s: %v", text, err)
	}
}
