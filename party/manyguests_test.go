// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestTellingOfGuestsThatJoinIsNotQuadratic counts what the events of many guests
// allocate: for each, about as much among four times as many.
func TestTellingOfGuestsThatJoinIsNotQuadratic(t *testing.T) {
	const guests = 750 // and 3,000
	perGuest := func(n int) float64 {
		told, marker := make(chan struct{}), fmt.Sprint("guest", n-1)
		partytest.HandleEvents(t, "many", func(_ context.Context, e caddy.Event) error {
			if e.Data["guest"] == marker {
				close(told)
			}
			if services := e.Data["services"].([]string); len(services) != 2 || services[0] != "a" {
				t.Errorf("%s is told with the services %q", e.Data["guest"], services)
			}
			return nil
		})
		var before, after runtime.MemStats
		partytest.OnProvision(t, "many", func(ctx caddy.Context) error {
			for g := range n {
				operator, err := wsgiparty.Join(ctx, "main", fmt.Sprint("guest", g))
				if err != nil {
					return err
				}
				for _, service := range []string{fmt.Sprint("service", g), "a"} {
					if err := operator.Connect(service, partytest.Pong); err != nil {
						return err
					}
				}
			}
			runtime.ReadMemStats(&before)
			return nil
		})
		c := partytest.NewCaddy(t)
		config := bytes.Replace(c.Adapt("ADDRESS {\nroute {\ntest_app many\nwsgi_party main\n}\n}"), []byte(`"apps":{`),
			[]byte(`"apps":{"events":{"subscriptions":[{"events":["guest_joined"],"handlers":[{"handler":"test_recorder","key":"many"}]}]},`), 1)
		check.Must(t, caddy.Load(config, true))
		<-told
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc-before.TotalAlloc) / float64(n)
	}
	few, many := perGuest(guests), perGuest(4*guests)
	t.Logf("%.0f bytes for each of %d guests, %.0f for each of %d", few, guests, many, 4*guests)
	check.ErrorIf(t, many > 2*few, "%.0f bytes for each of %d guests, %.0f for each of %d", few, guests, many, 4*guests)
}
