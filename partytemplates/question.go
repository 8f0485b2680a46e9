// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytemplates

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/templates"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/party"
)

// question is what a function's arguments ask, to be ended when it has been.
type question struct {
	ctx     context.Context
	end     func()
	name    string // of a service, or of a page
	payload any
	values  map[string]any // of a page's URL
}

// orGone returns the error, or that the visitor has gone, which is no error of the page's.
func (q *question) orGone(err error) error {
	if q.ctx.Err() == context.Canceled {
		return caddyhttp.Error(subrequest.StatusClientClosedRequest, err)
	}
	return err
}

// question returns what the arguments ask under a service.
func (f *TemplateFunctions) question(arguments []any) (q question, err error) {
	dot, arguments := cutDot(arguments)
	if q.name, arguments, err = nameIn(arguments, "a service"); err != nil {
		return q, err
	}
	if q.payload, err = onePayload(arguments); err != nil {
		return q, err
	}
	q.ctx, q.end, err = f.begin(dot, q.name)
	return q, err
}

// urlQuestion returns which page's URL the arguments ask for.
func (f *TemplateFunctions) urlQuestion(arguments []any) (q question, err error) {
	dot, arguments := cutDot(arguments)
	if q.name, arguments, err = nameIn(arguments, "a page's name"); err != nil {
		return q, err
	}
	if q.values, err = valuesOf(q.name, arguments); err != nil {
		return q, err
	}
	q.ctx, q.end, err = f.begin(dot, party.URLService)
	return q, err
}

// begin returns the context of a page's ask: its request's, or one that ends soon.
func (f *TemplateFunctions) begin(dot *templates.TemplateContext, service string) (context.Context, func(), error) {
	if dot != nil {
		return dot.Req.Context(), func() {}, nil
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), dotlessTimeout, fmt.Errorf("it took longer than %v", dotlessTimeout))
	if f.operator.Partyline().RemoteHandlers(service, nil) == 0 {
		return ctx, cancel, nil
	}
	if !f.dotless.begin() {
		cancel()
		return nil, nil, fmt.Errorf("asking party %[1]q for %[2]q: %[3]d asks of pages without the page's dot are under way already: write the dot as first argument, as in {{urlFor . \"shop:cart\"}}, which is $ inside range and with", f.Party, service, maxDotless)
	}
	return ctx, func() { cancel(); f.dotless.end() }, nil
}

const (
	dotlessTimeout = 5 * time.Second
	maxDotless     = 16
)

// dotlessAsks are the asks of a party's pages that belong to no request, which nothing
// else bounds: a page may come to ask itself.
type dotlessAsks struct {
	mu       sync.Mutex
	underWay int

	// Once one is refused, all are until those under way have ended. Else a page that
	// asks itself twice would be asked 2^16 times.
	refusing bool
}

func (d *dotlessAsks) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refusing = d.refusing || d.underWay >= maxDotless; d.refusing {
		return false
	}
	d.underWay++
	return true
}

func (d *dotlessAsks) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.underWay--; d.underWay == 0 {
		d.refusing = false
	}
}

// cutDot returns the page's dot, if it is the first of the arguments, and the others.
func cutDot(arguments []any) (*templates.TemplateContext, []any) {
	if len(arguments) > 0 {
		switch dot := arguments[0].(type) {
		case *templates.TemplateContext:
			return dot, arguments[1:]
		case templates.TemplateContext:
			return &dot, arguments[1:]
		}
	}
	return nil, arguments
}

// nameIn returns the name that is the first of the arguments, and the others.
func nameIn(arguments []any, what string) (string, []any, error) {
	if len(arguments) == 0 {
		return "", nil, fmt.Errorf("%s is missing: write it after the page's dot, which is $ inside range and with", what)
	}
	name, ok := arguments[0].(string)
	if !ok {
		return "", nil, fmt.Errorf("%s is a string, and not a %T: write the page's dot, which is $ inside range and with, and then the string", what, arguments[0])
	}
	return name, arguments[1:], nil
}

// onePayload returns the payload among a function's arguments, nil if there is none.
func onePayload(payload []any) (any, error) {
	switch len(payload) {
	case 0:
		return nil, nil
	case 1:
		return payload[0], nil
	default:
		return nil, fmt.Errorf("there are %d payloads: make one of them, with dict or list; what comes before the service is the page's dot, which is $ inside range and with", len(payload))
	}
}

// describePayload says what was asked for: the name in the payload, if it has one.
func describePayload(payload any) string {
	switch payload := payload.(type) {
	case nil:
		return "no payload"
	case map[string]any:
		if name, ok := payload["name"]; ok {
			return describePayload(name)
		}
	}
	encoded, err := json.Marshal(payload)
	if err != nil || len(encoded) > 100 {
		return fmt.Sprintf("a %T", payload)
	}
	return string(encoded)
}

// valuesOf returns the values of a URL, given in pairs.
func valuesOf(name string, pairs []any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("the URL of %q: the values come in pairs of key and value, but there are %d arguments after the name; what comes before it is the page's dot, which is $ inside range and with", name, len(pairs))
	}
	values := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		key, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("the URL of %q: the key %v is a %T: write a string", name, pairs[i], pairs[i])
		}
		values[key] = pairs[i+1]
	}
	return values, nil
}
