// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package hosts_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/smallstep/certificates/acme"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"golang.org/x/net/dns/dnsmessage"
)

// TestCertificatesByACME has Caddy's own ACME server give certificates to names that resolve to this
// Caddy, by the challenge tls-alpn-01.
func TestCertificatesByACME(t *testing.T) {
	shop := guest(t, "shop", false, claims("shop.example.com"))
	guest(t, "blog", true, claims("blog.example.org"))
	partytest.OnProvision(t, "permission", func(caddy.Context) error { return nil })
	resolveHere(t)
	c := partytest.NewHTTPS(t)
	port, err := strconv.Atoi(c.Port)
	check.Must(t, err)
	acme.InsecurePortTLSALPN01 = port
	t.Cleanup(func() { acme.InsecurePortTLSALPN01 = 0 })

	server := "https://localhost {\ntls internal\nacme_server\n}\n"
	c.Load("", server) // makes the root certificate, which is to be trusted
	root := filepath.Join(c.Storage(), "pki", "authorities", "local", "root.crt")
	partytest.Eventually(t, "there is a root certificate", func() bool { _, err := os.Stat(root); return err == nil })
	c.Load("servers {\nprotocols h1\n}\non_demand_tls {\npermission wsgi_party main\n}", server+"https:// {\ntls {\nissuer acme {\ndir https://localhost:"+c.Port+"/acme/local/directory\ntrusted_roots "+root+"\ndisable_http_challenge\n}\non_demand\n}\n"+
		party("main", "shop", "blog")+"}")

	roots := x509.NewCertPool()
	pem, err := os.ReadFile(root)
	check.FatalIf(t, err != nil || !roots.AppendCertsFromPEM(pem), "the root certificate: %v", err)
	for _, name := range []string{"shop.example.com", "blog.example.org"} {
		state, err := c.Handshake(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		intermediates := x509.NewCertPool()
		for _, certificate := range state.PeerCertificates[1:] {
			intermediates.AddCert(certificate)
		}
		_, err = state.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: intermediates})
		check.Nil(t, err)
	}
	uncertified(c, "other.example.com", "www.shop.example.com")
	var asked []string
	for _, entry := range partytest.LogEntries(t, "certificate obtained successfully") {
		asked = append(asked, fmt.Sprint(entry["identifier"], " of ", entry["issuer"]))
	}
	issuer := "localhost:" + c.Port + "-acme-local-directory"
	check.Slices(t, asked, []string{"localhost of local", "shop.example.com of " + issuer, "blog.example.org of " + issuer}, "certificates that Caddy obtained")
	check.Slices(t, certificates(c), []string{"blog.example.org", "localhost", "shop.example.com"}, "certificates for")
	check.Slices(t, shop.since(), []any{"shop.example.com", "blog.example.org", "other.example.com", "www.shop.example.com"}, "names the shop was asked for")
}

// resolveHere makes every name that is in no file of hosts one of this machine, until the test ends.
func resolveHere(t testing.TB) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	check.Must(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		buffer := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.Additionals = true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
			}
			if packed, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(packed, from)
			}
		}
	}()
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		conn.Close()
		<-served
	})
}
