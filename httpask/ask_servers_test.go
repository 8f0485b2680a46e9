// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestAnAskEndsWithItsClient has one of several asks, and of a batch, go.
func TestAnAskEndsWithItsClient(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
	asked, ended := make(chan struct{}, 8), make(chan struct{}, 8)
	partytest.ConnectRemote(t, operatorOf(c, "main").Partyline().Operator("patient"), "wait", func(ctx context.Context, _ any) (any, error) {
		asked <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return nil, ctx.Err()
	})
	var after atomic.Int64
	connectMain(c, "next", "wait", func(context.Context, any) (any, error) { return after.Add(1), nil })
	for _, a := range []partytest.Asking{{Key: one, Path: "/wait"}, {Key: one, Path: "/", Body: `[{"service": "wait"}, {"service": "wait"}]`}} {
		asks := 1 + strings.Count(a.Body, ",")
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := c.TryAsk(ctx, a)
			gone <- err
		}()
		for range asks {
			<-asked
		}
		leave()
		err := <-gone
		check.ErrorIf(t, !errors.Is(err, context.Canceled), err)
		for range asks {
			select {
			case <-ended:
			case <-time.After(time.Minute):
				t.Fatal("a handler goes on")
			}
		}
	}
	check.Nil(t, caddy.Stop()) // all requests have ended then
	check.Equal(t, after.Load(), 0, "asks when the client had gone")
	for line := range strings.Lines(partytest.Logged()) {
		check.ErrorIf(t, strings.Contains(line, `"level":"error"`), "the log says %s", line)
	}
}

// TestAnAskUnderWayOutlivesAReload lets the guest answer when another config runs.
func TestAnAskUnderWayOutlivesAReload(t *testing.T) {
	c := partytest.NewCaddy(t)
	begun, answer := make(chan struct{}), make(chan struct{})
	one := c.NewGuest("one", func(a *partytest.Application, r *http.Request, _ string) partytest.Reply {
		close(begun)
		<-answer
		// It is the new config that is asked. For a moment after a reload, Caddy's old
		// server resets a connection now and then, or answers it.
		response, err := a.AskBack(r, "name")
		for deadline := time.Now().Add(time.Minute); (err != nil || !strings.Contains(response.Body, "after")) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			response, err = a.AskBack(r, "name")
		}
		if err != nil {
			return partytest.Answer(500, err.Error())
		}
		return partytest.Answer(response.Status, json.RawMessage(partytest.CompactJSON(t, response.Body)))
	})
	two := partytest.Key(t, "two")
	config := func(name string) string {
		return one.Directives("slow") + "invite /two/__invite__/\nhandle_path /two/* {\nwsgi_party_guest {\nkey {env.two_PARTY_KEY}\nanswer name " + name + "\n}\n}"
	}
	c.Around(config("before"))
	got := make(chan partytest.Response, 1)
	go func() {
		response, err := c.TryAsk(t.Context(), partytest.Asking{Key: two, Path: "/slow"})
		check.Nil(t, err)
		got <- response
	}()
	<-begun
	loaded := make(chan error, 1)
	next := c.Adapt(c.AroundConfig(config("after")))
	go func() { loaded <- caddy.Load(next, true) }()
	partytest.Eventually(t, "the new config answers", func() bool {
		response, err := c.TryAsk(t.Context(), partytest.Asking{Key: one.Key, Path: "/name"})
		return err == nil && strings.Contains(response.Body, "after")
	})
	close(answer)
	answers := asked(t, <-got)[0].Answers
	check.ErrorIf(t, len(answers) != 1 || !strings.Contains(string(answers[0]), `"answers":["after"]`), "%s", answers)
	check.Nil(t, <-loaded)
}

// TestNoAskGoesWrongWhileConfigsReload has several ask all the time.
func TestNoAskGoesWrongWhileConfigsReload(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, two := c.LoadThreeGuests()
	stop := make(chan struct{})
	var good atomic.Int64
	var group sync.WaitGroup
	for i, key := range []string{one, two, one, two} {
		group.Go(func() {
			want := []string{`["two","keyless"]`, `["one","keyless"]`}[i%2]
			for {
				select {
				case <-stop:
					return
				default:
				}
				a := partytest.Asking{Key: key, Path: "/ping"}
				if i > 1 {
					a = partytest.Asking{Key: key, Path: "/", Body: `[{"service": "ping"}, {"service": "ping"}]`}
				}
				response, err := c.TryAsk(t.Context(), a)
				if err != nil {
					continue // for a moment Caddy's old server resets connections
				}
				if n := strings.Count(response.Body, `"answers":`+want); response.Status != 200 || n != 1+i/2 {
					t.Errorf("%d %s", response.Status, response.Body)
					return
				}
				good.Add(1)
			}
		})
	}
	for i := range 10 {
		before := good.Load()
		c.Around(fmt.Sprintf("respond /%d %d\n", i, 200+i) + partytest.ThreeGuests)
		partytest.Eventually(t, "asks go on", func() bool { return good.Load() > before+8 || t.Failed() })
	}
	close(stop)
	group.Wait()
}

