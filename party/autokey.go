// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The keys that Caddy makes for guests: one for a guest, in Caddy's storage, and in a file for
// its application.

package party

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/keyfile"
	"github.com/wsgiparty/wsgiparty/internal/token"
	"go.uber.org/zap"
)

// KeyFile is the file with a guest's key, and who may read it.
type KeyFile = keyfile.File

// autoKey is a key of a config that Caddy makes.
type autoKey struct {
	app          *App
	party, guest string
	file         KeyFile
	stored       string // the key in the storage
	logger       *zap.Logger

	mu       sync.Mutex
	keys     token.Keys    // zero until it is known
	awaiting []*Invitation // whose guest's it is to be when it is known
	prepared *keyfile.Prepared
}

// MakeKey has Caddy make a key for the guest, if there is none yet in its storage, and write it into a
// file, when the config starts. An empty path is that of a file in Caddy's data.
func (i *Invitation) MakeKey(file KeyFile) error {
	a := i.host.app
	k, err := a.autoKey(i.host.name, i.invited.guest, file)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys.IsZero() {
		stored, err := a.storage.Load(k.stored)
		if err == nil {
			k.keys, err = k.parse(string(stored))
		}
		if bad, ok := errors.AsType[*storedKeyError](err); ok {
			return bad
		}
		k.awaiting = append(k.awaiting, i) // Start tells what else went wrong
	}
	if k.keys.IsZero() {
		return nil
	}
	return i.SetKeys(k.keys)
}

// autoKey returns that of a guest with that file, a new one if there is none yet.
func (a *App) autoKey(party, guest string, file KeyFile) (*autoKey, error) {
	if file.Path == "" {
		file.Path = keyfile.Default(filepath.Join(caddy.AppDataDir(), "keys"), party, guest)
	}
	path, err := filepath.Abs(file.Path)
	if err != nil {
		return nil, err
	}
	file.Path, file.Mode = path, cmp.Or(file.Mode, keyfile.DefaultMode)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.autoKeys {
		switch {
		case !strings.EqualFold(k.file.Path, file.Path): // some systems know no case
		case k.party != party || k.guest != guest:
			return nil, fmt.Errorf("key auto: guest %q of party %q and guest %q of party %q share the file %s, but each has a key of its own: write `key auto <file>` with another file in one of them", k.guest, k.party, guest, party, file.Path)
		case k.file != file:
			return nil, fmt.Errorf("key auto: the file of guest %q, %s, has two modes, %04o and %04o: write the same one in all its handlers", guest, file.Path, k.file.Mode, file.Mode)
		default:
			return k, nil
		}
	}
	k := &autoKey{app: a, party: party, guest: guest, file: file, stored: keyStorageKey(party, guest), logger: a.entry(party).logger.With(zap.String("guest", guest), zap.String("file", file.Path))}
	a.autoKeys = append(a.autoKeys, k)
	return k, nil
}

// storedKeyError says that what is stored is no key, never what it is.
type storedKeyError struct{ stored string }

func (e *storedKeyError) Error() string {
	return fmt.Sprintf("key auto: what Caddy's storage has at %s is not a key that Caddy made: delete it, and Caddy makes a new one", e.stored)
}

func (k *autoKey) parse(text string) (token.Keys, error) {
	if !keyfile.IsMade(text) {
		return token.Keys{}, &storedKeyError{k.stored}
	}
	return token.NewKeys([]string{text})
}

// makeKeys makes the keys that are not there, and readies their files.
func (a *App) makeKeys() error {
	a.mu.RLock()
	keys := slices.Clone(a.autoKeys)
	a.mu.RUnlock()
	for _, k := range keys {
		if err := k.make(); err != nil {
			a.abortKeys()
			return fmt.Errorf("key auto of guest %q of party %q: %w", k.guest, k.party, err)
		}
	}
	return nil
}

func (k *autoKey) make() (err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.prepared, err = k.file.Prepare(); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: let Caddy's user write there, or write `key auto <file>` with a file where it may", err)
		}
		return err
	}
	stored, err := k.app.storage.LoadOrMake(k.stored, func() []byte { return []byte(keyfile.New()) })
	text := string(stored)
	if err != nil {
		if text = k.prepared.Present(); text == "" {
			return fmt.Errorf("it cannot be kept in Caddy's storage, at %s: %w", k.stored, err)
		}
		k.logger.Warn("a guest's key is not in Caddy's storage: the one in its file counts", zap.String("key", k.stored), zap.Error(err))
	}
	if k.keys, err = k.parse(text); err != nil {
		return err
	}
	for _, i := range k.awaiting {
		if err := i.SetKeys(k.keys); err != nil {
			return err
		}
	}
	k.awaiting = nil
	return k.prepared.Write(text)
}

// commitKeys puts the files in their places, when the config has started.
func (a *App) commitKeys() {
	a.eachKey(func(k *autoKey, p *keyfile.Prepared) {
		if err := p.Commit(); err != nil {
			k.logger.Error("a guest's key cannot be written: its application does not get it", zap.Error(err), zap.String("hint", "once that is fixed, load the config again with `caddy reload --force`"))
			return
		}
		k.logger.Info("the guest's key is in its file")
		if k.file.Mode&0o004 != 0 {
			k.logger.Warn("every process on this machine may read a guest's key", zap.String("hint", "whoever has the key can ask in the guest's name, and sign requests that the guest takes for Caddy's: write 0640 after the file in `key auto`, for applications in the file's group"))
		}
	})
}

// abortKeys leaves all files as they were, unless commitKeys was called.
func (a *App) abortKeys() {
	a.eachKey(func(_ *autoKey, p *keyfile.Prepared) { p.Abort() })
}

func (a *App) eachKey(do func(*autoKey, *keyfile.Prepared)) {
	a.mu.RLock()
	keys := slices.Clone(a.autoKeys)
	a.mu.RUnlock()
	for _, k := range keys {
		k.mu.Lock()
		p := k.prepared
		k.prepared = nil
		k.mu.Unlock()
		if p != nil {
			do(k, p)
		}
	}
}
