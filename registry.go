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
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/nearest"
	"github.com/wsgiparty/wsgiparty/internal/token"
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
//
// In Caddy's storage, below `wsgi_party/`, it keeps the last good manifest of each
// application, for the next start of a Caddy with the same addresses and upstreams. One
// that no config has had for 30 days is deleted. A storage that does not answer delays
// the load of a config by 2 seconds in all.
//
// It emits these events, once the config has started. All have `party`, `guest` and
// `services` as data, those of invites also `uri`, `status` (0 where nobody answered)
// and `error`.
//
// Event | When
// ------|-----
// `guest_joined` | a guest took its invite, or a module joined
// `guest_left` | the last operator of a guest that had joined has left
// `invite_not_answered` | nobody took an invite
// `invite_refused` | an invite was answered with a 4xx status other than 404
// `invite_failed` | an invite ended in an error, a time-out, or a 5xx status
//
// An application that is invited over HTTP, again and again, has joined when its
// manifest is there; what becomes of later invites is told, and counted, when it is
// something else than before.
//
// A config begins with nobody on the line: after a reload its guests join again, and
// none of the config before leaves.
//
// These are among Caddy's metrics, of the parties and the connected services of the
// running config. Counters go on from config to config, and are forgotten with a guest
// or a party that no config has had for an hour. A guest's services beyond 512
// are counted together as `other`.
//
// Metric | Labels | What
// -------|--------|-----
// `caddy_wsgi_party_asks_total` | `party`, `service` | asks for a service
// `caddy_wsgi_party_replies_total` | `party`, `guest`, `service`, `outcome` | handlers that `answered`, `declined` or `failed`, or remote ones that `refused`, being asked more than they can answer
// `caddy_wsgi_party_guests` | `party` | guests on the line
// `caddy_wsgi_party_invites_total` | `party`, `outcome` | invites that `joined`, were `not_answered` or `refused`, or `failed`
// `caddy_wsgi_party_reply_duration_seconds` | `party`, `guest`, `service` | how long remote handlers took; others are not timed
type App struct {
	ctx    context.Context
	logger *zap.Logger
	events *eventQueue

	mu     sync.RWMutex
	lines  map[string]*line
	guests []*Guest   // the handlers that speak for one
	keys   token.Ring // of all guests: none may have another's

	keysInParties token.Ring // the same, where guests of one name in two parties are two

	warnings []func() // for Start, when all of the config is there

	forwarded     atomic.Pointer[[]string] // the headers that some guest is to be sent
	prefixHeaders atomic.Pointer[[]string] // those that some party's prefix is in
	prefixWarned  atomic.Bool

	storage     certmagic.Storage
	storageTime storageTime
	stored      sync.Map // of the keys of its guests' manifests to nil
	holds       holds
	pathKey     atomic.Pointer[token.PathKey] // nil until it has come from the storage
}

// line is a partyline of a config, with all who brought it about.
type line struct {
	*Partyline
	history *history
	anyone  *Operator // asks everyone
	parties []*Host   // the handlers that name it
	joined  []joining // by Join
	bases   atomic.Pointer[[]based]

	keys   token.Ring // of its guests
	keysOf map[string]token.Keys

	mounts sync.Map // of guest to *guestMount
	values sync.Map // that packages keep for it
}

// joining says which module joined a partyline, and as whom.
type joining struct{ guest, module string }

// history is what is counted of all partylines of one name, from config to config.
type history struct {
	asks    ledger
	invites [len(inviteResults)]atomic.Uint64
}

var histories = kept[string, *history]{make: func(string) *history { return new(history) }}

// guestIn is a guest of a party.
type guestIn struct{ party, guest string }

// guestsKept are those of whom the histories of their parties tell.
var guestsKept = kept[guestIn, struct{}]{
	make: func(guestIn) struct{} { return struct{}{} },
	forget: func(k guestIn, _ struct{}) {
		if h, ok := histories.lookup(k.party); ok {
			h.asks.forget(k.guest)
		}
	},
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
	a.storage = ctx.Storage()
	a.lines = make(map[string]*line)
	var err error
	if a.events, err = newEventQueue(ctx, a.logger); err != nil {
		return err
	}
	a.events.onStart(func() { go a.tidyStorage() })
	return nil
}

