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
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgiparty/wsgiparty/internal/privatepath"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
)

// delivery is a request that is sent to a guest through the party's routes.
type delivery struct {
	guest   string
	entry   *Entry              // the guest's
	private *privatepath.Set    // of the guest
	prepare func(*http.Request) // at the guest's handler; may be nil
	met     atomic.Bool
}

type deliveryKey struct{}

// deliveryOf returns what r is a delivery of, nil for an ordinary request.
func deliveryOf(r *http.Request) *delivery {
	d, _ := r.Context().Value(deliveryKey{}).(*delivery)
	return d
}

// ErrMisrouted is the error for a request to a guest that another route answered.
var ErrMisrouted error = misroutedError{}

type misroutedError struct{}

func (misroutedError) Error() string {
	return "misrouted: the request did not come to the guest it is for; another route answers there"
}

func (misroutedError) Is(target error) bool { return target == ErrPartyline }

// ErrUnanswered is the error for a request to a guest that nobody answered. It is experimental.
var ErrUnanswered = errors.New("the guest's routes answer nothing")

// DeliveredTo reports whether r was sent to that guest by its Invitation. A handler
// that speaks for the guest calls it, so that the response counts.
func DeliveredTo(r *http.Request, guest string) bool {
	d := deliveryOf(r)
	return d != nil && d.reach(d.entry, guest)
}

// reach takes down that the delivery has reached a handler that speaks for the guest. It
// returns false if that is not the one it is for.
func (d *delivery) reach(entry *Entry, guest string) bool {
	if d == nil || d.entry != entry || d.guest != guest {
		return false
	}
	d.met.Store(true)
	return true
}

// maxResponse is how long a response to Send may be, in bytes.
const maxResponse = 1 << 20

// Send sends a request to the guest: through the party's own routes, from their
// beginning, with the host of the invite, and in the request's context, which
// should be, or descend from, that of whoever asks. The path is as requests have it
// when they reach the party. Redirects are not followed. It returns an error if the
// handlers did, if nobody answered, if the response is longer than 1 MiB, and
// ErrMisrouted if it came from a route in which nobody has called DeliveredTo. It may
// be called from any goroutine, as long as the party's config is loaded or requests
// to it are under way.
func (i *Invitation) Send(r *http.Request) (*http.Response, error) {
	return i.send(r, maxResponse, nil, func() {})
}

// send is Send for responses up to limit bytes, with a function that the guest's
// handler calls with the request before it passes that on, and one that is called
// when the handlers have returned: that may be after send has, since not all of them
// heed the end of the request's context.
func (i *Invitation) send(r *http.Request, limit int, prepare func(*http.Request), done func()) (*http.Response, error) {
	h := i.host
	if h.guests.private.ContainsURL(r.URL) && !i.invited.private.ContainsURL(r.URL) {
		done()
		return nil, fmt.Errorf("%w: the path is private to that one", ErrMisrouted)
	}
	d := &delivery{guest: i.Operator.Guest(), entry: h.entry, private: &i.invited.private, prepare: prepare}
	ctx := r.Context()
	if PeekInvitation(r) != nil { // a guest may ask while it is invited
		ctx = context.WithValue(leaving{ctx}, invitationKey{}, (*Invitation)(nil))
	}
	ctx = context.WithValue(ctx, deliveryKey{}, d)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // as net/http does when a request has been answered
	w := subrequest.NewResponseWriter(limit, collectingOf(ctx).charges(d.guest, limit)...)
	sent := subrequest.New(r.WithContext(ctx), h.server, i.URI, h.prefixFor(ctx), w)
	sent.Header[loopHeader] = []string{forwardedLoop(ctx)}
	caddyhttp.SetVar(sent.Context(), h.settings.PartylineKey, i.Operator)
	handler := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		defer done()
		return h.chain.ServeHTTP(w, r)
	})
	err := reasonOf(subrequest.Send(handler, sent, w))
	switch {
	case err != nil:
	case !d.met.Load():
		err = ErrMisrouted
	case w.Status() == 0:
		err = ErrUnanswered
	}
	if err != nil {
		w.Drop()
		return nil, err
	}
	body := w.Body()
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", w.Status(), http.StatusText(w.Status())),
		StatusCode:    w.Status(),
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.Header(),
		Body:          &responseBody{bytes.NewReader(body), w},
		ContentLength: int64(len(body)),
		Request:       sent,
	}, nil
}

// responseBody is the body of a response that a guest gave.
type responseBody struct {
	*bytes.Reader
	writer *subrequest.ResponseWriter
}

func (*responseBody) Close() error { return nil }

// receivedBody returns the body of a response that a guest gave.
func receivedBody(response *http.Response) []byte { return response.Body.(*responseBody).writer.Body() }

// dropBody forgets the body, so that an ask can collect others in its place.
func dropBody(response *http.Response) { response.Body.(*responseBody).writer.Drop() }
