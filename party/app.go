// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"text/template"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/nearest"
	"github.com/wsgiparty/wsgiparty/internal/token"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"go.uber.org/zap"
)

const appName = "wsgi_party"

func init() {
	caddy.RegisterModule(new(App))
}

// App holds the partylines of one config, so that each config has its own. It has no settings and need not be
// configured: the first `wsgi_party` handler, or module that joins a partyline, brings it along.
//
// The app keeps the last good manifest of each application in Caddy's storage, below `wsgi_party/`. The next Caddy
// to start with the same addresses and upstreams begins with it. A manifest that no config has used for 30 days is
// deleted. A storage that does not answer delays the loading of a config by at most 2 seconds in all.
//
// Once the config has started, the app emits these events. The data of all of them has `party`, `guest` and
// `services`. Events of invites also have `uri`, `status` (0 if nobody answered) and `error`. Those of guests that
// are on other nodes of a trunk also have `node`.
//
// Event | When
// ------|-----
// `guest_joined` | a guest took its invite, or a module joined
// `guest_left` | the last operator of a guest that had joined has left
// `invite_not_answered` | nobody took an invite
// `invite_refused` | an invite was answered with a 4xx status other than 404
// `invite_failed` | an invite ended in an error, a time-out, or a 5xx status
//
// An application that is invited over HTTP has joined when its manifest has arrived. It is asked again and again;
// the outcome is reported and counted only when it changes.
//
// A new config starts with nobody on the line: after a reload its guests join again. Guests of the old config do
// not count as having left.
//
// Caddy's metrics include these, about the parties and connected services of the running config. Counters go on
// across reloads. They are dropped once no config has had their guest or party for an hour. A guest's services
// beyond the first 512 are counted together as `other`.
//
// Metric | Labels | What
// -------|--------|-----
// `caddy_wsgi_party_asks_total` | `party`, `service` | asks for a service
// `caddy_wsgi_party_replies_total` | `party`, `guest`, `service`, `outcome` | calls of handlers that `answered`, `declined` or `failed`, or of remote ones that `refused` because they were asked more than they can answer
// `caddy_wsgi_party_guests` | `party` | guests on the line
// `caddy_wsgi_party_invites_total` | `party`, `outcome` | invites that `joined`, were `not_answered` or `refused`, or `failed`
// `caddy_wsgi_party_requests_total` | `party`, `guest`, `class` | requests that a `wsgi_party_guest` passed on, by the class of their status, `1xx` to `5xx`
// `caddy_wsgi_party_reply_duration_seconds` | `party`, `guest`, `service` | how long remote handlers took; others are not timed
type App struct {
	ctx    context.Context
	config caddy.Context // only to look for an app that is there
	logger *zap.Logger
	events *eventQueue

	loaded time.Time // when it started

	mu         sync.RWMutex
	entries    map[string]*Entry
	keys       token.Ring // of all guests: none may have another's
	warnings   []func()   // for Start, when all of the config is there
	onParty    []func(*Entry)
	newParties []*Entry // of which those have not been told

	autoKeys   []*autoKey
	askServers []askServer   // while it runs
	askChanges atomic.Uint64 // of what guests are told

	forwarded     headerList // that some guest is to be sent
	prefixHeaders headerList // that some party's prefix is in
	prefixWarned  atomic.Bool

	sites sites

	storage     Storage
	holds       kept.Holds
	pathKey     atomic.Pointer[token.PathKey] // nil until it has come from the storage
	pathKeyOnce sync.Once                     // for what has it come
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: appName, New: func() caddy.Module { return new(App) }}
}

// Provision sets up the app.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.config = ctx.Context, ctx
	a.logger = ctx.Logger()
	a.storage.app, a.storage.caddys = a, ctx.Storage()
	a.entries = make(map[string]*Entry)
	var err error
	if a.events, err = newEventQueue(ctx, a.logger); err != nil {
		return err
	}
	a.events.whenStarted = a.commitKeys
	a.events.onStart(a.storage.tidy)
	return nil
}

