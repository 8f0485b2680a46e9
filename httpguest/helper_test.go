// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"testing"

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
