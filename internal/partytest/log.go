// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytest

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// memoryLog is a log output that keeps what is logged.
type memoryLog struct{}

var logged struct {
	sync.Mutex
	bytes.Buffer
}

func (memoryLog) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.test_memory", New: func() caddy.Module { return new(memoryLog) }}
}
func (memoryLog) String() string                                 { return "memory" }
func (memoryLog) WriterKey() string                              { return "memory" }
func (memoryLog) OpenWriter() (io.WriteCloser, error)            { return memoryLog{}, nil }
func (*memoryLog) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }
func (memoryLog) Close() error                                   { return nil }
func (memoryLog) Write(p []byte) (int, error) {
	logged.Lock()
	defer logged.Unlock()
	return logged.Write(p)
}

func init() { caddy.RegisterModule(memoryLog{}) }

// ResetLog forgets what was logged.
func ResetLog() {
	logged.Lock()
	defer logged.Unlock()
	logged.Buffer = bytes.Buffer{}
}

// Logged returns what was logged since the running test's first Caddy, or ResetLog.
func Logged() string {
	logged.Lock()
	defer logged.Unlock()
	return logged.String()
}

// Entry is a line of the log.
type Entry map[string]any

// AllLogEntries returns what was logged, as Logged does.
func AllLogEntries(t testing.TB) []Entry {
	t.Helper()
	var entries []Entry
	for line := range strings.Lines(Logged()) {
		var e Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		entries = append(entries, e)
	}
	return entries
}

// LogEntries returns what was logged with one of these messages.
func LogEntries(t testing.TB, messages ...string) []Entry {
	t.Helper()
	return slices.DeleteFunc(AllLogEntries(t), func(e Entry) bool {
		message, _ := e["msg"].(string)
		return !slices.Contains(messages, message)
	})
}

// LastHTTPError returns the message of the last error that Caddy logged for a request.
func LastHTTPError(t testing.TB) string {
	t.Helper()
	last := ""
	for _, e := range AllLogEntries(t) {
		if logger, _ := e["logger"].(string); e["level"] == "error" && strings.HasPrefix(logger, "http.log.error") {
			last, _ = e["msg"].(string)
		}
	}
	return last
}

// Message is what is logged of an invite with that result.
func Message[R ~string](result R) string {
	if result == "joined" {
		return "guest joined"
	}
	return "invite " + strings.ReplaceAll(string(result), "_", " ")
}

// InvitesLogged returns what was logged of a guest's invites, or of all for "", one
// after the other.
func InvitesLogged(t testing.TB, guest string) []Entry {
	t.Helper()
	return slices.DeleteFunc(LogEntries(t, "guest joined", "invite not answered", "invite refused", "invite failed"), func(e Entry) bool {
		return guest != "" && e["guest"] != guest
	})
}

// InviteLogged returns the one log entry that says what became of an invite.
func InviteLogged(t testing.TB) Entry {
	t.Helper()
	entries := InvitesLogged(t, "")
	if len(entries) != 1 {
		t.Fatalf("%d invites are logged, want 1: %v", len(entries), entries)
	}
	return entries[0]
}
