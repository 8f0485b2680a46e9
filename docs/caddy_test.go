// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"

	_ "github.com/wsgiparty/wsgiparty/trunk"
)

// key is that of the examples of the protocol.
const key = "0123456789abcdef0123456789abcdef"

// testCaddyfile loads a Caddyfile, or a part of one in what that is for. Ports and folders are others.
func testCaddyfile(t *testing.T, b block) {
	text := b.text
	formatted := string(caddyfile.Format([]byte(text)))
	check.ErrorIf(t, formatted != text, "`caddy fmt` makes of it\n%s", formatted)
	const party = "http://localhost:8080 {\nwsgi_party {\ninvite /__invite__/ as new\ninvite /__invite__/ as shops\n"
	const guests = "wsgi_party_guest new\nwsgi_party_guest shops\nrespond guests\n}\n}"
	if strings.Contains(text, "wsgi_party_trunk") {
		text = onLoopback(t, text)
	}
	switch first, _, _ := strings.Cut(text, " "); {
	case strings.HasPrefix(text, "{\n"), strings.Contains(strings.SplitN(text, "\n", 2)[0], "://"), strings.HasSuffix(first, "example.com"):
	case first == "log":
		text = "http://localhost:8080 {\n" + text + "wsgi_party_ask\n}\nhttp://127.0.0.1:8000 {\nwsgi_party {\n}\n}"
	case first == "wsgi_party_guest":
		text = party + text + "respond guest\n}\n}"
	case strings.HasPrefix(first, "@"):
		text = party + text + "respond " + strings.TrimSpace(first) + " matched\n" + guests
	default:
		t.Fatalf("what is this a part of?\n%s", text)
	}
	partytest.NewCaddy(t)
	loadJSON(t, adapt(t, text))
}

// onLoopback returns a trunk's Caddyfile with addresses of this machine, and without the TLS of its servers, which the tests of
// the trunk have.
func onLoopback(t *testing.T, text string) string {
	t.Setenv("TRUNK_SECRET", strings.Repeat("secret ", 6))
	t.Setenv("NATS_PASSWORD", "secret")
	text = regexp.MustCompile(`(?s)\ttls \{.*?\}\n`).ReplaceAllString(text, "")
	return regexp.MustCompile(`(10\.0\.0\.\d|nats\.example\.com):\d+`).ReplaceAllStringFunc(text, func(string) string { return testport.Address(t) })
}

// adapt returns the JSON of a whole Caddyfile.
func adapt(t *testing.T, text string) []byte {
	t.Helper()
	options := strings.TrimSuffix(partytest.GlobalOptions, "}\n") + "http_port " + port(t) + "\nhttps_port " + port(t) + "\n"
	if rest, ok := strings.CutPrefix(text, "{\n"); ok {
		text = options + rest
	} else {
		text = options + "}\n" + text
	}
	adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	check.FatalIf(t, err != nil, "%v\n%s", err, text)
	for _, w := range warnings {
		check.ErrorIf(t, !strings.Contains(w.Message, "not formatted"), w)
	}
	return adapted
}

func port(t *testing.T) string {
	address := testport.Address(t)
	return address[strings.LastIndexByte(address, ':')+1:]
}

// loadJSON loads a config in this process.
func loadJSON(t *testing.T, config []byte) {
	t.Helper()
	dir := check.Value(os.MkdirTemp("", "docs"))(t) // short enough for sockets
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Chdir(dir)
	for _, variable := range []string{"BLOG_PARTY_KEY", "SHOP_PARTY_KEY"} {
		t.Setenv(variable, key+variable)
	}
	replace := []string{"/run/", dir + "/", `":443"`, `"127.0.0.1:` + port(t) + `"`}
	for _, p := range []string{":8080", ":8000", ":2080"} {
		replace = append(replace, p+`"`, ":"+port(t)+`"`)
	}
	check.Must(t, os.MkdirAll(filepath.Join(dir, "party"), 0o700))
	var object map[string]any
	check.Must(t, json.Unmarshal([]byte(strings.NewReplacer(replace...).Replace(string(config))), &object))
	if object["admin"] == nil {
		object["admin"] = map[string]any{"disabled": true, "config": map[string]any{"persist": false}}
	}
	c := partytest.NewCaddy(t)
	err := c.TryLoadJSON(check.Value(json.Marshal(object))(t))
	check.ErrorIf(t, err != nil, "%v\n%s", err, config)
}

// running is a Caddy in a process of its own, and shells that know it.
type running struct {
	*testing.T
	dir     string
	replace *strings.Replacer
}

