// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package page_test

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/chromium"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

func caddyCommand(ctx context.Context, t testing.TB, arguments ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(ctx, check.Value(os.Executable())(t), arguments...)
	home := t.TempDir()
	c.Env = append(os.Environ(), asCaddy+"=1", "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	c.Stderr = t.Output()
	return c
}

// process is a Caddy with the page of party main, whose grace period is an hour.
type process struct {
	admin, site, caddyfile string
	command                *exec.Cmd
	ended                  chan error
}

func startProcess(ctx context.Context, t testing.TB) *process {
	t.Helper()
	c := &process{admin: testport.Address(t), site: testport.Address(t), caddyfile: filepath.Join(t.TempDir(), "Caddyfile"), ended: make(chan error, 1)}
	c.write(t, "blog")
	c.command = caddyCommand(ctx, t, "run", "--config", c.caddyfile)
	check.Must(t, c.command.Start())
	go func() { c.ended <- c.command.Wait() }()
	return c
}

// write writes a Caddyfile with that guest.
func (c *process) write(t testing.TB, guest string) {
	t.Helper()
	check.Must(t, os.WriteFile(c.caddyfile, []byte("{\nadmin "+c.admin+"\npersist_config off\nauto_https off\nskip_install_trust\ngrace_period 1h\n}\nhttp://"+c.site+" {\nwsgi_party_page /party main\nwsgi_party main {\ninvite /"+guest+"/__invite__/\nhandle_path /"+guest+"/* {\nwsgi_party_guest {\nurl home /\n}\nrespond hello\n}\n}\n}\n"), 0o600))
}

// reload loads the config with that guest.
func (c *process) reload(ctx context.Context, t testing.TB, guest string) {
	t.Helper()
	c.write(t, guest)
	output, err := caddyCommand(ctx, t, "reload", "--config", c.caddyfile, "--adapter", "caddyfile").Output()
	check.ErrorIf(t, err != nil, string(output))
}

// stop stops Caddy, as systemd does.
func (c *process) stop(t testing.TB) {
	t.Helper()
	check.Must(t, c.command.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-c.ended:
		check.Must(t, err)
	case <-time.After(time.Minute):
		t.Error("Caddy has not stopped after a minute")
	}
}

// show starts the command that shows the page, and returns its address.
func (c *process) show(ctx context.Context, t testing.TB) (address string, shown *exec.Cmd) {
	t.Helper()
	shown = caddyCommand(ctx, t, "wsgi-party", "page", "main", "--config", c.caddyfile, "--adapter", "caddyfile")
	printed := check.Value(shown.StdoutPipe())(t)
	check.Must(t, shown.Start())
	for lines := bufio.NewScanner(printed); address == "" && lines.Scan(); {
		if line := strings.TrimSpace(lines.Text()); strings.HasPrefix(line, "http://127.0.0.1:") {
			address = line
		}
	}
	return address, shown
}

// TestOpenPagesAndACaddyThatReloadsAndStops has ten pages open, of a Caddy and of the command, which Caddy waits for at most
// as long as an answer takes: its grace period is an hour.
func TestOpenPagesAndACaddyThatReloadsAndStops(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	defer end()
	c := startProcess(ctx, t)
	show := func(url string) (string, error) {
		r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		check.Must(t, err)
		r.Header.Set("Accept", "application/json")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return "", err
		}
		return partytest.ReadAll(t, response), nil
	}
	partytest.Eventually(t, "Caddy runs", func() bool {
		body, err := show("http://" + c.site + "/party")
		return err == nil && strings.Contains(body, `"guest":"blog","mount":"/blog","on_line":true`)
	})

	// The command, by address and by config, names what there is, and tells of what there is not.
	output, err := caddyCommand(ctx, t, "wsgi-party", "page", "mian", "--address", c.admin).Output()
	check.ErrorIf(t, err == nil, string(output))
	soon, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	output, err = caddyCommand(soon, t, "wsgi-party", "page", "main", "--json", "--address", c.admin).Output()
	check.ErrorIf(t, err == nil || len(output) > 0, "--json: %v %s", err, output)
	address, shown := c.show(ctx, t)
	host, path, _ := strings.Cut(strings.TrimPrefix(address, "http://"), "/")
	check.ErrorIf(t, len(path) < 33, address, "can be guessed")
	body, err := show(address)
	check.Must(t, err)
	check.Has(t, body, `"guest":"blog"`)
	for _, wrong := range []struct {
		path, host string
		status     int
	}{{"/", host, 404}, {"/" + path + "x", host, 404}, {"/" + path, "evil.example:80", 421}, {"/" + path, "localhost", 421}, {"/" + path, host, 200}} {
		r := check.Value(http.NewRequestWithContext(ctx, "GET", "http://"+host+wrong.path, nil))(t)
		r.Host = wrong.host
		response := check.Value(http.DefaultClient.Do(r))(t)
		partytest.ReadAll(t, response)
		check.Equal(t, response.StatusCode, wrong.status, wrong)
	}

	var polling sync.WaitGroup
	var served atomic.Int64
	for i := range 10 {
		url := []string{"http://" + c.site + "/party", address}[i%2]
		polling.Go(func() {
			client := &http.Client{Transport: new(http.Transport)}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				r, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
				r.Header.Set("Accept", "application/json")
				if response, err := client.Do(r); err == nil {
					if strings.Contains(partytest.ReadAll(t, response), `"guest":"magazine"`) {
						served.Add(1)
					}
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	c.reload(ctx, t, "magazine")
	partytest.Eventually(t, "the pages show the new config", func() bool { return served.Load() >= 30 })
	c.stop(t)
	body, _ = show(address)
	check.Has(t, body, "no Caddy answers at the admin address")
	check.Must(t, shown.Process.Signal(os.Interrupt))
	check.Must(t, shown.Wait())
	end()
	polling.Wait()
}

// TestTabsOfABrowserHoldNeitherAReloadNorAStop has four tabs look at the page of a Caddy and at that of the command.
func TestTabsOfABrowserHoldNeitherAReloadNorAStop(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	defer end()
	c := startProcess(ctx, t)
	partytest.Eventually(t, "Caddy runs", func() bool {
		response, err := http.Get("http://" + c.site + "/party")
		if err == nil {
			response.Body.Close()
		}
		return err == nil
	})
	address, shown := c.show(ctx, t)
	b := chromium.Open(t)
	var tabs []*chromium.Page
	for i := range 4 {
		p := b.NewPage()
		p.Call("Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true}, nil) // else only the last one is visible, and polls
		p.Visit([]string{"http://" + c.site + "/party", address}[i%2])
		tabs = append(tabs, p)
	}
	all := func(condition string) {
		t.Helper()
		for _, p := range tabs {
			p.Until(condition)
		}
	}
	all("document.visibilityState === 'visible'")
	live := "document.getElementById('status').textContent === 'Live' && "
	for _, guest := range []string{"blog", "magazine", "shop"} {
		if guest != "blog" {
			c.reload(ctx, t, guest)
		}
		all(live + boxOf(guest) + ".includes('● joined')")
		all("document.querySelectorAll('.box').length === 1")
	}
	c.stop(t)
	all("document.getElementById('status').className === 'lost'")
	for i, p := range tabs {
		said := p.Get("document.getElementById('status').textContent")
		check.Has(t, said, []string{"Caddy does not answer", "no Caddy answers at the admin address"}[i%2])
		check.Has(t, p.Get(boxOf("shop")), "joined", "what was seen last stays")
	}

	// Another Caddy takes its place, and the tabs go on by themselves.
	c.command = caddyCommand(ctx, t, "run", "--config", c.caddyfile)
	check.Must(t, c.command.Start())
	go func() { c.ended <- c.command.Wait() }()
	all(live + boxOf("shop"))
	c.stop(t)
	check.Must(t, shown.Process.Signal(os.Interrupt))
	check.Must(t, shown.Wait())
}
