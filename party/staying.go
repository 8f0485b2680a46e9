// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"errors"
	"reflect"
)

// errLeavesProcess is why an invite ended that a handler would have sent on over the
// network.
var errLeavesProcess error = &goneError{errors.New("the invite came to a handler that would send it on over the network, and an invite stays in this process")}

// staying is the context of an invite. It ends, with errLeavesProcess, as soon as
// somebody is about to connect to something in it. Whoever does looks for a trace in
// the context first: net/http's transport, net's dialer and resolver, and reverse_proxy
// before it calls any transport. The hooks of a trace would come too late, for by then
// net/http connects whatever becomes of the request.
type staying struct {
	context.Context
	end context.CancelCauseFunc
}

func newStaying(ctx context.Context) staying {
	ctx, end := context.WithCancelCause(ctx)
	return staying{ctx, end}
}

func (c staying) Value(key any) any {
	if isTraceKey(key) {
		c.end(errLeavesProcess)
	}
	return c.Context.Value(key)
}

// leaving is the context of what may leave the process though it is done in that of an
// invite: asks of a guest that is being invited.
type leaving struct{ context.Context }

func (c leaving) Value(key any) any {
	if isTraceKey(key) {
		return nil
	}
	return c.Context.Value(key)
}

func isTraceKey(key any) bool {
	t := reflect.TypeOf(key)
	return t != nil && (t.PkgPath() == "net/http/httptrace" || t.PkgPath() == "internal/nettrace")
}
