// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/party"
)

const anyParty = "wsgi_party {\ntest_app sites\n}\n"

// TestHasHost has sites of several kinds, with Caddy's redirects where there are any.
func TestHasHost(t *testing.T) {
	for _, test := range []struct {
		name, config string
		has, lacks   []string
	}{
		{"hosts", "shop.localhost, Blog.localhost {\n" + anyParty + "}", []string{"shop.localhost", "blog.localhost", "SHOP.localhost"},
			[]string{"", "localhost", "x.shop.localhost", "shop.localhost.", "shop.example.com", "127.0.0.1"}},
		{"wildcards", "*.shop.localhost, a.*.localhost {\n" + anyParty + "}", []string{"x.shop.localhost", "A.x.localhost", "*.shop.localhost"},
			[]string{"shop.localhost", "y.x.shop.localhost", "b.x.localhost", "xshop.localhost", "x.shop.localhost."}},
		{"names in Unicode and in the environment", "bücher.localhost, {$SITE_A}, {env.SITE_B} {\n" + anyParty + "}", []string{"xn--bcher-kva.localhost", "a.localhost", "b.localhost"},
			[]string{"bücher.localhost", "", "{env.site_b}"}},
		{"a site for every host", "shop.localhost {\n" + anyParty + "}\nhttp:// {\nrespond ok\n}", []string{"shop.localhost", "shop.example.com", ""}, nil},
		{"a site for every host by https", "https:// {\ntls internal {\non_demand\n}\n" + anyParty + "}", []string{"shop.example.com"}, nil},
		{"a site for every host with a path only", "http:// {\nhandle /shop/* {\n" + anyParty + "}\n}", []string{"shop.example.com"}, nil},
		{"hosts of routes within a site", "shop.localhost, blog.localhost {\n@blog host blog.localhost www.localhost\nhandle @blog {\n" + anyParty + "}\n}", []string{"shop.localhost", "blog.localhost"}, []string{"www.localhost"}},
		{"hosts that a site does not have", "http:// {\n@other not host shop.localhost\nhandle @other {\n" + anyParty + "}\n}", []string{"blog.localhost", "shop.localhost"}, nil},
		{"several servers", "http://a.localhost {\nrespond ok\n}\nb.localhost {\n" + anyParty + "}\n", []string{"a.localhost", "b.localhost"}, []string{"c.localhost"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("SITE_A", "a.localhost")
			t.Setenv("SITE_B", "B.localhost")
			var inProvision *party.App
			partytest.OnProvision(t, "sites", func(ctx caddy.Context) (err error) {
				inProvision, err = party.AppOf(ctx)
				for _, host := range test.has {
					check.ErrorIf(t, !inProvision.HasHost(host), "in Provision no site has %q", host)
				}
				return err
			})
			c := partytest.NewHTTPS(t)
			c.Load("local_certs", test.config)
			app, ok := party.Running()
			check.FatalIf(t, !ok || app != inProvision, "%v is not the app of the running config", app)
			for _, host := range test.has {
				check.ErrorIf(t, !app.HasHost(host), "no site has %q", host)
			}
			for _, host := range test.lacks {
				check.ErrorIf(t, app.HasHost(host), "a site has %q", host)
			}
			if test.name == "hosts" {
				response, err := http.DefaultTransport.RoundTrip(httptest.NewRequest("GET", "http://127.0.0.1:"+c.HTTPPort, nil))
				check.Must(t, err)
				response.Body.Close()
				check.Equal(t, response.StatusCode, http.StatusPermanentRedirect, "Caddy's own redirect for every host answers")
			}
		})
	}
}

// TestHasHostOfRoutesWithoutAHostMatcher has what else may tell hosts apart not count, unless a host matcher is beside it.
func TestHasHostOfRoutesWithoutAHostMatcher(t *testing.T) {
	for match, every := range map[string]bool{
		`{"expression": "host('shop.localhost')"}`:                               true,
		`{"not": [{"host": ["shop.localhost"]}]}`:                                true,
		`{"header": {"Host": ["shop.localhost"]}}`:                               true,
		`{"host": ["shop.localhost"], "not": [{"host": ["blog.localhost"]}]}`:    false,
		`{"host": ["shop.localhost"], "expression": "host('www.localhost')"}`:    false,
		`{"host": ["shop.localhost"]}, {"expression": "host('shop.localhost')"}`: true,
	} {
		c := partytest.NewCaddy(t)
		c.LoadJSON([]byte(`{"admin": {"disabled": true}, "apps": {"http": {"servers": {"site": {"listen": ["` + c.Address + `"], "automatic_https": {"disable": true}, "routes": [
			{"match": [` + match + `], "handle": [{"handler": "wsgi_party"}]}]}}}}}`))
		app, _ := party.Running()
		check.Equal(t, app.HasHost("shop.localhost"), true, match)
		check.Equal(t, app.HasHost("blog.localhost"), every, match)
		check.Equal(t, app.HasHost(""), every, match)
	}
}

// TestHasHostWithoutSites has a config of no site, and one that has not been provisioned.
func TestHasHostWithoutSites(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.LoadJSON([]byte(`{"admin": {"disabled": true}, "apps": {"wsgi_party": {}}}`))
	app, _ := party.Running()
	check.ErrorIf(t, app.HasHost("shop.localhost") || app.HasHost(""), "a site has a host")
	check.ErrorIf(t, new(party.App).HasHost("shop.localhost"), "a site has a host")
}

func BenchmarkHasHost(b *testing.B) {
	partytest.OnProvision(b, "sites", func(caddy.Context) error { return nil })
	c := partytest.NewCaddy(b)
	c.Load("http://a.localhost, http://b.localhost, http://*.c.localhost {\n" + anyParty + "}")
	app, _ := party.Running()
	for _, host := range []string{"b.localhost", "x.c.localhost", "d.localhost"} {
		b.Run(host, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				app.HasHost(host)
			}
		})
	}
}
