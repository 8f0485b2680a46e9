// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The endpoint /wsgi_party/{party}/page of the admin API, which has the page's JSON. A browser cannot go
// there, as Caddy has it.

package page

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/nearest"
	"github.com/wsgiparty/wsgiparty/party"
)

func init() { party.RegisterAdmin("page", serveAdmin) }

func serveAdmin(w http.ResponseWriter, r *http.Request, name string) error {
	if !strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/page") {
		return apiError(http.StatusNotFound, errors.New("there is nothing at this path: write /wsgi_party/{party}/page"))
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return apiError(http.StatusMethodNotAllowed, fmt.Errorf("method %s is not allowed here, only GET and HEAD", r.Method))
	}
	v, err := viewOf(r)
	if err != nil {
		return apiError(http.StatusBadRequest, err)
	}
	var names []string
	for _, p := range party.Parties() {
		if p.Partyline.Name() == name {
			document, err := documentOf(p.Partyline.Owner().(*party.Entry), v)
			if err != nil {
				return err
			}
			return serveJSON(w, r, document)
		}
		names = append(names, p.Partyline.Name())
	}
	return apiError(http.StatusNotFound, fmt.Errorf("no party is called %q: %s", name, nearest.ThereAre("party", names)))
}

func apiError(status int, err error) error { return caddy.APIError{HTTPStatus: status, Err: err} }
