// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Requests to a guest by connections of its own, past the party's routes.

package party

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
)

// roundTrip is SendWith for a guest that has a way of its own. The request has the headers that it would have
// behind the party's routes and a reverse_proxy.
func (i *Invitation) roundTrip(r *http.Request, options SendOptions) (*http.Response, error) {
	defer options.done()()
	ctx, limit := r.Context(), cmp.Or(options.Limit, maxResponse)
	sent := subrequest.Direct(ofItsOwn{ctx}, r, i.URI)
	sent.Header[loopHeader] = []string{forwardedLoop(ctx)}
	i.tell(sent, i.MountFor(ctx))
	if options.Prepare != nil {
		options.Prepare(sent)
	}
	subrequest.Forward(sent)
	response, err := options.RoundTripper.RoundTrip(sent)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, reasonOf(err)
	}
	defer response.Body.Close()
	w := subrequest.NewResponseWriter(limit, collectingOf(ctx).charges(i.invited.guest, limit)...)
	if err := readInto(w, response.Body); err != nil {
		w.Drop()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, reasonOf(err)
	}
	body := new(responseBody)
	body.of(w)
	response.Body = body
	return response, nil
}

// ofItsOwn is the context of an ask without what a reverse_proxy keeps for the asker's own request, by which Caddy's
// transport would connect.
type ofItsOwn struct{ context.Context }

func (c ofItsOwn) Value(key any) any {
	if key == caddyhttp.VarsCtxKey || key == caddy.CtxKey("reverse_proxy.dial_info") {
		return nil
	}
	return c.Context.Value(key)
}

// readInto reads a body to its end.
func readInto(w *subrequest.ResponseWriter, body io.Reader) error {
	buffer := readBuffers.Get().(*[readBuffer]byte)
	defer readBuffers.Put(buffer)
	for {
		n, err := body.Read(buffer[:])
		if _, err := w.Write(buffer[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBrokeOff, err)
		}
	}
}

const readBuffer = 4 << 10

var readBuffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}
