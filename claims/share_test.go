// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package claims_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/claims"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// sharing is a matcher of the running config with that share, for requests that are claimed.
func sharing(t testing.TB, share, by string) *claims.Matcher {
	t.Helper()
	ctx := partytest.ProvisionContext(t)
	config := `{"name": "` + partytest.FreshParty() + `", "invites": [{"uri": "/__invite__/", "guest": "new"}], "routes": [{"match": [{"wsgi_party": {"claimed_by": "new", "share": "` + share + `", "by": "` + by + `"}}],
		"handle": [{"handler": "wsgi_party_guest", "name": "new", "claims": ["/"]}]}]}`
	module, err := ctx.LoadModuleByID("http.handlers.wsgi_party", json.RawMessage(config))
	check.Must(t, err)
	return module.(*wsgiparty.Party).Routes[0].MatcherSets[0][0].(*claims.Matcher)
}

// visit returns a request of the n-th visitor.
func visit(t testing.TB, n int) *http.Request {
	r := request(t, "/")
	caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255))
	return r
}

func matches(t testing.TB, m *claims.Matcher, r *http.Request) bool {
	t.Helper()
	matched, err := m.MatchWithError(r)
	check.Nil(t, err)
	return matched
}

func TestAShareOfTheVisitorsIsThatLarge(t *testing.T) {
	const visitors = 100_000
	shares := []string{"0%", "0.5%", "10%", "25%", "99%", "100%"}
	var all []*claims.Matcher
	for _, share := range shares {
		all = append(all, sharing(t, share, ""))
	}
	counts, r := make([]int, len(shares)), visit(t, 0)
	for n := range visitors {
		if n == visitors/10 { // of these that is enough
			all = []*claims.Matcher{nil, nil, all[2], nil, nil, nil}
		}
		caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255))
		before := false
		for i, m := range all {
			if m == nil {
				continue
			}
			matched := matches(t, m, r)
			if matched {
				counts[i]++
			}
			if before && !matched {
				t.Fatalf("visitor %d is in %s, and not in %s", n, shares[i-1], shares[i])
			}
			before = matched
		}
		if n%1000 == 0 { // always the same ones
			again := visit(t, n)
			check.FatalIf(t, matches(t, all[2], r) != matches(t, all[2], again), "visitor %d changes sides", n)
		}
	}
	t.Log(shares, counts)
	for i, want := range [][2]int{{0, 0}, {20, 80}, {9_500, 10_500}, {2_300, 2_700}, {9_850, 9_950}, {visitors / 10, visitors / 10}} {
		check.ErrorIf(t, counts[i] < want[0] || counts[i] > want[1], "%d visitors are %s, want %d to %d", counts[i], shares[i], want[0], want[1])
	}
}

func TestGuestsHaveDifferentVisitorsFirst(t *testing.T) {
	c := partytest.NewCaddy(t)
	newGuest(t, "one", "GET /")
	newGuest(t, "two", "GET /")
	c.Site(`wsgi_party main {
		invite /__invite__/ as one
		invite /__invite__/ as two
		@one wsgi_party claimed_by one share 50% by {query.visitor}
		@two wsgi_party claimed_by two share 50% by {query.visitor}
		handle @one {
			test_app one
		}
		handle @two {
			test_app two
		}
		respond "nobody /"
	}`)
	counts := make(map[string]int)
	for n := range 400 {
		_, body := c.Get(fmt.Sprint("/?visitor=", n))
		counts[strings.TrimSuffix(body, " /")]++
	}
	t.Log(counts)
	check.ErrorIf(t, counts["one"] < 150 || counts["one"] > 250 || counts["two"] < 60 || counts["two"] > 140 || counts["nobody"] < 60 || counts["nobody"] > 140, "%v", counts)
	for range 5 { // without a value a visitor is nobody
		expect(c, map[string]string{"/": "nobody /"})
	}
}

func TestVisitorsAreToldApartAsIsSaid(t *testing.T) {
	m := sharing(t, "50%", "{http.request.cookie.session}|{http.request.header.User-Agent}")
	different := make(map[bool]bool)
	for n := range 50 {
		r := visit(t, n)
		r.Header.Set("Cookie", "session=abc")
		same := matches(t, m, r)
		check.ErrorIf(t, same != matches(t, m, r), "changes sides")
		different[same] = true
		r.Header.Set("Cookie", fmt.Sprint("session=", n))
		different[matches(t, m, r)] = true
	}
	check.Equal(t, len(different), 2)
}

// shareOf is what the endpoint says of the guest new.
type shareOf struct {
	Guest, Share, Until string
	Matchers            []struct{ Server, Share, Configured, By string }
}

