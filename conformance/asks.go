// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/strictjson"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
	"github.com/wsgiparty/wsgiparty/party"
)

const (
	maxHrefs   = 64 // that are asked
	urlService = "url"
	noPage     = "wsgi-party-check" // is the name of no page and of no service
)

// nothings are payloads for which no application should have an answer.
var nothings = map[string]string{
	urlService:          fmt.Sprintf(`{"name": %q, "values": {}}`, noPage),
	party.ClaimsService: fmt.Sprintf(`{"method": "GET", "host": "%s.invalid", "path": "/%[1]s"}`, noPage),
	party.HostsService:  fmt.Sprintf(`"%s.invalid"`, noPage),
}

// href is one of the manifest, and what came when it was asked.
type href struct {
	manifest.Handler
	place    string // the service, with an index if that has several handlers
	service  string
	private  bool   // below the invite's path
	token    string // of the elements of a batch
	given    bool   // there is a --payload
	payload  []byte // JSON
	right    request
	answered response
}

// served reports whether it gave an answer, or declined.
func (h *href) served() bool {
	a := h.answered
	return a.err == nil && (a.status == http.StatusOK || a.status == http.StatusNoContent)
}

// checkHrefs asks each href as Caddy would, and then otherwise.
func (c *checker) checkHrefs() {
	if c.manifest == nil {
		return
	}
	total := 0
	for _, service := range slices.Sorted(maps.Keys(c.manifest.Services)) {
		handlers := c.manifest.Services[service]
		for i, handler := range handlers {
			if handler.Href == nil {
				continue
			}
			if total++; total > maxHrefs {
				continue
			}
			h := &href{Handler: handler, place: service, service: service}
			if h.Batch {
				h.token = c.elementToken()
			}
			if len(handlers) > 1 {
				h.place = fmt.Sprintf("%s[%d]", service, i)
			}
			if c.prepare(h) {
				c.hrefs = append(c.hrefs, h)
			}
		}
	}
	if total > maxHrefs {
		c.see("complete", Warn, fmt.Sprintf("the first %d of %d hrefs were asked", maxHrefs, total))
	}
	for _, h := range c.hrefs {
		c.checkHref(h)
	}
}

// prepare makes the right request to the href, and reports whether there is one.
func (c *checker) prepare(h *href) bool {
	payload, given := c.payloads[h.service]
	if !given {
		payload = "null"
		if nothing, ok := nothings[h.service]; ok {
			payload = nothing
		}
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(payload)); err != nil {
		panic(err) // newChecker has looked
	}
	h.given, h.payload = given, compact.Bytes()
	if h.Href.HasExpressions() && h.payload[0] != '{' && string(h.payload) != "null" {
		c.see("ask.status", Skip, h.place+": its --payload is not an object, and Caddy asks nobody for that")
		return false
	}
	target, err := h.Href.Expand(c.ctx, "", c.valuesOf(h))
	if err != nil {
		why := err.Error()
		if errors.Is(err, urltemplate.ErrMissing) {
			why = fmt.Sprintf("its --payload lacks one of %q, and Caddy asks nobody without it", h.Href.Required())
		}
		c.see("ask.status", Skip, h.place+": "+why)
		return false
	}
	h.right = c.requestFor(h, target, h.payload)
	h.private = c.isPrivate(target)
	return true
}

// isPrivate reports whether a target is below the invite's path, where nobody but Caddy comes.
func (c *checker) isPrivate(target string) bool {
	path, err := url.PathUnescape(pathOf(target))
	invite, inviteErr := url.PathUnescape(pathOf(c.invite))
	return err == nil && inviteErr == nil && path != invite && invitepath.IsUnder(path, invite)
}

// valuesOf returns the variables of the href: the payload's members, or else what the path needs.
func (c *checker) valuesOf(h *href) map[string]any {
	values := make(map[string]any)
	if h.given || h.service == party.ClaimsService {
		decoder := json.NewDecoder(bytes.NewReader(h.payload))
		decoder.UseNumber()
		var members map[string]any
		_ = decoder.Decode(&members) // what is not an object has none
		maps.Copy(values, members)
		return values
	}
	for _, name := range h.Href.Required() {
		values[name] = "1"
	}
	if h.service == urlService && slices.Contains(h.Href.Variables(), "name") {
		values["name"] = noPage
	}
	return values
}

// requestFor returns an ask, without a token.
func (c *checker) requestFor(h *href, target string, payload []byte) request {
	q := request{method: h.Method, target: target, timeout: patient(c.timeout), header: http.Header{"Accept": {cmp.Or(h.Type, "application/json")}, "Cache-Control": {"no-store"}}}
	if h.Method == http.MethodPost {
		q.body = payload
		if h.Batch {
			q.body, q.most = h.batchOf(payload), maxBody+maxBesides
		}
		q.header.Set("Content-Type", "application/json")
	}
	return c.asCaddy(q)
}

