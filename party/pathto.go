// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Where in the party's routes a handler is.

package party

import (
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// PathTo returns what all paths begin with that lead to a handler in the party's routes, unescaped: `/shop` for one in
// `handle_path /shop/*`, and nothing for one without a matcher. It returns false if the matchers do not say that.
func (h *Host) PathTo(handler caddyhttp.MiddlewareHandler) (path string, ok bool) {
	path, ok, _ = way{}.to(handler, h.routes)
	return path, ok
}

// way is how requests get to routes.
type way struct {
	stripped string // of their paths
	path     string // what these begin with, as they were
	unclear  bool   // whether it takes more than a path
}

func (w way) to(handler caddyhttp.MiddlewareHandler, routes caddyhttp.RouteList) (path string, ok, found bool) {
	for _, route := range routes {
		within := w.through(route)
		for _, h := range route.Handlers {
			if h == handler {
				return within.path, !within.unclear, true
			}
			if path, ok, found = within.to(handler, innerRoutes(h)); found {
				return path, ok, true
			}
			if r, ok := h.(*rewrite.Rewrite); ok && r.StripPathPrefix != "" {
				within.strip(r.StripPathPrefix)
			}
		}
		if len(route.MatcherSets) == 0 {
			w = within
		}
	}
	return "", false, false
}

// through returns the way into a route.
func (w way) through(route caddyhttp.Route) way {
	if len(route.MatcherSets) == 0 {
		return w
	}
	if len(route.MatcherSets) == 1 && len(route.MatcherSets[0]) == 1 {
		if paths, ok := route.MatcherSets[0][0].(*caddyhttp.MatchPath); ok && len(*paths) == 1 {
			if begin, ok := strings.CutSuffix((*paths)[0], "*"); ok && !strings.ContainsAny(begin, "*{") {
				w.path = w.stripped + strings.TrimSuffix(begin, "/")
				return w
			}
		}
	}
	w.unclear = true
	return w
}

// strip notes a prefix, in the case in which it is written: a matcher has it in lower case.
func (w *way) strip(prefix string) {
	w.stripped += strings.TrimSuffix(prefix, "/")
	if strings.EqualFold(w.path, w.stripped) {
		w.path = w.stripped
	}
}
