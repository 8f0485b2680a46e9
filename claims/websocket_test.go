// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// WebSockets over HTTP/2 and HTTP/3, which begin with a CONNECT request.

package claims_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"golang.org/x/net/http2"
)

// upgrades is an application that opens WebSockets, in which it says its name and what was asked for.
func upgrades(t testing.TB, name string) *partytest.Application {
	return partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			says(name)(w, r)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"+name+" "+r.Method+" "+r.RequestURI)
	})
}

// TestAWebSocketGoesToTheApplicationThatClaimsIt runs as a process of its own, because for HTTP/2 Go opens
// none unless its environment says so when a process begins.
func TestAWebSocketGoesToTheApplicationThatClaimsIt(t *testing.T) {
	if setting := "http2xconnect=1"; os.Getenv("GODEBUG") != setting {
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		again.Env = append(os.Environ(), "GODEBUG="+setting)
		said, err := again.CombinedOutput()
		check.ErrorIf(t, err != nil || !strings.Contains(string(said), "--- PASS: "+t.Name()), "%v: %s", err, said)
		return
	}
	c := partytest.NewHTTPS(t)
	fresh, legacy := upgrades(t, "new"), upgrades(t, "legacy")
	c.Load("", `https://localhost {
		tls internal
		wsgi_party main {
			invite /__invite__/ as new
			invite /__invite__/ as legacy
			@new wsgi_party claimed_by new
			handle @new {
				wsgi_party_guest new {
					claim "GET /ws" "CONNECT /tunnel" "POST /post"
				}
				reverse_proxy `+fresh.Address()+`
			}
			handle {
				wsgi_party_guest legacy {
					url home /
				}
				reverse_proxy `+legacy.Address()+`
			}
		}
	}`)
	partytest.Eventually(t, "there is a certificate", func() bool { _, err := c.Handshake("localhost"); return err == nil })
	for protocol, visit := range map[string]func(*partytest.HTTPS, *http.Request) (*http.Response, error){"HTTP/1.1": byHTTP1, "HTTP/2": byHTTP2, "HTTP/3": byHTTP3} {
		for path, want := range map[string]string{"/ws": "new GET /ws", "/tunnel": "legacy GET /tunnel", "/post": "legacy GET /post"} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://localhost:"+c.Port+path, http.NoBody)
			check.Must(t, err)
			response, err := visit(c, r)
			check.FatalIf(t, err != nil, "%s %s: %v", protocol, path, err)
			got, err := io.ReadAll(response.Body)
			check.ErrorIf(t, err != nil || string(got) != want, "%s %s: %d %q %v, want %q", protocol, path, response.StatusCode, got, err, want)
			response.Body.Close()
			cancel()
		}
	}
}

func clientTLS(protocols ...string) *tls.Config {
	return &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, NextProtos: protocols}
}

func byHTTP1(_ *partytest.HTTPS, r *http.Request) (*http.Response, error) {
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Connection", "Upgrade")
	return (&http.Transport{DisableKeepAlives: true, TLSClientConfig: clientTLS()}).RoundTrip(r)
}

func byHTTP2(c *partytest.HTTPS, r *http.Request) (*http.Response, error) {
	r.Method = http.MethodConnect
	r.Header.Set(":protocol", "websocket")
	body, write := io.Pipe() // the client's side stays open
	r.Body = body
	c.Cleanup(func() { write.Close() })
	//lint:ignore SA1019 http.Transport refuses the header :protocol
	var transport http.RoundTripper = &http2.Transport{TLSClientConfig: clientTLS()}
	c.Cleanup((&http.Client{Transport: transport}).CloseIdleConnections)
	return transport.RoundTrip(r)
}

func byHTTP3(c *partytest.HTTPS, r *http.Request) (*http.Response, error) {
	r.Method, r.Proto = http.MethodConnect, "websocket"
	conn, err := quic.DialAddr(r.Context(), net.JoinHostPort("127.0.0.1", c.Port), clientTLS(http3.NextProtoH3), nil)
	if err != nil {
		return nil, err
	}
	c.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	client := new(http3.Transport).NewClientConn(conn)
	select {
	case <-client.ReceivedSettings():
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	stream, err := client.OpenRequestStream(r.Context())
	if err != nil {
		return nil, err
	}
	if err := stream.SendRequestHeader(r); err != nil {
		return nil, err
	}
	return stream.ReadResponse()
}
