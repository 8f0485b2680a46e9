// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/manifest"
)

// checkFreshness tests what makes Caddy ask again, or not.
func (c *checker) checkFreshness(a response) {
	c.etag = a.header.Get("Etag")
	switch etag := c.etag; {
	case etag == "":
		c.see("manifest.etag", Warn, "it has none: the whole manifest is sent each time")
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
	c.see("manifest.max-age", OK, "none: Caddy asks again after 60 s")
}

// times is how often the same is asked to see how long it takes.
const times = 5

func (c *checker) checkManifestTime(first time.Duration) {
	median := first
	if first < c.limits.invite {
		median = c.median(c.signed(c.inviteRequest()))
	}
	c.judgeTime("manifest.time", "", median, c.limits.slow, c.limits.invite)
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

func (c *checker) judgeTime(id, place string, took, slow, most time.Duration) {
	seen := place + duration(took)
	switch {
	case took > most:
		c.see(id, Fail, seen+": Caddy gives up after "+duration(most))
	case took > slow:
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
		return "it differs each time"
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
