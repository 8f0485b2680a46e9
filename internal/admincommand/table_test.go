// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package admincommand

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func written(t *Table, terminal Terminal) string {
	var b strings.Builder
	t.write(&b, terminal)
	return b.String()
}

func TestTablesFitTheirTerminal(t *testing.T) {
	table := NewTable("GUEST", "STATUS", "ERROR", "HINT")
	table.Row("größe", Colored{"joined", Green}, "", "")
	table.Row("b", Colored{"failed", Red}, "dial tcp: connection refused", "is the application running? Caddy asks again by itself")
	check.Equal(t, written(table, Terminal{}), ""+
		"GUEST  STATUS  ERROR                         HINT\n"+
		"größe  joined  -                             -\n"+
		"b      failed  dial tcp: connection refused  is the application running? Caddy asks again by itself\n")
	check.Equal(t, written(table, Terminal{Width: 60}), ""+
		"GUEST  STATUS  ERROR\n"+
		"größe  joined  -\n"+
		"b      failed  dial tcp: connection refused\n"+
		"    hint  is the application running? Caddy asks again by\n"+
		"          itself\n")
	check.Equal(t, written(table, Terminal{Width: 32, Colors: true}), ""+
		"\x1b[1mGUEST\x1b[0m  \x1b[1mSTATUS\x1b[0m\n"+
		"größe  \x1b[32mjoined\x1b[0m\n"+
		"b      \x1b[31mfailed\x1b[0m\n"+
		"    \x1b[1merror\x1b[0m  dial tcp: connection\n"+
		"           refused\n"+
		"    \x1b[1mhint\x1b[0m   is the application\n"+
		"           running? Caddy asks\n"+
		"           again by itself\n")
	table = NewTable("GUEST", "MANIFEST OF", "ERROR", "HINT")
	table.Row("blog", "", "", "")
	table.Row("shop", "", "", "")
	check.Equal(t, written(table, Terminal{Width: 20}), "GUEST\nblog\nshop\n")
	check.Equal(t, strings.Count(written(table, Terminal{Width: 40}), "HINT"), 1, "there is room for it")
	check.Equal(t, strings.Count(written(table, Terminal{}), "HINT"), 1, "scripts get all columns")
	check.Equal(t, written(NewTable("GUESTS ASK AT", "http://127.0.0.1:2080/"), Terminal{Width: 10}), "GUESTS ASK AT  http://127.0.0.1:2080/\n")
}

func TestWhatIsNoCharacterToLookAtIsEscaped(t *testing.T) {
	for text, want := range map[string]string{
		"größe 猫 🙂":                "größe 猫 🙂",
		"\x1b[2J\a\r\n\t":          `\x1b[2J\a\r\n\t`,
		"\u009b1m\u202e\u00ad\x7f": `\u009b1m\u202e\u00ad\x7f`,
		"\xff":                     "\ufffd",
	} {
		check.Equal(t, Printable(text), want)
	}
}

func FuzzTable(f *testing.F) {
	f.Add("guest", "an error with spaces", 80)
	f.Add("\x1b[31m", strings.Repeat("x", 300), 1)
	f.Fuzz(func(t *testing.T, name, text string, width int) {
		table := NewTable("GUEST", "ERROR")
		table.Row(name, text)
		got := written(table, Terminal{Width: width})
		if i := strings.IndexFunc(got, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }); i >= 0 || !utf8.ValidString(got) {
			t.Errorf("%q", got)
		}
		if letters := func(s string) string { return strings.Join(strings.Fields(s), "") }; Printable(text) != "" && !strings.Contains(letters(got), letters(Printable(text))) {
			t.Errorf("%q is not all of %q", got, text)
		}
		if strings.Count(got, "\n") > 3+utf8.RuneCountInString(Printable(text)) {
			t.Errorf("it has too many lines: %q", got)
		}
	})
}
