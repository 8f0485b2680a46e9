// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package node tests the client for Node, which is no Go.
package node

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/debian"
)

// modules returns a folder whose node_modules are what test/package.json says. They are
// installed once for each such file, and kept for the next run.
func modules(t testing.TB) string {
	t.Helper()
	debian.Install(t, "nodejs", "npm")
	manifest := check.Value(os.ReadFile("test/package.json"))(t)
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	folder := filepath.Join(cache, "wsgiparty", fmt.Sprintf("node-%x", sha256.Sum256(manifest))[:21])
	check.Must(t, os.MkdirAll(folder, 0o755))
	lock := check.Value(os.OpenFile(folder+".lock", os.O_CREATE|os.O_RDWR, 0o600))(t)
	defer lock.Close()
	check.Must(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	done := filepath.Join(folder, "done")
	if _, err := os.Stat(done); err == nil {
		return folder
	}
	check.Must(t, os.RemoveAll(folder))
	check.Must(t, os.MkdirAll(folder, 0o755))
	check.Must(t, os.WriteFile(filepath.Join(folder, "package.json"), manifest, 0o600))
	run(t, folder, "npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefer-offline", "--silent")
	check.Must(t, os.WriteFile(done, nil, 0o600))
	return folder
}

// run runs a command that must succeed, and returns what it prints.
func run(t testing.TB, folder, name string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, arguments...)
	c.Dir = folder
	output, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, arguments, err, output)
	}
	return string(output)
}

// linked returns a folder that has the package as it is here, and the frameworks.
func linked(t testing.TB) string {
	t.Helper()
	folder := check.Value(os.MkdirTemp(modules(t), "project"))(t)
	t.Cleanup(func() { os.RemoveAll(folder) })
	check.Must(t, os.Mkdir(filepath.Join(folder, "node_modules"), 0o755))
	check.Must(t, os.Symlink(check.Value(filepath.Abs("."))(t), filepath.Join(folder, "node_modules/wsgi-party")))
	check.Must(t, os.WriteFile(filepath.Join(folder, "guest.mjs"), check.Value(os.ReadFile("test/guest.mjs"))(t), 0o600))
	return folder
}
