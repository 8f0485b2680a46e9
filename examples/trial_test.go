// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package examples

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/chromium"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// trial is a Caddy that runs a copy of Caddyfile.example, with its first page in a browser.
type trial struct {
	*testing.T
	*chromium.Page
	dir, address string
}

func startTrial(t *testing.T) trial {
	t.Helper()
	site := trial{T: t, dir: t.TempDir(), address: "http://" + strings.Replace(testport.Address(t), "127.0.0.1", "localhost", 1)}
	admin := testport.Address(t)
	text := check.Value(os.ReadFile("../Caddyfile.example"))(t)
	copied := "{\n\tadmin " + admin + "\n\tpersist_config off\n}\n" + strings.Replace(string(text), "http://localhost:8080 {", site.address+" {", 1)
	check.Must(t, os.WriteFile(site.file(), []byte(copied), 0o600))
	caddy, end, err := command(builtCaddy(t), "run", "--config", site.file())
	check.Must(t, err)
	caddy.Env = append(caddy.Env, "XDG_DATA_HOME="+site.dir, "XDG_CONFIG_HOME="+site.dir)
	var log syncBuffer
	caddy.Stderr = &log
	check.Must(t, caddy.Start())
	t.Cleanup(func() {
		end()
		check.ErrorIf(t, caddy.Wait() != nil, "Caddy ends with %v", caddy.ProcessState)
		if t.Failed() {
			t.Logf("Caddy said\n%s", log.String())
		}
	})
	for deadline := time.Now().Add(3 * time.Minute); !strings.Contains(log.String(), "serving initial configuration"); time.Sleep(20 * time.Millisecond) {
		check.ErrorIf(t, time.Now().After(deadline), "Caddy does not start")
		if t.Failed() {
			t.FailNow()
		}
	}
	site.Page = chromium.Open(t).NewPage()
	site.Visit(site.address + "/")
	site.becomes("Links that follow complete", "document.title + ' ' + document.readyState")
	return site
}

func (s trial) file() string { return filepath.Join(s.dir, "Caddyfile.example") }

// config is what is in the file now.
func (s trial) config() string { return string(check.Value(os.ReadFile(s.file()))(s.T)) }

// do runs the commands of a step, as the page shows them: twice, as somebody does who has missed that they worked.
func (s trial) do(step string) {
	s.Helper()
	commands := s.Get("document.getElementById('" + step + "').innerText")
	if strings.Count(commands, "go run ./cmd/caddy reload --config Caddyfile.example") != 1 || strings.Count(commands, "\n") != 1 {
		s.Fatalf("the commands of step %s are\n%s", step, commands)
	}
	for range 2 {
		shell := exec.Command("sh", "-e", "-c", strings.Replace(commands, "go run ./cmd/caddy", builtCaddy(s.T), 1)) // it is built already
		shell.Dir = s.dir
		if output, err := shell.CombinedOutput(); err != nil {
			s.Fatalf("%v\n%s\n%s", err, commands, output)
		}
	}
}

// becomes waits until a program in the page, which nobody loads again, has a value.
func (s trial) becomes(want, program string) {
	s.Helper()
	var got string
	var err error
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got, err = s.Evaluate("((frames) => String(" + program + "))([...document.querySelectorAll('iframe')].map((f) => f.contentDocument))"); err == nil && got == want {
			return
		}
	}
	s.Fatalf("%s is %q, want %q: %v", program, got, want, err)
}

const (
	addresses = "frames.map((d) => d.location.pathname).join(' ')"
	lampLink  = "frames[0].querySelector('main p a').pathname"
	storyLink = "frames[1].querySelector('main .button').pathname"
	menu      = "[...frames[0].querySelectorAll('nav a')].slice(1).map((a) => a.textContent + ' ' + a.pathname).join(' ')"
)

// TestTheTrialDoesWhatItsPageSays does what the first page of Caddyfile.example says, while it is looked at.
func TestTheTrialDoesWhatItsPageSays(t *testing.T) {
	s := startTrial(t)
	before := s.config()
	s.Get("window.stays = 'here'")
	s.becomes("/magazine/articles/lamplight /shop/products/brass-lamp", addresses)
	s.becomes("/shop/products/brass-lamp", lampLink)
	s.becomes("Magazine /magazine/ Shop /shop/", menu)

	s.do("shop")
	s.becomes("/store/products/brass-lamp", lampLink)
	s.becomes("/magazine/articles/lamplight /store/products/brass-lamp", addresses)
	s.do("page")
	s.becomes("/magazine/stories/lamplight", storyLink)
	s.becomes("/magazine/stories/lamplight /store/products/brass-lamp", addresses)
	s.do("cafe")
	s.becomes("/magazine/stories/lamplight /store/products/brass-lamp /cafe/evenings/owls", addresses)
	s.becomes("Magazine /magazine/ Shop /store/ Café /cafe/", menu)
	s.becomes("/cafe/evenings/owls", "frames[0].querySelector('main .note a').pathname")
	s.becomes("/store/products/brass-lamp", "frames[2].querySelectorAll('main .ticket')[1].pathname")
	s.becomes("3", "document.querySelector('main').innerText.match(/Done:/g).length")

	// Each step says how to take it back.
	for _, step := range []string{"cafe", "page", "shop"} {
		s.do(step)
	}
	s.becomes("/magazine/articles/lamplight /shop/products/brass-lamp", addresses)
	s.becomes("Magazine /magazine/ Shop /shop/", menu)
	s.becomes("here", "window.stays")
	if after := s.config(); after != before {
		t.Errorf("the way back leads to\n%s", after)
	}
}

// TestAPageOfTheTrialThatMovesAwaySaysSo looks at a page of the shop while that moves.
func TestAPageOfTheTrialThatMovesAwaySaysSo(t *testing.T) {
	s := startTrial(t)
	commands := s.Get("document.getElementById('shop').innerText")
	s.Visit(s.address + "/shop/products/teapot")
	s.becomes("Teapot for two", "document.title")
	s.Get("document.body.insertAdjacentHTML('beforeend', '<pre id=shop></pre>'); document.getElementById('shop').innerText = " + string(check.Value(json.Marshal(commands))(t)) + "; ''")
	s.do("shop")
	s.becomes("It lives elsewhere now", "document.title")
	s.becomes("/store/", "[...document.querySelectorAll('nav a')].find((a) => a.textContent === 'Shop').pathname")
}
