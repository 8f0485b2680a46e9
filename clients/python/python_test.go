// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package python tests the client for Python, which is not written in Go.
package python

import (
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
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/wsgiparty/wsgiparty"
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

// TestTheClientPassesItsOwnTests runs them on the Pythons that are here.
func TestTheClientPassesItsOwnTests(t *testing.T) {
	files, err := filepath.Glob("test_*.py") // and not what comes with a framework, which unittest would import, too
	if err != nil {
		t.Fatal(err)
	}
	for _, python := range pythons(t) {
		t.Run(fmt.Sprintf("%d.%d", python.version[0], python.version[1]), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			command := exec.CommandContext(ctx, python.path, append([]string{"-W", "error::SyntaxWarning", "-m", "unittest", "-q"}, files...)...)
			command.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
			if output, err := command.CombinedOutput(); err != nil || !bytes.Contains(output, []byte("\nOK")) {
				t.Errorf("%s: %v\n%s", python.path, err, output)
			}
		})
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
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
		if got := c.asked("two", "fail", nil); !strings.Contains(got, "see its log") || strings.Contains(got, "on purpose") {
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

// TestAnApplicationOfTheOriginalNeedsOnlyItsKey has two that Caddy tells where to ask.
func TestAnApplicationOfTheOriginalNeedsOnlyItsKey(t *testing.T) {
	f := newFrameworks(t)
	f.load(nil, newGuest(t, "nine", "").underWSGIRef(pythons(t)[0]), newGuest(t, "ten", "").underGunicorn())
	f.is(map[string]string{
		"/nine/ask/name": `["ten"]`,
		"/ten/ask/name":  `["nine"]`,
		"/ten/first/url?payload=[\"nine\",{\"slug\":\"a\"}]": `"/nine/posts/a"`,
	})
}
