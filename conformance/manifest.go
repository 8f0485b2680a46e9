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
	"strconv"
	"strings"
	"time"

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
	c.see("manifest.cookies", result, fmt.Sprintf("%d of them", len(a.header["Set-Cookie"])))
	for _, method := range []string{http.MethodHead, http.MethodOptions, http.MethodPost} {
		q := c.inviteRequest()
		q.method, q.fresh = method, true // some servers send HEAD a body, which would be taken for the next response
		for _, q := range []request{q, c.signed(q)} {
			a := c.do(q)
			c.expect("manifest.methods", !a.crashed(), method+" "+a.String())
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
	keys := "has it a key? Then say which, with --key"
	if len(c.keys) > 0 {
		keys = fmt.Sprintf("is its key the first --key, and does it know itself as guest %q (--guest)?", c.guest)
	}
	switch {
	case a.timedOut():
		return "answer the manifest at once"
	case a.err != nil:
		return "does it speak HTTP there? Its own log may say why"
	case location != "":
		return fmt.Sprintf("Caddy follows no redirect, here to %q: check the URL where it leads, and invite that; for one to https or to a host give --origin https://example.com, and invite a whole URL; let nothing ask for a login before the invite is answered", location)
	case a.status == http.StatusBadRequest:
		return fmt.Sprintf("does the application know the host %q? --origin https://example.com says another one, as an invite of a whole URL does", c.client.origin.Host)
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
	c.see("manifest.form", OK, fmt.Sprintf("%d urls, %d services", len(m.URLs), len(m.Services)))
	c.manifest = m
	if warnings := m.Warnings(c.mount); len(warnings) > 0 {
		for _, warning := range warnings {
			what, advice, _ := strings.Cut(warning, ": ")
			c.see("manifest.meant", Warn, what, cmp.Or(advice, "correct it"))
		}
	} else {
		c.see("manifest.meant", OK, "nothing else")
	}
	c.checkBase()
	return true
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
					"write it below the path of the invite, or write `hrefs` with what it lies under in wsgi_party_guest")
			}
		}
	}
	c.see("manifest.base", OK, "all under "+cmp.Or(base, "/"))
}

func ownPaths(base string) string {
	return fmt.Sprintf("name only what lies under %s; if the application's own paths do not begin with that, --mount %[1]s says so, as `handle_path %[1]s/*` does", base)
}

func pathOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}

// checkFreshness tests what makes Caddy ask again, or not.
func (c *checker) checkFreshness(a response) {
	c.etag = a.header.Get("Etag")
	switch etag := c.etag; {
	case etag == "":
		c.see("manifest.etag", Warn, "it has none: all of the manifest is sent each time")
	case len(etag) > 1<<10:
		c.see("manifest.etag", Warn, "it has more than 1 KiB, which Caddy does not keep")
	default:
		q := c.signed(c.inviteRequest())
		again := c.do(q.with("If-None-Match", etag))
		seen := fmt.Sprintf("%s to %s", again, etag)
		switch {
		case again.err == nil && again.status == http.StatusNotModified:
			c.see("manifest.etag", OK, seen)
		case again.err == nil && again.status == http.StatusOK && again.header.Get("Etag") != etag:
			c.see("manifest.etag", Warn, fmt.Sprintf("%s to %s, with another one", again, etag))
		case again.err == nil && again.status == http.StatusOK:
			c.see("manifest.etag", Warn, seen)
		default:
			c.see("manifest.etag", Fail, seen)
		}
		another := c.do(q.with("If-None-Match", `"wsgi-party-check"`))
		c.expect("manifest.changed", another.err == nil && another.status == http.StatusOK, another.String())
	}
	for directive := range strings.SplitSeq(a.header.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
		result := OK
		if err != nil || seconds < 10 || seconds > 24*60*60 {
			result = Warn
		}
		c.see("manifest.max-age", result, strings.TrimSpace(directive))
		return
	}
	c.see("manifest.max-age", OK, "none: it is asked again after 60 s")
}

// times is how often the same is asked to see how long it takes.
const times = 5

func (c *checker) checkManifestTime(first time.Duration) {
	median := first
	if first < c.limits.invite {
		median = c.median(c.signed(c.inviteRequest()))
	}
	c.judgeTime("manifest.time", "", median, c.limits.invite)
}

// median returns how long the middle one of some requests takes.
func (c *checker) median(q request) time.Duration {
	var took [times]time.Duration
	for i := range took {
		a := c.do(q)
		if a.err != nil {
			return a.took
		}
		took[i] = a.took
	}
	slices.Sort(took[:])
	return took[times/2]
}

func (c *checker) judgeTime(id, place string, took, most time.Duration) {
	seen := place + duration(took)
	switch {
	case took > most:
		c.see(id, Fail, seen+": Caddy gives up after "+duration(most))
	case took > c.limits.slow:
		c.see(id, Warn, seen)
	default:
		c.see(id, OK, seen)
	}
}

// checkAlike asks on connections of their own, which come to whichever process is free.
func (c *checker) checkAlike() {
	q := c.signed(c.inviteRequest())
	q.fresh = true
	for range times {
		a := c.do(q)
		if what := c.differs(a); what != "" {
			c.see("manifest.alike", Fail, what)
			return
		}
	}
	c.see("manifest.alike", OK, fmt.Sprintf("%d times the same", times))
}

// differs says how an answer to the invite is another one than the first; "" if it is not.
func (c *checker) differs(a response) string {
	if a.err != nil || a.status != http.StatusOK {
		return a.String()
	}
	if bytes.Equal(a.body, c.body) {
		return ""
	}
	m, err := manifest.Parse(a.body)
	if err != nil {
		return err.Error()
	}
	for _, name := range slices.Sorted(maps.Keys(c.manifest.URLs)) {
		if other := m.URLs[name]; other == nil {
			return fmt.Sprintf("url %s is missing", name)
		} else if first := c.manifest.URLs[name].String(); other.String() != first {
			return fmt.Sprintf("url %s is %s, and was %s", name, other, first)
		}
	}
	for _, service := range slices.Sorted(maps.Keys(c.manifest.Services)) {
		if m.Services[service] == nil {
			return fmt.Sprintf("service %s is missing", service)
		}
	}
	first, _ := c.manifest.MarshalJSON()
	other, _ := m.MarshalJSON()
	if !bytes.Equal(first, other) {
		return "it says something else each time"
	}
	return ""
}

// checkRelative asks as if the application were mounted elsewhere, too.
func (c *checker) checkRelative() {
	const elsewhere = "/wsgi-party-check"
	mount := elsewhere + c.mount
	q := c.inviteRequest().with("X-Forwarded-Prefix", mount)
	a := c.do(c.signedFor(q, mount))
	if what := c.differs(a); what != "" {
		c.see("manifest.relative", Fail, fmt.Sprintf("with X-Forwarded-Prefix: %s, %s", mount, what))
		return
	}
	c.see("manifest.relative", OK, "the same with X-Forwarded-Prefix: "+mount)
}
