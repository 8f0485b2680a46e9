// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/fastcgi"
)

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
