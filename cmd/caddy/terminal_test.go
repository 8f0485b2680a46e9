// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/wsgiparty/wsgiparty/internal/debian"
)

// onTerminal returns the command `caddy wsgi-party` as it runs on a terminal with that many columns.
func onTerminal(t *testing.T, columns int, environment []string, arguments ...string) *exec.Cmd {
	t.Helper()
	debian.Install(t, "bsdutils")
	c := caddyCommand(t, append([]string{"wsgi-party"}, arguments...)...)
	line := fmt.Sprintf("stty rows 50 cols %d; exec", columns)
	for _, argument := range c.Args {
		line += " '" + strings.ReplaceAll(argument, "'", `'\''`) + "'"
	}
	terminal := exec.Command("script", "-qec", line+" 2>/dev/null", "/dev/null") // what Caddy logs has colors of its own
	for _, variable := range c.Env {
		if !strings.HasPrefix(variable, "TERM=") && !strings.HasPrefix(variable, "NO_COLOR=") {
			terminal.Env = append(terminal.Env, variable)
		}
	}
	terminal.Env = append(terminal.Env, environment...)
	return terminal
}

var colors = regexp.MustCompile(`\x1b\[(0|1|31|32|33)m`)

// hostileParty has a guest that joins, one that refuses, in words that move cursors, and one that is not there.
const hostileParty = options + `
SITE {
	wsgi_party main {
		invite /good/__invite__/ /late/__invite__/ /none/__invite__/
		handle_path /good/* {
			gopher good {
				page news "/neues` + "\x1b[31m\u009b" + `"
			}
		}
		error /late/* "come back` + "\x1b[2J\x1b[32m and much later than that, for it takes a while until they are all here\nsecond" + `" 403
	}
}`

func TestTheCommandOnATerminal(t *testing.T) {
	t.Parallel()
	admin, _, _ := startCaddy(t, hostileParty)
	run := func(columns int, environment []string, arguments ...string) string {
		t.Helper()
		output, err := onTerminal(t, columns, environment, append(arguments, "--address", admin)...).Output()
		if _, failed := err.(*exec.ExitError); err != nil && !failed {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(output), "\r\n", "\n")
		plain := colors.ReplaceAllString(text, "")
		if i := strings.IndexFunc(plain, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }); i >= 0 {
			t.Errorf("%q writes %q", arguments, plain[i:])
		}
		return text
	}
	xterm := []string{"TERM=xterm"}

	for _, test := range []struct {
		want      []string
		arguments []string
	}{
		{[]string{"\x1b[1mPARTY\x1b[0m", "\x1b[33m1 of 3 joined\x1b[0m"}, []string{"list"}},
		{[]string{"\x1b[32mjoined\x1b[0m", "\x1b[31mrefused\x1b[0m", "\x1b[33mnot answered\x1b[0m", "\x1b[1mhint\x1b[0m", `come back\x1b[2J\x1b[32m and`}, []string{"show", "main"}},
		{[]string{"\x1b[32manswered\x1b[0m", `/good/neues`}, []string{"ask", "main", "url", `["good:news", {}]`}},
		{[]string{"\x1b[33mdeclined\x1b[0m"}, []string{"ask", "main", "url", `["good:none", {}]`}},
		{[]string{"\x1b[31mfailed\x1b[0m"}, []string{"ask", "main", "url", "7"}},
		{[]string{"\x1b[32mon the line\x1b[0m", "\x1b[31mrefused\x1b[0m"}, []string{"invite", "main"}},
	} {
		for _, environment := range [][]string{xterm, {"TERM=xterm-256color", "NO_COLOR="}} {
			text := run(80, environment, test.arguments...)
			for _, part := range test.want {
				if !strings.Contains(text, part) {
					t.Errorf("%q with %q: no %q in\n%s", test.arguments, environment, part, text)
				}
			}
		}
		for _, environment := range [][]string{{"TERM=xterm", "NO_COLOR=1"}, {"TERM=dumb"}, nil} {
			if text := run(80, environment, test.arguments...); strings.Contains(text, "\x1b") {
				t.Errorf("%q with %q has colors:\n%s", test.arguments, environment, text)
			}
		}
	}
	if text := expectCommand(t, 0, nil, "show", "main", "--address", admin); strings.Contains(text, "\x1b") || !strings.Contains(text, "HINT") {
		t.Errorf("where there is no terminal:\n%s", text)
	}

	for line := range strings.Lines(colors.ReplaceAllString(run(80, xterm, "show", "main"), "")) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if wide := colors.ReplaceAllString(run(1000, xterm, "show", "main"), ""); wide != expectCommand(t, 0, nil, "show", "main", "--address", admin) {
		t.Errorf("a wide terminal shows\n%s", wide)
	}
}

// TestWatchingOnATerminalEndsByCtrlC presses it.
func TestWatchingOnATerminalEndsByCtrlC(t *testing.T) {
	t.Parallel()
	admin, _, _ := startCaddy(t, hostileParty)
	c := onTerminal(t, 80, []string{"TERM=xterm"}, "watch", "main", "--address", admin)
	keys, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	w := startWatching(t, c)
	w.expect(`^\S+ \S+  watching +main: 1 guest, 2 services, 1 of 3 invites joined`)
	w.expect(`\x1b\[31minvite refused +\x1b\[0m  late  status 403; .*come back\\x1b\[2J`)
	w.expect(`\x1b\[33minvite not answered\x1b\[0m  none  `)
	if _, err := io.WriteString(keys, "\x03"); err != nil {
		t.Fatal(err)
	}
	w.end()
}
