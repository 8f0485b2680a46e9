// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytemplates

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"text/template"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/templates"
	"github.com/wsgiparty/wsgiparty/internal/caddytokens"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(TemplateFunctions))
}

// TemplateFunctions lets the pages of the `templates` handler ask the guests of a
// party. A page is not a guest, so it asks everyone.
//
// The first argument of each function is the page's dot: `.`, or `$` inside `range` and
// `with`. The ask then belongs to the request. It ends when the visitor leaves, guests
// get the headers that their `forward` lists, and a page that ends up asking itself is
// stopped. Without the dot an ask may take 5 s, and at most 16 such asks of
// applications may be under way in a party. Beyond that, further ones fail at once until
// all of these have ended.
//
// ##### `urlFor`
//
// The URL of an application's page. The arguments are the page's name and then, in
// pairs, the names and values that the URL depends on. If nobody knows that page, the
// page with this function is an error.
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
// The list of all answers to a service. The payload may be left out. A guest that
// fails is logged and left out of the list. An ask for a service that nobody is
// connected under is an error, unless the party has `ignore_missing_services`.
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
// ##### `askGuest`
//
// The list of all answers of one guest, whose name comes before the service. Otherwise it is like
// `askAround`. A guest that is not connected under the service is an error.
//
// ```
// {{range askGuest . "shop" "price" (dict "id" 7)}}{{. | html}}{{else}}The shop does not sell this.{{end}}
// ```
//
// ##### `askReplies`
//
// The replies of all guests, in the order in which they are asked: a list of objects
// with `guest`, `status` (`answered`, `declined` or `failed`), `answer`, `error`, and
// `mount`, the path at which the guest is mounted. Unlike in `askAround`, a guest that
// fails is not logged.
//
// ```
// {{range askReplies . "health"}}<li>{{.guest}} {{if eq .status "failed"}}is down: {{.error | html}}{{else}}is up{{end}}</li>{{end}}
// ```
//
// ##### `gather`
//
// What the party's `wsgi_party_gather` of that service responds with: a value if its
// document is JSON, and otherwise text. Without such a handler its defaults apply. The
// answers come from those that are kept, so a page need not ask the guests for each
// visitor. `gather` needs the dot.
//
// ```
// {{range gather $ "nav"}}<li>{{.title | html}}</li>{{end}}
// ```
//
// Answers are values, not templates. As everywhere in these pages, nothing is escaped
// unless the page does so: write `html`, as above, to make a value text.
type TemplateFunctions struct {
	// The name of the party to ask. Default: the party in whose routes the
	// `templates` handler is.
	Party string `json:"party,omitempty"`

	operator *partyline.Operator
	entry    *party.Entry
	dotless  *dotlessAsks // of the party
	logger   *zap.Logger
	added    template.FuncMap // by RegisterTemplateFunction
}

// CaddyModule returns the Caddy module information.
func (*TemplateFunctions) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.templates.functions.wsgi_party", New: func() caddy.Module { return new(TemplateFunctions) }}
}

// Provision finds the party.
func (f *TemplateFunctions) Provision(ctx caddy.Context) (err error) {
	f.logger = ctx.Logger()
	if h := party.Around(ctx); f.Party == "" && h != nil {
		f.Party = h.Name()
	}
	if f.Party == "" {
		return fmt.Errorf("these templates are in no party's routes: say which party they ask (wsgi_party <party>); %s", party.WhichParties(ctx))
	}
	if f.operator, err = party.Join(ctx, f.Party, ""); err != nil {
		return err
	}
	f.entry = f.operator.Partyline().Owner().(*party.Entry)
	f.dotless = party.StateOf[dotlessAsks](f.entry)
	f.added, err = party.RegisteredTemplateFunctions(ctx, f.Party)
	return err
}

