// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// When, and how, a terminal is written to in color.

package admincommand

import (
	"os"

	"golang.org/x/term"
)

// Color is the parameter of the escape sequence that turns it on. Any terminal has these.
type Color string

const (
	Plain  Color = ""
	Bold   Color = "1"
	Red    Color = "31"
	Green  Color = "32"
	Yellow Color = "33"
)

// Colored is a value in a color, which adds nothing that the words do not say.
type Colored struct {
	Value any
	Color Color
}

// Terminal is what output is written to.
type Terminal struct {
	Width  int // in columns; 0 if that is unknown, or no terminal
	Colors bool
}

// TerminalOf returns what the file is. There are no colors in a file or a pipe, where NO_COLOR
// (https://no-color.org) is set, and where TERM is "dumb" or, as on a Windows console, not set.
func TerminalOf(file *os.File) (t Terminal) {
	fd := int(file.Fd())
	if !term.IsTerminal(fd) {
		return t
	}
	kind := os.Getenv("TERM")
	t.Colors = os.Getenv("NO_COLOR") == "" && kind != "" && kind != "dumb"
	if width, _, err := term.GetSize(fd); err == nil {
		t.Width = width
	}
	return t
}

// Paint returns the text in the color, if the terminal has colors.
func (t Terminal) Paint(c Color, text string) string {
	if !t.Colors || c == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}
