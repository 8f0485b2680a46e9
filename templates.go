// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"text/template"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/templates"
	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/caddytokens"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

func init() {
	caddy.RegisterModule(new(TemplateFunctions))
}

// TemplateFunctions lets the pages of the `templates` handler ask the guests of a
// party. Pages are no guest: they ask everyone.
//
// The first argument of each function is the page's dot: `.`, or `$` inside `range` and
// `with`. The ask is then the request's: it ends when the visitor leaves, guests are
// sent the headers that their `forward` names, and a page that comes to ask itself is
// ended. Without the dot an ask takes at most 5 s, and at most 16 such asks of
// applications are under way in a party; the next one fails at once, and so do others
// until those have ended.
//
// ##### `urlFor`
//
// The URL of a page of one of the applications, from the page's name and, in pairs,
// what the URL depends on. If nobody knows the page, this one is an error.
//
// ```
// <a href="{{urlFor . "blog:post" "slug" "hello" | html}}">Hello</a>
// ```
//
// ##### `maybeURL`
//
// Like `urlFor`, but empty if nobody knows the page.
//
// ```
// {{with maybeURL . "shop:cart"}}<a href="{{. | html}}">Cart</a>{{end}}
// ```
//
// ##### `askAround`
//
// The list of all answers to what guests are asked under a service. The payload may
// be left out. A guest that fails is logged and left out of it. Asking for a service
// that nobody is connected under is an error, unless the party has
// `ignore_missing_services`.
//
// ```
// {{range askAround . "headline" "today"}}<li>{{. | html}}</li>{{end}}
// ```
//
// ##### `askFirst`
//
// The first answer. If nobody answers, the page is an error.
//
// ```
// {{(askFirst . "user" (dict "id" 7)).name | html}}
// ```
//
// ##### `askReplies`
//
// What became of it with each guest, in the order in which they are asked: a list of
// objects with `guest`, `status`, which is `answered`, `declined` or `failed`, `answer`,
// `error`, and `mount`, the path at which the guest is mounted. A guest that fails is not
// logged; otherwise it is as `askAround`.
//
// ```
// {{range askReplies . "health"}}<li>{{.guest}} {{if eq .status "failed"}}is down: {{.error | html}}{{else}}is up{{end}}</li>{{end}}
// ```
//
// Answers are values, not templates. As everywhere in these pages, nothing is
// escaped unless the page does it: `html`, as above, makes a value text.
type TemplateFunctions struct {
	// The name of the party to ask. Default: the party in whose routes the
	// `templates` handler is.
	Party string `json:"party,omitempty"`

	operator *Operator
	entry    *Entry
	dotless  *dotlessAsks // of the party
	logger   *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*TemplateFunctions) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.templates.functions.wsgi_party",
		New: func() caddy.Module { return new(TemplateFunctions) },
	}
}

// Provision finds the party.
func (f *TemplateFunctions) Provision(ctx caddy.Context) error {
	f.logger = ctx.Logger()
	if f.Party == "" {
		if h := Around(ctx); h != nil {
			f.Party = h.name
		}
	}
	if f.Party == "" {
		return fmt.Errorf("these templates are in no party's routes: say which party they ask (wsgi_party <party>); %s", whichParties(partiesIn(ctx)))
	}
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	if f.operator, err = Join(ctx, f.Party, ""); err != nil {
		return err
	}
	f.entry = app.Entry(f.Party)
	f.dotless = f.entry.value(dotlessKey{}, func() any { return new(dotlessAsks) }).(*dotlessAsks)
	return nil
}

// CustomTemplateFunctions returns the functions.
func (f *TemplateFunctions) CustomTemplateFunctions() template.FuncMap {
	return template.FuncMap{
		"askAround":  f.askAround,
		"askFirst":   f.askFirst,
		"askReplies": f.askReplies,
		"urlFor":     f.urlFor,
		"maybeURL":   f.maybeURL,
	}
}

