// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
)

// visit is a guest handler's application on the line, from an invite on.
type visit struct {
	*Guest
	invitation *Invitation
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

func newVisit(g *Guest, i *Invitation, path string) *visit {
	v := &visit{Guest: g, invitation: i, path: path, mount: invitepath.Escape(i.Prefix) + path, origin: i.Origin(), wake: make(chan struct{}, 1)}
	v.ctx, v.end = context.WithCancel(i.Context())
	v.slots = newSlots(g.MaxAsks, time.Duration(g.Timeout), &overload{ctx: v.ctx, maxAsks: g.MaxAsks, logger: g.logger.With(zap.String("party", i.Party()), zap.String("guest", v.guest()))})
	return v
}

func (v *visit) guest() string { return v.invitation.Operator.Guest() }

// begin connects what is declared, and begins to ask the application for a manifest if it
// is to be.
func (v *visit) begin() error {
	if v.fetches() {
		return newFetching(v).begin()
	}
	v.invitation.Advise(v.hardlyMeant(""))
	return v.connect(v.invitation.Operator, manifest.Merge(v.declared, nil, nil))
}

// adopt replaces what the guest is connected to, unless it has been invited anew meanwhile.
func (v *visit) adopt(m *manifest.Manifest) error {
	if err := v.checkManifest(m); err != nil {
		return err
	}
	if err := v.invitation.Replace(v.ctx, func(o *Operator) error { return v.connect(o, m) }); err != nil {
		return err
	}
	v.breakers.Range(func(service, _ any) bool {
		if m.Services[service.(string)] == nil {
			v.breakers.Delete(service)
		}
		return true
	})
	return nil
}

// connect connects the operator to what a manifest says.
func (v *visit) connect(o *Operator, m *manifest.Manifest) error {
	v.urls.Store(&m.URLs)
	v.invitation.OnStart(func() { v.sayWhatIsCalledAsAnothers(m) }) // when all invites are known
	if len(m.URLs) > 0 {
		connect := o.Connect
		if len(v.declaredURLs()) > 0 { // which may be called as those of another guest
			connect = o.ConnectForAll
		}
		if err := connect(URLService, v.answerURL); err != nil {
			return err
		}
	}
	for _, service := range slices.Sorted(maps.Keys(m.Services)) {
		for _, h := range m.Services[service] {
			if err := v.connectHandler(o, service, h); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *visit) connectHandler(o *Operator, service string, h manifest.Handler) error {
	if h.Href == nil {
		return o.Connect(service, func(ctx context.Context, _ any) (any, error) {
			if service != URLService {
				return h.Answer, nil
			}
			mount := v.invitation.MountFor(ctx)
			link, err := v.linkOf(mount, h.Answer)
			if err == nil && !v.declaresService(service) {
				err = v.checkConstant(mount, link)
			}
			return link, err
		})
	}
	return o.ConnectRemote(service, func(ctx context.Context, payload any) (any, error) {
		return v.askApplication(ctx, service, h, payload)
	})
}

// fetchSoon has the manifest asked for again.
func (v *visit) fetchSoon() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}
