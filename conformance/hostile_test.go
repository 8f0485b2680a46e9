// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// serveRaw answers each request with what write writes, on connections of its own.
func serveRaw(t *testing.T, write func(net.Conn, *http.Request)) string {
	t.Helper()
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
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					write(conn, r)
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// bomb is little that becomes much.
var bomb = func() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(make([]byte, 16<<20))
	_ = w.Close()
	return b.Bytes()
}()

const head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.wsgi-party+json\r\n"

func forever(w io.Writer, text string) {
	for {
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
	}
}

func TestHostileApplicationsHoldNothingUp(t *testing.T) {
	impatient := limits{body: testBody, invite: 100 * time.Millisecond, slow: time.Second, beside: 100 * time.Millisecond, linger: time.Millisecond, check: 3 * time.Second}
	manifest := strings.ReplaceAll(goodManifest, "\n", "")
	isManifest := func(r *http.Request) bool { return r.URL.Path == "/__invite__/" && r.Method == http.MethodGet }
	complete := head + fmt.Sprintf("Connection: close\r\nContent-Length: %d\r\n\r\n%s", len(manifest), manifest)
	for how, write := range map[string]func(net.Conn, *http.Request){
		"says nothing": func(conn net.Conn, _ *http.Request) { _, _ = io.Copy(io.Discard, conn) },
		"endless body": func(conn net.Conn, _ *http.Request) { forever(conn, head+"\r\n"+strings.Repeat("x", 1<<16)) },
		"endless header": func(conn net.Conn, _ *http.Request) {
			_, _ = io.WriteString(conn, head)
			forever(conn, "X-More: more\r\n")
		},
		"endless 103":      func(conn net.Conn, _ *http.Request) { forever(conn, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n") },
		"trickling header": func(conn net.Conn, _ *http.Request) { trickle(conn, head) },
		"trickling body": func(conn net.Conn, _ *http.Request) {
			_, _ = io.WriteString(conn, head+"\r\n")
			trickle(conn, manifest)
		},
		"no HTTP": func(conn net.Conn, _ *http.Request) { _, _ = io.WriteString(conn, "\x1b[31mSSH-2.0\r\n\r\n") },
		"closes":  func(net.Conn, *http.Request) {},
		"breaks off": func(conn net.Conn, _ *http.Request) {
			_, _ = io.WriteString(conn, head+"Content-Length: 9999\r\n\r\n{")
		},
		"escapes in header": func(conn net.Conn, _ *http.Request) {
			_, _ = io.WriteString(conn, "HTTP/1.1 302 \x1b[2J\r\nLocation: /\x1b]0;x\x07\u202e\r\n\r\n")
		},
		"gzip bomb": func(conn net.Conn, _ *http.Request) {
			_, _ = io.WriteString(conn, head+"Content-Encoding: gzip\r\n\r\n")
			forever(conn, string(bomb))
		},
		"only a manifest": func(conn net.Conn, r *http.Request) {
			if isManifest(r) {
				_, _ = io.WriteString(conn, complete)
				return
			}
			_, _ = io.Copy(io.Discard, conn)
		},
		"endless answers": func(conn net.Conn, r *http.Request) {
			if isManifest(r) {
				_, _ = io.WriteString(conn, complete)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
			forever(conn, `<a href="/blog/blog/about">`)
		},
		"endless redirects": func(conn net.Conn, r *http.Request) {
			if isManifest(r) {
				_, _ = io.WriteString(conn, complete)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 302 Found\r\nLocation: "+r.RequestURI+"x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		},
		"escapes in everything": func(conn net.Conn, r *http.Request) {
			text := `{"urls": {"a": "/\u001b[31m\u202e"}, "services": {"s": {"href": "\u0007"}}}`
			_, _ = io.WriteString(conn, head+"Etag: \"\x1b[2J\"\r\nCache-Control: max-age=\x1b[2J\r\nKeep-Alive: timeout=\x1b\r\nConnection: close\r\n\r\n"+text)
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			report, err := Check(t.Context(), Options{URL: serveRaw(t, write), Mount: "/blog", Keys: []string{testKey}, Timeout: 100 * time.Millisecond, limits: impatient})
			check.Must(t, err)
			check.ErrorIf(t, report.Passed, "it passed")
			check.ErrorIf(t, time.Since(began) > time.Minute, "it took %v", time.Since(began))
			var text bytes.Buffer
			check.Must(t, report.WriteText(&text))
			check.ErrorIf(t, strings.ContainsFunc(text.String(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }), "%q", text.String())
			for line := range strings.SplitSeq(text.String(), "\n") {
				check.ErrorIf(t, len(line) > 2000, "a line of %d bytes", len(line))
			}
		})
	}
}

func trickle(conn net.Conn, text string) {
	for _, c := range text {
		time.Sleep(50 * time.Millisecond)
		if _, err := io.WriteString(conn, string(c)); err != nil {
			return
		}
	}
}

func TestACheckThatIsEndedEnds(t *testing.T) {
	before := runtime.NumGoroutine()
	o := newApplication().start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Check(ctx, o)
	check.ErrorIf(t, !errors.Is(err, ErrUnreachable) && !errors.Is(err, ctx.Err()), "%v", err)
	for range 1000 {
		if runtime.NumGoroutine() <= before+3 { // those of the server
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, before %d", runtime.NumGoroutine(), before)
}
