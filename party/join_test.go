// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/party"
)

func TestAModuleMayJoinBeforeThePartyIsProvisioned(t *testing.T) {
	partytest.Guest(t, "invited", "invited", "who")
	partytest.OnProvision(t, "early", partytest.Joins("main", "early", "who", "early"))
	partytest.OnProvision(t, "inside", partytest.Joins("main", "inside", "who", "inside"))
	partytest.OnProvision(t, "late", partytest.Joins("main", "late", "who", "late"))
	c := partytest.NewCaddy(t)
	c.Site("route {\ntest_app early\nwsgi_party main {\nignore_missing_services\ninvite /__invite__/\nroute {\ntest_app inside\ntest_app invited\n}\n}\ntest_app late\n}")
	c.ExpectAnswers("main", "who", "invited", "early", "inside", "late")
	answers, err := operatorOf(c, "main").AskAround(context.Background(), "nothing", nil)
	check.ErrorIf(t, answers != nil || err != nil, "ignore_missing_services: %v, %v", answers, err)
}

func TestJoinNeedsTheNameOfAParty(t *testing.T) {
	partytest.OnProvision(t, "nameless", func(ctx caddy.Context) error {
		_, err := wsgiparty.Join(ctx, "", "bob")
		return err
	})
	c := partytest.NewCaddy(t)
	c.Site("respond running")
	err := c.TryLoad("ADDRESS {\ntest_app nameless\n}")
	check.Fails(t, err, `guest "bob": the party's name is empty; a party without a name is called "default"`)
	c.Expect("/", 200, "running")
}

func TestJoinNeedsTheContextOfAConfig(t *testing.T) {
	for _, ctx := range []caddy.Context{{}, {Context: context.Background()}} {
		_, err := wsgiparty.Join(ctx, "main", "bob")
		check.Fails(t, err, "join in Provision")
	}
}

func TestWhoJoinsWithoutANameAsksEveryone(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	var asker *wsgiparty.Operator
	partytest.OnProvision(t, "asker", func(ctx caddy.Context) (err error) {
		asker, err = wsgiparty.Join(ctx, wsgiparty.DefaultParty, "")
		return err
	})
	c := partytest.NewCaddy(t)
	c.Site("test_app asker\nroute {\nwsgi_party {\ninvite /__invite__/\ntest_app one\n}\n}")
	check.Slices(t, check.Value(asker.AskAround(context.Background(), "number", nil))(t), []any{"1"})
	check.Fails(t, asker.Connect("number", partytest.Pong), "guest")
}

// joinsForATime makes `test_app temporary` join the party main and answer until end is called,
// which ends the context that it joined with.
func joinsForATime(t testing.TB, service string) (end func()) {
	var cancel context.CancelFunc
	partytest.OnProvision(t, "temporary", func(ctx caddy.Context) error {
		ctx, cancel = caddy.NewContext(ctx)
		return partytest.Joins("main", "temporary", service, "temporary")(ctx)
	})
	return func() { cancel() }
}

func TestTheOperatorLeavesWhenItsContextEndsBeforeItsConfig(t *testing.T) {
	end := joinsForATime(t, "who")
	partytest.OnProvision(t, "other", partytest.Joins("main", "other", "who", "other"))
	c := partytest.NewCaddy(t)
	c.Site("route {\ntest_app temporary\ntest_app other\nwsgi_party main\n}")
	c.ExpectAnswers("main", "who", "temporary", "other")
	line := operatorOf(c, "main").Partyline()
	end()
	partytest.Eventually(t, "the operator leaves", func() bool { return slices.Equal(line.Services()["who"], []string{"other"}) })

	// Neither the config's end nor Cleanup disconnects the one that is left.
	c.Site("respond nothing")
	time.Sleep(50 * time.Millisecond) // for what must not happen, in the background
	check.Slices(t, line.Services()["who"], []string{"other"}, "after the end of the config")
}

// TestInvitedGuestsLeaveWhenTheirContextEndsBeforeTheConfig is for a party that a
// module loads for a time.
func TestInvitedGuestsLeaveWhenTheirContextEndsBeforeTheConfig(t *testing.T) {
	partytest.Guest(t, "app", "pong", "ping")
	var end context.CancelCauseFunc
	partytest.OnProvision(t, "loader", func(ctx caddy.Context) error {
		ctx, end = caddy.NewContextWithCause(ctx)
		_, err := ctx.LoadModuleByID("http.handlers.wsgi_party", []byte(`{"name": "main", "invites": ["/__invite__/"], "routes": [{"handle": [{"handler": "test_app", "key": "app"}]}]}`))
		return err
	})
	partytest.OnProvision(t, "other", partytest.Joins("main", "other", "who", "other"))
	c := partytest.NewCaddy(t)
	c.Site("route {\ntest_app other\ntest_app loader\n}")
	c.ExpectAnswers("main", "ping", "pong")
	line := operatorOf(c, "main").Partyline()
	end(errors.New("no longer needed"))
	partytest.Eventually(t, "the guest leaves", func() bool { return line.Services()["ping"] == nil })
}

func TestAsksAreLoggedAtDebugLevelWithoutWhatWasSaid(t *testing.T) {
	partytest.Guest(t, "one", "secret answer", "number")
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /one/__invite__/\ntest_app one\n}")
	connectMain(c, "two", "number", partytest.Declines)
	_, err := operatorOf(c, "main").Partyline().Operator("three").AskAround(context.Background(), "number", "secret payload")
	check.Must(t, err)
	_, err = c.AskAround("main", "missing", nil)
	check.Fails(t, err, "nobody")
	entries := partytest.LogEntries(t, "asked around")
	check.FatalIf(t, len(entries) != 2, entries)
	check.Equal(t, entries[1]["service"], "missing")
	check.Has(t, fmt.Sprint(entries[1]["error"]), "nobody")
	for key, want := range map[string]any{"level": "debug", "logger": "wsgi_party", "party": "main", "guest": "three", "service": "number", "answered": 1., "declined": 1., "failed": 0.} {
		check.Equal(t, entries[0][key], want, key)
	}
	check.ErrorIf(t, strings.Contains(partytest.Logged(), "secret"), "what was said is in the log")
}

