// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package python

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// interpreter is a Python that is installed here.
type interpreter struct {
	path    string
	version [2]int
}

// interpreters returns the python3 of the PATH, and the oldest and the newest one of
// pyenv's that the client is for.
var interpreters = sync.OnceValues(func() ([]interpreter, error) {
	oldest := [2]int{3, 8}
	versionOf := func(path string) (i interpreter, err error) {
		output, err := exec.Command(path, "-c", "import sys; print(list(sys.version_info[:2]), end=' '); print(sys.executable)").Output()
		if err != nil {
			return i, fmt.Errorf("%s: %w", path, err)
		}
		list, executable, _ := strings.Cut(strings.TrimSpace(string(output)), "] ")
		i.path = executable
		return i, json.Unmarshal([]byte(list+"]"), &i.version)
	}
	system, err := versionOf("python3")
	if err != nil {
		return nil, fmt.Errorf("these tests need Python: %w", err)
	}
	root := os.Getenv("PYENV_ROOT")
	if root == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		root = filepath.Join(home, ".pyenv")
	}
	paths, err := filepath.Glob(filepath.Join(root, "versions", "*", "bin", "python3"))
	if err != nil {
		return nil, err
	}
	var others []interpreter
	for _, path := range paths {
		i, err := versionOf(path)
		if err != nil {
			return nil, err
		}
		if slices.Compare(i.version[:], oldest[:]) >= 0 {
			others = append(others, i)
		}
	}
	slices.SortFunc(others, func(a, b interpreter) int { return slices.Compare(a.version[:], b.version[:]) })
	all := []interpreter{system}
	if len(others) > 0 {
		all = append(all, others[0])
	}
	if len(others) > 1 {
		all = append(all, others[len(others)-1])
	}
	return slices.CompactFunc(all, func(a, b interpreter) bool { return a.path == b.path }), nil
})

func pythons(t *testing.T) []interpreter {
	t.Helper()
	debian.Install(t, "python3")
	all, err := interpreters()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// guest is an application in a process of its own.
type guest struct {
	t       *testing.T
	name    string
	key     string
	network string
	address string // where it listens
	ask     string // its WSGI_PARTY_URL; without it the key is all that it is told
	program string // for a Python's own server
	keyless bool   // whether Caddy has no key of it

	mu    sync.Mutex
	calls []string // of its handlers
	said  []byte   // on its stderr
}

// Write takes what the process says.
func (g *guest) Write(said []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said = append(g.said, said...)
	return len(said), nil
}

// timesSaid returns how often the process has said this by now.
func (g *guest) timesSaid(text string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return bytes.Count(g.said, []byte(text))
}

func newGuest(t *testing.T, name, ask string) *guest {
	return &guest{t: t, name: name, key: name + strings.Repeat("-key", 8), network: "tcp", address: testport.Address(t), ask: ask, program: "guest.py"}
}

// start starts the process, with a key that may be another than Caddy's, and waits
// until it listens.
func (g *guest) start(key string, command ...string) {
	g.t.Helper()
	process := exec.Command(command[0], command[1:]...)
	process.Dir = "testdata"
	here, err := os.Getwd()
	if err != nil {
		g.t.Fatal(err)
	}
	process.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH="+here, "GUEST="+g.name, "WSGI_PARTY_KEY="+key)
	if g.ask != "" {
		process.Env = append(process.Env, "WSGI_PARTY_URL="+g.ask, "WSGI_PARTY_GUEST="+g.name)
	}
	process.Stderr = g
	stdin, err := process.StdinPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		g.t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			g.mu.Lock()
			g.calls = append(g.calls, lines.Text())
			g.mu.Unlock()
		}
	}()
	g.t.Cleanup(func() {
		stdin.Close() // which ends it
		watchdog := time.AfterFunc(20*time.Second, func() { process.Process.Kill() })
		defer watchdog.Stop()
		<-read
		if err := process.Wait(); err != nil {
			g.t.Errorf("guest %s ends with %v", g.name, err)
		}
		if g.t.Failed() {
			g.t.Logf("guest %s said\n%s", g.name, g.said)
		}
	})
	eventually(g.t, g.name+" listens", func() bool {
		connection, err := net.Dial(g.network, g.address)
		if err != nil {
			return false
		}
		connection.Close()
		return true
	})
}

// underWSGIRef serves the application by a Python's own server.
func (g *guest) underWSGIRef(python interpreter) *guest {
	g.t.Helper()
	_, port, err := net.SplitHostPort(g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.start(g.key, python.path, g.program, port)
	return g
}

// underGunicorn serves it by three processes, at a unix socket.
func (g *guest) underGunicorn() *guest { return g.underGunicornOf("guest:application") }

func (g *guest) underGunicornOf(application string, options ...string) *guest {
	g.t.Helper()
	debian.Install(g.t, "gunicorn")
	dir, err := os.MkdirTemp("", "gunicorn") // t.TempDir may be too long for a socket
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { os.RemoveAll(dir) })
	g.network, g.address = "unix", filepath.Join(dir, "socket")
	g.start(g.key, append([]string{"gunicorn", "--workers", "3", "--config", "gunicorn.conf.py", "--worker-tmp-dir", dir, "--bind", "unix:" + g.address, application}, options...)...)
	return g
}

// mount are the guest's directives.
func (g *guest) mount() string {
	key := ""
	if !g.keyless {
		g.t.Setenv(g.name+"_PARTY_KEY", g.key)
		key = "key {env." + g.name + "_PARTY_KEY}\n"
	}
	upstream := g.address
	if g.network == "unix" {
		upstream = "unix/" + g.address
	}
	return fmt.Sprintf("invite /%[1]s/__invite__/\nhandle_path /%[1]s/* {\nwsgi_party_guest {\n%[2]stimeout 20s\n}\nreverse_proxy %[3]s\n}\n", g.name, key, upstream)
}

// asked returns how often the guest was asked for the service. What it says of that may
// still be on its way.
func (g *guest) asked(service string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, call := range g.calls {
		if call == service {
			n++
		}
	}
	return n
}
