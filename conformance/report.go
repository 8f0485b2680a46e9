// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Result is what came of a sentence.
type Result string

const (
	OK   Result = "ok"
	Skip Result = "skip" // it could not be tested, or does not concern this application
	Warn Result = "warn" // it works, but hardly as it is meant
	Fail Result = "fail"
)

// rank orders results: of several the worst counts.
func (r Result) rank() int { return slices.Index([]Result{Skip, OK, Warn, Fail}, r) }

// Line is what came of one sentence of docs/guests.md.
type Line struct {
	// ID names the sentence. It does not change.
	ID string `json:"id"`

	Result Result `json:"result"`

	// What the sentence says, in short.
	What string `json:"what"`

	// Seen is what the application did, or why that was not to be seen.
	Seen string `json:"seen"`

	// Write is what to do about it. It is empty if all is well.
	Write string `json:"write,omitempty"`

	// Section is where docs/guests.md says it.
	Section string `json:"section"`
}

// Report is what came of a check.
type Report struct {
	Invite string `json:"invite"` // what was asked for its manifest
	Mount  string `json:"mount"`
	Guest  string `json:"guest"`

	// Passed is whether no line failed.
	Passed bool `json:"passed"`

	// Counts is how many lines have each result.
	Counts map[Result]int `json:"counts"`

	Lines []Line `json:"lines"`
}

// Line returns the line of that ID.
func (r *Report) Line(id string) Line {
	for _, line := range r.Lines {
		if line.ID == id {
			return line
		}
	}
	panic("no sentence " + id)
}

// Failed returns the lines that failed.
func (r *Report) Failed() (lines []Line) {
	for _, line := range r.Lines {
		if line.Result == Fail {
			lines = append(lines, line)
		}
	}
	return lines
}

// T is a test, such as a *testing.T.
type T interface {
	Helper()
	Errorf(format string, arguments ...any)
}

// Expect fails a test for each line that failed, and for each warning that is not of
// one of these sentences.
func (r *Report) Expect(t T, warnings ...string) {
	t.Helper()
	for _, line := range r.Lines {
		if line.Result == Fail || line.Result == Warn && !slices.Contains(warnings, line.ID) {
			t.Errorf("%s %s: %s: %s: %s", line.Result, line.ID, line.What, line.Seen, line.Write)
		}
	}
}

// WriteJSON writes the report as one object, in lines that people can read, too.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "\t")
	return encoder.Encode(r)
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	width := 0
	for _, line := range r.Lines {
		width = max(width, utf8.RuneCountInString(line.What))
	}
	var b strings.Builder
	for i, line := range r.Lines {
		if line.isAs(r.Lines, i-1) {
			if line.isAs(r.Lines, i-2) {
				continue // it is among those that are counted
			}
			if n := alike(r.Lines[i:]); n > 1 {
				line.What = fmt.Sprintf("… and %d more", n)
			}
		}
		result := string(line.Result)
		if line.Result == Fail {
			result = "FAIL"
		}
		fmt.Fprintf(&b, "%-4s  %-*s  %s\n", result, width, line.What, line.Seen)
		if line.Write != "" {
			fmt.Fprintf(&b, "      %s\n", line.Write)
		}
	}
	warnings := "warnings"
	if r.Counts[Warn] == 1 {
		warnings = "warning"
	}
	fmt.Fprintf(&b, "\n%d ok, %d failed, %d %s, %d skipped\n", r.Counts[OK], r.Counts[Fail], r.Counts[Warn], warnings, r.Counts[Skip])
	_, err := io.WriteString(w, b.String())
	return err
}

// isAs reports whether the line before it, that of this index, was skipped for the same reason.
func (l Line) isAs(lines []Line, i int) bool {
	return i >= 0 && l.Result == Skip && lines[i].Result == Skip && lines[i].Seen == l.Seen
}

// alike returns how many lines from the first one on were skipped for the same reason.
func alike(lines []Line) (n int) {
	for n < len(lines) && lines[n].Result == Skip && lines[n].Seen == lines[0].Seen {
		n++
	}
	return n
}

// maxSeen is how many things are told that were seen of one sentence.
const maxSeen = 3

// finding is what was seen of a sentence so far.
type finding struct {
	result Result
	seen   []string // each once
	times  map[string]int
	write  string
}

// add notes what was seen, unless something worse was.
func (f *finding) add(result Result, seen, write string) {
	switch {
	case f.result == "" || result.rank() > f.result.rank():
		*f = finding{result: result, write: write, times: make(map[string]int)}
	case result.rank() < f.result.rank():
		return
	}
	if f.times[seen]++; f.times[seen] == 1 {
		f.seen = append(f.seen, seen)
	}
}

func (f *finding) String() string {
	var told []string
	for _, seen := range f.seen[:min(len(f.seen), maxSeen)] {
		if times := f.times[seen]; times > 1 {
			seen += fmt.Sprintf(" (%d times)", times)
		}
		told = append(told, seen)
	}
	if more := len(f.seen) - maxSeen; more > 0 {
		told = append(told, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(told, "; ")
}

// maxPrinted is how many characters of what is seen are told.
const maxPrinted = 400

// printable is a text that moves no cursor and fits some lines.
func printable(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n++; n > maxPrinted {
			b.WriteString("…")
			break
		}
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			b.WriteByte(' ')
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteRune(utf8.RuneError)
		}
	}
	return b.String()
}
