// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// TestOfSeveralNodesAnotherIsAskedWhenTheQuickestIsKilled has b and c have the same guest, and b answer long after c. Each is tried. When c is killed, b
// is asked in its place.
func TestOfSeveralNodesAnotherIsAskedWhenTheQuickestIsKilled(t *testing.T) {
	byNATS(t, func(t *testing.T, trunk *trunkOfThree) {
		a, b, c := trunk.nodes[0], trunk.nodes[1], trunk.nodes[2]
		slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for c.app.asks.Load() == 0 {
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(time.Second)
			b.app.ServeHTTP(w, r)
		}))
		t.Cleanup(slow.Close)
		b.upstream, b.options = slow.Listener.Addr().String(), "timeout 20s"
		for _, n := range []*caddyNode{b, c} {
			n.guests = []string{"shop"}
			check.Must(t, n.reload())
		}
		eventually(t, "a knows both", func() bool { return a.guestsShown()["shop"] == "b, c" })
		c.app.asks.Store(0)
		a.ask("echo", "1", "") // whose first remote guest answers only once the last is asked
		for range 2 {
			r, times := a.ask("echo", "1", "?guest=shop").of("shop")
			check.ErrorIf(t, times != 1 || r.Status != "answered", "%d: %+v", times, r)
		}
		b.app.asks.Store(0)
		for range 20 {
			r := a.ask("echo", "1", "?guest=shop")
			check.ErrorIf(t, len(r.Answers) != 1 || !strings.Contains(string(r.Answers[0]), `"c"`), "got %s, %+v", r.Answers, r.Replies)
		}
		check.Equal(t, b.app.asks.Load(), 0)
		c.stop(syscall.SIGKILL)
		eventually(t, "b is asked", func() bool {
			got := a.ask("echo", "1", "?guest=shop")
			r, times := got.of("shop")
			check.ErrorIf(t, times != 1 || r.Status == "failed" && r.Error == "", "%d: %+v", times, r)
			return len(got.Answers) == 1 && strings.Contains(string(got.Answers[0]), `"b"`)
		})
	})
}
