// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package hosts registers `tls.permission.wsgi_party`: applications say which hosts are their own, and Caddy
// obtains certificates for these.
package hosts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/wsgiparty/wsgiparty/internal/caddytokens"
	"github.com/wsgiparty/wsgiparty/internal/lru"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

func init() {
	caddy.RegisterModule(new(Permission))
}

const (
	askTimeout  = 5 * time.Second      // for all guests together
	denialKept  = 10 * time.Second     // when every guest has said so
	failureKept = time.Second          // when one could not say
	allowedKept = 100 * 24 * time.Hour // longer than most certificates
	maxKept     = 10000                // names
)

// Permission allows an on-demand certificate for a name when a guest of a party says that the host is its own. The
// guest says so by `hosts` in its manifest, by `host` in the Caddyfile's `wsgi_party_guest`, or by the service
// `hosts`, whose payload is the name and whose answer is then `true`. So each application needs to know only its
// own names, while the one endpoint that `tls.permission.http` asks has to know them all.
//
// No other answer allows a certificate, and neither does a guest that declines, fails, or does not answer in time.
// All guests together have 5 seconds. So an application that is down gets no new certificates, and none renewed,
// unless its manifest lists its hosts: the last good manifest remains in force.
//
// Nobody is asked about a name that is not a DNS name, such as an IP address, or about a host that no site of this
// Caddy has. A site without a host has every host. A name that all guests deny stays denied for 10 seconds without
// another ask, unless other guests join or manifests change. In the same way, a name for which a guest failed
// stays denied for 1 second.
//
// A guest that is asked over HTTP is asked about at most 64 names a second, 8 at once. As many again are left for
// names that it has allowed before. Names beyond that are denied. These limits do not apply to names that a
// manifest or the Caddyfile lists, which are known without asking. Nor do they apply to Go modules, which are
// asked about whatever name comes, unless a module has connected its handler as a remote one.
//
// A guest is believed: it can claim any name, even another guest's. Whoever you let into the party is trusted to
// say which certificates this Caddy obtains. Which application then serves a name is up to the routes of your
// sites.
type Permission struct {
	// The name of the party whose guests are asked. Default: `default`.
	Party string `json:"party,omitempty"`

	app      *party.App
	line     *partyline.Partyline
	everyone *partyline.Operator
	here     *partyline.Operator // asks those in this process
	logger   *zap.Logger

	denials *lru.Cache[string, denial]
	flights singleflight.Group // by name
	loads   sync.Map           // of guest to *guestLoad

	nobody  sync.Once // warned of
	tooMany rate.Sometimes
}

// denial is what a name was denied with, by those who were connected then.
type denial struct {
	generation uint32
	err        error
}

// CaddyModule returns the Caddy module information.
func (*Permission) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.permission.wsgi_party", New: func() caddy.Module { return new(Permission) }}
}

// UnmarshalCaddyfile sets up the permission from Caddyfile tokens. Syntax:
//
//	permission wsgi_party [<party>]
func (p *Permission) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := caddytokens.ParseParty(d, &p.Party, "permission wsgi_party [<party>]"); err != nil {
		return err
	}
	if caddytokens.OpensBlock(d) {
		return d.Err("permission wsgi_party takes no block")
	}
	return nil
}

// Provision joins the party, whose handler may be provisioned later.
func (p *Permission) Provision(ctx caddy.Context) (err error) {
	p.Party = cmp.Or(p.Party, party.DefaultParty)
	p.logger = ctx.Logger()
	p.denials = lru.New[string, denial](maxKept)
	p.tooMany.Interval = denialKept
	if p.app, err = party.AppOf(ctx); err != nil {
		return err
	}
	if p.everyone, err = party.Join(ctx, p.Party, ""); err != nil {
		return err
	}
	p.line, p.here = p.everyone.Partyline(), p.everyone.Local()
	return nil
}

