// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/askaddress"
	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"go.uber.org/zap"
)

// Settings are what a handler says of its party.
type Settings struct {
	Name                  string        // empty for DefaultParty: only one of different handlers may leave it out
	Invites               []Invite      // in this order; their placeholders are replaced
	IgnoreMissingServices bool          // as in the partyline's Options; all handlers of a party must agree on it
	StrictInvites         bool          // whether an invite that no guest accepts is an error
	InviteTimeout         time.Duration // of each
	PartylineKey          string        // the request variable that holds the operator during an invite
	Prefix                string        // that was stripped from paths, or the placeholder of the header that says so
	AskOn                 *AskOn        // where guests ask; nil for nowhere
	Identity              string        // the same for identical handlers
}

// Host is a party that runs, in one of the handlers that name it: it invites the guests in
// that handler's routes, and brings them what they are asked.
type Host struct {
	settings      Settings
	name          string
	prefixHeader  string             // in which each request has its prefix; empty where all have the same
	escapedPrefix string             // that of all
	askAddress    askaddress.Address // zero without ask_on

	ctx    context.Context // the handler's
	app    *App
	entry  *Entry
	server *caddyhttp.Server
	logger *zap.Logger
	guests GuestList
	routes caddyhttp.RouteList
	chain  caddyhttp.Handler // the routes, compiled

	speakers []Speaker // guarded by the app

	mu sync.Mutex // of what invites are being sent again
}

// hosting is a handler that hosts a party.
type hosting interface{ Host() *Host }

// Open opens a party for the handler that is being provisioned. The handler must return it from a method Host.
func Open(ctx caddy.Context, settings Settings) (*Host, error) {
	h := &Host{settings: settings, name: cmp.Or(settings.Name, DefaultParty), ctx: ctx.Context, logger: ctx.Logger()}
	h.server, _ = ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if h.server == nil {
		h.server = new(caddyhttp.Server) // not loaded by the http app
	}
	var err error
	if h.prefixHeader, err = CheckPrefix(settings.Prefix); err != nil {
		return nil, err
	}
	h.escapedPrefix = invitepath.Escape(settings.Prefix)
	if settings.AskOn != nil {
		if h.askAddress, err = settings.AskOn.resolve(); err != nil {
			return nil, err
		}
	}
	if err := h.listGuests(settings.Invites); err != nil {
		return nil, err
	}
	if h.app, err = AppOf(ctx); err != nil {
		return nil, err
	}
	if h.entry, err = h.app.add(h); err != nil {
		return nil, err
	}
	return h, nil
}

// Invite takes the handler's routes, which must be set up, and the chain they are compiled to, by which the
// party reaches its guests. It sends the invites, one after the other. It returns an error for a guest that
// makes the config wrong.
func (h *Host) Invite(routes caddyhttp.RouteList, chain caddyhttp.Handler) error {
	makeCancelable(routes)
	h.routes, h.chain = routes, chain
	hung := hangingGuests(h.name)
	for _, i := range h.guests.invited {
		timeout := h.settings.InviteTimeout
		if hung[i.guest] {
			timeout /= 10
		}
		info := i.send(h.ctx, timeout)
		if err, ok := errors.AsType[*ConfigError](info.Err); ok {
			return fmt.Errorf("inviting guest %q at %s: %w", info.Guest, info.URI, err)
		}
		if h.settings.StrictInvites && info.Result != InviteJoined && !info.pending {
			return fmt.Errorf("%s, and strict_invites is set: %w: %s", info.Result.message(), info.asError(), h.hint(info))
		}
	}
	h.app.mu.RLock()
	defer h.app.mu.RUnlock()
	for _, s := range h.speakers {
		if err := s.Check(); err != nil {
			return err
		}
	}
	return nil
}

// Close makes the party's guests free for another handler to invite. It disconnects nobody:
// requests in flight outlive it.
func (h *Host) Close() {
	if !h.app.endedWith(h.ctx) { // else requests in flight may still look
		h.app.remove(h)
	}
}

// Name returns the party's name.
func (h *Host) Name() string { return h.name }

// Invites returns the invites that have been sent, in order, and what came of them.
func (h *Host) Invites() []InviteInfo { return sent(h.guests.invited) }

// sent returns what came of those of the invites that have been sent.
func sent(invites []*invited) (infos []InviteInfo) {
	for _, i := range invites {
		if i.last.Load() != nil { // else it is being sent for the first time
			infos = append(infos, i.info())
		}
	}
	return infos
}

// Server returns the HTTP server that the handler is in.
func (h *Host) Server() *caddyhttp.Server { return h.server }

// Hides reports whether r is a request from outside to the path of an invite, or below it.
func (h *Host) Hides(r *http.Request) bool {
	return h.guests.private.ContainsURL(r.URL) && PeekInvitation(r) == nil
}

