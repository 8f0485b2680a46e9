// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package conformance tests a running application against the sentences of docs/guests.md,
// with no Caddy in between. It sends the application the asks that Caddy would send, and
// others that the application should refuse.
package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

// Options say which application to check, and how to reach and ask it.
type Options struct {
	// URL is that of the invite as the application sees it, such as
	// http://localhost:8000/__invite__/, https://… or unix//run/blog.sock/__invite__/. The default
	// path is /__invite__/.
	URL string

	// Origin is the scheme and host that the application is told it is visited at: those of the
	// invite in the Caddyfile. Default: those of URL; http://localhost for a socket.
	Origin string

	// Mount is what Caddy strips from the path, such as /blog.
	Mount string

	// Guest is the guest's name. Default: as for an invite to Mount and the path of URL.
	Guest string

	// Keys are the application's, if it has any. The first one signs.
	Keys []string

	// Payloads are JSON, by service. Default: null for a POST. Variables without which a GET has
	// no path are 1.
	Payloads map[string]string

	// Page is the path of a page that asks the party, as the application sees it. With Page and a
	// key, the application is told to ask this process, and does so until Caddy tells it
	// otherwise.
	Page string

	// Timeout is how long an ask may take. Default: 2s.
	Timeout time.Duration

	// Insecure accepts any certificate.
	Insecure bool

	limits limits // the default ones, if it is zero
}

// limits are how long things may take, and how much a payload may be.
type limits struct {
	body    int           // bytes that Caddy sends
	invite  time.Duration // after that Caddy gives up
	page    time.Duration // is too long for a page
	slow    time.Duration // is worth a warning
	beside  time.Duration // is how long a request may wait for another one
	between time.Duration // is how long to wait for a page to ask again
	linger  time.Duration // is how much later an application may ask where a forged header leads
	check   time.Duration // is all a check may take
}

const (
	manifestType = "application/vnd.wsgi-party+json"
	askTimeout   = 2 * time.Second // of wsgi_party_guest, by default
)

var defaultLimits = limits{body: maxBody, invite: 5 * time.Second, page: 10 * time.Second, between: time.Second, slow: 100 * time.Millisecond, beside: 3 * time.Second, linger: 300 * time.Millisecond, check: 2 * time.Minute}

// ErrUnreachable is that of an application which is not there.
var ErrUnreachable = errors.New("the application cannot be reached")

// Check checks the application. The error is of options that are wrong, or ErrUnreachable.
func Check(parent context.Context, o Options) (*Report, error) {
	c, err := newChecker(o)
	if err != nil {
		return nil, err
	}
	defer c.client.close()
	ctx, cancel := context.WithTimeout(parent, c.limits.check)
	defer cancel()
	c.ctx = ctx
	if err := c.run(); err != nil {
		return nil, err
	}
	if err := parent.Err(); err != nil {
		return nil, err
	}
	return c.report(), nil
}

// checker is a check under way.
type checker struct {
	ctx      context.Context
	client   *client
	invite   string // the target of the invite
	mount    string // escaped
	guest    string
	keys     []string
	payloads map[string]string
	page     string
	timeout  time.Duration
	limits   limits
	findings map[string]*finding

	// Of the right answer to the invite:
	manifest *manifest.Manifest
	body     []byte
	etag     string
	hrefs    []*href

	pageAsksNobody string // how, if it does not
}

func newChecker(o Options) (*checker, error) {
	c := &checker{keys: o.Keys, payloads: o.Payloads, page: o.Page, timeout: cmp.Or(o.Timeout, askTimeout), limits: cmp.Or(o.limits, defaultLimits), findings: make(map[string]*finding)}
	if _, err := token.NewKeys(o.Keys); err != nil {
		return nil, fmt.Errorf("--key: %w; put there what `openssl rand -base64 32` prints, and give it to the application, too", err)
	}
	for service, payload := range o.Payloads {
		if !json.Valid([]byte(payload)) {
			return nil, fmt.Errorf("--payload %s: %q is not JSON: write a string as '%[1]s=\"text\"'", service, printable(payload))
		}
	}
	mount := strings.TrimSuffix(o.Mount, "/")
	parsed, err := url.Parse(mount)
	if err != nil || mount != "" && (mount[0] != '/' || parsed.EscapedPath() != mount || path.Clean(mount) != mount) {
		return nil, fmt.Errorf("--mount: %q is not a path: write it like /blog, escaped", o.Mount)
	}
	c.mount = mount
	if page, err := url.Parse(o.Page); o.Page != "" && (err != nil || o.Page[0] != '/' || page.RequestURI() != o.Page) {
		return nil, fmt.Errorf("--page: %q is not a path: write it like /cart, escaped, without the mount", o.Page)
	}
	target, err := c.connect(o)
	if err != nil {
		return nil, err
	}
	if target.Path == "" || target.Path == "/" {
		target.Path = "/" + invitepath.Segment + "/"
	}
	c.invite = target.RequestURI()
	c.guest = cmp.Or(o.Guest, invitepath.Guest(parsed.Path+target.Path))
	return c, nil
}

const urlForms = "write it like http://localhost:8000/__invite__/, https://… or unix//run/blog.sock/__invite__/"

