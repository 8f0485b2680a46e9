// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What keeps an application from answering, as the party shows it.

package httpguest

import (
	"cmp"
	"slices"

	"github.com/sony/gobreaker/v2"
	"github.com/wsgiparty/wsgiparty/party"
)

// conditions returns what the application's asks and requests show of it now.
func (a *application) conditions() (conditions []party.Condition) {
	a.breakers.Range(func(service, value any) bool {
		if b := value.(*breaker); b.State() != gobreaker.StateClosed {
			c := party.Condition{Kind: party.ConditionNotAnswering, Service: service.(string)}
			if last := b.last.Load(); last != nil {
				c.Err = last
			}
			conditions = append(conditions, c)
		}
		return true
	})
	slices.SortFunc(conditions, func(a, b party.Condition) int { return cmp.Compare(a.Service, b.Service) })
	if a.isDown() {
		conditions = append(conditions, party.Condition{Kind: party.ConditionDown})
	}
	if a.slots.overload.isOn() {
		conditions = append(conditions, party.Condition{Kind: party.ConditionOverloaded})
	}
	if a.upstreams.areDown() {
		conditions = append(conditions, party.Condition{Kind: party.ConditionUpstreamDown})
	}
	return conditions
}

func (o *overload) isOn() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.refused > 0
}

func (u *upstreams) areDown() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.told
}
