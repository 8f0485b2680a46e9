// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/debian"
)

// FPM is a php-fpm, by the path of its socket and that of its log.
type FPM struct{ Socket, log string }

// StartFPM starts one whose pool has that environment, and no other. With -n, PHP has
// only what it was built with.
func StartFPM(t testing.TB, environment map[string]string, arguments ...string) FPM {
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
	f := FPM{filepath.Join(dir, "s"), filepath.Join(dir, "log")}
	config := fmt.Sprintf("[global]\ndaemonize = no\nerror_log = %s\n[www]\nlisten = %s\npm = static\npm.max_children = 4\nphp_admin_value[error_log] = %[1]s\nphp_admin_flag[log_errors] = on\nphp_admin_flag[display_errors] = off\n", f.log, f.Socket)
	if os.Getuid() == 0 {
		config += "user = root\ngroup = root\n"
		arguments = append(arguments, "--allow-to-run-as-root")
	}
	for name, value := range environment {
		config += fmt.Sprintf("env[%s] = %q\n", name, value)
	}
	if err := os.WriteFile(dir+"/conf", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binaries[len(binaries)-1], append([]string{"--nodaemonize", "--fpm-config", dir + "/conf"}, arguments...)...)
	output := new(bytes.Buffer)
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt)
		_ = command.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(f.log)
			t.Logf("php-fpm: %s%s", output, text)
		}
	})
	Eventually(t, "php-fpm listens", func() bool {
		conn, err := net.Dial("unix", f.Socket)
		return err == nil && conn.Close() == nil
	})
	return f
}

// Logged returns what it has logged.
func (f FPM) Logged(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(f.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// StartPHP starts a php-fpm that has only what PHP was built with, and returns where it listens.
func StartPHP(t testing.TB) (socket string) {
	t.Helper()
	return StartFPM(t, nil, "-n").Socket
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
