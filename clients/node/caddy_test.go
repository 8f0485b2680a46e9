// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/conformance"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

var frameworks = []string{"express4", "express5", "fastify4", "fastify5", "hono", "http"}

// guest is an application in a process of its own, called as its framework.
type guest struct {
	testing.TB
	name, key, address string

	mu   sync.Mutex
	said bytes.Buffer
}

// Write takes what the process says.
func (g *guest) Write(said []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.said.Write(said)
}

func (g *guest) log() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.said.String()
}

// start starts an application that links to pages of next, with nothing of the party but this in its environment.
func start(t testing.TB, project, name, next string, environment ...string) *guest {
	t.Helper()
	g := &guest{TB: t, name: name, key: partytest.Key(t, name), address: testport.Address(t)}
	if len(environment) == 0 {
		environment = []string{"WSGI_PARTY_KEY=" + g.key}
	}
	_, port, _ := net.SplitHostPort(g.address)
	g.run(project, environment, "guest.mjs", name, name, next, port)
	return g
}

func (g *guest) run(project string, environment []string, arguments ...string) {
	t := g.TB
	t.Helper()
	process := exec.Command("node", arguments...)
	process.Dir = project
	process.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.Contains(v, "PARTY_KEY=") }),
		append(environment, "WSGI_PARTY_TEST_MODULES="+filepath.Dir(project))...)
	process.Stdout, process.Stderr = g, g
	stdin := check.Value(process.StdinPipe())(t)
	check.Must(t, process.Start())
	t.Cleanup(func() {
		stdin.Close() // which ends it
		watchdog := time.AfterFunc(20*time.Second, func() { process.Process.Kill() })
		defer watchdog.Stop()
		check.Nil(t, process.Wait())
		if t.Failed() {
			t.Logf("guest %s said\n%s", g.name, g.log())
		}
	})
}

// says waits until it has said that.
func (g *guest) says(text string) {
	g.Helper()
	partytest.Eventually(g, g.name+" says "+text, func() bool { return strings.Contains(g.log(), text) })
}

func (g *guest) listens() {
	g.Helper()
	partytest.Eventually(g, g.name+" listens", func() bool {
		connection, err := net.Dial("tcp", g.address)
		if err == nil {
			connection.Close()
		}
		return err == nil
	})
}

// withGuests starts an application of each framework, each of which links to the next one.
func withGuests(t testing.TB, keyFile string) (guests []*guest) {
	t.Helper()
	project := linked(t)
	for i, name := range frameworks {
		var environment []string
		if keyFile != "" && name == "hono" {
			environment = []string{"WSGI_PARTY_KEY_FILE=" + keyFile}
		}
		guests = append(guests, start(t, project, name, frameworks[(i+1)%len(frameworks)], environment...))
	}
	for _, g := range guests {
		g.listens()
	}
	return guests
}

// mounted are its directives in a party.
func (g *guest) mounted(key string) string {
	return fmt.Sprintf("invite /%[1]s/__invite__/\nhandle_path /%[1]s/* {\nwsgi_party_guest {\nkey %[2]s\ntimeout 20s\n}\nreverse_proxy %[3]s\n}\n", g.name, key, g.address)
}

func allJoin(t testing.TB, guests int) {
	t.Helper()
	partytest.Eventually(t, "all join", func() bool {
		invites := wsgiparty.Parties()[0].Invites
		return len(invites) == guests && !slices.ContainsFunc(invites, func(i wsgiparty.InviteInfo) bool { return i.Result != wsgiparty.InviteJoined })
	})
}

// counter stands between the guests and where they ask, and counts.
type counter struct {
	*httptest.Server
	requests atomic.Int64
}

func newCounter(t testing.TB, target string) *counter {
	t.Helper()
	c := new(counter)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: target})
	proxy.Transport = &http.Transport{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.requests.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		c.Close()
		proxy.Transport.(*http.Transport).CloseIdleConnections()
	})
	return c
}

