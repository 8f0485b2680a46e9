// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package throughcaddy has the tests of reservedheader that need Caddy, apart from
// the fuzz tests, which it would slow down.
package throughcaddy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/fcgi"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgiparty/wsgiparty/internal/reservedheader"
	"github.com/wsgiparty/wsgiparty/internal/testport"

	_ "github.com/caddyserver/caddy/v2/modules/caddyevents"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/fastcgi"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "reservedheader")
	if err != nil {
		log.Fatal(err)
	}
	for _, variable := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		os.Setenv(variable, dir)
	}
	caddy.DefaultStorage.Path = filepath.Join(dir, "storage")
	caddy.RegisterModule(guest{})
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// guest is a handler that sets the reserved headers, as the party does, after
// stripping them or not.
type guest struct {
	Strip bool `json:"strip"`
}

func (guest) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_guest", New: func() caddy.Module { return new(guest) }}
}

func (g guest) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if g.Strip {
		reservedheader.Strip(r)
	}
	r.Header.Set(reservedheader.Token, "the party's")
	r.Header.Set(reservedheader.Prefix, "/the/party's")
	return next.ServeHTTP(w, r)
}

// seen is what reached the application.
type seen struct{ Header, Trailer http.Header }

// all returns the values of all headers and trailers that an application may take
// for this one.
func (s seen) all(reserved string) []string {
	var values []string
	for _, h := range []http.Header{s.Header, s.Trailer} {
		for name, v := range h {
			if strings.EqualFold(strings.NewReplacer("_", "-", ".", "-").Replace(name), reserved) {
				values = append(values, v...)
			}
		}
	}
	return values
}

