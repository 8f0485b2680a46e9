// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
)

// probe is the href's payload with a member that no application knows, so that it has so many
// bytes. What is given as no object, or not at all, is that member alone.
func (h *href) probe(size int) []byte {
	before := `{"wsgi_party_check":"`
	after := `"}`
	if members, ok := bytes.CutPrefix(h.payload, []byte("{")); ok && h.given && len(members) > len("}") {
		after = `",` + string(members)
	}
	return []byte(before + strings.Repeat("x", max(1, size-len(before)-len(after))) + after)
}

// checkPayloads asks with what nobody should send, and with much.
func (c *checker) checkPayloads(h *href) {
	a := h.answered
	if a.status == 0 || a.status == http.StatusUnauthorized || a.status == http.StatusForbidden || a.status == http.StatusMethodNotAllowed {
		return
	}
	ask := func(payload []byte) response { return c.ask(h, c.signed(c.requestFor(h, h.right.target, payload))) }
	for _, method := range []string{http.MethodHead, http.MethodOptions} {
		if a.crashed() {
			break
		}
		q := h.right
		q.method, q.body, q.fresh = method, nil, true // some servers send HEAD a body, which would be taken for the next response
		a := c.do(q)
		c.expect("ask.methods", a.isHarmless(), fmt.Sprintf("%s: %s %s", h.place, method, a))
	}
	c.checkUnknown(h)
	if h.Href.HasExpressions() {
		c.checkLongValues(h)
	}
	if h.Method != http.MethodPost || a.status == http.StatusNotFound {
		return
	}
	for _, payload := range []string{`{"id":`, "{\"id\": \"\xff\"}", "no JSON"} {
		a := ask([]byte(payload))
		c.expect("ask.payload", !a.crashed(), fmt.Sprintf("%s: %s to %q", h.place, a, payload))
	}
	if ask(h.probe(0)).crashed() {
		return // it fails for what it does not know, which is its right
	}
	switch a := ask(h.probe(c.limits.body)); {
	case a.crashed():
		c.see("ask.large", Fail, h.place+": "+a.String())
	case a.status == http.StatusRequestEntityTooLarge:
		c.see("ask.large", Warn, h.place+": "+a.String())
	default:
		c.see("ask.large", OK, h.place+": "+a.String())
	}
	switch a := ask(h.probe(c.limits.body + 64<<10)); {
	case a.status >= 500, a.timedOut():
		c.see("ask.too-large", Fail, h.place+": "+a.String())
	case a.status == 0: // it has closed the connection without reading all
		c.see("ask.too-large", OK, h.place+": the connection was closed")
	case a.status/100 == 2:
		c.see("ask.too-large", Warn, h.place+": "+a.String())
	default:
		c.see("ask.too-large", OK, h.place+": "+a.String())
	}
}

// checkUnknown asks for a service that is not there, beside the href.
func (c *checker) checkUnknown(h *href) {
	start := strings.TrimSuffix(h.Href.Start(), "/")
	beside := start[:strings.LastIndexByte(start, '/')+1] + noPage
	if !c.isPrivate(beside) {
		return
	}
	q := h.right
	q.target = beside
	a := c.do(c.signed(q))
	answers := a.status == http.StatusNoContent || a.status == http.StatusOK && a.isJSON()
	c.expect("ask.unknown", !a.crashed() && !answers, fmt.Sprintf("%s %s: %s", q.method, q.target, a))
}

// checkLongValues asks with a value that is not a name of anything.
func (c *checker) checkLongValues(h *href) {
	if h.answered.crashed() {
		return
	}
	values := c.valuesOf(h)
	values[h.Href.Variables()[0]] = strings.Repeat("x", 4<<10)
	target, err := h.Href.Expand(c.ctx, "", values)
	if err != nil {
		return
	}
	a := c.do(c.signed(c.requestFor(h, target, h.payload)))
	c.expect("ask.long", !a.crashed(), fmt.Sprintf("%s: %s to 4 KiB", h.place, a))
}
