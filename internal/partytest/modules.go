// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ServeFunc answers a request, or passes it on.
type ServeFunc func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error

// provisionFunc makes what an application of a test does, at its Provision.
type provisionFunc func(caddy.Context) (ServeFunc, error)

// The functions of the running test, by the arguments of test_app and test_recorder.
var apps, recorders sync.Map

// testApp is a handler whose behaviour is a function of the test.
type testApp struct {
	Key   string `json:"key"`
	serve ServeFunc
}

func (*testApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_app", New: func() caddy.Module { return new(testApp) }}
}

func (a *testApp) Provision(ctx caddy.Context) (err error) {
	provision, ok := apps.Load(a.Key)
	if !ok {
		return fmt.Errorf("the test has no application %q", a.Key)
	}
	a.serve, err = provision.(provisionFunc)(ctx)
	return err
}

func (a *testApp) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return a.serve(w, r, next)
}

// testRecorder is an event handler whose behaviour is a function of the test.
type testRecorder struct {
	Key string `json:"key,omitempty"`
}

func (*testRecorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.test_recorder", New: func() caddy.Module { return new(testRecorder) }}
}

func (r *testRecorder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		r.Key = d.Val()
	}
	return nil
}

func (r *testRecorder) Handle(ctx context.Context, e caddy.Event) error {
	h, ok := recorders.Load(r.Key)
	if !ok {
		return fmt.Errorf("the test has no recorder %q", r.Key)
	}
	return h.(EventFunc)(ctx, e)
}

// startApp is an app whose Start is a function of the test.
type startApp struct{}

var onStart func() error

func (startApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test_start", New: func() caddy.Module { return new(startApp) }}
}
func (startApp) Start() error { return onStart() }
func (startApp) Stop() error  { return nil }

func init() {
	caddy.RegisterModule(new(testApp))
	caddy.RegisterModule(new(testRecorder))
	caddy.RegisterModule(startApp{})
	httpcaddyfile.RegisterHandlerDirective("test_app", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		a := new(testApp)
		h.Next()
		if !h.AllArgs(&a.Key) {
			return nil, h.ArgErr()
		}
		return a, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("test_app", httpcaddyfile.Before, "respond")
}

// Behave makes `test_app key` do what provision returns, until the test ends.
func Behave(t testing.TB, key string, provision func(caddy.Context) (ServeFunc, error)) {
	t.Helper()
	apps.Store(key, provisionFunc(provision))
	t.Cleanup(func() { apps.Delete(key) })
}

// App is Behave for an application that does nothing in Provision.
func App(t testing.TB, key string, serve ServeFunc) {
	t.Helper()
	Behave(t, key, func(caddy.Context) (ServeFunc, error) { return serve, nil })
}

// OnProvision is Behave for an application that does nothing else.
func OnProvision(t testing.TB, key string, provision func(caddy.Context) error) {
	t.Helper()
	Behave(t, key, func(ctx caddy.Context) (ServeFunc, error) {
		return func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
			return next.ServeHTTP(w, r)
		}, provision(ctx)
	})
}

// DuringStart makes each later config of the test call start when it starts, if an
// application calls what it returns in Provision.
func DuringStart(t testing.TB, start func() error) func(caddy.Context) error {
	t.Helper()
	onStart = start
	return func(ctx caddy.Context) error {
		_, err := ctx.App("test_start")
		return err
	}
}

// Guest makes `test_app key` take its invite, connect a handler that answers the given
// string under each service, and say its key to everybody else.
func Guest(t testing.TB, key, answer string, services ...string) {
	t.Helper()
	handlers := make(map[string]Handler)
	for _, service := range services {
		handlers[service] = Answers(answer)
	}
	GuestWith(t, key, handlers)
}

// GuestWith makes `test_app key` take its invite, connect these handlers, and say its
// key to everybody else.
func GuestWith[H ~func(context.Context, any) (any, error)](t testing.TB, key string, handlers map[string]H) {
	t.Helper()
	App(t, key, func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		if operator, ok := known.invited(r); ok {
			for service, h := range handlers {
				if err := operator.Connect(service, Handler(h)); err != nil {
					return err
				}
			}
		}
		_, err := io.WriteString(w, key)
		return err
	})
}

// TemplateApp makes `test_app template` answer with the template that is in the
// request, as Page writes it.
func TemplateApp(t testing.TB) {
	t.Helper()
	App(t, "template", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, err := io.WriteString(w, r.URL.Query().Get("t"))
		return err
	})
}

// Page is the URL of the page of that template.
func Page(template string) string { return "/page?t=" + url.QueryEscape(template) }

// Templates is the handler of templates with the party's functions, which are
// configured like that.
func Templates(config string) string {
	return "templates {\nextensions {\nwsgi_party " + config + "\n}\n}\n"
}

// Pages is a site's page at /page, of TemplateApp, with the party's functions.
const Pages = "handle /page {\ntemplates {\nextensions {\nwsgi_party\n}\n}\ntest_app template\n}\n"

// ExpectPage fails the test unless the template gives that page.
func (c *Caddy) ExpectPage(template, want string) {
	c.Helper()
	if status, body := c.Get(Page(template)); status != http.StatusOK || body != want {
		c.Errorf("%s: %d %q, want %q%s", template, status, body, want, LastHTTPError(c))
	}
}

// EventFunc handles an event.
type EventFunc func(context.Context, caddy.Event) error

// Handle makes it a handler that an app's On takes.
func (h EventFunc) Handle(ctx context.Context, e caddy.Event) error { return h(ctx, e) }

// HandleEvents makes `test_recorder key` call handle until the test ends.
func HandleEvents(t testing.TB, key string, handle EventFunc) {
	recorders.Store(key, handle)
	t.Cleanup(func() { recorders.Delete(key) })
}

// Handlers returns the handlers of a type that the running config has, wherever they are
// in its servers' routes.
func Handlers[H any](t testing.TB) (found []H) {
	t.Helper()
	var look func(routes caddyhttp.RouteList)
	look = func(routes caddyhttp.RouteList) {
		for _, route := range routes {
			for _, handler := range route.Handlers {
				if h, ok := handler.(H); ok {
					found = append(found, h)
				}
				if within := reflect.Indirect(reflect.ValueOf(handler)).FieldByName("Routes"); within.IsValid() {
					look(within.Interface().(caddyhttp.RouteList))
				}
			}
		}
	}
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		look(server.Routes)
	}
	return found
}
