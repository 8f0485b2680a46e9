// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"

	"github.com/wsgiparty/wsgiparty/partyline"
)

// A Partyline is a switchboard: guests connect handlers under the names of services, and
// ask each other's handlers. Its methods are those of [partyline.Partyline].
type Partyline = partyline.Partyline

// Options configure a Partyline. Its fields are those of [partyline.Options].
type Options = partyline.Options

// NewPartyline returns a partyline with nobody on it. The name is only a label.
func NewPartyline(name string, opts Options) *Partyline { return partyline.NewPartyline(name, opts) }

// An Operator is a guest's handle on the partyline: it connects, asks around and leaves. Its methods are those of
// [partyline.Operator].
type Operator = partyline.Operator

// A Handler answers what a guest is asked under a service. See [partyline.Handler].
type Handler = partyline.Handler

// A Reply is what one handler made of an ask. Its fields are those of [partyline.Reply].
type Reply = partyline.Reply

// GuestInfo is what a partyline knows of a guest. Its fields are those of
// [partyline.GuestInfo].
type GuestInfo = partyline.GuestInfo

// AskCount, ReplyCount and Durations are what [partyline.Partyline.Counts] returns.
type (
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

// PayloadAs returns a handler's payload as a T. See [partyline.PayloadAs].
func PayloadAs[T any](payload any) (T, error) { return partyline.PayloadAs[T](payload) }

// The errors of a partyline. Each is what it is in [partyline].
var (
	ErrPartyline  = partyline.ErrPartyline  // what all errors of a partyline are
	ErrHighAndDry = partyline.ErrHighAndDry // a handler declines
	ErrLeft       = partyline.ErrLeft       // the operator has left
	ErrLoop       = partyline.ErrLoop       // guests ask each other in a circle
	ErrRefused    = partyline.ErrRefused    // a remote handler is asked more than it can answer
)

// NoSuchServiceError says that nobody is connected under a service.
type NoSuchServiceError = partyline.NoSuchServiceError

// HandlerError says that a guest's handler failed.
type HandlerError = partyline.HandlerError
