// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Requests that are made to go to the wrong application.

package claims_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/claimpath"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// raw sends the site a request for the path as it is written, with more headers.
func raw(c *partytest.Caddy, path string, headers ...string) partytest.Response {
	c.Helper()
	return c.Raw("GET " + path + " HTTP/1.1\r\nHost: " + c.Address + "\r\nConnection: close\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n")
}

// TestNothingInARequestMatches has requests say in every way that they are an invite or an ask for new,
// or that new claims them, also by variables that the operator fills from what a client sends.
func TestNothingInARequestMatches(t *testing.T) {
	c := partytest.NewCaddy(t)
	newGuest(t, "new")
	newGuest(t, "legacy")
	c.Site(`wsgi_party main {
		invite /__invite__/ as new
		invite /__invite__/ as legacy
		@new wsgi_party claimed_by new
		route {
			vars {
				partyline {header.Guest}
				wsgi_party.claim {header.Guest}
				wsgi_party.guest {header.Guest}
				claimed_by {header.Guest}
			}
			test_app @new new
			test_app legacy
		}
	}`)
	headers := []string{"Guest: new"}
	for _, name := range []string{"Party-Token", "Party-Ask", "Party-Guest", "Party-Forward-Guest", "Party-Claim", "Claimed-By", "Wsgi-Party", "Partyline", "X-Forwarded-Prefix", "X-Original-URL", "X-Rewrite-URL", "Accept", "Authorization", "Cookie"} {
		for _, value := range []string{"new", "main/new", "/__invite__/", "application/vnd.wsgi-party+json", "Bearer new", "partyline=new", "eyJhbGciOiJub25lIn0.eyJhdWQiOiJuZXcifQ."} {
			headers = append(headers, name+": "+value)
		}
	}
	for _, path := range []string{"/", "/?partyline=new&claimed_by=new&guest=new&wsgi_party=new", "/new", "/__invite", "/x/__invite__/", "/wsgi_party/main/new", "http://" + c.Address + "/", "/;claimed_by=new"} {
		got := raw(c, path, headers...)
		check.ErrorIf(t, got.Status != 200 || !strings.HasPrefix(got.Body, "legacy "), "%s: %d %s", path, got.Status, got.Body)
		for _, header := range headers {
			got := raw(c, path, header, "Guest: new")
			check.ErrorIf(t, got.Status != 200 || !strings.HasPrefix(got.Body, "legacy "), "%s, %s: %d %s", path, header, got.Status, got.Body)
		}
	}
	got := raw(c, "/__invite__/", headers...)
	check.Equal(t, got.Status, 404, "status of the invite's path")
}

// places are configs with new and legacy at one mount, of which new claims the path as it sees it.
var places = map[string]string{
	"at the root": `
		invite /__invite__/ as new
		invite /__invite__/ as legacy
		@new wsgi_party claimed_by new
		handle @new {
			NEW
		}
		LEGACY`,
	"in front of what strips the mount": `
		invite /shop/__invite__/ as new
		invite /shop/__invite__/ as legacy
		@new wsgi_party claimed_by new
		handle @new {
			uri strip_prefix /shop
			NEW
		}
		handle_path /shop/* {
			LEGACY
		}
		respond nobody`,
	"behind what strips the mount": `
		invite /shop/__invite__/ as new
		invite /shop/__invite__/ as legacy
		handle_path /shop/* {
			@new wsgi_party claimed_by new
			handle @new {
				NEW
			}
			LEGACY
		}
		respond nobody`,
	"where nothing is stripped": `
		invite /shop/__invite__/ as new
		invite /shop/__invite__/ as legacy
		@new wsgi_party claimed_by new
		handle @new {
			NEW
		}
		handle /shop/* {
			LEGACY
		}
		respond nobody`,
	"between two that strip": `
		invite /a/shop/__invite__/ as new
		invite /a/shop/__invite__/ as legacy
		handle_path /a/* {
			@new wsgi_party claimed_by new
			handle @new {
				uri strip_prefix /shop
				NEW
			}
			handle_path /shop/* {
				LEGACY
			}
		}
		respond nobody`,
}

