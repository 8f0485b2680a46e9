// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// TestOfSeveralOtherNodesTheQuickestIsAsked has two nodes with the same guest. The first by name is slow, then the other
// one fails. Nobody asks another guest of theirs, which may be as slow as it likes.
func TestOfSeveralOtherNodesTheQuickestIsAsked(t *testing.T) {
	server, client := listening(t)
	asker := newTestNode(t, server, func(ctx caddy.Context) { joins(t, ctx, "asker", nil) })
	var n1IsSlow, n2Fails atomic.Bool
	n1IsSlow.Store(true)
	join := func(name string, ping partyline.Handler) {
		client.Node = name
		newTestNode(t, client, func(ctx caddy.Context) {
			joins(t, ctx, "shop", map[string]partyline.Handler{"ping": ping})
			joins(t, ctx, "other-"+name, map[string]partyline.Handler{"ping": func(ctx context.Context, _ any) (any, error) {
				if name == "n2" {
					time.Sleep(300 * time.Millisecond)
				}
				return name, nil
			}})
		})
	}
	join("n1", func(context.Context, any) (any, error) {
		if n1IsSlow.Load() {
			time.Sleep(200 * time.Millisecond)
		}
		return "n1", nil
	})
	join("n2", func(context.Context, any) (any, error) {
		if n2Fails.Load() {
			return nil, errors.New("oh no")
		}
		return "n2", nil
	})
	partytest.Eventually(t, "both are known", func() bool {
		asker.mu.Lock()
		defer asker.mu.Unlock()
		return len(asker.sourcesOf(guestKey{"main", "shop"})) == 2
	})
	ask := func(guest string) string {
		answers, err := asker.line().Operator("").Ask(t.Context(), guest, "ping", nil)
		if err != nil {
			return err.Error()
		}
		var text string
		check.Must(t, json.Unmarshal(answers[0].(json.RawMessage), &text))
		return text
	}
	check.Equal(t, ask("shop"), "n1") // neither has been asked
	check.Equal(t, ask("other-n2"), "n2")
	for range 5 {
		check.Equal(t, ask("shop"), "n2")
	}
	n2Fails.Store(true)
	n1IsSlow.Store(false)
	if failure := ask("shop"); failure == "n1" || failure == "n2" {
		t.Errorf("%s answered", failure)
	}
	for range 5 {
		check.Equal(t, ask("shop"), "n1")
	}
}
