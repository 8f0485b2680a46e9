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
	"sync"
	"time"

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
	_, known := p.allowed.Get(host)
	replies := make(chan said, len(guests)) // so that nobody has to wait
	for _, guest := range guests {
		go func() { replies <- p.askGuest(ctx, turnsKey{guest, known}, host) }()
	}
	for range guests {
		if s.add(<-replies); s.yes {
			p.allowed.Put(host, struct{}{}, allowedKept)
			return nil
		}
	}
	return p.judge(host, generation, s)
}

func (p *Permission) askGuest(ctx context.Context, key turnsKey, host string) (s said) {
	defer func() {
		if value := recover(); value != nil {
			s.failures = append(s.failures, fmt.Errorf("guest %q: panic: %v", key.guest, value))
		}
	}()
	done, ok := p.turns.take(ctx, key)
	if !ok {
		return said{tooMany: true}
	}
	defer done()
	s = p.hear(p.everyone.Only(key.guest).Replies(ctx, party.HostsService, host))
	for i, err := range s.failures {
		if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
			s.failures[i] = fmt.Errorf("guest %q did not answer in %v", key.guest, askTimeout)
		}
	}
	return s
}

// turns bound how much each guest is asked. A flood of names that nobody has leaves alone those that
// were allowed before, and are to be renewed.
type turns struct{ of sync.Map } // of turnsKey to *turn

type turnsKey struct {
	guest string
	known bool // names, that were allowed before
}

type turn struct {
	rate   *rate.Limiter
	atOnce *semaphore.Weighted
}

// take waits for a turn until ctx ends.
func (t *turns) take(ctx context.Context, key turnsKey) (done func(), ok bool) {
	loaded, found := t.of.Load(key)
	if !found {
		loaded, _ = t.of.LoadOrStore(key, &turn{rate.NewLimiter(namesPerSecond, namesPerSecond), semaphore.NewWeighted(namesAtOnce)})
	}
	mine := loaded.(*turn)
	if !mine.rate.Allow() || mine.atOnce.Acquire(ctx, 1) != nil {
		return nil, false
	}
	return func() { mine.atOnce.Release(1) }, true
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
