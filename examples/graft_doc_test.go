// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package examples

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// reader does what docs/graft.md says, in a clone, and sees what it shows.
type reader struct {
	*testing.T
	dir         string
	environment []string
	config      string // the Caddyfile
	to          io.Writer
	from        *bufio.Reader
	replaced    func(string) string // with ports that are free
	deployed    string              // all that the example has in Python
}

// TestTheTutorialOnGrafting follows docs/graft.md from its first command to its last. Of these only
// the ones that install and build are left out: other tests do that.
func TestTheTutorialOnGrafting(t *testing.T) {
	debian.Install(t, "php-fpm", "gunicorn", "python3-flask", "curl")
	dir := clone(t, "examples/graft", "clients/python", "docs")
	check.Must(t, os.Symlink(builtCaddy(t), filepath.Join(dir, "caddy")))
	if output, err := exec.Command("go", "build", "-o", dir, "./graft/load").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	site, asked, admin := testport.Address(t), testport.Address(t), testport.Address(t)
	r := &reader{
		T: t, dir: dir,
		environment: append(os.Environ(), "CADDY_ADMIN="+admin, "ADMIN="+admin, "PATH="+dir+":"+os.Getenv("PATH"), "RUN="+dir+"/graft", "HOME="+dir,
			"PYTHONPATH="+dir+"/clients/python", "XDG_DATA_HOME="+dir+"/data", "XDG_CONFIG_HOME="+dir+"/data"),
		replaced: strings.NewReplacer("localhost:8080", strings.Replace(site, "127.0.0.1", "localhost", 1), "127.0.0.1:2080", asked).Replace,
	}
	check.Must(t, filepath.WalkDir(filepath.Join(dir, "examples/graft"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".py") {
			r.deployed += string(check.Value(os.ReadFile(path))(t))
		}
		return err
	}))
	r.start()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	text := string(check.Value(os.ReadFile(filepath.Join(dir, "docs/graft.md")))(t))
	kinds := make(map[string]int)
	for text != "" {
		before, rest, _ := strings.Cut(text, "```")
		for _, link := range regexp.MustCompile(`Open <([^>]+)>`).FindAllStringSubmatch(before, -1) {
			r.visit(r.replaced(link[1]))
		}
		indent := before[strings.LastIndexByte(before, '\n')+1:]
		kind, rest, _ := strings.Cut(rest, "\n")
		block, rest, _ := strings.Cut(rest, indent+"```\n")
		if text = rest; kind != "" {
			kinds[kind]++
			r.read(kind, strings.ReplaceAll("\n"+block, "\n"+indent, "\n")[1:])
		}
	}
	if got := slices.Sorted(maps.Keys(kinds)); !slices.Equal(got, []string{"caddyfile", "console", "diff", "python", "sh"}) || kinds["sh"] < 10 || kinds["console"] < 5 {
		t.Errorf("it has %v", kinds)
	}
}

// read does what a block of the page is for.
func (r *reader) read(kind, block string) {
	r.Helper()
	switch kind {
	case "sh":
		r.run(block)
	case "console":
		for _, command := range strings.Split("\n"+block, "\n$ ")[1:] {
			command, output, _ := strings.Cut(command, "\n")
			r.see(command, output)
		}
	case "python":
		if !strings.Contains(r.deployed, block) {
			r.Errorf("in no file of the example is\n%s", block)
		}
	case "diff":
		var before, after strings.Builder
		for line := range strings.Lines(block) {
			if line[0] != '+' {
				before.WriteString(line[1:])
			}
			if line[0] != '-' {
				after.WriteString(line[1:])
			}
		}
		if strings.Count(r.config, before.String()) != 1 {
			r.Fatalf("the Caddyfile has not once\n%s\nbut is\n%s", &before, r.config)
		}
		r.write(strings.Replace(r.config, before.String(), after.String(), 1))
	case "caddyfile":
		if strings.HasPrefix(block, "@new ") { // instead of what there is
			config := regexp.MustCompile(`(?m)^\t\t@new .*\n`).ReplaceAllString(r.config, "\t\t"+strings.ReplaceAll(strings.TrimSpace(block), "\n", "\n\t\t")+"\n")
			if !strings.Contains(config, "not path") {
				r.Fatalf("the Caddyfile has no @new:\n%s", r.config)
			}
			config, r.config = r.config, config
			r.write(r.config)
			r.run("caddy adapt >adapted.json")
			r.write(config)
			return
		}
		r.write(block)
	default:
		r.Errorf("there is a block of %s", kind)
	}
}

