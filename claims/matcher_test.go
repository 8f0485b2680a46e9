// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package claims_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/claims"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestARequestGoesToTheGuestThatClaimsIt(t *testing.T) {
	c := partytest.NewCaddy(t)
	fresh := newGuest(t, "new", "GET /invoices/7")
	legacy := newGuest(t, "legacy", "GET /invoices/7", "GET /old")
	c.Site(shared(""))
	for range 3 {
		expect(c, map[string]string{"/invoices/7": "new /invoices/7", "/invoices/8": "legacy /invoices/8", "/old": "legacy /old", "/INVOICES/7": "legacy /INVOICES/7"})
		fresh.set("GET /invoices/8")
		expect(c, map[string]string{"/invoices/7": "legacy /invoices/7", "/invoices/8": "new /invoices/8"})
		fresh.set("GET /invoices/7")
	}
	check.Equal(t, legacy.asked.Load(), 0, "asks of a guest that no matcher names")
}

// forms are configs in which new has /claimed, and all else is somebody else's.
var forms = map[string]string{
	"on one line":                         shared("party main share 100% by {client_ip}"),
	"as a block":                          strings.Replace(shared(""), "@new wsgi_party claimed_by new", "@new wsgi_party {\nshare 100%\nclaimed_by new\nby {client_ip}\nparty main\n}", 1),
	"as a block in the block of the name": strings.Replace(shared(""), "@new wsgi_party claimed_by new", "@new {\npath /*\nwsgi_party {\nclaimed_by new\n}\n}", 1),
	"in an expression":                    strings.Replace(shared(""), "@new wsgi_party claimed_by new", "@new `wsgi_party({'claimed_by': 'new'}) && path('/*')`", 1),
	"in an expression with all options":   strings.Replace(shared(""), "@new wsgi_party claimed_by new", "@new expression `wsgi_party({'claimed_by': 'new', 'party': 'main', 'share': '100%', 'by': {client_ip}})`", 1),
	"in an expression, by a literal":      strings.Replace(shared(""), "@new wsgi_party claimed_by new", "@new expression `wsgi_party({'claimed_by': 'new', 'by': '{client_ip}{http.request.host}'})`", 1),
	"in not": `wsgi_party main {
		invite /__invite__/ as new
		invite /__invite__/ as legacy
		@others not wsgi_party claimed_by new
		handle @others {
			test_app legacy
		}
		test_app new
	}`,
	"outside of the party": `@outside wsgi_party claimed_by new party main
	header @outside Claimed new
	wsgi_party main {
		invite /__invite__/ as new
		invite /__invite__/ as legacy
		handle {
			@it wsgi_party claimed_by new
			test_app @it new
			test_app legacy
		}
	}`,
}

func TestTheMatcherHasManyForms(t *testing.T) {
	for name, config := range forms {
		t.Run(name, func(t *testing.T) {
			c := partytest.NewCaddy(t)
			newGuest(t, "new", "GET /claimed")
			newGuest(t, "legacy", "GET /claimed")
			c.Site(config)
			expect(c, map[string]string{"/claimed": "new /claimed", "/other": "legacy /other"})
			for _, path := range []string{"/claimed", "/other"} {
				response := c.Raw("GET " + path + " HTTP/1.1\r\nHost: " + c.Address + "\r\nConnection: close\r\n\r\n")
				check.Equal(t, response.Header.Get("Claimed") == "new", name == "outside of the party" && path == "/claimed", "header")
			}
			got := partytest.LogEntries(t, "guest joined")
			check.ErrorIf(t, len(got) != 2 || got[0]["guest"] != "new" || got[1]["guest"] != "legacy", "joined: %v", got)
		})
	}
}

