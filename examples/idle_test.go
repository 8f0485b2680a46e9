// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package examples

import (
	"context"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// idleConnections returns how many Caddy keeps to an application. Some of them it may have opened and not
// used yet, because another one became free first.
func idleConnections(t *testing.T) int {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	var transport reverseproxy.HTTPTransport
	check.Must(t, transport.Provision(ctx))
	return transport.KeepAlive.MaxIdleConnsPerHost
}

// testIdle opens as many connections as Caddy keeps, sends nothing, and visits each application beside them.
func (r *running) testIdle(t *testing.T) {
	for _, application := range processes {
		if application == "php" {
			continue // speaks FastCGI, for which Caddy keeps no connections
		}
		t.Run(application, func(t *testing.T) {
			t.Parallel()
			dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.dir, application+".sock"))
			}
			for range idleConnections(t) {
				conn := check.Value(dial(t.Context(), "", ""))(t)
				defer conn.Close()
			}
			direct := &http.Transport{DialContext: dial, DisableKeepAlives: true}
			for range 12 { // more than there are worker processes
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				request := check.Value(http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/__invite__/", nil))(t)
				response, err := direct.RoundTrip(request)
				check.FatalIf(t, err != nil, "beside idle connections: %v", err)
				response.Body.Close()
			}
		})
	}
}

// TestGunicornHasMoreThreadsThanCaddyKeepsConnections reads how the examples that need more than gunicorn to run
// have it started.
func TestGunicornHasMoreThreadsThanCaddyKeepsConnections(t *testing.T) {
	threads := regexp.MustCompile(`\bgunicorn\b.*--threads\W+(\d+)`)
	found := 0
	check.Must(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || filepath.Ext(path) == ".go" {
			return err
		}
		for _, match := range threads.FindAllSubmatch(check.Value(os.ReadFile(path))(t), -1) {
			found++
			n := check.Value(strconv.Atoi(string(match[1])))(t)
			check.ErrorIf(t, n <= idleConnections(t), "%s starts %d threads, and Caddy keeps %d connections", path, n, idleConnections(t))
		}
		return nil
	}))
	check.ErrorIf(t, found < 4, "%d files start gunicorn with threads", found)
}
