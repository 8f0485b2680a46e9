// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// BenchChain is a handler with many routes, of which the first matches. Each has an
// application, and what stands in front of it.
type BenchChain struct {
	handler caddyhttp.MiddlewareHandler
	request *http.Request
	writer  http.ResponseWriter
}

var emptyHandler = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

// Serve passes the request through it.
func (c *BenchChain) Serve() {
	if err := c.handler.ServeHTTP(c.writer, c.request, emptyHandler); err != nil {
		panic(err)
	}
}

// Request is the one that is passed.
func (c *BenchChain) Request() *http.Request { return c.request }

// Discard is a ResponseWriter that costs nothing.
type Discard http.Header

func (d Discard) Header() http.Header { return http.Header(d) }

func (Discard) Write(p []byte) (int, error) { return len(p), nil }

func (Discard) WriteHeader(int) {}

// NewBenchChain makes one, of a party or of a subroute, with these handlers in front of each
// application.
func NewBenchChain(t testing.TB, routes int, party bool, handlers ...string) *BenchChain {
	t.Helper()
	App(t, "bench", func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return nil })
	handlers = append(handlers, `{"handler": "test_app", "key": "bench"}`)
	var list []string
	for i := range routes {
		list = append(list, fmt.Sprintf(`{"match": [{"path": ["/app%d/*"]}], "handle": [%s], "terminal": true}`, i, strings.Join(handlers, ",")))
	}
	config := `"routes": [` + strings.Join(list, ",") + `]`
	if party {
		return newBenchChain(t, "http.handlers.wsgi_party", `{"invites": ["/app0/__invite__/"], `+config+"}")
	}
	return newBenchChain(t, "http.handlers.subroute", "{"+config+"}")
}

// NewBenchGuest makes one of a party with these options and one application, mounted at /app0
// behind a guest handler.
func NewBenchGuest(t testing.TB, party, guest string) *BenchChain {
	t.Helper()
	App(t, "bench", func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return nil })
	return newBenchChain(t, "http.handlers.wsgi_party", `{"invites": ["/app0/__invite__/"], `+party+`"routes": [{"match": [{"path": ["/app0/*"]}], "handle": [{"handler": "rewrite", "strip_path_prefix": "/app0"},
		{"handler": "wsgi_party_guest", "urls": {"home": "/"}`+guest+`}, {"handler": "rewrite", "uri": "/app0/x"}, {"handler": "test_app", "key": "bench"}]}]}`)
}

func newBenchChain(t testing.TB, id, config string) *BenchChain {
	t.Helper()
	ctx := ProvisionContext(t)
	handler, err := ctx.LoadModuleByID(id, []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest("GET", "http://localhost/app0/articles/2026/11/22", nil)
	if err != nil {
		t.Fatal(err)
	}
	writer := Discard{}
	request = caddyhttp.PrepareRequest(request, caddy.NewReplacer(), writer, new(caddyhttp.Server))
	return &BenchChain{handler.(caddyhttp.MiddlewareHandler), request, writer}
}
