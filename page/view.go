// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What somebody looks at of a party.

package page

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// view narrows a document.
type view struct {
	find                 string // in names and mounts; in lower case
	guest, service, node string // whose asks and replies to show
}

// thisNode is the node of guests that are here, in a request. No other one's name has a space.
const thisNode = "this node"

var nowhere = context.Background() // where nobody's prefix is known

// viewOf returns what a request asks for.
func viewOf(r *http.Request) (view, error) {
	query, err := wire.Query(r)
	if err != nil {
		return view{}, err
	}
	v := view{strings.ToLower(query.Get("find")), query.Get("guest"), query.Get("service"), query.Get("node")}
	if max(len(v.find), len(v.guest), len(v.service), len(v.node)) > 2*maxName {
		return view{}, errors.New("find, guest, service or node is too long for a name")
	}
	return v, nil
}

// query is what viewOf reads.
func (v view) query() string {
	return url.Values{"find": {v.find}, "guest": {v.guest}, "service": {v.service}, "node": {v.node}}.Encode()
}

func (v view) has(name string) bool {
	return v.find == "" || strings.Contains(strings.ToLower(name), v.find)
}

func (v view) hasGuest(g *guest) bool {
	return v.isOn(g) && (v.has(g.Guest) || v.has(g.Mount) || g.Node != "" && v.has(g.Node) || slices.ContainsFunc(g.services, func(s *service) bool { return v.has(s.Service) }))
}

// isOn reports whether the guest is on the node that is looked at.
func (v view) isOn(g *guest) bool { return v.node == "" || v.node == cmp.Or(g.Node, thisNode) }

func (v view) hasService(s *service) bool {
	return (v.service == "" || v.service == s.Service) && (v.has(s.Service) || slices.ContainsFunc(s.guests, v.has))
}

// seen returns the document that is seen so.
func (s *snapshot) seen(v view) *document {
	d := s.document
	d.LeftOff = make(map[string]int)
	d.Guests = some(s.Guests, maxGuests, d.LeftOff, "guests", v.hasGuest, nil)
	all := v.guest == "" && v.node == ""
	chosen := make(map[string]bool) // guests
	asked := make(map[string]bool)  // for what they ask
	has := make(map[string]bool)    // what they have
	for _, g := range s.Guests {
		if all || v.guest != "" && v.guest != g.Guest || !v.isOn(g) {
			continue
		}
		chosen[g.Guest] = true
		for _, svc := range g.services {
			has[svc.Service] = true
		}
	}
	for _, a := range s.Askers {
		asked[a.Service] = asked[a.Service] || chosen[a.Guest]
	}
	d.Services = some(s.Services, maxServices, d.LeftOff, "services", func(s *service) bool { return (all || has[s.Service]) && v.hasService(s) }, nil)
	d.Askers = some(s.Askers, maxEdges, d.LeftOff, "askers", func(a asker) bool {
		return (v.service == "" || a.Service == v.service) && (all || chosen[a.Guest] || has[a.Service]) && (v.has(a.Guest) || v.has(a.Service))
	}, func(a asker) string { return v.among(a.Guest, a.Service) })
	d.Replies = some(s.Replies, maxEdges, d.LeftOff, "replies", func(r reply) bool {
		return (v.service == "" || r.Service == v.service) && (all || chosen[r.Guest] || asked[r.Service]) && (v.has(r.Guest) || v.has(r.Service))
	}, func(r reply) string { return v.among(r.Guest, r.Service) })
	return &d
}

// among returns the service among whose askers, or replies, the guest's is one of many; empty if it is looked at.
func (v view) among(guest, service string) string {
	if v.service != "" || v.guest != "" && v.guest == guest {
		return ""
	}
	return service
}

// some returns the first of the list that are wanted, and not too many among those of one service. It notes how many
// more there are.
func some[T any](list []T, most int, leftOff map[string]int, name string, wanted func(T) bool, among func(T) string) []T {
	chosen, of := []T{}, make(map[string]int)
	for _, one := range list {
		if !wanted(one) {
			continue
		}
		service := ""
		if among != nil {
			service = among(one)
			of[service]++
		}
		if len(chosen) == most || service != "" && of[service] > maxOfOne {
			leftOff[name]++
			continue
		}
		chosen = append(chosen, one)
	}
	return chosen
}
