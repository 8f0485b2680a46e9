// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/gather"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/page"
	"github.com/wsgiparty/wsgiparty/upstreams"
	"github.com/wsgiparty/wsgiparty/vars"
)

// elsewhere has the pages of which a test of another package runs each block, and that test.
var elsewhere = map[string]string{
	"docs/graft.md": "TestTheTutorialOnGrafting of examples",
}

// tests have each block of a language, and say what is wrong with it.
var tests = map[string]func(*testing.T, block){
	"caddyfile":  testCaddyfile,
	"json":       testJSON,
	"sh":         testCommands,
	"console":    testConsole,
	"go":         func(*testing.T, block) {}, // TestTheProgramsInGo has them all at once
	"python":     testPython,
	"html":       testHTML,
	"http":       testHTTP,
	"dockerfile": testDockerfile,
	"promql":     func(*testing.T, block) {}, // TestEachMetricIsThere
	"":           testText,
}

// TestEachBlockIsTrue runs what stands between fences. There is no block that nothing runs.
func TestEachBlockIsTrue(t *testing.T) {
	all := blocks(t)
	check.ErrorIf(t, len(all) < 100, "there are %d blocks", len(all))
	for _, b := range all {
		if elsewhere[b.page] != "" && b.language != "caddyfile" {
			continue
		}
		t.Run(b.String(), func(t *testing.T) {
			test := tests[b.language]
			check.FatalIf(t, test == nil, "nothing tests %q: add it to tests", b.language)
			test(t, b)
		})
	}
}

// commands are all commands of the pages. Each says which test runs it, or why none does.
var commands = map[string]string{
	"go build ./cmd/caddy":                                                               "TestTheFirstScreenOfTheReadme of examples",
	"python3 -m venv venv":                                                               "TestTheFirstScreenOfTheReadme of examples",
	"venv/bin/pip install flask ./clients/python":                                        "TestTheFirstScreenOfTheReadme of examples",
	"mkdir shop && echo 'Your cart is empty.' >shop/cart.html":                           "TestTheFirstScreenOfTheReadme of examples",
	"python3 -m http.server --bind 127.0.0.1 --directory shop 9000 &":                    "TestTheFirstScreenOfTheReadme of examples",
	"WSGI_PARTY_KEY_FILE=blog.key venv/bin/python -m flask --app blog run --port 8000 &": "TestTheFirstScreenOfTheReadme of examples",
	"./caddy run": "TestTheFirstScreenOfTheReadme of examples",
	"go run ./cmd/caddy run --config Caddyfile.example":                                                    "TestTheFirstCommandOfTheREADME of cmd/caddy",
	"apt-get install gunicorn python3-flask python3-django uvicorn python3-fastapi python3-jinja2 php-fpm": "changes the machine; debian.Install does the same for the tests of examples",
	"npm install --prefix examples/express":                                                                "TestTheExamples of examples",
	"pip install ./clients/python":                                                                         "TestThePackageIsInstalledWithoutANetwork of clients/python",

	"xcaddy build --with github.com/wsgiparty/wsgiparty --with github.com/wsgiparty/wsgiparty/trunk":                                        "the same; cmd/caddy-trunk has both",
	"xcaddy build --with github.com/wsgiparty/wsgiparty":                                                                                    "asks the module proxy for a module that is not published yet",
	"xcaddy build --with example.com/blog --with github.com/wsgiparty/wsgiparty":                                                            "the same",
	"xcaddy build --with example.com/blog=. --with github.com/wsgiparty/wsgiparty=../wsgiparty":                                             "downloads xcaddy; TestTheProgramsInGo compiles the same",
	"go get github.com/wsgiparty/wsgiparty":                                                                                                 "asks the module proxy for a module that is not published yet",
	"go mod init example.com/blog":                                                                                                          "TestTheModuleOfTheGuest",
	"go mod edit -replace github.com/wsgiparty/wsgiparty=../wsgiparty":                                                                      "TestTheModuleOfTheGuest",
	"go test -run '^$' -bench . -count 6 . ./partyline ./httpguest ./claims":                                                                "takes an hour; each benchmark is there",
	`curl http://127.0.0.1:2080/url?first -H "Authorization: Bearer $BLOG_PARTY_KEY" -d '{"name": "shop:cart"}'`:                            "TestTheCommandsThatAsk",
	"curl -X PATCH localhost:2019/id/party/invites -H 'Content-Type: application/json' -d '[\"/blog/__invite__/\", \"/wiki/__invite__/\"]'": "TestTheCommandsThatAsk",
	"source <(caddy completion bash)":                                                                                                       "TestTheConsolesOfAPartyInTrouble",
	"curl localhost:2019/config/":                                                                                                           "TestTheCommandsThatAsk",
	"caddy wsgi-party check http://localhost:8000 --mount /blog --key {env.BLOG_PARTY_KEY}":                                                 "TestTheCommandsThatAsk",
}

