// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package page_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) != "" {
		caddycmd.Main()
		return
	}
	partytest.Main(m, wsgiparty.Lookup, wsgiparty.Join, wsgiparty.OperatorFrom, wsgiparty.ErrHighAndDry)
}

// asCaddy, in the environment, makes the test program Caddy.
const asCaddy = "WSGIPARTY_TEST_PAGE_AS_CADDY"

// joins is a guest that joins with these services.
func joins(services map[string]wsgiparty.Handler) partytest.InvitedFunc {
	return func(w http.ResponseWriter, _ *http.Request, o *partytest.Operator) error {
		for name, handler := range services {
			if err := o.Connect(name, partytest.Handler(handler)); err != nil {
				return err
			}
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func answers(context.Context, any) (any, error)  { return "an answer", nil }
func declines(context.Context, any) (any, error) { return nil, wsgiparty.ErrHighAndDry }
func fails(context.Context, any) (any, error) {
	return nil, errors.New("the stock is not to be had: dial tcp 10.0.0.7:5432: connection refused")
}

// invites are the directives of guests that are to be invited.
func invites(guests ...string) (directives string) {
	for _, guest := range guests {
		directives += "invite /" + guest + "/__invite__/\ntest_app /" + guest + "/* " + guest + "\n"
	}
	return directives
}

// asks has a guest of the party ask so many times.
func asks(t testing.TB, party, guest, service string, times int) {
	t.Helper()
	o, ok := wsgiparty.Lookup(party)
	check.FatalIf(t, !ok, "there is no party", party)
	for range times {
		_, _ = o.Partyline().Operator(guest).AskAround(context.Background(), service, nil)
	}
}

// small is a party of three guests, one that has not joined, and one whose handlers fail.
func small(t testing.TB) string {
	party := partytest.FreshParty()
	partytest.OnInvites(t, "shop", joins(map[string]wsgiparty.Handler{"price": answers, "stock": fails, "url": answers}))
	partytest.OnInvites(t, "magazine", joins(map[string]wsgiparty.Handler{"articles": answers, "url": answers}))
	partytest.OnInvites(t, "search", joins(map[string]wsgiparty.Handler{"index": answers, "price": declines}))
	return "wsgi_party " + party + " {\n" + invites("shop", "magazine", "search") + "invite /wiki/__invite__/\n}\n"
}

func askSmall(t testing.TB, party string) {
	t.Helper()
	asks(t, party, "magazine", "price", 140)
	asks(t, party, "magazine", "stock", 9)
	asks(t, party, "shop", "articles", 25)
	asks(t, party, "search", "url", 12)
	asks(t, party, "", "url", 60)
}

// large is a party of as many guests, with so many services each.
func large(t testing.TB, guests, services int) (directives, party string) {
	party = partytest.FreshParty()
	var names []string
	for g := range guests {
		name := fmt.Sprintf("team-%d/app-%03d", g%12, g)
		own := map[string]wsgiparty.Handler{"url": answers}
		for s := range services - 1 {
			own[fmt.Sprintf("service-%d-of-%03d", s, g)] = answers
		}
		partytest.OnInvites(t, name, joins(own))
		names = append(names, name)
	}
	return "wsgi_party " + party + " {\n" + invites(names...) + "}\n", party
}
