// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestMain(m *testing.M) {
	partytest.Main(m, wsgiparty.Lookup, wsgiparty.OperatorFrom, wsgiparty.ErrHighAndDry)
}

// operatorOf returns the running config's partyline of that name.
func operatorOf(t testing.TB, party string) *wsgiparty.Operator {
	t.Helper()
	operator, ok := wsgiparty.Lookup(party)
	check.FatalIf(t, !ok, "there is no party %q", party)
	return operator
}

// connectMain connects a handler under the service of the running config's party main.
func connectMain(t testing.TB, guest, service string, h wsgiparty.Handler) *wsgiparty.Operator {
	t.Helper()
	operator := operatorOf(t, "main").Partyline().Operator(guest)
	partytest.Connect(t, operator, service, h)
	return operator
}

// joins is the Provision of an application that joins the party and answers.
func joins(party, guest, service string, answer any) func(caddy.Context) error {
	return func(ctx caddy.Context) error {
		operator, err := wsgiparty.Join(ctx, party, guest)
		if err != nil {
			return err
		}
		return operator.Connect(service, partytest.Answers(answer))
	}
}

// invitesOf returns what the running config's party knows of its invites, when each
// application has answered.
func invitesOf(t testing.TB, party string, wait bool) map[string]wsgiparty.InviteInfo {
	t.Helper()
	var invites map[string]wsgiparty.InviteInfo
	partytest.Eventually(t, "the applications answer their invites", func() bool {
		invites = make(map[string]wsgiparty.InviteInfo)
		for _, p := range wsgiparty.Parties() {
			if p.Partyline.Name() != party {
				continue
			}
			for _, i := range p.Invites {
				invites[i.Guest] = i
				if wait && i.Status == 0 && i.Err == nil {
					return false
				}
			}
		}
		return true
	})
	return invites
}