// CustomTemplateFunctions returns the functions.
func (f *TemplateFunctions) CustomTemplateFunctions() template.FuncMap {
	functions := template.FuncMap{
		"askAround":  answering(f, (*question).askForService, f.askAround),
		"askFirst":   answering(f, (*question).askForService, f.askFirst),
		"askGuest":   answering(f, (*question).askGuest, f.askAround),
		"askReplies": answering(f, (*question).askForService, f.askReplies),
		"urlFor":     answering(f, (*question).askForPage, f.urlFor),
		"maybeURL":   answering(f, (*question).askForPage, f.maybeURL),
	}
	maps.Copy(functions, f.added)
	return functions
}

// UnmarshalCaddyfile sets up the functions from Caddyfile tokens. Syntax:
//
//	wsgi_party [<party>]
func (f *TemplateFunctions) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := caddytokens.ParseParty(d, &f.Party, "wsgi_party [<party>]"); err != nil {
		return err
	}
	if caddytokens.OpensBlock(d) {
		return d.Err("wsgi_party takes no block here")
	}
	return nil
}

func (f *TemplateFunctions) askAround(q *question) ([]any, error) {
	answers := []any{}
	for r := range q.by(f.operator).Replies(q.ctx, q.service, q.payload) {
		if r.Err == nil {
			r.Answer, r.Err = templateValue(r.Answer)
		}
		switch {
		case r.Err == nil:
			answers = append(answers, r.Answer)
		case r.Err == partyline.ErrHighAndDry:
		case r.Guest == "":
			return nil, q.orGone(r.Err)
		default:
			f.logger.Warn("guest failed", zap.String("party", f.Party), zap.String("guest", r.Guest), zap.String("service", q.service), zap.Error(r.Err))
		}
	}
	return answers, nil
}

func (f *TemplateFunctions) askFirst(q *question) (any, error) {
	answer, err := partyline.FirstFunc(q.ctx, f.operator, q.service, q.payload, templateValue)
	if err != nil {
		return nil, q.orGone(fmt.Errorf("nobody in party %q answers service %q for %s: %w", f.Party, q.service, describePayload(q.payload), err))
	}
	return answer, nil
}

func (f *TemplateFunctions) askReplies(q *question) ([]map[string]any, error) {
	replies := []map[string]any{}
	for r := range f.operator.Replies(q.ctx, q.service, q.payload) {
		if r.Guest == "" {
			return nil, q.orGone(r.Err)
		}
		if r.Err == nil {
			r.Answer, r.Err = templateValue(r.Answer)
		}
		status, failure := wire.Reply{Err: r.Err, Declined: r.Err == partyline.ErrHighAndDry}.Status(), ""
		if status == wire.StatusFailed {
			failure = wire.Message(r.Err)
		}
		replies = append(replies, map[string]any{"guest": r.Guest, "mount": f.entry.MountFor(q.ctx, r.Guest), "status": status, "answer": r.Answer, "error": failure})
	}
	return replies, nil
}

func (f *TemplateFunctions) urlFor(q *question) (string, error) {
	url, err := party.URLFor(q.ctx, f.operator, q.page.Name, q.page.Values)
	if err != nil {
		return "", q.orGone(fmt.Errorf("nobody in party %q answers service %q for %q: %w", f.Party, q.service, q.page.Name, err))
	}
	return url, nil
}

func (f *TemplateFunctions) maybeURL(q *question) (string, error) {
	url, err := party.URLFor(q.ctx, f.operator, q.page.Name, q.page.Values)
	if err != nil && q.ctx.Err() == context.Canceled {
		return "", q.orGone(err)
	}
	if _, missing := err.(*partyline.NoSuchServiceError); err != nil && !missing && err != partyline.ErrHighAndDry {
		f.logger.Warn("guests failed", zap.String("party", f.Party), zap.String("service", q.service), zap.String("name", q.page.Name), zap.Error(err))
	}
	return url, nil
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
	return wire.WithNumbers(value), nil
}

// Interface guards
var (
	_ caddy.Provisioner         = (*TemplateFunctions)(nil)
	_ caddyfile.Unmarshaler     = (*TemplateFunctions)(nil)
	_ templates.CustomFunctions = (*TemplateFunctions)(nil)
)
