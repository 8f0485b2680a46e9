// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"sync"

	"github.com/caddyserver/certmagic"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

// What tests of the package need of it beyond its API.
var ErrStorageHangs = &errStorageHangs
var LoopID = &loopID
var LoopOf = loopOf
var LoopsIn = loopsIn

const MaxLoopHeader = maxLoopHeader

var OriginOf = originOf
var PathKeyName = &pathKeyName
var ProcessID = &processID
var Roots = &roots

func (x *App) AddKeys(a0 string, a1 string, a2 token.Keys) error { return x.addKeys(a0, a1, a2) }

func (x *App) Entries() *map[string]*Entry { return &x.entries }

func (x *App) HostsOf(a0 string) []*Host { return x.hostsOf(a0) }

func (x *Entry) InOrder() []*Host { return x.inOrder() }

func (x *Entry) Origins() *sync.Map { return &x.origins }

func (x *GuestList) Invited() *[]*invited { return &x.invited }

func (x *Host) Guests() *GuestList { return &x.guests }

func (x *Host) Mu() *sync.Mutex { return &x.mu }

func (x *invited) Guest() *string { return &x.guest }

func (x *invited) Sending() **sending { return &x.sending }

func (x *sending) Waiting() *int { return &x.waiting }

func (x Invite) Parse() (*invited, error) { return x.parse() }

func (x InviteResult) Message() string { return x.message() }

func (x *Storage) Do(a0 func(context.Context, certmagic.Storage) error) error { return x.do(a0) }