// startCaddy runs a Caddyfile, in which SITE and ASK stand for addresses, and so do the ports that the
// pages name for what they lead to, in commands.
func startCaddy(t *testing.T, config string) *running {
	t.Helper()
	dir := t.TempDir()
	site, ask, admin := testport.Address(t), testport.Address(t), testport.Address(t)
	check.Must(t, os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(strings.NewReplacer("SITE", site, "ASK", ask).Replace(config)), 0o600))
	program := check.Value(os.Executable())(t)
	check.Must(t, os.WriteFile(filepath.Join(dir, "caddy"), []byte("#!/bin/sh\n"+asCaddy+"=yes exec '"+program+"' \"$@\"\n"), 0o700))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("CADDY_ADMIN", admin)
	t.Setenv("BLOG_PARTY_KEY", key)
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	c := exec.Command(filepath.Join(dir, "caddy"), "run")
	c.Dir = dir
	stderr := check.Value(c.StderrPipe())(t)
	check.Must(t, c.Start())
	var log bytes.Buffer
	started, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		serving := sync.OnceFunc(func() { close(started) })
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), `"serving initial configuration"`) {
				serving()
			}
		}
	}()
	t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		<-ended
		_ = c.Wait()
		if t.Failed() {
			t.Logf("%s", &log)
		}
	})
	select {
	case <-started:
	case <-ended:
		t.Fatal("Caddy did not start")
	}
	return &running{t, dir, strings.NewReplacer("localhost:2019", admin, "127.0.0.1:2080", ask, "http://localhost:8000", "http://"+testport.Address(t), "localhost:8080", site)}
}

// run runs a command of a page.
func (r *running) run(command string) (output string, err error) {
	c := exec.Command("bash", "-c", r.replace.Replace(command))
	c.Dir = r.dir
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err = c.Run()
	if stdout.Len() == 0 {
		return stderr.String(), err
	}
	return stdout.String(), err
}

// testConsole has blocks without a command be a table of the command; TestTheConsoles runs the others.
func testConsole(t *testing.T, b block) {
	if strings.HasPrefix(b.text, "$ ") {
		return
	}
	source := allSource(t, "operations/") + allSource(t, "internal/")
	for _, title := range regexp.MustCompile(`[A-Z]+(?: [A-Z']+)*`).FindAllString(b.text, -1) {
		title = strings.TrimPrefix(title, "REQUESTS ") // SINCE when
		check.ErrorIf(t, !strings.Contains(source, title), "no table has the title %q", title)
	}
}

// consoles returns the blocks in which somebody types commands.
func consoles(t *testing.T) []block {
	return slices.DeleteFunc(blocks(t), func(b block) bool {
		return b.language != "console" || elsewhere[b.page] != "" || !strings.HasPrefix(b.text, "$ ")
	})
}

// TestTheConsoles types what the pages type, one page after the other, and sees what they show. Numbers
// that say how long or when are others; "…" stands for what is left out.
func TestTheConsoles(t *testing.T) {
	text := string(check.Value(os.ReadFile("../examples/gopher/Caddyfile"))(t))
	r := startCaddy(t, strings.Replace(text, "http://localhost:8080 {", "http://SITE {", 1))
	if output, err := r.run("curl -sf http://localhost:8080/"); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	all := map[string][]block{}
	for _, b := range consoles(t) {
		if !strings.Contains(b.text, "shop") { // that of TestTheConsolesOfAPartyInTrouble
			all[b.page] = append(all[b.page], b)
		}
	}
	run := 0
	// In the order in which the counts of each are those of the one before, and of itself.
	operations := all["docs/operations.md"]
	check.FatalIf(t, len(operations) != 2, "%d", len(operations))
	for _, b := range append([]block{operations[0]}, append(all["docs/json-and-admin.md"], operations[1])...) {
		for _, command := range strings.Split("\n"+b.text, "\n$ ")[1:] {
			command, want, _ := strings.Cut(command, "\n")
			output, _ := r.run(strings.Replace(command, "curl ", "curl -s ", 1))
			see(t, b, command, output, want)
			run++
		}
	}
	check.ErrorIf(t, run < 8, "only %d commands were run", run)
}

