// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/invitepath"
)

// Settings are what a handler says of its party. They are experimental.
type Settings struct {
	// Name is the party's, or empty for DefaultParty, which different handlers
	// cannot both leave it at.
	Name string

	// Invites are sent in this order. Their placeholders are replaced.
	Invites []Invite

	// IgnoreMissingServices is that of the partyline's Options. All of a party's
	// handlers must agree on it.
	IgnoreMissingServices bool

	// StrictInvites makes an invite that no guest accepts an error.
	StrictInvites bool

	// InviteTimeout is how long each invite may take.
	InviteTimeout time.Duration

	// PartylineKey is the request variable that holds the operator during an invite.
	PartylineKey string

	// Prefix is what was stripped from the paths of requests, or the placeholder of
	// the header that says so.
	Prefix string

	// Identity is the same for identical handlers.
	Identity string
}

// Host is a party that runs, in one of the handlers that name it: it invites the guests in
// that handler's routes, and brings them what they are asked. While it is provisioned the
// handler calls Open, sets its routes up, whose modules find the Host by Around, and calls
// Serve and Invite, in this order; in the end it calls Close. It is experimental.
type Host struct {
	settings      Settings
	name          string
	prefixHeader  string // in which each request has its prefix; empty where all have the same
	escapedPrefix string // that of all

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

// Open opens a party for the handler that is being provisioned, which is to return it
// from a method Host. It is experimental.
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

// Serve takes the handler's routes, which are set up, and what they are compiled to: by
// these the party reaches its guests.
func (h *Host) Serve(routes caddyhttp.RouteList, chain caddyhttp.Handler) {
	makeCancelable(routes)
	h.routes, h.chain = routes, chain
}

// Invite sends the invites, one after the other. It returns an error for a guest that
// makes the config wrong.
func (h *Host) Invite() error {
	hung := hangingGuests(h.name)
	for _, i := range h.guests.invited {
		info := h.send(h.ctx, i, h.timeoutOf(hung[i.guest]))
		if err, ok := errors.AsType[*ConfigError](info.Err); ok {
			return fmt.Errorf("inviting guest %q at %s: %w", info.Guest, info.URI, err)
		}
		if h.settings.StrictInvites && info.Result != InviteJoined && !info.pending {
			return fmt.Errorf("%s, and strict_invites is set: %w: %s", info.Result.message(), info.problem(), h.hint(info))
		}
	}
	return h.checkSpeakers()
}

// Close makes the party's guests free for another handler to invite. It disconnects
// nobody: requests in flight outlive it.
func (h *Host) Close() {
	if !h.app.endedWith(h.ctx) { // else requests in flight may still look
		h.app.remove(h)
	}
}

// Name returns the party's name.
func (h *Host) Name() string { return h.name }

// Invites returns the invites that have been sent, in order, and what came of them.
func (h *Host) Invites() []InviteInfo {
	var infos []InviteInfo
	for _, i := range h.guests.invited {
		if i.last.Load() != nil { // else it is being sent for the first time
			infos = append(infos, h.info(i))
		}
	}
	return infos
}

// Server returns the HTTP server that the handler is in. It is experimental.
func (h *Host) Server() *caddyhttp.Server { return h.server }

// Hides reports whether r is a request from outside to the path of an invite, or below it.
func (h *Host) Hides(r *http.Request) bool {
	return h.guests.private.ContainsURL(r.URL) && PeekInvitation(r) == nil
}

// Around returns the innermost party in whose routes the module is that is being
// provisioned, nil if there is none. It is experimental.
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
		h.warnOfHidden(i, h.guests.invited[len(h.guests.invited)-1].uri)
	}
	return nil
}

// warnOfHidden warns of an invite that may hide an application and not just its invite
// route.
func (h *Host) warnOfHidden(i Invite, uri *url.URL) {
	if _, found := invitepath.Cut(uri.Path); found {
		return
	}
	write := "invite " + uri.JoinPath(invitepath.Segment, "/").String()
	if i.Guest != "" {
		write += " as " + i.Guest
	}
	h.logger.Warn("an invite's path, and everything below it, is hidden from outside",
		zap.String("party", h.name),
		zap.String("uri", uri.String()),
		zap.String("hidden", strings.TrimSuffix(uri.Path, "/")+"/*"),
		zap.String("hint", "if there are pages of the application, write `"+write+"`; an invite is for a path that nobody visits"))
}

// conflict returns an error if h and other cannot name the same party. Identical
// handlers can: they come from one site block that became several servers, say.
func (h *Host) conflict(other *Host) error {
	if h.settings.Identity == other.settings.Identity {
		return nil
	}
	both := other.describe() + " and " + h.describe()
	if h.settings.Name == "" && other.settings.Name == "" {
		return fmt.Errorf("%s both leave out the party's name: give each a name of its own, or both the same name if they are to share a partyline", both)
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
