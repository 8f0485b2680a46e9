// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package php

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/debian"
)

// run runs a program and returns what it says.
func run(t testing.TB, dir, name string, arguments ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, arguments...)
	command.Dir = dir
	command.Env = append(os.Environ(), "COMPOSER_ALLOW_SUPERUSER=1", "COMPOSER_HOME="+t.TempDir(), "COMPOSER_DISABLE_NETWORK=1")
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, arguments, err, output)
	}
	return string(output)
}

// TestTheClientPassesItsOwnTests runs those that need no Caddy.
func TestTheClientPassesItsOwnTests(t *testing.T) {
	debian.Install(t, "php-cli", "phpunit", "php-symfony-framework-bundle")
	t.Log(run(t, ".", "php", "-d", "zend.exception_ignore_args=0", "/usr/bin/phpunit", "--no-configuration", "--do-not-cache-result", "--fail-on-warning", "--fail-on-risky", "tests"))
}

func TestFilesAreStrict(t *testing.T) {
	debian.Install(t, "php-cli")
	for _, pattern := range []string{"src/*.php", "src/*/*.php", "tests/*.php", "testdata/*.php", "testdata/*/*.php"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(text, []byte("<?php\n// Copyright 2026 The wsgi_party Authors\n// SPDX-License-Identifier: Apache-2.0\n")) || !bytes.Contains(text, []byte("\ndeclare(strict_types=1);\n")) {
				t.Errorf("%s: no licence, or no strict types", file)
			}
			if output := run(t, ".", "php", "-d", "error_reporting=-1", "-d", "display_errors=1", "-l", file); strings.Contains(output, "Deprecated") || strings.Contains(output, "Warning") {
				t.Errorf("%s: %s", file, output)
			}
		}
	}
}

// TestComposerInstallsThePackage does so without a network.
func TestComposerInstallsThePackage(t *testing.T) {
	debian.Install(t, "php-cli", "composer")
	run(t, ".", "composer", "validate", "--strict")
	dir := t.TempDir()
	project := `{"repositories": [{"type": "path", "url": "` + here(t, ".") + `", "options": {"symlink": false}}, {"packagist.org": false}], "require": {"wsgi-party/wsgi-party": "*@dev"}}`
	if err := os.WriteFile(dir+"/composer.json", []byte(project), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "composer", "install", "--no-interaction", "--no-progress", "--classmap-authoritative")
	const try = `$party = new WsgiParty\Party(['post' => '/posts/{slug}']); echo $party->urlFor('post', ['slug' => 'x']), ' ', get_debug_type(Composer\InstalledVersions::getVersion('wsgi-party/wsgi-party'));`
	if got := run(t, dir, "php", "-r", "require 'vendor/autoload.php'; "+try); got != "/posts/x string" {
		t.Error(got)
	}
	if got := run(t, dir, "php", "-n", "-r", "require '"+here(t, "src/Party.php")+"'; echo (new WsgiParty\\Party(['home' => '/']))->urlFor('home');"); got != "/" {
		t.Error(got)
	}
}
