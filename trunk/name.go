// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The name of this node, which no other node may have.

package trunk

import (
	"encoding/json"
	"fmt"
	"time"

	"go.uber.org/zap"
)

const (
	claimFor = time.Second // how long another node of the name may take to say so
	sameAge  = time.Second // of links: about how long messages take, at most
)

// session is a link as other nodes know it.
type session struct {
	name  string
	began time.Time
}

// checkName asks whether another process is a node of that name.
func (l *link) checkName() error {
	if !l.nats.IsConnected() {
		return nil // claimName asks
	}
	l.claimed = time.Now().Add(-claimFor)
	data, err := json.Marshal(message{Kind: "hello", From: l.sender()})
	if err != nil {
		return err
	}
	reply, err := l.nats.Request(l.subject("node", l.settings.Node), data, claimFor)
	if err != nil {
		return nil // there is none, or none that would answer
	}
	m, err := decode(reply.Data)
	if err != nil || m.From.Process == processID {
		return nil
	}
	return fmt.Errorf("the trunk has a node %q already, at %s, and this one is at %s: write another name for one of them, as in `wsgi_party_trunk <node>`", l.settings.Node, m.From.Address, l.address())
}

// claimName asks, once NATS is there, whether another node has the name, if it was not there when the link was opened.
func (l *link) claimName(now time.Time) {
	if l.claimed.IsZero() && l.nats.IsConnected() {
		l.claimed = now
		l.publish(l.subject("node", l.settings.Node), message{Kind: "hello"})
	}
}

// meetNamesake takes a message of another node with the name of this one. The younger of the two keeps silent.
func (l *link) meetNamesake(m message) {
	if m.From.Process == processID || m.Kind == "bye" {
		return
	}
	if !l.isYounger(m.From) {
		if m.Kind == "hello" { // it asks, and other messages tell it later
			l.publish(l.subject("node", l.settings.Node), message{Kind: "hello"})
		}
		return
	}
	if !l.isOutranked() {
		l.logger.Error("the trunk has an older node of the same name, so this one is no node of it", zap.String("other", m.From.Address), zap.String("address", l.address()),
			zap.String("hint", "write another name for one of them, as in `wsgi_party_trunk <node>`"))
		l.publish(l.subject("roster"), message{Kind: "bye"})
	}
	l.namesake, l.reminded = m.From, time.Now()
}

// isYounger reports whether this node is younger than another one. The two come to different results, even if they have
// started at once.
func (l *link) isYounger(other sender) bool {
	if older := other.Age - time.Since(l.as.Load().began); older.Abs() > sameAge {
		return older > 0
	}
	return other.Session < l.as.Load().name
}

// isOutranked reports whether there is an older node of the same name.
func (l *link) isOutranked() bool {
	return !l.reminded.IsZero() && time.Since(l.reminded) <= silentFor
}

// isSilent reports whether another node may have the name, so that this one announces nothing.
func (l *link) isSilent() bool {
	return l.claimed.IsZero() || time.Since(l.claimed) < claimFor || l.isOutranked()
}
