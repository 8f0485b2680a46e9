// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// sources returns the Go files of this module that are wanted, by their paths in it.
func sources(t testing.TB, wanted func(name string) bool) map[string]string {
	t.Helper()
	found := make(map[string]string)
	check.Must(t, filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, "../"))
		if entry.IsDir() && (name == "bench" || entry.Name() == "node_modules" || strings.HasPrefix(entry.Name(), ".") && entry.Name() != "..") {
			return fs.SkipDir
		}
		if strings.HasSuffix(name, ".go") && wanted(name) {
			found[name] = string(check.Value(os.ReadFile(path))(t))
		}
		return nil
	}))
	return found
}

// inTheModule reports whether a file is compiled into somebody's Caddy.
func inTheModule(name string) bool {
	if strings.HasSuffix(name, "_test.go") {
		return false
	}
	for _, dir := range []string{"cmd/", "examples/", "clients/", "internal/partytest/", "internal/check/", "internal/testsite/", "internal/debian/", "internal/measure/"} {
		if strings.HasPrefix(name, dir) {
			return false
		}
	}
	return true
}

// spoken are messages that are not constants where they are logged, by the expression: each must be here.
func spoken() map[string][]string {
	outcomes := make([]string, 0, 4)
	for _, result := range []wsgiparty.InviteResult{wsgiparty.InviteJoined, wsgiparty.InviteNotAnswered, wsgiparty.InviteRefused, wsgiparty.InviteFailed} {
		outcomes = append(outcomes, partytest.Message(result))
	}
	return map[string][]string{
		"info.Result.message()": outcomes,
		"message":               {"http: panic serving"}, // of net/http, at ask_on
	}
}

var levels = map[string]string{"Info": "info", "Warn": "warn", "Error": "error", "Log": "", "DPanic": "", "Panic": "", "Fatal": ""}

// logged returns all messages above level debug in Go sources, with their levels; "" is some level.
func logged(t testing.TB) map[string]string {
	t.Helper()
	found := make(map[string]string)
	others := spoken()
	for name, text := range sources(t, inTheModule) {
		if !strings.Contains(text, "go.uber.org/zap") && !strings.Contains(text, "ogger") {
			continue
		}
		fileSet := token.NewFileSet()
		file := check.Value(parser.ParseFile(fileSet, name, text, 0))(t)
		written := func(e ast.Expr) string {
			return text[fileSet.Position(e.Pos()).Offset:fileSet.Position(e.End()).Offset]
		}
		note := func(e ast.Expr, level string) {
			if literal, ok := e.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				found[check.Value(strconv.Unquote(literal.Value))(t)] = level
				return
			}
			messages, ok := others[written(e)]
			check.ErrorIf(t, !ok, "%s: what is %s? Add its texts to spoken, or write the text there", fileSet.Position(e.Pos()), written(e))
			for _, message := range messages {
				found[message] = level
			}
		}
		variables := make(map[string]string) // log := logger.Error
		ast.Inspect(file, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.AssignStmt:
				for i, value := range node.Rhs {
					if selector, ok := value.(*ast.SelectorExpr); ok && isLogger(written(selector.X)) && i < len(node.Lhs) {
						if level, ok := levels[selector.Sel.Name]; ok {
							variables[written(node.Lhs[i])] = level
						}
					}
				}
			case *ast.CallExpr:
				switch called := node.Fun.(type) {
				case *ast.Ident:
					if level, ok := variables[called.Name]; ok {
						note(node.Args[0], level)
					}
				case *ast.SelectorExpr:
					level, ok := levels[called.Sel.Name]
					if !ok || len(node.Args) == 0 || !isLogger(written(called.X)) {
						break
					}
					message := node.Args[0]
					if called.Sel.Name == "Log" {
						message = node.Args[1]
					}
					note(message, level)
				}
			}
			return true
		})
	}
	for _, message := range others["info.Result.message()"] { // at two levels
		found[message] = ""
	}
	return found
}

func isLogger(expression string) bool {
	return regexp.MustCompile(`(?i)log(ger)?(\(\))?(\.(With|Named)\([^\n]*\))*$`).MatchString(expression)
}

var messageRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (info|warn|error) \\| ([^|]+) \\|$")

// TestEachMessageOfTheLogIsListed has docs/troubleshooting.md list each message with its level and what to
// do, and none that Caddy never logs.
func TestEachMessageOfTheLogIsListed(t *testing.T) {
	want := logged(t)
	check.ErrorIf(t, len(want) < 40, "only %d messages were found", len(want))
	listed := make(map[string]string)
	for _, row := range messageRow.FindAllStringSubmatch(pages(t)["docs/troubleshooting.md"], -1) {
		check.ErrorIf(t, listed[row[1]] != "", "%q is listed twice", row[1])
		listed[row[1]] = row[2]
	}
	for message, level := range want {
		check.ErrorIf(t, listed[message] == "" || level != "" && listed[message] != level, "docs/troubleshooting.md lists %q at level %q, and the source has level %q: write a row for it", message, listed[message], level)
	}
	for message := range listed {
		_, ok := want[message]
		check.ErrorIf(t, !ok, "docs/troubleshooting.md lists %q, which nothing logs", message)
	}
}

// TestEachListedErrorIsThere looks for the parts of each error that docs/troubleshooting.md lists; "…"
// stands for what differs.
func TestEachListedErrorIsThere(t *testing.T) {
	var literals strings.Builder
	for name, text := range sources(t, inTheModule) {
		ast.Inspect(check.Value(parser.ParseFile(token.NewFileSet(), name, text, 0))(t), func(node ast.Node) bool {
			if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				literals.WriteString(check.Value(strconv.Unquote(literal.Value))(t) + "\n")
			}
			return true
		})
	}
	all := regexp.MustCompile(`%(\[\d\])?[.\d]*[a-z]`).ReplaceAllString(strings.ReplaceAll(literals.String(), "%%", "%"), "…")
	all = strings.NewReplacer("`", "", `"…"`, "…").Replace(all)
	_, section, _ := strings.Cut(pages(t)["docs/troubleshooting.md"], "## A config that does not load\n")
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ").FindAllStringSubmatch(section, -1)
	check.ErrorIf(t, len(rows) < 10, "%d errors are listed", len(rows))
	for _, row := range rows {
		for _, part := range strings.Split(row[1], "…") {
			part = strings.TrimSpace(part)
			check.ErrorIf(t, part != "" && !strings.Contains(all, part), "no error says %q", part)
		}
	}
}

// TestEachMetricIsThere compares the pages' with what the source makes.
func TestEachMetricIsThere(t *testing.T) {
	var text strings.Builder
	for _, source := range sources(t, inTheModule) {
		text.WriteString(source)
	}
	named := make(map[string]bool)
	for _, page := range pages(t) {
		for _, match := range regexp.MustCompile(`caddy_wsgi_party_(\w+)`).FindAllStringSubmatch(page, -1) {
			named[match[1]] = true
		}
	}
	check.ErrorIf(t, len(named) < 5, "the pages name %q", slices.Sorted(maps.Keys(named)))
	for name := range named {
		check.ErrorIf(t, !strings.Contains(text.String(), `"`+name+`"`) && !strings.Contains(text.String(), "wsgi_party_"+name), "no metric is called %s", name)
	}
}
