// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestAModuleMayJoinBeforeThePartyIsProvisioned(t *testing.T) {
	partytest.Guest(t, "invited", "invited", "who")
	partytest.OnProvision(t, "early", partytest.Joins("main", "early", "who", "early"))
	partytest.OnProvision(t, "inside", partytest.Joins("main", "inside", "who", "inside"))
	partytest.OnProvision(t, "late", partytest.Joins("main", "late", "who", "late"))
	c := partytest.NewCaddy(t)
	c.Site(`
	route {
		test_app early
		wsgi_party main {
			ignore_missing_services
			invite /__invite__/
			route {
				test_app inside
				test_app invited
			}
		}
		test_app late
	}`)
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
		if _, err := wsgiparty.Join(ctx, "main", "bob"); err == nil || !strings.Contains(err.Error(), "join in Provision") {
			t.Error(err)
		}
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
	if err := asker.Connect("number", partytest.Pong); err == nil {
		t.Error("it connects")
	}
}

func TestTheOperatorLeavesWhenItsContextEndsBeforeItsConfig(t *testing.T) {
	var end context.CancelFunc
	partytest.OnProvision(t, "app", func(ctx caddy.Context) error {
		ctx, end = caddy.NewContext(ctx)
		return partytest.Joins("main", "temporary", "who", "temporary")(ctx)
	})
	partytest.OnProvision(t, "other", partytest.Joins("main", "other", "who", "other"))
	c := partytest.NewCaddy(t)
	c.Site("route {\ntest_app app\ntest_app other\nwsgi_party main\n}")
	c.ExpectAnswers("main", "who", "temporary", "other")
	line := operatorOf(c, "main").Partyline()
	end()
	partytest.Eventually(t, "the operator leaves", func() bool { return slices.Equal(line.Services()["who"], []string{"other"}) })

	// Neither the config's end nor Cleanup disconnects the one that is left.
	c.Load("ADDRESS {\nrespond nothing\n}")
	time.Sleep(50 * time.Millisecond) // for what must not happen, in the background
	check.Slices(t, line.Services()["who"], []string{"other"}, "after the end of the config")
}

// TestInvitedGuestsLeaveWhenTheirContextEndsBeforeTheConfig is for a party that a
// module loads for a time.
func TestInvitedGuestsLeaveWhenTheirContextEndsBeforeTheConfig(t *testing.T) {
	partytest.Guest(t, "app", "pong", "ping")
	var end context.CancelCauseFunc
	partytest.OnProvision(t, "loader", func(ctx caddy.Context) error {
		inner, cancel := caddy.NewContextWithCause(ctx)
		end = cancel
		_, err := inner.LoadModuleByID("http.handlers.wsgi_party", []byte(`{"name": "main", "invites": ["/__invite__/"], "routes": [{"handle": [{"handler": "test_app", "key": "app"}]}]}`))
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
	if err := operatorOf(c, "main").Partyline().Operator("two").Connect("number", func(context.Context, any) (any, error) {
		return nil, wsgiparty.ErrHighAndDry
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := operatorOf(c, "main").Partyline().Operator("three").AskAround(context.Background(), "number", "secret payload"); err != nil {
		t.Fatal(err)
	}
	if _, err := operatorOf(c, "main").AskAround(context.Background(), "missing", nil); err == nil {
		t.Error("the service is not missing")
	}
	entries := partytest.LogEntries(t, "asked around")
	check.FatalIf(t, len(entries) != 2, entries)
	missing := entries[1]
	check.ErrorIf(t, missing["service"] != "missing" || !strings.Contains(fmt.Sprint(missing["error"]), "nobody"), missing)
	for key, want := range map[string]any{"level": "debug", "logger": "wsgi_party", "party": "main", "guest": "three",
		"service": "number", "answered": 1., "declined": 1., "failed": 0.} {
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
	if allocations := testing.AllocsPerRun(100, func() {
		if _, err := operator.AskAround(context.Background(), "number", nil); err != nil {
			t.Error(err)
		}
	}); allocations != 1 {
		t.Errorf("%v allocations", allocations)
	}
	check.Equal(t, testing.AllocsPerRun(100, func() { wsgiparty.Lookup("main") }), 0, "Lookup: allocations")
	check.Equal(t, len(partytest.LogEntries(t, "asked around")), 0)
}
