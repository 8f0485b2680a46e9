// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package docs tests what the README and these pages say: links lead, programs run, configs load, and
// each message of the log is listed.
package docs

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/wsgiparty/wsgiparty"
	_ "github.com/wsgiparty/wsgiparty/examples/gopher"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// asCaddy is the variable with which this program is Caddy.
const asCaddy = "WSGI_PARTY_DOCS_CADDY"

func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) != "" {
		caddycmd.Main()
		return
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE"} { // which are below HOME, and that is another one in tests
		if value, err := exec.Command("go", "env", name).Output(); err == nil {
			os.Setenv(name, strings.TrimSpace(string(value)))
		}
	}
	partytest.Main(m, wsgiparty.Lookup, wsgiparty.Join, wsgiparty.OperatorFrom, wsgiparty.ErrHighAndDry)
}

// pages returns the texts of the README, of the pages in this folder, and of what else is for people to
// read, by their paths in the repository.
func pages(t testing.TB) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, pattern := range []string{"*.md", "docs/*.md", "clients/*/README.md", "examples/*/README.md", "bench/README.md"} {
		for _, file := range check.Value(filepath.Glob(filepath.Join("..", pattern)))(t) {
			found[filepath.ToSlash(strings.TrimPrefix(file, "../"))] = string(check.Value(os.ReadFile(file))(t))
		}
	}
	return found
}

// block is what stands between fences.
type block struct {
	page, language, text string
	line                 int
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

var fence = regexp.MustCompile("^( *)```(\\w*)$")

// blocks returns those of the README and of the pages in this folder.
func blocks(t testing.TB) (found []block) {
	t.Helper()
	all := pages(t)
	for _, page := range slices.Sorted(maps.Keys(all)) {
		if dir := path.Dir(page); page != "README.md" && dir != "docs" {
			continue
		}
		var open *block
		indent := ""
		for i, line := range strings.Split(all[page], "\n") {
			match := fence.FindStringSubmatch(line)
			switch {
			case open == nil && match != nil:
				indent = match[1]
				open = &block{page: page, language: match[2], line: i + 1}
			case open != nil && match != nil && match[2] == "":
				found = append(found, *open)
				open = nil
			case open != nil:
				open.text += strings.TrimPrefix(line, indent) + "\n"
			}
		}
		check.ErrorIf(t, open != nil, "%s has a block without an end", page)
	}
	return found
}

// prose returns a page without its blocks.
func prose(text string) string {
	var out strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		if fence.MatchString(strings.TrimSuffix(line, "\n")) {
			inside = !inside
		} else if !inside {
			out.WriteString(line)
		}
	}
	return out.String()
}

// anchors returns the anchors that GitHub gives the headings of a page.
func anchors(text string) map[string]bool {
	found := make(map[string]bool)
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(prose(text), -1) {
		var anchor strings.Builder
		for _, r := range strings.ToLower(heading[1]) {
			switch {
			case r == ' ':
				anchor.WriteByte('-')
			case unicode.IsLetter(r), unicode.IsNumber(r), r == '-', r == '_':
				anchor.WriteRune(r)
			}
		}
		name := anchor.String()
		for n := 1; found[name]; n++ {
			name = fmt.Sprintf("%s-%d", anchor.String(), n)
		}
		found[name] = true
	}
	return found
}

var (
	inlineCode = regexp.MustCompile("`[^`\n]*`")
	target     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	reference  = regexp.MustCompile(`(?m)^\[([^\]]+)\]: (\S+)$`)
	referred   = regexp.MustCompile(`\]\[([^\]]+)\]`)
)

// links returns where a page leads.
func links(t testing.TB, page, text string) (found []string) {
	text = inlineCode.ReplaceAllString(prose(text), "``")
	references := make(map[string]string)
	for _, match := range reference.FindAllStringSubmatch(text, -1) {
		references[match[1]] = match[2]
	}
	for _, match := range target.FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	used := make(map[string]bool)
	for _, match := range referred.FindAllStringSubmatch(text, -1) {
		used[match[1]] = true
		check.ErrorIf(t, references[match[1]] == "", "%s: nothing is called [%s]", page, match[1])
	}
	for name, to := range references {
		check.ErrorIf(t, !used[name] && !strings.Contains(text, "["+name+"] "), "%s: nobody needs [%s]", page, name)
		found = append(found, to)
	}
	return found
}

// TestAllLinksLead follows each link to a file and to a heading.
func TestAllLinksLead(t *testing.T) {
	all := pages(t)
	for page, text := range all {
		for _, link := range links(t, page, text) {
			if strings.Contains(link, "://") {
				check.ErrorIf(t, !strings.HasPrefix(link, "https://"), "%s: %s", page, link)
				continue
			}
			file, anchor, _ := strings.Cut(link, "#")
			to := page
			if file != "" {
				to = path.Join(path.Dir(page), file)
			}
			if _, err := os.Stat(filepath.Join("..", to)); err != nil || strings.HasPrefix(to, "..") {
				t.Errorf("%s leads to %s, which is not there", page, link)
			} else if anchor != "" && !anchors(all[to])[anchor] {
				t.Errorf("%s leads to %s, where no heading is called so", page, link)
			}
		}
	}
}

// TestTheIndexHasEachPage and each page of the index is there, as TestAllLinksLead says.
func TestTheIndexHasEachPage(t *testing.T) {
	all := pages(t)
	index := links(t, "docs/README.md", all["docs/README.md"])
	for page := range all {
		name := path.Base(page)
		check.ErrorIf(t, path.Dir(page) == "docs" && name != "README.md" && !slices.Contains(index, name), "docs/README.md does not lead to %s", name)
	}
	for _, page := range []string{"docs/README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"} {
		check.ErrorIf(t, !slices.Contains(links(t, "README.md", all["README.md"]), page), "README.md does not lead to %s", page)
	}
}

// TestTheReadmeIsShort has it be what somebody reads who has five minutes.
func TestTheReadmeIsShort(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(pages(t)["README.md"], "\n"), "\n")
	check.ErrorIf(t, len(lines) > 250, "it has %d lines, and may have 250", len(lines))
	for i, line := range lines {
		check.ErrorIf(t, utf8.RuneCountInString(line) > 120, "line %d has %d columns, and may have 120", i+1, utf8.RuneCountInString(line))
	}
	check.ErrorIf(t, !regexp.MustCompile(`(?s)^# [^\n]+\n\n!\[[^\]]+\]\(docs/\S+\.png\)\n`).MatchString(strings.Join(lines, "\n")+"\n"), "it does not begin with a picture")
}

// TestNamedTestsAreThere looks for each test that a page names.
func TestNamedTestsAreThere(t *testing.T) {
	declared := make(map[string]bool)
	for _, text := range sources(t, func(name string) bool { return strings.HasSuffix(name, "_test.go") }) {
		for _, match := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`).FindAllStringSubmatch(text, -1) {
			declared[match[1]] = true
		}
	}
	all := pages(t)
	for page, text := range all {
		for _, match := range regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`").FindAllStringSubmatch(text, -1) {
			check.ErrorIf(t, !declared[match[1]] && page != "CONTRIBUTING.md", "%s names %s, which is not there", page, match[1])
		}
	}
	for command, by := range commands {
		if name, _, isTest := strings.Cut(by, " "); strings.HasPrefix(name, "Test") && isTest {
			check.ErrorIf(t, !declared[name], "%q is to be run by %s, which is not there", command, name)
		}
	}
}