func (c *checker) checkHref(h *href) {
	a := c.do(c.signed(h.right))
	if h.Batch {
		outcomes, problem := outcomesIn(a, 1)
		if problem != "" {
			c.see("batch.form", Fail, h.place+": "+problem)
			return
		}
		a = outcomes[0]
	}
	h.answered = a
	seen := h.place + ": " + a.String()
	if a.err == nil && a.status/100 == 3 {
		c.see("ask.redirect", Fail, fmt.Sprintf("%s to %s", seen, cmp.Or(a.header.Get("Location"), "nowhere")))
		return
	}
	c.see("ask.redirect", OK, "none")
	if h.private && len(c.keys) > 0 && (a.status == http.StatusUnauthorized || a.status == http.StatusForbidden) {
		c.see("token.right", Fail, seen, "verify the token there like that of the invite, and accept it in place of a login and a CSRF token: an ask has no cookies")
		return
	}
	if h.service == urlService {
		c.checkURLs(h)
	} else if a.err == nil && a.status == http.StatusNoContent {
		c.see("ask.declines", OK, seen)
	}
	if result, advice := h.judge(); result != "" {
		c.see("ask.status", result, seen, advice)
	}
	if h.Batch && (h.served() || a.element != "") {
		c.checkBatch(h)
	}
	if !h.served() {
		c.checkPayloads(h)
		return
	}
	cookies := OK
	if a.header["Set-Cookie"] != nil {
		cookies = Warn
	}
	c.see("ask.cookies", cookies, h.place+": "+none(len(a.header["Set-Cookie"])))
	took := a.took
	if took < c.timeout {
		took = c.median(c.signed(h.right))
	}
	c.judgeTime("ask.time", h.place+": ", took, c.limits.slow, c.timeout)
	if a.status == http.StatusOK {
		c.checkAnswer(h)
	}
	c.checkPayloads(h)
}

// judge says what the status of the href is worth, which may be nothing.
func (h *href) judge() (result Result, advice string) {
	a := h.answered
	fits := Warn // the application may not know what to do with such a payload
	give := fmt.Sprintf("if only the payload is wrong, give another: --payload %s='%s'; ", h.service, h.payload)
	if h.given || h.service == urlService {
		fits, give = Fail, ""
	}
	switch {
	case h.service == urlService && !h.given && !h.served():
		return "", "" // it is said under ask.declines
	case a.err != nil:
		return Fail, "answer within the timeout, or decline with 204"
	case h.served():
		return OK, ""
	case a.status/100 == 2:
		return Fail, "answer with 200, or decline with 204"
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		return Fail, "let asks in without a login and a CSRF token, because they have no cookies: below the invite's path, where the Party-Token proves that Caddy asks"
	case a.status == http.StatusNotFound && h.Method == http.MethodPost:
		return Fail, "answer at each href of the manifest; decline with 204, because a 404 says that the manifest is old"
	case a.status == http.StatusMethodNotAllowed:
		return Fail, fmt.Sprintf("accept %s there, or write the other \"method\" next to the href", h.Method)
	case a.status == http.StatusNotFound:
		return fits, give + "decline with 204, because a 404 says that the manifest is old"
	}
	return fits, give + "decline with 204 if there is no answer"
}

// checkAnswer tests what came with 200.
func (c *checker) checkAnswer(h *href) {
	a := h.answered
	if h.Type == "" {
		c.expect("ask.type", a.isJSON(), h.place+": "+cmp.Or(a.header.Get("Content-Type"), "no Content-Type"))
	} else if _, err := h.Text(a.header.Get("Content-Type"), a.body); err != nil {
		c.see("ask.type", Fail, h.place+": "+err.Error())
	} else {
		c.see("ask.type", OK, h.place+": "+h.Type)
	}
	if a.long {
		c.see("ask.size", Fail, fmt.Sprintf("%s: more than %d bytes", h.place, maxBody))
		return
	}
	c.see("ask.size", OK, fmt.Sprintf("%s: %d bytes", h.place, len(a.body)))
	if h.Type != "" {
		return
	}
	if err := strictjson.Check(a.body); err != nil {
		c.see("ask.json", Fail, h.place+": "+err.Error(), adviceIn(err, "answer one JSON value, in UTF-8"))
		return
	}
	c.see("ask.json", OK, h.place)
	if h.service == party.ClaimsService || h.service == party.HostsService {
		said := string(bytes.TrimSpace(a.body))
		c.expect("ask.claims", said == "true" || said == "false", fmt.Sprintf("%s: %.100s", h.place, said))
	}
}

func adviceIn(err error, otherwise string) string {
	if problem, ok := errors.AsType[*strictjson.Error](err); ok {
		if _, advice, found := strings.Cut(problem.What, ": "); found {
			return advice
		}
	}
	return otherwise
}
