// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package vars_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestPlaceholdersInNamedRoutes has a party invoke one, or one that invokes another one.
func TestPlaceholdersInNamedRoutes(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Load(`
		&(links) {
			route {
				header X-Home {http.wsgi_party.url.shop:home}
				respond /links {http.wsgi_party.url.shop:item?slug=a}
			}
		}
		&(leads) {
			invoke links
		}
		&(itself) {
			route {
				respond /itself {http.wsgi_party.url.shop:home}
				invoke itself
			}
		}
		ADDRESS {
			wsgi_party main {` + shop + `
				invoke /links links
				invoke /leads leads
				handle /deep {
					invoke leads
				}
				invoke /itself itself
			}
			respond "behind {http.wsgi_party.url.shop:home}"
		}`)
	c.Expect("/links", 200, "/shop/items/a")
	for _, path := range []string{"/links", "/leads", "/deep"} {
		check.Equal(t, get(c, path, nil).Header.Get("X-Home"), "/shop/", path)
	}
	c.Expect("/itself", 200, "/shop/")
	c.Expect("/leads", 200, "behind /shop/")

	err := c.TryLoad("&(links) {\nrespond {http.wsgi_party.url.?a=b}\n}\nADDRESS {\nwsgi_party main {\ninvoke links\n}\n}")
	check.Fails(t, err, `in the routes of party "main": in the named route "links"`, "{http.wsgi_party.url.?a=b}", "names no page")
}

// TestPlaceholdersInNamedRoutesOfNamedRoutes has the party itself be in one: Caddy sets them up in any order.
func TestPlaceholdersInNamedRoutesOfNamedRoutes(t *testing.T) {
	c := partytest.NewCaddy(t)
	for i := range 8 {
		c.Load(`
		&(links) {
			respond "` + fmt.Sprint(i) + `{http.wsgi_party.url.p}"
		}
		&(party) {
			wsgi_party main {
				invoke links
			}
		}
		ADDRESS {
			invoke party
		}`)
		connectMain(t, "p", "url", partytest.Answers("/p"))
		c.ExpectSoon("/", 200, fmt.Sprint(i, "/p"))
	}
}

// TestWhatNoPlaceholderCosts counts what a request allocates in a party, beside one that passes
// the same routes with a placeholder in a route it does not take.
func TestWhatNoPlaceholderCosts(t *testing.T) {
	allocations := func(handler string) float64 {
		ctx := partytest.ProvisionContext(t)
		server := &caddyhttp.Server{NamedRoutes: map[string]*caddyhttp.Route{
			"plain": {HandlersRaw: rawHandlers(`{"handler": "static_response", "body": "{http.wsgi_party.guest}"}`)},
			"links": {HandlersRaw: rawHandlers(`{"handler": "static_response", "body": "{http.wsgi_party.url.x}"}`)},
		}}
		ctx.Context = context.WithValue(ctx.Context, caddyhttp.ServerCtxKey, server)
		loaded := check.Value(ctx.LoadModuleByID("http.handlers.wsgi_party", []byte(`{"name": "`+partytest.FreshParty()+`", "routes": [{"match": [{"path": ["/x"]}], "handle": [`+handler+`]}]}`)))(t).(caddyhttp.MiddlewareHandler)
		next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
		w := partytest.Discard{}
		return testing.AllocsPerRun(100, func() {
			r := check.Value(http.NewRequest("GET", "http://localhost/y", nil))(t)
			if err := loaded.ServeHTTP(w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, server), next); err != nil {
				t.Error(err)
			}
		})
	}
	none := allocations(`{"handler": "static_response"}`)
	for handler, want := range map[string]float64{
		`{"handler": "static_response", "body": "{http.wsgi_party.guest}"}`: 0,
		`{"handler": "static_response", "body": "{http.wsgi_party.url.x}"}`: 2,
		`{"handler": "invoke", "name": "plain"}`:                            0,
		`{"handler": "invoke", "name": "links"}`:                            2,
		`{"handler": "invoke", "name": "missing"}`:                          0,
	} {
		check.Equal(t, allocations(handler)-none, want, handler, "allocations for a placeholder that the request does not need")
	}
}

func rawHandlers(handlers ...string) (raw []json.RawMessage) {
	for _, handler := range handlers {
		raw = append(raw, json.RawMessage(handler))
	}
	return raw
}
