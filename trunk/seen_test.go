// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestEventsSayOnWhichNodeAGuestIs has guests of another node come, change, and go with their node, while this one reloads.
func TestEventsSayOnWhichNodeAGuestIs(t *testing.T) {
	events := make(chan string, 100)
	partytest.HandleEvents(t, "", func(_ context.Context, e caddy.Event) error {
		if strings.HasPrefix(e.Name(), "guest_") || strings.HasPrefix(e.Name(), "node_") {
			events <- fmt.Sprint(e.Name(), " ", e.Data["guest"], " ", e.Data["services"], " ", e.Data["node"])
		}
		return nil
	})
	expect := func(want ...string) {
		t.Helper()
		for _, want := range want {
			check.Equal(t, <-events, want)
		}
	}
	c := partytest.NewCaddy(t)
	load := func(directives string) {
		t.Helper()
		config := c.Adapt("ADDRESS {\nwsgi_party main {\n" + directives + "\n}\n}")
		c.LoadJSON(bytes.Replace(config, []byte(`"apps":{`), []byte(`"apps":{"wsgi_party_trunk":{"node":"n0","embedded":{}},`+
			`"events":{"subscriptions":[{"handlers":[{"handler":"test_recorder"}],"events":["guest_joined","guest_left","node_joined","node_left"]}]},`), 1))
	}
	load("respond hello")
	a, ok := running()
	check.FatalIf(t, !ok, "there is no trunk")
	publish := stranger(t, a.link)
	const from = `"from": {"node": "far", "session": "s", "process": "p", "age": 1}`
	says := func(version int, services string) {
		publish("roster", fmt.Sprintf(`{"kind": "guest", "party": "main", "guest": "shop", "version": %d, "digest": "%d", "says": {"services": [%s]}, %s}`, version, version, services, from))
	}
	says(1, `"price"`)
	expect("node_joined <nil> <nil> far", "guest_joined shop [price] far")
	says(2, `"price", "stock"`) // which is no event
	publish("roster", `{"kind": "guest", "party": "main", "guest": "shop", "version": 3, `+from+`}`)
	expect("guest_left shop [price stock] far")
	says(4, `"price"`)
	expect("guest_joined shop [price] far")
	load("respond again") // whose line is new: all join it
	expect("guest_joined shop [price] far")

	// The node is restarted, and has the same guest: nothing has happened.
	publish("roster", `{"kind": "guest", "party": "main", "guest": "shop", "version": 1, "digest": "4", "says": {"services": ["price"]}, "from": {"node": "far", "session": "t", "process": "p", "age": 0}}`)
	publish("roster", `{"kind": "bye", "from": {"node": "far", "session": "t", "process": "p"}}`)
	left := []string{<-events, <-events} // the app and the trunk emit their own
	check.Contains(t, strings.Join(left, "\n"), []string{"guest_left shop [price] far", "node_left <nil> <nil> far"})
	for _, entry := range partytest.LogEntries(t, "guest left") {
		check.Equal(t, entry["node"], any("far"))
	}
}

// TestAnEmbeddedServerTakesOtherSettings has configs follow each other that keep its address, one of which ends before it
// has begun.
func TestAnEmbeddedServerTakesOtherSettings(t *testing.T) {
	s, _ := listening(t)
	first, err := embed(s, zap.NewNop())
	check.Must(t, err)
	connects := func(of settings) bool {
		client := settings{Node: "c", Servers: []string{"nats://" + s.Embedded.Listen}, Secret: of.Secret}
		c, err := connect(client, nil, zap.NewNop())
		check.Must(t, err)
		defer c.Close()
		return c.IsConnected()
	}
	here, err := connect(s, first.Server, zap.NewNop())
	check.Must(t, err)
	defer here.Close()
	next := s
	next.Secret = strings.Repeat("other", 8)
	next.Subject = "shop"
	check.ErrorIf(t, !connects(s) || connects(next), "it has not the secret of the first config")
	second, err := embed(next, zap.NewNop())
	check.Must(t, err)
	check.ErrorIf(t, first != second, "there are two")
	check.ErrorIf(t, connects(s) || !connects(next), "it has not the secret of the second config")
	check.Must(t, second.release(next))
	check.ErrorIf(t, !connects(s) || connects(next), "it keeps the secret of a config that has ended")
	_, err = embed(next, zap.NewNop())
	check.Must(t, err)
	check.Must(t, first.release(s))
	check.ErrorIf(t, connects(s) || !connects(next), "it returns to the secret of a config that has ended")
	check.ErrorIf(t, here.Stats().Reconnects > 0 || !here.IsConnected(), "this process has lost its connection")
	check.Must(t, second.release(next))
	check.ErrorIf(t, first.Running(), "it runs on")
}
