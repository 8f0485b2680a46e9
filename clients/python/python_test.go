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

// Package python tests the client for Python, which is no Go.
package python

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"go.uber.org/goleak"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "wsgiparty")
	if err != nil {
		log.Fatal(err)
	}
	caddy.DefaultStorage.Path = filepath.Join(dir, "storage")
	caddy.ConfigAutosavePath = filepath.Join(dir, "autosave.json")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// interpreter is a Python that is installed here.
type interpreter struct {
	path    string
	version [2]int
}

// interpreters returns the python3 of the PATH, and the oldest and the newest one of
// pyenv's that the client is for.
var interpreters = sync.OnceValues(func() ([]interpreter, error) {
	oldest := [2]int{3, 8}
	versionOf := func(path string) (i interpreter, err error) {
		output, err := exec.Command(path, "-c", "import sys; print(list(sys.version_info[:2]), end=' '); print(sys.executable)").Output()
		if err != nil {
			return i, fmt.Errorf("%s: %w", path, err)
		}
		list, executable, _ := strings.Cut(strings.TrimSpace(string(output)), "] ")
		i.path = executable
		return i, json.Unmarshal([]byte(list+"]"), &i.version)
	}
	system, err := versionOf("python3")
	if err != nil {
		return nil, fmt.Errorf("these tests need Python: %w", err)
	}
	root := os.Getenv("PYENV_ROOT")
	if root == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		root = filepath.Join(home, ".pyenv")
	}
	paths, err := filepath.Glob(filepath.Join(root, "versions", "*", "bin", "python3"))
	if err != nil {
		return nil, err
	}
	var others []interpreter
	for _, path := range paths {
		i, err := versionOf(path)
		if err != nil {
			return nil, err
		}
		if slices.Compare(i.version[:], oldest[:]) >= 0 {
			others = append(others, i)
		}
	}
	slices.SortFunc(others, func(a, b interpreter) int { return slices.Compare(a.version[:], b.version[:]) })
	all := []interpreter{system}
	if len(others) > 0 {
		all = append(all, others[0])
	}
	if len(others) > 1 {
		all = append(all, others[len(others)-1])
	}
	return slices.CompactFunc(all, func(a, b interpreter) bool { return a.path == b.path }), nil
})

func pythons(t *testing.T) []interpreter {
	t.Helper()
	debian.Install(t, "python3")
	all, err := interpreters()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestTheClientPassesItsOwnTests runs them on the Pythons that are here.
func TestTheClientPassesItsOwnTests(t *testing.T) {
	for _, python := range pythons(t) {
		t.Run(fmt.Sprintf("%d.%d", python.version[0], python.version[1]), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			command := exec.CommandContext(ctx, python.path, "-W", "error::SyntaxWarning", "-m", "unittest", "discover", "-q")
			command.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
			if output, err := command.CombinedOutput(); err != nil || !bytes.Contains(output, []byte("\nOK")) {
				t.Errorf("%s: %v\n%s", python.path, err, output)
			}
		})
	}
}

// guest is an application in a process of its own.
type guest struct {
	t       *testing.T
	name    string
	key     string
	network string
	address string // where it listens
	ask     string // its WSGI_PARTY_URL
	program string // for a Python's own server
	keyless bool   // whether Caddy has no key of it

	mu    sync.Mutex
	calls []string // of its handlers
	said  []byte   // on its stderr
}

// Write takes what the process says.
func (g *guest) Write(said []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said = append(g.said, said...)
	return len(said), nil
}

// timesSaid returns how often the process has said this by now.
func (g *guest) timesSaid(text string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return bytes.Count(g.said, []byte(text))
}

func newGuest(t *testing.T, name, ask string) *guest {
	return &guest{t: t, name: name, key: name + strings.Repeat("-key", 8), network: "tcp", address: testport.Address(t), ask: ask, program: "guest.py"}
}

