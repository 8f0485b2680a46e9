// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// completedParties have names that no shell may be given among others.
const completedParties = options + `
SITE {
	wsgi_party main {
		invite /blog/__invite__/ /late/__invite__/
		handle_path /blog/* {
			wsgi_party_guest {
				answer ping pong
				answer pong ping
				url home /
			}
		}
	}
	wsgi_party más
	wsgi_party "$(touch hacked)"
	wsgi_party "-rf"
	wsgi_party "~"
	wsgi_party "two words"
}
`

// TestNamesAreCompleted asks the command what it completes, as the scripts for shells do.
func TestNamesAreCompleted(t *testing.T) {
	t.Parallel()
	admin, _, _ := startCaddy(t, completedParties)
	for line, want := range map[string]string{
		"show ":                    "main más",
		"show ma":                  "main",
		"show main ":               "",
		"watch ":                   "main más",
		"ask ":                     "main más",
		"ask main ":                "ping pong url",
		"ask main po":              "pong",
		"ask main ping ":           "",
		"ask mian ":                "",
		"ask más ":                 "",
		"ask main ping --guest ":   "blog",
		"ask main --guest bl":      "",
		"ask main ping --guest c":  "",
		"ask main url --guest bl":  "blog",
		"ask main wrong --guest ":  "",
		"ask main ping 1 --guest ": "blog",
		"invite main ":             "blog late",
		"invite main b":            "blog",
		"share main ":              "blog late",
		"share main blog ":         "",
		"route ":                   "main más",
		"route main P":             "PATCH POST PUT",
		"route main GET ":          "",
		"list ":                    "",
		"check ":                   "",
		"watch --interval ":        "",
		"show --adapter ":          "",
	} {
		words := strings.Split(line, " ")
		arguments := append([]string{"__complete", "wsgi-party", "--address", admin}, words...)
		stdout, stderr, status := runCommand(t, arguments...)
		var got []string
		lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
		for _, found := range lines[:len(lines)-1] {
			name, _, _ := strings.Cut(found, "\t")
			got = append(got, name)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want || lines[len(lines)-1] != ":4" || status != 0 || strings.Contains(stderr, "error") {
			t.Errorf("%q: %d %q %s", line, status, stdout, stderr)
		}
	}
}

func TestCompletingIsSilentWithoutCaddy(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // which never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, flags := range [][]string{{"--address", testport.Address(t)}, {"--address", silent.Addr().String()}, {"--address", "1:2:3"}, {"--config", "missing"}} {
		for _, words := range [][]string{{"show", ""}, {"ask", "main", ""}, {"invite", "main", ""}} {
			stdout, _, status := runCommand(t, append(append([]string{"__complete", "wsgi-party"}, flags...), words...)...)
			if stdout != ":4\n" || status != 0 {
				t.Errorf("%q %q: %d %q", flags, words, status, stdout)
			}
		}
	}
}

// TestBashCompletesNames has bash do it by the script that the command makes.
func TestBashCompletesNames(t *testing.T) {
	t.Parallel()
	debian.Install(t, "bash-completion")
	admin, _, _ := startCaddy(t, completedParties)
	dir := t.TempDir()
	binary, err := build()
	if err == nil {
		err = os.Symlink(binary, filepath.Join(dir, "caddy"))
	}
	if err != nil {
		t.Fatal(err)
	}
	const script = `
compopt() { :; } # which bash has only while it completes itself
source /usr/share/bash-completion/bash_completion
source <(caddy completion bash)
for COMP_LINE in "caddy wsgi-par" "caddy wsgi-party wat" "caddy wsgi-party show mai" "caddy wsgi-party ask main pi" "caddy wsgi-party invite main " "caddy wsgi-party show "; do
	read -ra COMP_WORDS <<<"$COMP_LINE"
	[[ $COMP_LINE == *' ' ]] && COMP_WORDS+=("")
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_POINT=${#COMP_LINE} COMP_TYPE=9 COMPREPLY=()
	__start_caddy
	echo "$COMP_LINE: ${COMPREPLY[*]%% *}"
done
`
	c := exec.Command("bash", "--norc", "-c", script)
	c.Dir, c.Env = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "CADDY_ADMIN="+admin, "HOME="+dir)
	output, err := c.CombinedOutput()
	want := "caddy wsgi-par: wsgi-party\ncaddy wsgi-party wat: watch\ncaddy wsgi-party show mai: main\n" +
		"caddy wsgi-party ask main pi: ping\ncaddy wsgi-party invite main : blog late\ncaddy wsgi-party show : main más\n"
	if err != nil || string(output) != want {
		t.Errorf("%v:\n%s", err, output)
	}
	if _, err := os.Stat(filepath.Join(dir, "hacked")); err == nil {
		t.Error("a name was run as a command")
	}
}
