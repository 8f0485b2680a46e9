// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Command caddy is Caddy with the wsgi_party module, and a handler that asks from Go, which it times.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/bench/question"
)

func main() { caddycmd.Main() }

func init() {
	caddy.RegisterModule(new(Asker))
	httpcaddyfile.RegisterHandlerDirective("bench", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		a := new(Asker)
		h.Next() // consume directive name
		if !h.Args(&a.Party) {
			return nil, h.ArgErr()
		}
		a.Applications = h.RemainingArgs()
		return a, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("bench", httpcaddyfile.Before, "respond")
}

// Asker asks as often as a request says, and answers with the nanoseconds that this took.
type Asker struct {
	Party        string   `json:"party"`
	Applications []string `json:"applications,omitempty"` // where they are asked by plain HTTP

	operator *wsgiparty.Operator
}

// CaddyModule returns the Caddy module information.
func (*Asker) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.bench", New: func() caddy.Module { return new(Asker) }}
}

// Provision joins the party.
func (a *Asker) Provision(ctx caddy.Context) (err error) {
	a.operator, err = wsgiparty.Join(ctx, a.Party, "bench")
	return err
}

// ServeHTTP asks.
func (a *Asker) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	query := r.URL.Query()
	times, err := strconv.Atoi(query.Get("times"))
	if err != nil {
		return caddyhttp.Error(http.StatusBadRequest, err)
	}
	askers, err := strconv.Atoi(query.Get("askers"))
	if err != nil {
		return caddyhttp.Error(http.StatusBadRequest, err)
	}
	ask, ok := map[string]func(context.Context, string) error{
		"party": a.askParty, "plain": a.askPlain, "link": a.link,
	}[query.Get("by")]
	if !ok {
		return caddyhttp.Error(http.StatusBadRequest, fmt.Errorf("by what?"))
	}
	var left atomic.Int64
	left.Store(int64(times))
	var failed atomic.Value
	var all sync.WaitGroup
	began := time.Now()
	for range askers {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := ask(r.Context(), query.Get("for")); err != nil {
					failed.Store(err)
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	if err, ok := failed.Load().(error); ok {
		return err
	}
	_, err = fmt.Fprint(w, int64(took))
	return err
}

func (a *Asker) askParty(ctx context.Context, service string) error {
	users, err := wsgiparty.All[question.User](ctx, a.operator, service, json.RawMessage(question.Asked))
	if err == nil && len(users) != len(a.Applications) {
		err = fmt.Errorf("%d answers", len(users))
	}
	return err
}

func (a *Asker) askPlain(context.Context, string) error {
	answers, err := question.Plain.AskAll(a.Applications, question.Asked)
	for _, answer := range answers {
		var user question.User
		if err == nil {
			err = json.Unmarshal(answer, &user)
		}
	}
	return err
}

func (a *Asker) link(ctx context.Context, page string) error {
	_, err := wsgiparty.URLFor(ctx, a.operator, page, map[string]any{"id": 7})
	return err
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Asker)(nil)
	_ caddyhttp.MiddlewareHandler = (*Asker)(nil)
)
