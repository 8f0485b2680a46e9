// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The tables: one with the goals, for whoever works on this, and one for docs/performance.md.

package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// report returns all figures with their goals.
func report(figures []figure, where string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n\n| work | what | against | times as long | least to most | goal | |\n|---|---|---|---|---|---|---|\n", where)
	for _, f := range figures {
		goal, reached := "", ""
		if f.goal > 0 {
			goal, reached = fmt.Sprintf("%.3g", f.goal), "reached"
			if f.median > f.goal {
				reached = fmt.Sprintf("missed by %.3g", f.median/f.goal)
			}
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s to %s | %s | %s |\n", f.work, f.of, f.with, figureText(f.median), figureText(f.least), figureText(f.most), goal, reached)
	}
	for i, f := range figures {
		if f.seen != "" && (i == 0 || figures[i-1].work != f.work) {
			fmt.Fprintf(&out, "\n%s: %s.\n", f.work, f.seen)
		}
	}
	return out.String()
}

func figureText(value float64) string {
	if value >= 10 {
		return fmt.Sprintf("%.0f", value)
	}
	return fmt.Sprintf("%.2g", value)
}

const begin, end = "<!-- bench/run --docs writes from here -->\n", "<!-- to here -->\n"

// writeDocs replaces the table that stands between two comments.
func writeDocs(path string, figures []figure, where string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(text, []byte(begin))
	_, after, found := bytes.Cut(rest, []byte(end))
	if !ok || !found {
		return fmt.Errorf("%s has no %q and %q", path, begin, end)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s%s.\n\n| work | against | times as long |\n|---|---|---|\n", begin, where)
	for _, f := range figures {
		if f.goal == 0 {
			continue // for whoever works on it
		}
		work := f.work
		if f.of != ours {
			work += ", " + f.of
		}
		fmt.Fprintf(&out, "| %s | %s | %s |\n", work, f.with, figureText(f.median))
	}
	out.WriteString("\n" + end)
	return os.WriteFile(path, bytes.Join([][]byte{before, out.Bytes(), after}, nil), 0o644)
}

// machine says when and on what the figures were taken.
func machine(bin string) string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if found := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(text); found != nil {
			model = string(found[1])
		}
	}
	said := func(dir, program string, args ...string) string {
		command := exec.Command(program, args...)
		command.Dir = dir
		out, err := command.Output()
		if err != nil {
			return "?"
		}
		return strings.TrimSpace(string(out))
	}
	versions := []string{
		"Caddy " + module(filepath.Join(bin, "caddy"), "github.com/caddyserver/caddy/v2"),
		strings.Replace(runtime.Version(), "go", "Go ", 1),
		"nats-server " + strings.TrimPrefix(said(bin, filepath.Join(bin, "nats-server"), "--version"), "nats-server: "),
		"uWSGI " + said(bin, "uwsgi", "--version"),
		"Flask " + said(bin, "/usr/bin/python3", "-c", "import flask; print(flask.__version__)"),
		strings.TrimSpace(said(bin, "/usr/bin/python3", "--version")),
		"Node " + said(bin, "node", "--version"),
		"Podium " + podium(bin),
	}
	return fmt.Sprintf("%s, %d processors (%s), %s", time.Now().Format("2 January 2006"), runtime.NumCPU(), model, strings.Join(versions, ", "))
}

// module returns the version of a module that a program was built with.
func module(program, path string) string {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "?"
	}
	for _, dependency := range info.Deps {
		if dependency.Path == path {
			return dependency.Version
		}
	}
	return "?"
}

func podium(bin string) string {
	var manifest struct{ Version string }
	text, err := os.ReadFile(filepath.Join(bin, "node_modules/@podium/layout/package.json"))
	if err != nil || json.Unmarshal(text, &manifest) != nil {
		return "?"
	}
	return manifest.Version
}