// pingOver asks for ping over a transport of its own, and returns the protocol, the status and the
// body.
func pingOver(transport *http.Transport, url, key string) (string, error) {
	r, err := http.NewRequest("POST", url, strings.NewReader("null"))
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", "Bearer "+key)
	response, err := transport.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprint(response.Proto, " ", response.StatusCode, " ", string(body)), err
}

func TestAskingOverHTTP2(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := partytest.Key(t, "one"), partytest.Key(t, "two")
	partytest.Key(t, "next")
	config := c.Adapt("ADDRESS {\nwsgi_party main {\n" + partytest.ThreeGuests + "\n}\n}\nhttp://" + c.Endpoint + " {\nwsgi_party_ask main\n}")
	_, port, err := net.SplitHostPort(c.Endpoint)
	check.Must(t, err)
	listen := []byte(`"listen":[":` + port + `"]`)
	check.FatalIf(t, !bytes.Contains(config, listen), "%s has no %s", config, listen)
	config = bytes.Replace(config, listen, append(slices.Clone(listen), []byte(`,"protocols":["h1","h2c"]`)...), 1)
	check.Must(t, caddy.Load(config, true))
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			answer, err := pingOver(transport, "http://"+c.Endpoint+"/ping?first", one)
			check.ErrorIf(t, !strings.HasPrefix(answer, `HTTP/2.0 200 {"answers":["two"]`), answer, err)
		})
	}
	group.Wait()
}

func TestAskingOverAUnixSocket(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := partytest.Key(t, "one"), partytest.Key(t, "two")
	partytest.Key(t, "next")
	socket := filepath.Join(t.TempDir(), "party.sock")
	c.Load("ADDRESS {\nwsgi_party main {\n" + partytest.ThreeGuests + "\n}\n}\nhttp:// {\nbind unix/" + socket + "\nwsgi_party_ask main\n}")
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	answer, err := pingOver(transport, "http://party/ping", one)
	check.ErrorIf(t, !strings.HasPrefix(answer, `HTTP/1.1 200 {"answers":["two","keyless"]`), answer, err)
}

// TestAskingBehindMTLS has an endpoint that wants a certificate.
func TestAskingBehindMTLS(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := partytest.Key(t, "one"), partytest.Key(t, "two")
	partytest.Key(t, "next")
	private := check.Value(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	certificate := check.Value(x509.CreateCertificate(rand.Reader, template, template, private.Public(), private))(t)
	encodedKey := check.Value(x509.MarshalPKCS8PrivateKey(private))(t)
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: certificate}, "key": {Type: "PRIVATE KEY", Bytes: encodedKey}} {
		check.Must(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
	_, port, err := net.SplitHostPort(c.Endpoint)
	check.Must(t, err)
	config := "ADDRESS {\nwsgi_party main {\n" + partytest.ThreeGuests + "\n}\n}\nhttps://localhost:" + port + " {\ntls " + dir + "/cert " + dir + `/key {
		client_auth {
			mode require_and_verify
			trust_pool file ` + dir + `/cert
		}
	}
	wsgi_party_ask main
	}`
	c.Load(strings.Replace(config, "require_and_verify", "verify_if_given", 1))
	const open = "wsgi_party_ask can be reached from other machines"
	check.Equal(t, len(partytest.LogEntries(t, open)), 1, "certificates that nobody has to have")
	c.Load(config)
	check.Equal(t, len(partytest.LogEntries(t, open)), 1, "certificates that everybody has to have")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
	ping := func(own ...tls.Certificate) (string, error) {
		transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: own}}
		return pingOver(transport, "https://localhost:"+port+"/ping", one)
	}
	answer, err := ping(tls.Certificate{Certificate: [][]byte{certificate}, PrivateKey: private})
	check.ErrorIf(t, !strings.HasPrefix(answer, `HTTP/1.1 200 {"answers":["two","keyless"]`), "with a certificate:", answer, err)
	answer, err = ping()
	check.ErrorIf(t, err == nil, "without one, but with a key:", answer)
}
