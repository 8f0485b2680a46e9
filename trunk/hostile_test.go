// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What a node with bugs may send.

package trunk

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

func FuzzAsks(f *testing.F) {
	const who = `"node": "n", "id": "1", "party": "main", "guest": "blog"`
	for _, ask := range []string{
		`{` + who + `, "service": "x", "payload": {"n": 1e999}, "path": [["shop", "x"]], "root": "r"}`,
		`{` + who + `, "service": "x", "path": [["blog", "x"]], "root": "r"}`,
		`{` + who + `, "service": "url", "payload": {"name": "page"}, "path": [["", ""]], "root": "r", "left": -1}`,
		`{` + who + `, "service": "x", "payload": ` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `, "path": [["shop", "x"]], "root": "r"}`,
		`{` + who + `, "service": "x", "payload": {"a": 1, "a": 2}, "path": [` + strings.Repeat(`["shop", "x"], `, 40) + `["shop", "x"]], "root": "r"}`,
		`{` + who + `, "service": "\u0000", "payload": "\ud800", "path": [["shop"]], "root": "", "headers": {"": ["\r\n"], "Caddy-Party-Loop": ["x"]}, "prefixes": {"X": "//"}}`,
		`{` + who + `, "service": "x", "payload": null, "path": [["shop", "x"]], "root": "r", "left": 9223372036854775807}`,
	} {
		f.Add([]byte(ask))
	}
	core, logged := observer.New(zap.ErrorLevel)
	ctx := partytest.ProvisionContext(f)
	app, err := party.AppOf(ctx)
	check.Must(f, err)
	l := newLink(settings{Node: "n0", Embedded: new(Embedded), Subject: "wsgi_party"}, zap.New(core))
	check.Must(f, l.open())
	f.Cleanup(func() { check.Must(f, l.Destruct()) })
	g := newGeneration(l, app, zap.NewNop(), func(string, map[string]any) {})
	app.OnParty(g.add)
	joins(f, ctx, "blog", map[string]partyline.Handler{"x": func(_ context.Context, payload any) (any, error) { return payload, nil }, "url": pong})
	check.Must(f, l.start(g))
	replies, err := l.nats.SubscribeSync(nats.NewInbox())
	check.Must(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		l.answer(&nats.Msg{Subject: "ask", Reply: replies.Subject, Data: data, Sub: l.serving.subscription})
		for _, entry := range logged.TakeAll() {
			t.Errorf("%s: %v", entry.Message, entry.ContextMap())
		}
		l.serving.mu.Lock()
		defer l.serving.mu.Unlock()
		check.Equal(t, len(l.serving.cancel), 0)
	})
}

// TestAFloodHindersNobody has a node announce a guest that comes and goes, a thousand times a second, and end asks that
// nobody has made.
func TestAFloodHindersNobody(t *testing.T) {
	server, client := listening(t)
	n0 := newTestNode(t, server, func(ctx caddy.Context) { joins(t, ctx, "shop", map[string]partyline.Handler{"ping": pong}) })
	client.Node = "n1"
	n1 := newTestNode(t, client, func(ctx caddy.Context) { joins(t, ctx, "blog", nil) })
	partytest.Eventually(t, "n1 knows the shop", func() bool { return n1.knows("shop") })
	publish := stranger(t, n0.link)
	over := make(chan struct{})
	flooded := make(chan int)
	go func() {
		defer close(flooded) // also if it cannot publish
		i := 0
		for ticker := time.NewTicker(time.Millisecond); ; {
			select {
			case <-ticker.C:
				i++
				says := ""
				if i%2 == 1 {
					says = `"says": {"services": ["ping"]}, `
				}
				publish("roster", fmt.Sprintf(`{"kind": "guest", "party": "main", "guest": "flaps", "version": %d, "digest": "%d", %s"from": {"node": "bad", "session": "s", "process": "p", "age": 1}}`, i, i, says))
				publish("cancel.n0."+processID, fmt.Sprint("x", i))
				publish("ask.n0."+processID, "nonsense")
			case <-over:
				ticker.Stop()
				flooded <- i
				return
			}
		}
	}()
	asker := n1.line().Operator("blog").Only("shop")
	for range 500 {
		answers, err := asker.AskAround(t.Context(), "ping", nil)
		if err != nil || len(answers) != 1 {
			t.Errorf("got %v, %v", answers, err)
		}
	}
	close(over)
	t.Logf("%d messages of each kind", <-flooded)
	for of, n := range n0.counts.of {
		if of[1] == received && (of[0] == "guest" || of[0] == kindCancel) || of == [2]string{kindAsk, dropped} {
			check.ErrorIf(t, n.Load() == 0, "no message of kind %s was %s", of[0], of[1])
		}
	}
	publish("roster", `{"kind": "bye", "from": {"node": "bad", "session": "s", "process": "p"}}`)
	partytest.Eventually(t, "the node is gone", func() bool { return !n0.knows("flaps") && !n1.knows("flaps") })
	for _, n := range []*testNode{n0, n1} {
		check.ErrorIf(t, !n.knows("shop") || !n.knows("blog"), "a guest has left")
	}
}