// UnmarshalCaddyfile sets up the functions from Caddyfile tokens. Syntax:
//
//	wsgi_party [<party>]
func (f *TemplateFunctions) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume extension name
	if d.NextArg() {
		if f.Party = d.Val(); f.Party == "" {
			return d.Err("the party's name is empty: write a name, or leave it out")
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	if caddytokens.OpensBlock(d) {
		return d.Err("wsgi_party takes no block here")
	}
	return nil
}

func (f *TemplateFunctions) askAround(arguments ...any) ([]any, error) {
	q, err := f.question(arguments)
	if err != nil {
		return nil, err
	}
	defer q.end()
	answers := []any{}
	for reply := range f.operator.Replies(q.ctx, q.name, q.payload) {
		if reply.Err == nil {
			var answer any
			if answer, reply.Err = templateValue(reply.Answer); reply.Err == nil {
				answers = append(answers, answer)
				continue
			}
		}
		switch {
		case reply.Err == ErrHighAndDry:
		case reply.Guest == "":
			return nil, q.orGone(reply.Err)
		default:
			f.logger.Warn("guest failed", zap.String("party", f.Party), zap.String("guest", reply.Guest), zap.String("service", q.name), zap.Error(reply.Err))
		}
	}
	return answers, nil
}

func (f *TemplateFunctions) askFirst(arguments ...any) (any, error) {
	q, err := f.question(arguments)
	if err != nil {
		return nil, err
	}
	defer q.end()
	answer, err := firstTaken(q.ctx, f.operator, q.name, q.payload, templateValue)
	if err != nil {
		return nil, q.orGone(fmt.Errorf("nobody in party %q answers service %q for %s: %w", f.Party, q.name, describePayload(q.payload), err))
	}
	return answer, nil
}

func (f *TemplateFunctions) askReplies(arguments ...any) ([]map[string]any, error) {
	q, err := f.question(arguments)
	if err != nil {
		return nil, err
	}
	defer q.end()
	replies := []map[string]any{}
	for reply := range f.entry.replies(q.ctx, f.operator, q.name, q.payload) {
		if reply.Guest == "" {
			return nil, q.orGone(reply.Err)
		}
		var answer any
		if reply.Err == nil {
			answer, reply.Err = templateValue(reply.Answer)
		}
		status, failure := reply.Status(), ""
		if status == wire.StatusFailed {
			failure = wire.Message(reply.Err)
		}
		replies = append(replies, map[string]any{"guest": reply.Guest, "mount": reply.Mount, "status": status, "answer": answer, "error": failure})
	}
	return replies, nil
}

func (f *TemplateFunctions) urlFor(arguments ...any) (string, error) {
	q, err := f.urlQuestion(arguments)
	if err != nil {
		return "", err
	}
	defer q.end()
	url, err := URLFor(q.ctx, f.operator, q.name, q.values)
	if err != nil {
		return "", q.orGone(fmt.Errorf("nobody in party %q answers service %q for %q: %w", f.Party, URLService, q.name, err))
	}
	return url, nil
}

func (f *TemplateFunctions) maybeURL(arguments ...any) (string, error) {
	q, err := f.urlQuestion(arguments)
	if err != nil {
		return "", err
	}
	defer q.end()
	url, err := URLFor(q.ctx, f.operator, q.name, q.values)
	if err != nil && q.ctx.Err() == context.Canceled {
		return "", q.orGone(err)
	}
	if _, missing := err.(*NoSuchServiceError); err != nil && !missing && err != ErrHighAndDry {
		f.logger.Warn("guests failed", zap.String("party", f.Party), zap.String("service", URLService), zap.String("name", q.name), zap.Error(err))
	}
	return url, nil
}

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
	q.ctx, q.end, err = f.begin(dot, URLService)
	return q, err
}

// begin returns the context of a page's ask: its request's, or one that ends soon.
func (f *TemplateFunctions) begin(dot *templates.TemplateContext, service string) (context.Context, func(), error) {
	if dot != nil {
		return dot.Req.Context(), func() {}, nil
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), dotlessTimeout, &timeoutError{dotlessTimeout})
	if !f.operator.partyline.waits(service) {
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

// dotlessKey is the key of those that a partyline keeps.
type dotlessKey struct{}

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

// templateValue returns an answer as a template can use it: JSON is decoded.
func templateValue(answer any) (any, error) {
	raw, ok := answer.(json.RawMessage)
	if !ok {
		return answer, nil
	}
	value, err := wire.ParseJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("the answer is a json.RawMessage that is %w", err)
	}
	return withNumbers(value), nil
}

// withNumbers returns a decoded JSON value with numbers that templates can compare and
// calculate with, where these print as they were written.
func withNumbers(value any) any {
	switch value := value.(type) {
	case json.Number:
		if n, err := value.Int64(); err == nil && strconv.FormatInt(n, 10) == value.String() {
			return n
		}
		if f, err := value.Float64(); err == nil && fmt.Sprint(f) == value.String() {
			return f
		}
	case []any:
		for i, element := range value {
			value[i] = withNumbers(element)
		}
	case map[string]any:
		for key, member := range value {
			value[key] = withNumbers(member)
		}
	}
	return value
}

// Interface guards
var (
	_ caddy.Provisioner         = (*TemplateFunctions)(nil)
	_ caddyfile.Unmarshaler     = (*TemplateFunctions)(nil)
	_ templates.CustomFunctions = (*TemplateFunctions)(nil)
)
