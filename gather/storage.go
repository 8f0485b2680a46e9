// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Last good answers in Caddy's storage, for the next start.

package gather

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"go.uber.org/zap"
)

const maxStored = 1 << 20 // bytes of what one guest answers

// storedAnswers are in storage as JSON.
type storedAnswers struct {
	Asked   time.Time         `json:"asked"`
	Answers []json.RawMessage `json:"answers"`
}

func (s *set) storageKey(guest string) string {
	k := s.gathering.key
	return party.StorageKey(k.party, guest, "gather", k.service, k.as, k.payload, k.rebase)
}

// load takes the guests' answers from storage, all at once, since a storage may be slow.
func (s *set) load(q *question, guests []string, now time.Time) {
	all := make([]storedAnswers, len(guests))
	var group sync.WaitGroup
	for i, guest := range guests {
		group.Go(func() {
			defer func() {
				if value := recover(); value != nil {
					all[i] = storedAnswers{}
					q.logger.Error("panic while a document is gathered", zap.String("party", q.Party), zap.String("service", q.Service), zap.Any("panic", value))
				}
			}()
			all[i] = s.loadOne(q, guest)
		})
	}
	group.Wait()
	for i, stored := range all {
		age := max(0, time.Since(stored.Asked)) // by the wall clock, which may have been set back
		if stored.Asked.IsZero() || age >= s.gathering.fresh+s.gathering.stale {
			continue
		}
		q.entry.Storage().Keep(s.storageKey(guests[i]))
		k := s.guests[guests[i]]
		k.last.answers, k.got = stored.Answers, now.Add(-age)
		k.tried, k.stored = k.got, k.got
		s.version++
	}
}

// loadOne returns what is stored of a guest, nothing if it cannot be used.
func (s *set) loadOne(q *question, guest string) (stored storedAnswers) {
	encoded, err := q.entry.Storage().Load(s.storageKey(guest))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, context.Canceled) {
		return storedAnswers{}
	}
	if err == nil {
		err = json.Unmarshal(encoded, &stored)
	}
	for i, answer := range stored.Answers {
		if err == nil {
			stored.Answers[i], err = normal(answer)
		}
	}
	if err == nil && len(stored.Answers) > 0 {
		err = q.check(s.ctx, guest, stored.Answers)
	}
	if err != nil {
		q.logger.Warn("the guest's last answer cannot be read from storage", zap.String("party", q.Party), zap.String("guest", guest), zap.String("service", q.Service), zap.Error(err))
		return storedAnswers{}
	}
	return stored
}

// store stores what these guests have answered, if that is something else than what is stored, or that is getting old.
func (s *set) store(q *question, guests []string) {
	for _, guest := range guests {
		s.mu.Lock()
		k := s.guests[guest]
		if k == nil || !k.has() || k.last.size() > maxStored || !k.stored.IsZero() && k.got.Sub(k.stored) < max(s.gathering.stale/4, time.Minute) {
			s.mu.Unlock()
			continue
		}
		got := k.got
		encoded, err := wire.Encode(storedAnswers{time.Now().Add(-time.Since(got)).UTC().Truncate(time.Second), k.last.answers})
		s.mu.Unlock()
		if err == nil {
			key := s.storageKey(guest)
			q.entry.Storage().Keep(key)
			err = q.entry.Storage().Store(key, encoded)
		}
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				q.logger.Warn("the guest's last answer cannot be stored", zap.String("party", q.Party), zap.String("guest", guest), zap.String("service", q.Service), zap.Error(fmt.Errorf("%w; Caddy tries again with its next answer", err)))
			}
			return
		}
		s.mu.Lock()
		k.stored = got
		s.mu.Unlock()
	}
}
