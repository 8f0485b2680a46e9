// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/caddytokens"
	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/party"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(Guest))
}

// Guest is an HTTP handler that makes the application behind it a guest of the party whose routes it is in. The
// application can be written in any language, and can stand behind `reverse_proxy`, `php_fastcgi` or any other handler.
// What the application answers is declared here, or in a manifest, which Guest fetches from the application once the
// config has started. Guest calls the next handler for every request except its invite while the config loads, which it
// takes itself.
//
// It deletes the headers `Party-Token`, `Party-Ask` and `Party-Forward-…` from every request. It sets
// `X-Forwarded-Prefix` to the path at which the application is mounted, which is the prefix of its invite's path. If the
// guest has a key and the party has `ask_on`, it also sets `Party-Ask` to the address where the guest can ask.
//
// It sets the placeholder `{http.wsgi_party.guest}` to the guest's name, for access logs. It counts the requests that it
// passes on, by the status that the client gets and by the pattern that claims the request, or else the first two
// segments of its path. It keeps no more of a path, and nothing of a query.
type Guest struct {
	// The guest's name. Default: that of the invite. If several of these handlers stand in front of one path, each takes
	// the invite of its own name.
	Name string `json:"name,omitempty"`

	// The guest's keys, each at least 32 bytes long. No other guest may have the same ones. They must be placeholders,
	// such as `{env.BLOG_PARTY_KEY}` or `{file./run/secrets/blog}`. The first key signs what is sent to the application.
	// To ask, the application can use any of them. Default: none; without a key the guest cannot ask.
	Keys []string `json:"keys,omitempty"`

	// Has Caddy make the guest's key and keep it in Caddy's storage, and in a file for the application. The guest then
	// cannot have other `keys`. Default: no.
	KeyAuto *KeyAuto `json:"key_auto,omitempty"`

	// The application's pages: a URL template (RFC 6570) for each name, relative to the mount.
	URLs map[string]string `json:"urls,omitempty"`

	// What the application answers, as in a manifest. Each service has an object with `answer`, a constant, or with
	// `href`, a URL template relative to the mount. It may also have a list of such objects, up to 16 of them with an
	// `href`. An ask is a GET if the href has expressions, and otherwise a POST. Next to `href`, `method` sets `GET` or
	// `POST` explicitly. `batch`, true, says that the application takes several asks in one POST. `type`, such as
	// `text/html`, says that its answer is text of that media type, in UTF-8.
	Services json.RawMessage `json:"services,omitempty"`

	// The requests that the application claims, as in a manifest: patterns of Go's `net/http.ServeMux`, such as
	// `/reports/`, `GET /users/{id}` or `shop.example.com/cart/`, with paths that leave out the mount. `urls` claims all
	// requests to the application's pages. Up to 4,096. Default: what the application's manifest says.
	Claims []string `json:"claims,omitempty"`

	// The hosts that the application claims, such as `shop.example.com`, or `*.example.com` for all hosts with one more
	// label. Up to 1,000. Default: what the application's manifest says.
	Hosts []string `json:"hosts,omitempty"`

	// How long to keep what the application answers for the service `claims`, if that has an href. An answer is kept for
	// its method, host and path. Up to 24 hours. Default: `5s`.
	ClaimCache caddy.Duration `json:"claim_cache,omitempty"`

	// What becomes of claimed requests while the application is down. `pass` leaves them to others, as if the
	// application did not claim them. The application counts as down when there is nothing to connect to, or when it
	// does not answer requests for its manifest. Default: it gets the requests all the same, and they fail.
	Unavailable string `json:"unavailable,omitempty"`

	// Whether to ask the application for a manifest. What is declared here takes precedence over the manifest. Default:
	// true if neither `urls` nor `services` are declared here.
	FetchManifest *bool `json:"fetch_manifest,omitempty"`

	// Whether to rewrite responses of an application that knows nothing of its mount, such as one behind `handle_path`.
	// The party's prefix and the mount are put before paths in the headers `Location`, `Content-Location`, `Link` and
	// `Refresh`, and before the `Path` of cookies. What is under the mount already stays as it is, and so do URLs of
	// other hosts, relative URLs, and cookies whose name begins with `__Host-`. Default: false.
	MountResponses bool `json:"mount_responses,omitempty"`

	// The paths, such as `/api`, below which hrefs of the application's manifest may lead, besides that of the invite.
	// Use it only for a guest whose invite's path has nothing before `/__invite__`: the hrefs of other guests must lie
	// below what stands before `/__invite__`. Hrefs declared here in the config may lead anywhere. Default: none.
	Hrefs []string `json:"hrefs,omitempty"`

	// The only services to take from the application's manifest. Its members `urls`, `claims` and `hosts` count as the
	// services `url`, `claims` and `hosts`. Default: all.
	Allow []string `json:"allow,omitempty"`

	// How long one ask may take, including the wait for its turn. Default: `2s`.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How many asks may be under way at once, up to 4096: as many as the application answers at once if all its workers
	// do. One asker gets at most three quarters of them; everyone who is not a guest counts as one asker. Waiting askers
	// take turns. An ask is refused if its turn does not come within `timeout`, or if 1,024 are waiting already.
	// Default: `64`.
	MaxAsks int `json:"max_asks,omitempty"`

	// How long the answer to one ask may be, in bytes, all handlers of the service together. Up to 1 GiB. Default: 1
	// MiB.
	MaxAnswer int64 `json:"max_answer,omitempty"`

	// The headers that an ask takes along from the request that led to it. If a guest asks by `wsgi_party_ask`, they
	// come from the headers that it sends as `Party-Forward-<name>`. With a visitor's `Cookie` or `Authorization` the
	// application can do everything that the visitor can. Default: none.
	Forward []string `json:"forward,omitempty"`

	// Sends asks and requests for the manifest over connections of the guest's own, not through the party's routes. This
	// is several times as fast. Default: through the routes.
	Direct *Direct `json:"direct,omitempty"`

	logger   *zap.Logger
	app      *party.App
	holds    kept.Holds
	host     *party.Host
	keys     party.Keys
	keysErr  error // told once it is known whose they are
	keyFile  party.KeyFile
	declared *manifest.Manifest
	hrefs    []string // unescaped

	mu        sync.Mutex
	passed    []string                    // the guests whose invites were passed on
	rewritten bool                        // whether an invite came with another path
	speaksFor atomic.Pointer[application] // what the invite brought; nil before
}

