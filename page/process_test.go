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

// TestOpenPagesAndACaddyThatReloadsAndStops has ten pages open, of a Caddy and of the command, which Caddy waits for at most
// as long as an answer takes: its grace period is an hour.
func TestOpenPagesAndACaddyThatReloadsAndStops(t *testing.T) {
	admin, site := testport.Address(t), testport.Address(t)
	caddyfile := filepath.Join(t.TempDir(), "Caddyfile")
	write := func(guest string) {
		t.Helper()
		check.Must(t, os.WriteFile(caddyfile, []byte("{\nadmin "+admin+"\npersist_config off\nauto_https off\nskip_install_trust\ngrace_period 1h\n}\nhttp://"+site+" {\nwsgi_party_page /party main\nwsgi_party main {\ninvite /"+guest+"/__invite__/\nhandle_path /"+guest+"/* {\nwsgi_party_guest {\nurl home /\n}\nrespond hello\n}\n}\n}\n"), 0o600))
	}
	write("blog")
	ctx, end := context.WithCancel(t.Context())
	defer end()
	running := caddyCommand(ctx, t, "run", "--config", caddyfile)
	check.Must(t, running.Start())
	ended := make(chan error, 1)
	go func() { ended <- running.Wait() }()
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
		body, err := show("http://" + site + "/party")
		return err == nil && strings.Contains(body, `"guest":"blog","mount":"/blog","on_line":true`)
	})

	// The command, by address and by config, names what there is, and tells of what there is not.
	output, err := caddyCommand(ctx, t, "wsgi-party", "page", "mian", "--address", admin).Output()
	check.ErrorIf(t, err == nil, string(output))
	shown := caddyCommand(ctx, t, "wsgi-party", "page", "main", "--config", caddyfile, "--adapter", "caddyfile")
	printed := check.Value(shown.StdoutPipe())(t)
	check.Must(t, shown.Start())
	address := ""
	for lines := bufio.NewScanner(printed); address == "" && lines.Scan(); {
		if line := strings.TrimSpace(lines.Text()); strings.HasPrefix(line, "http://127.0.0.1:") {
			address = line
		}
	}
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
		url := []string{"http://" + site + "/party", address}[i%2]
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
	write("magazine")
	output, err = caddyCommand(ctx, t, "reload", "--config", caddyfile, "--adapter", "caddyfile").Output()
	check.ErrorIf(t, err != nil, string(output))
	partytest.Eventually(t, "the pages show the new config", func() bool { return served.Load() >= 30 })
	check.Must(t, running.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-ended:
		check.Must(t, err)
	case <-time.After(time.Minute):
		t.Error("Caddy has not stopped after a minute")
	}
	body, _ = show(address)
	check.Has(t, body, "no Caddy answers at the admin address")
	check.Must(t, shown.Process.Signal(os.Interrupt))
	check.Must(t, shown.Wait())
	end()
	polling.Wait()
}