// TestApplicationsWithOnlyAKeyLinkAskAndAnswer has one of each framework behind a Caddy.
func TestApplicationsWithOnlyAKeyLinkAskAndAnswer(t *testing.T) {
	c := partytest.NewCaddy(t)
	keyFile := filepath.Join(t.TempDir(), "key")
	guests := withGuests(t, keyFile)
	counter := newCounter(t, c.Endpoint)
	site := "wsgi_party {\nask_on " + c.Endpoint + " " + counter.URL + "\n"
	for _, g := range guests {
		key := "{env." + g.name + "_PARTY_KEY}"
		if g.name == "hono" { // which was started before there was a file
			key = "auto " + keyFile
		}
		site += g.mounted(key)
	}
	c.Site(site + "}")
	allJoin(t, len(guests))
	get := func(path string) string {
		t.Helper()
		status, body := c.Get(path)
		check.Equal(t, status, http.StatusOK, path, body)
		return body
	}
	for i, g := range guests {
		t.Run(g.name, func(t *testing.T) {
			next, view := frameworks[(i+1)%len(frameworks)], "/"+g.name+"/view/"
			others := slices.DeleteFunc(slices.Clone(frameworks), func(name string) bool { return name == g.name })
			list, _ := json.Marshal(others)

			check.Equal(t, get(view+"own"), fmt.Sprintf(`["/%[1]s/posts/a","/%[1]s/","/%[1]s"]`, g.name))
			check.Equal(t, get("/"+g.name+"/"), fmt.Sprintf(`<a href="/%s/posts/a">`, g.name))
			check.Equal(t, get("/"+g.name+"/posts/a"), "a")
			var links []string
			for n := range 50 {
				links = append(links, fmt.Sprintf("/%s/posts/p%d", next, n))
			}
			want, _ := json.Marshal(links)
			for n, most := range []int64{50, 1, 1} {
				before := counter.requests.Load()
				check.Equal(t, get(view+"links"), string(want))
				if asked := counter.requests.Load() - before; asked > most {
					t.Errorf("view %d asks %d times, and may %d times", n+1, asked, most)
				}
			}
			check.Equal(t, get(view+"names"), string(list))
			check.Equal(t, get(view+"first"), `{"größe":[1,null,"<&>"]}`)
			check.Equal(t, get(view+"none"), `["undefined",[],"none"]`)
			g.says("wsgi-party: tells the party 3 pages and 4 services")
			said := g.log()
			check.Equal(t, strings.Count(said, "tells the party"), 1)
			check.ErrorIf(t, strings.Contains(said, g.key), "it says its key")
		})
	}
	t.Run("nested asks", func(t *testing.T) {
		// With the token handed back Caddy knows who is asking already, and each branch ends.
		get("/http/view/nest")
	})
	t.Run("a party that is down", func(t *testing.T) {
		counter.CloseClientConnections()
		counter.Close()
		for _, g := range guests {
			partytest.Eventually(t, g.name+" is left alone", func() bool {
				response, err := http.Get("http://" + g.address + "/view/none")
				return err == nil && partytest.ReadAll(t, response) == `["undefined",[],"none"]`
			})
			began := time.Now()
			response := check.Value(http.Get("http://" + g.address + "/view/names"))(t)
			check.Equal(t, partytest.ReadAll(t, response), "[]")
			check.ErrorIf(t, time.Since(began) > 10*time.Second, g.name, "takes", time.Since(began))
		}
	})
}

// TestAnApplicationAsksOverTLS has the one that it is told verified, by Caddy's own authority or not.
func TestAnApplicationAsksOverTLS(t *testing.T) {
	c := partytest.NewCaddy(t)
	project := linked(t)
	ask := "\nhttps://" + c.Endpoint + " {\ntls internal\nhandle_path /party/* {\nwsgi_party_ask\n}\n}"
	load := func(site string) {
		config := c.Adapt("ADDRESS {\n" + site + "\n}" + ask)
		c.LoadJSON(bytes.ReplaceAll(config, []byte(`"automatic_https":{"disable":true}`), []byte(`"automatic_https":{"disable_redirects":true}`)))
	}
	load("respond 404") // makes the authority, whose certificate Node reads when it starts
	root := filepath.Join(c.Storage(), "pki", "authorities", "local", "root.crt")
	partytest.Eventually(t, "there is an authority", func() bool { _, err := os.Stat(root); return err == nil })
	told := []string{"WSGI_PARTY_URL=https://" + c.Endpoint + "/party/"}
	trusting := start(t, project, "http", "fastify5", append(told, "NODE_EXTRA_CA_CERTS="+root, "WSGI_PARTY_KEY="+partytest.Key(t, "http"))...)
	other := start(t, project, "fastify5", "http", append(told, "WSGI_PARTY_KEY="+partytest.Key(t, "fastify5"))...)
	trusting.listens()
	other.listens()
	load("wsgi_party {\n" + trusting.mounted("{env.http_PARTY_KEY}") + other.mounted("{env.fastify5_PARTY_KEY}") + "}")
	allJoin(t, 2)
	c.Expect("/http/view/names", http.StatusOK, `["fastify5"]`)
	c.Expect("/fastify5/view/names", http.StatusOK, `[]`)
	other.says("the party cannot be reached")
}

