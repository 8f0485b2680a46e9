// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package examples

import (
	"bytes"
	"io"
	"log"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestMain(m *testing.M) {
	if os.Getenv(watched) != "" {
		watch()
	}
	code := m.Run()
	if built != "" {
		os.RemoveAll(filepath.Dir(built))
	}
	os.Exit(code)
}

// built is the Caddy that tests share, once it is there.
var built string

// builtCaddy builds cmd/caddy, as the tests were: with -race, if so.
func builtCaddy(t *testing.T) string {
	t.Helper()
	if built != "" {
		return built
	}
	caddy := filepath.Join(check.Value(os.MkdirTemp("", "caddy"))(t), "caddy")
	arguments := []string{"build", "-ldflags=-w", "-o", caddy}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		arguments = append(arguments, "-race")
	}
	if output, err := exec.Command("go", append(arguments, "../cmd/caddy")...).CombinedOutput(); err != nil {
		os.RemoveAll(filepath.Dir(caddy))
		t.Fatalf("%v\n%s", err, output)
	}
	built = caddy
	return built
}

// watched is the environment variable that makes this program run a command until its
// stdin ends, which it does with the tests, however they end: what the command
// started would be left to answer for others.
const watched = "WSGIPARTY_TEST_WATCH"

// withPipes is its value where the command has file descriptors 3 and 4, too.
const withPipes = "with pipes"

// leftBehind is the exit status where processes had to be killed.
const leftBehind = 97

func watch() {
	// Ctrl-C ends the tests, and with them this.
	signal.Ignore(os.Interrupt)
	// Orphans among the descendants become this process's children. A process group
	// is no such bound: php-fpm leaves it.
	const setChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0); errno != 0 {
		log.Fatal(errno)
	}
	c := exec.Command(os.Args[1], os.Args[2:]...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if os.Getenv(watched) == withPipes {
		c.ExtraFiles = []*os.File{os.NewFile(3, "pipe"), os.NewFile(4, "pipe")}
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		log.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		c.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			c.Process.Kill()
		}
	}()
	c.Wait()
	close(ended)
	for range 600 { // what it has just ended may not be gone yet
		if len(descendants()) == 0 {
			os.Exit(max(0, c.ProcessState.ExitCode()))
		}
		time.Sleep(100 * time.Millisecond)
	}
	for left := descendants(); len(left) > 0; left = descendants() {
		for _, process := range left {
			syscall.Kill(process, syscall.SIGKILL)
		}
	}
	os.Exit(leftBehind)
}

// descendants returns the processes that this one, or one of them, started and that run.
func descendants() []int {
	parents := make(map[int]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		text, _ := os.ReadFile(stat) // <pid> (<name>) <state> <parent> ...
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		process, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if len(fields) > 1 && fields[0] != "Z" {
			parents[process], _ = strconv.Atoi(fields[1])
		}
	}
	return slices.DeleteFunc(slices.Collect(maps.Keys(parents)), func(process int) bool {
		for process != 0 && parents[process] != os.Getpid() {
			process = parents[process]
		}
		return process == 0
	})
}

// command returns a command that ends with the tests, with all it starts.
func command(name string, arguments ...string) (c *exec.Cmd, end func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	c = exec.Command(self, append([]string{name}, arguments...)...)
	c.Env = append(os.Environ(), watched+"=yes")
	stdin, err := c.StdinPipe()
	return c, func() { stdin.Close() }, err
}

// syncBuffer is a buffer that may be read while it is written to.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
