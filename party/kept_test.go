// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/party"
)

// TestAnInvitationThatIsKeptKeepsItsConfigAndNoOther has a Go guest keep what its first
// invite and its last one brought, over 100 reloads, and send with both.
func TestAnInvitationThatIsKeptKeepsItsConfigAndNoOther(t *testing.T) {
	const reloads = 100
	var mu sync.Mutex
	var first, last *wsgiparty.Invitation
	var parties []weak.Pointer[party.Host]
	partytest.App(t, "keeper", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		if i, ok := wsgiparty.InvitationFrom(r); ok {
			mu.Lock()
			defer mu.Unlock()
			if last = i; first == nil {
				first = i
			}
			parties = append(parties, weak.Make(i.Host()))
			return i.Operator.Connect("ping", partytest.Pong)
		}
		delivered := wsgiparty.DeliveredTo(r, "keeper")
		_, err := fmt.Fprint(w, "keeper ", delivered)
		return err
	})
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, `{"urls": {"home": "/"}}`, partytest.Echo)
	site := "ADDRESS {\nwsgi_party main {\ninvite /keeper/__invite__/ /blog/__invite__/\ntest_app /keeper/* keeper\n" + partytest.Mounted("blog", "", a) + "handle /keeper2/* {\nreverse_proxy " + a.Address() + "\n}\n}\n}"
	send := func(i *wsgiparty.Invitation, path, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		r := check.Value(http.NewRequestWithContext(ctx, "GET", path, nil))(t)
		got := ""
		if response, err := i.Send(r); err != nil {
			got = err.Error()
		} else {
			got = partytest.ReadAll(t, response)
		}
		check.Has(t, got, want, path)
	}
	both := func() (*wsgiparty.Invitation, *wsgiparty.Invitation) {
		mu.Lock()
		defer mu.Unlock()
		return first, last
	}
	goroutines := 0
	for load := range reloads {
		c.Load(site)
		first, last := both()
		send(last, "/keeper/x", "keeper true")
		if load%10 == 0 {
			send(first, "/keeper/x", "keeper true")
			send(first, "/keeper2/x", "misrouted")
			// It asks those of its own time, who may have gone.
			answers, err := first.Operator.AskAround(context.Background(), "ping", nil)
			check.ErrorIf(t, len(answers) != 0 || err != nil, "%v %v", answers, err)
		}
		if load == reloads/10 {
			goroutines = runtime.NumGoroutine()
		}
	}
	partytest.Eventually(t, "no more goroutines than after a few", func() bool { return runtime.NumGoroutine() <= goroutines+20 })
	alive := func() (n int) {
		for _, p := range parties {
			if p.Value() != nil {
				n++
			}
		}
		return n
	}
	partytest.Eventually(t, "the configs that nobody keeps are gone", func() bool {
		runtime.GC()
		return alive() <= 4
	})
	check.ErrorIf(t, parties[0].Value() == nil || alive() < 2, "the first invitation keeps no party, so that the test shows nothing")
	// Its config has ended, and no other has the party.
	first, _ = both()
	c.Load("ADDRESS {\nrespond nothing\n}")
	send(first, "/keeper/x", "keeper true")
	runtime.KeepAlive(first)
}
