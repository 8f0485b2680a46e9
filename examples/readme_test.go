// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package examples

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// readme returns what README.md says, and blocks of code in it.
type readme string

func readReadme(t *testing.T) readme {
	return readme(check.Value(os.ReadFile("../README.md"))(t))
}

// files returns the blocks before which there is the name of a file.
func (r readme) files() map[string]string {
	files := make(map[string]string)
	for _, block := range regexp.MustCompile("`([\\w.]+)`:\n\n```\\w+\n([^`]*\n)```\n").FindAllStringSubmatch(string(r), -1) {
		files[block[1]] = block[2]
	}
	return files
}

// first returns the first block in a language.
func (r readme) first(language string) string {
	_, block, _ := strings.Cut(string(r), "```"+language+"\n")
	block, _, _ = strings.Cut(block, "```\n")
	return block
}

// flaskOfDebian returns a folder with what `pip install flask` installs, from Debian's packages.
func flaskOfDebian(t *testing.T) string {
	debian.Install(t, "python3-flask", "python3-venv")
	const from = "/usr/lib/python3/dist-packages"
	dir := t.TempDir()
	needed := regexp.MustCompile(`(?i)^(flask|werkzeug|jinja2|markupsafe|itsdangerous|click|blinker)(-.*)?$`)
	for _, entry := range check.Value(os.ReadDir(from))(t) {
		if needed.MatchString(entry.Name()) {
			check.Must(t, os.Symlink(filepath.Join(from, entry.Name()), filepath.Join(dir, entry.Name())))
		}
	}
	return dir
}

// onlyDirectory returns a directory that is always the same, for Go to find there what it has built
// the last time. Tests have it one after the other.
func onlyDirectory(t *testing.T) string {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("wsgiparty-readme-%x", sha256.Sum256([]byte(check.Value(os.Getwd())(t))))[:32])
	lock := check.Value(os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600))(t)
	check.Must(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	check.Must(t, os.RemoveAll(dir))
	t.Cleanup(func() {
		check.Nil(t, os.RemoveAll(dir))
		lock.Close()
	})
	return dir
}

// otherShop is what replaces the shop.
const otherShop = `
from flask import Flask
from wsgi_party.flask import Party

app = Flask(__name__)
Party(app)

@app.get("/basket")
def cart():
    return "Your basket is empty."
`

