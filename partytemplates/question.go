// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytemplates

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/templates"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// question is what the arguments of a function ask.
type question struct {
	ctx     context.Context
	guest   *string // the only one to ask; nil for everyone
	service string
	payload any
	page    party.URLRequest // of the page whose URL is asked for
}

// answering returns a function of templates, whose arguments are the page's dot, which may be
// left out, and what parse takes.
func answering[T any](f *TemplateFunctions, parse func(*question, []any) error, ask func(*question) (T, error)) func(...any) (T, error) {
	return func(arguments ...any) (answer T, err error) {
		q := new(question)
		dot, arguments := cutDot(arguments)
		if err := parse(q, arguments); err != nil {
			return answer, err
		}
		end, err := f.begin(q, dot)
		if err != nil {
			return answer, err
		}
		defer end()
		return ask(q)
	}
}

// orGone returns the error, or that the visitor has gone, which is not an error of the page's.
func (q *question) orGone(err error) error {
	if q.ctx.Err() == context.Canceled {
		return caddyhttp.Error(subrequest.StatusClientClosedRequest, err)
	}
	return err
}

// askForService takes a service, and a payload or none.
func (q *question) askForService(arguments []any) (err error) {
	if q.service, arguments, err = cutName(arguments, "a service"); err != nil {
		return err
	}
	if len(arguments) > 1 {
		return fmt.Errorf("there are %d payloads: make one of them, with dict or list; the page's dot comes before the service ($ inside range and with)", len(arguments))
	}
	if len(arguments) == 1 {
		q.payload = arguments[0]
	}
	return nil
}

// askGuest takes a guest, a service, and a payload or none.
func (q *question) askGuest(arguments []any) error {
	guest, arguments, err := cutName(arguments, "a guest's name")
	if err != nil {
		return err
	}
	q.guest = &guest
	return q.askForService(arguments)
}

// by returns the operator that asks whom the question is for.
func (q *question) by(o *partyline.Operator) *partyline.Operator {
	if q.guest != nil {
		return o.Direct(*q.guest)
	}
	return o
}

// askForPage takes a page's name, and keys and values in turn.
func (q *question) askForPage(arguments []any) (err error) {
	q.service = party.URLService
	if q.page.Name, arguments, err = cutName(arguments, "a page's name"); err != nil {
		return err
	}
	if len(arguments)%2 != 0 {
		return fmt.Errorf("the URL of %q: values come in pairs of key and value, but the number of arguments after the name is %d; the page's dot comes before the name ($ inside range and with)", q.page.Name, len(arguments))
	}
	q.page.Values = make(map[string]any, len(arguments)/2)
	for pair := range slices.Chunk(arguments, 2) {
		key, ok := pair[0].(string)
		if !ok {
			return fmt.Errorf("the URL of %q: the key %v is a %T: write a string", q.page.Name, pair[0], pair[0])
		}
		q.page.Values[key] = pair[1]
	}
	return nil
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

// cutName returns the name that is the first of the arguments, and the others.
func cutName(arguments []any, what string) (string, []any, error) {
	if len(arguments) == 0 {
		return "", nil, fmt.Errorf("%s is missing: write it after the page's dot ($ inside range and with)", what)
	}
	name, ok := arguments[0].(string)
	if !ok {
		return "", nil, fmt.Errorf("%s must be a string, but is %T: write the page's dot ($ inside range and with), then the string", what, arguments[0])
	}
	return name, arguments[1:], nil
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

// begin gives an ask its context: that of the page's request, or one that ends soon.
func (f *TemplateFunctions) begin(q *question, dot *templates.TemplateContext) (end func(), err error) {
	if dot != nil {
		q.ctx = dot.Req.Context()
		return func() {}, nil
	}
	var cancel func()
	q.ctx, cancel = context.WithTimeoutCause(context.Background(), dotlessTimeout, fmt.Errorf("it took longer than %v", dotlessTimeout))
	if q.by(f.operator).RemoteHandlers(q.service, nil) == 0 {
		return cancel, nil
	}
	if !f.dotless.begin() {
		cancel()
		return nil, fmt.Errorf("asking party %[1]q for %[2]q: %[3]d asks by pages without their dot are already under way: write the dot as the first argument ($ inside range and with), as in {{urlFor . \"shop:cart\"}}", f.Party, q.service, maxDotless)
	}
	return func() { cancel(); f.dotless.end() }, nil
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
