// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// rawServer answers the path of each request with what is written for it, and keeps its connections open.
type rawServer struct {
	address     string
	answers     map[string]string
	connections atomic.Int64
}

func newRawServer(t *testing.T, answers map[string]string) *rawServer {
	s := &rawServer{testport.Address(t), answers, atomic.Int64{}}
	l := check.Value(net.Listen("tcp", s.address))(t)
	var all sync.WaitGroup
	ctx, end := context.WithCancel(context.Background())
	t.Cleanup(func() {
		l.Close()
		end()
		all.Wait()
	})
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.connections.Add(1)
			context.AfterFunc(ctx, func() { c.Close() })
			all.Go(func() { s.serve(c) })
		}
	})
	return s
}

func (s *rawServer) serve(c net.Conn) {
	defer c.Close()
	for reader := bufio.NewReader(c); ; {
		r, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		io.Copy(io.Discard, r.Body)
		answer := s.answers[r.URL.Path]
		closes := strings.HasPrefix(answer, "HTTP/1.0")
		io.WriteString(c, answer)
		if closes {
			return
		}
	}
}

// TestWhatIsReadOfADirectConnection has responses in all forms that HTTP/1.1 has.
func TestWhatIsReadOfADirectConnection(t *testing.T) {
	const head, one = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", "Content-Length: 1\r\n\r\n1"
	for name, test := range map[string]struct {
		answer, want string // the latter of an error, if that is not a number
		connections  int    // for two asks
	}{
		"as long as it says":  {head + one, "1", 1},
		"in chunks":           {head + "Transfer-Encoding: chunked\r\n\r\n1\r\n4\r\n1\r\n2\r\n0\r\nX-Trailer: a\r\n\r\n", "42", 1},
		"until the end":       {"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n17", "17", 2},
		"the last":            {head + "Connection: close\r\n" + one, "1", 2},
		"after others":        {strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n", 5) + head + one, "1", 1},
		"after too many":      {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 6) + head + one, "more than 5 1xx responses", 2},
		"with a long header":  {head + "X-Long: " + strings.Repeat("x", 2<<20) + "\r\n" + one, "the header of the response is longer than 1048576 bytes", 2},
		"with another behind": {head + one + head + "Content-Length: 1\r\n\r\n2", "1", 2},
		"that is none":        {"SSH-2.0-OpenSSH\r\n", "malformed HTTP", 2},
		"another protocol":    {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", "status 101", 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := newGuestTest(t)
			s := newRawServer(t, map[string]string{"/who": test.answer})
			c.load("invite /blog/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest {\ndirect " + s.address + "\nservice who /who\n}\nrespond 404\n}\n")
			for range 2 {
				got, err := c.ask("who", nil)
				if err != nil {
					got = err.Error()
				}
				check.Has(t, got, test.want)
			}
			check.Equal(t, int(s.connections.Load()), test.connections, "connections")
		})
	}
}

// TestAnAnswerThatNobodyAskedForIsNobodys when it comes on a direct connection while that is idle: else each who asks after
// that would be given what is meant for the one before.
func TestAnAnswerThatNobodyAskedForIsNobodys(t *testing.T) {
	c := newGuestTest(t)
	l := check.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { l.Close() })
	sent := make(chan struct{})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for reader := bufio.NewReader(conn); ; {
					r, err := http.ReadRequest(reader)
					if err != nil {
						return
					}
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n\""+r.URL.Path[1:]+"\"")
					time.Sleep(20 * time.Millisecond)
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n\"no\"")
					sent <- struct{}{}
				}
			}()
		}
	}()
	c.load("invite /blog/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest {\ndirect " + l.Addr().String() + "\nservice who /{id}\n}\nrespond 404\n}\n")
	for i := range 4 {
		c.expectAsk("who", map[string]any{"id": 10 + i}, fmt.Sprintf(`"%d"`, 10+i))
		<-sent
	}
}

// TestADirectAskEndsInTime although its transport has a read_timeout, which begins anew with each byte that drips in.
func TestADirectAskEndsInTime(t *testing.T) {
	c := newGuestTest(t)
	l := check.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, err := http.ReadRequest(bufio.NewReader(conn))
				began := time.Now()
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
				for many := strings.Repeat("1\r\n1\r\n", 1000); err == nil && time.Since(began) < time.Minute; {
					if time.Since(began) > time.Second {
						many = "1\r\n1\r\n"
						time.Sleep(50 * time.Millisecond)
					}
					_, err = io.WriteString(conn, many)
				}
			}()
		}
	}()
	c.load("invite /blog/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest {\ndirect " + l.Addr().String() + " {\ntransport http {\nread_timeout 5s\n}\n}\nservice who /who\ntimeout 500ms\nmax_answer 256MiB\n}\nrespond 404\n}\n")
	for range 3 {
		began := time.Now()
		got, err := c.ask("who", nil)
		check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), "it took longer than 500ms"), "%.50s %v", got, err)
		check.ErrorIf(t, time.Since(began) > 30*time.Second, "it ended after %v", time.Since(began))
	}
}

// TestManyAskDirectlyAtOnce of which each is given its own answer, and by few connections.
func TestManyAskDirectlyAtOnce(t *testing.T) {
	c := newGuestTest(t)
	answers := make(map[string]string)
	for i := range 100 {
		text := fmt.Sprintf(`"%d%s"`, i, strings.Repeat("x", i*100))
		answers[fmt.Sprint("/", i)] = fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	}
	s := newRawServer(t, answers)
	c.load("invite /blog/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest {\ndirect " + s.address + "\nservice who /{id}\nservice long /7\ntimeout 1m\n}\nrespond 404\n}\n")
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 100 {
				n := (i + worker*13) % 100
				got, err := c.ask("who", map[string]any{"id": n})
				check.ErrorIf(t, err != nil || !strings.HasPrefix(got, fmt.Sprintf(`"%d`, n)) || len(got) != len(fmt.Sprint(n))+n*100+2, "%d: %.50s %v", n, got, err)
			}
		})
	}
	all.Wait()
	check.ErrorIf(t, s.connections.Load() > 8, "%d connections", s.connections.Load())
	got, err := c.ask("long", strings.Repeat("x", 1<<19)) // which the transport sends
	check.ErrorIf(t, err != nil || !strings.HasPrefix(got, `"7`), "%.50s %v", got, err)
}
