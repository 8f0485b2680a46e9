// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// watching is a `caddy wsgi-party watch` that runs.
type watching struct {
	*testing.T
	command *exec.Cmd
	lines   chan string
	seen    []string
}

func startWatching(t *testing.T, c *exec.Cmd) *watching {
	t.Helper()
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w := &watching{T: t, command: c, lines: make(chan string, 1000)}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill() })
	go func() {
		defer close(w.lines)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			w.lines <- strings.TrimSuffix(lines.Text(), "\r")
		}
	}()
	return w
}

// expect waits for a line like that.
func (w *watching) expect(pattern string) {
	w.Helper()
	want, deadline := regexp.MustCompile(pattern), time.After(2*time.Minute)
	for {
		select {
		case line, ok := <-w.lines:
			if !ok {
				w.Fatalf("it ended before %s:\n%s", pattern, strings.Join(w.seen, "\n"))
			}
			w.seen = append(w.seen, line)
			if want.MatchString(line) {
				return
			}
		case <-deadline:
			w.Fatalf("there is no %s in\n%s", pattern, strings.Join(w.seen, "\n"))
		}
	}
}

// end expects that it ends well, now that it was told to.
func (w *watching) end() {
	w.Helper()
	for line := range w.lines {
		w.seen = append(w.seen, line)
	}
	if err := w.command.Wait(); err != nil {
		w.Errorf("it ends with %v:\n%s", err, strings.Join(w.seen, "\n"))
	}
}

// watchedParty has an application, and a guest that is declared.
const watchedParty = `{
	admin ADMIN
	persist_config off
	storage file_system "STORAGE"
	storage_check off
	storage_clean_interval off
	grace_period 1s
}
SITE {
	wsgi_party main {
		invite /blog/__invite__/ /old/__invite__/
		handle_path /blog/* {
			wsgi_party_guest blog
			reverse_proxy BLOG
		}
		handle_path /old/* {
			wsgi_party_guest {
				answer ping ANSWER
			}
		}
	}
}
`