// TestTheFirstScreenOfTheReadme writes the files that it shows, runs the commands that
// it names, in a clone, and does what it says can be done. Only ports are others.
func TestTheFirstScreenOfTheReadme(t *testing.T) {
	r := readReadme(t)
	flask := flaskOfDebian(t)
	dir := cloneAt(t, onlyDirectory(t), ".")
	var ports []string
	for _, port := range []string{"8080", "8000", "9000", "2080", "8001"} {
		address := testport.Address(t)
		ports = append(ports, port, address[strings.LastIndexByte(address, ':')+1:])
	}
	replaced := strings.NewReplacer(ports...).Replace
	write := func(name, content string) {
		check.Must(t, os.WriteFile(filepath.Join(dir, name), []byte(replaced(content)), 0o644))
	}
	files := r.files()
	config := files["Caddyfile"]
	if files["blog.py"] == "" || config == "" {
		t.Fatalf("the README has the files %q", files)
	}
	if formatted := string(caddyfile.Format([]byte(config))); formatted != config {
		t.Errorf("caddy fmt would make this of the README's Caddyfile:\n%s", formatted)
	}
	write("Caddyfile", config)
	write("blog.py", files["blog.py"])
	write("shop.py", otherShop)

	gobin := filepath.Dir(check.Value(exec.LookPath("go"))(t))
	environment := append(os.Environ(), "PATH="+gobin+":/usr/bin:"+os.Getenv("PATH"), "GOFLAGS=-ldflags=-w", // which saves time
		"PYTHONPATH="+flask, "PYTHONDONTWRITEBYTECODE=1", "PIP_NO_INDEX=1", // all that Debian's packages lack is in the clone
		"XDG_DATA_HOME="+filepath.Join(dir, "data"), "CADDY_ADMIN="+testport.Address(t))
	start := func(script string) (ended chan struct{}) {
		c, end, err := command("bash", "-e", "-c", script)
		check.Must(t, err)
		log := new(syncBuffer)
		c.Dir, c.Stdout, c.Stderr = dir, log, log
		c.Env = append(environment, watched+"=yes")
		check.Must(t, c.Start())
		watchdog := time.AfterFunc(6*time.Minute, end)
		ended = make(chan struct{})
		go func() {
			c.Wait() // what stands in the background is ended then
			close(ended)
		}()
		t.Cleanup(func() {
			watchdog.Stop()
			end()
			<-ended
			if t.Failed() {
				t.Logf("%s\n%s", script, log)
			}
		})
		return ended
	}
	caddy := func(command string) {
		t.Helper()
		c := exec.Command(filepath.Join(dir, "caddy"), command)
		c.Dir, c.Env = dir, environment
		if output, err := c.CombinedOutput(); err != nil {
			t.Errorf("caddy %s: %v\n%s", command, err, output)
		}
	}
	ended := start("trap 'kill $(jobs -p)' EXIT\n" + replaced(r.first("sh")))
	t.Cleanup(func() { caddy("stop") })

	site := replaced("http://localhost:8080")
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	leads := func(link, to, says string) {
		t.Helper()
		var body string
		for deadline := time.After(5 * time.Minute); !strings.Contains(body, link); body = visit(site + "/blog/") {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-deadline:
				t.Fatalf("the blog says %q, want %s", body, link)
			case <-ended:
				t.Fatalf("the commands have ended before the blog says %s", link)
			}
		}
		if got := visit(site + to); !strings.Contains(got, says) {
			t.Errorf("%s says %q, want %q", to, got, says)
		}
	}
	leads(strings.TrimSpace(r.first("html")), "/shop/cart.html", "Your cart is empty.")

	write("Caddyfile", strings.ReplaceAll(config, "/shop/", "/store/"))
	caddy("reload")
	leads(`"/store/cart.html"`, "/store/cart.html", "Your cart is empty.")

	before, _, _ := strings.Cut(config, "		handle_path /shop/")
	write("Caddyfile", before+"handle_path /shop/* {\nwsgi_party_guest {\nkey auto shop.key\n}\nreverse_proxy localhost:8001\n}\n}\n}\n")
	start(replaced("WSGI_PARTY_KEY_FILE=shop.key exec venv/bin/python -m flask --app shop run --port 8001"))
	caddy("reload")
	leads(`"/shop/basket"`, "/shop/basket", "Your basket is empty.")
}

// visit returns what a visitor is shown, or why nothing is.
func visit(address string) string {
	response, err := http.Get(address)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Sprint(response.Status, err)
	}
	return string(body)
}

// TestTheLinesOfTheReadme finds what it says of each framework in the files that it names, which
// tests run. There may be more arguments, and the pages have other names.
func TestTheLinesOfTheReadme(t *testing.T) {
	_, table, _ := strings.Cut(string(readReadme(t)), "\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	code, target := regexp.MustCompile("`([^`]+)`"), regexp.MustCompile(`\]\[([^\]]+)\]`)
	leads := make(map[string]string)
	for _, match := range regexp.MustCompile(`(?m)^\[([^\]]+)\]: (\S+)$`).FindAllStringSubmatch(string(readReadme(t)), -1) {
		leads[match[1]] = match[2]
	}
	rows := strings.Split(table, "\n")
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		if len(cells) != 3 {
			t.Fatalf("%q has %d cells", row, len(cells))
		}
		files := target.FindAllStringSubmatch(cells[0], -1)
		for _, cell := range cells[1:] {
			lines := code.FindAllStringSubmatch(cell, -1)
			if other := target.FindAllStringSubmatch(cell, -1); other != nil {
				files = other
			}
			if len(lines) == 0 || len(files) == 0 {
				t.Errorf("%q says no line, or no file", row)
			}
			for _, file := range files {
				text := check.Value(os.ReadFile(filepath.Join("..", leads[file[1]])))(t)
				for _, line := range lines {
					pattern := regexp.QuoteMeta(line[1])
					pattern = regexp.MustCompile(`(['"])shop:cart['"]`).ReplaceAllString(pattern, "${1}[^'\"]+$1")
					if before, ok := strings.CutSuffix(pattern, `\)`); ok {
						pattern = before + `[,)]`
					}
					if !regexp.MustCompile(pattern).Match(text) {
						t.Errorf("%s has no %s", leads[file[1]], line[1])
					}
				}
			}
		}
	}
	if len(rows) < 8 {
		t.Errorf("there are %d lines", len(rows))
	}
}
