// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

func TestMain(m *testing.M) {
	if address := os.Getenv("APPLICATION_AT"); address != "" {
		runApplication(address, os.Getenv("NATS_AT"))
	}
	if caddyfile := os.Getenv("BARE_NODE"); caddyfile != "" {
		runBareNode(caddyfile, os.Getenv("NATS_AT"))
	}
	partytest.Main(m, wsgiparty.Lookup, wsgiparty.Join, wsgiparty.OperatorFrom, wsgiparty.ErrHighAndDry)
}

const secret = "0123456789abcdef0123456789abcdef"

// environment is that of the tests before TestMain gave them a home of their own, where Go's cache would be empty.
var environment = os.Environ()

// binaries builds Caddy with the trunk, and NATS at the version in go.mod, once.
var binaries = sync.OnceValues(func() (dir string, err error) {
	// TestMain removes that home.
	if dir, err = os.MkdirTemp(os.Getenv("HOME"), "trunk"); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", dir+"/", "../cmd/caddy-trunk", "github.com/nats-io/nats-server/v2")
	build.Env = environment
	output, err := build.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, output)
	}
	return dir, err
})

func binary(t testing.TB, name string) string {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// process is a program that runs.
type process struct {
	*exec.Cmd
	log  lockedBuffer
	over chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func start(t testing.TB, variables []string, name string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(binary(t, name), args...), over: make(chan struct{})}
	p.Env = append(os.Environ(), variables...)
	p.Stdout, p.Stderr = &p.log, &p.log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.over)
		p.Wait()
	}()
	t.Cleanup(func() {
		p.Process.Signal(syscall.SIGCONT)
		p.stop(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("%s %v:\n%.8000s", name, args, p.log.String())
		}
	})
	return p
}

// stop ends the process by a signal.
func (p *process) stop(signal syscall.Signal) {
	p.Process.Signal(signal)
	select {
	case <-p.over:
	case <-time.After(30 * time.Second):
		p.Process.Kill()
		<-p.over
	}
}

// startNATS starts a server, where the user trunk may connect.
func startNATS(t testing.TB, address string) *process {
	t.Helper()
	host, port, _ := strings.Cut(address, ":")
	p := start(t, nil, "nats-server", "-a", host, "-p", port, "--user", "trunk", "--pass", secret)
	eventually(t, "NATS listens", func() bool { return strings.Contains(p.log.String(), "Server is ready") })
	return p
}