// block returns the first block of a language in the README.
func block(t testing.TB, language string) string {
	t.Helper()
	_, rest, _ := strings.Cut(string(check.Value(os.ReadFile("README.md"))(t)), "\n```"+language+"\n")
	text, _, found := strings.Cut(rest, "```\n")
	check.Equal(t, found, true, language)
	return text
}

// TestTheREADMEIsTrue runs its application and its Caddyfile, beside a shop.
func TestTheREADMEIsTrue(t *testing.T) {
	c := partytest.NewCaddy(t)
	project := linked(t)
	keyFile := filepath.Join(project, "blog.key")
	g := &guest{TB: t, name: "blog", address: testport.Address(t)}
	_, port, _ := net.SplitHostPort(g.address)
	program := strings.ReplaceAll(block(t, "js"), "8000", port) + "process.stdin.resume().on('end', () => process.exit())\n"
	check.Must(t, os.WriteFile(filepath.Join(project, "app.mjs"), []byte(program), 0o600))
	check.Has(t, block(t, "sh"), "WSGI_PARTY_KEY_FILE=blog.key node app.js")
	g.run(project, []string{"WSGI_PARTY_KEY_FILE=" + keyFile}, "app.mjs")
	g.listens()
	site := block(t, "caddyfile")
	site = strings.TrimSuffix(strings.TrimPrefix(site, "http://localhost:8080 {\n"), "}\n")
	site = strings.NewReplacer("127.0.0.1:2080", c.Endpoint, "localhost:8000", g.address, "blog.key", keyFile,
		"invite /blog/__invite__/", "invite /blog/__invite__/ /shop/__invite__/\nhandle_path /shop/* {\nwsgi_party_guest {\nurl cart /cart/{id}\n}\n}").Replace(site)
	c.Site(site)
	allJoin(t, 2)
	c.Expect("/blog/posts/a", http.StatusOK, `<a href="/shop/cart/7">Your cart</a>`)
	g.says("tells the party 1 page and 0 services")
}

// TestEachFrameworkConforms checks the applications by the sentences of docs/guests.md.
func TestEachFrameworkConforms(t *testing.T) {
	for _, g := range withGuests(t, "") {
		t.Run(g.name, func(t *testing.T) {
			report := check.Value(conformance.Check(t.Context(), conformance.Options{
				URL: "http://" + g.address, Mount: "/" + g.name, Keys: []string{g.key}, Payloads: map[string]string{"nest": "0"}, Page: map[string]string{"express5": "/view/links"}[g.name],
			}))(t)
			for _, line := range report.Lines {
				if line.Result == conformance.Fail || line.Result == conformance.Warn && line.ID != "token.guest" {
					t.Errorf("%s: %s: %s: %s", line.Result, line.What, line.Seen, line.Write)
				} else {
					t.Logf("%s %s: %s", line.Result, line.ID, line.Seen)
				}
			}
		})
	}
}

// TestSeveralAsksTravelTogether has many ask at once.
func TestSeveralAsksTravelTogether(t *testing.T) {
	project := linked(t)
	for _, name := range []string{"express5", "fastify5"} {
		t.Run(name, func(t *testing.T) {
			c := partytest.NewCaddy(t)
			g := start(t, project, name, "none")
			g.listens()
			batches := partytest.NewBatches(g.address)
			t.Cleanup(batches.Close)
			g.address = batches.Address
			c.Site("wsgi_party main {\n" + g.mounted("{env."+name+"_PARTY_KEY}") + "}")
			allJoin(t, 1)
			operator, _ := wsgiparty.Lookup("main")
			batches.Expect(t, func(payload any) ([]any, error) { return operator.AskAround(t.Context(), "echo", payload) })
		})
	}
}
