// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Requests are counted by what comes of them, and come to no harm.

package httpguest_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"golang.org/x/net/websocket"
)

// newMeteredTest is newGuestTest with an admin endpoint, which has the metrics.
func newMeteredTest(t testing.TB) *guestTest {
	t.Helper()
	return &guestTest{partytest.NewCaddyWithAdmin(t), partytest.FreshParty()}
}

// counted returns the requests to a guest that were counted, by class.
func (c *guestTest) counted(guest string) map[string]int {
	c.Helper()
	counted := make(map[string]int)
	for series, n := range c.Figures(c.party) {
		for _, class := range []string{"1xx", "2xx", "3xx", "4xx", "5xx"} {
			if series == fmt.Sprintf(`requests_total{class=%q,guest=%q}`, class, guest) && n > 0 {
				counted[class] = int(n)
			}
		}
	}
	return counted
}

// expectCounted fails the test unless these are counted, as soon as the last of them is: a client may have
// its response before.
func (c *guestTest) expectCounted(guest string, want map[string]int) {
	c.Helper()
	var got map[string]int
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if got = c.counted(guest); maps.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("%v are counted, want %v", got, want)
		}
	}
}

// inProcess is the config of a guest whose application is the function, with directives in front of that.
func inProcess(t testing.TB, name, directives string, serve partytest.ServeFunc) string {
	t.Helper()
	partytest.App(t, name, serve)
	return fmt.Sprintf("invite /%s/__invite__/\nhandle_path /%[1]s/* {\nroute {\nwsgi_party_guest {\nurl home /\n}\n%s\ntest_app %[1]s\n}\n}\n", name, directives)
}

func TestRequestsAreCountedByWhatTheClientGets(t *testing.T) {
	c := newMeteredTest(t)
	c.load(inProcess(t, "app", "", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		control := http.NewResponseController(w)
		switch r.URL.Path {
		case "/nothing":
		case "/created":
			w.WriteHeader(http.StatusCreated)
			w.WriteHeader(http.StatusTeapot) // superfluous
		case "/written":
			_, err := io.WriteString(w, "text")
			return err
		case "/hints":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusNotFound)
		case "/hints/fails":
			w.WriteHeader(http.StatusEarlyHints)
			return caddyhttp.Error(http.StatusBadGateway, errors.New("nobody is there"))
		case "/fails":
			return errors.New("it fails")
		case "/fails/403":
			return fmt.Errorf("wrapped: %w", caddyhttp.Error(http.StatusForbidden, errors.New("go away")))
		case "/breaks":
			w.WriteHeader(http.StatusOK)
			check.Must(t, control.Flush())
			panic(http.ErrAbortHandler)
		case "/breaks/early":
			panic(http.ErrAbortHandler)
		case "/hijacks":
			conn, _, err := control.Hijack()
			check.Must(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\nhijacked")
			return err
		}
		return nil
	}))
	want := make(map[string]int)
	for _, test := range []struct {
		path   string
		status int // 0 for none
		class  string
	}{
		{"/nothing", 200, "2xx"}, {"/created", 201, "2xx"}, {"/written", 200, "2xx"}, {"/hints", 404, "4xx"}, {"/hints/fails", 502, "5xx"},
		{"/fails", 500, "5xx"}, {"/fails/403", 403, "4xx"}, {"/breaks", 200, "2xx"}, {"/breaks/early", 0, "5xx"}, {"/hijacks", 101, "1xx"},
	} {
		status, _, err := c.TryGet("/app" + test.path)
		check.ErrorIf(t, status != test.status || (err != nil) != (test.status == 0 || test.path == "/breaks"), "%s: %d, %v", test.path, status, err)
		want[test.class]++
		c.expectCounted("app", want)
	}
}

