// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/nats-io/nats.go"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// BenchmarkAsk asks a guest of another node, whose handler asks an application over HTTP. The reference is a request by NATS
// to where nothing is done, and after it the same handler, here.
func BenchmarkAsk(b *testing.B) {
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, `"pong"`) }))
	b.Cleanup(application.Close)
	connections := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	b.Cleanup(connections.CloseIdleConnections)
	overHTTP := func(ctx context.Context, _ any) (any, error) {
		r, err := http.NewRequestWithContext(ctx, "POST", application.URL, http.NoBody)
		if err != nil {
			return nil, err
		}
		response, err := connections.Do(r)
		if err != nil {
			return nil, err
		}
		defer response.Body.Close()
		_, err = io.ReadAll(response.Body)
		return "pong", err
	}
	server, client := listening(b)
	client.Node = "n1"
	third := client
	third.Node = "n2"
	joinMany := func(node string, n int) func(caddy.Context) {
		return func(ctx caddy.Context) {
			for i := range n {
				joins(b, ctx, fmt.Sprintf("%s-%d", node, i), map[string]partyline.Handler{"sixteen": overHTTP})
			}
		}
	}
	n0 := newTestNode(b, server, func(ctx caddy.Context) {
		joins(b, ctx, "shop", map[string]partyline.Handler{"one": overHTTP})
		joinMany("n0", 6)(ctx)
	})
	n1 := newTestNode(b, client, func(ctx caddy.Context) {
		joins(b, ctx, "blog", map[string]partyline.Handler{"local": overHTTP})
		joinMany("n1", 5)(ctx)
	})
	newTestNode(b, third, joinMany("n2", 5))
	partytest.Eventually(b, "n1 knows all", func() bool { return len(n1.line().Guests()) == 18 })
	plain, err := n0.nats.Subscribe("plain", func(m *nats.Msg) { _ = m.Respond(m.Data) })
	check.Must(b, err)
	defer func() { _ = plain.Unsubscribe() }()
	check.Must(b, n0.nats.Flush())

	asker := n1.line().Operator("")
	ask := func(service string, want int) {
		answers, err := asker.AskAround(b.Context(), service, nil)
		if err != nil || len(answers) != want {
			b.Fatalf("got %v, %v", answers, err)
		}
	}
	var one, sixteen, reference time.Duration
	const block = 20 // of each, in turns
	timed := func(total *time.Duration, f func()) {
		began := time.Now()
		for range block {
			f()
		}
		*total += time.Since(began)
	}
	for b.Loop() {
		timed(&one, func() { ask("one", 1) })
		timed(&reference, func() {
			_, err := n1.nats.Request("plain", []byte("null"), time.Second)
			check.Must(b, err)
			ask("local", 1)
		})
		timed(&sixteen, func() { ask("sixteen", 16) })
	}
	b.ReportMetric(float64(one.Nanoseconds())/float64(b.N*block), "one-ns")
	b.ReportMetric(float64(one)/float64(reference), "x-reference")
	b.ReportMetric(float64(sixteen)/float64(one), "sixteen-x-one")
}

// BenchmarkURLFor links to a page of a guest of another node, against one of this one that has the same template.
func BenchmarkURLFor(b *testing.B) {
	n := newTestNode(b, settings{Node: "n0", Embedded: new(Embedded), Subject: "wsgi_party"}, func(ctx caddy.Context) {
		o := joins(b, ctx, "blog", nil)
		template, err := urltemplate.Parse("/p/{id}")
		check.Must(b, err)
		check.Must(b, o.ConnectKeyed(party.URLService, func(name string) bool { return name == "here" }, func(ctx context.Context, payload any) (any, error) {
			request, err := party.URLRequestOf(payload)
			check.Must(b, err)
			return template.Expand(ctx, "/blog", request.Values)
		}))
	})
	publish := stranger(b, n.link)
	publish("roster", `{"kind": "guest", "party": "main", "guest": "shop", "version": 7, "digest": "d", "says": {"services": ["url"], "manifest": {"urls": {"page": "/p/{id}"}}, "mount": {"path": "/shop"}}, "from": {"node": "new", "session": "s"}}`)
	partytest.Eventually(b, "the shop is there", func() bool { return n.knows("shop") })
	asker := n.line().Operator("")
	for name, page := range map[string]string{"remote": "page", "local": "here"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := party.URLFor(b.Context(), asker, page, map[string]any{"id": "5"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
