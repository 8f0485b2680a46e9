// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package vars

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/jsonpayload"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(Vars))
}

// Vars is an HTTP handler that asks a party's guests and turns their answers into placeholders of the request. The
// answer to an ask named `user` is `{http.wsgi_party.user}`. If it is an object, its member `name` is
// `{http.wsgi_party.user.name}`, and so on. Strings appear as they are, null and missing values are empty, and
// everything else is JSON.
//
// Vars sends all its asks together, and takes the first answer to each. Then it calls the next handler, unless
// nobody answered one of them and `missing` is a status. An answer to the service `url` counts only if it is safe to
// link to.
//
// The party's own requests, by which a guest is invited or is asked by this very handler, cause no asks. Their
// placeholders are empty.
//
// The guests choose the text of their answers. Caddy does not look for placeholders in that text, but does not
// escape it for HTML, either. Do not use it as an address to connect to: for that, `reverse_proxy` has `dynamic
// wsgi_party`.
type Vars struct {
	// The name of the party. Default: the party in whose routes the handler is.
	Party string `json:"party,omitempty"`

	// What to ask for, up to 16 asks.
	Asks []Ask `json:"asks,omitempty"`

	// The members of payloads, at any depth, whose strings become a number, true, false or null if that is what they
	// say once their placeholders are replaced. Default: none, so that all remain strings.
	PayloadTypes []string `json:"payload_types,omitempty"`

	// The headers of the request, such as `Cookie`, to send to those guests whose own `forward` lists them. Default:
	// none but the trace.
	Forward []string `json:"forward,omitempty"`

	// The status, from 400 to 599, of the error if nobody answers one of the asks. Default: no error; the
	// placeholders of that ask are empty.
	Missing int `json:"missing,omitempty"`

	operator *partyline.Operator
	payloads []*jsonpayload.Payload
	logger   *zap.Logger
}

// Ask says what to ask for, and the name of the placeholder that gets the answer.
type Ask struct {
	// Required. The name of the placeholder: letters, digits, `_` and `-`, but not `url` or `guest`.
	Name string `json:"name"`

	// Required. The service.
	Service string `json:"service"`

	// The payload. Placeholders in its strings are replaced, at any depth, but not those in the names of members.
	// Default: null.
	Payload json.RawMessage `json:"payload,omitempty"`
}

const (
	maxAsks = 16
	maxName = 64
)

// CaddyModule returns the Caddy module information.
func (*Vars) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.wsgi_party_vars", New: func() caddy.Module { return new(Vars) }}
}

// Provision finds the party.
func (v *Vars) Provision(ctx caddy.Context) (err error) {
	v.logger = ctx.Logger()
	if h := party.Around(ctx); v.Party == "" && h != nil {
		v.Party = h.Name()
	}
	if v.Party == "" {
		return fmt.Errorf("it is in no party's routes: say which party it asks (wsgi_party_vars <party>); %s", party.WhichParties(ctx))
	}
	if v.payloads, err = v.check(); err != nil {
		return err
	}
	v.operator, err = party.Join(ctx, v.Party, "")
	return err
}

// check returns the payloads, or says what is wrong.
func (v *Vars) check() ([]*jsonpayload.Payload, error) {
	if len(v.Asks) > maxAsks {
		return nil, fmt.Errorf("it asks for %d: write at most %d, and the rest in another handler", len(v.Asks), maxAsks)
	}
	if v.Missing != 0 && (v.Missing < 400 || v.Missing > 599) {
		return nil, fmt.Errorf("missing is %d: write empty, or a status from 400 to 599, such as 503", v.Missing)
	}
	names := make(map[string]bool)
	var texts [][]byte
	for _, ask := range v.Asks {
		if err := checkName(ask.Name); err != nil {
			return nil, err
		}
		if names[ask.Name] {
			return nil, fmt.Errorf("two asks are named %q: give each a name of its own", ask.Name)
		}
		if ask.Service == "" {
			return nil, fmt.Errorf("ask %s names no service", ask.Name)
		}
		names[ask.Name] = true
		texts = append(texts, ask.Payload)
	}
	return jsonpayload.ParseAll(texts, v.PayloadTypes)
}