// CertificateAllowed returns nil if a guest says that the host is its own.
func (p *Permission) CertificateAllowed(ctx context.Context, name string) error {
	host, err := hostOf(name)
	if err != nil {
		return denied(fmt.Sprintf("%.*q", maxName, name), err.Error())
	}
	if !p.app.HasHost(host) {
		return denied(host, "no site of this Caddy has the host")
	}
	generation := p.line.Generation(party.HostsService)
	if d, ok := p.denials.Get(host); ok && d.generation == generation {
		return d.err
	}
	until := &untilContext{Context: ctx, deadline: time.Now().Add(askTimeout)}
	defer until.end()
	said := p.hear(p.here.Replies(until, party.HostsService, host))
	switch {
	case said.yes:
		return nil
	case ctx.Err() != nil:
		return gone(ctx, host)
	}
	guests := p.line.RemoteGuests(party.HostsService)
	if len(guests) == 0 {
		return p.judge(host, generation, said)
	}
	// One ask is for all who wait for it, and goes on when the first of them has gone.
	select {
	case result := <-p.flights.DoChan(host, func() (any, error) { return nil, p.askRemote(until.deadline, host, generation, guests, said) }):
		return result.Err
	case <-ctx.Done():
		return gone(ctx, host)
	}
}

// said is what guests say of a name.
type said struct {
	yes      bool
	missing  bool // no guest says of any
	tooMany  bool // names are asked for, so that a guest was not asked
	failures []error
}

func (s *said) add(other said) {
	s.yes, s.tooMany = s.yes || other.yes, s.tooMany || other.tooMany
	s.failures = append(s.failures, other.failures...)
}

// hear asks for replies up to the first that says yes.
func (p *Permission) hear(replies iter.Seq[partyline.Reply]) (s said) {
	for r := range replies {
		switch {
		case r.Err == nil && isTrue(r.Answer):
			if c := p.logger.Check(zapcore.DebugLevel, "guest says that the host is its own"); c != nil {
				c.Write(zap.String("party", p.Party), zap.String("guest", r.Guest))
			}
			s.yes = true
			return s
		case r.Err == nil || r.Err == partyline.ErrHighAndDry:
		case is[*partyline.NoSuchServiceError](r.Err):
			s.missing = true
		default:
			s.failures = append(s.failures, r.Err)
		}
	}
	return s
}

// judge returns what the certificate is denied with, and keeps it.
func (p *Permission) judge(host string, generation uint32, s said) error {
	switch {
	case len(s.failures) > 0:
		err := fmt.Errorf("%s: cannot tell whether a guest of party %q has the host: %w", host, p.Party, errors.Join(s.failures...))
		// Caddy logs it as an error; what follows at once would fill the log.
		p.denials.Put(host, denial{generation, denied(host, "a moment ago, Caddy could not tell whether a guest has it")}, failureKept)
		return err
	case s.tooMany:
		p.tooMany.Do(func() {
			p.logger.Warn("certificates are requested for more names than applications can be asked about: some are denied without asking", zap.String("party", p.Party),
				zap.String("hint", `names listed as "hosts" in a manifest, or by host in wsgi_party_guest, are known without asking`))
		})
		return denied(host, "guests are being asked for too many names")
	case s.missing:
		p.nobody.Do(func() {
			p.logger.Warn("no guest says which hosts are its own: nobody gets a certificate on demand", zap.String("party", p.Party),
				zap.String("hint", `list them as "hosts" in a manifest, or by host in wsgi_party_guest, or answer the service hosts`))
		})
	}
	err := denied(host, fmt.Sprintf("no guest of party %q says that the host is its own", p.Party))
	p.denials.Put(host, denial{generation, err}, denialKept)
	return err
}

func denied(host, why string) error {
	return fmt.Errorf("%s: %w: %s", host, caddytls.ErrPermissionDenied, why)
}

// gone is what whoever wanted the certificate gets who did not wait. That is not an error for Caddy's log.
func gone(ctx context.Context, host string) error {
	return fmt.Errorf("%s: %w: %w", host, caddytls.ErrPermissionDenied, ctx.Err())
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Permission)(nil)
	_ caddyfile.Unmarshaler       = (*Permission)(nil)
	_ caddytls.OnDemandPermission = (*Permission)(nil)
)
