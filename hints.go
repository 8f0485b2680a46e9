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
	"encoding/json"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// warnOfOpen warns of a server at which more than the guests may reach wsgi_party_ask.
func warnOfOpen(logger *zap.Logger, server *caddyhttp.Server) {
	for _, policy := range server.TLSConnPolicies {
		if auth := policy.ClientAuthentication; auth != nil && (auth.Mode == "" || auth.Mode == "require_and_verify") && auth.Active() {
			return
		}
	}
	open := slices.DeleteFunc(slices.Clone(server.Listen), onlyLocal)
	if len(open) == 0 {
		return
	}
	logger.Warn("wsgi_party_ask can be reached from other machines",
		zap.String("server", server.Name()),
		zap.Strings("listen", open),
		zap.String("hint", "only the guests are to reach it: write `bind 127.0.0.1` or `bind unix//run/party.sock` in its site, also where its address is http://127.0.0.1:2080, which alone says nothing about who can connect; or demand certificates of clients, with `client_auth` in its `tls`"))
}

// onlyLocal reports whether a listener's address is reached from this machine only.
func onlyLocal(listen string) bool {
	address, err := caddy.ParseNetworkAddress(listen)
	if err != nil {
		return false
	}
	host, _, _ := strings.Cut(address.Host, "%")
	switch network := address.Network; {
	case address.IsUnixNetwork(), address.IsFdNetwork():
		return true
	case !strings.HasPrefix(network, "tcp") && !strings.HasPrefix(network, "udp"):
		return true // a plugin's, which has rules of its own
	case host == "localhost":
		return true
	default:
		return net.ParseIP(host).IsLoopback()
	}
}

// whichParties says which parties there are.
func whichParties(names []string) string {
	if len(names) == 0 {
		return "there is no wsgi_party handler"
	}
	return thereAre("party", names)
}

// thereAre says what there is of a kind, by its name in the singular.
func thereAre(kind string, names []string) string {
	switch len(names) {
	case 0:
		return "there is none"
	case 1:
		return "the only " + kind + " is " + names[0]
	}
	kinds := kind + "s"
	if stem, ok := strings.CutSuffix(kind, "y"); ok {
		kinds = stem + "ies"
	}
	return "the " + kinds + " are " + strings.Join(names, ", ")
}

// partiesIn returns the names of the parties in the config that is being provisioned,
// as far as they can be seen from the module.
func partiesIn(ctx caddy.Context) []string {
	names := make(map[string]bool)
	if a, err := appOf(ctx); err == nil {
		a.mu.RLock()
		for name, l := range a.lines {
			if len(l.parties) > 0 {
				names[name] = true
			}
		}
		a.mu.RUnlock()
	}
	// What has not been provisioned yet is still JSON, in the modules around this one.
	for _, module := range ctx.Modules() {
		var decoded any
		if encoded, err := json.Marshal(module); err == nil && json.Unmarshal(encoded, &decoded) == nil {
			findParties(decoded, names)
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func findParties(value any, names map[string]bool) {
	switch value := value.(type) {
	case map[string]any:
		if value["handler"] == "wsgi_party" {
			name, _ := value["name"].(string)
			if name == "" {
				name = DefaultParty
			}
			names[name] = true
		}
		for _, member := range value {
			findParties(member, names)
		}
	case []any:
		for _, element := range value {
			findParties(element, names)
		}
	}
}
