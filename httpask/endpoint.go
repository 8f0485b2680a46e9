// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/standing"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"go.uber.org/zap"
)

func init() { party.RegisterAskEndpoint(newEndpoint) }

// endpoint is an Ask at an address of its own, which a party's ask_on says.
type endpoint struct {
	*Ask
	server *caddyhttp.Server // a request of Caddy's has one
	logger *zap.Logger
}

func newEndpoint(e *party.Entry, logger *zap.Logger) standing.Handler {
	return &endpoint{&Ask{Party: e.Name(), MaxResponse: wire.MaxResponse, entry: e}, new(caddyhttp.Server), logger}
}

// ServeHTTP asks around.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, e.server)
	err := e.Ask.ServeHTTP(w, r, nil)
	if err == nil {
		return
	}
	status := http.StatusInternalServerError
	if known, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		status = known.StatusCode
	}
	log := e.logger.Error
	if status == subrequest.StatusClientClosedRequest || r.Context().Err() != nil {
		log = e.logger.Debug
	}
	log("a guest's request was not answered", zap.String("path", r.URL.Path), zap.Int("status", status), zap.Error(err))
	w.WriteHeader(status) // which is too late if it broke off
}

// LogError logs what net/http does.
func (e *endpoint) LogError(message string) {
	if strings.HasPrefix(message, "http: panic serving") {
		e.logger.Error(message)
	} else {
		e.logger.Debug(message)
	}
}
