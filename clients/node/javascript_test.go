// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package node

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/debian"
)

// These tests run no Go: the race detector would find nothing in them, and falsify their figures.

// TestTheClientPassesItsOwnTests runs them with the real frameworks.
func TestTheClientPassesItsOwnTests(t *testing.T) {
	t.Setenv("WSGI_PARTY_TEST_MODULES", debian.NodeModules(t, "test/package.json"))
	files := check.Value(filepath.Glob("test/*.test.js"))(t)
	output := run(t, ".", "node", append([]string{"--test", "--test-reporter=tap"}, files...)...)
	if !regexp.MustCompile(`(?m)^# pass [1-9]\d{2}`).MatchString(output) || !strings.Contains(output, "\n# skipped 0\n") {
		t.Errorf("tests are missing or skipped\n%s", output)
	}
	for _, figure := range regexp.MustCompile(`(?m)^# .*(?:µs|ms$).*`).FindAllString(output, -1) {
		if !strings.HasPrefix(figure, "# duration") {
			t.Log(figure[2:])
		}
	}
}

// packed returns the archive that npm would publish.
func packed(t testing.TB, to string) string {
	t.Helper()
	debian.Install(t, "nodejs", "npm")
	return filepath.Join(to, strings.TrimSpace(run(t, ".", "npm", "pack", "--silent", "--pack-destination", to)))
}

// installed returns a folder below another one that has the package, and nothing else, as from npm.
func installed(t testing.TB, below string) string {
	t.Helper()
	folder := check.Value(os.MkdirTemp(below, "project"))(t)
	t.Cleanup(func() { os.RemoveAll(folder) })
	check.Must(t, os.WriteFile(filepath.Join(folder, "package.json"), []byte(`{"private": true, "type": "module"}`), 0o600))
	run(t, folder, "npm", "install", "--offline", "--no-audit", "--no-fund", "--silent", packed(t, folder))
	return folder
}

// TestThePackageIsWhole installs what npm would publish into an empty project.
func TestThePackageIsWhole(t *testing.T) {
	project := installed(t, t.TempDir())
	check.Equal(t, run(t, project, "node", "--input-type=module", "--eval", `
		import party, { party as named, LinkError, InvalidTokenError, verifyToken } from 'wsgi-party'
		import fromFastify from 'wsgi-party/fastify'
		const line = party(undefined, { key: 'x'.repeat(32), fallback: '' })
		line.page('post', '/posts/:slug')
		console.log(party === named && party === fromFastify, typeof LinkError, typeof InvalidTokenError, typeof verifyToken, await line.urlFor('post', { slug: 'a' }))`),
		"true function function function /posts/a\n")
	check.Equal(t, run(t, project, "node", "--input-type=commonjs", "--eval", `import('wsgi-party').then(({ party }) => console.log(party().mount === ''))`), "true\n")
	archive := check.Value(filepath.Glob(filepath.Join(project, "*.tgz")))(t)
	files := strings.Fields(run(t, project, "tar", "tf", archive[0]))
	for _, file := range files {
		if !regexp.MustCompile(`^package/(?:lib/\w+\.js|index\.js|index\.d\.ts|fastify\.d\.ts|package\.json|README\.md)$`).MatchString(file) {
			t.Errorf("%s is published", file)
		}
	}
	check.ErrorIf(t, len(files) < 10, files)
	run(t, project, "sh", "-c", "test ! -e node_modules/.package-lock.json || ! grep -q dependencies node_modules/.package-lock.json")
}

// TestTheTypesAreStrict compiles a program against the types of the package and those of the frameworks.
func TestTheTypesAreStrict(t *testing.T) {
	folder := debian.NodeModules(t, "test/package.json")
	project := installed(t, folder)
	program := check.Value(os.ReadFile("test/types.ts"))(t)
	check.Must(t, os.WriteFile(filepath.Join(project, "types.ts"), program, 0o600))
	compile := []string{filepath.Join(folder, "node_modules/typescript/bin/tsc"), "--strict", "--exactOptionalPropertyTypes", "--noEmit", "--target", "es2022", "--module", "nodenext"}
	run(t, project, "node", append(compile, "--types", "node", "types.ts")...)

	// Without any framework, and without the types of Node.
	alone := installed(t, t.TempDir())
	check.Must(t, os.WriteFile(filepath.Join(alone, "alone.ts"), []byte("import { party, type Party } from 'wsgi-party'\nexport const line: Party = party()\n"), 0o600))
	run(t, alone, "node", append(compile, "--types", "", "alone.ts")...)
}
