// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package standing

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// says is a handler that says that, and keeps what is logged.
type says struct {
	text   string
	serve  http.HandlerFunc // before that; may be nil
	mu     sync.Mutex
	logged []string
}

func (s *says) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.serve != nil {
		s.serve(w, r)
	}
	_, _ = io.WriteString(w, s.text)
}

func (s *says) LogError(message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logged = append(s.logged, message)
}

func serve(t testing.TB, listen string, handler Handler) *Server {
	t.Helper()
	parsed := check.Value(caddy.ParseNetworkAddress(listen))(t)
	s := check.Value(Serve(t.Context(), parsed, handler))(t)
	t.Cleanup(func() {
		check.Nil(t, s.End())
		Wait()
	})
	return s
}

// client is one of an address, which keeps its connections.
func client(t testing.TB, listen string) *http.Client {
	network, address := "tcp", listen
	if path, ok := strings.CutPrefix(listen, "unix/"); ok {
		network, address = "unix", path
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 8, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func post(c *http.Client, body string) (string, error) {
	response, err := c.Post("http://party/", "", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

func expect(t testing.TB, c *http.Client, want string) {
	t.Helper()
	got, err := post(c, "")
	check.ErrorIf(t, err != nil || got != want, "got %q %v, want %q", got, err, want)
}

// TestNothingIsLostWhileServersTakeTurns has clients of new and of kept connections post, to which no
// error may come.
func TestNothingIsLostWhileServersTakeTurns(t *testing.T) {
	for _, listen := range []string{testport.Address(t), "unix/" + filepath.Join(t.TempDir(), "s")} {
		serve(t, listen, &says{text: "0"})
		kept, fresh := client(t, listen), client(t, listen)
		fresh.Transport.(*http.Transport).DisableKeepAlives = true
		var posts atomic.Int64
		stop := make(chan struct{})
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				c := []*http.Client{kept, fresh}[i%2]
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := post(c, "{}"); err != nil {
						t.Errorf("%s: %v", listen, err)
						return
					}
					posts.Add(1)
				}
			})
		}
		var last *Server
		for i := range 30 {
			next := serve(t, listen, &says{text: fmt.Sprint(i + 1)})
			if last != nil {
				check.Nil(t, last.End())
			}
			last = next
			for before := posts.Load(); posts.Load() < before+20 && !t.Failed(); time.Sleep(time.Millisecond) {
			}
		}
		close(stop)
		group.Wait()
		expect(t, kept, "30")
	}
}

func TestTheServerBeforeGoesOnWhenTheLastOneEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	before := serve(t, "unix/"+path+"|0660", &says{text: "before"})
	c := client(t, "unix/"+path)
	expect(t, c, "before")
	hasMode(t, path, 0o660)
	failed := serve(t, "unix/"+path+"|0600", &says{text: "failed"})
	expect(t, c, "failed")
	hasMode(t, path, 0o600)
	check.Nil(t, failed.End())
	expect(t, c, "before")
	hasMode(t, path, 0o660)
	check.Nil(t, failed.End()) // again
	expect(t, c, "before")
	check.Nil(t, before.End())
	_, err := os.Lstat(path)
	check.ErrorIf(t, err == nil, "the socket is still there")
}

func hasMode(t testing.TB, path string, want fs.FileMode) {
	t.Helper()
	check.Equal(t, check.Value(os.Lstat(path))(t).Mode().Perm(), want)
}