// TestWatching sees an application come and go, and Caddy, too.
func TestWatching(t *testing.T) {
	t.Parallel()
	var manifest, status atomic.Value
	manifest.Store(`{"services": {"ping": {"answer": "blog"}, "broken": {"href": "/broken"}}}`)
	status.Store(404)
	blog := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s := status.Load().(int); s != 200 || r.URL.Path == "/broken" {
			http.Error(w, "no", max(s, 400))
			return
		}
		w.Header().Set("Content-Type", "application/vnd.wsgi-party+json")
		_, _ = io.WriteString(w, manifest.Load().(string))
	}))
	t.Cleanup(blog.Close)
	admin, site, storage := testport.Address(t), testport.Address(t), filepath.ToSlash(t.TempDir())
	caddyfile := func(answer string) string {
		return strings.NewReplacer("ADMIN", admin, "SITE", "http://"+site, "BLOG", blog.Listener.Addr().String(), "ANSWER", answer, "STORAGE", storage).Replace(watchedParty)
	}
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte(caddyfile("pong")), 0o600); err != nil {
		t.Fatal(err)
	}
	var process caddyProcess
	start := func() {
		t.Helper()
		process = runCaddy(t, config)
		log := process.stderr
		go io.Copy(io.Discard, log)
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			if status, _, err := callAdmin("GET", "http://"+admin+"/wsgi_party/main", "", ""); err == nil && status == 200 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("Caddy does not answer")
			}
		}
	}
	run := func(status int, arguments ...string) {
		t.Helper()
		expectCommand(t, status, nil, append(arguments, "--address", admin)...)
	}
	start()

	asText := startWatching(t, caddyCommand(t, "wsgi-party", "watch", "main", "--interval", "100ms", "--address", admin))
	asJSON := startWatching(t, caddyCommand(t, "wsgi-party", "watch", "main", "--interval", "100ms", "--json", "--address", admin))
	both := func(what, subject, text string) {
		t.Helper()
		asText.expect(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ` + regexp.QuoteMeta(strings.TrimSpace(fmt.Sprintf("%-19s", what)+subject)) + `.*` + text)
		asJSON.expect(`^\{"time":"[^"]+","event":"` + what + `".*` + text)
	}
	// Who looks in between sees the services first, and the manifest with the next look.
	changed := func(services string) {
		t.Helper()
		asText.expect(`(manifest|services) changed     blog  ` + regexp.QuoteMeta(services))
		asJSON.expect(`"event":"(manifest|services) changed"`)
	}
	both("watching", "  main: 1 guest, 1 service, 1 of 2 invites joined", "")
	both("invite not answered", "  blog  status 404", "no manifest")
	status.Store(200)
	run(0, "invite", "main", "blog")
	both("guest joined", "  blog  broken, ping", "")
	run(0, "ask", "main", "ping")
	both("asked", "  ping  2 answered", "")
	run(1, "ask", "main", "broken")
	both("asked", "  broken  1 failed", "")
	both("ask failed", "  blog  broken  ", `guest \\*"blog\\*" failed`)

	manifest.Store(`{"services": {"ping": {"answer": "blog"}, "feed": {"answer": 1}}}`)
	run(0, "invite", "main", "blog")
	changed("+feed, -broken")
	manifest.Store(`{"urls": {"home": "/"}, "services": {"ping": {"answer": "else"}, "feed": {"answer": 1}}}`)
	run(0, "invite", "main", "blog")
	changed("+url")
	manifest.Store(`{"urls": {"home": "/new"}, "services": {"ping": {"answer": "else"}, "feed": {"answer": 1}}}`)
	run(0, "invite", "main", "blog")
	both("manifest changed", "  blog  same services", "")
	accepted := acceptedOf(t, admin, "blog")
	status.Store(500)
	run(1, "invite", "main", "blog")
	both("invite failed", "  blog  status 500; on the line by the manifest of ", "last confirmed")
	status.Store(200)
	run(0, "invite", "main", "blog")
	both("answers again", "  blog", "")

	// A reload takes the manifest over, and nobody leaves.
	if status, body, err := callAdmin("POST", "http://"+admin+"/load", "text/caddyfile", caddyfile("pang")); err != nil || status != 200 {
		t.Fatal(status, body, err)
	}
	both("config loaded", "  main: 2 guests, 3 services, 2 of 2 invites joined", "")
	if again := acceptedOf(t, admin, "blog"); !again.Equal(accepted) {
		t.Errorf("after a reload the manifest is of %v, not %v", again, accepted)
	}

	// So does a Caddy that is started again, which has it in its storage.
	process.kill()
	process.Wait()
	both("waiting", "  no Caddy answers at the admin address "+admin, "")
	start()
	both("watching again", "  main: 2 guests, 3 services", "")
	if again := acceptedOf(t, admin, "blog"); !again.Equal(accepted) {
		t.Errorf("after a restart the manifest is of %v, not %v", again, accepted)
	}
	if status, body, err := callAdmin("POST", "http://"+admin+"/load", "text/caddyfile", strings.Replace(caddyfile("pang"), "wsgi_party main", "wsgi_party other", 1)); err != nil || status != 200 {
		t.Fatal(status, body, err)
	}
	both("waiting", `  no party is called "main"`, "")

	for _, w := range []*watching{asText, asJSON} {
		if err := w.command.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		w.end()
	}
	if slices.ContainsFunc(asText.seen, func(line string) bool { return strings.Contains(line, "guest left") }) {
		t.Errorf("somebody has left:\n%s", strings.Join(asText.seen, "\n"))
	}
	for _, line := range asJSON.seen {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
}

// TestWatchingShowsNothingThatHappenedBefore has a guest come back that was asked, and left, before.
func TestWatchingShowsNothingThatHappenedBefore(t *testing.T) {
	t.Parallel()
	const whole = `{
	admin ADMIN
	persist_config off
	grace_period 1s
}
SITE {
	wsgi_party main {
		invite /shop/__invite__/ /blog/__invite__/
		handle_path /shop/* {
			wsgi_party_guest {
				answer pong ping
			}
		}
		handle_path /blog/* {
			wsgi_party_guest {
				answer ping pong
			}
		}
	}
}
`
	admin, site, _ := startCaddy(t, whole)
	load := func(caddyfile string) {
		t.Helper()
		caddyfile = strings.NewReplacer("ADMIN", admin, "SITE", "http://"+site).Replace(caddyfile)
		if status, body, err := callAdmin("POST", "http://"+admin+"/load", "text/caddyfile", caddyfile); err != nil || status != 200 {
			t.Fatal(status, body, err)
		}
	}
	expectCommand(t, 0, nil, "ask", "main", "ping", "--address", admin)
	load(strings.Replace(whole, " /blog/__invite__/", "", 1))

	w := startWatching(t, caddyCommand(t, "wsgi-party", "watch", "main", "--interval", "100ms", "--address", admin))
	w.expect("  watching   .*: 1 guest, ")
	load(whole)
	w.expect("  guest joined +blog")
	for range 2 {
		expectCommand(t, 0, nil, "ask", "main", "ping", "--address", admin)
		w.expect("  asked +ping")
	}
	if err := w.command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	w.end()
	var asked []string
	for _, line := range w.seen {
		if _, what, ok := strings.Cut(line, "  asked "); ok {
			asked = append(asked, strings.TrimSpace(what))
		}
	}
	if want := []string{"ping  1 answered", "ping  1 answered"}; !slices.Equal(asked, want) {
		t.Errorf("it tells %q, want %q", asked, want)
	}
}

// acceptedOf returns of when the manifest is by which a guest is on the line.
func acceptedOf(t *testing.T, admin, guest string) time.Time {
	t.Helper()
	_, body, err := callAdmin("GET", "http://"+admin+"/wsgi_party/main", "", "")
	var shown struct {
		Invites []struct {
			Guest    string
			Manifest struct{ Accepted, Confirmed time.Time }
		}
	}
	if err == nil {
		err = json.Unmarshal([]byte(body), &shown)
	}
	for _, i := range shown.Invites {
		if i.Guest == guest && !i.Manifest.Accepted.IsZero() && !i.Manifest.Confirmed.Before(i.Manifest.Accepted) {
			return i.Manifest.Accepted
		}
	}
	t.Errorf("no manifest of %s: %v %s", guest, err, body)
	return time.Time{}
}