// startCaddy starts Caddy before one application that is reached as its path says:
// /http or /fcgi, and /strip/... with the protection.
func startCaddy(t *testing.T) (address string) {
	t.Helper()
	application := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = json.NewEncoder(w).Encode(seen{r.Header, r.Trailer})
	})
	backend := httptest.NewServer(application)
	t.Cleanup(backend.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = fcgi.Serve(listener, application) }()
	t.Cleanup(func() { listener.Close() })

	type object = map[string]any
	var routes []object
	for _, strip := range []bool{true, false} {
		for path, proxy := range map[string]object{
			"/http": {"upstreams": []object{{"dial": backend.Listener.Addr().String()}}},
			"/fcgi": {"upstreams": []object{{"dial": listener.Addr().String()}}, "transport": object{"protocol": "fastcgi", "root": "/", "split_path": []string{".php"}}},
		} {
			proxy["handler"] = "reverse_proxy"
			if strip {
				path = "/strip" + path
			}
			routes = append(routes, object{"match": []object{{"path": []string{path + "/*"}}}, "handle": []object{{"handler": "test_guest", "strip": strip}, proxy}})
		}
	}
	address = testport.Address(t)
	config, err := json.Marshal(object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": object{"writer": object{"output": "discard"}}}},
		"apps": object{"http": object{"grace_period": 1, "servers": object{"test": object{
			"listen": []string{address}, "protocols": []string{"h1", "h2c"}, "routes": routes,
			// Caddy by itself lets no "_" and no "." pass.
			"expected_underscore_headers": []string{"party_*", "x_*", "Party_token", "X_forwarded-Prefix", "X-Forwarded_prefix", "X_forwarded.prefix", "X.forwarded_prefix"},
			"expected_dot_headers":        []string{"party.*", "x.*", "X-Forwarded.prefix"},
		}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return address
}

// TestThroughCaddy makes every attack on an application behind reverse_proxy and
// behind FastCGI. Each must succeed without the protection: else it shows nothing.
func TestThroughCaddy(t *testing.T) {
	address := startCaddy(t)
	type attack struct {
		proxies []string
		head    string
		trailer string // instead of no body
	}
	both := []string{"http", "fcgi"}
	attacks := map[string]attack{
		"named in Connection":         {both, "Connection: close, Party-Token, x-forwarded-prefix\r\n", ""},
		"announced trailer":           {both[:1], "Connection: close\r\nTrailer: Party-Token, x_forwarded.prefix\r\n", "Party-Token: forged\r\nx_forwarded.prefix: forged\r\n"},
		"late trailer":                {both[:1], "Connection: close\r\nTrailer: X-Checksum\r\n", "X-Checksum: sum\r\nparty.token: forged\r\nX-Forwarded-Prefix: forged\r\n"},
		"late trailer, more than one": {both[:1], "Connection: close\r\nTrailer: X-Checksum\r\n", "PARTY_TOKEN: forged\r\nParty-Token: forged\r\nX-Checksum: sum\r\n"},
	}
	// Caddy drops those with "-" alone, as it lets the others pass.
	for _, name := range []string{
		"Party_Token", "Party.Token", "X_Forwarded_Prefix", "X.Forwarded.Prefix", "X-Forwarded_Prefix", "X_Forwarded-Prefix",
		"X-Forwarded.Prefix", "X.Forwarded-Prefix", "X_Forwarded.Prefix", "X.Forwarded_Prefix",
	} {
		for _, written := range []string{name, strings.ToUpper(name), strings.ToLower(name)} {
			attacks["header "+written] = attack{both, "Connection: close\r\n" + written + ": forged\r\n", ""}
		}
	}
	for name, a := range attacks {
		for _, proxy := range a.proxies {
			// FastCGI takes one of two names that become the same at random.
			succeeded := false
			for range 64 {
				if succeeded = !clean(send(t, address, "/"+proxy+"/x.php", a.head, a.trailer)); succeeded {
					break
				}
			}
			if !succeeded {
				t.Errorf("%s, %s: it fails without the protection, too", name, proxy)
			}
			for range 8 {
				got := send(t, address, "/strip/"+proxy+"/x.php", a.head, a.trailer)
				if !clean(got) {
					t.Errorf("%s, %s: %v", name, proxy, got)
				}
				if strings.Contains(a.trailer, "X-Checksum") && got.Trailer.Get("X-Checksum") != "sum" {
					t.Errorf("%s, %s: trailers %v", name, proxy, got.Trailer)
				}
			}
		}
	}
}

// clean reports whether the application has what the party says, and only that.
func clean(s seen) bool {
	return slices.Equal(s.all(reservedheader.Token), []string{"the party's"}) && slices.Equal(s.all(reservedheader.Prefix), []string{"/the/party's"})
}

// send sends a request as it is and returns what reached the application.
func send(t *testing.T, address, path, head, trailer string) seen {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := "GET " + path + " HTTP/1.1\r\nHost: example.com\r\n" + head
	if trailer == "" {
		request += "\r\n"
	} else {
		request += "Transfer-Encoding: chunked\r\n\r\n7\r\ncontent\r\n0\r\n" + trailer + "\r\n"
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return decode(t, response)
}

func decode(t *testing.T, response *http.Response) (s seen) {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("status %d, error %v, body %.200s", response.StatusCode, err, body)
	}
	return s
}

// TestTrailersThroughCaddyOverHTTP2 announces what it sends: net/http drops the rest.
func TestTrailersThroughCaddyOverHTTP2(t *testing.T) {
	address := startCaddy(t)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	forged := http.Header{"Party-Token": {"forged"}, "X_forwarded-Prefix": {"forged"}}
	for path, want := range map[string]bool{"/http/": false, "/strip/http/": true} {
		r, err := http.NewRequest(http.MethodPost, "http://"+address+path, io.NopCloser(strings.NewReader("content")))
		if err != nil {
			t.Fatal(err)
		}
		r.Trailer = maps.Clone(forged)
		r.Trailer["X-Checksum"] = []string{"sum"}
		response, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		got := decode(t, response)
		response.Body.Close()
		if response.ProtoMajor != 2 || clean(got) != want || fmt.Sprint(got.Trailer["X-Checksum"]) != "[sum]" {
			t.Errorf("%s %s: %+v", response.Proto, path, got)
		}
	}
}

// Interface guards
var _ caddyhttp.MiddlewareHandler = guest{}
