// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package trunk joins the parties of several Caddys that have the same name, over NATS.
//
// What a node says of its guests and is asked by others goes through these files:
//
//	announce.go    what this node says of its own guests
//	roster.go      what the others say of theirs
//	generation.go  connects the guests of others to the parties of a config
//	away.go        what a guest of another node answers here, by value
//	ask.go         asks a guest of another node, over NATS
//	serve.go       answers such asks of others
//	name.go        sees to it that no other node has the name of this one
//	link.go        ties them together, for as long as configs have the same trunk
package trunk

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/party"
)

func init() { caddy.RegisterModule(new(App)) }

const appName = "wsgi_party_trunk"

// App joins the parties of this Caddy, a node, with those of the same names of other nodes: guests of other nodes are
// guests here, too. The nodes trust each other as one Caddy trusts itself. They find each other through NATS, either
// an existing one or one that is embedded in each of them. One of `nats` and `embedded` is required.
//
// A guest that is here and on another node is asked here. If a guest is only on other nodes, the one is asked whose last
// answer was quickest; one where it has not been asked yet comes first, one where it has failed last. What guests
// say by value, such as the URLs of their pages, is answered without a message. A node that is silent for 6 seconds has
// left, with all its guests.
//
// Once the config has started, the app emits the events `node_joined` and `node_left`, with the data `node` and
// `address`. Caddy's metrics include these:
//
// Metric | Labels | What
// -------|--------|-----
// `caddy_wsgi_party_trunk_nodes` | | other nodes of the trunk
// `caddy_wsgi_party_trunk_messages_total` | `kind`, `outcome` | messages that were `sent`, `received` or `dropped`
type App struct {
	// The name of this node, which no other node of the trunk may have. Global placeholders are replaced. Default: the
	// host's name.
	Node string `json:"node,omitempty"`

	// The URLs of the servers of an existing NATS, such as `nats://nats.example.com`. Global placeholders are replaced.
	// Default: none.
	NATS []string `json:"nats,omitempty"`

	// A file of NATS credentials, with a JWT and its seed. Default: none.
	Credentials string `json:"credentials,omitempty"`

	// A file with an NKey seed. Default: none.
	NKey string `json:"nkey,omitempty"`

	// The user to connect to NATS as. Default: none.
	User string `json:"user,omitempty"`

	// The user's password, which must be a placeholder such as `{env.NATS_PASSWORD}`. Default: none.
	Password string `json:"password,omitempty"`

	// A token to connect to NATS with, which must be a placeholder. Default: none.
	Token string `json:"token,omitempty"`

	// How TLS connections to NATS are made. With a certificate, the certificate can be what NATS knows the node by.
	// Default: as the URLs and the server demand, with the system's certificate authorities.
	TLS *TLS `json:"tls,omitempty"`

	// Allows a NATS that asks for no credentials: everybody who can connect to it can ask all guests, and answer for
	// them. Default: false.
	Insecure bool `json:"insecure,omitempty"`

	// A NATS server in this process. The servers of all nodes form a cluster. Default: none.
	Embedded *Embedded `json:"embedded,omitempty"`

	// The secret of the embedded servers, of at least 32 bytes, the same on all nodes: with it, they connect to each
	// other, and other nodes to them. It must be a placeholder, such as `{env.TRUNK_SECRET}`. Required if an embedded
	// server listens. Default: none.
	Secret string `json:"secret,omitempty"`

	// The parties to join with those of the same names. Default: every party.
	Parties []string `json:"parties,omitempty"`

	// What the subjects of messages begin with. Trunks with different ones share a NATS without knowing of each other.
	// Default: `wsgi_party`.
	Subject string `json:"subject,omitempty"`

	// Schemes and hosts, such as `https://shop.example.com`, to which links to guests of other nodes may lead, besides
	// those that invites in this config begin with. Default: none.
	Origins []string `json:"origins,omitempty"`

	logger     *zap.Logger
	settings   settings
	key        string // the link's
	link       *link
	generation *generation
}

// TLS is how connections are made. All files are PEM.
type TLS struct {
	// A file with the certificate authorities to trust. Default: the system's.
	CA string `json:"ca,omitempty"`

	// A file with the certificate to show. Default: none.
	Certificate string `json:"certificate,omitempty"`

	// A file with the certificate's key. Default: none.
	Key string `json:"key,omitempty"`
}

// Embedded is a NATS server in this process.
type Embedded struct {
	// The address to listen on for nodes without a server of their own, such as `10.0.0.1:4222`: their `nats` is this
	// address, and their `secret` the same. Default: none, only this process can connect.
	Listen string `json:"listen,omitempty"`

	// The address to listen on for the servers of other nodes, such as `10.0.0.1:6222`. Default: none.
	Cluster string `json:"cluster,omitempty"`

	// Where some servers of other nodes listen, such as `nats://10.0.0.2:6222`. The server learns of others from them.
	// Global placeholders are replaced. Default: none.
	Routes []string `json:"routes,omitempty"`

	// TLS between the servers. Each shows the others its certificate, so all three files are required. Default: with
	// certificates made from the secret.
	TLS *TLS `json:"tls,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: appName, New: func() caddy.Module { return new(App) }}
}

// links are those of the process, which outlive configs that have the same trunk.
var links = caddy.NewUsagePool()

// Provision sets up the app.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	parties, err := party.AppOf(ctx)
	if err != nil {
		return err
	}
	if a.settings, err = a.resolve(); err != nil {
		return err
	}
	encoded, err := json.Marshal(a.settings)
	if err != nil {
		return err
	}
	loaded, known, err := links.LoadOrNew(string(encoded), func() (caddy.Destructor, error) { return newLink(a.settings, a.logger), nil })
	if err != nil {
		return err
	}
	a.key, a.link = string(encoded), loaded.(*link)
	if !known {
		a.link.inherit()
	}
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	emit := func(name string, data map[string]any) { events.(*caddyevents.App).Emit(ctx, name, data) }
	a.generation = newGeneration(a.link, parties, a.logger, emit)
	parties.OnParty(a.generation.add)
	return registerMetrics(ctx)
}

// Start connects the node to NATS, and has it announce the guests of this config from now on. If NATS cannot be reached,
// it goes on trying.
func (a *App) Start() error {
	if err := a.link.open(); err != nil {
		return err
	}
	return a.link.start(a.generation)
}

// Stop has the node announce the guests of the config that has started before, if that still runs. It disconnects
// nobody: requests in flight outlive it.
func (a *App) Stop() error {
	a.generation.end()
	return nil
}

// Cleanup releases what the config holds. With the last config, the node leaves the trunk.
func (a *App) Cleanup() error {
	if a.generation != nil {
		a.generation.end()
	}
	if a.link == nil {
		return nil
	}
	_, err := links.Delete(a.key)
	return err
}

// running returns the app of the running config.
func running() (*App, bool) {
	app, err := caddy.ActiveContext().AppIfConfigured(appName)
	a, ok := app.(*App)
	return a, ok && err == nil && a.link != nil
}

// recovered logs what a goroutine panicked with.
func recovered(logger *zap.Logger, what string) {
	if value := recover(); value != nil {
		logger.Error("a goroutine of the trunk panicked", zap.String("while", what), zap.Any("error", value), zap.Stack("stack"))
	}
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
