// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"iter"

	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// replies asks as Operator.Replies does. It says of each guest where it is mounted for
// whoever asks in that context.
func (e *Entry) replies(ctx context.Context, o *Operator, service string, payload any) iter.Seq[wire.Reply] {
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

// value returns what a package keeps for the partyline under a key of a type of its own;
// what make returns, the first time.
func (e *Entry) value(key any, make func() any) any {
	value, ok := e.values.Load(key)
	if !ok {
		value, _ = e.values.LoadOrStore(key, make())
	}
	return value
}
