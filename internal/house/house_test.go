// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package house tests that the walls between the packages stand: CONTRIBUTING.md says
// what each is for.
package house

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/wsgiparty/wsgiparty"

// rules are of the packages that may import only some others of the module, by their paths
// below it. Whoever is not here, such as cmd/caddy, may import what it likes.
var rules = map[string]struct {
	imports []string // with all below
	dotted  bool     // and what does not come with Go
}{
	"partyline":      {nil, false},
	"internal":       {[]string{"internal"}, true},
	"party":          {[]string{"partyline", "internal"}, true},
	"hosts":          {[]string{"party", "partyline", "internal"}, true},
	"gather":         {[]string{"party", "partyline", "internal"}, true},
	"httpguest":      {[]string{"party", "partyline", "internal"}, true},
	"httpask":        {[]string{"party", "partyline", "internal"}, true},
	"page":           {[]string{"party", "partyline", "internal"}, true},
	"operations":     {[]string{"party", "partyline", "internal"}, true},
	"claims":         {[]string{"party", "partyline", "internal"}, true},
	"conformance":    {[]string{"party", "partyline", "internal"}, true},
	"partytemplates": {[]string{"party", "partyline", "internal"}, true},
	"trunk":          {[]string{"party", "partyline", "internal"}, true},
	"upstreams":      {[]string{"party", "partyline", "internal"}, true},
	"vars":           {[]string{"party", "partyline", "internal"}, true},
}

func list(t *testing.T, args ...string) []string {
	t.Helper()
	command := exec.Command("go", append([]string{"list"}, args...)...)
	command.Dir = "../.."
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, &stderr)
	}
	return strings.Fields(string(out))
}

func TestWhoMayImportWhom(t *testing.T) {
	seen := make(map[string]bool)
	for _, edge := range list(t, "-f", `{{$p := .ImportPath}}{{range .Imports}}{{$p}}|{{.}} {{end}}`, "./...") {
		importer, imported, _ := strings.Cut(edge, "|")
		name, ours := strings.CutPrefix(importer, module+"/")
		if !ours {
			continue
		}
		room, _, _ := strings.Cut(name, "/")
		rule, ok := rules[room]
		if !ok {
			continue
		}
		seen[room] = true
		other, ours := strings.CutPrefix(imported, module)
		below, _, _ := strings.Cut(strings.TrimPrefix(other, "/"), "/")
		first, _, _ := strings.Cut(imported, "/")
		switch {
		case ours && (imported == importer || slices.Contains(rule.imports, below)):
		case ours:
			t.Errorf("%s imports %s: it may import %q of this module", importer, imported, rule.imports)
		case !rule.dotted && strings.Contains(first, "."):
			t.Errorf("%s imports %s: it may import the standard library only", importer, imported)
		}
	}
	for room := range rules {
		if !seen[room] {
			t.Errorf("there is no package %s any more", room)
		}
	}
}

func TestTheSwitchboardIsTestedWithoutCaddy(t *testing.T) {
	for _, dependency := range list(t, "-deps", "-test", "./partyline") {
		if strings.HasPrefix(dependency, "github.com/caddyserver/") {
			t.Errorf("the tests of partyline depend on %s", dependency)
		}
	}
}

func TestTheRootShowsWhatTheProjectIsAndNothingElse(t *testing.T) {
	files := list(t, "-f", `{{range .GoFiles}}{{.}} {{end}}{{range .TestGoFiles}}{{.}} {{end}}{{range .XTestGoFiles}}{{.}} {{end}}`, ".")
	slices.Sort(files)
	if want := []string{"caddyfile.go", "module.go", "module_test.go", "operator.go", "register.go"}; !slices.Equal(files, want) {
		t.Errorf("the root has %q, want %q", files, want)
	}
}

// TestNoFileIsLong has no source over 350 lines, and no test over 600.
func TestNoFileIsLong(t *testing.T) {
	for _, path := range list(t, "-f", `{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}} {{end}}{{range .TestGoFiles}}{{$d}}/{{.}} {{end}}{{range .XTestGoFiles}}{{$d}}/{{.}} {{end}}`, "./...") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		most := 350
		if strings.HasSuffix(path, "_test.go") {
			most = 600
		}
		if lines := bytes.Count(text, []byte("\n")); lines > most {
			t.Errorf("%s has %d lines: split it, it may have %d", filepath.Base(path), lines, most)
		}
	}
}

// TestCaddyHasNATSOnlyWithTheTrunk: the first build stays what it is.
func TestCaddyHasNATSOnlyWithTheTrunk(t *testing.T) {
	has := func(command string) bool {
		return slices.ContainsFunc(list(t, "-deps", command), func(path string) bool { return strings.HasPrefix(path, "github.com/nats-io/") })
	}
	if has("./cmd/caddy") || has(".") {
		t.Error("who does not want a trunk builds NATS")
	}
	if !has("./cmd/caddy-trunk") {
		t.Error("cmd/caddy-trunk has no trunk")
	}
}
