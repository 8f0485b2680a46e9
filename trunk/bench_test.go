// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk

import (
	"context"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
	"github.com/wsgiparty/wsgiparty/party"
)

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
	publish("roster", `{"kind": "guest", "party": "main", "guest": "shop", "version": 7, "digest": "d", "says": {"services": ["url"], "manifest": {"urls": {"page": "/p/{id}"}}, "mount": {"path": "/shop"}}, "from": {"node": "new", "session": "s", "process": "p"}}`)
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
