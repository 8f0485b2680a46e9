// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Which hosts the sites of a config have.

package party

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// HasHost reports whether a site of the config has that host, given without a port. A site has the host if a
// route of a server, not one nested deeper, has a host matcher for it, as Caddy matches, or has none and so is
// for every host. Expressions, `not`, and matchers of headers do not count as host matchers, whatever they say
// of hosts, because Caddy takes no names for certificates from them. Caddy's own redirects to https are not
// sites.
//
// Once the config has been provisioned, the answer never changes.
func (a *App) HasHost(host string) bool {
	app := a.sites.app.Load()
	if app == nil { // the sites are not to be seen yet, or there are none
		return false
	}
	a.sites.once.Do(func() { a.sites.collect(app) })
	return a.sites.have(host)
}

// sites are those of a config, once the http app has been seen. Its routes have their matchers
// before any of their handlers is provisioned.
type sites struct {
	app  atomic.Pointer[caddyhttp.App]
	once sync.Once

	every     bool                // a site has every host
	exact     map[string]struct{} // in lower case
	wildcards []string
}

// see finds the http app among the modules around one that is being provisioned.
func (s *sites) see(around []caddy.Module) {
	if len(around) > 0 {
		if app, ok := around[0].(*caddyhttp.App); ok {
			s.app.Store(app)
		}
	}
}

func (s *sites) collect(app *caddyhttp.App) {
	s.exact = make(map[string]struct{})
	replacer := caddy.NewReplacer()
	for _, server := range app.Servers {
		for _, route := range server.Routes {
			s.every = s.every || len(route.MatcherSets) == 0
			for _, matchers := range route.MatcherSets {
				s.add(matchers, replacer)
			}
		}
	}
}

// add adds the hosts that these matchers match.
func (s *sites) add(matchers caddyhttp.MatcherSet, replacer *caddy.Replacer) {
	if slices.ContainsFunc(matchers, isCaddysOwn) {
		return
	}
	every := true
	for _, m := range matchers {
		hosts, ok := m.(*caddyhttp.MatchHost)
		if !ok {
			continue
		}
		every = false
		for _, host := range *hosts {
			host = strings.ToLower(replacer.ReplaceAll(host, "")) // what a request has, no host has yet
			if strings.Contains(host, "*") {
				s.wildcards = append(s.wildcards, host)
			} else {
				s.exact[host] = struct{}{}
			}
		}
	}
	s.every = s.every || every
}

// isCaddysOwn reports whether a matcher is that of the redirects that automatic HTTPS adds. One of a
// config is a pointer.
func isCaddysOwn(matcher any) bool {
	_, ok := matcher.(caddyhttp.MatchProtocol)
	return ok
}

func (s *sites) have(host string) bool {
	if s.every || host == "" {
		return s.every
	}
	host = strings.ToLower(host)
	if _, ok := s.exact[host]; ok {
		return true
	}
	return slices.ContainsFunc(s.wildcards, func(pattern string) bool { return matchLabels(pattern, host) })
}

// matchLabels is how Caddy matches wildcards: each stands for one label, wherever it is.
func matchLabels(pattern, host string) bool {
	for {
		p, patternRest, more := strings.Cut(pattern, ".")
		h, hostRest, hostMore := strings.Cut(host, ".")
		if p != "*" && p != h || more != hostMore {
			return false
		}
		if !more {
			return true
		}
		pattern, host = patternRest, hostRest
	}
}
