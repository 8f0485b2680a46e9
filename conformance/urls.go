// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
)

// checkURLs asks an href of the service url for pages.
func (c *checker) checkURLs(h *href) {
	a := h.answered
	seen := h.place + ": " + a.String()
	if !h.given {
		c.expect("ask.declines", a.err == nil && a.status == http.StatusNoContent, fmt.Sprintf("%s to the page %s, which nobody has", seen, noPage))
	} else if a.err == nil && a.status == http.StatusNoContent {
		c.see("ask.declines", OK, seen)
	} else if a.err == nil && a.status == http.StatusOK {
		c.checkLink(h)
	}
	var question struct {
		Name   string          `json:"name"`
		Values json.RawMessage `json:"values"`
	}
	if h.Method != http.MethodPost || h.Href.HasExpressions() || !h.served() || json.Unmarshal(h.payload, &question) != nil || question.Name == "" {
		return
	}
	if question.Values == nil {
		question.Values = json.RawMessage("{}")
	}
	ask := func(question any) (response, bool) {
		payload, err := json.Marshal(question)
		if err != nil {
			return response{err: err}, false
		}
		got := c.ask(h, c.signed(c.requestFor(h, h.right.target, payload)))
		return got, got.err == nil && got.status == a.status && bytes.Equal(bytes.TrimSpace(got.body), bytes.TrimSpace(a.body))
	}
	for _, form := range []struct {
		name     string
		question any
	}{
		{"[name, values]", []any{question.Name, question.Values}},
		{`{"name", "kwargs", "query"}`, map[string]any{"name": question.Name, "kwargs": question.Values, "query": struct{}{}}},
	} {
		got, same := ask(form.question)
		result := OK
		if got.crashed() {
			result = Fail
		} else if !same {
			result = Warn
		}
		c.see("ask.url-forms", result, fmt.Sprintf("%s: %s to %s, and %s to {\"name\", \"values\"}", h.place, got, form.name, a))
	}
	if a.status != http.StatusOK {
		return
	}
	name := c.guest + ":" + question.Name
	got, same := ask(map[string]any{"name": name, "values": question.Values})
	result := OK
	if !same {
		result = Warn
	}
	c.see("ask.url-guest", result, fmt.Sprintf("%s: %s to %s", h.place, got, name))
}

// checkLink tests an answer to the service url.
func (c *checker) checkLink(h *href) {
	var link string
	if err := json.Unmarshal(h.answered.body, &link); err != nil {
		c.see("ask.url", Fail, fmt.Sprintf("%s: %.100s", h.place, h.answered.body))
		return
	}
	below := strings.TrimPrefix(link, c.client.origin.String())
	if rest, ok := strings.CutPrefix(below, c.mount); ok && c.mount != "" && (rest == "" || strings.ContainsAny(rest[:1], "/?#")) {
		below = rest
		if strings.HasPrefix(rest+"/", c.mount+"/") {
			c.see("ask.url", Fail, fmt.Sprintf("%s: %q, which has the mount twice", h.place, link))
			return
		}
	}
	_, err := urltemplate.Join("", cmp.Or(below, "/"))
	c.expect("ask.url", err == nil && link != "", fmt.Sprintf("%s: %q", h.place, link))
}
