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
	config := `{"routes": [` + strings.Join(list, ",") + `]}`
	ctx := ProvisionContext(t)
	id := "http.handlers.subroute"
	if party {
		id = "http.handlers.wsgi_party"
		config = `{"invites": ["/app0/__invite__/"], ` + config[1:]
	}
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
