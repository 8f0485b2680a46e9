// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Guests of other nodes: other processes, mostly on other machines, with a partyline of the same name.

package partyline

// OperatorOn returns a new operator for a guest that is on another node, which is only a label. If operators
// of this node, from Operator, are connected under a service, too, only these are asked. When the last of them
// has left, those of other nodes take its place, and give it back when one connects again. It is experimental.
func (p *Partyline) OperatorOn(node, guest string) *Operator {
	o := p.Operator(guest)
	o.node = node
	return o
}

// Node returns the node that the operator is on, empty if that is this one. It is experimental.
func (o *Operator) Node() string {
	if o == nil {
		return ""
	}
	return o.node
}

// Here returns an operator with which the same guest, or caller that is not one, asks no guests of other
// nodes. It cannot connect. It is experimental.
func (o *Operator) Here() *Operator {
	if o == nil {
		return nil
	}
	return o.asking(func(asks *Operator) { asks.here = true })
}

// GuestsHere is Guests for the guests of this node, with what they are connected under here. It is experimental.
func (p *Partyline) GuestsHere() []GuestInfo {
	return p.guestsWhere(func(o *Operator) bool { return o.node == "" })
}

// Replies is what a remote handler may answer that speaks for several handlers of its guest. Each reply is
// taken as that of a handler of its own. Its Err is nil, ErrHighAndDry or what the handler failed with. Guest and
// Duration need not be set. It is experimental.
type Replies []Reply

// cameOf returns as what a call is counted that several replies came of, and keeps the failure, if there is one.
func (a *ask) cameOf(c *connection, replies Replies) figure {
	came := remoteDeclined
	for i := range replies {
		switch reply := &replies[i]; {
		case reply.failed():
			c.counter.lastFailure.Store(a.failure(c, reply.Err))
			return remoteFailed
		case reply.Err == nil:
			came = remoteAnswered
		}
	}
	return came
}

// takeEach takes the replies of a handler that speaks for several.
func (r *round) takeEach(of *Reply, replies Replies, answers *[]any, yield yieldFunc) (more bool) {
	c := &r.connections[r.next]
	for _, reply := range replies {
		reply.Guest, reply.Duration = of.Guest, of.Duration
		if reply.failed() {
			reply.Err = r.failure(c, reply.Err)
		}
		if !r.take(&reply, answers, yield) {
			return false
		}
	}
	return true
}
