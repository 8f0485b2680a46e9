// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/wsgiparty/wsgiparty/party"
)

// table is rows of cells with tabs between them.
type table struct{ strings.Builder }

func newTable(titles ...any) *table {
	t := new(table)
	t.row(titles...)
	return t
}

func (t *table) row(cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			t.WriteByte('\t')
		}
		t.WriteString(cmp.Or(strings.Map(printable, fmt.Sprint(cell)), "-"))
	}
	t.WriteByte('\n')
}

// printable keeps what guests say from moving the terminal's cursor.
func printable(r rune) rune {
	if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
		return ' '
	}
	return r
}

// print prints the tables in aligned columns, unless --json has printed what is in them.
func print(fl caddycmd.Flags, tables ...*table) error {
	if fl.Bool("json") {
		return nil
	}
	var text bytes.Buffer
	aligned := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprint(aligned, strings.Join(each(tables, (*table).String), "\n"))
	aligned.Flush()
	_, err := text.WriteTo(os.Stdout)
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
