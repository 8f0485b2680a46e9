// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

func TestTwoServersFromOneSiteBlockHaveReplicas(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	partytest.Guest(t, "two", "2", "number")
	c := partytest.NewCaddy(t)
	second := testport.Address(t)
	// Groups of routes are numbered through, so that the two handlers differ in them.
	c.Load("ADDRESS, http://" + second + ` {
		handle /x {
			respond x
		}
		handle {
			wsgi_party {
				invite /one/__invite__/ /two/__invite__/
				handle /one/* {
					test_app one
				}
				handle {
					test_app two
				}
			}
		}
	}`)
	check.Equal(t, len(partytest.LogEntries(t, "guest joined")), 4, "guests joined")
	c.ExpectAnswers(wsgiparty.DefaultParty, "number", "1", "2")
	for _, address := range []string{c.Address, second} {
		(&partytest.Caddy{TB: t, Address: address}).Expect("/one/", 200, "one")
		(&partytest.Caddy{TB: t, Address: address}).Expect("/two/__invite__/", 404, "")
	}
}

// TestIdenticalHandlersDifferInTheGroupsOfRoutes has one party written twice, whose
// groups of routes the Caddyfile numbers through.
func TestIdenticalHandlersDifferInTheGroupsOfRoutes(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	c := partytest.NewCaddy(t)
	const party = " {\nwsgi_party {\ninvite /one/__invite__/\nhandle /one/* {\ntest_app one\n}\nhandle {\nrespond x\n}\n}\n}\n"
	c.Load("ADDRESS" + party + "http://" + testport.Address(t) + party)
	c.ExpectAnswers(wsgiparty.DefaultParty, "number", "1")
}

func TestTwoSitesShareAPartyByName(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	partytest.Guest(t, "two", "2", "number")
	c := partytest.NewCaddy(t)
	c.Load(`
	ADDRESS {
		wsgi_party main {
			invite /one/__invite__/
			test_app one
		}
	}
	http://` + testport.Address(t) + ` {
		wsgi_party main {
			invite /two/__invite__/
			test_app two
		}
	}`)
	answers, err := wsgiparty.All[string](context.Background(), operatorOf(c, "main"), "number", nil)
	if slices.Sort(answers); err != nil || !slices.Equal(answers, []string{"1", "2"}) {
		t.Error(answers, err)
	}
}

// TestHandlersThatWouldMuteAnotherAreAnError names both handlers in the error.
func TestHandlersThatWouldMuteAnotherAreAnError(t *testing.T) {
	partytest.Guest(t, "app", "pong", "ping")
	const site = "%s {\nwsgi_party %s {\n%s\nhandle %s {\ntest_app app\n}\n}\n}\n"
	for name, test := range map[string]struct {
		one, two [2]string // name and options
		want     []string
	}{
		"the same guest": {
			[2]string{"main", "invite /a/__invite__/ /b/__invite__/"}, [2]string{"main", "invite /c/__invite__/ /b/__invite__/"},
			[]string{`both invite guest "b"`, "(inviting a, b)", "(inviting c, b)", `"invite /b/__invite__/ as <guest>"`, `server "srv0"`, `server "srv1"`},
		},
		"no name": {
			[2]string{"", "invite /a/__invite__/"}, [2]string{"", "invite /b/__invite__/"},
			[]string{"both leave out the party's name", "(inviting a)", "(inviting b)", "give each a name of its own"},
		},
		"ignore_missing_services": {
			[2]string{"main", "ignore_missing_services"}, [2]string{"main", "invite /b/__invite__/"},
			[]string{"disagree on ignore_missing_services", "(inviting nobody)", "(inviting b)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := partytest.NewCaddy(t)
			c.Site("respond running")
			err := c.TryLoad(fmt.Sprintf(site, "ADDRESS", test.one[0], test.one[1], "/one/*") +
				fmt.Sprintf(site, "http://"+testport.Address(t), test.two[0], test.two[1], "/two/*"))
			for _, want := range test.want {
				check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), want), "the error does not contain %q: %v", want, err)
			}
			c.Expect("/", 200, "running")
		})
	}
	t.Run("a default name and the same name said", func(t *testing.T) {
		c := partytest.NewCaddy(t)
		c.Load(fmt.Sprintf(site, "ADDRESS", "", "invite /a/__invite__/", "*") +
			fmt.Sprintf(site, "http://"+testport.Address(t), wsgiparty.DefaultParty, "invite /b/__invite__/", "*"))
		c.ExpectAnswers(wsgiparty.DefaultParty, "ping", "pong", "pong")
	})
}

func TestWhatOnlyTheWholeConfigShowsIsWarnedAboutAtStart(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	partytest.OnProvision(t, "lost", partytest.Joins("mian", "lost", "number", 3))
	partytest.OnProvision(t, "double", partytest.Joins("main", "one", "number", 1))
	c := partytest.NewCaddy(t)
	c.Site("route {\ntest_app lost\ntest_app double\nwsgi_party main {\ninvite /one/__invite__/\ntest_app one\n}\n}")
	lost := partytest.LogEntries(t, "no wsgi_party handler names the party that was joined")
	check.ErrorIf(t, len(lost) != 1 || lost[0]["party"] != "mian" || fmt.Sprint(lost[0]["guests"]) != "[lost]" || lost[0]["level"] != "warn", lost)
	double := partytest.LogEntries(t, "a module joined under the name of an invited guest: only one of the two is asked")
	check.ErrorIf(t, len(double) != 1 || double[0]["party"] != "main" || double[0]["guest"] != "one" || double[0]["level"] != "warn", double)
}

func TestCleanupLetsAnotherHandlerInviteTheGuests(t *testing.T) {
	partytest.Guest(t, "app", "pong", "ping")
	ctx := partytest.ProvisionContext(t)
	for range 2 {
		inner, end := caddy.NewContext(ctx)
		if _, err := inner.LoadModuleByID("http.handlers.wsgi_party", []byte(fmt.Sprintf(
			`{"invites": ["/app/__invite__/"], "routes": [{"handle": [{"handler": "test_app", "key": "app"}]}], "invite_timeout": %d}`, time.Now().UnixNano()))); err != nil {
			t.Fatal(err)
		}
		end()
	}
	if err := new(wsgiparty.Party).Cleanup(); err != nil {
		t.Errorf("cleaning up what was not provisioned: %v", err)
	}
}