// spellings are paths that lead to one thing or another, by whoever reads them.
func spellings() (paths []string) {
	for _, mount := range []string{"", "/shop", "/SHOP", "/sho%70", "//shop", "/x/../shop", "/a/shop", "/a//shop", "/%61/shop/", "/shop;x", "/shop%2f.", "/shop%2f", "/a%2fshop", "/x%2f..%2fshop", "/a/x/%2e%2e/shop", "/shop/%2e%2e/shop", "/shop/../a/shop"} {
		for _, rest := range []string{"/admin/", "/admin", "/admin/x", "//admin/x", "/admin//x", "/Admin/x", "/%61dmin/x", "/admin%2fx", "/admin/%2fx", "/x%2fadmin/y", "/./admin/x", "/%2e/admin/x", "/x/../admin/x", "/x/%2e%2e/admin/x",
			"/x/%2E./admin", "/x%2f..%2fadmin/y", "/admin/..", "/admin/../x", "/admin/%2e%2e/x", "/admin/..%2fx", "/admin%2f..%2fx", "/admin/..;/x", "/admin;x=1/y", "/admin/;x", "/;/admin/x", "/admin%3bx/y", "/admin%00/x", "/admin%252fx", "/admin/%252e%252e/x", `/admin\x`, "/admin%5c..%5cx", "/admin?/../x", "/page", "/Page", "/page/", "//page", "/pag%65", "/page%2f", "/page;x", "/page%3bx", "/.%2fpage", "/page/.", "/page/x/.."} {
			paths = append(paths, mount+rest)
		}
	}
	return paths
}

// TestAPathIsClaimedByTheApplicationThatReceivesIt has applications that are Go's, and so see paths as the
// patterns do: new, which claims what it has pages for, gets requests for these pages alone, and legacy gets none.
func TestAPathIsClaimedByTheApplicationThatReceivesIt(t *testing.T) {
	// has reports whether new has a page at the path that an application was sent.
	has := func(t *testing.T, pages *http.ServeMux, seen string) bool {
		u, err := url.ParseRequestURI(seen)
		check.Must(t, err)
		r := httptest.NewRequest("GET", "http://localhost"+claimpath.Clean(u), nil)
		_, pattern := pages.Handler(r)
		return pattern != ""
	}
	for place, config := range places {
		t.Run(place, func(t *testing.T) {
			c := partytest.NewCaddy(t)
			fresh, legacy := partytest.NewApplication(t, "", says("new")), partytest.NewApplication(t, "", says("legacy"))
			prefix, claimed, pages := "", "", http.NewServeMux()
			if place == "where nothing is stripped" {
				prefix = "/shop"
			}
			for _, pattern := range []string{prefix + "/admin/", "GET " + prefix + "/page"} {
				claimed += "claim \"" + pattern + "\"\n"
				pages.Handle(pattern, http.NotFoundHandler())
			}
			c.Site("wsgi_party main {" + strings.NewReplacer("NEW", "wsgi_party_guest new {\n"+claimed+"}\nreverse_proxy "+fresh.Address(),
				"LEGACY", "wsgi_party_guest legacy {\nurl home /\n}\nreverse_proxy "+legacy.Address()).Replace(config) + "\n}")
			counts := make(map[string]int)
			for _, path := range spellings() {
				got := raw(c, path)
				name, seen, _ := strings.Cut(got.Body, " GET ")
				counts[name]++
				if got.Status == 400 || name == "nobody" {
					continue
				}
				check.ErrorIf(t, got.Status != 200 || (name == "new") != has(t, pages, seen), "%s: %d, %s gets %s", path, got.Status, name, seen)
			}
			t.Log(counts)
			check.ErrorIf(t, counts["new"] < 20 || counts["legacy"] < 20, "%v", counts)
		})
	}
}