func TestItsJSONIsThatOfItsFields(t *testing.T) {
	config, _, err := partytest.AdaptCaddyfile(":80 {\n" + shared("party main share 12.5% by {cookie.session}") + "\n}")
	check.Must(t, err)
	check.Has(t, string(config), `{"wsgi_party":{"by":"{http.request.cookie.session}","claimed_by":"new","party":"main","share":"12.5%"}}`)
	var m claims.Matcher
	check.Fails(t, caddy.StrictUnmarshalJSON([]byte(`{"claimed_by": "new", "guest": "new"}`), &m), "guest")
	encoded, err := json.Marshal(&claims.Matcher{ClaimedBy: "new"})
	check.ErrorIf(t, err != nil || string(encoded) != `{"claimed_by":"new"}`, "%s %v", encoded, err)
}

func TestItsMistakesAreNamed(t *testing.T) {
	for matcher, want := range map[string][]string{
		"wsgi_party":                                                         {"claimed_by is missing", "wsgi_party claimed_by new"},
		"wsgi_party new":                                                     {`unrecognized option "new"`, "claimed_by, party, share and by"},
		"wsgi_party claimedby new":                                           {`unrecognized option "claimedby"`, "did you mean claimed_by?"},
		"wsgi_party claimed_by":                                              {"wrong argument count", "write `claimed_by <guest>`"},
		`wsgi_party claimed_by ""`:                                           {"claimed_by is empty"},
		"wsgi_party claimed_by new claimed_by old":                           {"claimed_by already specified"},
		"wsgi_party claimed_by new share":                                    {"wrong argument count", "write `share <n>%`"},
		"wsgi_party claimed_by new share 10":                                 {`share "10"`, "0% to 100%"},
		"wsgi_party claimed_by new share 101%":                               {`share "101%"`},
		"wsgi_party claimed_by new share -1%":                                {`share "-1%"`},
		"wsgi_party claimed_by new share NaN%":                               {`share "NaN%"`},
		"wsgi_party claimed_by new share 1e1%":                               {`share "1e1%"`},
		"wsgi_party claimed_by new share %":                                  {`share "%"`},
		"wsgi_party claimed_by new by everybody":                             {`by "everybody"`, "the same for all visitors", "{client_ip}"},
		"wsgi_party claimed_by n*w":                                          {`claimed_by "n*w"`},
		"wsgi_party claimed_by {env.NOBODY_SETS_THIS}":                       {"claimed_by", "NOBODY_SETS_THIS"},
		"wsgi_party {\nclaimed_by new old\n}":                                {"after 'old': write `claimed_by <guest>`"},
		"wsgi_party {\nclaimed_by new\n}\nwsgi_party {\nclaimed_by new\n}":   {"claimed_by already specified"},
		"expression `wsgi_party()`":                                          {"wsgi_party"},
		"expression `wsgi_party('new')`":                                     {"a map literal"},
		"expression `wsgi_party({'claimed': 'new'})`":                        {"'claimed_by', 'party', 'share' and 'by'"},
		"expression `wsgi_party({'claimed_by': 'new', 'claimed_by': 'x'})`":  {"each once"},
		"expression `wsgi_party({'claimed_by': ['new']})`":                   {"claimed_by of wsgi_party must be a string literal"},
		"expression `wsgi_party({'claimed_by': 'ne' + 'w'})`":                {"string literal"},
		"expression `wsgi_party({'claimed_by': {http.request.header.Who}})`": {"claimed_by", "http.request.header.Who"},
		"expression `wsgi_party({'claimed_by': 'new', 'share': '10'})`":      {`share "10"`},
		"expression `wsgi_party({'share': '10%'})`":                          {"claimed_by is missing"},
	} {
		c := partytest.NewCaddy(t)
		config := "ADDRESS {\nwsgi_party main {\n@it {\n" + matcher + "\n}\nrespond @it it\n}\n}"
		adapted, _, err := c.TryAdapt(config)
		if err == nil {
			err = c.TryLoadJSON(adapted)
		}
		if err == nil {
			t.Errorf("%s: no error", matcher)
			continue
		}
		check.Contains(t, err.Error(), want, matcher)
	}
}

