// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package debian gives tests the programs of Debian packages.
package debian

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// there are commands that succeed where a package is.
var there = map[string][]string{
	"bash-completion":    {"sh", "-c", "ls /usr/share/bash-completion/bash_completion"},
	"bsdutils":           {"script", "--version"},
	"chromium":           {"chromium", "--version"},
	"composer":           {"composer", "--version"},
	"curl":               {"curl", "--version"},
	"gunicorn":           {"gunicorn", "--version"},
	"mypy":               {"/usr/bin/mypy", "--version"},
	"nodejs":             {"node", "-e", "fetch"},
	"npm":                {"npm", "--version"},
	"php-apcu":           {"php", "-r", "exit((int) !extension_loaded('apcu'));"},
	"php-cli":            {"php", "--version"},
	"php-fpm":            {"sh", "-c", "ls /usr/sbin/php-fpm*"},
	"phpunit":            {"phpunit", "--version"},
	"puma":               {"puma", "--version"},
	"python3":            {"python3", "--version"},
	"python3-django":     {"/usr/bin/python3", "-I", "-c", "import django"},
	"python3-fastapi":    {"/usr/bin/python3", "-I", "-c", "import fastapi"},
	"python3-flask":      {"/usr/bin/python3", "-I", "-c", "import flask"}, // not the folder of that name,
	"python3-jinja2":     {"/usr/bin/python3", "-I", "-c", "import jinja2"},
	"python3-uvicorn":    {"/usr/bin/python3", "-I", "-c", "import uvicorn"},
	"python3-venv":       {"/usr/bin/python3", "-I", "-c", "import ensurepip, venv"},
	"python3-websockets": {"/usr/bin/python3", "-I", "-c", "import websockets"},
	"python3-yaml":       {"/usr/bin/python3", "-I", "-c", "import yaml"},
	"ruby-actionpack":    {"ruby", "-e", "require 'action_controller'"},
	"ruby-railties":      {"ruby", "-e", "require 'rails'"},
	"systemd":            {"systemd-analyze", "--version"},
	"uvicorn":            {"uvicorn", "--version"},

	"php-symfony-framework-bundle": {"php", "-r", "require 'Symfony/Bundle/FrameworkBundle/autoload.php';"},
	"php-symfony-twig-bundle":      {"php", "-r", "require 'Symfony/Bundle/TwigBundle/autoload.php';"},
}

// Install installs those of the packages that are not there, which takes root and
// Debian. Elsewhere it skips the test, or fails it where CI is "true".
func Install(t testing.TB, packages ...string) {
	t.Helper()
	packages = missing(packages)
	if len(packages) == 0 {
		return
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		needs := "this test needs what is in Debian's packages " + strings.Join(packages, ", ") + "; install it, or run the tests as root on Debian, which do so themselves"
		if os.Getenv("CI") == "true" {
			t.Fatal(needs)
		}
		t.Skip(needs)
	}
	// Tests of several packages run at once, and apt-get only once.
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "wsgiparty-apt-get.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	packages = missing(packages)
	if len(packages) == 0 {
		return
	}
	t.Logf("installing %v", packages)
	for _, arguments := range [][]string{{"update"}, append([]string{"install", "-y", "--no-install-recommends"}, packages...)} {
		c := exec.Command("apt-get", arguments...)
		c.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if output, err := c.CombinedOutput(); err != nil {
			t.Fatalf("missing: %v; apt-get %v: %v\n%s", packages, arguments, err, output)
		}
	}
	if packages = missing(packages); len(packages) > 0 {
		t.Fatalf("apt-get has installed %v, but they do not work", packages)
	}
}

func missing(packages []string) (names []string) {
	for _, name := range packages {
		if command := there[name]; exec.Command(command[0], command[1:]...).Run() != nil {
			names = append(names, name)
		}
	}
	return names
}
