// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/claimpattern"
	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/strictjson"
)

// maxManifest is how many bytes of a manifest Caddy takes.
const maxManifest = 64 << 10

// inviteRequest is the request for the manifest, without a token.
func (c *checker) inviteRequest() request {
	return c.asCaddy(request{
		method: http.MethodGet, target: c.invite, timeout: patient(c.limits.invite), most: maxManifest,
		header: http.Header{"Accept": {manifestType}, "Cache-Control": {"no-store"}},
	})
}

// asCaddy adds what every request has that passes Caddy's guest handler.
func (c *checker) asCaddy(q request) request {
	q.header = q.header.Clone()
	if c.mount != "" {
		q.header.Set("X-Forwarded-Prefix", c.mount)
	}
	return q
}

// signed adds a right token, if there is a key.
func (c *checker) signed(q request) request { return c.signedFor(q, c.mount) }

func (c *checker) signedFor(q request, mount string) request {
	if len(c.keys) == 0 {
		return q
	}
	return q.with("Party-Token", sign(c.keys[0], joseHeader, c.claimsUnder(mount, &q)))
}

// with returns the request with another header.
func (q request) with(name, value string) request {
	q.header = q.header.Clone()
	q.header.Set(name, value)
	return q
}

func (c *checker) do(q request) response { return c.client.do(c.ctx, q) }

// checkManifest asks for the manifest, and tests it. The error is ErrUnreachable.
func (c *checker) checkManifest() error {
	q := c.signed(c.inviteRequest())
	q.fresh = true
	a := c.do(q)
	if unreachable, ok := errors.AsType[*unreachableError](a.err); ok {
		return fmt.Errorf("%w: is it running? %w", ErrUnreachable, unreachable.err)
	}
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](a.err); ok {
		return fmt.Errorf("%w: %w; --insecure takes any certificate", ErrUnreachable, certificate)
	}
	seen := fmt.Sprintf("GET %s: %s", c.invite, a)
	if a.err != nil || a.status != http.StatusOK {
		c.see("manifest.status", Fail, seen, c.adviceOnStatus(a))
		return nil
	}
	c.see("manifest.status", OK, seen)
	if !c.parse(a) {
		return nil
	}
	c.checkFreshness(a)
	c.checkConnections()
	c.checkManifestTime(a.took)
	c.checkAlike()
	c.checkRelative()
	result := OK
	if a.header["Set-Cookie"] != nil {
		result = Warn
	}
	c.see("manifest.cookies", result, none(len(a.header["Set-Cookie"])))
	for _, method := range []string{http.MethodHead, http.MethodOptions, http.MethodPost} {
		q := c.inviteRequest()
		q.method, q.fresh = method, true // some servers send HEAD a body, which would be taken for the next response
		for _, q := range []request{q, c.signed(q)} {
			a := c.do(q)
			c.expect("manifest.methods", a.isHarmless(), method+" "+a.String())
			if len(c.keys) == 0 {
				break
			}
		}
	}
	return nil
}

// adviceOnStatus says what to do about an invite that is not answered with 200.
func (c *checker) adviceOnStatus(a response) string {
	location := a.header.Get("Location")
	keys := "does it have a key? Then give it with --key"
	if len(c.keys) > 0 {
		keys = fmt.Sprintf("is its key the first --key, and does it know its guest's name, %q (--guest)?", c.guest)
	}
	switch {
	case a.timedOut():
		return "answer with the manifest at once"
	case a.err != nil:
		return "does it speak HTTP there? Its own log may say why"
	case location != "":
		return fmt.Sprintf("Caddy does not follow redirects, here to %q: check the URL that it leads to, and invite that; if it leads to https or to a host, give --origin https://example.com, and invite a whole URL; let nothing ask for a login before the invite is answered", location)
	case a.status == http.StatusBadRequest:
		return fmt.Sprintf("does the application know the host %q? --origin https://example.com gives another, as an invite with a whole URL does", c.client.origin.Host)
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden, a.status == http.StatusNotFound:
		return "is this the path of the manifest? If it is, " + keys
	case a.status >= 500:
		return "the application's own log may say why"
	case a.status/100 == 2:
		return "answer with 200"
	}
	return ""
}

