// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Connecting to NATS.

package trunk

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// natsUser is the user of an embedded server.
const natsUser = "trunk"

// maxPayload is that of an embedded server, in bytes, and the most for which NATS does not warn.
const maxPayload = 8 << 20

const tlsTimeout = 5 // seconds, of a handshake

// connect connects to NATS. If that cannot be reached now, the connection goes on trying.
func connect(s settings, embedded *server.Server, logger *zap.Logger, options ...nats.Option) (*nats.Conn, error) {
	options = append(options, nats.Name("wsgi_party_trunk "+s.Node), nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(), nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond), nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(2), nats.Timeout(2*time.Second),
		nats.ReconnectBufSize(-1), nats.NoCallbacksAfterClientClose(), nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			logger.Warn("the trunk has lost its connection to NATS", zap.Error(err), zap.String("hint", "it tries again; guests of other nodes leave after 6s"))
		}), nats.ReconnectHandler(func(c *nats.Conn) {
			logger.Info("the trunk is connected to NATS", zap.String("server", c.ConnectedUrlRedacted()))
		}))
	if embedded != nil {
		return nats.Connect("", append(options, nats.InProcessServer(embedded), nats.UserInfo(hereUser, herePassword))...)
	}
	switch {
	case s.Credentials != "":
		options = append(options, nats.UserCredentials(s.Credentials))
	case s.NKey != "":
		nkey, err := nats.NkeyOptionFromSeed(s.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey: %w", err)
		}
		options = append(options, nkey)
	case s.User != "":
		options = append(options, nats.UserInfo(s.User, s.Password))
	case s.Token != "":
		options = append(options, nats.Token(s.Token))
	case s.Secret != "":
		config, err := secretTLS(s.Secret)
		if err != nil {
			return nil, err
		}
		options = append(options, nats.UserInfo(natsUser, derive(s.Secret, "client")), nats.Secure(config))
	}
	if s.TLS != (TLS{}) {
		if _, err := s.TLS.config(); err != nil {
			return nil, err
		}
		options = append(options, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12}))
		if s.TLS.CA != "" { // these read the files each time that they connect
			options = append(options, nats.RootCAs(s.TLS.CA))
		}
		if s.TLS.Certificate != "" {
			options = append(options, nats.ClientCert(s.TLS.Certificate, s.TLS.Key))
		}
	}
	return nats.Connect(strings.Join(s.Servers, ","), options...)
}

func (t *TLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("the ca of tls: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the ca of tls: %s has no certificate", t.CA)
		}
	}
	if t.Certificate != "" {
		certificate, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("the certificate of tls: %w", err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}
