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
	"iter"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/fastcgi"
)

// handlersOf returns the handlers of the routes, in their order, those in subroutes and
// parties after the one that they are in.
func handlersOf(routes caddyhttp.RouteList) iter.Seq[caddyhttp.MiddlewareHandler] {
	return func(yield func(caddyhttp.MiddlewareHandler) bool) {
		for _, route := range routes {
			for _, handler := range route.Handlers {
				if !yield(handler) {
					return
				}
				for handler := range handlersOf(innerRoutes(handler)) {
					if !yield(handler) {
						return
					}
				}
			}
		}
	}
}

// makeCancelable lets every proxy in the routes know when a request is not to count for
// its health checks.
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

// innerRoutes returns the routes that a handler consists of, nil for most.
func innerRoutes(handler caddyhttp.MiddlewareHandler) caddyhttp.RouteList {
	switch handler := handler.(type) {
	case *caddyhttp.Subroute:
		return handler.Routes
	case interface{ Host() *Host }:
		return handler.Host().routes
	}
	return nil
}

// proxiesBehind returns the proxies to which the guest's handler passes requests on.
func proxiesBehind(g *Guest) []*reverseproxy.Handler {
	proxies, _ := proxiesIn(g.host.routes, g)
	return proxies
}

// proxiesIn returns those that stand behind the guest's handler in the routes, those of the
// innermost routes first that have some, and whether that is in them.
func proxiesIn(routes caddyhttp.RouteList, g *Guest) (proxies []*reverseproxy.Handler, found bool) {
	for i, route := range routes {
		for j, handler := range route.Handlers {
			if found = handler == caddyhttp.MiddlewareHandler(g); !found {
				proxies, found = proxiesIn(innerRoutes(handler), g)
			}
			if !found {
				continue
			}
			if len(proxies) == 0 {
				rest := append(caddyhttp.RouteList{{Handlers: route.Handlers[j+1:]}}, routes[i+1:]...)
				for handler := range handlersOf(rest) {
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

// upstreamsBehind returns the upstreams that the guest's proxies have in the config.
func upstreamsBehind(g *Guest) []string {
	var upstreams []string
	for _, proxy := range proxiesBehind(g) {
		for _, upstream := range proxy.Upstreams {
			upstreams = append(upstreams, upstream.Dial)
		}
	}
	return upstreams
}

// attempts returns with how many upstreams a request for the guest may be tried: with all that
// are not down if the proxy tries others. So none is taken for down that is the last.
func (g *Guest) attempts() int {
	most := 1
	for _, proxy := range proxiesBehind(g) {
		if lb := proxy.LoadBalancing; lb == nil || lb.Retries == 0 && lb.TryDuration == 0 {
			continue
		}
		available := 0
		for _, upstream := range proxy.Upstreams {
			if upstream.Available() {
				available++
			}
		}
		most = max(most, available)
	}
	return most
}

// isCounted reports whether a proxy takes a response with that status for a sign that the
// application is down.
func (g *Guest) isCounted(status int) bool {
	return slices.ContainsFunc(proxiesBehind(g), func(proxy *reverseproxy.Handler) bool {
		return proxy.HealthChecks != nil && proxy.HealthChecks.Passive != nil && slices.ContainsFunc(proxy.HealthChecks.Passive.UnhealthyStatus, func(bad int) bool {
			return caddyhttp.StatusCodeMatches(status, bad)
		})
	})
}
