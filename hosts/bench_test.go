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
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/measure"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

const international = "xn--bcher4-3ya.example" // bücher4.example

// listing loads a party of five applications that each have a thousand hosts in their manifests, with
// one in front of them that is asked over HTTP, and of which nothing is logged but infos.
func listing(t testing.TB) caddytls.OnDemandPermission {
	t.Helper()
	c := partytest.NewCaddy(t)
	remote := partytest.NewApplication(t, "", partytest.Status(http.StatusNoContent))
	directives := partytest.Mounted("remote", "service hosts /hosts", remote)
	invites := "invite /remote/__invite__/\n"
	for i := range 5 {
		list := []string{fmt.Sprintf("*.customers%d.example", i), fmt.Sprintf("bücher%d.example", i)}
		for j := range 998 {
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

// TestAManifestAnswersAtOnce compares what a permission takes whose guests have their hosts listed
// with what asking these guests takes alone, and with Caddy's own, which asks an endpoint.
func TestAManifestAnswersAtOnce(t *testing.T) {
	p := listing(t)
	operator, _ := wsgiparty.Lookup("main")
	here, endpoint := operator.Local(), httpPermission(t)
	const name, turn = "h7.app4.example.com", 200
	ctx := t.Context()
	take := func(do func() error) func() time.Duration {
		return func() time.Duration {
			began := time.Now()
			for range turn {
				check.FatalIf(t, do() != nil, "it is denied")
			}
			return time.Since(began) / turn
		}
	}
	allowed := take(func() error { return p.CertificateAllowed(ctx, name) })
	measure.TakesAtMost(t, 2.5, take(func() error {
		for r := range here.Replies(ctx, "hosts", name) {
			if r.Err == nil {
				return nil
			}
		}
		return wsgiparty.ErrHighAndDry
	}), allowed)
	measure.TakesAtMost(t, 0.1, take(func() error { return endpoint.CertificateAllowed(ctx, name) }), allowed)
	if !measure.UnderRaceDetector() {
		for _, name := range []string{name, international} {
			allocs := testing.AllocsPerRun(100, func() { check.Nil(t, p.CertificateAllowed(ctx, name)) })
			check.ErrorIf(t, allocs > 3, "%s takes %v allocations", name, allocs)
		}
	}
}

// httpPermission is Caddy's own permission, which asks an endpoint of a server.
func httpPermission(t testing.TB) caddytls.OnDemandPermission {
	t.Helper()
	server := partytest.NewApplication(t, "", partytest.Status(http.StatusOK))
	module, err := partytest.ProvisionContext(t).LoadModuleByID("tls.permission.http", fmt.Appendf(nil, `{"endpoint": %q}`, server.URL))
	check.Must(t, err)
	return module.(caddytls.OnDemandPermission)
}

func BenchmarkAllowed(b *testing.B) {
	p := listing(b)
	endpoint := httpPermission(b)
	b.Run("caddys", func(b *testing.B) {
		for b.Loop() {
			check.Nil(b, endpoint.CertificateAllowed(b.Context(), "h7.app0.example.com"))
		}
	})
	for _, name := range []string{"h7.app0.example.com", "h7.app4.example.com", "shop.customers4.example", international, "nobody.example.com"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = p.CertificateAllowed(b.Context(), name)
			}
		})
	}
}
