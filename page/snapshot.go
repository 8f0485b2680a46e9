// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// How a party is at a time. Whoever looks within the same half second sees the same.

package page

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wsgiparty/wsgiparty/internal/natural"
	"github.com/wsgiparty/wsgiparty/internal/traffic"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

const (
	freshFor    = 500 * time.Millisecond
	maxRendered = 64 // documents of one snapshot
)

// snapshots keeps the latest of a party, and the documents made of it.
type snapshots struct {
	mu       sync.Mutex
	taken    time.Time
	latest   *snapshot
	rendered map[view]*rendered
}

// documentOf returns what is to be seen of a party.
func documentOf(e *party.Entry, v view) (*rendered, error) {
	s := party.StateOf[snapshots](e)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest == nil || time.Since(s.taken) > freshFor {
		s.latest, s.taken, s.rendered = take(e), time.Now(), make(map[view]*rendered)
	}
	if known := s.rendered[v]; known != nil {
		return known, nil
	}
	encoded, err := wire.Encode(s.latest.seen(v))
	if err != nil {
		return nil, err
	}
	made := render(encoded)
	if len(s.rendered) < maxRendered {
		s.rendered[v] = made
	}
	return made, nil
}

// snapshot is all that there is of a party: a document whose lists are whole, and in order.
type snapshot struct {
	document
	guests   map[string]*guest
	services map[string]*service
}

func take(e *party.Entry) *snapshot {
	info := e.Info()
	s := &snapshot{document: document{Party: shown(info.Partyline.Name())}, guests: make(map[string]*guest), services: make(map[string]*service)}
	for _, i := range info.Invites {
		s.addInvite(i)
	}
	for _, present := range info.Partyline.Guests() {
		g := s.guest(present.Name)
		g.OnLine, g.Joined, g.Replicas, g.Node = true, present.Joined, present.Replicas, shown(present.Node)
		s.Totals.Guests++
		for _, c := range e.Conditions(present.Name) {
			if len(g.Conditions) < maxTroubles {
				g.Conditions = append(g.Conditions, condition{c.Kind, shown(c.Service), text(wire.Message(c.Err))})
			}
		}
	}
	for name, guests := range info.Partyline.Services() {
		svc := &service{Service: shown(name), guests: guests, GuestCount: len(guests), Guests: names(guests, maxGuestsOf)}
		s.services[name] = svc
		for _, of := range guests {
			g := s.guest(of)
			g.services = append(g.services, svc)
		}
	}
	s.count(info.Partyline)
	s.meter(e.Traffic())
	for name, g := range s.guests {
		g.Mount = shown(e.MountFor(nowhere, name))
		if !g.OnLine {
			s.Totals.NotJoined++
		}
		s.Guests = append(s.Guests, g)
		g.ServiceCount = len(g.services)
		slices.SortFunc(g.services, mostAsked)
		for _, svc := range g.services[:min(len(g.services), maxOfGuest)] {
			g.Services = append(g.Services, svc.Service)
		}
	}
	s.Services = slices.SortedFunc(maps.Values(s.services), worst)
	s.Totals.Services = len(s.Services)
	s.sort()
	return s
}

// guest returns the guest of that name, a new one if it is not there yet.
func (s *snapshot) guest(name string) *guest {
	g, ok := s.guests[name]
	if !ok {
		g = &guest{Guest: shown(name), Services: []string{}, Invites: []invite{}, Conditions: []condition{}}
		s.guests[name] = g
	}
	return g
}

func (s *snapshot) addInvite(i party.InviteInfo) {
	g := s.guest(i.Guest)
	made := invite{shown(i.Server), text(i.URI), i.Result, i.Status, text(wire.Message(i.Err)), text(i.Hint), i.OldManifest, i.Time}
	if len(g.Invites) < maxInvites {
		g.Invites = append(g.Invites, made)
	} else if i.Result != party.InviteJoined {
		g.Invites[maxInvites-1] = made
	}
}

// count adds up who asks, and what comes of it.
func (s *snapshot) count(line *partyline.Partyline) {
	for _, c := range line.Askers() {
		s.Askers = append(s.Askers, asker{shown(c.Guest), shown(c.Service), c.Asks})
		if svc := s.services[c.Service]; svc != nil {
			svc.Asks += c.Asks
		}
		if g := s.guests[c.Guest]; g != nil {
			g.Asks += c.Asks
		}
		s.Totals.Asks += c.Asks
	}
	_, replies := line.Counts()
	s.Replies = make([]reply, 0, len(replies))
	for _, c := range replies {
		n := outcomes{c.Asked, c.Answered, c.Declined, c.Failed, c.Refused}
		if svc := s.services[c.Service]; svc != nil {
			svc.add(n)
		}
		failure := text(wire.Message(c.LastFailure))
		if g := s.guests[c.Guest]; g != nil {
			g.add(n)
			if n.bad() > g.mostBad {
				g.mostBad, g.LastError = n.bad(), failure
			}
		}
		s.Totals.add(n)
		if n.Asked > 0 {
			s.Replies = append(s.Replies, reply{shown(c.Guest), shown(c.Service), n, failure})
		}
	}
}

// meter adds what requests went to.
func (s *snapshot) meter(t traffic.Traffic) {
	s.Since = t.Since
	for _, of := range t.Guests {
		if g := s.guests[of.Guest]; g != nil {
			g.Requests, g.ServerErrors, g.Share = of.Recent.Sum(), of.Recent[len(of.Recent)-1], t.Share(of)
		}
	}
}

func (s *snapshot) sort() {
	slices.SortFunc(s.Guests, func(a, b *guest) int {
		if a.inTrouble() != b.inTrouble() {
			return map[bool]int{true: -1, false: 1}[a.inTrouble()]
		}
		return natural.Compare(a.Guest, b.Guest)
	})
	rank := make(map[string]int) // of services
	for i, svc := range s.Services {
		rank[svc.Service] = i
	}
	slices.SortFunc(s.Askers, func(a, b asker) int {
		return cmp.Or(cmp.Compare(rank[a.Service], rank[b.Service]), cmp.Compare(b.Asks, a.Asks), natural.Compare(a.Guest, b.Guest))
	})
	slices.SortFunc(s.Replies, func(a, b reply) int {
		return cmp.Or(cmp.Compare(rank[a.Service], rank[b.Service]), cmp.Compare(b.bad(), a.bad()), cmp.Compare(b.Asked, a.Asked), natural.Compare(a.Guest, b.Guest))
	})
}

// worst is mostAsked, with those first that fail.
func worst(a, b *service) int { return cmp.Or(cmp.Compare(b.bad(), a.bad()), mostAsked(a, b)) }

func mostAsked(a, b *service) int {
	return cmp.Or(cmp.Compare(b.Asks, a.Asks), cmp.Compare(b.Asked, a.Asked), natural.Compare(a.Service, b.Service))
}

func names(all []string, most int) []string {
	some := make([]string, 0, min(len(all), most))
	for _, name := range all[:min(len(all), most)] {
		some = append(some, shown(name))
	}
	return some
}

// shown returns a name as it is shown.
func shown(name string) string { return cut(name, maxName) }

// text returns what a guest, or Caddy, says, as it is shown.
func text(said string) string { return cut(said, maxText) }

// cut returns the beginning of a text, in which nothing is invisible, or turns the direction of what follows.
func cut(said string, most int) string {
	dots := ""
	if len(said) > most {
		for most > 0 && !utf8.RuneStart(said[most]) {
			most--
		}
		said, dots = said[:most], "…"
	}
	return strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			return utf8.RuneError
		}
		return r
	}, said) + dots
}
