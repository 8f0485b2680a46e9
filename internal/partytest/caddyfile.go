// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytest

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// AdaptCaddyfile returns the JSON of a Caddyfile, as it is.
func AdaptCaddyfile(input string) ([]byte, []caddyconfig.Warning, error) {
	return caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), nil)
}

// CheckAdaptedAgain checks that adapting has no side effects.
func CheckAdaptedAgain(t testing.TB, input string, config []byte) {
	t.Helper()
	again, _, err := AdaptCaddyfile(input)
	if err != nil {
		t.Fatalf("adapted again: %v", err)
	}
	if !bytes.Equal(config, again) {
		t.Errorf("adapted\n%s\nand again\n%s", config, again)
	}
}

// CheckHandlers checks that every handler of that name in the JSON decodes strictly, and
// encodes to what it was. It returns how many there are.
func CheckHandlers[H any](t testing.TB, config []byte, name string) int {
	t.Helper()
	handlers := HandlersIn(DecodeJSON(t, config), name)
	for _, object := range handlers {
		fields := maps.Clone(object)
		delete(fields, "handler")
		encoded, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		h := new(H)
		if err := caddy.StrictUnmarshalJSON(encoded, h); err != nil {
			t.Fatalf("%v, decoding\n%s", err, encoded)
		}
		var warnings []caddyconfig.Warning
		again := caddyconfig.JSONModuleObject(h, "handler", name, &warnings)
		if len(warnings) > 0 {
			t.Fatal(warnings)
		}
		if !reflect.DeepEqual(DecodeJSON(t, again), any(object)) {
			t.Errorf("decoded\n%s\nencoded\n%s", encoded, again)
		}
	}
	return len(handlers)
}

// HandlersIn returns the handlers of that name in decoded JSON.
func HandlersIn(value any, name string) []map[string]any {
	var handlers []map[string]any
	switch value := value.(type) {
	case map[string]any:
		if value["handler"] == name {
			handlers = append(handlers, value)
		}
		for _, member := range value {
			handlers = append(handlers, HandlersIn(member, name)...)
		}
	case []any:
		for _, element := range value {
			handlers = append(handlers, HandlersIn(element, name)...)
		}
	}
	return handlers
}