// TestOnlyOrdinaryRequestsAreCounted counts none that the party sends, and none that it answers itself.
func TestOnlyOrdinaryRequestsAreCounted(t *testing.T) {
	c := newMeteredTest(t)
	blog := testbackend.Start(t, "")
	blog.On("/__invite__/", manifestOf(`{"services": {"ping": {"href": "/ping"}}}`))
	blog.On("/ping", jsonOf("1"))
	config := blogAt(blog) + inProcess(t, "other", "", func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return nil })
	c.load(config)
	c.await("ping")
	for range 3 {
		c.expectAsk("ping", nil, "1")
	}
	c.Get("/blog/__invite__/")
	c.Get("/blog/x/../__INVITE__/;a")
	loops := http.Header{"Cdn-Loop": {strings.Repeat(blog.Requests("/ping")[0].Header.Get("CDN-Loop")+", ", 4)}}
	status, _ := c.Do("GET", "/blog/ping", "", loops)
	check.Equal(t, status, http.StatusLoopDetected)
	c.Get("/nobody")
	c.expectCounted("blog", nil)
	c.Get("/blog/ping")
	c.expectCounted("blog", map[string]int{"2xx": 1})
	c.expectCounted("other", nil)

	// From config to config.
	c.Get("/other/")
	c.load(config + "respond /changed yes")
	c.Get("/blog/ping")
	c.Get("/blog/nothing")
	c.expectCounted("blog", map[string]int{"2xx": 2, "4xx": 1})
	c.expectCounted("other", map[string]int{"2xx": 1})
	response := c.Call("GET", "/wsgi_party/"+c.party, "")
	for _, want := range []string{`"guest":"blog","share":0.75,`, `"guest":"other","share":0.25,`,
		`"kinds":[{"kind":"/ping","claimed":false,"requests":2},{"kind":"/nothing","claimed":false,"requests":1}]`} {
		check.ErrorIf(t, !strings.Contains(response.Body, want), "%s is not in %s", want, response.Body)
	}

	// One that has gone counts on, as long as it is not forgotten.
	c.load(blogAt(blog))
	c.expectCounted("other", map[string]int{"2xx": 1})
}

// TestTheKindOfARequestIsItsClaim has requests that one guest claims, and the other one still gets: they count as the
// latter gets them, and not as its handlers rewrite them.
func TestTheKindOfARequestIsItsClaim(t *testing.T) {
	c := newMeteredTest(t)
	nothing := func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return nil }
	partytest.App(t, "new", nothing)
	partytest.App(t, "legacy", nothing)
	c.load(`
		invite /__invite__/ as new
		invite /__invite__/ as legacy
		@new wsgi_party claimed_by new share 0%
		handle @new {
			wsgi_party_guest new {
				claim "GET /users/{id}" /reports/
			}
			test_app new
		}
		handle {
			route {
				wsgi_party_guest legacy {
					url home /
				}
				rewrite * /rewritten/by/them
				test_app legacy
			}
		}`)
	for _, path := range []string{"/users/7", "/users/8?token=secret", "/reports/daily/paper", "//a/./b/c", "/a/%62/c", "/%1b%5b31m/%e2%80%ae%ff", "/a%2Fb/c/d", "/" + strings.Repeat("%00", 2700) + "/x"} {
		status, _ := c.Do("GET", path, "", http.Header{"Wsgi_party.claim": {"forged"}})
		check.Equal(t, status, 200, path)
	}
	response := c.Call("GET", "/wsgi_party/"+c.party, "")
	want := `"kinds":[{"kind":"/a/b","claimed":false,"requests":2},{"kind":"GET /users/{id}","claimed":true,"requests":2},{"kind":"/%1B%5B31m/%E2%80%AE%FF","claimed":false,"requests":1},` +
		`{"kind":"/a%2Fb/c","claimed":false,"requests":1},{"kind":"/reports/","claimed":true,"requests":1}]`
	check.ErrorIf(t, !strings.Contains(response.Body, want) || strings.Contains(response.Body, "secret"), "%s is not in %s", want, response.Body)
	c.expectCounted("new", nil)
}

