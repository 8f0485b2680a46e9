// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/wsgiparty/wsgiparty/party"
)

// table is text in aligned columns.
type table struct {
	text   bytes.Buffer
	writer *tabwriter.Writer
}

func newTable(titles ...any) *table {
	t := new(table)
	t.writer = tabwriter.NewWriter(&t.text, 0, 0, 2, ' ', 0)
	t.row(titles...)
	return t
}

func (t *table) row(cells ...any) {
	for i, cell := range cells {
		text := fmt.Sprint(cell)
		if text == "" {
			text = "-"
		}
		if i > 0 {
			fmt.Fprint(t.writer, "\t")
		}
		fmt.Fprint(t.writer, strings.Map(printable, text))
	}
	fmt.Fprintln(t.writer)
}

// printable keeps what guests say from moving the terminal's cursor.
func printable(r rune) rune {
	if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
		return ' '
	}
	return r
}

func (t *table) print() error {
	t.writer.Flush()
	_, err := t.text.WriteTo(os.Stdout)
	return err
}

func newInviteTable() *table {
	return newTable("INVITE", "GUEST", "RESULT", "STATUS", "DURATION", "OLD MANIFEST", "ERROR", "HINT")
}

func (t *table) invite(i inviteJSON, result string) {
	old := ""
	if !i.OldManifest.IsZero() {
		old = i.OldManifest.Local().Format(time.DateTime)
	}
	t.row(i.URI, i.Guest, result, i.Status, seconds(i.Duration), old, firstLine(i.Error), i.Hint)
}

// forPeople returns the result as it is shown to people.
func forPeople(r party.InviteResult) string { return strings.ReplaceAll(string(r), "_", " ") }

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
