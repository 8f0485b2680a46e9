// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Guests that are asked behind requests.

package gather

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// ask has these guests asked, behind whoever waits for the flight.
func (s *set) ask(q *question, due []string, now time.Time) {
	tried := make(map[string]time.Time, len(due))
	for _, name := range due {
		k := s.guests[name]
		tried[name] = k.tried
		k.asking, k.tried = true, now
	}
	s.flight = make(chan struct{})
	s.asking.Store(true)
	q = &question{Gather: q.Gather, payload: q.payload, origin: q.origin}
	go s.fly(q, due, tried)
}

// fly asks guests. One that is slow lands when it has answered, and does not keep others from being asked again.
func (s *set) fly(q *question, due []string, tried map[string]time.Time) {
	ctx, cancel := context.WithTimeoutCause(s.ctx, askTimeout, fmt.Errorf("it took longer than %v", askTimeout))
	defer cancel()
	c := q.collect(due)
	c.late = func(guest string, r *result) { s.land(q, []string{guest}, map[string]*result{guest: r}, tried, false) }
	func() {
		defer func() {
			if value := recover(); value != nil {
				q.logger.Error("panic while a document is gathered", zap.String("party", q.Party), zap.String("service", q.Service), zap.Any("panic", value))
			}
		}()
		c.ask(ctx)
	}()
	onTime := slices.DeleteFunc(slices.Clone(due), func(guest string) bool { r, came := c.results[guest]; return came && r == nil })
	release := sync.OnceFunc(func() { <-s.gathering.turns })
	defer release()
	select {
	case s.gathering.late <- struct{}{}:
		defer func() { <-s.gathering.late }()
		release()
	default: // too many are late
		if len(onTime) == len(due) {
			release()
		}
	}
	s.land(q, onTime, c.results, tried, true)
	c.lates.Wait()
}

// land takes down what came of asking these guests. If the flight ends with it, those that are still being asked are late.
func (s *set) land(q *question, guests []string, results map[string]*result, tried map[string]time.Time, ends bool) {
	s.mu.Lock()
	s.fit(q, results)
	version := s.version
	var write []string
	for _, g := range guests {
		k := s.guests[g]
		if k == nil {
			continue // it has gone
		}
		k.asking = false
		r := results[g]
		if r == nil {
			r = &result{err: errNotAsked}
		}
		if r.err != nil && q.entry.Ended() {
			k.tried = tried[g] // nobody knows what it would have answered
			continue
		}
		if r.err != nil {
			k.fail(q, g, r.err)
			continue
		}
		if !k.has() || !sameAnswers(k.last.answers, r.answers) {
			s.version++
			k.stored = time.Time{}
		}
		k.last, k.got, k.failed = *r, time.Now(), false
		write = append(write, g)
	}
	if s.version != version {
		s.changed.Store(true) // the next request has another document made, whatever time its own had
	}
	if ends {
		for _, k := range s.guests {
			k.late = k.asking
		}
		close(s.flight)
		s.flight, s.landed = nil, time.Now()
		s.asking.Store(false)
	}
	s.resized()
	s.mu.Unlock()
	if s.stored {
		s.store(q, write)
	}
}

// tooLong returns of whom no more may be known, with these results.
func (s *set) tooLong(results map[string]*result) []string {
	var guests []string
	for _, g := range s.all.guests {
		guests = append(guests, g.name)
	}
	return tooLong(guests, func(guest string) int {
		if r := results[guest]; r != nil && r.err == nil {
			return r.size()
		}
		return s.guests[guest].last.size()
	}, s.gathering.maxResponse)
}

// fit has no more be known of the guests than has room, with these results.
func (s *set) fit(q *question, results map[string]*result) {
	for {
		out := s.tooLong(results)
		if len(out) == 0 {
			return
		}
		for _, guest := range out {
			if r := results[guest]; r != nil && r.err == nil {
				results[guest] = &result{err: q.noRoom()}
				continue
			}
			s.forget(s.guests[guest])
			s.guests[guest].fail(q, guest, q.noRoom())
		}
	}
}

var errNotAsked = errors.New("it could not be asked")

func sameAnswers(a, b []json.RawMessage) bool {
	return slices.EqualFunc(a, b, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) })
}