// TestTheAccessLogSaysTheGuest has a log as an operator writes it.
// TestARequestIsOneGuestsOfAParty has the handler of legacy stand in front of the routes of new, as it does where it is in no
// `handle`: Caddy sorts directives. What is new's is neither counted for legacy, nor has legacy be down.
func TestARequestIsOneGuestsOfAParty(t *testing.T) {
	c := newMeteredTest(t)
	partytest.App(t, "new", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		if r.URL.Path == "/new/down" {
			return caddyhttp.Error(http.StatusServiceUnavailable, errors.New("no upstreams available"))
		}
		return nil
	})
	partytest.App(t, "legacy", func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return nil })
	inner := partytest.FreshParty()
	c.load(`
		invite /__invite__/ as new
		invite /__invite__/ as legacy
		@new wsgi_party claimed_by new
		handle @new {
			wsgi_party_guest new {
				claim /new/
				fetch_manifest off
			}
			handle /new/nested/* {
				wsgi_party ` + inner + ` {
					invite /new/nested/__invite__/ as other
					wsgi_party_guest other {
						url home /
					}
					test_app legacy
				}
			}
			test_app new
		}
		wsgi_party_guest legacy {
			claim /
			fetch_manifest off
			unavailable pass
		}
		test_app legacy`)
	for path, status := range map[string]int{"/new/": 200, "/new/down": 503, "/old": 200, "/new/nested/x": 200} {
		c.Expect(path, status, "")
	}
	c.expectCounted("new", map[string]int{"2xx": 2, "5xx": 1})
	c.expectCounted("legacy", map[string]int{"2xx": 1})
	c.expectClaims("legacy", map[string]string{"GET /old": "/"})
	(&guestTest{c.Caddy, inner}).expectCounted("other", map[string]int{"2xx": 1})
}

func TestTheAccessLogSaysTheGuest(t *testing.T) {
	c := newGuestTest(t)
	answers := func(w http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	fails := func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error {
		return caddyhttp.Error(http.StatusBadGateway, errors.New("it is down"))
	}
	c.Caddy.Load("ADDRESS {\nlog\nlog_append guest {http.wsgi_party.guest}\nheader /new/* >Served-By {http.wsgi_party.guest}\nwsgi_party " + c.party + " {\n" +
		inProcess(t, "new", "header Also {http.wsgi_party.guest}", answers) +
		inProcess(t, "legacy", "", fails) + "respond /else nobody\n}\nhandle_errors {\nrespond \"{http.wsgi_party.guest} is down\"\n}\n}")
	response := c.Raw("GET /new/ HTTP/1.1\r\nHost: " + c.Address + "\r\nConnection: close\r\n\r\n")
	check.Equal(t, response.Header.Get("Also")+response.Header.Get("Served-By"), "newnew")
	_, body := c.Get("/legacy/x")
	check.Equal(t, body, "legacy is down")
	c.Get("/else")
	for path, want := range map[string]any{"/new/": "new", "/legacy/x": "legacy", "/else": nil} {
		partytest.Eventually(t, "the access log has "+path, func() bool {
			for _, e := range partytest.AllLogEntries(t) {
				request, _ := e["request"].(map[string]any)
				if request == nil || request["uri"] != path || !strings.HasPrefix(fmt.Sprint(e["logger"]), "http.log.access") {
					continue
				}
				check.Equal(t, e["guest"], want, path)
				return true
			}
			return false
		})
	}
}

// TestResponsesPassAsTheyAre has streams, sent files and switched protocols pass through a guest handler, by HTTP/1
// and HTTP/2.
func TestResponsesPassAsTheyAre(t *testing.T) {
	c := newMeteredTest(t)
	dir := t.TempDir()
	check.Must(t, os.WriteFile(filepath.Join(dir, "file.txt"), bytes.Repeat([]byte("x"), 100<<10), 0o600))
	next := make(chan struct{})
	stream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Trailer", "Ended")
		for _, event := range []string{"one\n", "two\n"} {
			io.WriteString(w, event)
			w.(http.Flusher).Flush()
			<-next
		}
		w.Header().Set("Ended", "well")
	}))
	defer stream.Close()
	echo := httptest.NewServer(websocket.Handler(func(ws *websocket.Conn) { io.Copy(ws, ws) }))
	defer echo.Close()
	guest := func(name, handler string) string {
		return fmt.Sprintf("invite /%s/__invite__/\nhandle_path /%[1]s/* {\nwsgi_party_guest {\nurl home /\n}\n%s\n}\n", name, handler)
	}
	config := c.Adapt(c.inParty(guest("stream", "reverse_proxy "+stream.Listener.Addr().String()) + guest("echo", "reverse_proxy "+echo.Listener.Addr().String()) +
		guest("files", "root "+dir+"\nfile_server") + inProcess(t, "app", "", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		control := http.NewResponseController(w)
		check.Must(t, control.SetReadDeadline(time.Now().Add(time.Minute)))
		check.Must(t, control.SetWriteDeadline(time.Now().Add(time.Minute)))
		check.Must(t, control.EnableFullDuplex())
		_, hijacks := w.(http.Hijacker)
		_, flushes := w.(http.Flusher)
		_, reads := w.(io.ReaderFrom)
		_, writes := w.(io.StringWriter)
		_, err := fmt.Fprint(w, hijacks, flushes, reads, writes)
		return err
	})))
	_, port, _ := net.SplitHostPort(c.Address)
	config = bytes.Replace(config, []byte(`"listen":[":`+port+`"]`), []byte(`"protocols":["h1","h2c"],"listen":[":`+port+`"]`), 1)
	check.Must(t, caddy.Load(config, true))

	for version := 1; version <= 2; version++ {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(version == 1)
		transport.Protocols.SetUnencryptedHTTP2(version == 2)
		client := &http.Client{Transport: transport, Timeout: time.Minute}
		get := func(path string) *http.Response {
			response := check.Value(client.Get("http://" + c.Address + path))(t)
			check.Equal(t, response.ProtoMajor, version)
			return response
		}
		check.Equal(t, partytest.ReadAll(t, get("/app/")), "true true true true")
		check.Equal(t, len(partytest.ReadAll(t, get("/files/file.txt"))), 100<<10)
		response := get("/stream/")
		lines := bufio.NewReader(response.Body)
		for _, want := range []string{"one\n", "two\n"} { // each before the next one is written
			check.Equal(t, check.Value(lines.ReadString('\n'))(t), want)
			next <- struct{}{}
		}
		_, err := lines.ReadByte()
		check.Equal(t, err, io.EOF)
		check.Equal(t, response.Trailer.Get("Ended"), "well")
		response.Body.Close()
		transport.CloseIdleConnections()
		for _, guest := range []string{"app", "files", "stream"} {
			c.expectCounted(guest, map[string]int{"2xx": version})
		}
	}

	ws := check.Value(websocket.Dial("ws://"+c.Address+"/echo/", "", "http://"+c.Address))(t)
	for _, text := range []string{"one", "two"} {
		check.Must(t, websocket.Message.Send(ws, text))
		var got string
		check.Must(t, websocket.Message.Receive(ws, &got))
		check.Equal(t, got, text)
	}
	check.Must(t, ws.Close())
	c.expectCounted("echo", map[string]int{"1xx": 1})
}

