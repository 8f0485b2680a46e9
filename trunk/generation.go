// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The parties of one config, and the guests of other nodes that are connected to them.

package trunk

import (
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// generation is a config that uses a link. It is guarded by the link.
type generation struct {
	link    *link
	app     *party.App
	logger  *zap.Logger
	emit    func(event string, data map[string]any)
	entries map[string]*party.Entry
	guests  map[guestKey]*partyline.Operator // of other nodes
	changes map[string]uint64                // of the parties' lines, when they were announced last
	ended   bool
}

func newGeneration(l *link, app *party.App, logger *zap.Logger, emit func(string, map[string]any)) *generation {
	g := &generation{link: l, app: app, logger: logger, emit: emit, entries: make(map[string]*party.Entry), guests: make(map[guestKey]*partyline.Operator), changes: make(map[string]uint64)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.generations[g] = struct{}{}
	return g
}

// add adds a party of the config, with the guests of it that other nodes have.
func (g *generation) add(e *party.Entry) {
	l := g.link
	if parties := l.settings.Parties; len(parties) > 0 && !slices.Contains(parties, e.Name()) {
		return
	}
	for _, text := range l.settings.Origins {
		if origin, err := parseOrigin(text); err == nil {
			e.AddOrigin(origin)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.entries[e.Name()] != nil {
		return
	}
	g.entries[e.Name()] = e
	for _, n := range l.nodes {
		for key := range n.guests {
			if key.party == e.Name() && g.guests[key] == nil {
				g.connect(key)
			}
		}
	}
}

// connect connects a guest as the other nodes announce it now, in place of how it was connected before.
func (g *generation) connect(key guestKey) {
	e := g.entries[key.party]
	if e == nil || g.ended {
		return
	}
	last := g.guests[key]
	delete(g.guests, key)
	if sources := g.link.sourcesOf(key); len(sources) > 0 {
		var nodes []string
		for _, s := range sources {
			nodes = append(nodes, s.Node)
			g.app.Forward(s.Forward)
		}
		operator := e.OperatorAway(strings.Join(nodes, ", "), key.guest)
		a := &away{link: g.link, app: g.app, entry: e, key: key, says: sources[0].parsed, source: sources[0]}
		a.pathFor = e.MountAway(key.guest, sources[0].Mount)
		if err := a.connect(operator, sources); err != nil {
			g.logger.Error("a guest of another node could not be connected", zap.String("party", key.party), zap.String("guest", key.guest), zap.Error(err))
		}
		operator.Join()
		g.guests[key] = operator
	} else {
		e.UnmountAway(key.guest)
	}
	if last != nil {
		last.Leave()
	}
}

// hasChanged reports whether a party has changed since it was called last.
func (g *generation) hasChanged() (changed bool) {
	for name, e := range g.entries {
		if now := e.Changes(); g.changes[name] != now || now == 0 {
			g.changes[name], changed = now, true
		}
	}
	return changed
}

// start has the link announce the guests of this config, and answer for them. When it returns, the others know of the
// link: before the one of the last config says good-bye, if that had other settings.
func (l *link) start(g *generation) (err error) {
	l.guarded("the config started", func() {
		if !g.ended && !slices.Contains(l.started, g) {
			l.started = append(l.started, g)
		}
		if err = l.serve(); err != nil {
			return
		}
		for _, name := range l.settings.Parties {
			if g.entries[name] == nil {
				g.logger.Warn("the trunk is to join a party that the config does not have", zap.String("party", name), zap.String("hint", "correct the name after `party` in wsgi_party_trunk, or write `wsgi_party "+name+"` in a site"))
			}
		}
		l.announce()
		l.beat(time.Now())
		if !l.wanted { // so that a reload that changes the trunk's settings has the guests of others at once
			l.wanted = true
			l.publish(l.subject("roster"), message{Kind: "want"})
		}
	})
	if err == nil && l.nats.IsConnected() { // else they know when NATS is there
		_ = l.nats.FlushTimeout(time.Second)
	}
	return err
}

// end has the link announce the guests of the config before, if that still runs. If none does, it first answers all that
// it has been asked. Guests of other nodes stay on the line of this config, whose requests in flight may ask.
func (g *generation) end() {
	l := g.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.ended {
		return
	}
	g.ended = true
	delete(l.generations, g)
	if asks := l.serving.subscription; asks != nil && len(l.started) == 1 && l.started[0] == g {
		l.serving.subscription = nil
		l.mu.Unlock()
		if l.nats.IsConnected() {
			l.serving.drain(asks)
		}
		l.mu.Lock()
	}
	l.started = slices.DeleteFunc(l.started, func(other *generation) bool { return other == g })
	if last := l.current(); last != nil {
		clear(last.changes)
	}
}

// handBack has the link of the running config go on if this one ends before it, since its config has failed to load: the
// others take that link for one of the past.
func (l *link) handBack() {
	var before *link
	links.Range(func(_, value any) bool {
		if other := value.(*link); other.settings.Node == l.settings.Node && other.as.Load().began.Before(l.as.Load().began) {
			before = other
		}
		return true
	})
	if before == nil {
		return
	}
	goesOn := false
	before.guarded("a config has failed to load", func() {
		if goesOn = len(before.started) > 0; goesOn {
			before.as.Store(&session{rand.Text(), time.Now()})
			before.beat(time.Now())
		}
	})
	if goesOn {
		_ = before.nats.FlushTimeout(time.Second)
	}
}
