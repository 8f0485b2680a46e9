// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk

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
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
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
		var got []string
		for range want {
			got = append(got, <-events)
		}
		slices.Sort(got) // the party's app and the trunk's emit their own
		check.Slices(t, got, want)
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
	expect("guest_joined shop [price] far", "node_joined <nil> <nil> far")
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
	expect("guest_left shop [price] far", "node_left <nil> <nil> far")
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

// TestAnEmbeddedServerOpensNoPortForClients unless the settings have one.
func TestAnEmbeddedServerOpensNoPortForClients(t *testing.T) {
	for what, of := range map[string]Embedded{"nothing": {}, "a cluster": {Cluster: testport.Address(t)}, "a port": {Listen: testport.Address(t)}} {
		s := settings{Node: "a", Subject: "x", Secret: testSecret, Embedded: &of}
		e, err := embed(s, zap.NewNop())
		check.Must(t, err)
		c, err := connect(s, e.Server, zap.NewNop())
		check.Must(t, err)
		c.Close()
		partytest.Eventually(t, "it listens where it has "+what, func() bool {
			return (e.Addr() != nil || of.Listen == "") && (e.ClusterAddr() != nil || of.Cluster == "")
		})
		check.ErrorIf(t, e.Addr() != nil && of.Listen == "", "with %s it listens for clients at %v", what, e.Addr())
		check.ErrorIf(t, e.ClusterAddr() != nil && of.Cluster == "", "with %s it listens for servers at %v", what, e.ClusterAddr())
		check.Must(t, e.release(s))
	}
}

// TestWhatIsTooMuchIsNotAnnounced has a guest have one service too many. Its node says so once, and the other one nothing.
func TestWhatIsTooMuchIsNotAnnounced(t *testing.T) {
	server, client := listening(t)
	core, logged := observer.New(zap.WarnLevel)
	many := make(map[string]partyline.Handler)
	for i := range maxServices + 1 {
		many[fmt.Sprint("s", i)] = pong
	}
	ctx := partytest.ProvisionContext(t)
	app, err := party.AppOf(ctx)
	check.Must(t, err)
	l := newLink(server, zap.New(core))
	check.Must(t, l.open())
	t.Cleanup(func() { check.Must(t, l.Destruct()) })
	g := newGeneration(l, app, zap.NewNop(), func(string, map[string]any) {})
	t.Cleanup(g.end)
	app.OnParty(g.add)
	joins(t, ctx, "blog", map[string]partyline.Handler{"x": pong})
	joins(t, ctx, "many", many)
	joins(t, ctx, "shop", map[string]partyline.Handler{"x": pong})
	check.Must(t, l.start(g))
	client.Node = "n1"
	n1 := newTestNode(t, client, func(ctx caddy.Context) { joins(t, ctx, "asker", nil) })
	partytest.Eventually(t, "n1 knows the others", func() bool { return n1.knows("blog") && n1.knows("shop") })
	check.ErrorIf(t, n1.knows("many"), "it was announced")
	for range 3 {
		joins(t, ctx, "shop", map[string]partyline.Handler{"x": pong})
		time.Sleep(2 * gatherFor)
	}
	warnings := logged.FilterMessage("a guest is not announced to other nodes").All()
	check.Equal(t, len(warnings), 1)
	check.Equal(t, warnings[0].ContextMap()["guest"], any("many"))
}

func TestWhatIsDroppedIsLoggedOnceAMinute(t *testing.T) {
	core, logged := observer.New(zap.WarnLevel)
	c := newCounts()
	for range 1000 {
		c.drop(zap.New(core), kindAsk, "x", errors.New("nonsense"))
	}
	check.Equal(t, len(logged.All()), 1)
	check.Equal(t, c.of[[2]string{kindAsk, dropped}].Load(), 1000)
	c.logged = c.logged.Add(-time.Minute)
	c.drop(zap.New(core), kindAsk, "x", errors.New("nonsense"))
	check.Equal(t, logged.All()[1].ContextMap()["messages"], any(int64(1000)))
}
