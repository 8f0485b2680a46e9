// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"

	"golang.org/x/sync/semaphore"

	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// askingGuest is a guest that asks.
type askingGuest struct {
	entry    *Entry
	operator *Operator
}

// maxUnderWay is how many handlers of applications may be called at once for what one
// guest asks, in all its requests together. Each call takes memory, also while it waits for
// its turn, and a short list of asks can lead to very many.
const maxUnderWay = 4096

// underWay is the key of the semaphore that a partyline keeps for a guest.
type underWay struct{ guest string }

// begin waits until an ask may be begun, and returns a function to be called when it has
// ended.
func (a *askingGuest) begin(ctx context.Context, service string, payload any) (done func(), err error) {
	n := int64(min(a.entry.remoteCalls(service, payload), maxUnderWay))
	if n == 0 {
		return func() {}, nil
	}
	calls := a.entry.value(underWay{a.operator.Guest()}, func() any { return semaphore.NewWeighted(maxUnderWay) }).(*semaphore.Weighted)
	if err := calls.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return func() { calls.Release(n) }, nil
}

// ask writes what comes of an ask.
func (a *askingGuest) ask(ctx context.Context, w *wire.Writer, ask wire.Ask) ([][]byte, error) {
	w.Given = nil
	if ask.Service == URLService { // where the asker may be asked for a URL itself
		w.Given = rootOf(ctx).give
	}
	return w.Ask(a.entry.replies(ctx, a.operator, ask.Service, ask.Payload), ask.First)
}