// below is a response that can do all, of which it keeps what it was asked to.
type below struct {
	partytest.Discard
	did []string
}

func (b *below) do(what string) { b.did = append(b.did, what) }

func (b *below) WriteString(s string) (int, error) { b.do("WriteString"); return len(s), nil }
func (b *below) FlushError() error                 { b.do("FlushError"); return io.ErrClosedPipe }
func (b *below) Push(string, *http.PushOptions) error {
	b.do("Push")
	return nil
}
func (b *below) ReadFrom(r io.Reader) (int64, error) {
	b.do("ReadFrom")
	return io.Copy(io.Discard, r)
}

// TestTheResponseBelowDoesWhatItCan has it send files, say, as it does best.
func TestTheResponseBelowDoesWhatItCan(t *testing.T) {
	b := new(below)
	w := httpguest.NewResponseWriter(b)
	_, err := io.Copy(w, struct{ io.Reader }{strings.NewReader("content")})
	check.Must(t, err)
	_, err = io.WriteString(w, "text")
	check.Must(t, err)
	check.Equal(t, http.NewResponseController(w).Flush(), io.ErrClosedPipe)
	w.(http.Flusher).Flush()
	check.Must(t, w.(http.Pusher).Push("/", nil))
	check.Equal(t, strings.Join(b.did, " "), "ReadFrom WriteString FlushError FlushError Push")

	least := httpguest.NewResponseWriter(partytest.Discard{})
	check.Equal(t, errors.Is(http.NewResponseController(least).Flush(), http.ErrNotSupported), true)
	_, _, err = http.NewResponseController(least).Hijack()
	check.Equal(t, errors.Is(err, http.ErrNotSupported), true, err)
	check.Equal(t, least.(http.Pusher).Push("/", nil) != nil, true)
}
