// Copyright 2026 The wsgi_party Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package wsgiparty

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// DefaultParty is the name of a party whose handler leaves it out.
const DefaultParty = "default"

const appName = "wsgi_party"

func init() {
	caddy.RegisterModule(new(App))
}

// App holds the partylines of one config, so that each config has its own. It
// has no settings and need not be configured: it is there as soon as a
// `wsgi_party` handler or a module that joins a partyline is.
type App struct {
	ctx    context.Context
	logger *zap.Logger

	mu    sync.RWMutex
	lines map[string]*line
}

// line is a partyline of a config, with all who brought it about.
type line struct {
	*Partyline
	anyone  *Operator // asks everyone
	parties []*Party  // the handlers that name it
	joined  []string  // the guest names it was joined under
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  appName,
		New: func() caddy.Module { return new(App) },
	}
}

// Provision sets up the app.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx.Context
	a.logger = ctx.Logger()
	a.lines = make(map[string]*line)
	return nil
}

// Start warns about what only the whole config shows.
func (a *App) Start() error {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for name, l := range a.lines {
		guests := slices.Compact(slices.Sorted(slices.Values(l.joined)))
		if len(l.parties) == 0 {
			a.logger.Warn("no wsgi_party handler names the party that was joined",
				zap.String("party", name),
				zap.Strings("guests", guests),
				zap.String("hint", "correct the name where it is joined, or give it to a wsgi_party handler"))
		}
		for _, guest := range guests {
			if slices.ContainsFunc(l.parties, func(p *Party) bool { return p.invites(guest) }) {
				a.logger.Warn("a module joined under the name of an invited guest: only one of the two is asked",
					zap.String("party", name),
					zap.String("guest", guest),
					zap.String("hint", "join under another name, or invite that guest under another name"))
			}
		}
	}
	return nil
}

// Stop does nothing: requests in flight outlive it.
func (*App) Stop() error { return nil }

// Join returns an operator on the partyline of the config that ctx belongs to,
// for a module that is not invited. It is to be called in Provision, with the
// context given there; the party's handler may be provisioned later. With an
// empty guest name the operator cannot connect, and asks everyone.
//
// When ctx ends before its config does, the operator leaves. It does not when
// the config ends: requests in flight may still ask.
//
// It returns an error for an empty party name. A party without a name of its own
// is called DefaultParty.
func Join(ctx caddy.Context, party, guest string) (*Operator, error) {
	if party == "" {
		return nil, fmt.Errorf("joining a partyline as guest %q: the party's name is empty; a party without a name is called %q", guest, DefaultParty)
	}
	a, err := appOf(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.line(party)
	l.joined = append(l.joined, guest)
	return a.operator(ctx, l, guest), nil
}

// Lookup returns an operator on a partyline of the running config that asks
// everyone, for code that is given no caddy.Context. It returns false if that
// config has no such partyline. A config that is still loading, or failed to, is
// never asked. Since a reload makes new partylines, the operator is not to be kept.
func Lookup(party string) (*Operator, bool) {
	app, err := caddy.ActiveContext().AppIfConfigured(appName)
	if err != nil {
		return nil, false
	}
	a := app.(*App)
	a.mu.RLock()
	defer a.mu.RUnlock()
	l, ok := a.lines[party]
	if !ok {
		return nil, false
	}
	return l.anyone, true
}

// appOf returns the app of the config that is being provisioned.
func appOf(ctx caddy.Context) (_ *App, err error) {
	defer func() {
		switch value := recover().(type) {
		case nil:
		case runtime.Error: // Caddy's, for a context without a config
			err = fmt.Errorf("the context belongs to no config: join in Provision, with the context given there (%w)", value)
		default:
			panic(value)
		}
	}()
	app, err := ctx.App(appName)
	if err != nil {
		return nil, err
	}
	return app.(*App), nil
}

// line returns the partyline of that name, a new one if there is none yet. The
// app must be locked.
func (a *App) line(name string) *line {
	l, ok := a.lines[name]
	if !ok {
		p := NewPartyline(name, Options{})
		p.observer = &askLogger{a.logger, name}
		l = &line{Partyline: p, anyone: p.Operator("")}
		a.lines[name] = l
	}
	return l
}

// operator returns a new operator that leaves when ctx ends, unless that is the
// end of the config: Caddy ends that with a cause of its own.
func (a *App) operator(ctx context.Context, l *line, guest string) *Operator {
	o := l.Operator(guest)
	context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		if cause == context.Canceled || cause == context.DeadlineExceeded || a.ctx.Err() == nil {
			o.Leave()
		}
	})
	return o
}

// add makes a handler one of those that name its party, and returns the
// partyline. A handler that would mute another is an error.
func (a *App) add(p *Party) (*line, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.line(p.partyName())
	for _, other := range l.parties {
		if err := p.conflict(other); err != nil {
			return nil, err
		}
	}
	l.parties = append(l.parties, p)
	l.ignoreMissingServices.Store(p.IgnoreMissingServices)
	return l, nil
}

// remove undoes add.
func (a *App) remove(p *Party) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l, ok := a.lines[p.partyName()]; ok {
		l.parties = slices.DeleteFunc(l.parties, func(other *Party) bool { return other == p })
	}
}

// conflict returns an error if p and other cannot name the same party. Identical
// handlers can: they come from one site block that became several servers, say.
func (p *Party) conflict(other *Party) error {
	if p.identity == other.identity {
		return nil
	}
	both := other.describe() + " and " + p.describe()
	if p.Name == "" && other.Name == "" {
		return fmt.Errorf("%s both leave out the party's name: give each a name of its own, or both the same name if they are to share a partyline", both)
	}
	if p.IgnoreMissingServices != other.IgnoreMissingServices {
		return fmt.Errorf("%s disagree on ignore_missing_services: write it in both, or in neither", both)
	}
	for _, i := range p.invited {
		if other.invites(i.guest) {
			return fmt.Errorf("%s both invite guest %q, and only one of the two would be asked: write \"invite %s as <guest>\" with another name in one of them, or give the parties different names", both, i.guest, i.uri)
		}
	}
	return nil
}

// describe says which handler it is, for errors.
func (p *Party) describe() string {
	var guests []string
	for _, i := range p.invited {
		guests = append(guests, i.guest)
	}
	return fmt.Sprintf("the wsgi_party handler %q in server %q (inviting %s)", p.partyName(), p.server.Name(), cmp.Or(strings.Join(guests, ", "), "nobody"))
}

// askLogger logs asks at debug level.
type askLogger struct {
	logger *zap.Logger
	party  string
}

func (l *askLogger) observing() bool { return l.logger.Core().Enabled(zap.DebugLevel) }

func (l *askLogger) begin(guest, service string) func(answered, declined, failed int, err error) {
	began := time.Now()
	return func(answered, declined, failed int, err error) {
		if c := l.logger.Check(zap.DebugLevel, "asked around"); c != nil {
			c.Write(
				zap.String("party", l.party),
				zap.String("guest", guest),
				zap.String("service", service),
				zap.Int("answered", answered),
				zap.Int("declined", declined),
				zap.Int("failed", failed),
				zap.Duration("duration", time.Since(began)),
				zap.Error(err))
		}
	}
}

// Interface guards
var (
	_ caddy.App         = (*App)(nil)
	_ caddy.Provisioner = (*App)(nil)
	_ observer          = (*askLogger)(nil)
)