// Start warns about what only the whole config shows.
func (a *App) Start() error {
	a.warnOfJoined()
	a.mu.RLock()
	guests, warnings := slices.Clone(a.guests), slices.Clone(a.warnings)
	a.mu.RUnlock() // a hint may ask which guests are expected
	for _, g := range guests {
		g.warn()
	}
	for _, warn := range warnings {
		warn()
	}
	if slices.ContainsFunc(guests, func(g *Guest) bool { return !g.keys.IsZero() }) {
		a.events.onStart(func() { go a.loadPathKey() })
	}
	return nil
}

// warnOfJoined warns of modules that joined where they are hardly meant to.
func (a *App) warnOfJoined() {
	a.mu.RLock()
	defer a.mu.RUnlock()
	var parties []string
	for name, l := range a.lines {
		if len(l.parties) > 0 {
			parties = append(parties, name)
		}
	}
	slices.Sort(parties)
	for name, l := range a.lines {
		var guests, modules []string
		for _, j := range l.joined {
			if modules = append(modules, j.module); j.guest != "" {
				guests = append(guests, j.guest)
			}
		}
		slices.Sort(guests)
		guests = slices.Compact(guests)
		if len(l.parties) == 0 {
			slices.Sort(modules)
			remedy := "name one that there is, or give that name to a wsgi_party handler"
			if len(parties) == 0 {
				remedy = "write one around the routes of the applications"
			}
			a.logger.Warn("no wsgi_party handler names the party that was joined",
				zap.String("party", name),
				zap.Strings("guests", guests),
				zap.Strings("modules", slices.Compact(modules)),
				zap.String("hint", "no party is called "+strconv.Quote(name)+nearest.DidYouMean(name, parties...)+"; "+whichParties(parties)+"; "+remedy))
		}
		for _, guest := range guests {
			if slices.ContainsFunc(l.parties, func(h *Host) bool { return h.guests.has(guest) }) {
				a.logger.Warn("a module joined under the name of an invited guest: only one of the two is asked",
					zap.String("party", name),
					zap.String("guest", guest),
					zap.String("hint", "join under another name, or invite that guest under another name"))
			}
		}
	}
}

// Cleanup has the process forget, after a while, what no other config has.
func (a *App) Cleanup() error {
	a.holds.release()
	return nil
}

// Stop ends the events. It disconnects nobody: requests in flight outlive it.
func (a *App) Stop() error {
	a.events.end()
	return nil
}

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
	l.joined = append(l.joined, joining{guest, moduleOf(ctx)})
	o := a.operator(ctx, l, guest)
	o.join()
	return o, nil
}

