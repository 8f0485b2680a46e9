// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// caddyfileGolden is a Caddyfile and what adapting it gives: the JSON or the error's text.
type caddyfileGolden struct{ name, caddyfile, want string }

func caddyfileGoldens(tb testing.TB) []caddyfileGolden {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "caddyfile", "*.caddyfiletest"))
	check.FatalIf(tb, err != nil || len(files) == 0, "no goldens: %v", err)
	// The file that file_server hides is written as the OS writes it.
	hidden := check.Value(json.Marshal("." + string(filepath.Separator) + "Caddyfile"))(tb)
	var all []caddyfileGolden
	for _, file := range files {
		content := check.Value(os.ReadFile(file))(tb)
		text := strings.ReplaceAll(string(content), "\r\n", "\n")
		input, want, _ := strings.Cut(text, "\n----------\n")
		want = strings.ReplaceAll(strings.TrimSpace(want), `"./Caddyfile"`, string(hidden))
		check.FatalIf(tb, want == "", "%s says nothing below its ----------", file)
		name := strings.TrimSuffix(filepath.Base(file), ".caddyfiletest")
		all = append(all, caddyfileGolden{name, input, want})
	}
	return all
}

func TestCaddyfile(t *testing.T) {
	for _, g := range caddyfileGoldens(t) {
		t.Run(g.name, func(t *testing.T) {
			config, warnings, err := partytest.AdaptCaddyfile(g.caddyfile)
			if !strings.HasPrefix(g.want, "{") {
				check.FatalIf(t, err == nil, "adapted, want the error\n%s", g.want)
				check.FatalIf(t, !strings.Contains(err.Error(), g.want), "got the error\n%v\nwant\n%s", err, g.want)
				return
			}
			check.Must(t, err)
			for _, warning := range warnings {
				check.Has(t, warning.Message, "not formatted", warning)
			}
			check.Equal(t, indentJSON(t, config), indentJSON(t, []byte(g.want)), "got\n\nwant\n%s", g.want)
			partytest.CheckAdaptedAgain(t, g.caddyfile, config)
			check.ErrorIf(t, checkParties(t, config) == 0, "no party in the JSON")
		})
	}
}

// FuzzCaddyfile checks that no Caddyfile makes the parser panic, and that what it
// makes of one is always the same and decodes into parties that encode to it.
func FuzzCaddyfile(f *testing.F) {
	for _, g := range caddyfileGoldens(f) {
		f.Add(g.caddyfile)
	}
	f.Fuzz(func(t *testing.T, input string) {
		if !strings.Contains(input, "wsgi_party") || importsFiles(input) {
			return
		}
		config, _, err := partytest.AdaptCaddyfile(input)
		if err != nil {
			return
		}
		partytest.CheckAdaptedAgain(t, input, config)
		checkParties(t, config)
	})
}

var importDirective = regexp.MustCompile(`import(?:[ \t]+([\w-]+)(?:\s|$))?`)

// importsFiles reports whether the Caddyfile may import anything but its own
// snippets.
func importsFiles(input string) bool {
	for _, match := range importDirective.FindAllStringSubmatch(input, -1) {
		if match[1] == "" || !strings.Contains(input, "("+match[1]+")") {
			return true
		}
	}
	return false
}

func indentJSON(t *testing.T, config []byte) string {
	t.Helper()
	var b bytes.Buffer
	check.Must(t, json.Indent(&b, config, "", "\t"))
	return b.String()
}

// checkParties checks that every party in the JSON decodes strictly, and encodes to
// what it was. It returns how many there are.
func checkParties(t *testing.T, config []byte) int {
	t.Helper()
	return partytest.CheckHandlers[wsgiparty.Party](t, config, "wsgi_party")
}
