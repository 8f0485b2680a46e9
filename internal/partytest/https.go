// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytest

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// HTTPS is a Caddy with automatic HTTPS, whose sites have no port and are on the loopback interface.
type HTTPS struct {
	*Caddy
	HTTPPort, Port string
}

// NewHTTPS returns one that runs nothing yet.
func NewHTTPS(t testing.TB) *HTTPS {
	t.Helper()
	c := NewCaddy(t)
	_, plain, _ := net.SplitHostPort(testport.Address(t))
	_, secure, _ := net.SplitHostPort(c.Address)
	return &HTTPS{c, plain, secure}
}

// Adapt returns the JSON of a Caddyfile, with these global options beside those of all.
func (c *HTTPS) Adapt(options, config string) []byte {
	c.Helper()
	all := strings.TrimSuffix(strings.Replace(GlobalOptions, "auto_https off", "default_bind 127.0.0.1", 1), "}\n")
	all += "http_port " + c.HTTPPort + "\nhttps_port " + c.Port + "\n" + options + "\n}\n" + config
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(all), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		c.Fatal(err)
	}
	return adapted
}

// Load loads a Caddyfile.
func (c *HTTPS) Load(options, config string) {
	c.Helper()
	c.LoadJSON(c.Adapt(options, config))
}

// Handshake makes a TLS handshake for that name, and returns what it came to. Whom it would trust
// is not checked.
func (c *HTTPS) Handshake(name string) (tls.ConnectionState, error) {
	dialer := &net.Dialer{Timeout: 20 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", "127.0.0.1:"+c.Port, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.ConnectionState(), nil
}
