// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// visit makes a request to the node's site.
func (n *caddyNode) visit(path string, header ...string) (status int, body string) {
	n.t.Helper()
	r, err := http.NewRequest("GET", "http://"+n.site+path, nil)
	check.Must(n.t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	check.Must(n.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	check.Must(n.t, err)
	return response.StatusCode, string(text)
}

func TestWhatGoesAlongWithAnAsk(t *testing.T) {
	trunk := newTrunk(t, false)
	a, b := trunk.nodes[0], trunk.nodes[1]
	a.routes = "handle /page {\nheader Content-Type text/html\ntemplates {\nextensions {\nwsgi_party\n}\n}\nrespond `{{askGuest $ \"b\" \"echo\" 7}}`\n}"
	check.Must(t, a.reload())
	headers := func() http.Header {
		_, body := a.visit("/page", "X-User", "ann", "X-Other", "x", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		check.ErrorIf(t, !strings.Contains(body, "payload:7"), "got %s", body)
		last, _ := b.app.headers.Load("last")
		return last.(http.Header)
	}
	got := headers()
	check.ErrorIf(t, got.Get("X-User") != "" || !strings.Contains(got.Get("Traceparent"), "0af7651916cd43dd8448eb211c80319c"), "got %v", got)
	b.options = "forward X-User" // which only b's config says
	check.Must(t, b.reload())
	eventually(t, "the header goes along", func() bool { return headers().Get("X-User") == "ann" })
	check.Equal(t, headers().Get("X-Other"), "")
	check.ErrorIf(t, !strings.Contains(headers().Get("Cdn-Loop"), ","), "the loop protection does not know both: %q", headers().Get("Cdn-Loop"))
	a.app.asks.Store(0)
	headers()
	check.Equal(t, a.app.asks.Load(), 0) // only one guest is asked
}

func TestClaimsAndPlaceholdersOfGuestsOfOtherNodes(t *testing.T) {
	trunk := newTrunk(t, false)
	a, b := trunk.nodes[0], trunk.nodes[1]
	b.options = "claim /reports/\nanswer title `\"Bee\"`\n"
	check.Must(t, b.reload())
	a.routes = `
		@b wsgi_party claimed_by b
		handle @b {
			respond "to b"
		}
		handle /vars {
			wsgi_party_vars {
				ask title title
			}
			respond "{http.wsgi_party.title}, {http.wsgi_party.url.b:page?id=6}"
		}`
	check.Must(t, a.reload())
	eventually(t, "a knows the claim", func() bool { _, body := a.visit("/b/reports/1"); return body == "to b" })
	_, body := a.visit("/b/other")
	check.ErrorIf(t, body == "to b", "what it does not claim went to b")
	_, body = a.visit("/vars")
	check.Equal(t, body, "Bee, /b/page/6")
	b.options = ""
	check.Must(t, b.reload())
	eventually(t, "a knows that the claim is gone", func() bool { _, body := a.visit("/b/reports/1"); return body != "to b" })
}

func TestLinksToOtherOrigins(t *testing.T) {
	trunk := newTrunk(t, false)
	a, b := trunk.nodes[0], trunk.nodes[1]
	b.origin = "https://bee.example"
	check.Must(t, b.reload())
	eventually(t, "a does not link there", func() bool { return a.link("b") == "" || strings.Contains(a.link("b"), "500") })
	a.trunk += "\norigins https://bee.example"
	check.Must(t, a.reload())
	eventually(t, "a links there", func() bool { return a.link("b") == "https://bee.example/b/page/5" })
}

func TestMetricsAndTheCommand(t *testing.T) {
	trunk := newTrunk(t, false)
	a := trunk.nodes[0]
	trunk.answersAll()
	response, err := http.Get("http://" + a.admin + "/metrics")
	check.Must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	check.Must(t, err)
	for _, want := range []string{"caddy_wsgi_party_trunk_nodes 2\n", `caddy_wsgi_party_trunk_messages_total{kind="ask",outcome="sent"} `, `caddy_wsgi_party_trunk_messages_total{kind="beat",outcome="received"} `} {
		check.ErrorIf(t, !strings.Contains(string(text), want), "the metrics lack %s", want)
	}
	p := start(t, nil, "caddy-trunk", "wsgi-party", "trunk", "--address", a.admin)
	<-p.over
	for _, want := range []string{"NODE", "ROUND TRIP", "main b", "main c", "MESSAGE"} {
		check.ErrorIf(t, !strings.Contains(p.log.String(), want), "the command lacks %s: %s", want, p.log.String())
	}
	p = start(t, nil, "caddy-trunk", "wsgi-party", "show", "main", "--address", a.admin)
	<-p.over
	check.ErrorIf(t, !strings.Contains(p.log.String(), "NODE"), "got %s", p.log.String())
}

// certificates makes an authority, and a certificate that is a server's and a client's.
func certificates(t *testing.T, dir string) (ca, certificate, key string) {
	t.Helper()
	authority, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check.Must(t, err)
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check.Must(t, err)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "trunk"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"}, NotBefore: root.NotBefore, NotAfter: root.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	write := func(name, kind string, der []byte, err error) string {
		check.Must(t, err)
		path := filepath.Join(dir, name)
		check.Must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, authority.Public(), authority)
	ca = write("ca.pem", "CERTIFICATE", rootDER, err)
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, own.Public(), authority)
	certificate = write("node.pem", "CERTIFICATE", leafDER, err)
	keyDER, err := x509.MarshalECPrivateKey(own)
	return ca, certificate, write("key.pem", "EC PRIVATE KEY", keyDER, err)
}

func TestEmbeddedServersTrustOnlyCertificatesOfTheirs(t *testing.T) {
	ca, certificate, key := certificates(t, t.TempDir())
	otherCA, otherCertificate, otherKey := certificates(t, t.TempDir())
	first := testport.Address(t)
	options := func(cluster, ca, certificate, key string) string {
		return "embedded {\ncluster " + cluster + "\nroutes nats://" + first + "\ntls {\nca " + ca + "\ncertificate " + certificate + " " + key + "\n}\n}\nsecret {env.TRUNK_SECRET}"
	}
	a, b := newNode(t, "a", options(first, ca, certificate, key)), newNode(t, "b", options(testport.Address(t), ca, certificate, key))
	other := newNode(t, "other", options(testport.Address(t), otherCA, otherCertificate, otherKey))
	for _, n := range []*caddyNode{a, b, other} {
		n.run()
	}
	eventually(t, "a and b know each other", func() bool { return a.guestsShown()["b"] == "b" && b.guestsShown()["a"] == "a" })
	time.Sleep(2 * time.Second) // in which other tries
	check.ErrorIf(t, len(a.guestsShown()) != 2 || len(other.guestsShown()) != 1, "another authority's node has come in: %v", a.guestsShown())
}

func TestTheExample(t *testing.T) {
	command := exec.Command("../examples/trunk/run")
	command.Env = append(os.Environ(), "CADDY="+binary(t, "caddy-trunk"))
	said := new(lockedBuffer)
	command.Stdout, command.Stderr = said, said
	check.Must(t, command.Start())
	t.Cleanup(func() {
		command.Process.Signal(syscall.SIGTERM)
		command.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	page := func(port string) string {
		response, err := http.Get("http://localhost:" + port + "/")
		if err != nil {
			return err.Error()
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return string(body)
	}
	for _, port := range []string{"8081", "8082", "8083"} {
		eventually(t, port+" shows the menu of all", func() bool {
			body := page(port)
			return strings.Contains(body, `href="http://localhost:8081/north/"`) && strings.Contains(body, `href="http://localhost:8082/south/"`) &&
				strings.Contains(body, "north answered") && strings.Contains(body, "west answered")
		})
	}
	var stop []string
	eventually(t, "it says what to do", func() bool {
		stop = regexp.MustCompile(`(?m)^Stop one: +kill (\d+)$`).FindStringSubmatch(said.String())
		return stop != nil
	})
	check.Must(t, exec.Command("kill", stop[1]).Run())
	eventually(t, "the shop is gone", func() bool { return !strings.Contains(page("8081"), "shop") })
	check.ErrorIf(t, !strings.Contains(page("8081"), "west answered"), "got %s", page("8081"))
}
