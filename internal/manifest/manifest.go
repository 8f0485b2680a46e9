// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package manifest reads what a guest says of itself: where its pages are, and which
// services it has.
package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
)

const (
	maxSize     = 64 << 10
	maxURLs     = 4096
	maxServices = 256
	maxHandlers = 256 // of one service
	maxHrefs    = 16  // of these, since each is a request whenever somebody asks
	maxName     = 64
	maxSteps    = 8 // of a path in an error
)

// urlService is the service that a manifest's URLs answer.
const urlService = "url"

// Manifest says where a guest's pages are and which services it has. It is not to be
// changed once parsed.
type Manifest struct {
	URLs     map[string]*urltemplate.Template
	Services map[string][]Handler // each with one handler at least

	unknown []string // warnings of members that are not known
}

// Handler answers for a service: with Answer, which is JSON without spaces, or with
// what a request by Method to Href leads to if that is not nil.
type Handler struct {
	Answer json.RawMessage
	Href   *urltemplate.Template
	Method string // http.MethodGet or http.MethodPost
}

// methodOf returns the method of requests to a href that does not say it.
func methodOf(href *urltemplate.Template) string {
	if href.HasExpressions() {
		return http.MethodGet
	}
	return http.MethodPost
}

// Parse parses a manifest. It ignores members that it does not know. The errors are
// for whoever wrote the manifest, and say where and what to write; for one manifest
// the error is always the same.
func Parse(body []byte) (*Manifest, error) {
	if err := validate(body); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	m, err := parse(body)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

// Merge returns a manifest of what is declared and, name by name, of what is fetched
// where nothing is declared: of that only the services in allow, unless it is nil.
// The fetched URLs are the service "url". Either manifest may be nil.
func Merge(declared, fetched *Manifest, allow []string) *Manifest {
	merged := &Manifest{URLs: make(map[string]*urltemplate.Template), Services: make(map[string][]Handler)}
	allowed := func(service string) bool { return allow == nil || slices.Contains(allow, service) }
	if fetched != nil {
		if allowed(urlService) {
			maps.Copy(merged.URLs, fetched.URLs)
		}
		for service, handlers := range fetched.Services {
			if allowed(service) {
				merged.Services[service] = handlers
			}
		}
	}
	if declared != nil {
		maps.Copy(merged.URLs, declared.URLs)
		maps.Copy(merged.Services, declared.Services)
	}
	return merged
}

// MarshalJSON returns the manifest in a form that is always the same and that, if the
// manifest came from Parse, can be parsed again. (json.Marshal, which escapes more,
// can make it too long for that.)
func (m Manifest) MarshalJSON() ([]byte, error) {
	type handler struct {
		Answer json.RawMessage `json:"answer,omitempty"`
		Href   string          `json:"href,omitempty"`
		Method string          `json:"method,omitempty"`
	}
	var form struct {
		URLs     map[string]string `json:"urls,omitempty"`
		Services map[string]any    `json:"services,omitempty"`
	}
	form.URLs = make(map[string]string, len(m.URLs))
	for name, template := range m.URLs {
		form.URLs[name] = template.String()
	}
	form.Services = make(map[string]any, len(m.Services))
	for service, handlers := range m.Services {
		list := make([]handler, len(handlers))
		for i, h := range handlers {
			if h.Href != nil {
				list[i].Href = h.Href.String()
				if h.Method != methodOf(h.Href) {
					list[i].Method = h.Method
				}
			} else {
				list[i].Answer = h.Answer
			}
		}
		if len(list) == 1 {
			form.Services[service] = list[0]
		} else {
			form.Services[service] = list
		}
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(form); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
