// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package node tests the client for Node, which is not written in Go.
package node

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/debian"
)

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
	folder := check.Value(os.MkdirTemp(debian.NodeModules(t, "test/package.json"), "project"))(t)
	t.Cleanup(func() { os.RemoveAll(folder) })
	check.Must(t, os.Mkdir(filepath.Join(folder, "node_modules"), 0o755))
	check.Must(t, os.Symlink(check.Value(filepath.Abs("."))(t), filepath.Join(folder, "node_modules/wsgi-party")))
	check.Must(t, os.WriteFile(filepath.Join(folder, "guest.mjs"), check.Value(os.ReadFile("test/guest.mjs"))(t), 0o600))
	return folder
}