// Around returns the innermost party whose routes contain the module that is being provisioned, nil if there is
// none.
func Around(ctx caddy.Context) *Host {
	for _, module := range slices.Backward(ctx.Modules()) {
		if p, ok := module.(hosting); ok {
			return p.Host()
		}
	}
	return nil
}

// listGuests adds the guests of the configured invites, with placeholders replaced.
func (h *Host) listGuests(invites []Invite) error {
	placeholders := caddy.NewReplacer()
	for _, i := range invites {
		var err error
		if i.URI, err = placeholders.ReplaceOrErr(i.URI, true, true); err != nil {
			return fmt.Errorf("the URI of an invite: %w", err)
		}
		if i.Guest, err = placeholders.ReplaceOrErr(i.Guest, true, true); err != nil {
			return fmt.Errorf("the guest of invite %q: %w", i.URI, err)
		}
		if err := h.guests.Add(i); err != nil {
			return err
		}
		added := h.guests.invited[len(h.guests.invited)-1]
		added.host = h
		added.warnOfHidden(i.Guest)
	}
	return nil
}

// warnOfHidden warns of an invite that may hide an application and not just its invite route.
func (i *invited) warnOfHidden(name string) {
	if _, found := invitepath.Cut(i.uri.Path); found {
		return
	}
	write := "invite " + i.uri.JoinPath(invitepath.Segment, "/").String()
	if name != "" {
		write += " as " + name
	}
	i.host.logger.Warn("an invite's path, and everything below it, is hidden from outside",
		zap.String("party", i.host.name), zap.String("uri", i.uri.String()), zap.String("hidden", strings.TrimSuffix(i.uri.Path, "/")+"/*"),
		zap.String("hint", "if the application has pages there, write `"+write+"`; an invite is for a path that nobody visits"))
}

// conflict returns an error if h and other cannot name the same party. Identical handlers
// can: they come from one site block that became several servers, say.
func (h *Host) conflict(other *Host) error {
	if h.settings.Identity == other.settings.Identity {
		return nil
	}
	both := other.describe() + " and " + h.describe()
	if h.settings.Name == "" && other.settings.Name == "" {
		return fmt.Errorf("%s both leave out the party's name: give each a name of its own, or give both the same name if they should share a partyline", both)
	}
	if h.settings.IgnoreMissingServices != other.settings.IgnoreMissingServices {
		return fmt.Errorf("%s disagree on ignore_missing_services: write it in both, or in neither", both)
	}
	for _, i := range h.guests.invited {
		if other.guests.has(i.guest) {
			return fmt.Errorf("%s both invite guest %q, and only one of the two would be asked: write \"invite %s as <guest>\" with another name in one of them, or give the parties different names", both, i.guest, i.uri)
		}
	}
	return nil
}

// describe says which handler it is, for errors.
func (h *Host) describe() string {
	var guests []string
	for _, i := range h.guests.invited {
		guests = append(guests, i.guest)
	}
	return fmt.Sprintf("the wsgi_party handler %q in server %q (inviting %s)", h.name, h.server.Name(), cmp.Or(strings.Join(guests, ", "), "nobody"))
}

// Speaker is a handler in a party's routes that speaks for a guest: it accepts its invite.
type Speaker interface {
	Awaits(guest string) bool // whether it accepts the invite of that guest if it comes
	Speaks() bool             // whether it has accepted an invite
	Check() error             // which makes the config wrong, when its invites have been sent, whether one has come or not
}

// AddSpeaker makes a handler one that speaks for a guest.
func (h *Host) AddSpeaker(s Speaker) {
	h.app.mu.Lock()
	defer h.app.mu.Unlock()
	h.speakers = append(h.speakers, s)
}

// RemoveSpeaker undoes AddSpeaker.
func (h *Host) RemoveSpeaker(s Speaker) {
	h.app.mu.Lock()
	defer h.app.mu.Unlock()
	h.speakers = slices.DeleteFunc(h.speakers, func(other Speaker) bool { return other == s })
}

// Awaits reports whether a handler in the routes of any party accepts the invite of that guest if it comes.
func (a *App) Awaits(guest string) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, e := range a.entries {
		for _, h := range e.hosts {
			if slices.ContainsFunc(h.speakers, func(s Speaker) bool { return s.Awaits(guest) }) {
				return true
			}
		}
	}
	return false
}

// expects reports whether a handler in the party's routes would accept the invite of that
// guest, had it come so far.
func (h *Host) expects(guest string) bool {
	h.app.mu.RLock()
	defer h.app.mu.RUnlock()
	return slices.ContainsFunc(h.speakers, func(s Speaker) bool { return !s.Speaks() && s.Awaits(guest) })
}