func TestOutsideOfAPartyItHasToBeNamed(t *testing.T) {
	c := partytest.NewCaddy(t)
	err := c.TryLoad("ADDRESS {\n@new wsgi_party claimed_by new\nrespond @new new\nwsgi_party {\n}\n}")
	check.Fails(t, err, "in no party's routes", "wsgi_party claimed_by new party <party>", "the only party is default")
	for party, warned := range map[string]string{"default": "", "defualt": "no wsgi_party handler names the party that was joined"} {
		partytest.ResetLog()
		newGuest(t, "new", "GET /claimed")
		c.Site("@new wsgi_party claimed_by new party " + party + "\nroute {\nrespond @new outside\nwsgi_party {\ninvite /__invite__/ as new\ntest_app new\n}\n}")
		status, body := c.Get("/claimed")
		check.ErrorIf(t, status != 200 || body == "outside" != (warned == ""), "%s: %d %s", party, status, body)
		check.ErrorIf(t, warned != "" && len(partytest.LogEntries(t, warned)) == 0, "%s: not warned of", party)
	}
}

// TestANamedRouteIsOutsideOfTheParty has one be invoked in the party, and in front of it and behind what strips the mount.
func TestANamedRouteIsOutsideOfTheParty(t *testing.T) {
	c := partytest.NewCaddy(t)
	newGuest(t, "new", "GET /claimed")
	const config = "&(named) {\n@new wsgi_party claimed_by new%s\nrespond @new new\nrespond other\n}\nADDRESS {\nroute {\nroute /out/* {\nuri strip_prefix /out\ninvoke named\n}\n" +
		"wsgi_party main {\ninvite /shop/__invite__/ as new\nhandle_path /shop/in/* {\ninvoke named\n}\nhandle_path /shop/* {\ntest_app new\n}\nhandle {\ninvoke named\n}\n}\n}\n}"
	check.Fails(t, c.TryLoad(fmt.Sprintf(config, "")), "a named route", "wsgi_party claimed_by new party <party>")
	c.Load(fmt.Sprintf(config, " party main"))
	expect(c, map[string]string{"/out/shop/claimed": "new", "/out/claimed": "other", "/shop/in/claimed": "other", "/shop/in/shop/claimed": "new", "/claimed": "other", "/shop/claimed": "new /claimed"})
}

func TestAGuestThatThePartyDoesNotHaveIsWarnedOf(t *testing.T) {
	newGuest(t, "blog")
	partytest.OnProvision(t, "joins", partytest.Joins("main", "menu", "menu", "soup"))
	for guest, want := range map[string]string{"blgo": "did you mean blog?", "shop": "the guests are blog, menu", "blog": "", "menu": ""} {
		c := partytest.NewCaddy(t)
		c.Site("wsgi_party main {\ninvite /blog/__invite__/\n@it wsgi_party claimed_by " + guest + "\nrespond @it it\ntest_app blog\n}\ntest_app joins")
		logged := partytest.LogEntries(t, "a matcher is for a guest that the party does not have: it matches nothing")
		check.FatalIf(t, len(logged) > 0 != (want != ""), "%s: warned %d times", guest, len(logged))
		if want != "" {
			check.Has(t, logged[0]["hint"].(string), want, guest)
			check.Equal(t, logged[0]["claimed_by"].(string), guest)
		}
		expect(c, map[string]string{"/claimed": "blog /claimed"})
	}
}