// parse notes the manifest, and reports whether it is one.
func (c *checker) parse(a response) bool {
	c.body = a.body
	err := strictjson.Check(a.body)
	m, parseErr := manifest.Parse(a.body)
	isManifest := a.mediaType() == manifestType
	if !isManifest && parseErr != nil {
		c.see("manifest.type", Fail, a.typed(), "is that the path of the manifest? "+sentenceByID["manifest.type"].write)
		return false
	}
	c.expect("manifest.type", isManifest, cmp.Or(a.header.Get("Content-Type"), "no Content-Type"))
	if a.long {
		c.see("manifest.size", Fail, fmt.Sprintf("more than %d bytes", maxManifest))
		return false
	}
	c.see("manifest.size", OK, fmt.Sprintf("%d bytes", len(a.body)))
	problem, advice := "", ""
	if parseErr != nil {
		problem, advice, _ = strings.Cut(strings.TrimPrefix(parseErr.Error(), "manifest: "), ": write ")
		if advice != "" {
			advice = "write " + advice
		}
	}
	if err != nil || bytes.HasPrefix(a.body, []byte("\ufeff")) {
		c.see("manifest.json", Fail, problem, cmp.Or(advice, "write one JSON object"))
		return false
	}
	c.see("manifest.json", OK, "it is")
	if parseErr != nil {
		c.see("manifest.form", Fail, problem, cmp.Or(advice, "say less"))
		return false
	}
	c.see("manifest.form", OK, contentOf(m))
	c.manifest = m
	if warnings := m.Warnings(c.mount); len(warnings) > 0 {
		for _, warning := range warnings {
			what, advice, _ := strings.Cut(warning, ": ")
			c.see("manifest.meant", Warn, what, cmp.Or(advice, "correct it"))
		}
	} else {
		c.see("manifest.meant", OK, "nothing")
	}
	c.checkBase()
	return true
}

// contentOf says how much is in a manifest.
func contentOf(m *manifest.Manifest) string {
	content := fmt.Sprintf("%d urls, %d services", len(m.URLs), len(m.Services))
	if m.Claims != nil {
		content += fmt.Sprintf(", %d claims", len(m.Claims.Texts))
		if m.Claims.URLs {
			content += " and those of its urls"
		}
	}
	if m.Hosts != nil {
		content += fmt.Sprintf(", %d hosts", len(m.Hosts.Texts))
	}
	return content
}

// checkBase tests that what the manifest names is the guest's to name.
func (c *checker) checkBase() {
	unescaped, err := url.PathUnescape(c.mount + pathOf(c.invite))
	if err != nil {
		return
	}
	base := invitepath.Base(unescaped)
	isUnder := func(start, base string) bool {
		start, err := url.PathUnescape(c.mount + start)
		return err == nil && invitepath.IsUnder(start, base)
	}
	for _, name := range slices.Sorted(maps.Keys(c.manifest.URLs)) {
		if start := c.manifest.URLs[name].Start(); base != "" && !isUnder(start, base) {
			c.see("manifest.base", Fail, fmt.Sprintf("url %s is %s, not under %s", name, start, base), ownPaths(base))
		}
	}
	if claims := c.manifest.Claims; claims != nil && base != "" {
		for _, pattern := range claims.Texts {
			if _, start := claimpattern.Start(pattern); !isUnder(start, base) {
				c.see("manifest.base", Warn, fmt.Sprintf("the claim %s has no effect, because it is not under %s", pattern, base), ownPaths(base))
			}
		}
	}
	for _, service := range slices.Sorted(maps.Keys(c.manifest.Services)) {
		for _, h := range c.manifest.Services[service] {
			if h.Href == nil {
				continue
			}
			start := h.Href.Start()
			switch {
			case base != "" && !isUnder(start, base):
				c.see("manifest.base", Fail, fmt.Sprintf("the href of %s is %s, not under %s", service, start, base), ownPaths(base))
			case base == "" && !isUnder(start, unescaped):
				c.see("manifest.base", Warn, fmt.Sprintf("the href of %s is %s, not under %s", service, start, unescaped),
					"write it below the path of the invite, or list its path as `hrefs` in wsgi_party_guest")
			}
		}
	}
	c.see("manifest.base", OK, "all under "+cmp.Or(base, "/"))
}

func ownPaths(base string) string {
	return fmt.Sprintf("name only what is under %s; if the application's own paths do not begin with that, give --mount %[1]s, as `handle_path %[1]s/*` does", base)
}

func pathOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}
