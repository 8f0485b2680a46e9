// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What has happened at a party between two looks.

package operations

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/admincommand"
	"github.com/wsgiparty/wsgiparty/internal/natural"
	"github.com/wsgiparty/wsgiparty/party"
)

// event is something that has happened.
type event struct {
	Time    time.Time `json:"time"`
	What    string    `json:"event"`
	Guest   string    `json:"guest,omitempty"`
	Node    string    `json:"node,omitempty"` // where the guest is, or was, if it is not here
	Service string    `json:"service,omitempty"`
	Text    string    `json:"text"`

	color admincommand.Color
}

// line returns the event as it is printed.
func (e event) line(terminal admincommand.Terminal) string {
	line := e.Time.Local().Format(time.DateTime) + gap + terminal.Paint(e.color, fmt.Sprintf("%-19s", e.What))
	where := ""
	if e.Node != "" {
		where = onNode(e.Node)
	}
	for _, part := range []string{e.Guest, where, e.Service, e.Text} {
		if part != "" {
			line += gap + admincommand.Printable(part)
		}
	}
	return strings.TrimRight(line, " ")
}

const gap = "  "

// maxError is how much of an error is told of, in characters.
const maxError = 200

// maxEvents is how many are told of at a time.
const maxEvents = 50

// changes returns what has happened since.
func (p *partyJSON) changes(now partyJSON) []event {
	var events []event
	events = append(events, p.guestChanges(now)...)
	events = append(events, p.inviteChanges(now)...)
	events = append(events, p.askChanges(now)...)
	if more := len(events) - maxEvents; more > 0 {
		events = append(events[:maxEvents], event{What: "more", Text: fmt.Sprintf("%s not told of: see `caddy wsgi-party show`", plural(more, "event"))})
	}
	return events
}

// guestChanges tells who has joined or left, and what the others have become.
func (p *partyJSON) guestChanges(now partyJSON) (events []event) {
	before := byKey(p.Guests, func(g guestJSON) string { return g.Guest })
	manifests := byKey(p.Invites, func(i inviteJSON) string { return i.Guest + "\n" + i.URI })
	renewed := make(map[string]bool)
	for _, i := range now.Invites {
		old := manifests[i.Guest+"\n"+i.URI].Manifest.Accepted
		renewed[i.Guest] = renewed[i.Guest] || !old.IsZero() && !i.Manifest.Accepted.IsZero() && !old.Equal(i.Manifest.Accepted)
	}
	for _, g := range now.Guests {
		old, wasThere := before[g.Guest]
		delete(before, g.Guest)
		services := difference(old.Services, g.Services)
		switch {
		case !wasThere:
			events = append(events, event{What: "guest joined", Guest: g.Guest, Node: g.Node, Text: namesOf(g.Services), color: admincommand.Green})
			continue
		case old.Node != g.Node:
			events = append(events, event{What: "node changed", Guest: g.Guest, Node: g.Node, Text: "not " + onNode(old.Node)})
		}
		switch {
		case renewed[g.Guest]:
			events = append(events, event{What: "manifest changed", Guest: g.Guest, Node: g.Node, Text: services})
		case services != sameServices:
			events = append(events, event{What: "services changed", Guest: g.Guest, Node: g.Node, Text: services})
		case old.Replicas != g.Replicas:
			events = append(events, event{What: "replicas changed", Guest: g.Guest, Text: fmt.Sprintf("%d, not %d", g.Replicas, old.Replicas)})
		}
	}
	for _, g := range p.Guests {
		if _, left := before[g.Guest]; left {
			events = append(events, event{What: "guest left", Guest: g.Guest, Node: g.Node, color: admincommand.Red})
		}
	}
	return events
}

func onNode(node string) string {
	if node == "" {
		return "on this node"
	}
	return "on node " + node
}

// inviteChanges tells which invites came to something else than before. That a guest has joined is
// another's to tell, unless it was on the line all the time.
func (p *partyJSON) inviteChanges(now partyJSON) (events []event) {
	before := byKey(p.Invites, inviteJSON.key)
	for _, i := range now.Invites {
		old, known := before[i.key()]
		if i.isPending() || known && old.Result == i.Result && old.Status == i.Status && firstLine(old.Error) == firstLine(i.Error) {
			continue
		}
		var e event
		if i.Result == party.InviteJoined {
			if !known || old.Manifest.Accepted.IsZero() || old.Result == party.InviteJoined {
				continue
			}
			e = event{What: "answers again", Guest: i.Guest, color: admincommand.Green}
		} else {
			e = event{What: "invite " + forPeople(i.Result), Guest: i.Guest, Text: i.why(), color: colored(string(i.Result)).Color}
		}
		if !slices.Contains(events, e) { // two servers may invite the same
			events = append(events, e)
		}
	}
	return events
}

// keepUntilJudged takes from before what has come of invites whose applications are yet to be asked: after a
// reload they mostly answer as they did.
func (p *partyJSON) keepUntilJudged(before *partyJSON) {
	known := byKey(before.Invites, inviteJSON.key)
	p.Invites = slices.Clone(p.Invites)
	for n, i := range p.Invites {
		if old, ok := known[i.key()]; ok && i.isPending() {
			p.Invites[n] = old
		}
	}
}

