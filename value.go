// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// templateValue returns an answer as a template can use it: JSON is decoded.
func templateValue(answer any) (any, error) {
	raw, ok := answer.(json.RawMessage)
	if !ok {
		return answer, nil
	}
	value, err := wire.ParseJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("the answer is a json.RawMessage that is %w", err)
	}
	return withNumbers(value), nil
}

// withNumbers returns a decoded JSON value with numbers that templates can compare and
// calculate with, where these print as they were written.
func withNumbers(value any) any {
	switch value := value.(type) {
	case json.Number:
		if n, err := value.Int64(); err == nil && strconv.FormatInt(n, 10) == value.String() {
			return n
		}
		if f, err := value.Float64(); err == nil && fmt.Sprint(f) == value.String() {
			return f
		}
	case []any:
		for i, element := range value {
			value[i] = withNumbers(element)
		}
	case map[string]any:
		for key, member := range value {
			value[key] = withNumbers(member)
		}
	}
	return value
}
