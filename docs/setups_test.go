// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

func read(t *testing.T, path string) string {
	t.Helper()
	return string(check.Value(os.ReadFile(filepath.Join("..", path)))(t))
}

// TestTheUnitsOfSystemd has systemd read the units, and Caddy their Caddyfile. The programs are none that are here.
func TestTheUnitsOfSystemd(t *testing.T) {
	debian.Install(t, "systemd")
	dir := t.TempDir()
	var files []string
	for _, name := range []string{"caddy.service", "blog.service"} {
		unit := regexp.MustCompile(`(?m)^(Exec\w+)=\S+`).ReplaceAllString(read(t, "examples/systemd/"+name), "$1=/bin/true")
		files = append(files, filepath.Join(dir, name))
		check.Must(t, os.WriteFile(files[len(files)-1], []byte(unit), 0o600))
	}
	output, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no", "--generators=no"}, files...)...).CombinedOutput()
	for line := range strings.Lines(string(output)) { // of these units, and not of the machine's
		check.ErrorIf(t, strings.Contains(line, "blog") || strings.Contains(line, "caddy"), line)
	}
	check.ErrorIf(t, err != nil, "%v: %s", err, output)

	caddyfile, blog := read(t, "examples/systemd/Caddyfile"), read(t, "examples/systemd/blog.service")
	testCaddyfile(t, block{page: "examples/systemd/Caddyfile", language: "caddyfile", text: caddyfile})
	for _, path := range regexp.MustCompile(`unix/(/run/blog\S+)|key auto (\S+)`).FindAllStringSubmatch(caddyfile, -1) {
		check.Has(t, blog, path[1]+path[2], "what the Caddyfile names")
	}
}

// TestTheApplicationsOfCompose runs both behind Caddy, without containers, and follows their links. What only
// Docker can do, it does not.
func TestTheApplicationsOfCompose(t *testing.T) {
	debian.Install(t, "python3-flask", "python3-yaml", "nodejs")
	const folder = "examples/compose/"
	text := read(t, folder+"compose.yaml")
	parse := exec.Command("/usr/bin/python3", "-c", "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)")
	parse.Stdin = strings.NewReader(text)
	var compose struct {
		Services map[string]struct {
			Build struct{ Context, Dockerfile string }
		}
	}
	check.Must(t, json.Unmarshal(check.Value(parse.Output())(t), &compose))
	check.Equal(t, len(compose.Services), 3, "services")
	copies := regexp.MustCompile(`(?m)^COPY (?:--from=\S+ )?(\S+) `)
	for name, service := range compose.Services {
		check.Equal(t, service.Build.Context, "../..", name)
		for _, match := range copies.FindAllStringSubmatch(read(t, service.Build.Dockerfile), -1) {
			if !strings.HasPrefix(match[1], "/") {
				_, err := os.Stat(filepath.Join("..", match[1]))
				check.ErrorIf(t, err != nil, err)
			}
		}
	}

	keys, modules := t.TempDir(), t.TempDir()
	shop, magazine := testport.Address(t), testport.Address(t)
	config := strings.NewReplacer("http://:8080", "http://SITE", ":2080 http://caddy:2080/", "ASK", "/party/", keys+"/",
		"shop:8000", shop, "magazine:9000", magazine).Replace(read(t, folder+"Caddyfile"))
	r := startCaddy(t, config)

	client := check.Value(filepath.Abs("../clients"))(t)
	check.Must(t, os.Mkdir(filepath.Join(modules, "node_modules"), 0o700))
	check.Must(t, os.Symlink(filepath.Join(client, "node"), filepath.Join(modules, "node_modules", "wsgi-party")))
	check.Must(t, os.WriteFile(filepath.Join(modules, "server.mjs"), []byte(read(t, folder+"magazine/server.mjs")), 0o600))
	_, shopPort, _ := strings.Cut(shop, ":")
	_, magazinePort, _ := strings.Cut(magazine, ":")
	run := func(dir, key string, environment []string, command ...string) {
		c := exec.Command(command[0], command[1:]...)
		c.Dir = dir
		c.Env = append(append(os.Environ(), "WSGI_PARTY_KEY_FILE="+filepath.Join(keys, key, "key"), "WSGI_PARTY_GUEST="+key), environment...)
		c.WaitDelay = 10 * time.Second
		output := new(strings.Builder)
		c.Stdout, c.Stderr = output, output
		check.Must(t, c.Start())
		t.Cleanup(func() {
			_ = c.Process.Kill()
			_ = c.Wait()
			if t.Failed() {
				t.Log(output)
			}
		})
	}
	run("../examples/compose/shop", "shop", []string{"PYTHONPATH=" + filepath.Join(client, "python"), "PYTHONDONTWRITEBYTECODE=1"},
		"/usr/bin/python3", "-m", "flask", "--app", "app", "run", "--port", shopPort)
	run(modules, "magazine", []string{"PORT=" + magazinePort}, "node", "server.mjs")

	site := "http://" + r.replace.Replace("localhost:8080")
	follow := func(path, want string) {
		t.Helper()
		body := ""
		for deadline := time.Now().Add(time.Minute); !strings.Contains(body, want) && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			response, err := http.Get(site + path)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(response.Body)
			response.Body.Close()
			body = string(text)
		}
		check.FatalIf(t, !strings.Contains(body, want), "%s says %s, want %s", path, body, want)
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	follow("/shop/", `<a href="/shop/items/kettle">`)
	follow("/shop/items/kettle", `<a href="/magazine/stories/kettle">Read about it</a>`)
	follow("/magazine/stories/kettle", `<a href="/shop/items/kettle">Buy one</a> for 60 euros`)
	follow("/magazine/stories/lamp", "for 40 euros")
	follow("/", `<a href="/magazine/stories/lamp">`)
}
