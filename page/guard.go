// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Whether anybody may see the page.

package page

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/wsgiparty/wsgiparty/internal/askaddress"
	"go.uber.org/zap"
)

// warnOfOpen warns of a page that other machines reach, and that nothing guards.
func (p *Page) warnOfOpen(logger *zap.Logger, server *caddyhttp.Server) {
	open := slices.DeleteFunc(slices.Clone(server.Listen), askaddress.OnlyLocal)
	if len(open) == 0 || wantsCertificates(server) {
		return
	}
	w := walk{to: p, named: server.NamedRoutes}
	w.through(server.Routes, nil, nil)
	if server.Errors != nil && !w.found {
		w.through(server.Errors.Routes, nil, nil)
	}
	if w.guarded {
		return
	}
	logger.Warn("wsgi_party_page can be seen from other machines without a password", zap.String("party", p.Party), zap.String("server", server.Name()), zap.Strings("listen", open),
		zap.String("hint", "the page shows the names, paths, errors and traffic of all applications of the party: write `basic_auth`, or another authentication, in front of it, for all paths or with the same matcher; or `bind 127.0.0.1` in its site; or leave it out, and run `caddy wsgi-party page "+p.Party+"` where Caddy runs"))
}

// wantsCertificates reports whether all clients of the server have to show one.
func wantsCertificates(server *caddyhttp.Server) bool {
	for _, policy := range server.TLSConnPolicies {
		if auth := policy.ClientAuthentication; auth == nil || auth.Mode != "" && auth.Mode != "require_and_verify" || !auth.Active() {
			return false
		}
	}
	return len(server.TLSConnPolicies) > 0
}

// walk looks for a handler among routes.
type walk struct {
	to             caddyhttp.MiddlewareHandler
	named          map[string]*caddyhttp.Route
	found, guarded bool
}

const deepest = 64 // named routes may lead to themselves

// filter is which requests a route lets in.
type filter struct {
	matchers string   // empty: all
	paths    []string // if they are all that the matchers are about
	depth    int      // in how many other routes the route is: handlers may change a path on its way
}

// lets reports whether all requests that the other filter lets in are let in by this one, too, as far as that can be seen.
func (f filter) lets(other filter) bool {
	if f.matchers == "" || f.depth == other.depth && f.matchers == other.matchers {
		return true
	}
	return f.depth == other.depth && len(other.paths) > 0 && !slices.ContainsFunc(other.paths, func(path string) bool {
		return !slices.ContainsFunc(f.paths, func(pattern string) bool {
			beginning, isPrefix := strings.CutSuffix(pattern, "*")
			return pattern == path || isPrefix && !strings.Contains(beginning, "*") && strings.HasPrefix(strings.TrimSuffix(path, "*"), beginning)
		})
	})
}

// through goes through routes that requests get to which the filters above let in. The guards are those in front of them.
// It returns them with those that follow, for what is behind the routes.
func (w *walk) through(routes caddyhttp.RouteList, guards, above []filter) []filter {
	if len(above) > deepest {
		return guards
	}
	for _, route := range routes {
		own := filterOf(route, len(above))
		inside, within := slices.Clone(guards), append(slices.Clone(above), own)
		if restricts(route) {
			inside = append(inside, filter{})
		}
		guardsAll := false // that come into this route
		for _, h := range route.Handlers {
			if h == w.to {
				w.found = true
				w.guarded = slices.ContainsFunc(inside, func(guard filter) bool { return slices.ContainsFunc(within, guard.lets) })
				return nil
			}
			guard := isGuard(h)
			for _, inner := range w.routesIn(h) {
				after := w.through(inner, inside, within)
				if w.found {
					return nil
				}
				guard = guard || slices.ContainsFunc(after[len(inside):], func(f filter) bool { return f.matchers == "" })
			}
			if guard {
				guardsAll, inside = true, append(inside, filter{})
			}
		}
		if guardsAll {
			guards = append(slices.Clone(guards), own)
		}
	}
	return guards
}

func filterOf(route caddyhttp.Route, depth int) filter {
	f := filter{depth: depth}
	for _, set := range route.MatcherSets {
		f.matchers += "|"
		for _, matcher := range set {
			encoded, _ := json.Marshal(matcher)
			f.matchers += fmt.Sprintf("%T%s", matcher, encoded)
			if paths, ok := matcher.(*caddyhttp.MatchPath); ok && len(set) == 1 && len(route.MatcherSets) == 1 {
				f.paths = *paths
			}
		}
	}
	return f
}

// restricts reports whether a route is only for some clients, by their address.
func restricts(route caddyhttp.Route) bool {
	return len(route.MatcherSets) > 0 && !slices.ContainsFunc(route.MatcherSets, func(set caddyhttp.MatcherSet) bool {
		return !slices.ContainsFunc(set, func(matcher any) bool {
			switch matcher.(type) {
			case *caddyhttp.MatchRemoteIP, *caddyhttp.MatchClientIP:
				return true
			}
			return false
		})
	})
}

// isGuard reports whether a handler is one of those that ask who a visitor is: Caddy's, a forward_auth, or a plugin's that
// says so in its name.
func isGuard(h caddyhttp.MiddlewareHandler) bool {
	if proxy, ok := h.(*reverseproxy.Handler); ok {
		return len(proxy.HandleResponse) > 0 && proxy.Rewrite != nil
	}
	module, ok := h.(caddy.Module)
	return ok && strings.Contains(string(module.CaddyModule().ID), "auth")
}

// routesIn returns the routes that a handler wraps, or leads to.
func (w *walk) routesIn(h caddyhttp.MiddlewareHandler) (inner []caddyhttp.RouteList) {
	if invoke, ok := h.(*caddyhttp.Invoke); ok && w.named[invoke.Name] != nil {
		return []caddyhttp.RouteList{{*w.named[invoke.Name]}}
	}
	value := reflect.Indirect(reflect.ValueOf(h))
	if value.Kind() != reflect.Struct {
		return nil
	}
	for i := range value.NumField() {
		if field := value.Field(i); value.Type().Field(i).IsExported() {
			if routes, ok := field.Interface().(caddyhttp.RouteList); ok {
				inner = append(inner, routes)
			}
		}
	}
	return inner
}