// Start makes keys, listens for what guests ask, and warns about what only the whole config shows.
func (a *App) Start() error {
	a.loaded = time.Now()
	if app, err := a.config.AppIfConfigured("http"); err == nil {
		a.sites.see([]caddy.Module{app.(caddy.Module)})
	}
	if err := a.makeKeys(); err != nil {
		return err
	}
	if err := a.listen(); err != nil {
		a.abortKeys()
		return err
	}
	a.warnOfJoined()
	a.mu.RLock()
	warnings := slices.Clone(a.warnings)
	a.mu.RUnlock() // a hint may ask which guests are expected
	for _, warn := range warnings {
		warn()
	}
	return nil
}

// warnOfJoined warns of modules that joined where they are hardly meant to.
func (a *App) warnOfJoined() {
	a.mu.RLock()
	defer a.mu.RUnlock()
	parties := slices.Sorted(maps.Keys(a.hosted()))
	for name, e := range a.entries {
		guests := slices.Sorted(maps.Keys(e.joinedAs))
		if len(e.hosts) == 0 {
			remedy := "join one of these, or give that name to a wsgi_party handler"
			if len(parties) == 0 {
				remedy = "write one around the applications' routes"
			}
			e.logger.Warn("no wsgi_party handler names the party that was joined", zap.Strings("guests", guests), zap.Strings("modules", slices.Sorted(maps.Keys(e.joinedBy))),
				zap.String("hint", "no party is called "+strconv.Quote(name)+nearest.DidYouMean(name, parties...)+"; "+thereAre(parties)+"; "+remedy))
		}
		for _, guest := range guests {
			if slices.ContainsFunc(e.hosts, func(h *Host) bool { return h.guests.has(guest) }) {
				e.logger.Warn("a module joined under the name of an invited guest: only one of the two is asked", zap.String("guest", guest),
					zap.String("hint", "join under another name, or invite that guest under another name"))
			}
		}
	}
}

// hosted is the set of the parties that handlers name. The app must be locked.
func (a *App) hosted() map[string]bool {
	names := make(map[string]bool)
	for name, e := range a.entries {
		if len(e.hosts) > 0 {
			names[name] = true
		}
	}
	return names
}

func thereAre(parties []string) string {
	if len(parties) == 0 {
		return "there is no wsgi_party handler"
	}
	return nearest.ThereAre("party", parties)
}

// WhichParties says, for an error, which parties there are in the config that is being
// provisioned, as far as the module can see them.
func WhichParties(ctx caddy.Context) string {
	names := make(map[string]bool)
	if a, err := AppOf(ctx); err == nil {
		a.mu.RLock()
		names = a.hosted()
		a.mu.RUnlock()
	}
	// What has not been provisioned yet is still JSON, in the modules around this one.
	for _, module := range ctx.Modules() {
		var decoded any
		if encoded, err := json.Marshal(module); err != nil || json.Unmarshal(encoded, &decoded) != nil {
			continue
		}
		wire.EachObject(decoded, func(object map[string]any) {
			if object["handler"] == "wsgi_party" {
				name, _ := object["name"].(string)
				names[cmp.Or(name, DefaultParty)] = true
			}
		})
	}
	return thereAre(slices.Sorted(maps.Keys(names)))
}

// Cleanup releases what the config holds; after a while the process forgets what no other config has. It also
// does what Stop would have done, which Caddy does not call for every config that fails to load.
func (a *App) Cleanup() error {
	a.holds.Release()
	a.abortKeys()
	return a.endListening()
}

// Stop ends the events and stops listening. It disconnects nobody: requests in flight outlive it.
func (a *App) Stop() error {
	a.events.end()
	a.abortKeys()
	return a.endListening()
}

// Running returns the app of the running config.
func Running() (*App, bool) {
	app, err := caddy.ActiveContext().AppIfConfigured(appName)
	a, _ := app.(*App)
	return a, err == nil
}

