// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// askMAC is the mac of a Party-Ask.
func askMAC(key, prefix, address string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(prefix + address))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

const askPrefix = "wsgi_party ask v1\x00"

// trap listens where a forged Party-Ask says that Caddy does.
type trap struct {
	net.Listener
	keys  []string
	calls atomic.Int32
	leaks atomic.Int32 // of the calls, with a key in them
}

func newTrap(keys []string) (*trap, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &trap{Listener: l, keys: keys}
	go t.serve()
	return t, nil
}

func (t *trap) serve() {
	slots := make(chan struct{}, 16)
	for {
		conn, err := t.Accept()
		if err != nil {
			return
		}
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			said := make([]byte, 8<<10)
			n, _ := io.ReadAtLeast(conn, said, 16)
			said = said[:n]
			if !bytes.Contains(said, []byte("HTTP/1.")) && !bytes.HasPrefix(said, []byte("POST ")) && !bytes.HasPrefix(said, []byte("GET ")) {
				return // it is not the application's
			}
			t.calls.Add(1)
			if bytes.Contains(bytes.ToLower(said), []byte("bearer ")) || slices.ContainsFunc(t.keys, func(key string) bool { return bytes.Contains(said, []byte(key)) }) {
				t.leaks.Add(1)
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		}()
	}
}

// forged returns values of Party-Ask that name the address and are to be ignored. None has a right
// mac: what that names is believed, and asked long after the check.
func (c *checker) forged(address string) []string {
	values := []string{
		address,
		address + "; mac=",
		address + "; line=1; mac=" + askMAC(rand.Text()+rand.Text(), askPrefix, address),
		address + "; mac=" + askMAC("", askPrefix, address),
	}
	for _, key := range c.keys {
		values = append(values,
			address+"; mac="+askMAC(key, askPrefix, "wsgi-party-check"), // which is not an address
			address+"; mac="+askMAC(key, "", address),
		)
	}
	return values
}

// checkForgedAsk has pages and hrefs come with a forged Party-Ask, which may make them ask.
func (c *checker) checkForgedAsk() {
	t, err := newTrap(c.keys)
	if err != nil {
		c.see("party-ask.forged", Skip, err.Error())
		return
	}
	defer t.Close()
	requests := c.pages()
	for _, h := range c.hrefs[:min(len(c.hrefs), maxPlaces)] {
		requests = append(requests, c.signed(h.right))
	}
	requests = append(requests, c.signed(c.inviteRequest()))
	address := "http://" + t.Addr().String() + "/"
	sent := 0
	for _, value := range c.forged(address) {
		for i, q := range requests {
			sent++
			if a := c.do(q.with("Party-Ask", value)); a.status == 0 {
				requests = slices.Delete(requests, i, i+1) // it answers nothing
				break
			}
		}
	}
	select {
	case <-time.After(c.limits.linger):
	case <-c.ctx.Done():
	}
	seen := fmt.Sprintf("%d requests to %s after %d with a forged one", t.calls.Load(), t.Addr(), sent)
	if t.leaks.Load() > 0 {
		seen += ", and they brought the key"
	}
	c.expect("party-ask.forged", t.calls.Load() == 0, seen)
}

const maxPages = 4

// pages returns requests for some of the application's pages, which may have links.
func (c *checker) pages() []request {
	targets := []string{"/"}
	if c.manifest != nil {
		for _, name := range slices.Sorted(maps.Keys(c.manifest.URLs)) {
			template := c.manifest.URLs[name]
			if target, err := template.Expand(c.ctx, "", nil); err == nil && len(targets) < maxPages && !slices.Contains(targets, target) {
				targets = append(targets, target)
			}
		}
	}
	var pages []request
	for _, target := range targets {
		pages = append(pages, c.asCaddy(request{method: http.MethodGet, target: target, timeout: patient(c.limits.invite), header: http.Header{"Accept": {"text/html,*/*"}}}))
	}
	return pages
}
