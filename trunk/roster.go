// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What the other nodes say of their guests.

package trunk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/guestname"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
)

// node is another node.
type node struct {
	sender
	asks   string // subject of asks of its guests
	seen   time.Time
	wanted time.Time // when it was last asked for all of its guests
	guests map[guestKey]*source
	newest map[guestKey]uint64 // versions, also of guests that have left
	gone   context.Context     // ends when it is gone
	leave  context.CancelCauseFunc
}

// source is a guest as one other node has announced it.
type source struct {
	*node
	announcement
	digest  string
	parsed  *manifest.Manifest // never nil
	latency *atomic.Int64      // of its last reply, in nanoseconds: 0 before, the most if it failed
}

// errNodeGone says that a node has left, or is silent.
type errNodeGone struct{ node string }

func (e *errNodeGone) Error() string { return fmt.Sprintf("node %s is gone", e.node) }

// receive takes a message of the roster. The link must be locked.
func (l *link) receive(data []byte, subject string) {
	m, err := decode(data)
	if err != nil {
		l.counts.drop(l.logger, "beat", subject, err)
		return
	}
	if m.From.Session == l.as.Load().name {
		return
	}
	if m.From.Node == l.settings.Node {
		l.meetNamesake(m)
		return
	}
	if err := l.take(m); err != nil {
		l.counts.drop(l.logger, m.Kind, subject, fmt.Errorf("node %s: %w", m.From.Node, err))
		return
	}
	l.counts.add(m.Kind, received)
}

func (l *link) take(m message) error {
	n := l.nodes[m.From.Node]
	if m.Kind == "bye" {
		if n != nil && n.Session == m.From.Session {
			l.forget(n, "it said good-bye")
		}
		return nil
	}
	if n != nil && n.Session != m.From.Session {
		if isOlder := m.From.Age >= time.Since(n.seen)+n.Age; isOlder && n.Process == m.From.Process {
			return nil // its link before the last reload
		} else if isOlder {
			return fmt.Errorf("there is another node of that name, at %s and %s", n.Address, m.From.Address)
		}
		n = l.renew(n, m.From) // it has been restarted, or its trunk has other settings
	}
	if n == nil {
		if len(l.nodes) >= maxNodes {
			return fmt.Errorf("there are %d other nodes already", maxNodes)
		}
		n = l.meet(m.From)
	}
	n.Address, n.Age, n.seen = m.From.Address, m.From.Age, time.Now() // not the rest, which asks read
	switch m.Kind {
	case "beat":
		if m.Digest != n.digest() {
			l.want(n)
		}
	case "guest":
		return l.takeGuest(n, m)
	case "whole":
		return l.takeWhole(n, m)
	case "want":
		if len(l.started) > 0 { // else another link of the node tells, or will
			l.tellAll(m.From.Node)
		}
	}
	return nil
}

// digest is of what is known of its guests.
func (n *node) digest() string {
	digests := make(map[string]string, len(n.guests))
	for key, s := range n.guests {
		digests[key.text()] = s.digest
	}
	return digestOfAll(digests)
}

// meet adds a node that is new.
func (l *link) meet(from sender) *node {
	n := &node{sender: from, asks: l.subject(kindAsk, from.Node, from.Process), guests: make(map[guestKey]*source), newest: make(map[guestKey]uint64)}
	n.gone, n.leave = context.WithCancelCause(context.Background())
	l.nodes[from.Node] = n
	l.logger.Info("a node has joined the trunk", zap.String("node", n.Node), zap.String("address", n.Address))
	l.emit("node_joined", n)
	return n
}

// inherit takes what the link of the running config knows of the other nodes, until they tell this one: a reload that
// changes the trunk loses no guest.
func (l *link) inherit() {
	var before *link
	links.Range(func(_, value any) bool {
		if other := value.(*link); other != l && other.settings.Node == l.settings.Node && other.settings.Subject == l.settings.Subject {
			before = other
		}
		return before == nil
	})
	if before == nil {
		return
	}
	before.mu.Lock()
	defer before.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, n := range before.nodes {
		own := &node{sender: n.sender, asks: n.asks, seen: n.seen, guests: make(map[guestKey]*source), newest: make(map[guestKey]uint64)}
		own.gone, own.leave = context.WithCancelCause(context.Background())
		for key, s := range n.guests {
			own.guests[key] = &source{own, s.announcement, s.digest, s.parsed, s.latency}
		}
		l.nodes[name] = own
	}
}

