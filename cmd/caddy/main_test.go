// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// testDir is where the command is built.
var testDir string

func TestMain(m *testing.M) {
	if os.Getenv(watched) != "" {
		watch()
	}
	var err error
	if testDir, err = os.MkdirTemp("", "wsgiparty"); err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	os.RemoveAll(testDir)
	os.Exit(code)
}

// build makes the command once for all tests. It looks for data races if they do.
var build = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(testDir, "wsgiparty.exe") // a name that runs everywhere
	arguments := []string{"build", "-o", binary}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		arguments = append(arguments, "-race")
	}
	if output, err := exec.Command("go", append(arguments, ".")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, output)
	}
	return binary, nil
})

// watched is the environment variable that makes this program run a command until its
// stdin ends, which it does with the tests, however they end: Caddy would be left to
// answer for others.
const watched = "WSGIPARTY_TEST_WATCH"

func watch() {
	c := exec.Command(os.Args[1], os.Args[2:]...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		log.Fatal(err)
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		c.Process.Kill()
	}()
	if err := c.Wait(); err != nil {
		log.Fatal(err)
	}
	os.Exit(0)
}

// caddyProcess is a Caddy that runs, until the test ends at the latest.
type caddyProcess struct {
	*exec.Cmd
	stderr io.Reader
	kill   func()
}

// runCaddy starts Caddy with a config file.
func runCaddy(t *testing.T, config string) caddyProcess {
	t.Helper()
	c := caddyCommand(t, "run", "--config", config)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.Path, c.Args = self, append([]string{self}, c.Args...)
	c.Env = append(c.Env, watched+"=yes")
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	kill := func() { stdin.Close() }
	t.Cleanup(kill)
	watchdog := time.AfterFunc(5*time.Minute, kill)
	t.Cleanup(func() { watchdog.Stop() })
	return caddyProcess{c, stderr, kill}
}

// caddyCommand returns the command with arguments, not started yet. What it stores it
// stores for itself.
func caddyCommand(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(binary, arguments...)
	home := t.TempDir()
	c.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home,
		"GORACE=atexit_sleep_ms=0") // else each one that looks for races takes a second longer
	return c
}

// TestTheFirstCommandOfTheREADME runs the example in a process of its own, at
// other addresses.
func TestTheFirstCommandOfTheREADME(t *testing.T) {
	runExample(t, "../../Caddyfile.example", "magazine shop", "/magazine/articles/lamplight", `<a href="/shop/products/brass-lamp">A small lamp of brass</a>`)
}

func TestTheCommandOfTheGophersCaddyfile(t *testing.T) {
	runExample(t, "../../examples/gopher/Caddyfile", "root one two", "/one/", `<a href="/two/2026/november">two:news</a>`)
}

// runExample runs a Caddyfile at another address. These guests join, and a page links to
// another application's.
func runExample(t *testing.T, name, guests, page, link string) {
	t.Helper()
	example, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	site, admin := testport.Address(t), testport.Address(t)
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte("{\nadmin "+admin+"\n}\n"+strings.Replace(string(example), "http://localhost:8080 {", "http://"+site+" {", 1)), 0o600); err != nil {
		t.Fatal(err)
	}

	process := runCaddy(t, config)
	var joined []string
	lines := bufio.NewScanner(process.stderr)
	for lines.Scan() {
		var entry struct{ Msg, Guest string }
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			t.Errorf("%s: %v", lines.Bytes(), err)
		}
		if entry.Msg == "guest joined" {
			joined = append(joined, entry.Guest)
		}
		if entry.Msg == "serving initial configuration" {
			break
		}
	}
	if got := strings.Join(joined, " "); got != guests {
		t.Errorf("guests joined: %s", got)
	}
	response, err := http.Get("http://" + site + page)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(body), link) {
		t.Errorf("%s %v", body, err)
	}
	if _, err := http.Post("http://"+admin+"/stop", "", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, process.stderr); err != nil {
		t.Error(err)
	}
	if err := process.Wait(); err != nil {
		t.Error(err)
	}
}