// start starts the process, with a key that may be another than Caddy's, and waits
// until it listens.
func (g *guest) start(key string, command ...string) {
	g.t.Helper()
	process := exec.Command(command[0], command[1:]...)
	process.Dir = "testdata"
	here, err := os.Getwd()
	if err != nil {
		g.t.Fatal(err)
	}
	process.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH="+here, "GUEST="+g.name,
		"WSGI_PARTY_KEY="+key, "WSGI_PARTY_URL="+g.ask, "WSGI_PARTY_GUEST="+g.name)
	process.Stderr = g
	stdin, err := process.StdinPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		g.t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			g.mu.Lock()
			g.calls = append(g.calls, lines.Text())
			g.mu.Unlock()
		}
	}()
	g.t.Cleanup(func() {
		stdin.Close() // which ends it
		watchdog := time.AfterFunc(20*time.Second, func() { process.Process.Kill() })
		defer watchdog.Stop()
		<-read
		if err := process.Wait(); err != nil {
			g.t.Errorf("guest %s ends with %v", g.name, err)
		}
		if g.t.Failed() {
			g.t.Logf("guest %s said\n%s", g.name, g.said)
		}
	})
	eventually(g.t, g.name+" listens", func() bool {
		connection, err := net.Dial(g.network, g.address)
		if err != nil {
			return false
		}
		connection.Close()
		return true
	})
}

// underWSGIRef serves the application by a Python's own server.
func (g *guest) underWSGIRef(python interpreter) *guest {
	g.t.Helper()
	_, port, err := net.SplitHostPort(g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.start(g.key, python.path, g.program, port)
	return g
}

// underGunicorn serves it by three processes, at a unix socket.
func (g *guest) underGunicorn() *guest {
	g.t.Helper()
	debian.Install(g.t, "gunicorn")
	dir, err := os.MkdirTemp("", "gunicorn") // t.TempDir may be too long for a socket
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { os.RemoveAll(dir) })
	g.network, g.address = "unix", filepath.Join(dir, "socket")
	g.start(g.key, "gunicorn", "--workers", "3", "--config", "gunicorn.conf.py", "--worker-tmp-dir", dir, "--bind", "unix:"+g.address, "guest:application")
	return g
}

// mount are the guest's directives.
func (g *guest) mount() string {
	key := ""
	if !g.keyless {
		g.t.Setenv(g.name+"_PARTY_KEY", g.key)
		key = "key {env." + g.name + "_PARTY_KEY}\n"
	}
	upstream := g.address
	if g.network == "unix" {
		upstream = "unix/" + g.address
	}
	return fmt.Sprintf("invite /%[1]s/__invite__/\nhandle_path /%[1]s/* {\nwsgi_party_guest {\n%[2]stimeout 20s\n}\nreverse_proxy %[3]s\n}\n", g.name, key, upstream)
}

// asked returns how often the guest was asked for the service. What it says of that may
// still be on its way.
func (g *guest) asked(service string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, call := range g.calls {
		if call == service {
			n++
		}
	}
	return n
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// parties are counted, for a test's party to have a name of its own: manifests are kept
// from config to config.
var parties atomic.Int64

// testCaddy is a Caddy behind which the guests are.
type testCaddy struct {
	t      *testing.T
	party  string
	site   string
	ask    string
	tls    bool // whether to ask over https
	socket string
}

func newCaddy(t *testing.T) *testCaddy {
	t.Helper()
	before := goleak.IgnoreCurrent()
	dir, err := os.MkdirTemp("", "party")
	if err != nil {
		t.Fatal(err)
	}
	c := &testCaddy{t: t, party: fmt.Sprint("main", parties.Add(1)), site: testport.Address(t), ask: testport.Address(t), socket: filepath.Join(dir, "ask")}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, before,
			goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*Cache).maintainAssets"),
			// Sleeps for up to 5 s after its file is gone.
			goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
	})
	return c
}

