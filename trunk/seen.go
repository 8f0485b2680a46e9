// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What is seen of a trunk: in the admin API, by `caddy wsgi-party trunk`, and in metrics.

package trunk

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/wsgiparty/wsgiparty/internal/admincommand"
	"github.com/wsgiparty/wsgiparty/party"
)

func init() {
	caddy.RegisterModule(new(adminAPI))
	party.RegisterCommand(command)
}

// adminAPI is a module that provides the endpoint /wsgi_party_trunk of Caddy's admin API, which shows the nodes of the
// trunk.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.wsgi_party_trunk", New: func() caddy.Module { return new(adminAPI) }}
}

const adminPath = "/wsgi_party_trunk"

// Routes returns the route of the endpoint.
func (*adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminPath, Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: fmt.Errorf("method %s is not allowed here, only GET and HEAD", r.Method)}
		}
		a, ok := running()
		if !ok {
			return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("the running config has no trunk: write `wsgi_party_trunk` in its global options")}
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(a.link.show())
	})}}
}

// The JSON of the endpoint. Durations are in seconds.
type (
	trunkJSON struct {
		Node      string        `json:"node"`
		Connected bool          `json:"connected"`          // to NATS
		Namesake  string        `json:"namesake,omitempty"` // address of an older node of the same name, for which this one keeps silent
		Nodes     []nodeJSON    `json:"nodes"`
		Messages  []messageJSON `json:"messages"`
	}
	nodeJSON struct {
		Node      string    `json:"node"`
		Address   string    `json:"address"`
		RoundTrip float64   `json:"round_trip,omitempty"` // missing for a node that did not answer in a second
		Guests    []string  `json:"guests"`               // each with its party
		LastSeen  time.Time `json:"last_seen"`
	}
	messageJSON struct {
		Kind     string `json:"kind"`
		Sent     uint64 `json:"sent"`
		Received uint64 `json:"received"`
		Dropped  uint64 `json:"dropped"`
	}
)

// show returns what is known of the trunk. It asks each node once, to know how long that takes.
func (l *link) show() trunkJSON {
	shown := trunkJSON{Node: l.settings.Node, Connected: l.nats.IsConnected(), Nodes: []nodeJSON{}}
	l.mu.Lock()
	if l.isOutranked() {
		shown.Namesake = l.namesake.Address
	}
	for _, name := range slices.Sorted(maps.Keys(l.nodes)) {
		n := l.nodes[name]
		guests := []string{}
		for key := range n.guests {
			guests = append(guests, key.party+" "+key.guest)
		}
		slices.Sort(guests)
		shown.Nodes = append(shown.Nodes, nodeJSON{Node: name, Address: n.Address, Guests: guests, LastSeen: n.seen})
	}
	l.mu.Unlock()
	var wg sync.WaitGroup
	for i := range shown.Nodes {
		wg.Go(func() {
			defer recovered(l.logger, "the trunk was shown")
			shown.Nodes[i].RoundTrip = l.roundTrip(shown.Nodes[i].Node).Seconds()
		})
	}
	wg.Wait()
	for _, kind := range kinds {
		m := messageJSON{Kind: kind}
		for outcome, n := range map[string]*uint64{sent: &m.Sent, received: &m.Received, dropped: &m.Dropped} {
			*n = l.counts.of[[2]string{kind, outcome}].Load()
		}
		shown.Messages = append(shown.Messages, m)
	}
	return shown
}

// roundTrip returns how long a message to a node and back takes, 0 if it does not come back.
func (l *link) roundTrip(node string) time.Duration {
	data, err := json.Marshal(message{Kind: "hello", From: l.sender()})
	if err != nil || !l.nats.IsConnected() {
		return 0
	}
	began := time.Now()
	l.counts.add("hello", sent)
	if _, err := l.nats.RequestMsg(&nats.Msg{Subject: l.subject("node", node), Data: data}, time.Second); err != nil {
		return 0
	}
	return time.Since(began)
}

func command() *cobra.Command {
	return &cobra.Command{
		Use: "trunk", Short: "Shows the other nodes of the trunk",
		Long: `
Shows the trunk of the running Caddy in three tables:

- this node, and whether it is connected to NATS.
- the other nodes: how long a message to each and back takes, the guests that it
  announces, and when it was last heard of. A node is gone after 6 seconds of
  silence.
- how many messages of each kind were sent, received and dropped.`,
		Args: admincommand.Args(cobra.NoArgs),
		RunE: admincommand.Run(func(fl caddycmd.Flags) error {
			shown, err := admincommand.Call[trunkJSON](fl, http.MethodGet, adminPath, nil)
			if err != nil {
				return err
			}
			state := "connected to NATS"
			if !shown.Connected {
				state = "not connected to NATS"
			} else if shown.Namesake != "" {
				state = "silent: an older node of this name is at " + shown.Namesake
			}
			this := admincommand.NewTable("THIS NODE", "STATE")
			this.Row(shown.Node, state)
			nodes := admincommand.NewTable("NODE", "ADDRESS", "ROUND TRIP", "GUESTS", "LAST SEEN")
			for _, n := range shown.Nodes {
				trip := "no answer"
				if n.RoundTrip > 0 {
					trip = time.Duration(n.RoundTrip * float64(time.Second)).Round(10 * time.Microsecond).String()
				}
				nodes.Row(n.Node, n.Address, trip, strings.Join(n.Guests, ", "), n.LastSeen.Local().Format(time.DateTime))
			}
			messages := admincommand.NewTable("MESSAGE", "SENT", "RECEIVED", "DROPPED")
			for _, m := range shown.Messages {
				messages.Row(m.Kind, m.Sent, m.Received, m.Dropped)
			}
			return admincommand.Print(fl, this, nodes, messages)
		}),
	}
}

// metrics collects what the trunk of the running config counts.
type metrics struct{}

var (
	nodesDesc    = prometheus.NewDesc("caddy_wsgi_party_trunk_nodes", "Number of other nodes of the trunk.", nil, nil)
	messagesDesc = prometheus.NewDesc("caddy_wsgi_party_trunk_messages_total", "Counter of messages of the trunk.", []string{"kind", "outcome"}, nil)
)

func registerMetrics(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return nil
	}
	err := registry.Register(metrics{})
	if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		return nil
	}
	return err
}

// Describe describes the metrics.
func (metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- nodesDesc
	ch <- messagesDesc
}

// Collect reads the counters.
func (metrics) Collect(ch chan<- prometheus.Metric) {
	a, ok := running()
	if !ok {
		return
	}
	l := a.link
	l.mu.Lock()
	nodes := len(l.nodes)
	l.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(nodesDesc, prometheus.GaugeValue, float64(nodes))
	for of, n := range l.counts.of {
		ch <- prometheus.MustNewConstMetric(messagesDesc, prometheus.CounterValue, float64(n.Load()), of[0], of[1])
	}
}

// Interface guards
var (
	_ caddy.AdminRouter    = (*adminAPI)(nil)
	_ prometheus.Collector = metrics{}
)