func TestWhyAGuestHasNothingIsSaidOfOneThatThePartyDoesNotHave(t *testing.T) {
	newGuest(t, "new", "GET /x")
	newGuest(t, "legacy")
	c := partytest.NewCaddyWithAdmin(t)
	c.Site(strings.NewReplacer("claimed_by new", "claimed_by nwe", "as legacy\n", "as legacy\ninvite /gone/__invite__/\nhandle /gone/* {\nrespond 404\n}\n").Replace(shared("")))
	answer := c.Call("GET", "/wsgi_party/main/route?method=GET&path=/gone/x", "").Body
	check.Has(t, answer, `"guest":"nwe"`)
	check.Has(t, answer, "the party has no guest of this name: did you mean new?")
	check.Has(t, answer, "it is not on the line: `caddy wsgi-party show main` says why")
}

func TestAGuestThatFailsToSayIsAnsweredFor(t *testing.T) {
	for name, c := range map[string][3]string{
		"itself":           {"wsgi_party claimed_by new", "new", "legacy"},
		"in not":           {"not wsgi_party claimed_by new", "legacy", "new"},
		"in an expression": {"expression `wsgi_party({'claimed_by': 'new'})`", "new", "legacy"},
	} {
		t.Run(name, func(t *testing.T) {
			matcher, first, second := c[0], c[1], c[2]
			c := partytest.NewCaddy(t)
			newGuest(t, "legacy")
			partytest.GuestWith(t, "new", map[string]partytest.Handler{"claims": func(_ context.Context, payload any) (any, error) {
				switch r, _ := claims.ClaimRequestOf(payload); r.Path {
				case "/panics":
					panic("oh no")
				case "/fails":
					return nil, errors.New("oh no")
				}
				return false, nil
			}})
			c.Site("wsgi_party main {\ninvite /__invite__/ as new\ninvite /__invite__/ as legacy\n@it " + matcher + "\nhandle @it {\ntest_app " + first + "\n}\ntest_app " + second + "\n}\nhandle_errors {\nrespond \"{err.status_code} {err.message}\" {err.status_code}\n}")
			for _, path := range []string{"/fails", "/panics"} {
				status, body := c.Get(path)
				check.ErrorIf(t, status != http.StatusServiceUnavailable, "%s: %d %s", path, status, body)
				check.Contains(t, body, []string{`guest "new" of party "main"`, "oh no"}, path)
			}
			status, _ := c.Get("/fine")
			check.Equal(t, status, 200, "status where it does not fail")
		})
	}
}

func TestAGuestThatFailsToSayIsAnsweredForOutsideOfItsParty(t *testing.T) {
	for name, matcher := range map[string]string{
		"itself":           "wsgi_party claimed_by new party main",
		"in an expression": "expression `path('/*') && wsgi_party({'claimed_by': 'new', 'party': 'main'})`",
	} {
		for handled, want := range map[string]string{
			"": "",
			"handle_errors {\nrespond \"{err.status_code} {err.message}\" {err.status_code}\n}": `503 cannot tell whether guest "new" of party "main" claims the request`,
			"handle_errors 503 {\nrespond \"is {err.status_text}\" {err.status_code}\n}":        "is Service Unavailable",
		} {
			c := partytest.NewCaddy(t)
			partytest.GuestWith(t, "new", map[string]partytest.Handler{"claims": func(context.Context, any) (any, error) {
				return nil, errors.New("oh no")
			}})
			c.Site("route {\n@it " + matcher + "\nrespond @it it\nwsgi_party main {\ninvite /__invite__/ as new\ntest_app new\n}\n}\n" + handled)
			status, body := c.Get("/x")
			check.ErrorIf(t, status != http.StatusServiceUnavailable || !strings.HasPrefix(body, want), "%s, %s: %d %s", name, handled, status, body)
		}
	}
}