// connect makes the client, and returns the path that is to be asked.
func (c *checker) connect(o Options) (target *url.URL, err error) {
	text, network, address := o.URL, "tcp", ""
	if socket, ok := strings.CutPrefix(text, "unix/"); ok {
		network = "unix"
		address, text = cutSocket(socket)
		text = "http://localhost" + text
	}
	target, err = url.Parse(text)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return nil, fmt.Errorf("%q is not a URL of an application: %s", o.URL, urlForms)
	}
	if target.User != nil || target.Fragment != "" {
		return nil, fmt.Errorf("%q has a user or a fragment, which Caddy does not send: %s", o.URL, urlForms)
	}
	if network == "tcp" {
		address = target.Host
		if target.Port() == "" {
			address += map[string]string{"http": ":80", "https": ":443"}[target.Scheme]
		}
	}
	origin := &url.URL{Scheme: target.Scheme, Host: target.Host}
	if o.Origin != "" {
		origin, err = url.Parse(strings.TrimSuffix(o.Origin, "/"))
		if err != nil || origin.Host == "" || origin.Path != "" || origin.Scheme != "http" && origin.Scheme != "https" {
			return nil, fmt.Errorf("--origin: %q is not a scheme and host: write it like https://example.com", o.Origin)
		}
	}
	c.client = newClient(network, address, origin, target.Scheme == "https", o.Insecure)
	return target, nil
}

// cutSocket returns the file of a socket, which is as much of the text as there is in the
// file system, and the path behind it.
func cutSocket(text string) (file, rest string) {
	for i := 1; i < len(text); i++ {
		if text[i] != '/' {
			continue
		}
		if info, err := os.Stat(text[:i]); err == nil && info.Mode()&os.ModeSocket != 0 {
			return text[:i], text[i:]
		}
	}
	if before, _, ok := strings.Cut(text, "/"+invitepath.Segment); ok {
		return before, text[len(before):]
	}
	return text, ""
}

// run tests one sentence after the other.
func (c *checker) run() error {
	if err := c.checkManifest(); err != nil {
		return err
	}
	c.checkLinks()
	c.checkHrefs()
	c.checkTokens()
	c.checkForgedAsk()
	c.checkAsking()
	return nil
}

// see notes what was seen of a sentence. What to write is the sentence's own, if none is given.
func (c *checker) see(id string, result Result, seen string, write ...string) {
	s, ok := sentenceByID[id]
	if !ok {
		panic("no sentence " + id)
	}
	if c.ctx.Err() != nil {
		return // the request was ended here
	}
	if c.findings[id] == nil {
		c.findings[id] = new(finding)
	}
	what := ""
	if result == Warn || result == Fail {
		what = cmp.Or(strings.Join(write, ""), s.write)
	}
	c.findings[id].add(result, seen, what)
}

// expect is see for what is all right or else is a failure.
func (c *checker) expect(id string, ok bool, seen string, write ...string) {
	result := OK
	if !ok {
		result = Fail
	}
	c.see(id, result, seen, write...)
}

func (c *checker) report() *Report {
	if c.ctx.Err() != nil {
		f := new(finding)
		f.add(Fail, "it did not end within "+duration(c.limits.check), sentenceByID["complete"].write)
		c.findings["complete"] = f
	} else if c.manifest != nil {
		c.see("complete", OK, fmt.Sprintf("%d hrefs", len(c.hrefs)))
	}
	r := &Report{Invite: c.invite, Mount: c.mount, Guest: c.guest, Passed: true, Counts: make(map[Result]int)}
	for _, s := range sentences {
		f := c.findings[s.id]
		if f == nil {
			f = new(finding)
			f.add(Skip, c.whyUntested(s), "")
		}
		r.Lines = append(r.Lines, Line{s.id, f.result, s.what, printable(f.String()), printable(f.write), "docs/guests.md#" + s.section})
		r.Counts[f.result]++
		if f.result == Fail {
			r.Passed = false
		}
	}
	return r
}

// whyUntested says why nothing was seen of a sentence.
func (c *checker) whyUntested(s sentence) string {
	switch {
	case c.ctx.Err() != nil:
		return "there was no time left"
	case strings.HasPrefix(s.id, "token.") && len(c.keys) == 0:
		return "no --key is given"
	case strings.HasPrefix(s.id, "asking.") && (c.page == "" || len(c.keys) == 0):
		return "no --page that asks is given, or no --key"
	case strings.HasPrefix(s.id, "asking.") && c.pageAsksNobody != "":
		return c.pageAsksNobody
	case strings.HasPrefix(s.id, "asking."):
		return cmp.Or(s.untested, "there was nothing to see")
	case c.manifest == nil:
		return "there is no manifest"
	case strings.HasPrefix(s.id, "ask.") && len(c.hrefs) == 0:
		return "the manifest has no hrefs"
	case strings.HasPrefix(s.id, "batch.") && !slices.ContainsFunc(c.hrefs, func(h *href) bool { return h.Batch }):
		return "no href has batch"
	case strings.HasPrefix(s.id, "ask.url") && !slices.ContainsFunc(c.hrefs, func(h *href) bool { return h.service == urlService }):
		return "the manifest has no href of the service url"
	}
	return s.untested
}
