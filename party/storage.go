// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
)

// storageTimeout bounds how long a config load waits for Caddy's storage, in all, and
// how long anything else does.
const storageTimeout = 2 * time.Second

var errStorageHangs = fmt.Errorf("no answer from Caddy's storage within %v", storageTimeout)

// storageCalls bounds how many calls of storages there are at once: those that hang are
// not waited for, but stay.
var storageCalls = semaphore.NewWeighted(16)

// Storage is Caddy's storage, as far as a party and its guests use it. A storage that does
// not answer keeps nobody waiting for long. It is experimental.
type Storage struct {
	app    *App
	caddys certmagic.Storage
	kept   sync.Map // of the keys that the config has to nil

	mu    sync.Mutex
	spent time.Duration // waiting while the config loads
}

// Storage returns that of the config. It is experimental.
func (a *App) Storage() *Storage { return &a.storage }

// StorageKey returns where something of a guest of a party can be stored. The key is
// readable and, by a hash of all that is given, different for each: certmagic makes the same
// of /a/b and /AB. It is experimental.
func StorageKey(party, guest string, more ...any) string {
	hash := sha256.New()
	fmt.Fprintf(hash, "%q %q", party, guest)
	for _, m := range more {
		fmt.Fprintf(hash, " %q", m)
	}
	return path.Join(storageRoot, certmagic.StorageKeys.Safe(party), fmt.Sprintf("%s-%x.json", certmagic.StorageKeys.Safe(guest), hash.Sum(nil)[:16]))
}

const storageRoot = "wsgi_party"

// storedName matches the names that StorageKey gives.
var storedName = regexp.MustCompile(`-[0-9a-f]{32}\.json$`)

// Keep says that the config has what is stored at a key, or may have. What no config has is
// deleted after 30 days. It is experimental.
func (s *Storage) Keep(key string) { s.kept.Store(key, nil) }

// Load returns what is stored, or fs.ErrNotExist. It is experimental.
func (s *Storage) Load(key string) ([]byte, error) {
	return fromStorage(s, func(ctx context.Context, storage certmagic.Storage) ([]byte, error) { return storage.Load(ctx, key) })
}

// Store stores a value. The error is context.Canceled if the config has ended. It is
// experimental.
func (s *Storage) Store(key string, value []byte) error {
	return s.do(func(ctx context.Context, storage certmagic.Storage) error { return storage.Store(ctx, key, value) })
}

// Delete deletes what is stored. It is experimental.
func (s *Storage) Delete(key string) error {
	return s.do(func(ctx context.Context, storage certmagic.Storage) error { return storage.Delete(ctx, key) })
}

// do is fromStorage for what only may fail.
func (s *Storage) do(f func(context.Context, certmagic.Storage) error) error {
	_, err := fromStorage(s, func(ctx context.Context, storage certmagic.Storage) (struct{}, error) {
		return struct{}{}, f(ctx, storage)
	})
	if err != nil && s.app.events.ctx.Err() != nil {
		return context.Canceled
	}
	return err
}

func (s *Storage) left() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return storageTimeout - s.spent
}

func (s *Storage) spend(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spent += d
}

// fromStorage returns what f makes of Caddy's storage. It waits for it up to
// storageTimeout, and while the config loads up to that for all calls together. f may
// go on after that, for not every storage heeds its context.
func fromStorage[T any](s *Storage, f func(context.Context, certmagic.Storage) (T, error)) (T, error) {
	var none T
	timeout := storageTimeout
	if !s.app.events.hasStarted() {
		timeout = s.left()
		defer func(began time.Time) { s.spend(time.Since(began)) }(time.Now())
	}
	ctx, cancel := context.WithTimeoutCause(s.app.events.ctx, timeout, errStorageHangs)
	defer cancel()
	if storageCalls.Acquire(ctx, 1) != nil {
		return none, context.Cause(ctx)
	}
	type outcome struct {
		result T
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		defer storageCalls.Release(1)
		var o outcome
		defer func() {
			if value := recover(); value != nil {
				o.err = fmt.Errorf("panic in Caddy's storage: %v", value)
			}
			done <- o
		}()
		o.result, o.err = f(ctx, s.caddys)
	}()
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

// A stored manifest that a config has is stored again so often, so that others that share
// the storage see that it is of use, and one that none has is deleted after a while.
const (
	restoreAfter      = 24 * time.Hour
	deleteStoredAfter = 30 * 24 * time.Hour
)

// tidy deletes, once a day, the manifests that no config has had for long.
func (s *Storage) tidy() {
	for {
		if err := s.do(s.deleteOld); err != nil && !errors.Is(err, context.Canceled) {
			s.app.logger.Warn("old manifests cannot be deleted from storage", zap.Error(err))
		}
		timer := time.NewTimer(24 * time.Hour)
		select {
		case <-timer.C:
		case <-s.app.events.ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (s *Storage) deleteOld(ctx context.Context, storage certmagic.Storage) error {
	keys, err := storage.List(ctx, storageRoot, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, key := range keys {
		if !storedName.MatchString(key) {
			continue
		}
		info, statErr := storage.Stat(ctx, key)
		if statErr != nil || info.Modified.IsZero() {
			continue // somebody else has just deleted it, or the storage does not know
		}
		age := time.Since(info.Modified)
		if _, ours := s.kept.Load(key); ours && age > restoreAfter {
			stored, loadErr := storage.Load(ctx, key)
			if loadErr == nil {
				loadErr = storage.Store(ctx, key, stored)
			}
			err = errors.Join(err, loadErr)
		} else if !ours && age > deleteStoredAfter {
			err = errors.Join(err, storage.Delete(ctx, key))
		}
	}
	return err
}
