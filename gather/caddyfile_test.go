// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package gather_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/gather"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// lines are what may stand in the block, and the JSON it adapts to.
var lines = map[string]string{
	"":                                  `{}`,
	"party main":                        `{"party": "main"}`,
	"as list":                           `{"as": "list"}`,
	"as map":                            `{"as": "map"}`,
	"as merge":                          `{"as": "merge"}`,
	"as lines":                          `{"as": "lines"}`,
	"as linkset":                        `{"as": "linkset"}`,
	"as sitemapindex":                   `{"as": "sitemapindex"}`,
	"as openapi":                        `{"as": "openapi"}`,
	"as opml":                           `{"as": "opml"}`,
	"payload `null`":                    `{"payload": null}`,
	"payload home":                      "error: not JSON",
	"payload {\na\n}":                   "error: in backquotes",
	"payload a b":                       "error: in backquotes",
	"payload_types":                     "error: payload_types <member>...",
	"payload_types a":                   "error: no member of the payload has a placeholder",
	"rebase href anchor":                `{"rebase": ["href", "anchor"]}`,
	"rebase":                            "error: rebase <member>...",
	"rebase .url .in.href a.b":          `{"rebase": [".url", ".in.href", "a.b"]}`,
	"rebase .":                          `error: rebase has "."`,
	"rebase .a..b":                      "error: as in `rebase .links.href`",
	`rebase ""`:                         "error: rebase has an empty argument",
	"cache 5s":                          `{"cache": {"fresh": 5000000000}}`,
	"cache 5s 0s":                       `{"cache": {"fresh": 5000000000, "stale": 0}}`,
	"cache 1m 7d":                       `{"cache": {"fresh": 60000000000, "stale": 604800000000000}}`,
	"cache off":                         `{"cache": {"off": true}}`,
	"cache off 5s":                      "error: cache off takes no duration",
	"cache 0s":                          `error: or ` + "`cache off`",
	"cache 5":                           `error: cache has "5"`,
	"cache -5s":                         `error: cache has "-5s"`,
	"cache 5s 1s 1s":                    "error: cache <fresh> [<stale>]|off",
	"cache 1s 10000h":                   "error: durations of up to",
	"absent omit":                       `{"absent": "omit"}`,
	"absent note":                       `{"absent": "note"}`,
	"absent fail":                       `{"absent": "fail"}`,
	"absent maybe":                      "error: it may be fail, note, omit",
	"type text/x-opml":                  `{"type": "text/x-opml"}`,
	"type json":                         `error: type is "json"`,
	"max_response 1MiB":                 `{"max_response": 1048576}`,
	"max_response 9MiB":                 "error: up to 8 MiB",
	"max_response x":                    "error: write a size",
	"as lists":                          "error: did you mean list?",
	"as list {\n}":                      "error: as takes no block",
	"as list\nas map":                   "error: as already specified",
	"rebsae href":                       "error: did you mean rebase?",
	"payload `{\"name\": \"sitemap\"}`": `{"payload": {"name": "sitemap"}}`,
	"payload `{\"n\": \"{http.request.uri.query.n}\"}`\npayload_types n": `{"payload": {"n": "{http.request.uri.query.n}"}, "payload_types": ["n"]}`,
}

func TestCaddyfile(t *testing.T) {
	for line, want := range lines {
		caddyfile := "localhost {\nwsgi_party_gather /menu nav {\n" + line + "\n}\n}"
		config, _, err := partytest.AdaptCaddyfile(caddyfile)
		if failure, fails := strings.CutPrefix(want, "error: "); fails {
			if err == nil {
				t.Errorf("%s adapts to %s", line, config)
				continue
			}
			check.Contains(t, err.Error(), []string{failure, "Caddyfile:"}, line)
			continue
		}
		check.FatalIf(t, err != nil, line, err)
		handlers := partytest.HandlersIn(partytest.DecodeJSON(t, config), "wsgi_party_gather")
		check.FatalIf(t, len(handlers) != 1, line, string(config))
		partytest.CheckAdaptedAgain(t, caddyfile, config)
		if !strings.Contains(line, "null") { // which decodes to none
			partytest.CheckHandlers[gather.Gather](t, config, "wsgi_party_gather")
		}
		delete(handlers[0], "handler")
		check.Equal(t, handlers[0]["service"], any("nav"))
		delete(handlers[0], "service")
		check.Deep(t, handlers[0], partytest.DecodeJSON(t, []byte(want)), line)
	}
	for line, want := range map[string]string{"": "wsgi_party_gather <service>", "a b": "wsgi_party_gather <service>", `""`: "the service is empty"} {
		_, _, err := partytest.AdaptCaddyfile("localhost {\nwsgi_party_gather " + line + "\n}")
		check.Fails(t, err, want)
	}
}

// TestConfigsThatCannotBe have no Caddyfile.
func TestConfigsThatCannotBe(t *testing.T) {
	for config, want := range map[string]string{
		`{"party": "main"}`: "the service is empty",
		`{"party": "main", "service": "nav", "as": "x"}`:                             "as is \"x\"",
		`{"party": "main", "service": "nav", "cache": {"off": true, "fresh": "5s"}}`: "write one of the two",
		`{"party": "main", "service": "nav", "cache": {"fresh": -5}}`:                "write durations",
		`{"party": "main", "service": "nav", "max_response": -1}`:                    "above zero",
		`{"party": "main", "service": "nav", "type": "a/b\r\nX: y"}`:                 "not a media type",
	} {
		ctx := partytest.ProvisionContext(t)
		_, err := ctx.LoadModuleByID("http.handlers.wsgi_party_gather", json.RawMessage(config))
		check.Fails(t, err, want)
	}
	check.Equal(t, new(gather.Gather).CaddyModule().ID, caddy.ModuleID("http.handlers.wsgi_party_gather"))
}

// TestItIsOrderedBeforeRespond has both match.
func TestItIsOrderedBeforeRespond(t *testing.T) {
	g := newGuests(t)
	g.on("one", 1)
	g.Site(strings.Replace(g.config("", "one"), "wsgi_party_gather", "respond 404\nwsgi_party_gather", 1))
	g.expect("[1]")
}
