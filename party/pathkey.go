// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/token"
)

var pathKeyName = path.Join(storageRoot, "path.key")

// loadPathKey makes the app use the key in Caddy's storage as soon as it is there.
func (a *App) loadPathKey() {
	err := a.storage.do(func(ctx context.Context, storage certmagic.Storage) error {
		key, err := storedPathKey(ctx, storage)
		if err == nil {
			a.pathKey.Store(&key)
		}
		return err
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		a.logger.Warn("the key for the paths of Party-Tokens is not in storage: Caddys that share it do not know each other's asks",
			zap.String("key", pathKeyName),
			zap.Error(err))
	}
}

// storedPathKey returns the key in the storage, a new one if there is none.
func storedPathKey(ctx context.Context, storage certmagic.Storage) (token.PathKey, error) {
	key, err := readPathKey(ctx, storage)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := storage.Lock(ctx, pathKeyName); err != nil {
		return key, err
	}
	defer func() { _ = storage.Unlock(context.WithoutCancel(ctx), pathKeyName) }()
	if key, err = readPathKey(ctx, storage); !errors.Is(err, fs.ErrNotExist) { // another Caddy was quicker
		return key, err
	}
	key = token.NewPathKey()
	return key, storage.Store(ctx, pathKeyName, key.Bytes())
}

func readPathKey(ctx context.Context, storage certmagic.Storage) (token.PathKey, error) {
	stored, err := storage.Load(ctx, pathKeyName)
	if err != nil {
		return token.PathKey{}, err
	}
	key, err := token.ParsePathKey(stored)
	if err != nil {
		return key, fmt.Errorf("%w: delete it, and a new one is made", err)
	}
	return key, nil
}