func TestInvitesAndAsksReachTheirGuestsWhateverIsClaimed(t *testing.T) {
	const all = "claim /"
	for _, claimed := range [][2]string{{all, ""}, {"", all}, {all, all}, {"", ""}} {
		t.Run(fmt.Sprint(claimed), func(t *testing.T) {
			c := partytest.NewCaddy(t)
			fresh, legacy := partytest.NewApplication(t, "", partytest.JSON(`"new"`)), partytest.NewApplication(t, "", partytest.JSON(`"legacy"`))
			c.Site(fmt.Sprintf(`wsgi_party main {
			invite /__invite__/ as new
			invite /__invite__/ as legacy
			@new wsgi_party claimed_by new
			handle @new {
				wsgi_party_guest new {
					service who /who
					%s
				}
				reverse_proxy %s
			}
			@legacy wsgi_party claimed_by legacy
			handle @legacy {
				wsgi_party_guest legacy {
					service who /who
					%s
				}
				reverse_proxy %s
			}
			respond nobody
		}`, claimed[0], fresh.Address(), claimed[1], legacy.Address()))
			c.ExpectJSONAnswers("main", "who", `"new"`, `"legacy"`)
			want := "nobody"
			for i, name := range []string{`"new"`, `"legacy"`} {
				if claimed[i] != "" && want == "nobody" {
					want = name
				}
			}
			expect(c, map[string]string{"/who": want, "/": want})
		})
	}
}

func TestTheRequestVariableSaysByWhatARequestIsClaimed(t *testing.T) {
	newGuest(t, "new", "GET /claimed")
	for share, wants := range map[string][2]string{"100%": {"new GET /claimed", "legacy "}, "0%": {"legacy GET /claimed", "legacy "}} {
		c := partytest.NewCaddy(t)
		c.Site(`wsgi_party main {
			invite /__invite__/ as new
			@new wsgi_party claimed_by new share ` + share + `
			handle /__invite__/ {
				test_app new
			}
			handle @new {
				respond "new {http.vars.wsgi_party.claim}"
			}
			handle {
				respond "legacy {http.vars.wsgi_party.claim}"
			}
		}`)
		expect(c, map[string]string{"/claimed": wants[0], "/other": wants[1]})
	}
}

// TestAShareOfNobodyDependsOnNobody has the new application hang, which is asked about each request, and its
// share be taken back.
func TestAShareOfNobodyDependsOnNobody(t *testing.T) {
	c := partytest.NewCaddyWithAdmin(t)
	fresh, legacy := partytest.NewApplication(t, "", nil), partytest.NewApplication(t, "", says("legacy"))
	fresh.On(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c.Site(strings.Replace(example(fresh, legacy), "wsgi_party_guest new", "wsgi_party_guest new {\ntimeout 200ms\nservice claims /claims{?method,host,path}\n}", 1))
	status, _ := c.Get("/invoices/7")
	check.Equal(t, status, http.StatusServiceUnavailable, "status of a request of which it is not known whose it is")
	asked := len(fresh.Requests())
	command(c, "share", "main", "new", "0%")
	for n := range 20 {
		expect(c, map[string]string{fmt.Sprint("/invoices/", n): fmt.Sprint("legacy GET /invoices/", n)})
	}
	check.Equal(t, len(fresh.Requests()), asked, "requests to the new application")
}

// TestAMatcherStandsWhereItsOwnGuestsInviteComesBy has invites be stripped of different mounts.
func TestAMatcherStandsWhereItsOwnGuestsInviteComesBy(t *testing.T) {
	for _, invites := range []string{"invite /a/__invite__/ as new\ninvite /long/b/__invite__/ as legacy", "invite /long/b/__invite__/ as legacy\ninvite /a/__invite__/ as new"} {
		c := partytest.NewCaddy(t)
		newGuest(t, "new", "GET /claimed")
		newGuest(t, "legacy")
		c.Site("wsgi_party main {\n" + invites + `
			@a path_regexp mount ^(/a|/long/b)/
			handle @a {
				route {
					uri strip_prefix {re.mount.1}
					@new wsgi_party claimed_by new
					test_app @new new
					test_app legacy
				}
			}
		}`)
		expect(c, map[string]string{"/a/claimed": "new /claimed", "/long/b/other": "legacy /other", "/a/other": "legacy /other"})
	}
}
