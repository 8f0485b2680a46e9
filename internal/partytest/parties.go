// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytest

import (
	"context"
	"reflect"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// OperatorOf makes a function that returns the operator of the running config's party.
func OperatorOf[O any](lookup func(string) (O, bool)) func(t testing.TB, party string) O {
	return func(t testing.TB, party string) O {
		t.Helper()
		operator, ok := lookup(party)
		if !ok {
			t.Fatalf("there is no party %q", party)
		}
		return operator
	}
}

// ConnectMain makes a function that connects a handler under the service of the running config's
// party main.
func ConnectMain[O operator[H, L], H ~func(context.Context, any) (any, error), L partyline[O]](lookup func(string) (O, bool)) func(t testing.TB, guest, service string, h H) O {
	return func(t testing.TB, guest, service string, h H) O {
		t.Helper()
		o := OperatorOf(lookup)(t, "main").Partyline().Operator(guest)
		Connect(t, o, service, h)
		return o
	}
}

// Joins is the Provision of an application that joins the party and answers.
func Joins(party, guest, service string, answer any) func(caddy.Context) error {
	return func(ctx caddy.Context) error {
		operator, err := known.join(ctx, party, guest)
		if err != nil {
			return err
		}
		return operator.Connect(service, Answers(answer))
	}
}

// InvitesOf makes a function that returns what the running config's party knows of its invites, by
// guest, and may wait for each application to have answered. An I has Guest, Status and Err; what
// parties returns has Partyline and Invites.
func InvitesOf[I, P any](parties func() []P) func(t testing.TB, party string, wait bool) map[string]I {
	return func(t testing.TB, party string, wait bool) (invites map[string]I) {
		t.Helper()
		Eventually(t, "the applications answer their invites", func() bool {
			invites = make(map[string]I)
			for _, p := range parties() {
				info := reflect.ValueOf(p)
				if info.FieldByName("Partyline").Interface().(interface{ Name() string }).Name() != party {
					continue
				}
				for _, invite := range info.FieldByName("Invites").Interface().([]I) {
					of := reflect.ValueOf(invite)
					invites[of.FieldByName("Guest").String()] = invite
					if wait && of.FieldByName("Status").IsZero() && of.FieldByName("Err").IsNil() {
						return false
					}
				}
			}
			return true
		})
		return invites
	}
}
