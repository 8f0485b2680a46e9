// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The Go API on one page. The package that each comes from documents it in full.

package wsgiparty

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgiparty/wsgiparty/claims"
	"github.com/wsgiparty/wsgiparty/hosts"
	"github.com/wsgiparty/wsgiparty/httpask"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"github.com/wsgiparty/wsgiparty/partytemplates"
)

// A Partyline is a switchboard: guests connect handlers under the names of services, and
// ask each other's. See [partyline.Partyline].
type Partyline = partyline.Partyline

// Options configure a Partyline. See [partyline.Options].
type Options = partyline.Options

// NewPartyline returns a partyline with nobody on it. The name is only a label.
func NewPartyline(name string, opts Options) *Partyline { return partyline.NewPartyline(name, opts) }

// An Operator is a guest's handle on the partyline. With it the guest connects handlers, asks
// around and leaves. See [partyline.Operator].
type Operator = partyline.Operator

// A Handler answers a guest's asks for a service. See [partyline.Handler].
type Handler = partyline.Handler

// A Reply is what came of calling one handler. See [partyline.Reply].
type Reply = partyline.Reply

// What a partyline knows about its guests and asks. See [partyline.Partyline.Guests] and
// [partyline.Partyline.Counts].
type (
	GuestInfo  = partyline.GuestInfo
	AskCount   = partyline.AskCount
	ReplyCount = partyline.ReplyCount
	Durations  = partyline.Durations
)

// All is AskAround for answers of type T. See [partyline.All].
func All[T any](ctx context.Context, o *Operator, service string, payload any) ([]T, error) {
	return partyline.All[T](ctx, o, service, payload)
}

// First returns the first answer of type T and asks nobody after that. See
// [partyline.First].
func First[T any](ctx context.Context, o *Operator, service string, payload any) (T, error) {
	return partyline.First[T](ctx, o, service, payload)
}

// PayloadAs returns a handler's payload as a T, by way of JSON if necessary. See
// [partyline.PayloadAs].
func PayloadAs[T any](payload any) (T, error) { return partyline.PayloadAs[T](payload) }

// The errors of a partyline.
var (
	ErrPartyline  = partyline.ErrPartyline  // matches all of them
	ErrHighAndDry = partyline.ErrHighAndDry // the handler declines
	ErrLeft       = partyline.ErrLeft       // the operator has left
	ErrLoop       = partyline.ErrLoop       // guests ask each other in a circle
	ErrRefused    = partyline.ErrRefused    // a remote handler is asked more than it can answer
	ErrMisrouted  = party.ErrMisrouted      // another route answered a request to a guest
)

// A NoSuchServiceError says that nobody is connected under a service, a HandlerError that a
// guest's handler failed. See [partyline.NoSuchServiceError] and [partyline.HandlerError].
type (
	NoSuchServiceError = partyline.NoSuchServiceError
	HandlerError       = partyline.HandlerError
)

// DefaultParty is the name of a party whose handler leaves it out.
const DefaultParty = party.DefaultParty

// Join returns an operator on a partyline of the config that is being loaded, for a module
// that is not invited. See [party.Join].
func Join(ctx caddy.Context, name, guest string) (*Operator, error) {
	return party.Join(ctx, name, guest)
}

// Lookup returns an operator on a partyline of the running config that asks everyone. See
// [party.Lookup].
func Lookup(name string) (*Operator, bool) { return party.Lookup(name) }

// Parties returns the parties of the running config. See [party.Parties].
func Parties() []PartyInfo { return party.Parties() }

// OperatorFrom returns the operator that an invite carries. See [party.OperatorFrom].
func OperatorFrom(r *http.Request) (*Operator, bool) { return party.OperatorFrom(r) }

// InvitationFrom returns what an invite brings its guest. See [party.InvitationFrom].
func InvitationFrom(r *http.Request) (*Invitation, bool) { return party.InvitationFrom(r) }

// DeliveredTo reports whether a request was sent to that guest by its Invitation. See
// [party.DeliveredTo].
func DeliveredTo(r *http.Request, guest string) bool { return party.DeliveredTo(r, guest) }

// SendInvites sends the invites of a party of the running config again. See
// [party.SendInvites].
func SendInvites(name, guest string) []InviteInfo { return party.SendInvites(name, guest) }

// SendInvitesContext is SendInvites with a context that can end it. See
// [party.SendInvitesContext].
func SendInvitesContext(ctx context.Context, name, guest string) ([]InviteInfo, error) {
	return party.SendInvitesContext(ctx, name, guest)
}

// A party, an invite, what it brings its guest, and what came of it. See the types of these
// names in [party].
type (
	PartyInfo    = party.PartyInfo
	Invite       = party.Invite
	Invitation   = party.Invitation
	InviteInfo   = party.InviteInfo
	InviteResult = party.InviteResult
)

// What becomes of an invite.
const (
	InviteJoined      = party.InviteJoined
	InviteNotAnswered = party.InviteNotAnswered
	InviteRefused     = party.InviteRefused
	InviteFailed      = party.InviteFailed
)

// URLService is the service that guests connect to answer what the URLs of their pages are.
const URLService = party.URLService

// URLRequest is the payload of URLService. See [party.URLRequest].
type URLRequest = party.URLRequest

// ClaimsService is the service that guests connect to say which requests are theirs.
const ClaimsService = party.ClaimsService

// ClaimRequest is the payload of ClaimsService. See [party.ClaimRequest].
type ClaimRequest = party.ClaimRequest

// ClaimRequestOf returns the payload of ClaimsService as a ClaimRequest. See [party.ClaimRequestOf].
func ClaimRequestOf(payload any) (ClaimRequest, error) { return party.ClaimRequestOf(payload) }

// HostsService is the service that guests connect to say which hosts are theirs.
const HostsService = party.HostsService

// URLFor asks around for the URL of a page, and returns the first one that is safe to
// link to. See [party.URLFor].
func URLFor(ctx context.Context, o *Operator, name string, values map[string]any) (string, error) {
	return party.URLFor(ctx, o, name, values)
}

// The other modules: Guest makes an application over HTTP a guest, and Ask is the endpoint where such
// applications ask. ClaimsMatcher matches what guests claim, Permission is for certificates, and
// TemplateFunctions are for pages. App holds a config's parties.
type (
	Guest             = httpguest.Guest
	Ask               = httpask.Ask
	ClaimsMatcher     = claims.Matcher
	Permission        = hosts.Permission
	TemplateFunctions = partytemplates.TemplateFunctions
	App               = party.App
)