// CaddyModule returns the Caddy module information.
func (*Guest) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.wsgi_party_guest", New: func() caddy.Module { return new(Guest) }}
}

// Provision sets up the handler.
func (g *Guest) Provision(ctx caddy.Context) error {
	g.logger = ctx.Logger()
	g.Timeout = cmp.Or(g.Timeout, caddy.Duration(2*time.Second))
	g.MaxAsks = cmp.Or(g.MaxAsks, defaultMaxAsks)
	g.MaxAnswer = cmp.Or(g.MaxAnswer, 1<<20)
	if g.Timeout < 0 {
		return fmt.Errorf("timeout is %v: write a duration above zero, such as 2s", time.Duration(g.Timeout))
	}
	if g.MaxAsks < 0 || g.MaxAsks > maxMaxAsks {
		return fmt.Errorf("max_asks is %d: write a number from 1 to %d", g.MaxAsks, maxMaxAsks)
	}
	if g.MaxAnswer < 0 || g.MaxAnswer > caddytokens.MaxSize {
		return fmt.Errorf("max_answer is %d bytes: write a size above zero and up to 1 GiB", g.MaxAnswer)
	}
	g.ClaimCache = cmp.Or(g.ClaimCache, caddy.Duration(5*time.Second))
	if g.ClaimCache < 0 || g.ClaimCache > caddy.Duration(maxClaimCache) {
		return fmt.Errorf("claim_cache is %v: write a duration above zero and up to %v, such as 5s", time.Duration(g.ClaimCache), maxClaimCache)
	}
	if g.Unavailable != "" && !g.passes() {
		return fmt.Errorf("unavailable is %q: write pass, or leave it out", g.Unavailable)
	}
	if g.host = party.Around(ctx); g.host == nil {
		return errors.New("wsgi_party_guest is in no party's routes: put it in a wsgi_party block, in front of the application")
	}
	if err := checkForwarded(g.Forward); err != nil {
		return err
	}
	var err error
	if g.hrefs, err = parseHrefs(g.Hrefs); err != nil {
		return err
	}
	if g.keys, g.keysErr = resolveKeys(g.Keys); g.KeyAuto != nil {
		if g.keyFile, err = g.KeyAuto.resolve(len(g.Keys) > 0); err != nil {
			return err
		}
	}
	if g.Direct != nil {
		if err = g.Direct.provision(ctx); err != nil {
			return err
		}
	}
	if g.declared, err = g.parseDeclared(); err != nil {
		return err
	}
	if g.app, err = party.AppOf(ctx); err != nil {
		return err
	}
	g.app.Forward(g.Forward)
	g.app.WarnAtStart(g.warn)
	g.host.AddSpeaker((*speaker)(g))
	return nil
}

// Cleanup forgets the handler. It disconnects nobody: requests in flight outlive it.
func (g *Guest) Cleanup() error {
	g.holds.Release()
	if g.Direct != nil {
		g.Direct.close()
	}
	if g.host != nil {
		g.host.RemoveSpeaker((*speaker)(g))
	}
	return nil
}

// parseDeclared returns the manifest that the config declares, a zero one if it does not.
func (g *Guest) parseDeclared() (*manifest.Manifest, error) {
	if !g.declares() && len(g.Claims) == 0 && len(g.Hosts) == 0 {
		return new(manifest.Manifest), nil
	}
	encoded, err := json.Marshal(&Guest{URLs: g.URLs, Services: g.Services, Claims: g.Claims, Hosts: g.Hosts})
	if err != nil {
		return nil, err
	}
	return manifest.Parse(encoded)
}

