// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Requests that wait for answers.

package gather

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// document returns the document, and waits if a guest is asked of whom nothing is known.
func (s *set) document(ctx context.Context, q *question) (*document, error) {
	w := waiting{most: 3}
	defer w.end(s)
	for {
		now, current := time.Now(), line{q.entry, q.entry.Changes()}
		if documents := s.documents.Load(); documents != nil {
			d := (*documents)[documentKey{q.note, q.origin}]
			if d != nil && d.line == current && (now.Before(d.fresh) && !s.changed.Load() || (s.asking.Load() || s.building.Load()) && now.Before(d.usable)) {
				return d.document, nil
			}
		}
		if d := s.renew(q, now, current, &w); d != nil {
			return d, nil
		}
		if partyline.Depth(ctx) > 0 { // whoever is waited for may be waiting for this
			return s.askWithin(ctx, q), nil
		}
		if err := w.wait(ctx, s); err != nil {
			return nil, err
		}
	}
}

// waiting is a request's for answers.
type waiting struct {
	most    int             // times
	flight  <-chan struct{} // nil: for a turn to ask
	enough  bool            // there is something to serve meanwhile
	landed  bool            // what was waited for has come
	hasTurn bool
	timer   *time.Timer
}

// patience is how long a request waits for a guest, where others have answered.
const patience = 5 * time.Second

func (w *waiting) wait(ctx context.Context, s *set) error {
	w.most--
	if w.timer == nil {
		w.timer = time.NewTimer(askTimeout)
		if w.enough {
			w.timer.Reset(patience)
		}
	}
	var turn chan struct{}
	if w.flight == nil {
		turn = s.gathering.turns
	}
	select {
	case <-w.flight:
		w.landed = true
	case turn <- struct{}{}:
		w.hasTurn = true
	case <-w.timer.C:
		w.most = 0
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// takeTurn returns whether it is the request's turn to have guests asked.
func (w *waiting) takeTurn(s *set) bool {
	if w.hasTurn {
		w.hasTurn = false
		return true
	}
	select {
	case s.gathering.turns <- struct{}{}:
		return true
	default:
		return false
	}
}

func (w *waiting) end(s *set) {
	if w.hasTurn {
		<-s.gathering.turns
	}
	if w.timer != nil {
		w.timer.Stop()
	}
}

// askWithin returns a document for whoever asks while being asked. It asks itself whoever has no answer yet, and keeps nothing. If this
// service has led here, nobody is asked: the document would be made of itself.
func (s *set) askWithin(ctx context.Context, q *question) *document {
	s.mu.Lock()
	all := s.all
	kept, missing := make(map[string]*result), []string(nil)
	for _, g := range all.guests {
		if k := s.guests[g.name]; k != nil && k.has() {
			kept[g.name] = &result{answers: k.last.answers}
		} else if g.connected && !slices.ContainsFunc(partyline.PathOf(ctx, q.entry.Partyline), func(step partyline.Step) bool { return step.Service == q.Service }) {
			missing = append(missing, g.name)
		}
	}
	s.mu.Unlock()
	if len(missing) > 0 {
		maps.Copy(kept, q.collect(missing).ask(party.ForwardOnly(ctx, q.Forward)))
	}
	return q.build(ctx, all, func(name string) *result { return kept[name] })
}