// Lookup returns an operator on a partyline of the running config that asks
// everyone, for code that is given no caddy.Context. It returns false if that
// config has no such partyline. A config that is still loading, or failed to, is
// never asked. Since a reload makes new partylines, the operator is not to be kept.
func Lookup(party string) (*Operator, bool) {
	a, ok := running()
	if !ok {
		return nil, false
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	l, ok := a.lines[party]
	if !ok {
		return nil, false
	}
	return l.anyone, true
}

// PartyInfo is what there is to know of a party of the running config.
type PartyInfo struct {
	// Partyline is the party's. It tells who is on the line, and what was asked.
	Partyline *Partyline

	// Invites are those of all handlers that name the party, by server and as
	// configured.
	Invites []InviteInfo

	// InvitesSent is how many invites came to which result since the process
	// began, from config to config. All results are in it.
	InvitesSent map[InviteResult]uint64
}

// Parties returns the parties of the running config in alphabetical order. A config
// that is still loading, or failed to, is never asked.
func Parties() []PartyInfo {
	a, ok := running()
	if !ok {
		return nil
	}
	a.mu.RLock()
	lines := slices.Collect(maps.Values(a.lines))
	a.mu.RUnlock()
	parties := make([]PartyInfo, 0, len(lines))
	for _, l := range lines {
		info := PartyInfo{Partyline: l.Partyline, InvitesSent: make(map[InviteResult]uint64)}
		for _, h := range a.partiesOf(l.Name()) {
			for _, i := range h.guests.invited {
				if i.last.Load() == nil {
					continue // it is being sent for the first time
				}
				info.Invites = append(info.Invites, h.info(i))
			}
		}
		for i, result := range inviteResults {
			info.InvitesSent[result] = l.history.invites[i].Load()
		}
		parties = append(parties, info)
	}
	slices.SortFunc(parties, func(a, b PartyInfo) int {
		return cmp.Compare(a.Partyline.Name(), b.Partyline.Name())
	})
	return parties
}

// partiesOf returns the handlers that name a party, in order.
func (a *App) partiesOf(name string) []*Host {
	a.mu.RLock()
	defer a.mu.RUnlock()
	l, ok := a.lines[name]
	if !ok {
		return nil
	}
	return l.inOrder()
}

// inOrder returns the handlers in an order that is the same for every load of a
// config. The app must be locked.
func (l *line) inOrder() []*Host {
	return slices.SortedStableFunc(slices.Values(l.parties), func(a, b *Host) int {
		return cmp.Compare(a.server.Name(), b.server.Name())
	})
}

// running returns the app of the running config.
func running() (*App, bool) {
	app, err := caddy.ActiveContext().AppIfConfigured(appName)
	if err != nil {
		return nil, false
	}
	return app.(*App), true
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
	if err := registerMetrics(ctx); err != nil {
		return nil, err
	}
	return app.(*App), nil
}

// line returns the partyline of that name, a new one if there is none yet. The
// app must be locked.
func (a *App) line(name string) *line {
	l, ok := a.lines[name]
	if !ok {
		h := hold(&a.holds, &histories, name)
		p := newPartyline(name, Options{}, &h.asks)
		p.observer = &lineObserver{a, p}
		p.carry = a.carry
		p.addressee = func(service string) func(any) unique.Handle[string] {
			if service != URLService {
				return nil
			}
			return p.guestOfPage
		}
		l = &line{Partyline: p, history: h, anyone: p.Operator("")}
		l.bases.Store(new([]based))
		a.lines[name] = l
	}
	return l
}

// operator returns a new operator that leaves when ctx ends, unless that is the
// end of the config: Caddy ends that with a cause of its own.
func (a *App) operator(ctx context.Context, l *line, guest string) *Operator {
	if guest != "" {
		hold(&a.holds, &guestsKept, guestIn{l.Name(), guest})
	}
	o := l.Operator(guest)
	o.stay = context.AfterFunc(ctx, func() {
		if !a.endedWith(ctx) {
			o.Leave()
		}
	})
	return o
}

// endedWith reports whether ctx ended because the config did.
func (a *App) endedWith(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return cause != nil && cause != context.Canceled && cause != context.DeadlineExceeded && a.ctx.Err() != nil
}

// add makes a handler one of those that name its party, and returns the
// partyline. A handler that would mute another is an error.
func (a *App) add(h *Host) (*line, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.line(h.name)
	for _, other := range l.parties {
		if err := h.conflict(other); err != nil {
			return nil, err
		}
	}
	l.parties = append(l.parties, h)
	if h.prefixHeader != "" {
		a.awaitPrefix(h.prefixHeader)
	}
	var guests []string
	for _, h := range l.inOrder() {
		for _, i := range h.guests.invited {
			guests = append(guests, i.guest)
		}
	}
	l.rank(guests)
	l.ignoreMissingServices.Store(h.settings.IgnoreMissingServices)
	bases := slices.Clone(*l.bases.Load())
	for _, i := range h.guests.invited {
		if i.uri.IsAbs() {
			l.origins.Store(originOf(i.uri), nil)
		}
		bases = append(bases, based{i, h})
	}
	l.bases.Store(&bases)
	return l, nil
}

// remove undoes add.
func (a *App) remove(h *Host) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l, ok := a.lines[h.name]; ok {
		l.parties = slices.DeleteFunc(l.parties, func(other *Host) bool { return other == h })
	}
}

