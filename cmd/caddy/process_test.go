// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// startCaddy runs Caddy with a Caddyfile, in which ADMIN and SITE stand for addresses,
// and returns these and the Caddyfile's path. It ends with the test, as it should.
func startCaddy(t *testing.T, caddyfile string) (admin, site, config string) {
	t.Helper()
	admin, site = testport.Address(t), testport.Address(t)
	config = filepath.Join(t.TempDir(), "Caddyfile")
	caddyfile = strings.NewReplacer("ADMIN", admin, "SITE", "http://"+site).Replace(caddyfile)
	if err := os.WriteFile(config, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	process := runCaddy(t, config)
	var log bytes.Buffer
	started, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		serving := sync.OnceFunc(func() { close(started) })
		lines := bufio.NewReader(process.stderr)
		for {
			line, err := lines.ReadBytes('\n')
			log.Write(line)
			if bytes.Contains(line, []byte(`"serving initial configuration"`)) {
				serving()
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		failed := t.Failed()
		stopped := false
		for tries := 0; !failed && !stopped && tries < 10; tries++ { // after a reload Caddy's old admin server may reset a connection
			_, _, status := runCommand(t, "stop", "--config", config)
			stopped = status == 0
		}
		if !stopped {
			process.kill()
		}
		<-ended
		if err := process.Wait(); err != nil && !failed || bytes.Contains(log.Bytes(), []byte("DATA RACE")) {
			t.Errorf("Caddy ends with %v", err)
		}
		if t.Failed() {
			t.Logf("...%s", log.Bytes()[max(0, log.Len()-5000):])
		}
	})
	select {
	case <-started:
	case <-ended:
		t.Fatal("Caddy did not start")
	}
	return admin, site, config
}

// runCommand runs `caddy` and returns what it writes, and its exit status.
func runCommand(t *testing.T, arguments ...string) (stdout, stderr string, status int) {
	t.Helper()
	process := caddyCommand(t, arguments...)
	var out, log bytes.Buffer
	process.Stdout, process.Stderr = &out, &log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(2*time.Minute, func() { process.Process.Kill() })
	defer watchdog.Stop()
	if err := process.Wait(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	// Where stderr is not a terminal, Caddy logs JSON.
	var said []string
	for line := range strings.Lines(log.String()) {
		var entry struct{ Msg string }
		if json.Unmarshal([]byte(line), &entry) == nil {
			line = entry.Msg
		}
		said = append(said, strings.TrimSpace(line))
	}
	return out.String(), strings.Join(said, "\n"), process.ProcessState.ExitCode()
}

// expectCommand runs `caddy wsgi-party`. It fails the test unless that exits with
// the status, and what it says on stderr contains all that. It returns what is on
// stdout.
func expectCommand(t *testing.T, status int, want []string, arguments ...string) string {
	t.Helper()
	stdout, stderr, got := runCommand(t, append([]string{"wsgi-party"}, arguments...)...)
	if got != status {
		t.Errorf("%q: status %d, want %d: %s\n%s", arguments, got, status, stderr, stdout)
	}
	for _, part := range want {
		if !strings.Contains(stderr, part) {
			t.Errorf("%q says %s, without %s", arguments, stderr, part)
		}
	}
	if status != 0 && stderr == "" {
		t.Errorf("%q fails without a word", arguments)
	}
	if status == 0 && strings.Contains(stderr, "error") {
		t.Errorf("%q says %s", arguments, stderr)
	}
	return stdout
}

// callAdmin makes a request to the admin API, by a connection of its own.
func callAdmin(method, url, contentType, body string) (int, string, error) {
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", contentType)
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, string(answer), err
}

var tableCell = regexp.MustCompile(`\S+(?: \S+)*`)

// tables returns the rows of all tables by their titles. The cells have to stand
// below these.
func tables(t *testing.T, text string) [][]map[string]string {
	t.Helper()
	var found [][]map[string]string
	for block := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n\n") {
		var titles []string
		var columns []int
		var rows []map[string]string
		for line := range strings.SplitSeq(block, "\n") {
			row := make(map[string]string)
			var at []int
			for i, place := range tableCell.FindAllStringIndex(line, -1) {
				at = append(at, utf8.RuneCountInString(line[:place[0]]))
				if cell := line[place[0]:place[1]]; columns == nil {
					titles = append(titles, cell)
				} else if i < len(titles) {
					row[titles[i]] = cell
				}
			}
			if columns == nil {
				columns = at
				continue
			}
			if !reflect.DeepEqual(at, columns) {
				t.Errorf("not aligned: %q begins in the columns %v, want %v:\n%s", line, at, columns, block)
			}
			rows = append(rows, row)
		}
		found = append(found, rows)
	}
	return found
}

// column returns what stands in a column of a table.
func column(rows []map[string]string, title string) string {
	var cells []string
	for _, row := range rows {
		cells = append(cells, row[title])
	}
	return strings.Join(cells, "|")
}
