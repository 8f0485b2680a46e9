// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/debian"
)

// StartPHP starts php-fpm and returns where it listens.
func StartPHP(t testing.TB) (socket string) {
	t.Helper()
	debian.Install(t, "php-fpm")
	binaries, err := filepath.Glob("/usr/sbin/php-fpm*")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "fpm") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	config := "[global]\ndaemonize = no\nerror_log = " + dir + "/log\n[www]\nlisten = " + socket + "\npm = static\npm.max_children = 4\n"
	arguments := []string{"--nodaemonize", "--fpm-config", dir + "/conf", "--no-php-ini"}
	if os.Getuid() == 0 {
		config += "user = root\ngroup = root\n"
		arguments = append(arguments, "--allow-to-run-as-root")
	}
	if err := os.WriteFile(dir+"/conf", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	fpm := exec.Command(binaries[len(binaries)-1], arguments...)
	if err := fpm.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = fpm.Process.Signal(os.Interrupt)
		_ = fpm.Wait()
	})
	Eventually(t, "php-fpm listens", func() bool {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return socket
}

// Scripts writes PHP scripts and returns their directory.
func Scripts(t testing.TB, byName map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range byName {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("<?php\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
