// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"iter"
	"reflect"

	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// Replies asks as Operator.Replies does. It says of each guest where it is mounted for
// whoever asks in that context. It is experimental.
func (e *Entry) Replies(ctx context.Context, o *Operator, service string, payload any) iter.Seq[wire.Reply] {
	return func(yield func(wire.Reply) bool) {
		for r := range o.Replies(ctx, service, payload) {
			if !yield(wire.Reply{
				Guest:    r.Guest,
				Mount:    e.mountOf(ctx, r.Guest),
				Answer:   r.Answer,
				Err:      r.Err,
				Declined: r.Err == ErrHighAndDry,
				Duration: r.Duration,
			}) {
				return
			}
		}
	}
}

// StateOf returns the T that a package keeps for a party, whose type is the package's own:
// a zero one, the first time. It is experimental.
func StateOf[T any](e *Entry) *T {
	key := reflect.TypeFor[T]()
	state, ok := e.values.Load(key)
	if !ok {
		state, _ = e.values.LoadOrStore(key, new(T))
	}
	return state.(*T)
}
