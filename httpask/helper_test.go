// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

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

// connectMain connects a handler under the service of the running config's party main.
func connectMain(t testing.TB, guest, service string, h wsgiparty.Handler) *wsgiparty.Operator {
	t.Helper()
	operator := operatorOf(t, "main").Partyline().Operator(guest)
	partytest.Connect(t, operator, service, h)
	return operator
}
