// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package manifest reads what a guest says of itself: where its pages are, which services
// it has, and which requests and hosts are its own.
package manifest

import (
	"bytes"
	"cmp"
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

// The services that other members of a manifest answer.
const (
	urlService    = "url"
	claimsService = "claims"
	hostsService  = "hosts"
)

// Manifest says where a guest's pages are, which services it has, and what it claims. It is
// not to be changed once parsed.
type Manifest struct {
	URLs     map[string]*urltemplate.Template
	Services map[string][]Handler // each with one handler at least
	Claims   *Claims              // nil if it says nothing of it
	Hosts    *Hosts               // likewise

	unknown []string // warnings of members that are not known
}

// Handler answers for a service: with Answer, which is JSON without spaces, or with
// what a request by Method to Href leads to if that is not nil.
type Handler struct {
	Answer json.RawMessage
	Href   *urltemplate.Template
	Method string // http.MethodGet or http.MethodPost
	Batch  bool   // whether a request is for several asks
	Type   string // the media type of answers, if these are not JSON but text
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
// The fetched URLs are the service "url", and what is claimed the services "claims" and "hosts".
// Where one of these two is declared, as a service or otherwise, nothing fetched adds to it.
// Either manifest may be nil.
func Merge(declared, fetched *Manifest, allow []string) *Manifest {
	merged := &Manifest{URLs: make(map[string]*urltemplate.Template), Services: make(map[string][]Handler)}
	allowed := func(service string) bool {
		return (allow == nil || slices.Contains(allow, service)) && (declared == nil || !declared.claims(service))
	}
	if fetched != nil {
		if allowed(urlService) {
			maps.Copy(merged.URLs, fetched.URLs)
		}
		for service, handlers := range fetched.Services {
			if allowed(service) {
				merged.Services[service] = handlers
			}
		}
		if allowed(claimsService) {
			merged.Claims = fetched.Claims
		}
		if allowed(hostsService) {
			merged.Hosts = fetched.Hosts
		}
	}
	if declared != nil {
		merged.Claims = cmp.Or(declared.Claims, merged.Claims)
		merged.Hosts = cmp.Or(declared.Hosts, merged.Hosts)
		maps.Copy(merged.URLs, declared.URLs)
		maps.Copy(merged.Services, declared.Services)
	}
	return merged
}

// claims reports whether the manifest says what the guest claims, by one of the two services.
func (m *Manifest) claims(service string) bool {
	switch service {
	case claimsService:
		return m.Claims != nil || m.Services[service] != nil
	case hostsService:
		return m.Hosts != nil || m.Services[service] != nil
	}
	return false
}

// MarshalJSON returns the manifest in a form that is always the same and that, if the
// manifest came from Parse, can be parsed again. (json.Marshal, which escapes more,
// can make it too long for that.)
func (m Manifest) MarshalJSON() ([]byte, error) {
	type handler struct {
		Answer json.RawMessage `json:"answer,omitempty"`
		Href   string          `json:"href,omitempty"`
		Method string          `json:"method,omitempty"`
		Batch  bool            `json:"batch,omitempty"`
		Type   string          `json:"type,omitempty"`
	}
	var form struct {
		URLs     map[string]string `json:"urls,omitempty"`
		Services map[string]any    `json:"services,omitempty"`
		Claims   []string          `json:"claims,omitzero"`
		Hosts    []string          `json:"hosts,omitzero"`
	}
	if m.Claims != nil {
		form.Claims = m.Claims.list()
	}
	if m.Hosts != nil {
		form.Hosts = m.Hosts.Texts
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
				list[i].Href, list[i].Batch, list[i].Type = h.Href.String(), h.Batch, h.Type
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