func (r *reader) write(config string) {
	r.Helper()
	r.config = config
	if formatted := string(caddyfile.Format([]byte(config))); formatted != config {
		r.Errorf("caddy fmt would make this of the Caddyfile:\n%s", formatted)
	}
	check.Must(r.T, os.WriteFile(filepath.Join(r.dir, "Caddyfile"), []byte(r.replaced(config)), 0o644))
}

// start starts a shell, which ends with the test, and all that it has started.
func (r *reader) start() {
	c, end, err := command("bash", "-c", "exec bash <&3 3<&-")
	check.Must(r.T, err)
	commands, to, err := os.Pipe()
	check.Must(r.T, err)
	from, results, err := os.Pipe()
	check.Must(r.T, err)
	log := new(syncBuffer)
	c.Dir, c.Stdout, c.Stderr = r.dir, log, log
	c.Env = append(r.environment, watched+"="+withPipes)
	c.ExtraFiles = []*os.File{commands, results}
	check.Must(r.T, c.Start())
	commands.Close()
	results.Close()
	r.to, r.from = to, bufio.NewReader(from)
	r.Cleanup(func() {
		to.Close()
		end()
		c.Wait()
		from.Close()
		if r.Failed() {
			r.Log(log)
		}
	})
	check.Must(r.T, from.SetReadDeadline(time.Now().Add(2*time.Minute)))
}

// run runs commands in the shell.
func (r *reader) run(commands string) {
	r.Helper()
	for line := range strings.Lines(commands) {
		if strings.HasPrefix(line, "apt-get ") || strings.HasPrefix(line, "go build ") {
			continue
		}
		line = strings.TrimSpace(line)
		// What the shell starts is not to have its pipes, or would keep them open.
		fmt.Fprintf(r.to, "{ %s\n} </dev/null 4>&-; echo $? >&4\n", line)
		if status := strings.TrimSpace(check.Value(r.from.ReadString('\n'))(r.T)); status != "0" {
			r.Fatalf("%s: status %s", line, status)
		}
	}
}

// see runs a command until it shows what the page shows, but for numbers.
func (r *reader) see(command, want string) {
	r.Helper()
	var got string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		c := exec.Command("bash", "-c", r.replaced(command))
		c.Dir, c.Env = r.dir, r.environment
		output, err := c.CombinedOutput()
		if got = string(output); err == nil && looks(got, want) {
			return
		}
	}
	r.Errorf("%s shows\n%s\nand not\n%s", command, got, want)
}

// looks reports whether the text is what is wanted, but for numbers and the order of lines. Where
// a line is "…", others may be missing.
func looks(got, want string) bool {
	lines, all := shape(got), shape(want)
	if !slices.Contains(all, "…") {
		return slices.Equal(lines, all)
	}
	return !slices.ContainsFunc(all, func(line string) bool { return line != "…" && !slices.Contains(lines, line) })
}

var numbers = regexp.MustCompile(`\d[\d.,:% -]*([nµm]?s\b|%)?`)

func shape(text string) (lines []string) {
	for line := range strings.Lines(strings.TrimSpace(numbers.ReplaceAllString(text, "0 "))) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	slices.Sort(lines)
	return lines
}

var stylesheet = regexp.MustCompile(`<link rel="stylesheet" href="([^"]+)">`)

func (r *reader) visit(address string) {
	r.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		response, err := http.Get(address)
		if err == nil {
			body, _ := io.ReadAll(response.Body)
			response.Body.Close()
			if style := stylesheet.FindSubmatch(body); style != nil {
				address = "http://" + response.Request.URL.Host + string(style[1]) // as browsers do
				continue
			}
			if response.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("status %s", response.Status)
		}
		if time.Now().After(deadline) {
			r.Fatalf("%s: %v", address, err)
		}
	}
}
