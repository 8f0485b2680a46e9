// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What the application says that holds on other nodes, too.

package httpguest

import (
	"slices"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
	"github.com/wsgiparty/wsgiparty/party"
)

// statement returns what of the manifest can be answered without the application, and without knowing more of
// this config than the mount.
func (a *application) statement() party.Statement {
	s := party.Statement{Forward: a.Forward, Timeout: time.Duration(a.Timeout)}
	m := a.connected.Load()
	if m == nil {
		return s
	}
	free := !a.invitation.OthersBelow() // no URL can lead to another guest
	byValue := manifest.Manifest{URLs: make(map[string]*urltemplate.Template), Services: make(map[string][]manifest.Handler)}
	for name, template := range m.URLs {
		switch declared := a.declared.URLs[name] != nil; {
		case declared || free && !a.isAnothers(name):
			byValue.URLs[name] = template
		case !a.isAnothers(name):
			s.MorePages = true
		}
	}
	for service, handlers := range m.Services {
		switch service {
		case party.URLService:
			s.MorePages = true
		case party.ClaimsService, party.HostsService:
		default:
			if !slices.ContainsFunc(handlers, func(h manifest.Handler) bool { return h.Href != nil }) {
				byValue.Services[service] = handlers
			}
		}
	}
	base := a.invitation.Base()
	mayClaim := a.declared.Claims != nil || free && (base == "" || base == a.stripped)
	if mayClaim && !a.passes() && m.Services[party.ClaimsService] == nil {
		byValue.Claims = m.Claims
	}
	if m.Services[party.HostsService] == nil {
		byValue.Hosts = m.Hosts
	}
	s.Manifest, _ = byValue.MarshalJSON()
	return s
}
