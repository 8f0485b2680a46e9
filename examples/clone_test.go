// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package examples

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// clone copies folders of the repository into a new one, as they are in a fresh clone.
func clone(t *testing.T, folders ...string) (dir string) {
	t.Helper()
	dir = check.Value(os.MkdirTemp("", "clone"))(t) // short enough for sockets
	t.Cleanup(func() { os.RemoveAll(dir) })
	return cloneAt(t, dir, folders...)
}

func cloneAt(t *testing.T, dir string, folders ...string) string {
	t.Helper()
	for _, folder := range folders {
		check.Must(t, filepath.WalkDir(filepath.Join("..", folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			to := filepath.Join(dir, strings.TrimPrefix(path, ".."))
			switch name := entry.Name(); {
			case entry.IsDir() && slices.Contains([]string{".git", "node_modules", "__pycache__", ".mypy_cache"}, name):
				return fs.SkipDir
			case entry.IsDir():
				return os.MkdirAll(to, 0o755)
			case !entry.Type().IsRegular() || name == ".git" || path == "../caddy": // a worktree's; what was built here
				return nil
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			return os.WriteFile(to, content, info.Mode().Perm())
		}))
	}
	return dir
}
