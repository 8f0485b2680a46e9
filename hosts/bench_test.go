// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package hosts_test

import (
	"bytes"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// BenchmarkAllowed is of names that a guest in this process has, behind one that it is not, and of
// one that was denied.
func BenchmarkAllowed(b *testing.B) {
	guest(b, "remote", true, partytest.Declines)
	partytest.GuestWith(b, "local", map[string]partytest.Handler{"hosts": claims("one.example.com", "xn--bcher-kva.example")})
	c := partytest.NewCaddy(b)
	p := permissionIn(c, "main", bytes.Replace(c.Adapt("http:// {\n"+party("main", "remote", "local")+"}"), []byte(`"DEBUG"`), []byte(`"INFO"`), 1))
	for _, name := range []string{"one.example.com", "xn--bcher-kva.example", "denied.example.com"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = p.CertificateAllowed(b.Context(), name)
			}
		})
	}
}
