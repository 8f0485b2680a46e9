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
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/wsgiparty/wsgiparty/internal/token"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
)

// storageTimeout bounds how long a config load waits for Caddy's storage, in all, and how long
// anything else does.
const storageTimeout = 2 * time.Second

var errStorageHangs = fmt.Errorf("no answer from Caddy's storage within %v", storageTimeout)

// storageCalls bounds how many calls of storages there are at once: those that hang are not
// waited for, but stay.
var storageCalls = semaphore.NewWeighted(16)

// Storage is Caddy's storage, as far as a party and its guests use it. A storage that does not
// answer keeps nobody waiting for long.
type Storage struct {
	app    *App
	caddys certmagic.Storage
	kept   sync.Map     // of the keys that the config has to nil
	spent  atomic.Int64 // waiting while the config loads
}

// Storage returns that of the config.
func (a *App) Storage() *Storage { return &a.storage }

const storageRoot = "wsgi_party"

// storedName matches the names that StorageKey gives.
var storedName = regexp.MustCompile(`-[0-9a-f]{32}\.json$`)

// StorageKey returns where something of a guest of a party can be stored. The key is readable and, by a hash
// of all that is given, different for each: certmagic makes the same of /a/b and /AB.
func StorageKey(party, guest string, more ...any) string {
	return storageName(party, guest, more) + ".json"
}

// keyStorageKey returns where a guest's key is stored. It is never deleted.
func keyStorageKey(party, guest string) string { return storageName(party, guest, nil) + ".key" }

func storageName(party, guest string, more []any) string {
	hash := sha256.New()
	fmt.Fprintf(hash, "%q %q", party, guest)
	for _, m := range more {
		fmt.Fprintf(hash, " %q", m)
	}
	return path.Join(storageRoot, certmagic.StorageKeys.Safe(party), fmt.Sprintf("%s-%x", certmagic.StorageKeys.Safe(guest), hash.Sum(nil)[:16]))
}

// Keep says that the config has what is stored at a key, or may have. What no config has is
// deleted after 30 days.
func (s *Storage) Keep(key string) { s.kept.Store(key, nil) }

// Load returns what is stored, or fs.ErrNotExist.
func (s *Storage) Load(key string) ([]byte, error) {
	var stored []byte
	err := s.do(func(ctx context.Context, storage certmagic.Storage) (err error) {
		stored, err = storage.Load(ctx, key)
		return err
	})
	if err != nil {
		return nil, err // it may be loading still
	}
	return stored, nil
}

// Store stores a value. The error is context.Canceled if the config has ended.
func (s *Storage) Store(key string, value []byte) error {
	return s.do(func(ctx context.Context, storage certmagic.Storage) error { return storage.Store(ctx, key, value) })
}

// Delete deletes what is stored. The error is context.Canceled if the config has ended.
func (s *Storage) Delete(key string) error {
	return s.do(func(ctx context.Context, storage certmagic.Storage) error { return storage.Delete(ctx, key) })
}

// LoadOrMake loads what is stored, or stores what make returns where there is nothing. It
// is the same for all Caddys that share the storage.
func (s *Storage) LoadOrMake(key string, make func() []byte) ([]byte, error) {
	var stored []byte
	err := s.do(func(ctx context.Context, storage certmagic.Storage) (err error) {
		stored, err = loadOrMake(ctx, storage, key, make)
		return err
	})
	if err != nil {
		return nil, err // it may be loading still
	}
	return stored, nil
}

func loadOrMake(ctx context.Context, storage certmagic.Storage, key string, make func() []byte) ([]byte, error) {
	stored, err := storage.Load(ctx, key)
	if !errors.Is(err, fs.ErrNotExist) {
		return stored, err
	}
	if err := storage.Lock(ctx, key); err != nil {
		return nil, err
	}
	defer func() { _ = storage.Unlock(context.WithoutCancel(ctx), key) }()
	if stored, err = storage.Load(ctx, key); !errors.Is(err, fs.ErrNotExist) { // another Caddy was quicker
		return stored, err
	}
	stored = make()
	return stored, storage.Store(ctx, key, stored)
}

// do calls f with Caddy's storage. It waits for it up to storageTimeout, and while the config
// loads up to that for all calls together. f may go on after that, for not every storage heeds
// its context. The error is context.Canceled if the config has ended.
func (s *Storage) do(f func(context.Context, certmagic.Storage) error) error {
	config, timeout := s.app.events.ctx, storageTimeout
	if !s.app.events.hasStarted() {
		timeout -= time.Duration(s.spent.Load())
		defer func(began time.Time) { s.spent.Add(int64(time.Since(began))) }(time.Now())
	}
	ctx, cancel := context.WithTimeoutCause(config, timeout, errStorageHangs)
	defer cancel()
	if storageCalls.Acquire(ctx, 1) != nil {
		return context.Cause(ctx)
	}
	done := make(chan error, 1)
	go func() {
		defer storageCalls.Release(1)
		var err error
		defer func() {
			if value := recover(); value != nil {
				err = fmt.Errorf("panic in Caddy's storage: %v", value)
			}
			done <- err
		}()
		err = f(ctx, s.caddys)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil && config.Err() != nil {
		return context.Canceled
	}
	return err
}

// A stored manifest that a config has is stored again so often, so that others that share the
// storage see that it is of use, and one that none has is deleted after a while.
const (
	restoreAfter      = 24 * time.Hour
	deleteStoredAfter = 30 * 24 * time.Hour
)

// tidy deletes, once a day, the manifests that no config has had for long.
func (s *Storage) tidy() {
	ticker := time.NewTicker(24 * time.Hour)
	defer ticker.Stop()
	for {
		if err := s.do(s.deleteOld); err != nil && !errors.Is(err, context.Canceled) {
			s.app.logger.Warn("old manifests cannot be deleted from storage", zap.Error(err))
		}
		select {
		case <-ticker.C:
		case <-s.app.events.ctx.Done():
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

var pathKeyName = path.Join(storageRoot, "path.key")

// loadPathKey makes the app use the key in Caddy's storage as soon as it is there.
func (a *App) loadPathKey() {
	stored, err := a.storage.LoadOrMake(pathKeyName, func() []byte {
		key := token.NewPathKey()
		return key.Bytes()
	})
	if err == nil {
		var key token.PathKey
		if key, err = token.ParsePathKey(stored); err != nil {
			err = fmt.Errorf("%w: delete it, and Caddy makes a new one", err)
		} else {
			a.pathKey.Store(&key)
		}
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		a.logger.Warn("the key for the paths of Party-Tokens is not in storage: Caddys that share the storage do not recognize each other's asks", zap.String("key", pathKeyName), zap.Error(err))
	}
}
