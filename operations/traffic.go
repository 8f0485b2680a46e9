// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The migration meter, as the admin API and the command show it.

package operations

import (
	"fmt"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/admincommand"
	"github.com/wsgiparty/wsgiparty/internal/traffic"
	"github.com/wsgiparty/wsgiparty/party"
)

// The JSON of what requests went to. Requests are those since then, and all since they are counted; both
// by the class of their status.
type (
	trafficJSON struct {
		Since  time.Time          `json:"since,omitzero"`
		Guests []guestTrafficJSON `json:"guests"`
	}
	guestTrafficJSON struct {
		Guest    string            `json:"guest"`
		Share    float64           `json:"share"` // of the party's requests, from 0 to 1
		Requests map[string]uint64 `json:"requests"`
		Kinds    []kindJSON        `json:"kinds"`
		Total    map[string]uint64 `json:"total"`
	}
	kindJSON struct {
		Name     string `json:"kind"`
		Claimed  bool   `json:"claimed"`
		Requests uint64 `json:"requests"`
	}
)

// trafficOf returns what the meter of a party says.
func trafficOf(p party.PartyInfo) traffic.Traffic {
	return p.Partyline.Owner().(*party.Entry).Traffic()
}

func trafficToJSON(t traffic.Traffic) trafficJSON {
	return trafficJSON{t.Since, each(t.Guests, func(g traffic.GuestTraffic) guestTrafficJSON {
		return guestTrafficJSON{g.Guest, t.Share(g), byClass(g.Recent), each(g.Kinds, func(k traffic.Kind) kindJSON { return kindJSON(k) }), byClass(g.All)}
	})}
}

func byClass(n traffic.Responses) map[string]uint64 {
	classes := make(map[string]uint64, len(n))
	for i, class := range traffic.Classes {
		classes[class] = n[i]
	}
	return classes
}

func (g guestTrafficJSON) sum() (n uint64) {
	for _, of := range g.Requests {
		n += of
	}
	return n
}

// shownKinds is how many of a guest's are shown as text.
const shownKinds = 10

// tables are the traffic as text, none for a party whose guests have no handlers that count.
func (t trafficJSON) tables() []*admincommand.Table {
	if len(t.Guests) == 0 {
		return nil
	}
	since := "REQUESTS"
	if !t.Since.IsZero() {
		since += " SINCE " + t.Since.Local().Format(time.DateTime)
	}
	shares := admincommand.NewTable("GUEST", "TRAFFIC", since, "1XX", "2XX", "3XX", "4XX", "5XX")
	kinds, some := admincommand.NewTable("GUEST", "MOST REQUESTED", "CLAIMED", "REQUESTS", "OF THE GUEST'S"), false
	for _, g := range t.Guests {
		n := g.sum()
		share := "-"
		if !t.Since.IsZero() {
			share = percent(g.Share)
		}
		row := []any{g.Guest, share, n}
		for _, class := range traffic.Classes {
			row = append(row, g.Requests[class])
		}
		shares.Row(row...)
		rest := n
		for i, k := range g.Kinds {
			if i == shownKinds {
				break
			}
			some = true
			claimed := "no"
			if k.Claimed {
				claimed = "yes"
			}
			kinds.Row(g.Guest, k.Name, claimed, k.Requests, percent(float64(k.Requests)/float64(max(n, 1))))
			rest -= min(rest, k.Requests)
		}
		if rest > 0 {
			some = true
			kinds.Row(g.Guest, "all others", "", rest, percent(float64(rest)/float64(n)))
		}
	}
	if !some {
		return []*admincommand.Table{shares}
	}
	return []*admincommand.Table{shares, kinds}
}

// percent writes a share so that a little is not taken for nothing, or nearly all for all.
func percent(share float64) string {
	switch {
	case 0 < share && share < 0.0005:
		return "< 0.1 %"
	case 0.9995 <= share && share < 1:
		return "> 99.9 %"
	}
	return fmt.Sprintf("%.1f %%", share*100)
}