// TestRequestsEndBeforeTheirServer lets one end in time, and another not at all.
func TestRequestsEndBeforeTheirServer(t *testing.T) {
	defer func(before timeouts) { defaults = before }(defaults)
	defaults.end = 2 * time.Second
	listen := testport.Address(t)
	begun, canceled, ending := make(chan string), make(chan struct{}), make(chan struct{})
	s := serve(t, listen, &says{text: "done", serve: func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		begun <- string(body)
		if string(body) == "hang" {
			<-r.Context().Done()
			close(canceled)
		} else {
			<-ending
		}
	}})
	c := client(t, listen)
	came := make(chan string)
	for _, body := range []string{"slow", "hang"} {
		go func() {
			text, err := post(c, body)
			came <- fmt.Sprint(text, err != nil)
		}()
		<-begun
	}
	check.Nil(t, s.End())
	began := time.Now()
	_, err := net.Dial("tcp", listen)
	check.ErrorIf(t, err == nil, "it is still open")
	close(ending)
	check.Equal(t, <-came, "donefalse")
	check.Equal(t, <-came, "true")
	<-canceled
	Wait()
	check.ErrorIf(t, time.Since(began) > 20*time.Second, "it took %v to end", time.Since(began))
}

// TestSlowClientsEnd has clients that send a header, a body, or read a response too slowly, and a
// handler that is as slow, which may be.
func TestSlowClientsEnd(t *testing.T) {
	defer func(before timeouts) { defaults = before }(defaults)
	const soon = 500 * time.Millisecond
	defaults.readHeader, defaults.readBody, defaults.write = soon, soon, soon
	listen := testport.Address(t)
	large := bytes.Repeat([]byte("x"), 64<<20)
	handled := make(chan error, 1)
	serve(t, listen, &says{text: "done", serve: func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/body":
			_, err := io.ReadAll(r.Body)
			handled <- err
		case "/large":
			_, err := w.Write(large)
			handled <- err
		case "/slow":
			_, _ = io.ReadAll(r.Body)
			time.Sleep(3 * soon)
			handled <- r.Context().Err()
		}
	}})
	open := func(request string) net.Conn {
		conn := check.Value(net.Dial("tcp", listen))(t)
		t.Cleanup(func() { conn.Close() })
		check.Value(io.WriteString(conn, request))(t)
		check.Nil(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		return conn
	}
	_, err := io.Copy(io.Discard, open("POST / HTTP/1.1\r\nHost: "))
	check.Nil(t, err) // it is closed, and not waited for
	open("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nxxx")
	check.ErrorIf(t, <-handled == nil, "a body that does not come ended well")
	open("GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
	check.ErrorIf(t, <-handled == nil, "a response that is not read ended well")
	conn := open("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
	for range 2 { // the deadlines of one response are not those of the next
		check.Nil(t, <-handled)
		response := check.Value(http.ReadResponse(bufio.NewReader(conn), nil))(t)
		check.Equal(t, response.StatusCode, 200)
		_, _ = io.WriteString(conn, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
	}
	<-handled
}

func TestOnlySocketsAreReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	check.Must(t, os.WriteFile(path, []byte("text"), 0o600))
	parsed := check.Value(caddy.ParseNetworkAddress("unix/" + path))(t)
	_, err := Serve(t.Context(), parsed, new(says))
	check.Fails(t, err, "is not a socket: delete it, or write another path")
	check.Equal(t, string(check.Value(os.ReadFile(path))(t)), "text")
	// One that a process left behind, which ended uncleanly, is.
	path += ".sock"
	left := check.Value(net.Listen("unix", path))(t)
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	check.Nil(t, left.Close())
	serve(t, "unix/"+path, &says{text: "new"})
	expect(t, client(t, "unix/"+path), "new")
}

func TestErrorsAreLoggedByTheLastConfig(t *testing.T) {
	listen := testport.Address(t)
	old, last := &says{}, &says{serve: func(http.ResponseWriter, *http.Request) { panic("oh no") }}
	first := serve(t, listen, old)
	serve(t, listen, last)
	check.Nil(t, first.End())
	_, err := post(client(t, listen), "")
	check.ErrorIf(t, err == nil, "a handler that panics answered")
	last.mu.Lock()
	defer last.mu.Unlock()
	check.ErrorIf(t, len(old.logged) > 0 || len(last.logged) != 1 || !strings.HasPrefix(last.logged[0], "http: panic serving"), "%q, %q", old.logged, last.logged)
}
