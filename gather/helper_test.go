// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package gather_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestMain(m *testing.M) {
	partytest.Main(m, wsgiparty.Lookup, wsgiparty.Join, wsgiparty.OperatorFrom, wsgiparty.ErrHighAndDry)
}

// guests are applications of a test, which answer to doc what is set.
type guests struct {
	*partytest.Caddy
	party string
	loads int

	mu      sync.Mutex
	answers map[string]wsgiparty.Handler
	asked   map[string]*atomic.Int64
}

// raw answers JSON as it is; an error fails.
func raw(text string) any { return json.RawMessage(text) }

var errDown = errors.New("it is down")

// newGuests has guests that answer, of a party of their own, with nothing kept from before.
func newGuests(t testing.TB) *guests {
	t.Helper()
	kept.Clear()
	return &guests{Caddy: partytest.NewCaddy(t), party: partytest.FreshParty(), answers: make(map[string]wsgiparty.Handler), asked: make(map[string]*atomic.Int64)}
}

// on has a guest answer like that, and others again what they did.
func (g *guests) on(name string, answer any) {
	h, ok := answer.(func(context.Context, any) (any, error))
	if !ok {
		h = func(context.Context, any) (any, error) {
			err, _ := answer.(error)
			return answer, err
		}
	}
	g.set(name, h)
}

// isDown has the guest's application answer its invite, and all else, with an error.
func (g *guests) isDown(name string) { g.set(name, nil) }

func (g *guests) set(name string, h wsgiparty.Handler) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answers[name] = h
	if g.asked[name] == nil {
		g.asked[name] = new(atomic.Int64)
		partytest.App(g, name, func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
			if g.answer(name) == nil {
				return caddyhttp.Error(http.StatusBadGateway, errDown)
			}
			if operator, ok := wsgiparty.OperatorFrom(r); ok {
				return operator.Connect("doc", func(ctx context.Context, payload any) (any, error) {
					h := g.answer(name)
					g.asked[name].Add(1)
					if h == nil {
						return nil, errDown
					}
					return h(ctx, payload)
				})
			}
			return nil
		})
	}
}

func (g *guests) answer(name string) wsgiparty.Handler {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.answers[name]
}

// times returns how often a guest was asked.
func (g *guests) times(name string) int64 { return g.asked[name].Load() }

// serve loads a party of these guests, and handlers with these options at /doc, in the party.
func (g *guests) serve(options string, names ...string) {
	g.Helper()
	g.Site(g.config(options, names...))
}

func (g *guests) config(options string, names ...string) string {
	g.loads++
	var site strings.Builder
	fmt.Fprintf(&site, "wsgi_party %s {\n", g.party)
	for _, name := range names {
		fmt.Fprintf(&site, "invite /%[1]s/__invite__/\nhandle_path /%[1]s/* {\ntest_app %[1]s\n}\n", name)
	}
	fmt.Fprintf(&site, "handle /doc {\nheader Load %d\nwsgi_party_gather doc {\n%s\n}\n}\n}", g.loads, options)
	return site.String()
}

// doc returns the document.
func (g *guests) doc(header ...string) partytest.Response {
	g.Helper()
	return g.fetch("GET", "/doc", header...)
}

func (g *guests) fetch(method, path string, header ...string) partytest.Response {
	g.Helper()
	r := check.Value(http.NewRequest(method, "http://"+g.Address+path, nil))(g)
	for i := 0; i < len(header); i += 2 {
		if r.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	var response partytest.Response
	partytest.Eventually(g, "the site answers", func() bool { // right after a reload Caddy's old server may do so, or reset a connection
		var err error
		response, err = partytest.Send(r)
		return err == nil && response.Header.Get("Load") == fmt.Sprint(g.loads)
	})
	return response
}

// expect fails the test unless that is the document.
func (g *guests) expect(want string) {
	g.Helper()
	if r := g.doc(); r.Status != 200 || r.Body != want {
		g.Errorf("%d %s, want %s", r.Status, r.Body, want)
	}
}

// becomes waits until that is the document.
func (g *guests) becomes(want string) {
	g.Helper()
	last := ""
	defer func() {
		if g.Failed() {
			g.Log("it is " + last)
		}
	}()
	partytest.Eventually(g, "the document is "+want, func() bool {
		last = g.doc().Body
		return last == want
	})
}