// invite loads a party of these guests, which ask it at an address or at a socket.
func (c *testCaddy) invite(guests ...*guest) {
	c.t.Helper()
	scheme, tls := "http", ""
	if c.tls {
		scheme, tls = "https", "tls internal\n"
	}
	config := "{\nadmin off\npersist_config off\nauto_https disable_redirects\nskip_install_trust\nstorage_check off\nstorage_clean_interval off\ngrace_period 5s\nlog {\noutput discard\n}\n}\nhttp://" +
		c.site + " {\nwsgi_party " + c.party + " {\n"
	for _, g := range guests {
		config += g.mount()
	}
	config += "}\n}\n" + scheme + "://" + c.ask + " {\n" + tls + "handle_path /party/* {\nwsgi_party_ask " + c.party + "\n}\n}\nhttp:// {\nbind unix/" + c.socket + "\nwsgi_party_ask " + c.party + "\n}\n"
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := caddy.Load(adapted, true); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, "the applications answer their invites", func() bool {
		parties := wsgiparty.Parties()
		return len(parties) == 1 && len(parties[0].Invites) == len(guests) &&
			!slices.ContainsFunc(parties[0].Invites, func(i wsgiparty.InviteInfo) bool { return i.Status == 0 && i.Err == nil })
	})
}

// allJoined fails the test unless they all have.
func (c *testCaddy) allJoined() {
	c.t.Helper()
	for _, i := range wsgiparty.Parties()[0].Invites {
		if i.Result != wsgiparty.InviteJoined {
			c.t.Fatalf("%+v", i)
		}
	}
}

// asked returns what asking as a guest, or as nobody, gives, as JSON.
func (c *testCaddy) asked(guest, service string, payload any) string {
	c.t.Helper()
	operator, ok := wsgiparty.Lookup(c.party)
	if !ok {
		c.t.Fatal("no party")
	}
	answers, err := operator.Partyline().Operator(guest).AskAround(c.t.Context(), service, payload)
	encoded, _ := json.Marshal(answers)
	if err != nil {
		return fmt.Sprintf("%s %v", encoded, err)
	}
	return string(encoded)
}

// get returns a page, which is JSON.
func (c *testCaddy) get(path string) string {
	c.t.Helper()
	response, err := http.Get("http://" + c.site + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		c.t.Errorf("%s: %d %s %v", path, response.StatusCode, body, err)
		return ""
	}
	var plain bytes.Buffer
	if err := json.Compact(&plain, body); err != nil {
		c.t.Errorf("%s: %s %v", path, body, err)
	}
	return plain.String()
}

func (c *testCaddy) pageIs(path, want string) {
	c.t.Helper()
	if got := c.get(path); sorted(c.t, got) != sorted(c.t, want) {
		c.t.Errorf("%s: %s, want %s", path, got, want)
	}
}

// sorted returns JSON whose lists are in an order of their own: but for links, who
// joins first is asked first.
func sorted(t *testing.T, text string) string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Errorf("%s: %v", text, err)
	}
	var sort func(any)
	sort = func(value any) {
		list, _ := value.([]any)
		for _, element := range list {
			sort(element)
		}
		slices.SortFunc(list, func(a, b any) int {
			return strings.Compare(fmt.Sprintf("%T %v", a, a), fmt.Sprintf("%T %v", b, b))
		})
	}
	sort(value)
	encoded, _ := json.Marshal(value)
	return string(encoded)
}

