// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// How requests to guests end before their time, and the proxies that are not to count it.

package party

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/fastcgi"
)

// goneError is why a request ended, as the cause of its context: reverse_proxy takes it for one whose client
// has gone, so that it does not try again, and does not count it for its health checks.
type goneError struct{ error }

func (e *goneError) Unwrap() []error { return []error{e.error, context.Canceled} }

// reasonOf returns the error without what it is to a proxy.
func reasonOf(err error) error {
	if gone, ok := err.(*goneError); ok {
		return gone.error
	}
	return err
}

// TimeoutError says that an invite or an ask took too long, and how long it was allowed to take.
type TimeoutError struct{ After time.Duration }

func (e *TimeoutError) Error() string { return fmt.Sprintf("it took longer than %v", e.After) }

// TimedOut reports whether an error is that of something that took too long.
func TimedOut(err error) bool {
	_, ok := errors.AsType[*TimeoutError](err)
	return ok
}

// WithTimeout returns the context for a request to a guest that ends after a while, because of a
// *TimeoutError. Proxies take that for a client that has gone: they do not count it for their health checks.
func WithTimeout(ctx context.Context, after time.Duration) (context.Context, context.CancelFunc) {
	var cause struct { // one allocation
		gone    goneError
		timeout TimeoutError
	}
	cause.timeout.After = after
	cause.gone.error = &cause.timeout
	return context.WithTimeoutCause(ctx, after, &cause.gone)
}

// UnconnectedError says that there was no connection to an application. A proxy is not to
// take that for down for its visitors just because Caddy was quicker.
type UnconnectedError struct{ Err error }

func (e *UnconnectedError) Error() string { return e.Err.Error() }
func (e *UnconnectedError) Unwrap() error { return e.Err }

// WithConnecting returns the context of a request that ends, because of an *UnconnectedError, when there is
// nothing to connect to in so many attempts, and what becomes true when there is.
func WithConnecting(ctx context.Context, attempts int) (context.Context, *atomic.Bool) {
	ctx, end := context.WithCancelCause(ctx)
	connected := new(atomic.Bool)
	var mu sync.Mutex
	addresses, refused := 1, 0 // of this attempt
	fail := func(err error) {
		addresses, refused = 1, 0
		if attempts--; attempts <= 0 && !connected.Load() {
			end(&goneError{&UnconnectedError{err}})
		}
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
		DNSDone: func(info httptrace.DNSDoneInfo) {
			mu.Lock()
			defer mu.Unlock()
			if addresses = len(info.Addrs); info.Err != nil {
				fail(info.Err)
			}
		},
		ConnectDone: func(_, _ string, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				connected.Store(true)
			} else if refused++; refused >= addresses {
				fail(err)
			}
		},
	}), connected
}

// errLeavesProcess is why an invite ended that a handler would have sent on over the network.
var errLeavesProcess error = &goneError{errors.New("the invite reached a handler that would send it over the network, but an invite stays in this process")}

// staying is the context of an invite. It ends, with errLeavesProcess, as soon as somebody is about to
// connect to something in it. Whoever does looks for a trace in the context first: net/http's transport,
// net's dialer and resolver, and reverse_proxy before it calls any transport. The hooks of a trace would come
// too late, for by then net/http connects whatever becomes of the request.
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

// handlersOf returns the handlers of the routes, in their order, those in subroutes and parties
// after the one that they are in.
func handlersOf(routes caddyhttp.RouteList) (handlers []caddyhttp.MiddlewareHandler) {
	for _, route := range routes {
		for _, handler := range route.Handlers {
			handlers = append(append(handlers, handler), handlersOf(innerRoutes(handler))...)
		}
	}
	return handlers
}

// makeCancelable lets every proxy in the routes know when a request is not to count for its health checks.
func makeCancelable(routes caddyhttp.RouteList) {
	for _, handler := range handlersOf(routes) {
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

// innerRoutes returns the routes that a handler consists of, nil for most.
func innerRoutes(handler caddyhttp.MiddlewareHandler) caddyhttp.RouteList {
	switch handler := handler.(type) {
	case *caddyhttp.Subroute:
		return handler.Routes
	case hosting:
		return handler.Host().routes
	}
	return nil
}

// ProxiesBehind returns the proxies to which a handler in the party's routes passes requests on.
func (h *Host) ProxiesBehind(handler caddyhttp.MiddlewareHandler) []*reverseproxy.Handler {
	proxies, _ := proxiesBehind(h.routes, handler)
	return proxies
}

// proxiesBehind returns those that stand behind a handler in the routes, those of the innermost
// routes first that have some, and whether that is in them.
func proxiesBehind(routes caddyhttp.RouteList, behind caddyhttp.MiddlewareHandler) (proxies []*reverseproxy.Handler, found bool) {
	for i, route := range routes {
		for j, handler := range route.Handlers {
			if found = handler == behind; !found {
				proxies, found = proxiesBehind(innerRoutes(handler), behind)
			}
			if !found {
				continue
			}
			if len(proxies) == 0 {
				for _, handler := range handlersOf(append(caddyhttp.RouteList{{Handlers: route.Handlers[j+1:]}}, routes[i+1:]...)) {
					if proxy, ok := handler.(*reverseproxy.Handler); ok {
						proxies = append(proxies, proxy)
					}
				}
			}
			return proxies, true
		}
	}
	return nil, false
}

// Behind returns the handler that stands right behind one in the party's routes, nil if there is none, and whether that
// has a matcher.
func (h *Host) Behind(handler caddyhttp.MiddlewareHandler) (behind caddyhttp.MiddlewareHandler, matched bool) {
	behind, matched, _ = handlerBehind(h.routes, handler)
	return behind, matched
}

func handlerBehind(routes caddyhttp.RouteList, handler caddyhttp.MiddlewareHandler) (behind caddyhttp.MiddlewareHandler, matched, found bool) {
	for i, route := range routes {
		for j, other := range route.Handlers {
			if other != handler {
				if behind, matched, found = handlerBehind(innerRoutes(other), handler); found {
					return behind, matched, true
				}
				continue
			}
			if j+1 < len(route.Handlers) {
				return route.Handlers[j+1], false, true
			}
			if i+1 < len(routes) && len(routes[i+1].Handlers) > 0 {
				return routes[i+1].Handlers[0], len(routes[i+1].MatcherSets) > 0, true
			}
			return nil, false, true
		}
	}
	return nil, false, false
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

var (
	_ http.RoundTripper                           = cancelableFastCGI{}
	_ reverseproxy.ContentLengthRequiredTransport = cancelableFastCGI{}
)
