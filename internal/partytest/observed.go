// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
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

// Figures are the values of a party's series by name and other labels, as in
// `asks_total{service="url"}`.
type Figures map[string]float64

// ReadFigures returns the figures of each party in a page of metrics.
func ReadFigures(page io.Reader) (map[string]Figures, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(page)
	if err != nil {
		return nil, err
	}
	parties := make(map[string]Figures)
	for name, family := range families {
		name, ok := strings.CutPrefix(name, "caddy_wsgi_party_")
		if !ok {
			continue
		}
		for _, m := range family.GetMetric() {
			var party string
			labels := make(map[string]string)
			for _, l := range m.GetLabel() {
				if l.GetName() == "party" {
					party = l.GetValue()
				} else {
					labels[l.GetName()] = l.GetValue()
				}
			}
			if parties[party] == nil {
				parties[party] = make(Figures)
			}
			set := func(suffix string, value float64) { parties[party][name+suffix+Labels(labels)] = value }
			switch family.GetType().String() {
			case "COUNTER":
				set("", m.GetCounter().GetValue())
			case "GAUGE":
				set("", m.GetGauge().GetValue())
			case "HISTOGRAM":
				set("_count", float64(m.GetHistogram().GetSampleCount()))
				set("_sum", m.GetHistogram().GetSampleSum())
				for _, b := range m.GetHistogram().GetBucket() {
					labels["le"] = fmt.Sprint(b.GetUpperBound())
					set("_bucket", float64(b.GetCumulativeCount()))
				}
			default:
				return nil, fmt.Errorf("%s is a %s", name, family.GetType())
			}
		}
	}
	return parties, nil
}

// Labels are a series' labels as Figures has them.
func Labels(labels map[string]string) string {
	var written []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		written = append(written, fmt.Sprintf("%s=%q", name, labels[name]))
	}
	if len(written) == 0 {
		return ""
	}
	return "{" + strings.Join(written, ",") + "}"
}

// Figures are the party's at the admin endpoint.
func (c *Caddy) Figures(party string) Figures {
	c.Helper()
	parties, err := ReadFigures(strings.NewReader(c.Call("GET", "/metrics", "").Body))
	if err != nil {
		c.Fatal(err)
	}
	return parties[party]
}
