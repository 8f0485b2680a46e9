// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"encoding/json"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/party"
)

// TestTheNameOfAPageIsTheRequests compares what is read of a payload to find whom to ask with what
// guests read.
func TestTheNameOfAPageIsTheRequests(t *testing.T) {
	object := map[string]any{"id": json.Number("7")}
	for _, payload := range []any{
		party.URLRequest{"a:b", nil}, &party.URLRequest{"a", object}, json.RawMessage(`["a", {}]`), json.RawMessage(`["a"]`), json.RawMessage(`7`),
		[]any{"a", object}, []any{"a", nil}, []any{"a"}, []any{"a", 7}, []any{7, object}, []any{nil, nil}, []any{"a", object, nil}, []any{}, [2]any{"a", map[string]string{"b": "c"}}, []string{"a", "b"},
		map[string]any{"name": "a"}, map[string]any{"name": "", "values": object}, map[string]any{"name": "a", "values": nil}, map[string]any{"name": "a", "values": 7},
		map[string]any{"name": "a", "kwargs": object, "query": object}, map[string]any{"name": "a", "kwargs": nil}, map[string]any{"name": "a", "kwargs": "b"}, map[string]any{"name": "a", "query": []any{}},
		map[string]any{"name": "a", "kwargs": map[string]string{"b": "c"}}, map[string]any{"name": "a", "anchor": 7}, map[string]any{"Name": "a"}, map[string]any{"name": "a", "NAME": "b"},
		map[string]any{"name": 7}, map[string]any{"values": object}, map[string]any{}, map[string]string{"name": "a"}, nil, 7, "a", true,
	} {
		request, err := party.URLRequestOf(payload)
		name, ok := party.PageIn(payload)
		check.ErrorIf(t, name != request.Name || ok != (err == nil), "%#v: page %q, %v; guests read %q, %v", payload, name, ok, request.Name, err)
	}
}
