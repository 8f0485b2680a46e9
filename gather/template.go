// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Documents in pages.

package gather

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/templates"
	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
)

func init() {
	party.RegisterTemplateFunction("gather", newTemplateFunction)
}

// handlers are those of a party, whose settings its pages use.
type handlers struct {
	mu       sync.Mutex
	all      map[*Gather]string // to what they are set to
	defaults map[string]*Gather // of services that none of them is of
}

// maxDefaults is how many services pages may gather that no handler is of.
const maxDefaults = 64

func (h *handlers) add(g *Gather) {
	settings, _ := json.Marshal(g)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all, h.defaults = make(map[*Gather]string), make(map[string]*Gather)
	}
	h.all[g] = string(settings)
}

func (h *handlers) remove(g *Gather) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, g)
}

// of returns the handler of the service, the like of which all of that service are, or one with the defaults.
func (h *handlers) of(service string, newDefault func() (*Gather, error)) (*Gather, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found *Gather
	for g, settings := range h.all {
		if g.Service != service {
			continue
		}
		if found != nil && h.all[found] != settings {
			return nil, fmt.Errorf("gather: the config has several wsgi_party_gather %s with different settings: keep one, or ask for another service", service)
		}
		found = g
	}
	if found != nil {
		return found, nil
	}
	if g := h.defaults[service]; g != nil {
		return g, nil
	}
	if len(h.defaults) >= maxDefaults {
		return nil, fmt.Errorf("gather: pages already gather %d other services: write a wsgi_party_gather %s", maxDefaults, service)
	}
	g, err := newDefault()
	if err == nil {
		if h.defaults == nil {
			h.all, h.defaults = make(map[*Gather]string), make(map[string]*Gather)
		}
		h.defaults[service] = g
	}
	return g, err
}

// newTemplateFunction makes the function `gather`.
func newTemplateFunction(ctx caddy.Context, name string) (any, error) {
	operator, err := party.Join(ctx, name, "")
	if err != nil {
		return nil, err
	}
	entry := operator.Partyline().Owner().(*party.Entry)
	logger, holds := ctx.Logger(), new(kept.Holds)
	context.AfterFunc(ctx, holds.Release)
	newDefault := func(service string) (*Gather, error) {
		g := &Gather{Service: service, Party: name, operator: operator, entry: entry, logger: logger}
		if err := g.compile(); err != nil {
			return nil, err
		}
		g.gathering = kept.Hold(holds, gatherings, g.key())
		return g, nil
	}
	return func(arguments ...any) (any, error) {
		r, service, err := cutArguments(arguments)
		if err != nil {
			return nil, err
		}
		g, err := party.StateOf[handlers](entry).of(service, func() (*Gather, error) { return newDefault(service) })
		if err != nil {
			return nil, err
		}
		return g.inPage(r)
	}, nil
}

// cutArguments returns the request of the page's dot, and the service.
func cutArguments(arguments []any) (*http.Request, string, error) {
	const write = "write the page's dot ($ inside range and with), then the service, as in {{gather $ \"nav\"}}"
	if len(arguments) != 2 {
		return nil, "", fmt.Errorf("gather takes two arguments, not %d: %s", len(arguments), write)
	}
	service, ok := arguments[1].(string)
	if !ok || service == "" {
		return nil, "", errors.New("gather: the service is not a string, or is empty: " + write)
	}
	switch dot := arguments[0].(type) {
	case *templates.TemplateContext:
		return dot.Req, service, nil
	case templates.TemplateContext:
		return dot.Req, service, nil
	}
	return nil, "", fmt.Errorf("gather: the first argument is a %T: %s", arguments[0], write)
}

// inPage returns the document as a page of the request can use it.
func (g *Gather) inPage(r *http.Request) (any, error) {
	origin := ""
	if g.form.absolute {
		var err error
		if origin, err = originOf(r); err != nil {
			return nil, caddyhttp.Error(http.StatusBadRequest, err)
		}
	}
	d, err := g.document(r.Context(), origin)
	switch {
	case err != nil && r.Context().Err() == context.Canceled:
		return nil, caddyhttp.Error(subrequest.StatusClientClosedRequest, err)
	case err != nil:
		return nil, err
	case g.Absent == absentFail && len(d.absent) > 0:
		return nil, caddyhttp.Error(http.StatusServiceUnavailable, fmt.Errorf("gathering %s: no answer from %s", g.Service, strings.Join(d.absent, ", ")))
	case !g.form.isJSON:
		return string(d.body), nil
	}
	value, err := wire.ParseJSON(d.body)
	return wire.WithNumbers(value), err
}
