// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The processes of a group of rows: each is started on loopback, and ended with the group.

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A stage has the processes of a group of rows.
type stage struct {
	dir     string // of logs and configs
	bin     string // of what run has built
	source  string // of this module
	admin   string // the address of Caddy's admin API
	started []*process
}

// A process is one that was started, and whether it has ended.
type process struct {
	*exec.Cmd
	log  string
	done chan struct{}
}

// start starts a program with what is added to the environment. Its output goes to a log of that name.
func (s *stage) start(name string, env []string, program string, args ...string) (*process, error) {
	return s.startWith(nil, nil, name, env, program, args...)
}

func (s *stage) startWith(in, out *os.File, name string, env []string, program string, args ...string) (*process, error) {
	if filepath.Base(program) == program && program != "node" && program != "uwsgi" {
		program = filepath.Join(s.bin, program)
	}
	p := &process{exec.Command(program, args...), filepath.Join(s.dir, name+".log"), make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.Dir, p.Stdout, p.Stderr = s.dir, log, log
	if in != nil {
		p.Stdin, p.Stdout = in, out
	}
	p.Env = append(os.Environ(), env...)
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.Wait()
		close(p.done)
	}()
	s.started = append(s.started, p)
	return p, nil
}

// pipes are those of a process that is told by its standard input what to do.
type pipes struct {
	in  io.Writer
	out io.Reader
}

// pipe starts a program that is told what to do.
func (s *stage) pipe(name string, env []string, program string, args ...string) (*pipes, error) {
	inReads, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, outWrites, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer inReads.Close()
	defer outWrites.Close()
	_, err = s.startWith(inReads, outWrites, name, env, program, args...)
	return &pipes{in, out}, err
}

// serve starts a program, and waits until it listens.
func (s *stage) serve(address, name string, env []string, program string, args ...string) error {
	p, err := s.start(name, env, program, args...)
	if err != nil {
		return err
	}
	err = until(20*time.Second, func() error {
		select {
		case <-p.done:
			return fatal{fmt.Errorf("it has ended: %v", p.ProcessState)}
		default:
		}
		connection, err := net.Dial("tcp", address)
		if err == nil {
			connection.Close()
		}
		return err
	})
	if err != nil {
		text, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s: %w\n%.4000s", name, err, text)
	}
	return nil
}

// end ends all processes, the last one first.
func (s *stage) end() {
	for i := len(s.started) - 1; i >= 0; i-- {
		p := s.started[i]
		_ = p.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(time.Second):
			_ = p.Process.Kill()
			<-p.done
		}
	}
	s.started = nil
}

// write writes a file into the stage's folder.
func (s *stage) write(name, text string) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// fatal is an error that does not go away by waiting.
type fatal struct{ error }

// until calls a function until it has no error.
func until(most time.Duration, do func() error) error {
	for end := time.Now().Add(most); ; time.Sleep(20 * time.Millisecond) {
		err := do()
		var never fatal
		if err == nil || errors.As(err, &never) || time.Now().After(end) {
			return err
		}
	}
}

// addresses returns addresses at which nobody listens.
func addresses(n int) ([]string, error) {
	free := make([]string, n)
	for i := range free {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close() // only when all are found, so that they differ
		free[i] = listener.Addr().String()
	}
	return free, nil
}