// addGuest makes a handler one of those that the config is checked for.
func (a *App) addGuest(g *Guest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.guests = append(a.guests, g)
	if len(g.Forward) > 0 {
		var names []string
		for _, g := range a.guests {
			for _, name := range g.Forward {
				names = append(names, http.CanonicalHeaderKey(name))
			}
		}
		slices.Sort(names)
		names = slices.Compact(names)
		a.forwarded.Store(&names)
	}
}

// checkKeys returns an error if the keys of a guest in the party's routes are wrong that
// no invite has reached.
func (a *App) checkKeys(h *Host) error {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, g := range a.guests {
		if g.host == h && g.keysErr != nil {
			return fmt.Errorf("wsgi_party_guest %q: %w", g.Name, g.keysErr)
		}
	}
	return nil
}

// expects reports whether a handler in the party's routes would take the invite of that
// guest, had it come so far.
func (a *App) expects(h *Host, guest string) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.ContainsFunc(a.guests, func(g *Guest) bool { return g.host == h && g.visit.Load() == nil && g.awaits(guest) })
}

// awaits reports whether a handler takes the invite of that guest if it comes.
func (a *App) awaits(guest string) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.ContainsFunc(a.guests, func(g *Guest) bool { return g.awaits(guest) })
}

// removeGuest undoes addGuest.
func (a *App) removeGuest(g *Guest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.guests = slices.DeleteFunc(a.guests, func(other *Guest) bool { return other == g })
}

// addKeys makes keys those of a guest of the party. One that is another guest's is an
// error.
func (a *App) addKeys(party, guest string, keys token.Keys) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.line(party)
	if err := a.keys.Add(guest, keys); err != nil {
		return err
	}
	if err := a.keysInParties.Add(guest+" of party "+party, keys); err != nil {
		return err
	}
	if l.keysOf == nil {
		l.keysOf = make(map[string]token.Keys)
	}
	if !keys.IsZero() {
		l.keysOf[guest] = keys
	}
	return l.keys.Add(guest, keys)
}

// identify returns the guest of the party whose key the request has, and its keys.
func (a *App) identify(party string, r *http.Request) (string, token.Keys, bool) {
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", token.Keys{}, false
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	l := a.lines[party]
	guest, ok := l.keys.Identify(strings.TrimSpace(key))
	return guest, l.keysOf[guest], ok
}

// warnAtStart has Start call a function that may warn of something.
func (a *App) warnAtStart(warn func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.warnings = append(a.warnings, warn)
}

// moduleOf returns the ID of the module that is being provisioned.
func moduleOf(ctx caddy.Context) string {
	modules := ctx.Modules()
	if len(modules) == 0 {
		return ""
	}
	return string(modules[len(modules)-1].CaddyModule().ID)
}

// lineOf returns a partyline that a module has joined.
func (a *App) lineOf(party string) *line {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.lines[party]
}

// lineObserver logs asks at debug level, and guests that leave.
type lineObserver struct {
	app  *App
	line *Partyline
}

func (o *lineObserver) observing() bool { return o.app.logger.Core().Enabled(zap.DebugLevel) }

func (o *lineObserver) begin(guest, service string) func(answered, declined, failed int, err error) {
	began := time.Now()
	return func(answered, declined, failed int, err error) {
		if c := o.app.logger.Check(zap.DebugLevel, "asked around"); c != nil {
			c.Write(
				zap.String("party", o.line.Name()),
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

func (o *lineObserver) joined(guest string) { o.app.events.joined(o.line, guest) }

func (o *lineObserver) left(guest string, services []string) {
	o.app.logger.Info("guest left",
		zap.String("party", o.line.Name()),
		zap.String("guest", guest),
		zap.Strings("services", services))
	o.app.events.left(o.line, guest, services)
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
	_ observer           = (*lineObserver)(nil)
)
