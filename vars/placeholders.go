// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package vars

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

// Placeholders are those of a party's routes: {http.wsgi_party.url.<page>}.
type Placeholders struct {
	operator *partyline.Operator
	logger   *zap.Logger
}

// PlaceholdersIn returns those of the party whose handler is being provisioned, nil if its config, as JSON, has none, nor do the
// named routes that it invokes. The other ones that begin with http.wsgi_party. cost the party nothing: the handler that asks
// for them brings them along.
func PlaceholdersIn(ctx caddy.Context, name, config string) (*Placeholders, error) {
	if !strings.Contains(config, urlPrefix) && !strings.Contains(config, `"invoke"`) {
		return nil, nil
	}
	found := finder{}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		found.named = maps.Clone(server.NamedRoutes)
	}
	if err := found.in([]byte(config)); err != nil {
		return nil, fmt.Errorf("in the routes of party %q: %w", name, err)
	}
	if !found.any {
		return nil, nil
	}
	operator, err := party.Join(ctx, name, "")
	if err != nil {
		return nil, err
	}
	return &Placeholders{operator, ctx.Logger()}, nil
}

// Around returns a handler that lets requests have the placeholders in the party's routes, and behind them.
func (p *Placeholders) Around(routes caddyhttp.Handler) caddyhttp.Handler {
	return caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		a := answersOf(r)
		if a == nil {
			return routes.ServeHTTP(w, r)
		}
		outer := a.enter(p)
		err := routes.ServeHTTP(w, r)
		a.leave(max(outer, 1)) // errors and logs may need them yet
		return err
	})
}

// Behind is to be called before the handler behind the routes is: the placeholders in that are those of the party
// around this one, if there is one.
func (p *Placeholders) Behind(r *http.Request) {
	if a := answersOf(r); a != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		if last := len(a.parties) - 1; last > 0 && a.parties[last] == p {
			a.parties = a.parties[:last]
		}
	}
}

// answersVar is the request variable of a request's *answers.
const answersVar = "wsgi_party.answers"

// answers are what the placeholders of one request stand for. It may be asked for them by several
// goroutines, and, by a guest that is called, while it asks.
type answers struct {
	ctx          context.Context
	placeholders *caddy.Replacer

	mu      sync.Mutex
	parties []*Placeholders // that the request is in, the innermost last
	first   [2]*Placeholders
	named   map[string]any
	urls    map[askedURL]string
	asking  int
}

type askedURL struct {
	party *Placeholders
	id    string
}

const (
	maxURLs   = 256 // that are remembered
	maxAsking = 8   // at the same time: a guest's placeholders may lead to itself
)

// answersOf returns those of a request, whose placeholders they are from then on.
func answersOf(r *http.Request) *answers {
	ctx := r.Context()
	vars, hasVars := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	placeholders, hasPlaceholders := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !hasVars || !hasPlaceholders {
		return nil
	}
	a, ok := vars[answersVar].(*answers)
	if !ok {
		a = &answers{ctx: ctx, placeholders: placeholders}
		a.parties = a.first[:0]
		vars[answersVar] = a
		placeholders.Map(a.get)
	}
	return a
}

// enter makes a party the innermost, and returns in how many the request was before.
func (a *answers) enter(p *Placeholders) (outer int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.parties = append(a.parties, p)
	return len(a.parties) - 1
}

func (a *answers) innermost() *Placeholders {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.parties) == 0 {
		return nil
	}
	return a.parties[len(a.parties)-1]
}

// leave makes a request be in no more than so many.
func (a *answers) leave(outer int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.parties = a.parties[:min(outer, len(a.parties))]
}

// get returns what a placeholder stands for.
func (a *answers) get(key string) (any, bool) {
	name, ours := strings.CutPrefix(key, prefix)
	if !ours {
		return nil, false
	}
	if text, isURL := strings.CutPrefix(name, "url."); isURL {
		return a.url(text)
	}
	name, path, hasPath := strings.Cut(name, ".")
	a.mu.Lock()
	value, known := a.named[name]
	a.mu.Unlock()
	for member := ""; hasPath; {
		member, path, hasPath = strings.Cut(path, ".")
		object, _ := value.(map[string]any)
		value = object[member]
	}
	if !known {
		return nil, false
	}
	return asText(value), true
}

// asText returns a decoded JSON value as a placeholder has it: a string as it is, null as nothing, and else JSON.
func asText(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return "" // it was decoded
	}
	return string(encoded)
}

// set makes a decoded JSON value what {http.wsgi_party.<name>} stands for.
func (a *answers) set(name string, value any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.named == nil {
		a.named = make(map[string]any)
	}
	a.named[name] = value
}

// url returns the URL of the page, empty if nobody answers with one.
func (a *answers) url(text string) (any, bool) {
	p := a.innermost()
	if p == nil {
		return nil, false
	}
	page, err := parsePage(text)
	if err != nil {
		return "", true // it did not stand in the config
	}
	values, id, ok := page.fill(a.placeholders)
	if !ok {
		return "", true
	}
	asked := askedURL{p, id}
	a.mu.Lock()
	url, known := a.urls[asked]
	if known || a.asking >= maxAsking {
		a.mu.Unlock()
		return url, true
	}
	a.asking++
	a.mu.Unlock()
	url = p.ask(a.ctx, page.name, values)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asking--
	if a.urls == nil {
		a.urls = make(map[askedURL]string)
	}
	if len(a.urls) < maxURLs {
		a.urls[asked] = url
	}
	return url, true
}

// encoded are what no URL has: in one of a guest it would begin a placeholder, or end a link or a string that it is put into.
var encoded = strings.NewReplacer("{", "%7B", "}", "%7D", "<", "%3C", ">", "%3E", `"`, "%22", "`", "%60")

func (p *Placeholders) ask(ctx context.Context, name string, values map[string]any) string {
	url, err := party.URLFor(ctx, p.operator, name, values)
	if err != nil && ctx.Err() == nil {
		logFailure(p.logger, p.operator, party.URLService, err, zap.String("name", name))
	}
	return encoded.Replace(url)
}

// logFailure logs why nobody has answered, unless nobody knew.
func logFailure(logger *zap.Logger, o *partyline.Operator, service string, err error, more ...zap.Field) {
	if _, missing := err.(*partyline.NoSuchServiceError); missing || err == partyline.ErrHighAndDry {
		return
	}
	logger.Warn("guests failed", append([]zap.Field{zap.String("party", o.Partyline().Name()), zap.String("service", service), zap.Error(err)}, more...)...)
}