// TestTheConsolesOfAPartyInTrouble has two of three applications run, and one of them change.
func TestTheConsolesOfAPartyInTrouble(t *testing.T) {
	debian.Install(t, "bsdutils", "bash-completion")
	var manifest atomic.Pointer[string]
	say := func(text string) { manifest.Store(&text) }
	say(`{"urls": {"post": "/posts/{slug}"}, "services": {"headline": {"answer": "News"}}}`)
	blog := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.wsgi-party+json")
		_, _ = io.WriteString(w, *manifest.Load())
	}))
	t.Cleanup(blog.Close)
	config := strings.NewReplacer("BLOG", blog.Listener.Addr().String(), "SHOP", testport.Address(t)).Replace(`http://SITE {
	wsgi_party main {
		invite /blog/__invite__/ /shop/__invite__/ /old/__invite__/
		handle_path /blog/* {
			wsgi_party_guest
			reverse_proxy BLOG
		}
		handle_path /shop/* {
			wsgi_party_guest
			reverse_proxy SHOP
		}
		handle_path /old/* {
			wsgi_party_guest {
				url menu /menu
			}
			respond old
		}
	}
}`)
	t.Setenv("NO_COLOR", "yes")
	t.Setenv("TERM", "xterm")
	r := startCaddy(t, config)
	shown := make(map[string]block)
	wanted := make(map[string]string)
	for _, b := range consoles(t) {
		if command, want, _ := strings.Cut(strings.TrimPrefix(b.text, "$ "), "\n"); strings.Contains(b.text, "shop") {
			shown[command], wanted[command] = b, want
		}
	}
	check.Equal(t, len(shown), 2, "consoles")

	const show = "caddy wsgi-party show main"
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) { // until both have been asked for their manifests
		output, _ := r.run(show)
		if strings.Contains(output, " 200 ") && strings.Contains(output, " 502 ") {
			break
		}
		check.FatalIf(t, time.Since(begun) > time.Minute, output)
	}
	output, err := r.run("script -qec 'stty cols 100; " + show + "' /dev/null </dev/null")
	check.ErrorIf(t, err != nil, err)
	see(t, shown[show], show, output, wanted[show])

	const watch = "caddy wsgi-party watch main"
	c := exec.Command("bash", "-c", "exec "+watch)
	c.Dir = r.dir
	lines := bufio.NewScanner(check.Value(c.StdoutPipe())(t))
	check.Must(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill() })
	defer time.AfterFunc(2*time.Minute, func() { _ = c.Process.Kill() }).Stop()
	var watched strings.Builder
	told := make(map[string]bool)
	until := func(event string) {
		for lines.Scan() {
			what := strings.Split(lines.Text(), "  ")[1]
			if !told[what] { // the shop may be asked again at any time, and fail
				watched.WriteString(lines.Text() + "\n")
			}
			if told[what] = true; what == event {
				return
			}
		}
		t.Fatalf("the command ended without %q:\n%s", event, &watched)
	}
	did := func(command string) {
		t.Helper()
		output, err := r.run(command)
		check.ErrorIf(t, err != nil, "%s: %v: %s", command, err, output)
	}
	until("invite failed")
	did("caddy wsgi-party ask main headline")
	until("asked")
	did("caddy reload --force")
	until("config loaded")
	say(`{"urls": {"post": "/posts/{slug}"}, "services": {"headline": {"answer": "News"}, "feed": {"answer": "/feed"}}}`)
	did("caddy wsgi-party invite main blog")
	until("manifest changed")
	check.Must(t, c.Process.Signal(os.Interrupt))
	check.Must(t, c.Wait())
	see(t, shown[watch], watch, watched.String(), wanted[watch])

	output, err = r.run(`source /usr/share/bash-completion/bash_completion
		source <(caddy completion bash)
		COMP_WORDS=(caddy wsgi-party ask main h) COMP_CWORD=4 COMP_LINE="caddy wsgi-party ask main h" COMP_POINT=27
		__start_caddy && echo "${COMPREPLY[@]}"`)
	check.ErrorIf(t, err != nil || !strings.HasPrefix(output, "headline"), "%v: bash completes %q", err, output)
}

var varies = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\dZ]*|\b\d+(\.\d+)?(ns|µs|ms|s)\b|"duration":[\d.e-]+|\b127\.0\.0\.1:\d+`)

// see compares what a command prints with what the page shows.
func see(t *testing.T, b block, command, got, want string) {
	t.Helper()
	plain := func(text string) string {
		return strings.Join(strings.Fields(varies.ReplaceAllString(text, "#")), "")
	}
	rest := plain(got)
	parts := strings.Split(plain(want), "…")
	for i, part := range parts {
		part = strings.TrimSuffix(part, ",")
		at := strings.Index(rest, part)
		if at < 0 || i == 0 && at > 0 || len(parts) == 1 && rest != part {
			t.Errorf("%v: `%s` prints\n%s\nand the page has\n%s", b, command, got, want)
			return
		}
		rest = rest[at+len(part):]
	}
}