// TestAskingCostsNothingMoreWhereDebugLoggingIsOff compares a config's partyline
// with one that has no log.
func TestAskingCostsNothingMoreWhereDebugLoggingIsOff(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	c := partytest.NewCaddy(t)
	config := bytes.ReplaceAll(c.Adapt("ADDRESS {\nwsgi_party main {\ninvite /one/__invite__/\ntest_app one\n}\n}"), []byte(`"DEBUG"`), []byte(`"INFO"`))
	check.Must(t, caddy.Load(config, true))
	operator := operatorOf(c, "main")
	ask := func() { _, _ = operator.AskAround(context.Background(), "number", nil) }
	check.Equal(t, testing.AllocsPerRun(100, ask), 1, "allocations")
	check.Equal(t, testing.AllocsPerRun(100, func() { wsgiparty.Lookup("main") }), 0, "Lookup: allocations")
	check.Equal(t, len(partytest.LogEntries(t, "asked around")), 0)
}

func TestTwoServersFromOneSiteBlockHaveReplicas(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	partytest.Guest(t, "two", "2", "number")
	c := partytest.NewCaddy(t)
	second := testport.Address(t)
	// Groups of routes are numbered through, so that the two handlers differ in them.
	c.Load("ADDRESS, http://" + second + " {\nhandle /x {\nrespond x\n}\nhandle {\nwsgi_party {\n" +
		"invite /one/__invite__/ /two/__invite__/\nhandle /one/* {\ntest_app one\n}\nhandle {\ntest_app two\n}\n}\n}\n}")
	check.Equal(t, len(partytest.LogEntries(t, "guest joined")), 4, "guests joined")
	c.ExpectAnswers(wsgiparty.DefaultParty, "number", "1", "2")
	for _, address := range []string{c.Address, second} {
		c.Address = address
		c.Expect("/one/", 200, "one")
		c.Expect("/two/__invite__/", 404, "")
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
	const party = " {\nwsgi_party main {\ninvite /%s/__invite__/\ntest_app %[1]s\n}\n}\n"
	c.Load(fmt.Sprintf("ADDRESS"+party, "one") + fmt.Sprintf("http://"+testport.Address(t)+party, "two"))
	answers := check.Value(wsgiparty.All[string](context.Background(), operatorOf(c, "main"), "number", nil))(t)
	check.Slices(t, slices.Sorted(slices.Values(answers)), []string{"1", "2"})
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
			check.Fails(t, err, test.want...)
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

// TestNamesThatNoInviteCouldHaveDoNotJoin has a module join under each, as a guest and as nobody.
func TestNamesThatNoInviteCouldHaveDoNotJoin(t *testing.T) {
	c := partytest.NewCaddy(t)
	for guest, want := range map[string]string{
		"../../x": `joining party "main" as guest "../../x", which cannot be a guest's name: it has ".." between slashes`, "a:b": "it has a ':'", "two words": "it has a ' '",
		strings.Repeat("a", 65): "it has 65 bytes",
	} {
		partytest.OnProvision(t, "joins", partytest.Joins("main", guest, "who", 1))
		check.Fails(t, c.TryLoad("ADDRESS {\ntest_app joins\nwsgi_party main\n}"), want)
	}
	partytest.OnProvision(t, "joins", func(ctx caddy.Context) error {
		_, err := wsgiparty.Join(ctx, "main", "")
		return errors.Join(err, partytest.Joins("main", "A/b.c_d-9", "who", 1)(ctx))
	})
	c.Load("ADDRESS {\ntest_app joins\nwsgi_party main\n}")
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
		_, err := inner.LoadModuleByID("http.handlers.wsgi_party", fmt.Appendf(nil,
			`{"invites": ["/app/__invite__/"], "routes": [{"handle": [{"handler": "test_app", "key": "app"}]}], "invite_timeout": %d}`, time.Now().UnixNano()))
		check.Must(t, err)
		end()
	}
	check.Nil(t, new(wsgiparty.Party).Cleanup()) // of what was not provisioned
}

func init() {
	party.RegisterAdmin("taken", func(http.ResponseWriter, *http.Request, string) error { return errors.ErrUnsupported })
	party.RegisterTemplateFunction("taken", func(caddy.Context, string) (any, error) { return fmt.Sprint, nil })
}

func TestWhatIsTakenIsNotRegisteredAgain(t *testing.T) {
	admin := func(name string) func() { return func() { party.RegisterAdmin(name, nil) } }
	function := func(name string) func() { return func() { party.RegisterTemplateFunction(name, nil) } }
	for what, register := range map[string]func(){
		`endpoint "taken" is registered already`:           admin("taken"),
		`endpoint "invite" is registered already`:          admin("invite"),
		`endpoint "" is registered already`:                admin(""),
		`template function "taken" is registered already`:  function("taken"),
		`template function "urlFor" is registered already`: function("urlFor"),
		`function name "greet you" is not a valid`:         function("greet you"),
	} {
		func() {
			defer func() { check.Has(t, fmt.Sprint(recover()), what, "the panic") }()
			register()
		}()
	}
}
