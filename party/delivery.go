// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/privatepath"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// Delivery is a request that an Invitation sends to its guest through the party's routes.
// It is experimental.
type Delivery struct {
	guest   string
	entry   *Entry              // of the guest's party
	private *privatepath.Set    // of the guest
	prepare func(*http.Request) // may be nil
	met     atomic.Bool
}

type deliveryKey struct{}

// DeliveryOf returns what r is a delivery of, nil for an ordinary request. It is
// experimental.
func DeliveryOf(r *http.Request) *Delivery {
	d, _ := r.Context().Value(deliveryKey{}).(*Delivery)
	return d
}

// Reach is DeliveredTo for a handler that speaks for the guest of an invitation. It may be
// called on nil. It is experimental.
func (d *Delivery) Reach(i *Invitation) bool {
	return d != nil && d.entry == i.host.entry && d.reach(i.invited.guest)
}

// Prepare prepares the request as SendOptions say, for a handler that speaks for the guest
// and is about to pass it on. It is experimental.
func (d *Delivery) Prepare(r *http.Request) {
	if d.prepare != nil {
		d.prepare(r)
	}
}

// reach records that the delivery has reached a handler that speaks for the guest. It
// returns false if that is not the one it is for.
func (d *Delivery) reach(guest string) bool {
	if d.guest != guest {
		return false
	}
	d.met.Store(true)
	return true
}

// ErrMisrouted is the error for a request to a guest that another route answered.
var ErrMisrouted error = misroutedError{}

type misroutedError struct{}

func (misroutedError) Error() string {
	return "misrouted: the request did not come to the guest it is for; another route answers there"
}

func (misroutedError) Is(target error) bool { return target == partyline.ErrPartyline }

// ErrUnanswered is the error for a request to a guest that nobody answered. It is experimental.
var ErrUnanswered = errors.New("the guest's routes answer nothing")

// DeliveredTo reports whether r was sent to that guest by its Invitation. A handler
// that speaks for the guest calls it, so that the response counts.
func DeliveredTo(r *http.Request, guest string) bool {
	d := DeliveryOf(r)
	return d != nil && d.reach(guest)
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
	return i.SendWith(r, SendOptions{})
}

// SendOptions are those of SendWith. They are experimental.
type SendOptions struct {
	// Limit is how long the response may be, in bytes. Default: 1 MiB.
	Limit int

	// Prepare is called by the guest's handler, before it passes the request on: what it
	// adds to that nobody sees who is not behind the handler.
	Prepare func(*http.Request)

	// Done is called when the handlers have returned. That may be after SendWith has,
	// since not all of them heed the end of the request's context.
	Done func()
}

func (o SendOptions) done() {
	if o.Done != nil {
		o.Done()
	}
}

// SendWith is Send with options. It is experimental.
func (i *Invitation) SendWith(r *http.Request, options SendOptions) (*http.Response, error) {
	limit := cmp.Or(options.Limit, maxResponse)
	h := i.host
	if h.guests.private.ContainsURL(r.URL) && !i.invited.private.ContainsURL(r.URL) {
		options.done()
		return nil, fmt.Errorf("%w: the path is private to that one", ErrMisrouted)
	}
	d := &Delivery{guest: i.invited.guest, entry: h.entry, private: &i.invited.private, prepare: options.Prepare}
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
		defer options.done()
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

// BodyOf returns the body of a response that Send returned, without a copy. It is
// experimental.
func BodyOf(response *http.Response) []byte { return response.Body.(*responseBody).writer.Body() }

// DropBody forgets the body of a response that Send returned, so that an ask can collect
// others in its place. It is experimental.
func DropBody(response *http.Response) { response.Body.(*responseBody).writer.Drop() }