func testCommands(t *testing.T, b block) {
	for _, command := range strings.Split(strings.TrimSpace(regexp.MustCompile(`\\\n\s*`).ReplaceAllString(b.text, "")), "\n") {
		check.ErrorIf(t, commands[command] == "", "nothing runs %q: add it to commands, with the test that does or why none can", command)
	}
}

// testJSON loads what is a config or a handler, and parses what is not. Several values may follow each other.
func testJSON(t *testing.T, b block) {
	decoder := json.NewDecoder(strings.NewReader(b.text))
	for {
		var value any
		err := decoder.Decode(&value)
		if err == io.EOF {
			return
		}
		check.FatalIf(t, err != nil, err)
		object, _ := value.(map[string]any)
		text := check.Value(json.Marshal(value))(t)
		switch {
		case object["apps"] != nil:
			loadJSON(t, text)
		case object["handler"] == "wsgi_party":
			loadJSON(t, []byte(`{"apps":{"http":{"servers":{"srv0":{"listen":[":443"],"routes":[{"handle":[`+string(text)+`]}]}}}}}`))
		case object["handler"] != nil:
			loadJSON(t, []byte(`{"apps":{"http":{"servers":{"srv0":{"listen":[":443"],"routes":[{"handle":[{"handler":"wsgi_party","invites":[{"uri":"/shop/__invite__/","guest":"shop"}],
				"routes":[{"match":[{"path":["/shop/*"]}],"handle":[{"handler":"rewrite","strip_path_prefix":"/shop"},`+string(text)+`,{"handler":"static_response"}]}]}]}]}}}}}`))
		case object["urls"] != nil, object["claims"] != nil, object["services"] != nil:
			_, err := manifest.Parse(text)
			check.ErrorIf(t, err != nil, err)
		}
	}
}

