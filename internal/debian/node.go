// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// NodeModules returns a folder whose node_modules are what a package.json says. They are
// installed once for each such file, and kept for the next run.
func NodeModules(t testing.TB, packageJSON string) string {
	t.Helper()
	Install(t, "nodejs", "npm")
	manifest := check.Value(os.ReadFile(packageJSON))(t)
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
	npm := exec.CommandContext(t.Context(), "npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefer-offline", "--silent")
	npm.Dir = folder
	if output, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm install: %v\n%s", err, output)
	}
	check.Must(t, os.WriteFile(done, nil, 0o600))
	return folder
}
