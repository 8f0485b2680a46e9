// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

// application is a guest handler's application on the line, from an invite on.
type application struct {
	*Guest
	invitation *party.Invitation
	path       string // where the application is mounted in the party, escaped
	mount      string // the same with the party's prefix, where that is the same for all requests
	origin     string // what comes before the mount in links; empty for an invite without one
	slots      *slots

	ctx  context.Context // ended by end
	end  context.CancelFunc
	wake chan struct{} // to ask for the manifest again

	urls     atomic.Pointer[map[string]*urltemplate.Template]
	breakers sync.Map // of service to *breaker

	upstreams upstreams
}

func newApplication(g *Guest, i *party.Invitation, path string) *application {
	a := &application{Guest: g, invitation: i, path: path, mount: invitepath.Escape(i.Prefix) + path, origin: i.Origin(), wake: make(chan struct{}, 1)}
	a.ctx, a.end = context.WithCancel(i.Context())
	a.slots = newSlots(g.MaxAsks, time.Duration(g.Timeout), &overload{ctx: a.ctx, maxAsks: g.MaxAsks, logger: g.logger.With(zap.String("party", i.Party()), zap.String("guest", a.guest()))})
	return a
}

func (a *application) guest() string { return a.invitation.Operator.Guest() }

// connectDeclared connects what is declared, for an application that is asked for no
// manifest.
func (a *application) connectDeclared() error {
	a.invitation.Advise(a.hardlyMeant(""))
	return a.connect(a.invitation.Operator, manifest.Merge(a.declared, nil, nil))
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

// connect connects the operator to what a manifest says.
func (a *application) connect(o *partyline.Operator, m *manifest.Manifest) error {
	a.urls.Store(&m.URLs)
	a.invitation.OnStart(func() { a.sayWhatIsCalledAsAnothers(m) }) // when all invites are known
	if len(m.URLs) > 0 {
		connect := o.Connect
		if len(a.declaredURLs()) > 0 { // which may be called as those of another guest
			connect = o.ConnectForAll
		}
		if err := connect(party.URLService, a.answerURL); err != nil {
			return err
		}
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
	if h.Href == nil {
		return o.Connect(service, func(ctx context.Context, _ any) (any, error) {
			if service != party.URLService {
				return h.Answer, nil
			}
			mount := a.invitation.MountFor(ctx)
			link, err := a.linkOf(mount, h.Answer)
			if err == nil && !a.declaresService(service) {
				err = a.checkConstant(mount, link)
			}
			return link, err
		})
	}
	return o.ConnectRemote(service, func(ctx context.Context, payload any) (any, error) {
		return a.askApplication(ctx, service, h, payload)
	})
}

// fetchSoon makes the fetcher ask for the manifest again.
func (a *application) fetchSoon() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}
