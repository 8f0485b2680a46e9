// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Asking guests that are asked outside this process: each by itself, so that none has to wait for
// another, and none is asked too much.

package hosts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/lru"
	"github.com/wsgiparty/wsgiparty/party"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
)

const (
	namesPerSecond = 64 // for which a guest is asked
	namesAtOnce    = 8
)

// askRemote asks those guests, all at once, until one says yes.
func (p *Permission) askRemote(deadline time.Time, host string, generation uint32, guests []string, s said) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("%s: panic: %v", host, value)
		}
	}()
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	replies := make(chan said, len(guests)) // so that nobody has to wait
	for _, guest := range guests {
		go func() { replies <- p.askGuest(ctx, guest, host) }()
	}
	for range guests {
		if s.add(<-replies); s.yes {
			return nil
		}
	}
	return p.judge(host, generation, s)
}

func (p *Permission) askGuest(ctx context.Context, guest, host string) (s said) {
	defer func() {
		if value := recover(); value != nil {
			s.failures = append(s.failures, fmt.Errorf("guest %q: panic: %v", guest, value))
		}
	}()
	load, found := p.loads.Load(guest)
	if !found {
		load, _ = p.loads.LoadOrStore(guest, newLoad())
	}
	l := load.(*guestLoad)
	done, ok := l.take(ctx, host)
	if !ok {
		return said{tooMany: true}
	}
	defer done()
	s = p.hear(p.everyone.Only(guest).Replies(ctx, party.HostsService, host))
	if s.yes {
		l.allowed.Put(host, struct{}{}, allowedKept)
	}
	for i, err := range s.failures {
		if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
			s.failures[i] = fmt.Errorf("guest %q did not answer in %v", guest, askTimeout)
		}
	}
	return s
}

// guestLoad bounds how much a guest is asked. A flood of names that it does not have leaves alone
// those that it has allowed before, and that are to be renewed.
type guestLoad struct {
	allowed    *lru.Cache[string, struct{}]
	known, new turns
}

func newLoad() *guestLoad {
	return &guestLoad{lru.New[string, struct{}](maxKept), newTurns(), newTurns()}
}

// take waits for a turn until ctx ends.
func (l *guestLoad) take(ctx context.Context, host string) (done func(), ok bool) {
	t := &l.new
	if _, known := l.allowed.Get(host); known {
		t = &l.known
	}
	if !t.rate.Allow() || t.atOnce.Acquire(ctx, 1) != nil {
		return nil, false
	}
	return func() { t.atOnce.Release(1) }, true
}

type turns struct {
	rate   *rate.Limiter
	atOnce *semaphore.Weighted
}

func newTurns() turns {
	return turns{rate.NewLimiter(namesPerSecond, namesPerSecond), semaphore.NewWeighted(namesAtOnce)}
}

func isTrue(answer any) bool {
	switch answer := answer.(type) {
	case bool:
		return answer
	case json.RawMessage:
		return string(bytes.TrimSpace(answer)) == "true"
	}
	return false
}

// is reports whether an error is, or wraps, one of that type.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
