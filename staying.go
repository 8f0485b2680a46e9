// Copyright 2026 The wsgi_party Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package wsgiparty

import (
	"context"
	"iter"
	"net/http"
	"reflect"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/fastcgi"
)

// errLeavesProcess is why an invite ended that a handler would have sent on over the
// network. reverse_proxy takes that for a client that has gone: it does not try again,
// and counts it for no health check.
var errLeavesProcess error = &canceledError{"the invite came to a handler that would send it on over the network, and an invite stays in this process"}

// canceledError is a context.Canceled that says why.
type canceledError struct{ message string }

func (e *canceledError) Error() string { return e.message }
func (e *canceledError) Unwrap() error { return context.Canceled }

// staying is the context of an invite. It ends, with errLeavesProcess, as soon as
// somebody is about to connect to something in it. Whoever does looks for a trace in
// the context first: net/http's transport, net's dialer and resolver, and reverse_proxy
// before it calls any transport. The hooks of a trace would come too late, for by then
// net/http connects whatever becomes of the request.
type staying struct {
	context.Context
	end context.CancelCauseFunc
}

func newStaying(ctx context.Context) staying {
	ctx, end := context.WithCancelCause(ctx)
	return staying{ctx, end}
}

func (c staying) Value(key any) any {
	if isTraceKey(key) {
		c.end(errLeavesProcess)
	}
	return c.Context.Value(key)
}

// leaving is the context of what may leave the process though it is done in that of an
// invite: asks of a guest that is being invited.
type leaving struct{ context.Context }

func (c leaving) Value(key any) any {
	if isTraceKey(key) {
		return nil
	}
	return c.Context.Value(key)
}

func isTraceKey(key any) bool {
	t := reflect.TypeOf(key)
	return t != nil && (t.PkgPath() == "net/http/httptrace" || t.PkgPath() == "internal/nettrace")
}

// handlersOf returns the handlers of the routes, in their order, those in subroutes and
// parties after the one that they are in.
func handlersOf(routes caddyhttp.RouteList) iter.Seq[caddyhttp.MiddlewareHandler] {
	return func(yield func(caddyhttp.MiddlewareHandler) bool) {
		for _, route := range routes {
			for _, handler := range route.Handlers {
				if !yield(handler) {
					return
				}
				var inner caddyhttp.RouteList
				switch handler := handler.(type) {
				case *caddyhttp.Subroute:
					inner = handler.Routes
				case *Party:
					inner = handler.Routes
				}
				for handler := range handlersOf(inner) {
					if !yield(handler) {
						return
					}
				}
			}
		}
	}
}

// cancelableFastCGI is Caddy's transport, but says that a request was canceled. That one
// says that it could not connect, which reverse_proxy counts.
type cancelableFastCGI struct{ *fastcgi.Transport }

func (t cancelableFastCGI) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.Transport.RoundTrip(r)
	if err != nil && r.Context().Err() != nil {
		err = context.Cause(r.Context())
	}
	return response, err
}

// makeCancelable sees to it that every proxy in the routes knows when it is not to count
// a request for its health checks.
func makeCancelable(routes caddyhttp.RouteList) {
	for handler := range handlersOf(routes) {
		proxy, ok := handler.(*reverseproxy.Handler)
		if !ok || proxy.HealthChecks == nil || proxy.HealthChecks.Passive == nil {
			continue // it does not count
		}
		if active := proxy.HealthChecks.Active; active != nil && active.IsEnabled() {
			continue // it is using its transport already
		}
		if transport, ok := proxy.Transport.(*fastcgi.Transport); ok {
			proxy.Transport = cancelableFastCGI{transport}
		}
	}
}

var (
	_ http.RoundTripper                           = cancelableFastCGI{}
	_ reverseproxy.ContentLengthRequiredTransport = cancelableFastCGI{}
)
