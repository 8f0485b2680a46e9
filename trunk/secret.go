// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What the secret of embedded servers is used for: passwords, and TLS without files.

package trunk

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"time"
)

func sumOf(secret, use string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("wsgi_party trunk " + use))
	return mac.Sum(nil)
}

// derive returns a password of its own for each use of the secret.
func derive(secret, use string) string { return hex.EncodeToString(sumOf(secret, use)) }

// secretName is the one that all certificates are for: nodes know each other by the secret, not by their hosts.
const secretName = "wsgi-party-trunk"

// secretTLS returns a config for TLS between those who have the secret, which is the key of their certificate authority.
// A process that has taken the address of a node learns nothing from the others, not even their passwords.
func secretTLS(secret string) (*tls.Config, error) {
	authorityKey := ed25519.NewKeyFromSeed(sumOf(secret, "authority"))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: secretName}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), // clocks may differ
	}
	encoded, err := x509.CreateCertificate(rand.Reader, template, template, authorityKey.Public(), authorityKey)
	if err != nil {
		return nil, fmt.Errorf("the authority of secret: %w", err)
	}
	authority, err := x509.ParseCertificate(encoded)
	if err != nil {
		return nil, fmt.Errorf("the authority of secret: %w", err)
	}
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("the key of the certificate of secret: %w", err)
	}
	certificate, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: secretName}, DNSNames: []string{secretName}, NotBefore: template.NotBefore, NotAfter: template.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, authority, public, authorityKey)
	if err != nil {
		return nil, fmt.Errorf("the certificate of secret: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: secretName, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}},
	}, nil
}
