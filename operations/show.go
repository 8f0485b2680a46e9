// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What `caddy wsgi-party show` says of a party, and how results look.

package operations

import (
	"net/http"
	"slices"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/wsgiparty/wsgiparty/internal/admincommand"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
)

const showHelp = `
Shows a party in five tables:

- its invites: what came of each, why, and what to do about it. MANIFEST OF says
  when the application first answered with its current manifest; a reload keeps
  that time. An application that no longer confirms its manifest stays on the
  line with the last one. MANIFEST OF then also says when that was last
  confirmed.
- its guests, and when they joined. NODE is the other machine that a guest is
  on, if this Caddy has a trunk.
- its services, with the guests in the order in which they are asked.
- how often each guest was asked for a service, and how that ended.
- how many requests went to each guest, if any did.

If the terminal is too narrow for a table, empty columns are left out, and the
widest move below each row.`

func commandShow(fl caddycmd.Flags) error {
	p, err := admincommand.Call[partyJSON](fl, http.MethodGet, admincommand.EscapeSegment(fl.Arg(0)), nil)
	if err != nil {
		return err
	}
	invites := newInviteTable()
	for _, i := range p.Invites {
		inviteRow(invites, i, colored(string(i.Result)))
	}
	guests := guestTable(p.Guests)
	services := admincommand.NewTable("SERVICE", "GUESTS")
	for _, s := range p.Services {
		services.Row(s.Service, strings.Join(s.Guests, ", "))
	}
	counts := admincommand.NewTable("GUEST", "SERVICE", "ASKED", "ANSWERED", "DECLINED", "FAILED", "REFUSED", "LAST ERROR")
	for _, c := range p.Counts {
		counts.Row(c.Guest, c.Service, c.Asked, c.Answered, c.Declined, bad(c.Failed), bad(c.Refused), firstLine(c.LastError))
	}
	tables := append([]*admincommand.Table{invites, guests, services, counts}, p.Traffic.tables()...)
	if len(p.AskURLs) > 0 {
		tables = append(tables, admincommand.NewTable("GUESTS ASK AT", strings.Join(p.AskURLs, ", ")))
	}
	return admincommand.Print(fl, tables...)
}

func guestTable(guests []guestJSON) *admincommand.Table {
	columns := []any{"GUEST", "SERVICES", "REPLICAS", "JOINED"}
	trunk := slices.ContainsFunc(guests, func(g guestJSON) bool { return g.Node != "" })
	if trunk {
		columns = append(columns, "NODE")
	}
	table := admincommand.NewTable(columns...)
	for _, g := range guests {
		row := []any{g.Guest, strings.Join(g.Services, ", "), g.Replicas, g.Joined.Local().Format(time.DateTime)}
		if trunk {
			row = append(row, g.Node)
		}
		table.Row(row...)
	}
	return table
}

func newInviteTable() *admincommand.Table {
	return admincommand.NewTable("INVITE", "GUEST", "RESULT", "STATUS", "DURATION", "MANIFEST OF", "ERROR", "HINT")
}

func inviteRow(t *admincommand.Table, i inviteJSON, result admincommand.Colored) {
	var status any = i.Status
	if i.Status == 0 { // nothing came back
		status = ""
	}
	t.Row(i.URI, i.Guest, result, status, seconds(i.Duration), byManifest(i), firstLine(i.Error), i.Hint)
}

// byManifest says by the manifest of when a guest is on the line.
func byManifest(i inviteJSON) (of admincommand.Colored) {
	if i.Manifest.Accepted.IsZero() {
		return admincommand.Colored{Value: ""}
	}
	text := i.Manifest.Accepted.Local().Format(time.DateTime)
	if i.OldManifest.IsZero() {
		return admincommand.Colored{Value: text}
	}
	return admincommand.Colored{Value: text + ", last confirmed " + i.OldManifest.Local().Format(time.DateTime), Color: admincommand.Yellow}
}

// forPeople returns the result as it is shown to people.
func forPeople(r party.InviteResult) string { return strings.ReplaceAll(string(r), "_", " ") }

// colored returns what came of an invite or an ask, for people.
func colored(result string) admincommand.Colored {
	c := admincommand.Colored{Value: forPeople(party.InviteResult(result))}
	switch result {
	case string(party.InviteJoined), onLine, wire.StatusAnswered:
		c.Color = admincommand.Green
	case string(party.InviteNotAnswered), wire.StatusDeclined:
		c.Color = admincommand.Yellow
	case string(party.InviteRefused), string(party.InviteFailed): // an ask fails by the same word
		c.Color = admincommand.Red
	}
	return c
}

// onLine is shown as the result of an invite that was not sent.
const onLine = "on the line"

// bad is a number that had better be 0.
func bad(n uint64) admincommand.Colored {
	c := admincommand.Colored{Value: n}
	if n > 0 {
		c.Color = admincommand.Red
	}
	return c
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// seconds returns the duration with as many digits as somebody reads.
func seconds(s float64) time.Duration {
	d := time.Duration(s * float64(time.Second))
	for unit := time.Second; unit >= time.Microsecond; unit /= 1000 {
		if d >= unit {
			return d.Round(unit / 100)
		}
	}
	return d
}
