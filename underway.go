// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// maxUnderWay is how many handlers of applications may be called at once for what one
// guest asks, in all its requests together. Each call takes memory, also while it waits for
// its turn, and a short list of asks can lead to very many.
const maxUnderWay = 4096

// underWay is what a party's guests ask for: semaphores by the guest.
type underWay struct{ sync.Map }

func (u *underWay) of(guest string) *semaphore.Weighted {
	calls, ok := u.Load(guest)
	if !ok {
		calls, _ = u.LoadOrStore(guest, semaphore.NewWeighted(maxUnderWay))
	}
	return calls.(*semaphore.Weighted)
}

// begin waits until an ask may be begun, and returns a function to be called when it has
// ended.
func (a *Ask) begin(ctx context.Context, o *Operator, ask wire.Ask) (done func(), err error) {
	n := int64(min(a.entry.RemoteHandlers(ask.Service, ask.Payload), maxUnderWay))
	if n == 0 {
		return func() {}, nil
	}
	calls := StateOf[underWay](a.entry).of(o.Guest())
	if err := calls.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return func() { calls.Release(n) }, nil
}