// isPending reports whether the application is yet to be asked.
func (i inviteJSON) isPending() bool {
	return i.Result == party.InviteNotAnswered && i.Hint == party.AskedOnceStarted
}

// excerptOf returns as much of an error as a line has room for.
func excerptOf(message string) string {
	runes := []rune(firstLine(message))
	if len(runes) > maxError {
		return string(runes[:maxError]) + "…"
	}
	return string(runes)
}

func (i inviteJSON) key() string { return i.Server + "\n" + i.URI + "\n" + i.Guest }

// why says why nobody joined by the invite, whether the guest is on the line all the same, and what to do.
func (i inviteJSON) why() string {
	var parts []string
	if i.Status != 0 {
		parts = append(parts, fmt.Sprintf("status %d", i.Status))
	}
	if i.Error != "" {
		parts = append(parts, excerptOf(i.Error))
	}
	if !i.OldManifest.IsZero() {
		parts = append(parts, "on the line by the manifest of "+byManifest(i).Value.(string))
	}
	if i.Hint != "" {
		parts = append(parts, i.Hint)
	}
	return strings.Join(parts, "; ")
}

// askChanges tells, for each service, how often it was asked for, and what failed of that.
func (p *partyJSON) askChanges(now partyJSON) (events []event) {
	before := byKey(p.Counts, countJSON.key)
	sums := make(map[string]*countJSON)
	var services []string
	var failures []event
	for _, c := range now.Counts {
		old, known := before[c.key()]
		if !known { // it has just joined, and may have been asked long ago
			continue
		}
		d := c.since(old)
		if d.Answered+d.Declined+d.Failed+d.Refused == 0 {
			continue
		}
		sum := sums[c.Service]
		if sum == nil {
			sum = new(countJSON)
			sums[c.Service] = sum
			services = append(services, c.Service)
		}
		sum.Answered += d.Answered
		sum.Declined += d.Declined
		sum.Failed += d.Failed
		sum.Refused += d.Refused
		if d.Failed+d.Refused > 0 {
			failures = append(failures, event{What: "ask failed", Guest: c.Guest, Service: c.Service, Text: excerptOf(c.LastError), color: admincommand.Red})
		}
	}
	slices.SortFunc(services, natural.Compare)
	for _, service := range services {
		events = append(events, event{What: "asked", Service: service, Text: sums[service].outcomes()})
	}
	return append(events, failures...)
}

// keepCounts keeps the counts of those who have left: Caddy goes on with them if they come back.
func (p *partyJSON) keepCounts(before *partyJSON) {
	known := byKey(p.Counts, countJSON.key)
	for _, c := range before.Counts {
		if _, ok := known[c.key()]; !ok {
			p.Counts = append(p.Counts, c)
		}
	}
}

func (c countJSON) key() string { return c.Guest + "\n" + c.Service }

// since returns how much was counted since. Another Caddy counts from 0.
func (c countJSON) since(before countJSON) countJSON {
	if c.Answered < before.Answered || c.Declined < before.Declined || c.Failed < before.Failed || c.Refused < before.Refused {
		return c
	}
	c.Answered -= before.Answered
	c.Declined -= before.Declined
	c.Failed -= before.Failed
	c.Refused -= before.Refused
	return c
}

func (c countJSON) outcomes() string {
	var parts []string
	for _, of := range []struct {
		n    uint64
		what string
	}{{c.Answered, "answered"}, {c.Declined, "declined"}, {c.Failed, "failed"}, {c.Refused, "refused"}} {
		if of.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", of.n, of.what))
		}
	}
	return strings.Join(parts, ", ")
}

// summary says how the party is.
func (p *partyJSON) summary() string {
	joined := 0
	for _, i := range p.Invites {
		if i.Result == party.InviteJoined {
			joined++
		}
	}
	return fmt.Sprintf("%s: %s, %s, %d of %d invites joined", p.Party, plural(len(p.Guests), "guest"), plural(len(p.Services), "service"), joined, len(p.Invites))
}

const sameServices = "same services"

// difference says which services are new, and which are gone.
func difference(before, now []string) string {
	var parts []string
	for _, service := range now {
		if !slices.Contains(before, service) {
			parts = append(parts, "+"+service)
		}
	}
	for _, service := range before {
		if !slices.Contains(now, service) {
			parts = append(parts, "-"+service)
		}
	}
	if len(parts) == 0 {
		return sameServices
	}
	return namesOf(parts)
}

// shownNames is how many are written in a line.
const shownNames = 10

func namesOf(names []string) string {
	if more := len(names) - shownNames; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shownNames], ", "), more)
	}
	return strings.Join(names, ", ")
}

func byKey[T any](list []T, key func(T) string) map[string]T {
	found := make(map[string]T, len(list))
	for _, element := range list {
		found[key(element)] = element
	}
	return found
}
