// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/reservedheader"
	"github.com/wsgiparty/wsgiparty/internal/token"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// processPathKey is what paths are signed with until the key in Caddy's storage, which
// Caddys share, is there, and for good where it cannot be had.
var processPathKey = token.NewPathKey()

// SignPath signs the path of a token that the guest is sent with an ask, whose context that
// is. It is experimental.
func (i *Invitation) SignPath(ctx context.Context, t *token.Token, now time.Time) {
	key := processPathKey
	if stored := i.host.app.pathKey.Load(); stored != nil {
		key = *stored
	}
	t.Root = rootOf(ctx).ID()
	key.Sign(t, i.host.name, now)
}

// signed reports whether Caddy signed the path of the token.
func (a *App) signed(t token.Token, party string, now time.Time) bool {
	if processPathKey.Signed(t, party, now) {
		return true
	}
	stored := a.pathKey.Load()
	return stored != nil && stored.Signed(t, party, now)
}

// AskContext returns the context in which a guest with those keys asks by a request from
// outside the process: that of the request, which knows, if the guest hands its
// Party-Token back, which asks led to it, and which prefix they had. It is to be ended
// when what the guest asks has been answered. An error is token.ErrTooDeep, or says what
// is wrong with the token. It is experimental.
func (e *Entry) AskContext(r *http.Request, guest string, keys token.Keys) (ctx context.Context, end func(), err error) {
	ctx = askedByGuest(r)
	ctx, end, err = e.withPathOf(ctx, r.Header.Get(reservedheader.Token), guest, keys)
	return e.app.withPrefixOf(ctx, e, guest, r.Header.Get(reservedheader.Prefix)), end, err
}

// withPathOf returns the context that knows which asks the token says led here.
func (e *Entry) withPathOf(ctx context.Context, text, guest string, keys token.Keys) (_ context.Context, end func(), err error) {
	end = func() {}
	if text == "" {
		return ctx, end, nil
	}
	now := time.Now()
	t, err := keys.Verify(guest, text, now)
	if err != nil {
		return ctx, end, err
	}
	if len(t.Path) == 0 || !e.app.signed(t, e.Name(), now) {
		return ctx, end, nil // what a guest says itself is no path
	}
	if len(t.Path) >= token.MaxPath {
		return ctx, end, token.ErrTooDeep
	}
	if nested, end, ok := withPath(ctx, e.Partyline, t.Path, t.Root); ok {
		return nested, end, nil
	}
	return ctx, end, nil
}

// Ask asks as Operator.Replies does, and returns what comes of it as the writer's JSON, in
// parts. It is experimental.
func (e *Entry) Ask(ctx context.Context, w *wire.Writer, o *partyline.Operator, ask wire.Ask) (_ [][]byte, err error) {
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
		if answered && in != nil {
			in.give(r.Answer)
		}
		if answered && ask.First {
			break
		}
	}
	return w.End(), nil
}

// Reply returns a guest's reply, with where the guest is mounted for whoever asks in that
// context. It is experimental.
func (e *Entry) Reply(ctx context.Context, r partyline.Reply) wire.Reply {
	return wire.Reply{
		Guest:    r.Guest,
		Mount:    e.mountOf(ctx, r.Guest),
		Answer:   r.Answer,
		Err:      r.Err,
		Declined: r.Err == partyline.ErrHighAndDry,
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

// GaveURL reports whether the URL was given to somebody who asked for one in the same
// call, and who may answer with it. It is experimental.
func GaveURL(ctx context.Context, url string) bool { return rootOf(ctx).gave(url) }
