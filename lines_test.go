// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"testing"
)

// maxDepth is how many asks may be nested.
const maxDepth = 32

func pong(context.Context, any) (any, error) { return "pong", nil }

func connect(t testing.TB, o *Operator, service string, h Handler) {
	t.Helper()
	if err := o.Connect(service, h); err != nil {
		t.Fatal(err)
	}
}
