// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package hosts_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/measure"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// listing loads a party of five applications that each have a thousand hosts in their manifests, with
// one in front of them that is asked over HTTP, and of which nothing is logged but infos.
func listing(t testing.TB) caddytls.OnDemandPermission {
	t.Helper()
	c := partytest.NewCaddy(t)
	remote := partytest.NewApplication(t, "", partytest.Status(http.StatusNoContent))
	directives := partytest.Mounted("remote", "service hosts /hosts", remote)
	invites := "invite /remote/__invite__/\n"
	for i := range 5 {
		list := []string{fmt.Sprintf("*.customers%d.example", i)}
		for j := range 999 {
			list = append(list, fmt.Sprintf("h%d.app%d.example.com", j, i))
		}
		manifest, err := json.Marshal(map[string]any{"hosts": list})
		check.Must(t, err)
		directives += partytest.Mounted(fmt.Sprint("app", i), "", partytest.NewApplication(t, string(manifest), nil))
		invites += fmt.Sprintf("invite /app%d/__invite__/\n", i)
	}
	config := c.Adapt("http:// {\nwsgi_party main {\n" + invites + directives + "test_app permission\n}\n}")
	p := permissionIn(c, "main", bytes.Replace(config, []byte(`"DEBUG"`), []byte(`"INFO"`), 1))
	partytest.Eventually(t, "all have joined", func() bool {
		for i := range 5 {
			if p.CertificateAllowed(t.Context(), fmt.Sprintf("h7.app%d.example.com", i)) != nil {
				return false
			}
		}
		return true
	})
	return p
}

// TestAManifestAnswersWithinAMicrosecond takes the least of many turns: whatever else the machine
// does makes them longer.
func TestAManifestAnswersWithinAMicrosecond(t *testing.T) {
	p := listing(t)
	for _, name := range []string{"h7.app0.example.com", "h7.app4.example.com", "shop.customers4.example"} {
		const turn = 200
		ctx, least := t.Context(), time.Hour
		most, allocs := time.Microsecond, 3.0
		if measure.UnderRaceDetector() {
			most, allocs = 20*time.Microsecond, 50
		}
		for began := time.Now(); least > most && time.Since(began) < 10*time.Second; {
			turnBegan := time.Now()
			for range turn {
				check.FatalIf(t, p.CertificateAllowed(ctx, name) != nil, "it is denied")
			}
			least = min(least, time.Since(turnBegan)/turn)
		}
		t.Logf("%s: %v", name, least)
		check.ErrorIf(t, least > most, "%s takes %v", name, least)
		got := testing.AllocsPerRun(100, func() { _ = p.CertificateAllowed(ctx, name) })
		check.ErrorIf(t, got > allocs, "%s takes %v allocations", name, got)
	}
}

func BenchmarkAllowed(b *testing.B) {
	p := listing(b)
	for _, name := range []string{"h7.app0.example.com", "h7.app4.example.com", "shop.customers4.example", "nobody.example.com"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = p.CertificateAllowed(b.Context(), name)
			}
		})
	}
}
