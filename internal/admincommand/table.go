// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Tables for people: aligned, coloured on a terminal, and no wider than that.

package admincommand

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// Table is rows of cells below their titles.
type Table struct{ rows [][]cell }

type cell struct {
	text  string
	color Color
}

// NewTable returns a table with these titles of its columns.
func NewTable(titles ...any) *Table {
	t := new(Table)
	t.Row(titles...)
	for i := range t.rows[0] {
		t.rows[0][i].color = Bold
	}
	return t
}

// Row adds a row. A cell that is empty is written as "-", and one that is In a color has it on terminals.
func (t *Table) Row(cells ...any) {
	row := make([]cell, len(cells))
	for i, c := range cells {
		in, ok := c.(Colored)
		if !ok {
			in.Value = c
		}
		row[i] = cell{cmp.Or(Printable(fmt.Sprint(in.Value)), empty), in.Color}
	}
	t.rows = append(t.rows, row)
}

// Printable keeps what guests say from reaching a terminal as anything but text: what is not a character to
// look at is written as in Go, like `\x1b`.
func Printable(text string) string {
	if utf8.ValidString(text) && strings.IndexFunc(text, isNoGlyph) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if isNoGlyph(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isNoGlyph(r rune) bool { return !unicode.IsGraphic(r) }

// Print prints the tables, unless --json has printed what is in them.
func Print(fl caddycmd.Flags, tables ...*Table) error {
	if fl.Bool("json") {
		return nil
	}
	to := TerminalOf(os.Stdout)
	var text strings.Builder
	for i, t := range tables {
		if i > 0 {
			text.WriteByte('\n')
		}
		t.write(&text, to)
	}
	_, err := os.Stdout.WriteString(text.String())
	return err
}

const (
	gap   = "  "
	empty = "-"
)

// write writes the table in aligned columns. Where the terminal is too narrow for them, it leaves out those that
// are empty, and writes the widest below their row.
func (t *Table) write(to *strings.Builder, terminal Terminal) {
	widths, folded := t.fit(terminal.Width)
	below := 0 // the width of the titles there
	for column, title := range t.rows[0] {
		if folded[column] && !t.isEmpty(column) {
			below = max(below, utf8.RuneCountInString(title.text))
		}
	}
	for i, row := range t.rows {
		last := len(row) - 1
		for last > 0 && folded[last] {
			last--
		}
		for column, c := range row[:last+1] {
			if folded[column] {
				continue
			}
			to.WriteString(terminal.Paint(c.color, c.text))
			if column < last {
				to.WriteString(strings.Repeat(" ", widths[column]-utf8.RuneCountInString(c.text)) + gap)
			}
		}
		to.WriteByte('\n')
		for column, c := range row {
			if i > 0 && folded[column] && c.text != empty {
				writeBelow(to, terminal, strings.ToLower(t.rows[0][column].text), below, c)
			}
		}
	}
}

// fit returns the widths of the columns, and which of them do not fit.
func (t *Table) fit(width int) (widths []int, folded []bool) {
	titles := t.rows[0]
	widths, folded = make([]int, len(titles)), make([]bool, len(titles))
	sum := -len(gap)
	for i := range titles {
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
		sum += widths[i] + len(gap)
	}
	fold := func(column int) {
		folded[column] = true
		sum -= widths[column] + len(gap)
	}
	if width > 0 && sum > width && len(t.rows) > 1 {
		for i := 1; i < len(titles); i++ {
			if t.isEmpty(i) {
				fold(i)
			}
		}
	}
	for width > 0 && sum > width && len(t.rows) > 1 {
		widest := 0
		for i := 1; i < len(titles); i++ {
			if !folded[i] && (widest == 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest == 0 {
			break // the first column stays
		}
		fold(widest)
	}
	return widths, folded
}

// isEmpty reports whether there is nothing in a column but its title.
func (t *Table) isEmpty(column int) bool {
	return !slices.ContainsFunc(t.rows[1:], func(row []cell) bool { return row[column].text != empty })
}

const (
	indent    = "    "
	leastText = 20 // columns of text, however narrow the terminal
)

// writeBelow writes a cell on lines of its own, with its title, beside titles of that width.
func writeBelow(to *strings.Builder, terminal Terminal, title string, width int, c cell) {
	hanging := len(indent) + width + len(gap)
	room := max(terminal.Width-hanging, leastText)
	for i, line := range wrap(c.text, room) {
		if i == 0 {
			to.WriteString(indent + terminal.Paint(Bold, title) + strings.Repeat(" ", width-utf8.RuneCountInString(title)) + gap)
		} else {
			to.WriteString(strings.Repeat(" ", hanging))
		}
		to.WriteString(terminal.Paint(c.color, line) + "\n")
	}
}

// wrap breaks text into lines, at spaces where there are any.
func wrap(text string, width int) (lines []string) {
	rest := []rune(text)
	for len(rest) > width {
		at := width
		for i := width; i > 0; i-- {
			if rest[i] == ' ' {
				at = i
				break
			}
		}
		lines = append(lines, string(rest[:at]))
		rest = rest[at:]
		rest = rest[max(slices.IndexFunc(rest, func(r rune) bool { return r != ' ' }), 0):]
	}
	return append(lines, string(rest))
}
