// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package examples

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// graftPages are the pages, as examples/graft/load calls them, in the order in which
// they move.
var graftPages = []string{"Customers", "Invoice", "New", "POST New", "Invoices", "Reports", "POST Sign in"}

// graftStep is what examples/graft/run shows of one step: the requests for each page.
type graftStep struct {
	title string
	pages map[string]*graftPage
}

type graftPage struct {
	at                                  string
	requests, legacy, new, failed, back int
}

// graftSteps returns what was shown, and the total.
func graftSteps(t *testing.T, output string) (steps []graftStep, requests, lost int) {
	row := regexp.MustCompile(`^(\w+(?: \w+)*) +(/\S*)? +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)$`)
	total := regexp.MustCompile(`^(\d+) requests, (\d+) lost$`)
	number := func(text string) int { return check.Value(strconv.Atoi(text))(t) }
	lines := strings.Split(output, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "PAGE ") {
			steps = append(steps, graftStep{lines[i-1], make(map[string]*graftPage)})
		} else if match := row.FindStringSubmatch(line); match != nil {
			steps[len(steps)-1].pages[match[1]] = &graftPage{match[2], number(match[3]), number(match[4]), number(match[5]), number(match[6]), number(match[7])}
		} else if match := total.FindStringSubmatch(line); match != nil {
			requests, lost = number(match[1]), number(match[2])
		}
	}
	return steps, requests, lost
}

// TestGraft runs what a newcomer runs, and looks at each step that it shows.
func TestGraft(t *testing.T) {
	debian.Install(t, "php-fpm", "gunicorn", "python3-flask")
	dir := clone(t, "examples/graft", "cmd", "clients/python", "go.mod", "go.sum")
	site, admin := testport.Address(t), testport.Address(t)
	_, port, _ := net.SplitHostPort(site)
	rooms := filepath.Join(dir, "r")
	check.Must(t, os.Mkdir(rooms, 0o700))
	c, end, err := command("bash", filepath.Join(dir, "examples/graft/run"))
	check.Must(t, err)
	// It builds Caddy as a newcomer does, but gets the one that the tests have.
	goCommand := check.Value(exec.LookPath("go"))(t)
	check.Must(t, os.WriteFile(filepath.Join(rooms, "go"), []byte(`#!/bin/sh
[ "$4" = ../../cmd/caddy ] || exec "`+goCommand+`" "$@"
mkdir -p "$3" && cp "`+builtCaddy(t)+`" "$3/caddy"
`), 0o755))
	c.Env = append(c.Env, "PATH="+rooms+":"+os.Getenv("PATH"), "CADDY=", "RUN="+rooms, "PORT="+port, "ADMIN="+admin, "RATE=50")
	output := new(syncBuffer)
	c.Stdout, c.Stderr = output, output
	started := time.Now()
	check.Must(t, c.Start())
	watchdog := time.AfterFunc(8*time.Minute, end)
	defer watchdog.Stop()
	defer end()
	c.Wait()
	t.Logf("took %v", time.Since(started))
	defer func() {
		if t.Failed() {
			t.Log(output)
		}
	}()
	if code := c.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("it ends with status %d (%d: it left processes behind)", code, leftBehind)
	}
	if _, err := os.Stat(rooms); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it left files behind: %v", err)
	}
	if strings.Contains(output.String(), "DATA RACE") {
		t.Error("there was a data race")
	}

	check.ErrorIf(t, strings.Contains(output.String(), "Traceback"), "what the new application logs hides what is shown")
	steps, requests, lost := graftSteps(t, output.String())
	if requests < 500 || lost != 0 {
		t.Errorf("%d requests, %d of them lost", requests, lost)
	}
	check.ErrorIf(t, !regexp.MustCompile(`(?m)^[1-9]\d+ invoices, 0 made twice$`).MatchString(output.String()), "it does not show that each form made one invoice")
	want := []struct {
		moved  int    // so many pages are the new application's, or become so;
		moving string // these change sides in this step,
		fail   string // and these fail,
		legacy bool   // and are the legacy application's then
	}{
		{},
		{moved: 1, moving: "Customers"}, // for 10 % of the visitors
		{moved: 1, moving: "Customers"}, // for 50 %
		{moved: 1, moving: "Customers"},
		{moved: 1}, // by the Caddyfile
		{moved: 2, moving: "Invoice"},
		{moved: 4, moving: "New, POST New"},
		{moved: 4, fail: "Customers", legacy: true}, // which has a bug, and is taken back
		{moved: 4, moving: "Customers"},
		{moved: 4, fail: "Customers, Invoice, New, POST New"},               // the new application is down
		{moved: 4, fail: "Customers, Invoice, New, POST New", legacy: true}, // and then they may pass
		{moved: 4, moving: "Customers, Invoice, New, POST New"},
		{moved: 5, moving: "Invoices"},
		{moved: 6, moving: "Reports"},
		{moved: 6}, // at another path
		{moved: 7, moving: "POST Sign in"},
		{moved: 7}, // the legacy application is switched off
	}
	if len(steps) != len(want) {
		t.Fatalf("it shows %d steps, want %d", len(steps), len(want))
	}
	for i, step := range steps {
		t.Logf("%s", step.title)
		failed := 0
		for n, name := range graftPages {
			page, w := step.pages[name], want[i]
			in := func(names string) bool { return slices.Contains(strings.Split(names, ", "), name) }
			failed += page.failed
			switch {
			case page.requests != page.legacy+page.new+page.failed || page.requests == 0,
				page.failed > 0 && !in(w.fail),
				page.back > 0 && w.fail == "",
				page.new > 0 && n >= w.moved,
				page.legacy > 0 && n < w.moved && !in(w.moving) && !(in(w.fail) && w.legacy),
				page.legacy == 0 && in(w.fail) && w.legacy,
				page.new == 0 && in(w.moving) && i > 2: // before, the visitors who came may have been of the others
				t.Errorf("%s: %+v", name, *page)
			}
		}
		if failed == 0 && want[i].fail != "" {
			t.Error("nothing failed")
		}
	}
	for name, at := range map[string][2]string{"Reports": {"/stats", "/reports"}, "Customers": {"/customers", "/customers"}} {
		if first, last := steps[0].pages[name].at, steps[len(steps)-1].pages[name].at; first != at[0] || last != at[1] {
			t.Errorf("links to %s lead to %s first, and to %s in the end", name, first, last)
		}
	}
}
