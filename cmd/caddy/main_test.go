// Copyright 2026 The wsgi_party Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package main

import (
	"bufio"
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

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// TestTheFirstCommandOfTheREADME runs the example in a process of its own, at
// other addresses.
func TestTheFirstCommandOfTheREADME(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "wsgiparty.exe") // a name that runs everywhere
	if output, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	example, err := os.ReadFile("../../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	site, admin := testport.Address(t), testport.Address(t)
	config := filepath.Join(dir, "Caddyfile.example")
	if err := os.WriteFile(config, []byte("{\nadmin "+admin+"\n}\n"+strings.Replace(string(example), "http://localhost:8080 {", "http://"+site+" {", 1)), 0o600); err != nil {
		t.Fatal(err)
	}

	command := exec.Command(binary, "run", "--config", config)
	command.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer command.Process.Kill() // or a failing test leaves it to answer for others
	watchdog := time.AfterFunc(time.Minute, func() { command.Process.Kill() })
	defer watchdog.Stop()

	var joined []string
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var entry struct{ Msg, Guest string }
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			t.Errorf("%s: %v", lines.Bytes(), err)
		}
		if entry.Msg == "guest joined" {
			joined = append(joined, entry.Guest)
		}
		if entry.Msg == "serving initial configuration" {
			break
		}
	}
	if got := strings.Join(joined, " "); got != "root one two" {
		t.Errorf("guests joined: %s", got)
	}
	response, err := http.Get("http://" + site + "/one/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(body), `<a href="/two/2026/november">two:news</a>`) {
		t.Errorf("%s %v", body, err)
	}
	if _, err := http.Post("http://"+admin+"/stop", "", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, stderr); err != nil {
		t.Error(err)
	}
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
}

// blocks returns what stands in the README's code blocks of a language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, match := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllSubmatch(readme, -1) {
		found = append(found, string(match[1]))
	}
	if len(found) == 0 {
		t.Fatalf("the README has no %s", language)
	}
	return found
}

func TestTheCaddyfilesOfTheREADMEAdapt(t *testing.T) {
	for _, config := range blocks(t, "caddyfile") {
		if strings.HasPrefix(config, "wsgi_party") {
			config = "example.com {\n" + config + "}"
		}
		if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil); err != nil {
			t.Errorf("%v\n%s", err, config)
		}
	}
}

func TestTheJSONOfTheREADMEIsAHandlers(t *testing.T) {
	for _, config := range blocks(t, "json") {
		var fields map[string]any
		if err := json.Unmarshal([]byte(config), &fields); err != nil {
			t.Fatalf("%v\n%s", err, config)
		}
		delete(fields, "handler")
		delete(fields, "@id")
		rest, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		if err := caddy.StrictUnmarshalJSON(rest, new(wsgiparty.Party)); err != nil {
			t.Errorf("%v\n%s", err, config)
		}
	}
}

func TestTheGuestOfTheREADMECompiles(t *testing.T) {
	for _, source := range blocks(t, "go") {
		if !strings.HasPrefix(source, "package") {
			continue
		}
		file := filepath.Join(t.TempDir(), "guest.go")
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		if output, err := exec.Command("go", "vet", file).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
		if output, err := exec.Command("gofmt", "-l", file).CombinedOutput(); err != nil || len(output) > 0 {
			t.Errorf("not formatted: %v %s", err, output)
		}
	}
}
