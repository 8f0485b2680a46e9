// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package php tests the client for PHP, which is not written in Go.
package php

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

func TestMain(m *testing.M) {
	partytest.Main(m, wsgiparty.Lookup, wsgiparty.Join, wsgiparty.OperatorFrom, wsgiparty.ErrHighAndDry)
}

// apcu are arguments of php that load nothing else but APCu.
var apcu = []string{"-n", "-d", "extension=apcu"}

// asking is where guests ask: in front of Caddy's own endpoint, to see what they send, or
// in its place.
type asking struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
	instead  http.HandlerFunc
}

func newAsking(t testing.TB, address string) *asking {
	transport := new(http.Transport)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	proxy.Transport = transport
	a := new(asking)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		a.requests, a.bodies = append(a.requests, r), append(a.bodies, string(body))
		instead := a.instead
		a.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		if instead != nil {
			instead(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		a.Close()
		transport.CloseIdleConnections()
	})
	return a
}

// seen returns what was asked since the last time.
func (a *asking) seen() ([]*http.Request, []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	requests, bodies := a.requests, a.bodies
	a.requests, a.bodies = nil, nil
	return requests, bodies
}

// count returns how many requests came since the last time.
func (a *asking) count() int {
	requests, _ := a.seen()
	return len(requests)
}

func (a *asking) do(instead http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.instead = instead
}

// party is a Caddy with a guest shop, which is not PHP, and applications in PHP.
type party struct {
	*partytest.Caddy
	key    string
	asking *asking
}

const shop = `
	handle_path /shop/* {
		wsgi_party_guest {
			url     cart   /cart
			url     item   /items/{id}{?ref}
			answer  price  9
		}
		respond "shop: {uri}"
	}`

// newParty loads a party with an application that is mounted at /<guest>. What is in the
// brackets follows wsgi_party_guest.
func newParty(t testing.TB, guest, application string) *party {
	t.Helper()
	p := &party{Caddy: partytest.NewCaddy(t), key: partytest.Key(t, guest)}
	address := testport.Address(t)
	p.asking = newAsking(t, address)
	p.Site(fmt.Sprintf("wsgi_party main {\nask_on %s %s/\ninvite /%s/__invite__/ /shop/__invite__/\n%s\nhandle_path /%[3]s/* {\nwsgi_party_guest {\nkey {env.%[3]s_PARTY_KEY}\n}\n%[5]s\n}\n}",
		address, p.asking.URL, guest, shop, application))
	return p
}

// joined waits until the guest has joined.
func (p *party) joined(guest string) {
	p.Helper()
	p.Cleanup(func() {
		if p.Failed() {
			p.Logf("%+v", wsgiparty.Parties())
		}
	})
	partytest.Eventually(p, guest+" joins", func() bool {
		return slices.ContainsFunc(wsgiparty.Parties()[0].Invites, func(i wsgiparty.InviteInfo) bool {
			return i.Guest == guest && i.Result == wsgiparty.InviteJoined && i.Status != 0
		})
	})
}

// page returns what a page says.
func (p *party) page(path string) string {
	p.Helper()
	status, body := p.Get(path)
	if status != http.StatusOK {
		p.Errorf("%s: %d %s", path, status, body)
	}
	return body
}

func (p *party) pageIs(path, want string) {
	p.Helper()
	if got := p.page(path); got != want {
		p.Errorf("%s:\n%s, want\n%s", path, got, want)
	}
}

// links returns the path of a page that links to these, with values.
func links(mount, values string, names ...string) string {
	return mount + "/links?" + url.Values{"to[]": names}.Encode() + "&" + values
}

// ask asks around as nobody.
func (p *party) ask(service string, payload any) string {
	p.Helper()
	answers, err := p.AskAround("main", service, payload)
	encoded, _ := json.Marshal(answers)
	if err != nil {
		return fmt.Sprintf("%s %v", encoded, err)
	}
	return string(encoded)
}

// urlFor is what Caddy has for a page.
func (p *party) urlFor(name, values string) string {
	p.Helper()
	decoder := json.NewDecoder(strings.NewReader(values))
	decoder.UseNumber()
	var decoded map[string]any
	if err := decoder.Decode(&decoded); err != nil {
		p.Fatal(err)
	}
	operator, _ := wsgiparty.Lookup("main")
	link, err := wsgiparty.URLFor(context.Background(), operator, name, decoded)
	if err != nil {
		return "error"
	}
	return link
}

func here(t testing.TB, path string) string {
	t.Helper()
	absolute, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return absolute
}

func jsonOf(values ...any) ([]byte, error) { return json.Marshal(values) }

// partyOutput is what a program writes, to be read meanwhile.
type partyOutput struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (o *partyOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(p)
}

func (o *partyOutput) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}

// cache returns where Symfony keeps what it has compiled, which is the same for all tests, for
// what it is compiled of. partytest.Main removes it.
func cache(of ...string) string {
	return filepath.Join(os.Getenv("HOME"), "symfony", strings.Join(append([]string{"of"}, of...), "-"))
}
