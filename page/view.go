// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What somebody looks at of a party.

package page

import (
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
	find           string // in names and mounts; in lower case
	guest, service string // whose asks and replies to show
}

var nowhere = context.Background() // where nobody's prefix is known

// viewOf returns what a request asks for.
func viewOf(r *http.Request) (view, error) {
	query, err := wire.Query(r)
	if err != nil {
		return view{}, err
	}
	v := view{strings.ToLower(query.Get("find")), query.Get("guest"), query.Get("service")}
	if max(len(v.find), len(v.guest), len(v.service)) > 2*maxName {
		return view{}, errors.New("find, guest or service is too long for a name")
	}
	return v, nil
}

// query is what viewOf reads.
func (v view) query() string {
	return url.Values{"find": {v.find}, "guest": {v.guest}, "service": {v.service}}.Encode()
}

func (v view) has(name string) bool {
	return v.find == "" || strings.Contains(strings.ToLower(name), v.find)
}

func (v view) hasGuest(g *guest) bool {
	return v.has(g.Guest) || v.has(g.Mount) || slices.ContainsFunc(g.services, func(s *service) bool { return v.has(s.Service) })
}

func (v view) hasService(s *service) bool {
	return (v.service == "" || v.service == s.Service) &&
		(v.guest == "" || slices.Contains(s.guests, v.guest)) &&
		(v.has(s.Service) || slices.ContainsFunc(s.guests, v.has))
}

// seen returns the document that is seen so.
func (s *snapshot) seen(v view) *document {
	d := s.document
	d.LeftOff = make(map[string]int)
	d.Guests = some(s.Guests, maxGuests, d.LeftOff, "guests", v.hasGuest, nil)
	d.Services = some(s.Services, maxServices, d.LeftOff, "services", v.hasService, nil)
	asked := make(map[string]bool) // for what the guest asks
	has := make(map[string]bool)   // what it has
	if v.guest != "" {
		for _, a := range s.Askers {
			asked[a.Service] = asked[a.Service] || a.Guest == v.guest
		}
		if g := s.guests[v.guest]; g != nil {
			for _, svc := range g.services {
				has[svc.Service] = true
			}
		}
	}
	d.Askers = some(s.Askers, maxEdges, d.LeftOff, "askers", func(a asker) bool {
		return (v.service == "" || a.Service == v.service) && (v.guest == "" || a.Guest == v.guest || has[a.Service]) && (v.has(a.Guest) || v.has(a.Service))
	}, func(a asker) string { return v.among(a.Guest, a.Service) })
	d.Replies = some(s.Replies, maxEdges, d.LeftOff, "replies", func(r reply) bool {
		return (v.service == "" || r.Service == v.service) && (v.guest == "" || r.Guest == v.guest || asked[r.Service]) && (v.has(r.Guest) || v.has(r.Service))
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