// renew has a node begin anew without its guests leaving. They are compared with what it says from now on.
func (l *link) renew(n *node, from sender) *node {
	renewed := &node{sender: from, asks: l.subject(kindAsk, from.Node, from.Process), guests: make(map[guestKey]*source), newest: make(map[guestKey]uint64), gone: n.gone, leave: n.leave}
	if n.Process != from.Process {
		n.leave(&errNodeGone{n.Node})
		renewed.gone, renewed.leave = context.WithCancelCause(context.Background())
	}
	for key, s := range n.guests {
		renewed.guests[key] = &source{renewed, s.announcement, s.digest, s.parsed, s.latency}
	}
	l.nodes[from.Node] = renewed
	l.apply(slices.Collect(maps.Keys(renewed.guests))...)
	return renewed
}

// forget removes a node that is gone.
func (l *link) forget(n *node, why string) {
	delete(l.nodes, n.Node)
	n.leave(&errNodeGone{n.Node})
	l.logger.Info("a node has left the trunk", zap.String("node", n.Node), zap.String("address", n.Address), zap.String("why", why), zap.Int("guests", len(n.guests)))
	l.apply(slices.Collect(maps.Keys(n.guests))...)
	l.emit("node_left", n)
}

// want asks a node for all of its guests.
func (l *link) want(n *node) {
	if time.Since(n.wanted) >= wantAtMost {
		n.wanted = time.Now()
		l.publish(l.subject("node", n.Node), message{Kind: "want"})
	}
}

// tellAll tells a node of all guests of this one.
func (l *link) tellAll(to string) {
	for key, guest := range l.announced.guests {
		l.publish(l.subject("node", to), l.guestMessage(key, guest))
	}
	l.publish(l.subject("node", to), message{Kind: "whole", Guests: l.announced.digests(), Version: l.announced.version})
}

func (l *link) takeGuest(n *node, m message) error {
	key := guestKey{m.Party, m.Guest}
	if m.Version <= n.newest[key] {
		return nil
	}
	if m.Says == nil {
		n.newest[key] = m.Version
		if n.guests[key] != nil {
			delete(n.guests, key)
			l.apply(key)
		}
		return nil
	}
	s, err := n.parse(key, m)
	if err != nil {
		return err
	}
	last := n.guests[key]
	if last == nil && len(n.guests) >= maxGuests {
		return fmt.Errorf("it has more than %d guests", maxGuests)
	}
	if len(n.newest) >= 2*maxGuests { // mostly of those that have left
		n.newest = make(map[guestKey]uint64)
	}
	if last != nil {
		s.latency = last.latency
	}
	n.newest[key], n.guests[key] = m.Version, s
	if last == nil || last.digest != s.digest {
		l.apply(key)
	}
	return nil
}

// parse returns what is announced, checked: other nodes are trusted, but may have bugs.
func (n *node) parse(key guestKey, m message) (*source, error) {
	says := m.Says
	if key.party == "" || strings.Contains(key.party, "\x00") {
		return nil, errors.New("a guest is of no party")
	}
	if err := guestname.Check(key.guest); err != nil {
		return nil, fmt.Errorf("the name of guest %q: %w", key.guest, err)
	}
	switch {
	case len(says.Manifest) > maxGuest || len(m.Digest) > maxNode:
		return nil, fmt.Errorf("what it says of guest %q has more than %d bytes", key.guest, maxGuest)
	case len(says.Services) > maxServices || slices.Contains(says.Services, ""):
		return nil, fmt.Errorf("guest %q has %d services, one of which may have no name: it may have %d", key.guest, len(says.Services), maxServices)
	case says.Timeout < 0:
		return nil, fmt.Errorf("guest %q has a timeout of %v", key.guest, says.Timeout)
	}
	if err := says.Mount.Check(); err != nil {
		return nil, fmt.Errorf("the mount of guest %q: %w", key.guest, err)
	}
	s := &source{n, *says, m.Digest, new(manifest.Manifest), new(atomic.Int64)}
	if len(says.Manifest) > 0 {
		var err error
		if s.parsed, err = manifest.Parse(says.Manifest); err != nil {
			return nil, fmt.Errorf("guest %q: %w", key.guest, err)
		}
	}
	return s, nil
}

// takeWhole removes guests that the node no longer has.
func (l *link) takeWhole(n *node, m message) error {
	for key := range n.guests {
		if _, still := m.Guests[key.text()]; !still && n.newest[key] <= m.Version {
			delete(n.guests, key)
			l.apply(key)
		}
	}
	return nil
}

// sourcesOf returns the guest as the other nodes have announced it, by the names of these.
func (l *link) sourcesOf(key guestKey) (sources []*source) {
	for _, name := range slices.Sorted(maps.Keys(l.nodes)) {
		if s := l.nodes[name].guests[key]; s != nil {
			sources = append(sources, s)
		}
	}
	return sources
}

// apply connects a guest anew in all configs.
func (l *link) apply(keys ...guestKey) {
	for g := range l.generations {
		for _, key := range keys {
			g.connect(key)
		}
	}
}
