// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What the page shows, as JSON.

package page

import (
	"time"

	"github.com/wsgiparty/wsgiparty/party"
)

// The document. Lists are cut short: first comes what is in trouble, then what is asked most. Counts are
// those since the process began, from config to config.
type (
	document struct {
		Party    string         `json:"party"`
		Totals   totals         `json:"totals"`
		Guests   []*guest       `json:"guests"`
		Services []*service     `json:"services"`
		Askers   []asker        `json:"askers"`
		Replies  []reply        `json:"replies"`
		LeftOff  map[string]int `json:"left_off"` // how many of each list are not in it
		Since    time.Time      `json:"traffic_since,omitzero"`
	}

	// totals are of the whole party, whatever the document is narrowed to.
	totals struct {
		Guests    int    `json:"guests"` // on the line
		NotJoined int    `json:"not_joined"`
		Services  int    `json:"services"`
		Asks      uint64 `json:"asks"`
		outcomes
	}

	// outcomes are how often handlers were asked, and what came of it.
	outcomes struct {
		Asked    uint64 `json:"asked"`
		Answered uint64 `json:"answered"`
		Declined uint64 `json:"declined"`
		Failed   uint64 `json:"failed"`
		Refused  uint64 `json:"refused"`
	}

	guest struct {
		Guest        string      `json:"guest"`
		Mount        string      `json:"mount"`
		OnLine       bool        `json:"on_line"`
		Joined       time.Time   `json:"joined,omitzero"`
		Replicas     int         `json:"replicas"`
		Node         string      `json:"node,omitempty"` // where it is, if it is not here
		Services     []string    `json:"services"`       // those asked most
		ServiceCount int         `json:"service_count"`
		Invites      []invite    `json:"invites"`
		Conditions   []condition `json:"conditions"`
		Asks         uint64      `json:"asks"` // that it has made
		outcomes
		LastError    string  `json:"last_error"` // of the service that failed most
		Requests     uint64  `json:"requests"`   // since traffic_since, as are
		ServerErrors uint64  `json:"server_errors"`
		Share        float64 `json:"share"` // of the party's, from 0 to 1

		services []*service // all
		mostBad  uint64     // how often the service failed whose error it is
	}

	invite struct {
		Server      string             `json:"server"`
		URI         string             `json:"uri"`
		Result      party.InviteResult `json:"result"`
		Status      int                `json:"status"`
		Error       string             `json:"error"`
		Hint        string             `json:"hint"`
		OldManifest time.Time          `json:"old_manifest,omitzero"`
		Time        time.Time          `json:"time"`
	}

	condition struct {
		Condition party.ConditionKind `json:"condition"`
		Service   string              `json:"service"`
		Error     string              `json:"error"`
	}

	service struct {
		Service    string   `json:"service"`
		Guests     []string `json:"guests"` // the first of them in the order in which they are asked
		GuestCount int      `json:"guest_count"`
		Asks       uint64   `json:"asks"`
		outcomes

		guests []string // all
	}

	// asker is a guest that asks for a service; an empty name stands for callers that are not guests.
	asker struct {
		Guest   string `json:"guest"`
		Service string `json:"service"`
		Asks    uint64 `json:"asks"`
	}

	// reply is what a guest makes of asks for a service.
	reply struct {
		Guest   string `json:"guest"`
		Service string `json:"service"`
		outcomes
		LastError string `json:"last_error"`
	}
)

// How many of each the document has at most. A name, text or list of a guest's is cut short, too, since it
// is the guest's own.
const (
	maxGuests   = 400
	maxServices = 200
	maxEdges    = 400 // of askers, and of replies
	maxOfOne    = 8   // of them of one service, unless only that is looked at
	maxOfGuest  = 8   // services
	maxGuestsOf = 8   // a service
	maxInvites  = 2   // of a guest, which as many servers may invite
	maxTroubles = 4   // of a guest's conditions
	maxName     = 200 // bytes
	maxText     = 600 // bytes
)

func (o *outcomes) add(other outcomes) {
	o.Asked += other.Asked
	o.Answered += other.Answered
	o.Declined += other.Declined
	o.Failed += other.Failed
	o.Refused += other.Refused
}

func (o *outcomes) bad() uint64 { return o.Failed + o.Refused }

// inTrouble reports whether somebody ought to look at the guest.
func (g *guest) inTrouble() bool {
	if !g.OnLine || len(g.Conditions) > 0 {
		return true
	}
	for _, i := range g.Invites {
		if i.Result != party.InviteJoined || i.Hint != "" || !i.OldManifest.IsZero() {
			return true
		}
	}
	return false
}
