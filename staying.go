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
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/fastcgi"
)

// goneError is why a request ended, as the cause of its context: reverse_proxy takes it
// for one whose client has gone, so that it does not try again, and does not count it
// for its health checks.
type goneError struct{ err error }

func (e *goneError) Error() string   { return e.err.Error() }
func (e *goneError) Unwrap() []error { return []error{e.err, context.Canceled} }

// reasonOf returns the error without what it is to a proxy.
func reasonOf(err error) error {
	if gone, ok := err.(*goneError); ok {
		return gone.err
	}
	return err
}

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

// unconnectedError says that there was no connection to an application. A proxy is not to
// take that for down for its visitors just because Caddy was quicker.
type unconnectedError struct{ err error }

func (e *unconnectedError) Error() string { return e.err.Error() }
func (e *unconnectedError) Unwrap() error { return e.err }

// withConnecting returns the context of a request that ends, because of an *unconnectedError,
// when there is nothing to connect to in so many attempts, and what becomes true when there is.
func withConnecting(ctx context.Context, attempts int) (context.Context, *atomic.Bool) {
	ctx, end := context.WithCancelCause(ctx)
	connected := new(atomic.Bool)
	var mu sync.Mutex
	addresses, refused := 1, 0 // of this attempt
	fail := func(err error) {
		addresses, refused = 1, 0
		if attempts--; attempts <= 0 && !connected.Load() {
			end(&goneError{&unconnectedError{err}})
		}
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
		DNSDone: func(info httptrace.DNSDoneInfo) {
			mu.Lock()
			defer mu.Unlock()
			if addresses = len(info.Addrs); info.Err != nil {
				fail(info.Err)
			}
		},
		ConnectDone: func(_, _ string, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				connected.Store(true)
			} else if refused++; refused >= addresses {
				fail(err)
			}
		},
	}), connected
}

func isTraceKey(key any) bool {
	t := reflect.TypeOf(key)
	return t != nil && (t.PkgPath() == "net/http/httptrace" || t.PkgPath() == "internal/nettrace")
}

// cancelableFastCGI is Caddy's transport, but says that a request was canceled. That one
// says that it could not connect, which reverse_proxy counts.
type cancelableFastCGI struct{ *fastcgi.Transport }

func (t cancelableFastCGI) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.Transport.RoundTrip(r)
	if err != nil && r.Context().Err() != nil {
		err = context.Cause(r.Context())
	}
	return response, err
}

var (
	_ http.RoundTripper                           = cancelableFastCGI{}
	_ reverseproxy.ContentLengthRequiredTransport = cancelableFastCGI{}
)
