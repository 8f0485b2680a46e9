// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestTheCommandAsksOneGuest(t *testing.T) {
	t.Parallel()
	caddyfile, _ := threeGophersLate(t)
	admin, _, _ := startCaddy(t, caddyfile)
	at := func(arguments ...string) []string { return append(arguments, "--address", admin) }
	rows := tables(t, expectCommand(t, 0, nil, at("ask", "main", "ping", "--guest", "gross", "--first")...))[0]
	if column(rows, "GUEST") != "gross" || column(rows, "ANSWER") != `"pong"` {
		t.Error(rows)
	}
	for _, test := range []struct{ service, guest, want string }{
		{"ping", "gros", `guest "gros" on partyline "main" is not connected under service "ping": did you mean gross?`},
		{"ping", "empty & none", `guest "empty & none" on partyline "main" is not connected under service "ping": the connected guests are root, gross`},
		{"ping", "", "guest is empty: write the guest's name"},
	} {
		expectCommand(t, 1, []string{test.want}, at("ask", "main", test.service, "--guest", test.guest)...)
	}
	expectCommand(t, 1, []string{"guest gross of party main did not answer url"}, at("ask", "main", "url", `["nobody:page", {}]`, "--guest=gross")...)
}
