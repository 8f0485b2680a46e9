// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"reflect"

	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// Ask asks as Operator.Replies does, and returns what comes of it as the writer's JSON, in
// parts. It is experimental.
func (e *Entry) Ask(ctx context.Context, w *wire.Writer, o *Operator, ask wire.Ask) (_ [][]byte, err error) {
	if err := w.Begin(ask.First); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.Undo()
		}
	}()
	var in *root // where the asker may be asked for a URL itself
	if ask.Service == URLService {
		in = rootOf(ctx)
	}
	for r := range o.Replies(ctx, ask.Service, ask.Payload) {
		if r.Guest == "" {
			return nil, r.Err
		}
		answered, err := w.Reply(e.Reply(ctx, r))
		if err != nil {
			return nil, err
		}
		if answered {
			in.give(r.Answer)
			if ask.First {
				break
			}
		}
	}
	return w.End(), nil
}

// Reply returns a guest's reply, with where the guest is mounted for whoever asks in that
// context. It is experimental.
func (e *Entry) Reply(ctx context.Context, r Reply) wire.Reply {
	return wire.Reply{
		Guest:    r.Guest,
		Mount:    e.mountOf(ctx, r.Guest),
		Answer:   r.Answer,
		Err:      r.Err,
		Declined: r.Err == ErrHighAndDry,
		Duration: r.Duration,
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
