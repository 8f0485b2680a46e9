// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgiparty/wsgiparty/internal/nearest"
)

// whichParties says which parties there are.
func whichParties(names []string) string {
	if len(names) == 0 {
		return "there is no wsgi_party handler"
	}
	return nearest.ThereAre("party", names)
}

// WhichParties says which parties there are in the config that is being provisioned, for
// an error. It is experimental.
func WhichParties(ctx caddy.Context) string { return whichParties(partiesIn(ctx)) }

// partiesIn returns the names of the parties in the config that is being provisioned,
// as far as they can be seen from the module.
func partiesIn(ctx caddy.Context) []string {
	names := make(map[string]bool)
	if a, err := AppOf(ctx); err == nil {
		a.mu.RLock()
		for name, e := range a.entries {
			if len(e.hosts) > 0 {
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