// application is one behind a node.
type application struct {
	*httptest.Server
	node    string
	asks    atomic.Int64
	hangs   atomic.Bool // its answers never come
	ended   atomic.Int64
	headers sync.Map // of the last ask
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.asks.Add(1)
	a.headers.Store("last", r.Header.Clone())
	payload, _ := io.ReadAll(r.Body)
	if a.hangs.Load() {
		<-r.Context().Done()
		a.ended.Add(1)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"node": %q, "payload": %s}`, a.node, payload)
}

// caddyNode is a Caddy that is a node.
type caddyNode struct {
	*process
	t           testing.TB
	name        string
	site, admin string
	dir         string
	app         *application
	upstream    string   // where the application listens
	trunk       string   // the options of wsgi_party_trunk
	guests      []string // besides the one of the node's name
	options     string   // of the guest
	origin      string   // of its invites
	global      string   // options
	routes      string   // of the party
}

// trunkOfThree are three nodes, a, b and c, each with a guest of its name in front of an application.
type trunkOfThree struct {
	t     testing.TB
	nats  *process // nil with embedded servers
	where string   // NATS listens
	nodes []*caddyNode
}

const environmentSecret = "TRUNK_SECRET=" + secret

func newTrunk(t testing.TB, embedded bool) *trunkOfThree {
	t.Helper()
	trunk := &trunkOfThree{t: t, where: testport.Address(t)}
	var clusters []string
	if !embedded {
		trunk.nats = startNATS(t, trunk.where)
	} else {
		for range 3 {
			clusters = append(clusters, testport.Address(t))
		}
	}
	for i, name := range []string{"a", "b", "c"} {
		options := "nats nats://" + trunk.where + "\nuser trunk {env.TRUNK_SECRET}"
		if embedded {
			options = "embedded {\ncluster " + clusters[i] + "\nroutes nats://" + clusters[0] + " nats://" + clusters[1] + "\n}\nsecret {env.TRUNK_SECRET}"
		}
		trunk.nodes = append(trunk.nodes, newNode(t, name, options))
	}
	for _, n := range trunk.nodes {
		n.run()
	}
	trunk.settle()
	return trunk
}

func newNode(t testing.TB, name, options string) *caddyNode {
	t.Helper()
	n := &caddyNode{t: t, name: name, site: testport.Address(t), admin: testport.Address(t), dir: t.TempDir(), app: &application{node: name}, trunk: options}
	n.app.Server = httptest.NewServer(n.app)
	n.upstream = n.app.Listener.Addr().String()
	t.Cleanup(n.app.Close)
	return n
}

// caddyfile returns the node's config.
func (n *caddyNode) caddyfile() string {
	var guests strings.Builder
	for _, guest := range append([]string{n.name}, n.guests...) {
		fmt.Fprintf(&guests, `
		invite %[5]s/%[1]s/__invite__/
		handle_path /%[1]s/* {
			wsgi_party_guest {
				url page /page/{id}
				answer who %[2]q
				service echo POST /echo
				%[3]s
			}
			reverse_proxy %[4]s {
				transport http {
					keepalive 5s # Caddy keeps the idle connections of former configs, too
				}
			}
		}`, guest, n.name, n.options, n.upstream, n.origin)
	}
	return fmt.Sprintf(`{
	admin %s
	auto_https off
	persist_config off
	log {
		exclude admin.api
	}
	storage file_system %q
	%s
	wsgi_party_trunk %s {
		%s
	}
}
http://%s {
	wsgi_party main {
		%s
		%s
		handle /link/* {
			header Content-Type text/html
			templates {
				extensions {
					wsgi_party
				}
			}
			respond "{{maybeURL $ (printf \"%%s:page\" (trimPrefix \"/link/\" .OriginalReq.URL.Path)) \"id\" 5}}"
		}
	}
}
`, n.admin, n.dir, n.global, n.name, n.trunk, n.site, guests.String(), n.routes)
}

func (n *caddyNode) run() {
	n.t.Helper()
	file := filepath.Join(n.dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(n.caddyfile()), 0o600); err != nil {
		n.t.Fatal(err)
	}
	n.process = start(n.t, []string{environmentSecret, "HOME=" + n.dir, "XDG_DATA_HOME=" + n.dir, "XDG_CONFIG_HOME=" + n.dir}, "caddy-trunk", "run", "--config", file)
	eventually(n.t, n.name+" serves", func() bool {
		response, err := http.Get("http://" + n.admin + "/wsgi_party/")
		if err == nil {
			response.Body.Close()
		}
		return err == nil
	})
}

// reload loads the node's config, which may have changed.
func (n *caddyNode) reload() error {
	request, _ := http.NewRequest("POST", "http://"+n.admin+"/load", strings.NewReader(n.caddyfile()))
	request.Header.Set("Content-Type", "text/caddyfile")
	request.Header.Set("Cache-Control", "must-revalidate")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: %s", response.StatusCode, body)
	}
	return nil
}

// reply is what a guest made of an ask.
type reply struct {
	Guest, Status, Error string
}

type replies struct {
	Answers []json.RawMessage
	Replies []reply
}

// ask asks around at the node, as an operator of Caddy.
func (n *caddyNode) ask(service, payload, query string) (r replies) {
	n.t.Helper()
	var response *http.Response
	var err error
	for range 100 { // each reload ends the connections of the admin API
		response, err = http.Post("http://"+n.admin+"/wsgi_party/main/ask/"+service+query, "application/json", strings.NewReader(payload))
		if err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		n.t.Error(err)
		return r
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if err := json.Unmarshal(body, &r); err != nil || response.StatusCode != http.StatusOK {
		n.t.Errorf("%s asks for %s: status %d: %s", n.name, service, response.StatusCode, body)
	}
	return r
}

// of returns what a guest replied, and how often it did.
func (r replies) of(guest string) (last reply, n int) {
	for _, reply := range r.Replies {
		if reply.Guest == guest {
			last = reply
			n++
		}
	}
	return last, n
}

// guests returns the guests of the party main as the node shows them, with their nodes.
func (n *caddyNode) guestsShown() map[string]string {
	var shown struct {
		Guests []struct{ Guest, Node string }
	}
	n.get("/wsgi_party/main", &shown)
	guests := make(map[string]string)
	for _, g := range shown.Guests {
		guests[g.Guest] = g.Node
	}
	return guests
}

func (n *caddyNode) get(path string, value any) {
	response, err := http.Get("http://" + n.admin + path)
	if err != nil {
		return // it is stopped, or not there yet
	}
	defer response.Body.Close()
	json.NewDecoder(response.Body).Decode(value)
}

func (n *caddyNode) link(guest string) string {
	response, err := http.Get("http://" + n.site + "/link/" + guest)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return string(body)
}

// settle waits until everybody knows everybody.
func (trunk *trunkOfThree) settle() {
	trunk.t.Helper()
	for _, n := range trunk.nodes {
		eventually(trunk.t, n.name+" knows all", func() bool {
			r := n.guestsShown()
			return r["a"] != "" == (n.name != "a") && r["b"] != "" == (n.name != "b") && r["c"] != "" == (n.name != "c") && len(r) == 3
		})
	}
}

// answersAll checks that each guest replies once to an ask at each node, and how.
func (trunk *trunkOfThree) answersAll() {
	trunk.t.Helper()
	for _, n := range trunk.nodes {
		r := n.ask("echo", `{"number": 12345678901234567890.10}`, "")
		for _, guest := range []string{"a", "b", "c"} {
			reply, times := r.of(guest)
			if times != 1 || reply.Status != "answered" {
				trunk.t.Errorf("at %s: %s replied %d times, the last time %+v", n.name, guest, times, reply)
			}
		}
		for _, answer := range r.Answers {
			if !bytes.Contains(answer, []byte("12345678901234567890.10")) {
				trunk.t.Errorf("at %s: the digits are not those of the payload: %s", n.name, answer)
			}
		}
	}
}

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	partytest.Eventually(t, what, func() bool {
		time.Sleep(20 * time.Millisecond) // each costs requests to other processes
		return condition()
	})
}

// try runs the node, which is to fail, and returns what it says.
func (n *caddyNode) try() string {
	n.t.Helper()
	file := filepath.Join(n.dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(n.caddyfile()), 0o600); err != nil {
		n.t.Fatal(err)
	}
	p := start(n.t, []string{environmentSecret, "HOME=" + n.dir, "XDG_DATA_HOME=" + n.dir, "XDG_CONFIG_HOME=" + n.dir}, "caddy-trunk", "run", "--config", file)
	select {
	case <-p.over:
	case <-time.After(time.Minute):
		n.t.Error("it runs")
	}
	return p.log.String()
}
