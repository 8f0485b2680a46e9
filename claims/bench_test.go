// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package claims_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/measure"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// routes is a party with two applications, of which the first has the requests that the matcher
// matches, and claims by 100 patterns. Handlers stand in front of both.
type routes struct {
	*wsgiparty.Party
	matcher caddyhttp.RequestMatcherWithError
}

var end = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

func newRoutes(t testing.TB, matcher string) *routes {
	t.Helper()
	partytest.App(t, "bench", func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return nil })
	var patterns []string
	for i := range 98 {
		patterns = append(patterns, fmt.Sprintf(`"GET /section%d/pages/{id}"`, i))
	}
	patterns = append(patterns, `"/reports/"`, `"GET /users/{id}/posts/{post}"`)
	config := `{"name": "` + partytest.FreshParty() + `", "invites": [{"uri": "/__invite__/", "guest": "new"}, {"uri": "/__invite__/", "guest": "legacy"}], "routes": [
		{"group": "g", "match": [` + matcher + `], "handle": [{"handler": "wsgi_party_guest", "name": "new", "claims": [` + strings.Join(patterns, ",") + `]}, {"handler": "test_app", "key": "bench"}]},
		{"group": "g", "handle": [{"handler": "wsgi_party_guest", "name": "legacy", "urls": {"home": "/"}}, {"handler": "test_app", "key": "bench"}]}]}`
	module, err := partytest.ProvisionContext(t).LoadModuleByID("http.handlers.wsgi_party", json.RawMessage(config))
	check.Must(t, err)
	p := module.(*wsgiparty.Party)
	return &routes{p, p.Routes[0].MatcherSets[0][0].(caddyhttp.RequestMatcherWithError)}
}

// request returns one as servers make it.
func request(t testing.TB, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequest("GET", "http://example.com"+path, nil)
	check.Must(t, err)
	r.RemoteAddr = "198.51.100.7:1234"
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), partytest.Discard{}, new(caddyhttp.Server))
}

func (b *routes) serve(r *http.Request) {
	if err := b.ServeHTTP(partytest.Discard{}, r, end); err != nil {
		panic(err)
	}
}

const (
	byClaim = `{"wsgi_party": {"claimed_by": "new"}}`
	byShare = `{"wsgi_party": {"claimed_by": "new", "share": "50%"}}`
	byPath  = `{"path": ["/section*", "/reports/*", "/users/*"]}`
)

// visits are paths, and whether they are claimed.
var visits = map[string]bool{"/section50/pages/7": true, "/reports/2026/11": true, "/users/7/posts/8": true, "/": false, "/section50/other/7": false, "/invoices/2026/11/22": false}

func TestAMatchAllocatesAtMostThreeTimes(t *testing.T) {
	for _, matcher := range []string{byClaim, byShare} {
		b := newRoutes(t, matcher)
		for path, claimed := range visits {
			r := request(t, path)
			matches := func() {
				if matched, err := b.matcher.MatchWithError(r); err != nil || matched && !claimed || claimed && !matched && matcher == byClaim {
					panic(fmt.Sprint(path, matched, err))
				}
			}
			matches() // the table of variables may grow
			got := testing.AllocsPerRun(100, matches)
			t.Log(path, got)
			check.ErrorIf(t, got > 3, "%s %s: %v allocations", matcher, path, got)
		}
	}
}

// BenchmarkMatch asks a guest of 100 patterns, with the path matcher of Caddy for a measure.
func BenchmarkMatch(b *testing.B) {
	claim, share, path := newRoutes(b, byClaim), newRoutes(b, byShare), newRoutes(b, byPath)
	for visit := range visits {
		b.Run(strings.ReplaceAll(visit, "/", "|"), func(b *testing.B) {
			r := request(b, visit)
			match := func(t *routes) func() {
				return func() {
					if _, err := t.matcher.MatchWithError(r); err != nil {
						panic(err)
					}
				}
			}
			measure.SideBySide(b,
				measure.Contender{Metric: "path-matcher-ns/op", Against: 0, Do: match(path)},
				measure.Contender{Metric: "x-path-matcher", Against: 0, Do: match(claim)},
				measure.Contender{Metric: "share-ns/op", Against: 2, Do: match(share)},
				measure.Contender{Metric: "ns/op", Against: 3, Do: match(claim)},
			)
		})
	}
}

// BenchmarkServe passes requests through the matcher and a guest handler, and says what that costs more than
// the same routes with a path matcher.
func BenchmarkServe(b *testing.B) {
	claim, path := newRoutes(b, byClaim), newRoutes(b, byPath)
	for visit := range visits {
		if visit == "/section50/other/7" { // which the path matcher sends to the other application
			continue
		}
		b.Run(strings.ReplaceAll(visit, "/", "|"), func(b *testing.B) {
			serve := func(t *routes) func() { return func() { t.serve(request(b, visit)) } }
			measure.SideBySide(b,
				measure.Contender{Metric: "path-ns/op", Against: 0, Do: serve(path)},
				measure.Contender{Metric: "x-path", Against: 0, Do: serve(claim)},
				measure.Contender{Metric: "more-than-path", Do: serve(claim), Minus: serve(path)},
			)
		})
	}
}