func checkName(name string) error {
	switch name {
	case "":
		return errors.New("an ask has no name: write that of its placeholder, as in ask user whoami")
	case "url", "guest":
		return fmt.Errorf("an ask is named %q, but {%s%[1]s…} is something else: write another name", name, prefix)
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' {
			return fmt.Errorf("an ask is named %.100q, with a %q: write letters, digits, _ and - only", name, r)
		}
	}
	if len(name) > maxName {
		return fmt.Errorf("an ask is named %.20q…, of %d bytes: write no more than %d", name, len(name), maxName)
	}
	return nil
}

// askedBy is the key of contexts in which a handler asks.
type askedBy struct{ *Vars }

// ServeHTTP asks, and passes the request on.
func (v *Vars) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	a := answersOf(r)
	if a == nil {
		return errors.New("the request is not one of Caddy's")
	}
	if r.Context().Value(askedBy{v}) != nil || party.PeekInvitation(r) != nil {
		for _, ask := range v.Asks {
			a.set(ask.Name, nil)
		}
		return next.ServeHTTP(w, r)
	}
	ctx := party.ForwardOnly(context.WithValue(r.Context(), askedBy{v}, true), v.Forward)
	found := v.ask(ctx, a)
	if r.Context().Err() == context.Canceled {
		return caddyhttp.Error(subrequest.StatusClientClosedRequest, context.Canceled)
	}
	var missing error
	for i, f := range found {
		a.set(v.Asks[i].Name, f.value)
		if f.err == nil {
			continue
		}
		logFailure(v.logger, v.operator, v.Asks[i].Service, f.err, zap.String("name", v.Asks[i].Name))
		if missing == nil {
			missing = fmt.Errorf("nobody in party %q answers service %q for {%s%s}: %w", v.Party, v.Asks[i].Service, prefix, v.Asks[i].Name, f.err)
		}
	}
	if missing != nil && v.Missing != 0 {
		return caddyhttp.Error(v.Missing, missing)
	}
	return next.ServeHTTP(w, r)
}

type found struct {
	value any
	err   error
}

var errEnded = errors.New("asking has ended without an answer")

// ask asks for everything: together where answers come from outside this process.
func (v *Vars) ask(ctx context.Context, a *answers) []found {
	all := make([]found, len(v.Asks))
	var group sync.WaitGroup
	defer group.Wait()
	for i := range v.Asks {
		payload, err := v.payloads[i].Fill(a.placeholders)
		if err != nil {
			all[i].err = err
			continue
		}
		last := i == len(v.Asks)-1
		if last || v.operator.Partyline().RemoteHandlers(v.Asks[i].Service, payload) == 0 {
			v.first(ctx, i, payload, &all[i])
			continue
		}
		all[i].err = errEnded
		group.Go(func() { v.first(ctx, i, payload, &all[i]) })
	}
	return all
}

// first takes the first answer.
func (v *Vars) first(ctx context.Context, i int, payload any, f *found) {
	defer func() {
		if value := recover(); value != nil {
			f.err = fmt.Errorf("panic: %v\n%s", value, debug.Stack())
		}
	}()
	service := v.Asks[i].Service
	f.value, f.err = partyline.FirstFunc(ctx, v.operator, service, payload, func(answer any) (any, error) {
		value, err := decoded(answer)
		if err != nil || service != party.URLService {
			return value, err
		}
		text, ok := value.(string)
		if !ok {
			return nil, errors.New("the URL is not a string")
		}
		text, err = party.Linkable(v.operator.Partyline(), text)
		return encoded.Replace(text), err
	})
}

// decoded returns an answer as decoded JSON. What panics while it makes its JSON is its guest's failure.
func decoded(answer any) (value any, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			value, err = nil, fmt.Errorf("the answer, a %T, panics: %v", answer, cause)
		}
	}()
	var text []byte
	switch answer := answer.(type) {
	case nil, string, bool, json.Number:
		return answer, nil
	case json.RawMessage:
		text = answer
	default:
		if text, err = wire.Encode(answer); err != nil {
			return nil, err
		}
	}
	if value, err = wire.ParseJSON(text); err != nil {
		return nil, fmt.Errorf("the answer is %w", err)
	}
	return value, nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Vars)(nil)
	_ caddyhttp.MiddlewareHandler = (*Vars)(nil)
)
