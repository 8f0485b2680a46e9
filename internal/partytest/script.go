// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Operator is what guests of tests do with an operator.
type Operator struct {
	Guest     string
	Partyline any
	Connect   func(service string, h Handler) error
	Leave     func()
}

// InvitedFunc is what a guest does with its invite.
type InvitedFunc func(w http.ResponseWriter, r *http.Request, operator *Operator) error

// Script says what a guest does on each invite.
type Script struct {
	mu        sync.Mutex
	operators []*Operator
}

// OnInvites makes `test_app key` do on its first invite what the first function says,
// and so on, and on all that follow what the last one says.
func OnInvites(t testing.TB, key string, does ...InvitedFunc) *Script {
	t.Helper()
	s := new(Script)
	App(t, key, func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		operator, ok := known.invited(r)
		if !ok {
			return next.ServeHTTP(w, r)
		}
		s.mu.Lock()
		do := does[min(len(s.operators), len(does)-1)]
		s.operators = append(s.operators, operator)
		s.mu.Unlock()
		return do(w, r, operator)
	})
	return s
}

// Invites returns how many invites there were.
func (s *Script) Invites() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.operators)
}

// Operator returns that of the invite with that number, from 0, or from -1 backwards.
func (s *Script) Operator(i int) *Operator {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i < 0 {
		i += len(s.operators)
	}
	return s.operators[i]
}

// Connects is a guest that connects a handler under each service, and has joined.
func Connects(answer any, services ...string) InvitedFunc {
	return func(w http.ResponseWriter, _ *http.Request, operator *Operator) error {
		for _, service := range services {
			if err := operator.Connect(service, Answers(answer)); err != nil {
				return err
			}
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// Responds is a guest that connects nothing and answers with that status.
func Responds(status int) InvitedFunc {
	return func(w http.ResponseWriter, _ *http.Request, _ *Operator) error {
		w.WriteHeader(status)
		return nil
	}
}

// FailsWith is a guest that connects nothing and returns that error.
func FailsWith(err error) InvitedFunc {
	return func(http.ResponseWriter, *http.Request, *Operator) error { return err }
}

// BothOf is a guest that does one and then the other.
func BothOf(one, two InvitedFunc) InvitedFunc {
	return func(w http.ResponseWriter, r *http.Request, operator *Operator) error {
		if err := one(w, r, operator); err != nil {
			return err
		}
		return two(w, r, operator)
	}
}

// ErrNoEntry is how a handler of Caddy's refuses.
var ErrNoEntry = caddyhttp.HandlerError{StatusCode: http.StatusForbidden, Err: errors.New("no entry")}

// KeptEvents keeps the events of a config.
type KeptEvents struct {
	mu   sync.Mutex
	seen []string
}

// Handle keeps an event.
func (s *KeptEvents) Handle(_ context.Context, e caddy.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, fmt.Sprint(e.Name(), " ", e.Data["guest"], " ", e.Data["services"]))
	return nil
}

// Events returns them so far.
func (s *KeptEvents) Events() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// KeepEvents makes `test_app events` keep those of parties.
func KeepEvents(t testing.TB) *KeptEvents {
	s := new(KeptEvents)
	OnProvision(t, "events", func(ctx caddy.Context) error {
		loaded, err := ctx.App("events")
		if err != nil {
			return err
		}
		for _, name := range []string{"guest_joined", "guest_left", "invite_refused", "invite_failed", "invite_not_answered"} {
			if err := loaded.(*caddyevents.App).On(name, s); err != nil {
				return err
			}
		}
		return nil
	})
	return s
}
