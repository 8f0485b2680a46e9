// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package page_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestOpenPagesHoldNeitherAReloadNorAStop has ten clients that poll as the page does, on connections of their own that
// they keep.
func TestOpenPagesHoldNeitherAReloadNorAStop(t *testing.T) {
	c := partytest.NewCaddy(t)
	directives := small(t)
	party := strings.Fields(directives)[1]
	config := "ADDRESS {\nwsgi_party_page /party " + party + "\n" + directives + "\n}"
	c.Load(config)
	ctx, end := context.WithCancel(t.Context())
	var polling sync.WaitGroup
	var served atomic.Int64
	for range 10 {
		transport := new(http.Transport)
		polling.Go(func() {
			defer transport.CloseIdleConnections()
			etag := ""
			for ctx.Err() == nil {
				r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+c.Address+"/party", nil)
				r.Header.Set("Accept", "application/json")
				r.Header.Set("If-None-Match", etag)
				if response, err := (&http.Client{Transport: transport}).Do(r); err == nil { // else Caddy is reloading, or has stopped
					partytest.ReadAll(t, response)
					etag = response.Header.Get("ETag")
					served.Add(1)
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	defer polling.Wait()
	defer end()
	more := func() {
		t.Helper()
		before := served.Load()
		partytest.Eventually(t, "the pages are served", func() bool { return served.Load() >= before+30 })
	}
	more()
	for range 3 {
		c.Load(config)
		more()
	}
	check.Must(t, caddy.Stop())
	check.ErrorIf(t, len(partytest.LogEntries(t, "server shutdown", "waiting for previous server shutdowns")) > 0, "a connection has held a server")
}
