// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package claims_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestOneOfTwoThatComplementEachOtherMatches has what a guest claims, or its share, change between the two.
func TestOneOfTwoThatComplementEachOtherMatches(t *testing.T) {
	c := partytest.NewCaddyWithAdmin(t)
	var change atomic.Pointer[func()]
	change.Store(new(func()))
	partytest.App(t, "between", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		if f := *change.Load(); f != nil {
			f()
		}
		return next.ServeHTTP(w, r)
	})
	fresh := newGuest(t, "new", "GET /a")
	c.Site(`wsgi_party main {
		invite /__invite__/ as new
		route {
			@new wsgi_party claimed_by new share 0%
			test_app @new new
			test_app between
			@old not wsgi_party claimed_by new share 0%
			respond @old legacy
			@rewritten path /rewritten
			rewrite @rewritten /b
			@again not wsgi_party claimed_by new share 0%
			respond @again again
			respond nobody
		}
	}`)
	share := func(n string) func() {
		return func() { command(c, "share", "main", "new", n) }
	}
	setClaims := func(claims ...string) func() { return func() { fresh.set(claims...) } }
	get := func(path, want string, then func()) {
		t.Helper()
		change.Store(&then)
		expect(c, map[string]string{path: want})
	}
	get("/a", "legacy", share("100%"))
	get("/a", "new /a", nil)
	get("/b", "legacy", setClaims("GET /a", "GET /b"))
	get("/b", "new /b", nil)
	fresh.set()
	get("/b", "legacy", setClaims("GET /b"))
	asked := fresh.asked.Load()
	get("/c", "legacy", nil)
	check.Equal(t, fresh.asked.Load(), asked+1, "asked")
}

// TestAVisitorStaysTheSameForAllMatchers has what a visitor is told apart by change between matchers, of which one tells
// them apart by something else.
func TestAVisitorStaysTheSameForAllMatchers(t *testing.T) {
	c := partytest.NewCaddy(t)
	newGuest(t, "new", "GET /a")
	c.Site(`wsgi_party main {
		invite /__invite__/ as new
		route {
			@visitor wsgi_party claimed_by new share 50% by {header.Visitor}
			header @visitor Visitor new
			@device wsgi_party claimed_by new share 50% by {header.Device}
			header @device Device new
			request_header Visitor {header.Later}
			request_header Device {header.Later}
			@visitor_legacy not wsgi_party claimed_by new share 50% by {header.Visitor}
			header @visitor_legacy Visitor legacy
			@device_legacy not wsgi_party claimed_by new share 50% by {header.Device}
			header @device_legacy Device legacy
			@more wsgi_party claimed_by new share 100% by {header.Later}
			test_app @more new
		}
	}`)
	sides := make(map[string]int)
	for n := range 60 {
		got := raw(c, "/a", fmt.Sprint("Visitor: v", n%20), fmt.Sprint("Device: d", n%8+100), fmt.Sprint("Later: ", n))
		visitor, device := got.Header.Values("Visitor"), got.Header.Values("Device")
		check.FatalIf(t, len(visitor) != 1 || len(device) != 1 || got.Body != "new /a", "request %d: visitor %v, device %v, %q", n, visitor, device, got.Body)
		sides[visitor[0]+device[0]]++
	}
	check.ErrorIf(t, len(sides) != 4, "%v", sides)
}
