// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What keeps guests on the line from answering, for people who look.

package party

// Condition is why a guest on the line does not answer, or gets no requests, for now.
type Condition struct {
	Kind    ConditionKind
	Service string // that it concerns, empty for all
	Err     error  // that showed it last, nil if there was none
}

// ConditionKind is a kind of Condition.
type ConditionKind string

const (
	ConditionNotAnswering ConditionKind = "not_answering" // asks for the service fail at once, for a pause: several in a row were not answered
	ConditionOverloaded   ConditionKind = "overloaded"    // some asks are refused: the guest is asked more than it can answer
	ConditionUpstreamDown ConditionKind = "upstream_down" // some asks fail: one of its upstreams is down
	ConditionDown         ConditionKind = "down"          // its requests are left to others
)

// OnConditions has f called by whoever wants to know the guest's conditions. It returns soon, and waits for
// nothing outside this process.
func (i *Invitation) OnConditions(f func() []Condition) {
	i.host.entry.conditions.Store(i.invited.guest, f)
}

// Conditions returns those of an invited guest that is on the line.
func (e *Entry) Conditions(guest string) []Condition {
	if f, ok := e.conditions.Load(guest); ok {
		return f.(func() []Condition)()
	}
	return nil
}