func TestAShareIsChangedUntilTheNextReload(t *testing.T) {
	c := partytest.NewCaddyWithAdmin(t)
	newGuest(t, "new", "GET /claimed")
	newGuest(t, "legacy", "GET /claimed")
	config := shared("share 0%") + `
	@too wsgi_party claimed_by new party main by {query.visitor}
	header @too Too yes`
	c.Site(config)
	get := func(want shareOf) {
		t.Helper()
		var got struct {
			Party  string
			Shares []shareOf
		}
		partytest.Decode(t, c.Call("GET", "/wsgi_party/main/share", ""), &got)
		check.FatalIf(t, got.Party != "main" || len(got.Shares) != 1, "%+v", got)
		check.ErrorIf(t, got.Shares[0].Guest != want.Guest || got.Shares[0].Share != want.Share || got.Shares[0].Until != want.Until || len(got.Shares[0].Matchers) != 2, "%+v", got)
		for _, m := range got.Shares[0].Matchers {
			configured := map[string]string{"{http.vars.client_ip}": "0%", "{http.request.uri.query.visitor}": "100%"}[m.By]
			check.ErrorIf(t, configured == "" || m.Configured != configured || want.Share != "" && m.Share != want.Share || want.Share == "" && m.Share != configured || m.Server == "", "%+v", m)
		}
	}
	get(shareOf{Guest: "new"})
	expect(c, map[string]string{"/claimed": "legacy /claimed"})
	for _, share := range []string{"100%", "0%", "100.0%"} {
		said := command(c, "share", "main", "new", share)
		number, _, _ := strings.Cut(strings.TrimSuffix(share, "%"), ".")
		get(shareOf{Guest: "new", Share: number + "%", Until: "the config is loaded again"})
		check.Contains(t, said, []string{"GUEST", "new", number + "%", "{http.vars.client_ip}", "the config is loaded again"}, said)
		who := map[string]string{"0": "legacy", "100": "new"}[number]
		expect(c, map[string]string{"/claimed": who + " /claimed", "/other": "legacy /other"})
		response := raw(c, "/claimed?visitor=7")
		check.Equal(t, response.Header.Get("Too") == "yes", who == "new", "the other matcher")
	}
	logged := partytest.LogEntries(t, "share changed")
	check.ErrorIf(t, len(logged) != 3 || logged[0]["guest"] != "new" || logged[0]["share"] != "100%" || logged[0]["until"] != "the config is loaded again", "%v", logged)
	check.Contains(t, command(c, "share", "main"), []string{"new", "100%", "0%"})

	c.Site(config)
	http.DefaultClient.CloseIdleConnections()
	get(shareOf{Guest: "new"})
	expect(c, map[string]string{"/claimed": "legacy /claimed"})
}

func TestMistakesInASharesChangeAreNamed(t *testing.T) {
	c := partytest.NewCaddyWithAdmin(t)
	newGuest(t, "new")
	newGuest(t, "legacy")
	c.Site(shared("share 10%") + "\nwsgi_party none {\n}")
	for _, r := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"POST", "main/share?guest=new&share=25", 400, `share \"25\": write a percentage`},
		{"POST", "main/share?guest=new", 400, `share \"\"`},
		{"POST", "main/share?guest=new&share=25%", 400, "a % is written as %25"},
		{"POST", "main/share?share=25%25", 400, "the guest is missing"},
		{"POST", "main/share?guest=nwe&share=25%25", 404, "no matcher of party \\\"main\\\" says `claimed_by nwe`: did you mean new?"},
		{"POST", "none/share?guest=new&share=25%25", 404, "there is no matcher"},
		{"POST", "mian/share?guest=new&share=25%25", 404, `no party is called \"mian\"`},
		{"PUT", "main/share?guest=new&share=25%25", 405, "GET and HEAD and POST"},
		{"GET", "main/share/new", 404, "/wsgi_party/{party}/share"},
		{"POST", "main/route?path=/", 405, "GET and HEAD"},
		{"GET", "main/route", 400, `path is \"\"`},
		{"GET", "main/route?path=a", 400, "begins with a slash"},
		{"GET", "main/route?path=/%25zz", 400, `path is \"/%zz\": invalid URL escape \"%zz\": write the path of a request, such as /invoices/7, with each % as %25`},
		{"GET", "main/route?path=/&method=G%20T", 400, `method is \"G T\": write one such as GET`},
		{"GET", "nobody/route?path=/", 404, "nobody"},
	} {
		got := c.Call(r.method, "/wsgi_party/"+r.path, "")
		check.ErrorIf(t, got.Status != r.status || !strings.Contains(got.Body, r.want), "%s %s: %d %s", r.method, r.path, got.Status, got.Body)
	}
	check.Contains(t, command(c, "share", "main", "new", "25"), []string{"exit status 1", "write a percentage from 0% to 100%"})
	check.Equal(t, len(partytest.LogEntries(t, "share changed")), 0, "changes")
}