// declares reports whether the config says what the application answers for, and not only what it claims.
func (g *Guest) declares() bool { return len(g.URLs) > 0 || len(g.Services) > 0 }

// declaresSomething reports whether the config says anything that holds without the application's manifest.
func (g *Guest) declaresSomething() bool {
	return g.declares() || len(g.Hosts) > 0 || slices.ContainsFunc(g.Claims, func(claim string) bool { return claim != manifest.AllURLs })
}

// fetches reports whether the application is asked for its manifest.
func (g *Guest) fetches() bool {
	if g.FetchManifest != nil {
		return *g.FetchManifest
	}
	return !g.declares()
}

// offer is called with each invite that comes to the handler:
//
//	the invite is                       answered  passOn
//	accepted already, by a handler before   no      no
//	this handler's                          yes     no
//	this handler's, but cannot be accepted  no      no    with an error
//	for another handler, which awaits it    no      yes
//	for no handler                          no      no    or an application would get it
func (g *Guest) offer(i *party.Invitation, w http.ResponseWriter, r *http.Request) (passOn bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i.Accepted() {
		return false, nil
	}
	guest := i.Operator.Guest()
	if why := g.notFor(i); why != "" {
		g.passed = append(g.passed, guest)
		i.Advise(why)
		return g.app.Awaits(guest), nil
	}
	seen := r.URL.EscapedPath()
	mount, ok := strings.CutSuffix(i.URI.EscapedPath(), seen)
	if !ok { // the guest would build wrong links
		g.rewritten = true
		i.Advise("a handler in front of wsgi_party_guest rewrites the path (rewrite, try_files, uri). Caddy sorts directives, so moving their lines does not help: write `route { … }` around them, which runs them as written, with wsgi_party_guest first. Only a prefix may be stripped before it, by handle_path or uri strip_prefix")
		return false, fmt.Errorf("the invite to %s reaches wsgi_party_guest as %s, which is not the end of it: the application's mount is unknown", i.URI.EscapedPath(), seen)
	}
	if err := g.accept(i, strings.TrimSuffix(mount, "/")); err != nil {
		return false, err
	}
	w.WriteHeader(http.StatusNoContent)
	return false, nil
}

// notFor says why an invite is another handler's, and what to write. It is empty for the
// guest's own.
func (g *Guest) notFor(i *party.Invitation) string {
	a, guest := g.speaksFor.Load(), i.Operator.Guest()
	switch {
	case a != nil && (a.guest() != guest || a.invitation.Operator.Partyline() != i.Operator.Partyline()):
		return fmt.Sprintf("it reaches the wsgi_party_guest that already speaks for %q: give %q a wsgi_party_guest of its own, or add one with its name", a.guest(), guest)
	case g.Name != "" && g.Name != guest:
		return fmt.Sprintf("it reaches `wsgi_party_guest %s`, which takes only the invite of that name: write `invite %s as %[1]s`, or leave out the name in wsgi_party_guest. If `wsgi_party_guest %[3]s` is behind a matcher, let that match this invite, as `wsgi_party claimed_by %[3]s` does", g.Name, i.URI, guest)
	}
	return ""
}

// accept makes the application the guest that is invited.
func (g *Guest) accept(i *party.Invitation, mount string) error {
	if g.keysErr != nil {
		return &party.ConfigError{Err: fmt.Errorf("wsgi_party_guest: %w", g.keysErr)}
	}
	if err := g.resolveDirect(); err != nil {
		return &party.ConfigError{Err: err}
	}
	setKeys := func() error { return i.SetKeys(g.keys) }
	if g.KeyAuto != nil {
		setKeys = func() error { return i.MakeKey(g.keyFile) }
	}
	if err := setKeys(); err != nil {
		return &party.ConfigError{Err: err}
	}
	i.Accept()
	i.Mount(mount)
	a := newApplication(g, i, mount)
	begin := a.connectDeclared
	if g.fetches() {
		begin = newFetcher(a).begin
	}
	if err := begin(); err != nil {
		a.end()
		return err
	}
	if last := g.speaksFor.Swap(a); last != nil {
		last.end()
		last.invitation.Leave()
	}
	return nil
}

// speaker is what the party knows of the handler.
type speaker Guest

// Awaits reports whether the handler takes the invite of that guest if it comes.
func (s *speaker) Awaits(guest string) bool {
	a := s.speaksFor.Load()
	return s.Name == guest || s.Name == "" && (a == nil || a.guest() == guest)
}

// Speaks reports whether it has taken an invite.
func (s *speaker) Speaks() bool { return s.speaksFor.Load() != nil }

// Check returns what is wrong with the keys or with direct.
func (s *speaker) Check() error {
	if s.keysErr != nil {
		return s.wrap(s.keysErr)
	}
	if err := (*Guest)(s).resolveDirect(); err != nil {
		return s.wrap(err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Guest)(nil)
	_ caddy.CleanerUpper = (*Guest)(nil)
)
