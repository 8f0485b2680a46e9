// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask

import (
	"context"
	"reflect"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// TestAPanicInABatchIsItsOwn has the context of whoever asks panic, in a goroutine that
// nobody else recovers.
func TestAPanicInABatchIsItsOwn(t *testing.T) {
	p := partyline.NewPartyline("main", partyline.Options{})
	partytest.ConnectRemote(t, p.Operator("a"), "remote", func(context.Context, any) (any, error) { return "", nil })
	a := &Ask{MaxResponse: wire.MaxResponse, entry: &party.Entry{Partyline: p}}
	_, err := a.askBatch(panickingContext{t.Context()}, p.Operator("b"), []byte(`[{"service": "remote"}, {"service": "remote"}]`))
	check.Fails(t, err, "panic: oh no")
}

type panickingContext struct{ context.Context }

func (c panickingContext) Value(key any) any {
	if reflect.TypeOf(key).Name() == "askKey" {
		panic("oh no")
	}
	return c.Context.Value(key)
}