// testHTTP reads requests and responses, in each of which … stands for what is left out.
func testHTTP(t *testing.T, b block) {
	text := strings.TrimSpace(b.text)
	head, body, _ := strings.Cut(text, "\n\n")
	if strings.HasPrefix(head, "Party-Ask: ") {
		check.Value(http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\nHost: example.com\r\n" + head + "\r\n\r\n"))))(t)
		return
	}
	if body != "" && !strings.Contains(body, "…") {
		check.ErrorIf(t, !json.Valid([]byte(body)), "the body is not JSON")
	}
	message := bufio.NewReader(strings.NewReader(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n"))
	if strings.HasPrefix(text, "HTTP/") {
		response := check.Value(http.ReadResponse(message, nil))(t)
		if response.Header.Get("Content-Type") == "application/vnd.wsgi-party+json" {
			_, err := manifest.Parse([]byte(body))
			check.ErrorIf(t, err != nil, err)
		}
		return
	}
	check.Value(http.ReadRequest(message))(t)
}

// testPython runs the program, as its first visitor and without Caddy. What the README has is run with it.
func testPython(t *testing.T, b block) {
	switch b.page {
	case "README.md":
		return // TestTheFirstScreenOfTheReadme
	case "docs/recipes.md":
		return // TestTheLinesOfASGI
	}
	debian.Install(t, "python3-flask")
	file := filepath.Join(t.TempDir(), "app.py")
	check.Must(t, os.WriteFile(file, []byte(b.text+"\nprint(app.test_client().get('/').text)\n"), 0o600))
	c := exec.Command("/usr/bin/python3", file)
	c.Env = append(os.Environ(), "PYTHONPATH="+check.Value(filepath.Abs("../clients/python"))(t), "PYTHONDONTWRITEBYTECODE=1")
	output, err := c.CombinedOutput()
	check.ErrorIf(t, err != nil || !strings.HasSuffix(string(output), "by nobody\n"), "%v: %s", err, output)
}

// testHTML serves the page by the functions for templates. What the README has a browser show is
// seen by TestTheFirstScreenOfTheReadme.
func testHTML(t *testing.T, b block) {
	if b.page == "README.md" {
		return
	}
	page := filepath.Join(t.TempDir(), "links.html")
	check.Must(t, os.WriteFile(page, []byte(b.text), 0o600))
	c := partytest.NewCaddy(t)
	c.Site(`root ` + filepath.Dir(page) + `
		wsgi_party {
			invite /blog/__invite__/ /shop/__invite__/
			handle_path /blog/* {
				wsgi_party_guest {
					url post /posts/{slug}
					answer headline "News & views"
				}
				respond blog
			}
			handle_path /shop/* {
				wsgi_party_guest {
					url cart /cart
					answer user ` + "`{\"name\": \"Ann\"}`" + `
				}
				respond shop
			}
			templates {
				extensions {
					wsgi_party
				}
			}
			file_server
		}`)
	c.Expect("/links.html", 200, `<a href="/blog/posts/hello">Hello</a>
<a href="/shop/cart">Cart</a>
<ul><li>News &amp; views</li></ul>
<p>Welcome, Ann</p>
`)
}

// testDockerfile has it be the one of examples/compose, of the Caddy that this module is tested with.
func testDockerfile(t *testing.T, b block) {
	example := regexp.MustCompile(`(?m)^#\t?`).ReplaceAllString(read(t, "examples/compose/Dockerfile"), "")
	check.ErrorIf(t, !strings.Contains(example, strings.TrimSpace(b.text)), "examples/compose/Dockerfile is\n%s", example)
	version := regexp.MustCompile(`caddyserver/caddy/v2 v(\d+\.\d+)\.`).FindSubmatch(check.Value(os.ReadFile("../go.mod"))(t))
	for _, image := range regexp.MustCompile(`FROM caddy:([\d.]+)`).FindAllStringSubmatch(b.text, -1) {
		check.Equal(t, image[1], string(version[1]), "the image's version")
	}
}

// testText has blocks without a language. They are the grammar of a directive, or what cannot be loaded here.
func testText(t *testing.T, b block) {
	switch {
	case strings.Contains(b.text, "events {\n\t\ton guest_left exec"):
		adapt(t, strings.Replace(b.text, "exec notify-send", "test_recorder notify-send", 1)) // the plugin is not in this Caddy
	case strings.HasPrefix(b.text, "eyJ"):
		// internal/token reads it: TestTheTokenOfTheProtocolsPage
	case strings.HasPrefix(b.text, "ok    "):
		testReport(t, b)
	case strings.HasPrefix(b.text, "wsgi_party"), strings.HasPrefix(b.text, "dynamic wsgi_party"), strings.HasPrefix(b.text, "@<name> wsgi_party"):
		testGrammar(t, b)
	default:
		t.Error("a block needs a language, or a test in testText")
	}
}

// testReport looks for what `caddy wsgi-party check` prints, in its source.
func testReport(t *testing.T, b block) {
	source := allSource(t, "conformance/")
	for line := range strings.Lines(b.text) {
		what := strings.TrimSpace(line)
		if result, rest, ok := strings.Cut(what, " "); ok && (result == "ok" || result == "warn" || result == "FAIL" || result == "skip") {
			what, _, _ = strings.Cut(strings.TrimSpace(rest), "  ")
		}
		check.ErrorIf(t, !strings.Contains(source, what) && !strings.Contains(source, strings.Split(what, "`")[0]), "the command never says %q", what)
	}
}

func allSource(t *testing.T, dir string) string {
	var all strings.Builder
	for name, text := range sources(t, inTheModule) {
		if strings.HasPrefix(name, dir) {
			all.WriteString(text)
		}
	}
	return all.String()
}

var option = regexp.MustCompile(`(?m)^\t+([a-z_]+)`)

// testGrammar has the options of a directive be those that its source parses, and be explained below.
func testGrammar(t *testing.T, b block) {
	source := allSource(t, "")
	_, below, _ := strings.Cut(pages(t)[b.page], b.text)
	options := option.FindAllStringSubmatch(b.text, -1)
	for _, found := range options {
		if found[1] == "transport" {
			continue // is reverse_proxy's
		}
		check.ErrorIf(t, !strings.Contains(source, `"`+found[1]+`"`), "no directive has the option %s", found[1])
		check.ErrorIf(t, !regexp.MustCompile("\n- \\*\\*[^*]*`"+found[1]+"[` ]").MatchString(below), "%s is not explained below", found[1])
	}
}

// TestTheGrammarIsComplete compares that of docs/caddyfile.md with those that the parsers' comments have.
func TestTheGrammarIsComplete(t *testing.T) {
	all := pages(t)
	for name, text := range sources(t, func(name string) bool { return inTheModule(name) && strings.HasSuffix(name, "caddyfile.go") }) {
		page := all["docs/caddyfile.md"]
		if other, ok := all["docs/"+filepath.Dir(name)+".md"]; ok { // of a module that has a page of its own
			page = other
		}
		for _, grammar := range regexp.MustCompile(`(?m)^//\t((?:dynamic )?wsgi_party\w*) .*\{\n((?://\t\t.*\n)+)`).FindAllStringSubmatch(text, -1) {
			for _, found := range regexp.MustCompile(`(?m)^//\t\t([a-z_]+)`).FindAllStringSubmatch(grammar[2], -1) {
				check.ErrorIf(t, !regexp.MustCompile(`(?m)^(\t|@<name> wsgi_party .*\b)`+found[1]+`\b`).MatchString(page), "%s: docs/caddyfile.md lacks the option %s of %s", name, found[1], grammar[1])
			}
		}
	}
}

// TestTheJSONIsComplete has docs/json-and-admin.md name each member of each module.
func TestTheJSONIsComplete(t *testing.T) {
	text := pages(t)["docs/json-and-admin.md"]
	for _, module := range []reflect.Type{
		reflect.TypeFor[wsgiparty.Guest](), reflect.TypeFor[wsgiparty.Party](), reflect.TypeFor[wsgiparty.Ask](), reflect.TypeFor[wsgiparty.ClaimsMatcher](),
		reflect.TypeFor[vars.Vars](), reflect.TypeFor[vars.Ask](), reflect.TypeFor[gather.Gather](), reflect.TypeFor[gather.Cache](),
		reflect.TypeFor[upstreams.Upstreams](), reflect.TypeFor[page.Page](),
	} {
		for _, field := range reflect.VisibleFields(module) {
			if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && name != "-" {
				check.ErrorIf(t, !strings.Contains(text, `"`+name+`":`), "docs/json-and-admin.md lacks %s of %v", name, module)
			}
		}
	}
}

// TestTheCommandsThatAsk runs those that need a party.
func TestTheCommandsThatAsk(t *testing.T) {
	r := startCaddy(t, `http://SITE {
	wsgi_party {
		ask_on ASK
		invite /blog/__invite__/
		invite /shop/__invite__/
		handle_path /blog/* {
			wsgi_party_guest {
				key {env.BLOG_PARTY_KEY}
			}
			respond blog
		}
		handle_path /shop/* {
			wsgi_party_guest {
				url cart /cart.php
			}
			respond shop
		}
	}
}`)
	said := make(map[string]string)
	for command, by := range commands {
		if by == "TestTheCommandsThatAsk" && !strings.Contains(command, "PATCH") {
			said[command[:9]], _ = r.run(command)
		}
	}
	var answer struct{ Answers []string }
	check.Must(t, json.Unmarshal([]byte(said["curl http"]), &answer))
	check.Equal(t, strings.Join(answer.Answers, " "), "/shop/cart.php")
	for _, b := range blocks(t) {
		if b.page == "docs/clients.md" && strings.HasPrefix(b.text, `{"answers"`) {
			check.Equal(t, partytest.CompactJSON(t, said["curl http"]), partytest.CompactJSON(t, b.text))
		}
	}
	check.Contains(t, said["curl loca"], []string{`"handler":"wsgi_party"`, `"/blog/__invite__/"`})
	check.Contains(t, said["caddy wsg"], []string{"not", "reached"}, "nothing listens there")

	// A config with an @id takes other invites.
	var config map[string]any
	check.Must(t, json.Unmarshal([]byte(said["curl loca"]), &config))
	marked := strings.Replace(said["curl loca"], `"handler":"wsgi_party",`, `"handler":"wsgi_party","@id":"party",`, 1)
	check.Must(t, os.WriteFile(filepath.Join(r.dir, "marked.json"), []byte(marked), 0o600))
	if output, err := r.run("caddy reload --config marked.json"); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	for command := range commands {
		if strings.Contains(command, "PATCH") {
			output, err := r.run(strings.Replace(command, "curl ", "curl --fail-with-body --retry 5 --retry-all-errors ", 1))
			check.ErrorIf(t, err != nil, "%v: %s", err, output)
		}
	}
	output, _ := r.run("caddy wsgi-party list")
	check.Has(t, output, " of 2 joined")
	output, _ = r.run("curl localhost:2019/id/party/invites")
	check.Has(t, output, `"/wiki/__invite__/"`)
}

// TestTheModuleOfTheGuest makes what go.mod is for.
func TestTheModuleOfTheGuest(t *testing.T) {
	dir := t.TempDir()
	for command, by := range commands {
		if by == "TestTheModuleOfTheGuest" && strings.Contains(command, "init") {
			inDir(t, dir, command)
		}
	}
	for command, by := range commands {
		if by == "TestTheModuleOfTheGuest" && !strings.Contains(command, "init") {
			inDir(t, dir, command)
		}
	}
	check.Contains(t, string(check.Value(os.ReadFile(filepath.Join(dir, "go.mod")))(t)), []string{"module example.com/blog", "replace github.com/wsgiparty/wsgiparty => ../wsgiparty"})
}

func inDir(t *testing.T, dir, command string) {
	t.Helper()
	c := exec.Command("bash", "-c", command)
	c.Dir = dir
	if output, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, output)
	}
}

// TestTheProgramsInGo has the guest and its tests in docs/go.md pass in a package, with a Caddy of its own.
func TestTheProgramsInGo(t *testing.T) {
	dir := t.TempDir()
	_, admin, _ := strings.Cut(testport.Address(t), ":")
	_, port, _ := strings.Cut(testport.Address(t), ":")
	files := []string{filepath.Join(dir, "port_test.go")}
	check.Must(t, os.WriteFile(files[0], []byte("package blog\n\nimport \"github.com/caddyserver/caddy/v2/caddytest\"\n\nfunc init() { caddytest.Default.AdminPort = "+admin+" }\n"), 0o600))
	names := []string{"blog.go", "caddy_test.go", "line_test.go"}
	for _, b := range blocks(t) {
		if b.language != "go" {
			continue
		}
		check.FatalIf(t, len(files) > len(names), "%v: there is one more program", b)
		file := filepath.Join(dir, names[len(files)-1])
		check.Must(t, os.WriteFile(file, []byte(strings.NewReplacer("2999", admin, "9080", port).Replace(b.text)), 0o600))
		formatted := check.Value(exec.Command("gofmt", "-l", file).Output())(t)
		check.ErrorIf(t, len(formatted) > 0, "%v is not formatted", b)
		files = append(files, file)
	}
	check.Equal(t, len(files), 4, "programs")
	output, err := exec.Command("go", append([]string{"test", "-count=1", "-ldflags=-w"}, files...)...).CombinedOutput()
	check.ErrorIf(t, err != nil, "%v: %s", err, output)
}