// TestApplicationsInPythonAnswerAndAskThroughCaddy has three, on the oldest and the
// newest Python that are here, and under gunicorn with three processes.
func TestApplicationsInPythonAnswerAndAskThroughCaddy(t *testing.T) {
	c := newCaddy(t)
	all := pythons(t)
	guests := []*guest{
		newGuest(t, "one", "http://"+c.ask+"/party/").underWSGIRef(all[min(1, len(all)-1)]),
		newGuest(t, "two", "unix/"+c.socket).underWSGIRef(all[len(all)-1]),
		newGuest(t, "three", "unix/"+c.socket).underGunicorn(),
	}
	c.invite(guests...)
	c.allJoined()

	t.Run("they are asked", func(t *testing.T) {
		for asker, want := range map[string]string{"": `["one","two","three"]`, "one": `["two","three"]`, "three": `["one","two"]`} {
			if got := c.asked(asker, "name", nil); sorted(t, got) != sorted(t, want) {
				t.Errorf("%q asks: %s, want %s", asker, got, want)
			}
		}
		payload := map[string]any{"größe": json.Number("12345678901234567890"), "list": []any{nil, true, "<&>"}}
		encoded, _ := json.Marshal(payload)
		if got, want := c.asked("two", "echo", payload), fmt.Sprintf("[%s,%s]", encoded, encoded); sorted(t, got) != sorted(t, want) {
			t.Errorf("a payload comes back as %s, want %s", got, want)
		}
		if got := c.asked("", "decline", nil); got != "[]" {
			t.Errorf("who declines gives %s", got)
		}
		if got := c.asked("two", "fail", nil); !strings.Contains(got, "status 500") || strings.Contains(got, "on purpose") {
			t.Errorf("who fails gives %s", got)
		}
	})

	t.Run("they ask", func(t *testing.T) {
		c.pageIs("/one/", `["one","/one"]`)
		c.pageIs("/one/ask/name", `["two","three"]`)
		c.pageIs("/two/ask/name", `["one","three"]`)
		c.pageIs("/three/ask/name", `["one","two"]`)
		c.pageIs("/two/ask/echo?payload=[1,\"x\"]", `[[1,"x"],[1,"x"]]`)
		c.pageIs("/two/ask/decline", `[]`)
		c.pageIs("/two/ask/fail", `[]`)
		c.pageIs("/two/ask/nothing", `"NoSuchServiceName: nobody connected the service 'nothing'"`)
		c.pageIs("/two/first/echo?payload=7", `7`)
		c.pageIs("/two/first/url?payload=[\"three\",{\"slug\":\"a\"}]", `"/three/posts/a"`)
		c.pageIs("/two/first/decline", `"HighAndDry"`)
		c.pageIs("/two/first/fail", `"HighAndDry"`)
		c.pageIs("/two/first/nothing", `"NoSuchServiceName"`)
	})

	t.Run("what they ask says what led to it", func(t *testing.T) {
		request, err := http.NewRequest("GET", "http://"+c.site+"/one/ask/loop", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("CDN-Loop", "visitor")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var loops []string
		if err := json.NewDecoder(response.Body).Decode(&loops); err != nil || len(loops) != 2 {
			t.Fatalf("%v %v", loops, err)
		}
		for _, loop := range loops {
			if before, id, _ := strings.Cut(loop, ", "); before != "visitor" || !strings.HasPrefix(id, "wsgi-party-") {
				t.Error(loop)
			}
		}
	})

	t.Run("links", func(t *testing.T) {
		if got := c.get("/one/ask/url?payload=[\"post\",{\"slug\":\"a\"}]"); got != `["/two/posts/a","/three/posts/a"]` {
			t.Error(got)
		}
		c.pageIs("/two/ask/url?payload=[\"three\",{\"slug\":\"a\"}]", `["/three/posts/a"]`)
		operator, _ := wsgiparty.Lookup(c.party)
		if got, err := wsgiparty.URLFor(t.Context(), operator, "two", map[string]any{"slug": "b"}); err != nil || got != "/two/posts/b" {
			t.Errorf("%q %v", got, err)
		}
		var links [][]string
		if err := json.Unmarshal([]byte(c.get("/one/links")), &links); err != nil || len(links) != 50 {
			t.Fatalf("%v %v", links, err)
		}
		for i, link := range links {
			if want := []string{fmt.Sprint("/two/posts/", i), fmt.Sprint("/three/posts/", i)}; !slices.Equal(link, want) {
				t.Errorf("link %d is %v, want %v", i, link, want)
			}
		}
	})

	t.Run("every worker answers", func(t *testing.T) {
		operator, _ := wsgiparty.Lookup(c.party)
		processes := make(map[string]bool)
		eventually(t, "all five processes answer", func() bool {
			var mu sync.Mutex
			var group sync.WaitGroup
			for range 12 {
				group.Go(func() {
					pids, err := wsgiparty.All[json.Number](t.Context(), operator, "pid", nil)
					mu.Lock()
					defer mu.Unlock()
					if err != nil || len(pids) != 3 {
						t.Errorf("%v %v", pids, err)
						return
					}
					for _, pid := range pids {
						processes[pid.String()] = true
					}
				})
			}
			group.Wait()
			return len(processes) == 5 || t.Failed()
		})
	})

	// Each guest asks for the very service that it answers: what is skipped is what
	// Go guests of one process skip, since the token goes along.
	t.Run("nested asks", func(t *testing.T) {
		reference := wsgiparty.NewPartyline("main", wsgiparty.Options{})
		var mu sync.Mutex
		calls := make(map[string]int)
		for _, g := range guests {
			operator := reference.Operator(g.name)
			if err := operator.Connect("nest", func(ctx context.Context, payload any) (any, error) {
				mu.Lock()
				calls[g.name]++
				mu.Unlock()
				answers, err := operator.AskAround(ctx, "nest", payload)
				return append([]any{g.name}, answers...), err
			}); err != nil {
				t.Fatal(err)
			}
		}
		for _, asker := range []string{"", "one", "two", "three"} {
			answers, err := reference.Operator(asker).AskAround(t.Context(), "nest", nil)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := json.Marshal(answers)
			var got string
			if asker == "" {
				got = c.asked("", "nest", nil)
			} else {
				got = c.get("/" + asker + "/ask/nest")
			}
			if sorted(t, got) != sorted(t, string(want)) {
				t.Errorf("%q asks: %s, want %s", asker, got, want)
			}
			for _, g := range guests {
				eventually(t, fmt.Sprintf("%s was asked %d times", g.name, calls[g.name]), func() bool { return g.asked("nest") >= calls[g.name] })
				if n := g.asked("nest"); n != calls[g.name] {
					t.Errorf("%q asks: %s was asked %d times by now, want %d", asker, g.name, n, calls[g.name])
				}
			}
		}
	})
}

// TestAnApplicationWhoseKeyIsAnotherIsRefused starts one with a key that Caddy does
// not have.
func TestAnApplicationWhoseKeyIsAnotherIsRefused(t *testing.T) {
	c := newCaddy(t)
	g := newGuest(t, "four", "http://"+c.ask+"/party/")
	_, port, err := net.SplitHostPort(g.address)
	if err != nil {
		t.Fatal(err)
	}
	g.start("another"+g.key, pythons(t)[0].path, "guest.py", port)
	c.invite(g)
	i := wsgiparty.Parties()[0].Invites[0]
	if i.Result != wsgiparty.InviteRefused || i.Status != http.StatusUnauthorized || !strings.Contains(i.Hint, "key") {
		t.Errorf("%+v", i)
	}
	c.pageIs("/four/ask/name", `[]`)
}

// TestAnApplicationWhoseKeyCaddyLacksSaysSo has a key on one side only: Caddy does not
// sign, and the application does not answer what nobody signed.
func TestAnApplicationWhoseKeyCaddyLacksSaysSo(t *testing.T) {
	c := newCaddy(t)
	g := newGuest(t, "eight", "http://"+c.ask+"/party/").underWSGIRef(pythons(t)[0])
	g.keyless = true
	c.invite(g)
	if i := wsgiparty.Parties()[0].Invites[0]; i.Result == wsgiparty.InviteJoined {
		t.Errorf("%+v", i)
	}
	eventually(t, "it says that Caddy has no key", func() bool {
		return g.timesSaid("/__invite__/ has no Party-Token") == 1 && g.timesSaid("key {env.EIGHT_PARTY_KEY}") == 1
	})
	if g.timesSaid(g.key) > 0 {
		t.Error("it says its key")
	}
}

// TestAnApplicationThatStartsLaterJoinsByItself starts it when Caddy runs.
func TestAnApplicationThatStartsLaterJoinsByItself(t *testing.T) {
	c := newCaddy(t)
	g := newGuest(t, "five", "unix/"+c.socket)
	c.invite(g)
	if i := wsgiparty.Parties()[0].Invites[0]; i.Result != wsgiparty.InviteFailed {
		t.Errorf("%+v", i)
	}
	g.underWSGIRef(pythons(t)[0])
	eventually(t, "it joins", func() bool { return wsgiparty.Parties()[0].Invites[0].Result == wsgiparty.InviteJoined })
	if got := c.asked("", "name", nil); got != `["five"]` {
		t.Error(got)
	}
	var missing *wsgiparty.NoSuchServiceError
	operator, _ := wsgiparty.Lookup(c.party)
	if _, err := operator.AskAround(t.Context(), "nothing", nil); !errors.As(err, &missing) {
		t.Error(err)
	}
}

// TestASubclassWrittenForTheOriginalIsAGuest has CKAN's of 2016, which has its own way
// to invite, to serve, and to be made.
func TestASubclassWrittenForTheOriginalIsAGuest(t *testing.T) {
	c := newCaddy(t)
	all := pythons(t)
	ckan := newGuest(t, "ckan", "http://"+c.ask+"/party/")
	ckan.program = "ckan.py"
	ckan.underWSGIRef(all[min(1, len(all)-1)])
	other := newGuest(t, "other", "unix/"+c.socket).underWSGIRef(all[0])
	c.invite(ckan, other)
	c.allJoined()
	if got := c.asked("", "can_handle_request", map[string]any{"PATH_INFO": "/about"}); got != `[[true,"new"]]` {
		t.Error(got)
	}
	c.pageIs("/other/ask/can_handle_request?payload={\"PATH_INFO\":\"/dataset\"}", `[[true,"old"]]`)
	for range 3 {
		for path, want := range map[string]string{"/dataset": "old has /dataset", "/dataset/new": "new has /dataset/new", "/nowhere": "old lacks /nowhere"} {
			response, err := http.Get("http://" + c.site + "/ckan" + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || string(body) != want {
				t.Errorf("%s: %s %v, want %s", path, body, err, want)
			}
		}
	}
	const told = "can_handle_request is asked for in this process only"
	eventually(t, "it says that no environ is asked with elsewhere", func() bool { return ckan.timesSaid(told) > 0 })
	if n := ckan.timesSaid(told); n != 1 {
		t.Errorf("it says so %d times", n)
	}
}

// TestAnApplicationAsksOverTLS has Caddy's own certificate authority verified.
func TestAnApplicationAsksOverTLS(t *testing.T) {
	c := newCaddy(t)
	c.tls = true
	six, seven := newGuest(t, "six", "https://"+c.ask+"/party"), newGuest(t, "seven", "unix/"+c.socket)
	c.invite(six, seven)
	root := filepath.Join(caddy.DefaultStorage.Path, "pki", "authorities", "local", "root.crt")
	eventually(t, "the authority is there", func() bool { _, err := os.Stat(root); return err == nil })
	all := pythons(t)
	seven.underWSGIRef(all[0])
	t.Setenv("SSL_CERT_FILE", root)
	six.underWSGIRef(all[min(1, len(all)-1)])
	eventually(t, "they answer over TLS", func() bool { return c.get("/six/ask/name") == `["seven"]` })
	c.pageIs("/six/first/name", `"seven"`)
}
