// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/wsgiparty/wsgiparty/internal/manifest"
)

// storageTimeout bounds how long a config load waits for Caddy's storage, in all, and
// how long anything else does.
const storageTimeout = 2 * time.Second

var errStorageHangs = fmt.Errorf("no answer from Caddy's storage within %v", storageTimeout)

// storageCalls bounds how many calls of storages there are at once: those that hang are
// not waited for, but stay.
var storageCalls = semaphore.NewWeighted(16)

// storageTime is what is left of storageTimeout while a config loads.
type storageTime struct {
	mu    sync.Mutex
	spent time.Duration
}

func (s *storageTime) left() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return storageTimeout - s.spent
}

func (s *storageTime) spend(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spent += d
}

// fromStorage returns what f makes of Caddy's storage. It waits for it up to
// storageTimeout, and while the config loads up to that for all calls together. f may
// go on after that, for not every storage heeds its context.
func fromStorage[T any](a *App, f func(context.Context, certmagic.Storage) (T, error)) (T, error) {
	var none T
	timeout := storageTimeout
	if !a.events.hasStarted() {
		timeout = a.storageTime.left()
		defer func(began time.Time) { a.storageTime.spend(time.Since(began)) }(time.Now())
	}
	ctx, cancel := context.WithTimeoutCause(a.events.ctx, timeout, errStorageHangs)
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
		o.result, o.err = f(ctx, a.storage)
	}()
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

// storageKey is where the application's manifest is stored. It is readable and, by the
// hash, different for each: Safe makes the same of /a/b and /AB. Another project on
// this machine may have the same names, but not the same surroundings.
func (k manifestKey) storageKey(surroundings []string) string {
	hash := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", k.party, k.guest, k.uri, surroundings))
	return path.Join(storageRoot, certmagic.StorageKeys.Safe(k.party), fmt.Sprintf("%s-%x.json", certmagic.StorageKeys.Safe(k.guest), hash[:16]))
}

const storageRoot = "wsgi_party"

// storedName matches the names that storageKey gives.
var storedName = regexp.MustCompile(`-[0-9a-f]{32}\.json$`)

// surroundings are the addresses of the server that the guest is in, and the upstreams
// of the application as far as they are in the config.
func (v *visit) surroundings() []string {
	addresses := slices.Sorted(slices.Values(v.invitation.host.server.Listen))
	var upstreams []string
	for _, proxy := range v.Guest.host.ProxiesBehind(v.Guest) {
		for _, upstream := range proxy.Upstreams {
			upstreams = append(upstreams, upstream.Dial)
		}
	}
	slices.Sort(upstreams)
	return append(append(addresses, "->"), upstreams...)
}

// storedManifest is the JSON in the storage.
type storedManifest struct {
	Fetched  time.Time       `json:"fetched"`
	Manifest json.RawMessage `json:"manifest"`
}

// A stored manifest that a config has is stored again so often, so that others that share
// the storage see that it is of use, and one that none has is deleted after a while.
const (
	restoreAfter      = 24 * time.Hour
	deleteStoredAfter = 30 * 24 * time.Hour
)

// stored returns the manifest in Caddy's storage, nil if there is none.
func (f *fetching) stored() *lastManifest {
	last, err := fromStorage(f.app, func(ctx context.Context, storage certmagic.Storage) (*lastManifest, error) {
		encoded, err := storage.Load(ctx, f.storage)
		if err != nil {
			return nil, err
		}
		var stored storedManifest
		if err := json.Unmarshal(encoded, &stored); err != nil {
			return nil, err
		}
		m, err := manifest.Parse(stored.Manifest)
		if err != nil {
			return nil, err
		}
		return &lastManifest{manifest: m, fetched: stored.Fetched, stored: f.storage}, nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.logger.Warn("the guest's last manifest cannot be read from storage", zap.String("party", f.key.party), zap.String("guest", f.guest()), zap.Error(err))
	}
	return last
}

// store stores the last good manifest. If that fails, it is tried again when the
// application is next asked for it.
func (f *fetching) store() {
	last := *f.last
	encoded, err := last.manifest.MarshalJSON() // json.Marshal would make it longer
	if err == nil {
		encoded = fmt.Appendf(nil, `{"fetched":%q,"manifest":%s}`, last.fetched.UTC().Format(time.RFC3339), encoded)
		_, err = fromStorage(f.app, func(ctx context.Context, storage certmagic.Storage) (struct{}, error) {
			return struct{}{}, storage.Store(ctx, f.storage, encoded)
		})
	}
	if err != nil {
		if f.unstored || f.app.events.ctx.Err() != nil {
			return // it has been told, or is the next config's to tell
		}
		f.unstored = true
		f.logger.Warn("the guest's manifest cannot be stored", zap.String("party", f.key.party), zap.String("guest", f.guest()), zap.Error(err), zap.String("hint", "it is tried again when the application is next asked for it; until then Caddy must not be restarted while the application is down"))
		return
	}
	last.stored, f.unstored = f.storage, false
	f.keep(&last)
}

func (f *fetching) forget() {
	_, err := fromStorage(f.app, func(ctx context.Context, storage certmagic.Storage) (struct{}, error) {
		return struct{}{}, storage.Delete(ctx, f.storage)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.logger.Warn("the guest's manifest cannot be deleted from storage", zap.String("party", f.key.party), zap.String("guest", f.guest()), zap.Error(err))
	}
}

// tidyStorage deletes, once a day, the manifests that no config has had for long.
func (a *App) tidyStorage() {
	for {
		_, err := fromStorage(a, func(ctx context.Context, storage certmagic.Storage) (struct{}, error) {
			return struct{}{}, a.deleteOld(ctx, storage)
		})
		if err != nil && a.events.ctx.Err() == nil {
			a.logger.Warn("old manifests cannot be deleted from storage", zap.Error(err))
		}
		timer := time.NewTimer(24 * time.Hour)
		select {
		case <-timer.C:
		case <-a.events.ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (a *App) deleteOld(ctx context.Context, storage certmagic.Storage) error {
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
		if _, ours := a.stored.Load(key); ours && age > restoreAfter {
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
