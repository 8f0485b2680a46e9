// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Decoded JSON for templates.

package wire

import (
	stdjson "encoding/json"
	"fmt"
	"strconv"
)

// WithNumbers returns a decoded JSON value with numbers that templates can compare and
// calculate with, where these print as they were written.
func WithNumbers(value any) any {
	switch value := value.(type) {
	case stdjson.Number:
		if n, err := value.Int64(); err == nil && strconv.FormatInt(n, 10) == value.String() {
			return n
		}
		if f, err := value.Float64(); err == nil && fmt.Sprint(f) == value.String() {
			return f
		}
	case []any:
		for i, element := range value {
			value[i] = WithNumbers(element)
		}
	case map[string]any:
		for key, member := range value {
			value[key] = WithNumbers(member)
		}
	}
	return value
}
