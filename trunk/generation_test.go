// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk

import (
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

func TestOnlyThePartiesOfTheSettingsAreJoined(t *testing.T) {
	server, client := listening(t)
	newTestNode(t, server, func(ctx caddy.Context) {
		joins(t, ctx, "shop", map[string]partyline.Handler{"ping": pong})
		_, err := party.Join(ctx, "other", "blog")
		check.Must(t, err)
	})
	client.Node, client.Parties = "n1", []string{"main", "mian"}
	core, logged := observer.New(zap.WarnLevel)
	ctx := partytest.ProvisionContext(t)
	app, err := party.AppOf(ctx)
	check.Must(t, err)
	l := openLink(t, client)
	g := newGeneration(l, app, zap.New(core), func(string, map[string]any) {})
	t.Cleanup(g.end)
	app.OnParty(g.add)
	for _, name := range []string{"main", "other"} {
		_, err = party.Join(ctx, name, "asker")
		check.Must(t, err)
	}
	check.Must(t, l.start(g))
	partytest.Eventually(t, "the shop is known", func() bool {
		_, ok := app.Entry("main").Guest("shop")
		return ok
	})
	check.Equal(t, len(app.Entry("other").Guests()), 1)
	warnings := logged.FilterMessage("the trunk is to join a party that the config does not have").All()
	check.Equal(t, len(warnings), 1)
	check.Equal(t, warnings[0].ContextMap()["party"], any("mian"))
}

func TestEventsAreEmittedInTheirOrder(t *testing.T) {
	ctx := partytest.ProvisionContext(t)
	app, err := party.AppOf(ctx)
	check.Must(t, err)
	l := openLink(t, settings{Node: "n0", Embedded: new(Embedded), Subject: "wsgi_party"})
	events := make(chan string, 2)
	g := newGeneration(l, app, zap.NewNop(), func(name string, _ map[string]any) {
		if name == "node_joined" {
			time.Sleep(50 * time.Millisecond) // as a handler of events may
		}
		events <- name
	})
	t.Cleanup(g.end)
	check.Must(t, l.start(g))
	publish := stranger(t, l)
	publish("roster", `{"kind": "beat", "from": {"node": "new", "session": "s", "process": "p"}}`)
	publish("roster", `{"kind": "bye", "from": {"node": "new", "session": "s", "process": "p"}}`)
	check.Equal(t, <-events, "node_joined")
	check.Equal(t, <-events, "node_left")
}