// AppOf returns the app of the config that is being provisioned.
func AppOf(ctx caddy.Context) (_ *App, err error) {
	defer func() {
		switch value := recover().(type) {
		case nil:
		case runtime.Error: // Caddy's, for a context without a config
			err = fmt.Errorf("the context belongs to no config: join in Provision, with the context that it gets (%w)", value)
		default:
			panic(value)
		}
	}()
	app, err := ctx.App(appName)
	if err != nil {
		return nil, err
	}
	a := app.(*App)
	a.sites.see(ctx.Modules())
	for _, provision := range provisioners {
		if err := provision(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// WarnAtStart makes Start call a function that may warn of what only the whole config shows.
func (a *App) WarnAtStart(warn func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.warnings = append(a.warnings, warn)
}

// What other packages add, in their init functions only, to an App, the command, the admin API and
// the functions of pages. A name that maps to nil is taken.
var (
	provisioners      []func(caddy.Context) error
	commands          []func() *cobra.Command
	adminHandlers     = map[string]AdminHandler{"ask": nil, "invite": nil}
	templateFunctions = map[string]TemplateFunction{"askAround": nil, "askFirst": nil, "askGuest": nil, "askReplies": nil, "maybeURL": nil, "urlFor": nil}
)

// RegisterProvisioner, in an init function, registers a function that Provision calls with the context of each
// module that looks for the App of its config.
func RegisterProvisioner(provision func(caddy.Context) error) {
	provisioners = append(provisioners, provision)
}

// RegisterCommand, in an init function, adds a command to `caddy wsgi-party`, whose flags it inherits. When
// Caddy runs as a command, it calls make, and panics if the name is taken.
func RegisterCommand(make func() *cobra.Command) { commands = append(commands, make) }

// RegisteredCommands returns what makes the commands.
func RegisteredCommands() []func() *cobra.Command { return commands }

// AdminHandler serves a request to the admin API about a party, which the running config may not have. A
// caddy.APIError says with which status the request fails.
type AdminHandler func(w http.ResponseWriter, r *http.Request, party string) error

// RegisterAdmin, in an init function, registers the handler of `/wsgi_party/<party>/<name>` in the admin API,
// and of everything below. It panics if the name is taken.
func RegisterAdmin(name string, handler AdminHandler) {
	register(adminHandlers, "endpoint", name, handler)
}

// RegisteredAdmin returns the handler of that name, nil if there is none.
func RegisteredAdmin(name string) AdminHandler { return adminHandlers[name] }

// TemplateFunction makes a function for pages that ask a party. It is called when their handler is
// provisioned, with the context given there. As a page's functions do, the function may return one
// or two values, the second an error.
type TemplateFunction func(ctx caddy.Context, party string) (function any, err error)

// RegisterTemplateFunction, in an init function, adds a function to those that
// `extensions { wsgi_party }` gives pages. One of Caddy's own that has its name comes first. It
// panics if the name is taken or could not be one.
func RegisterTemplateFunction(name string, make TemplateFunction) {
	template.New("").Funcs(template.FuncMap{name: fmt.Sprint}) // panics if it could not
	register(templateFunctions, "template function", name, make)
}

// RegisteredTemplateFunctions makes the functions for pages.
func RegisteredTemplateFunctions(ctx caddy.Context, party string) (template.FuncMap, error) {
	functions := make(template.FuncMap)
	for name, make := range templateFunctions {
		if make != nil {
			function, err := make(ctx, party)
			if err != nil {
				return nil, fmt.Errorf("template function %s: %w", name, err)
			}
			functions[name] = function
		}
	}
	return functions, nil
}

func register[T any](registered map[string]T, what, name string, value T) {
	if _, taken := registered[name]; taken || name == "" {
		panic(fmt.Sprintf("%s %q is registered already", what, name))
	}
	registered[name] = value
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
