// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// TestHostsOfGuestsOfOtherNodesGetCertificates has one listed, and another that b is asked for.
func TestHostsOfGuestsOfOtherNodesGetCertificates(t *testing.T) {
	trunk := newTrunk(t, true)
	a, b := trunk.nodes[0], trunk.nodes[1]
	b.options = "host bees.example"
	check.Must(t, b.reload())
	address := testport.Address(t)
	_, port, _ := strings.Cut(address, ":")
	a.global = "local_certs\nskip_install_trust\non_demand_tls {\npermission wsgi_party main\n}"
	a.routes = "}\n}\nhttps://:" + port + " {\nbind 127.0.0.1\ntls {\nissuer internal\non_demand\n}\nwsgi_party main {"
	check.Must(t, a.reload())
	handshake := func(host string) error {
		c, err := tls.Dial("tcp", address, &tls.Config{ServerName: host, InsecureSkipVerify: true})
		if err != nil {
			return err
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].VerifyHostname(host)
	}
	eventually(t, "the host has a certificate", func() bool { return handshake("bees.example") == nil })
	check.ErrorIf(t, handshake("wasps.example") == nil, "a host has a certificate that is nobody's")
}

// TestMetricsHaveGuestsOfOtherNodes counts what they reply, like any guest.
func TestMetricsHaveGuestsOfOtherNodes(t *testing.T) {
	trunk := newTrunk(t, true)
	trunk.answersAll()
	for _, n := range trunk.nodes {
		response, err := http.Get("http://" + n.admin + "/metrics")
		check.Must(t, err)
		text, err := io.ReadAll(response.Body)
		check.Must(t, err)
		response.Body.Close()
		for _, want := range []string{
			`caddy_wsgi_party_guests{party="main"} 3`,
			`caddy_wsgi_party_replies_total{guest="a",outcome="answered",party="main",service="echo"} `,
			`caddy_wsgi_party_replies_total{guest="b",outcome="answered",party="main",service="echo"} `,
			`caddy_wsgi_party_reply_duration_seconds_count{guest="c",party="main",service="echo"} `,
		} {
			check.ErrorIf(t, !strings.Contains(string(text), want), "the metrics of %s lack %s", n.name, want)
		}
	}
}
