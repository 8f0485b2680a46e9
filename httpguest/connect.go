// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Connecting an application to what it answers for.

package httpguest

import (
	"context"
	"maps"
	"slices"

	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// connectDeclared connects what is declared, for an application that is asked for no manifest.
func (a *application) connectDeclared() error {
	a.invitation.Advise(a.hardlyMeant(""))
	return a.connect(a.invitation.Operator, a.withDeclared(nil))
}

// withDeclared returns what the guest answers for by a manifest of its application, nil if
// that has none.
func (a *application) withDeclared(m *manifest.Manifest) *manifest.Manifest {
	return manifest.Merge(a.declared, m, a.Allow)
}

// adopt replaces what the guest is connected to, unless it has been invited anew meanwhile.
func (a *application) adopt(m *manifest.Manifest) error {
	if err := a.checkManifest(m); err != nil {
		return err
	}
	if err := a.invitation.Replace(a.ctx, func(o *partyline.Operator) error { return a.connect(o, m) }); err != nil {
		return err
	}
	a.breakers.Range(func(service, _ any) bool {
		if m.Services[service.(string)] == nil {
			a.breakers.Delete(service)
		}
		return true
	})
	return nil
}

func (a *application) connect(o *partyline.Operator, m *manifest.Manifest) error {
	a.connected.Store(m)
	a.invitation.OnStart(func() { // when all invites are known, and all sites
		a.started.Store(true)
		a.sayWhatIsCalledAsAnothers(m)
		a.sayWhatIsNoClaim()
	})
	if len(m.URLs) > 0 {
		has := func(name string) bool {
			_, template := a.pageOf(m, name)
			return template != nil
		}
		if err := o.ConnectKeyed(party.URLService, has, a.answerURL); err != nil {
			return err
		}
	}
	if err := a.connectClaims(o, m); err != nil {
		return err
	}
	for _, service := range slices.Sorted(maps.Keys(m.Services)) {
		for _, h := range m.Services[service] {
			if err := a.connectHandler(o, service, h); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *application) connectHandler(o *partyline.Operator, service string, h manifest.Handler) error {
	connect, answer := o.Connect, a.answerConstant(service, h)
	if h.Href != nil {
		connect, answer = o.ConnectPrompt, a.asker(service, h)
	}
	switch {
	case h.Batch && service != party.HostsService && service != party.ClaimsService:
		b := &batcher{application: a, service: service, handler: h}
		return o.ConnectAsync(service, b.ask, b.begin)
	case service == party.HostsService:
		answer = a.answerHosts(answer)
	case service == party.ClaimsService && h.Href != nil:
		answer = a.answerClaims(a.claimOverHTTP(h))
	case service == party.ClaimsService:
		answer = a.lastingClaims(a.constantClaim(string(h.Answer)))
	}
	return connect(service, answer)
}

func (a *application) answerConstant(service string, h manifest.Handler) partyline.Handler {
	return func(ctx context.Context, _ any) (any, error) {
		if service != party.URLService {
			return h.Answer, nil
		}
		party.SayLasting(ctx, a.guest())
		mount := a.invitation.MountFor(ctx)
		link, err := a.linkOf(mount, h.Answer)
		if err == nil && !a.declaresService(service) {
			err = a.checkConstant(mount, link)
		}
		return link, err
	}
}

// connectClaims connects what answers by the manifest's claims and hosts.
func (a *application) connectClaims(o *partyline.Operator, m *manifest.Manifest) error {
	if m.Claims != nil {
		if err := o.Connect(party.ClaimsService, a.lastingClaims(a.claimsOf(m))); err != nil {
			return err
		}
	}
	if m.Hosts != nil {
		has := func(host string) bool {
			_, ok := m.Hosts.Match(host)
			return ok
		}
		return o.ConnectKeyed(party.HostsService, has, a.answerHosts(hostOf(m.Hosts)))
	}
	return nil
}
