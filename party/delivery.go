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
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/budget"
	"github.com/wsgiparty/wsgiparty/internal/privatepath"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// delivery is a request that an Invitation sends to its guest through the party's routes, and the request's context.
type delivery struct {
	context.Context
	guest   string
	entry   *Entry              // of the guest's party
	private *privatepath.Set    // of the guest
	prepare func(*http.Request) // may be nil
	met     atomic.Bool         // whether it has reached a handler that speaks for the guest
	chain   caddyhttp.Handler   // of the party
	done    func()              // when the chain has returned
}

type deliveryKey struct{}

func (d *delivery) Value(key any) any {
	if key == (deliveryKey{}) {
		return d
	}
	return d.Context.Value(key)
}

// ServeHTTP passes the request to the party's routes.
func (d *delivery) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	defer d.done()
	return d.chain.ServeHTTP(w, r)
}

// deliveryOf returns what r is a delivery of, nil for an ordinary request.
func deliveryOf(r *http.Request) *delivery {
	d, _ := r.Context().Value(deliveryKey{}).(*delivery)
	return d
}

// DeliveredTo reports whether r was sent to that guest by its Invitation. A handler that speaks
// for the guest calls it, so that the response counts.
func DeliveredTo(r *http.Request, guest string) bool {
	d := deliveryOf(r)
	return d != nil && d.reach(guest)
}

// reach records that the delivery has reached a handler that speaks for the guest. It returns
// false if that is not the one it is for.
func (d *delivery) reach(guest string) bool {
	if d.guest == guest {
		d.met.Store(true)
		return true
	}
	return false
}

// ErrMisrouted is the error for a request to a guest that another route answered.
var ErrMisrouted error = misroutedError{}

type misroutedError struct{}

func (misroutedError) Error() string {
	return "misrouted: the request did not reach the guest that it is for; another route answers there"
}

func (misroutedError) Is(target error) bool { return target == partyline.ErrPartyline }

// ErrUnanswered is the error for a request to a guest that nobody answered.
var ErrUnanswered = errors.New("the guest's routes answer nothing")

// ErrBrokeOff is the error for a response of a guest that ends in the middle.
var ErrBrokeOff = subrequest.ErrBrokeOff

// Send sends a request to the guest through the party's own routes, from their beginning, with the host of the
// invite. The request's context should be that of the asker, or descend from it. The path is as requests have it
// when they reach the party. Redirects are not followed.
//
// Send returns an error if the handlers did, if nobody answered, or if the response is longer than 1 MiB. It
// returns ErrMisrouted if the response came from a route in which nobody called DeliveredTo. Send may be called
// from any goroutine, as long as the party's config is loaded or requests to it are under way.
func (i *Invitation) Send(r *http.Request) (*http.Response, error) {
	return i.SendWith(r, SendOptions{})
}

// SendOptions are those of SendWith. All may be left out.
type SendOptions struct {
	Limit   int                 // of the response's length, in bytes; 1 MiB if it is 0
	Prepare func(*http.Request) // before the guest's handler passes the request on: nobody in front of it sees what this adds
	Done    func()              // when the handlers have returned, which may be after SendWith: not all heed the end of a context
	Ends    bool                // whether the caller ends the request's context once it has the response, so that SendWith need not

	// Sends the request by connections of the guest's own, and not through the party's routes. Its URL is that of the
	// party; an error is treated as that of a handler. Nil for the party's routes.
	RoundTripper http.RoundTripper
}

func (o SendOptions) done() func() {
	if o.Done == nil {
		return func() {}
	}
	return o.Done
}

// SendWith is Send with options.
func (i *Invitation) SendWith(r *http.Request, options SendOptions) (*http.Response, error) {
	if options.RoundTripper != nil {
		return i.roundTrip(r, options)
	}
	h, limit, done := i.host, cmp.Or(options.Limit, maxResponse), options.done()
	if h.guests.private.ContainsURL(r.URL) && !i.invited.private.ContainsURL(r.URL) {
		done()
		return nil, fmt.Errorf("%w: the path is private to that one", ErrMisrouted)
	}
	ctx := r.Context()
	if PeekInvitation(r) != nil { // a guest may ask while it is invited
		ctx = context.WithValue(leaving{ctx}, invitationKey{}, (*Invitation)(nil))
	}
	if !options.Ends {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel() // as net/http does when a request has been answered
	}
	d := &delivery{Context: ctx, guest: i.invited.guest, entry: h.entry, private: &i.invited.private, prepare: options.Prepare, chain: h.chain, done: done}
	w := subrequest.NewResponseWriter(limit, collectingOf(ctx).charges(d.guest, limit)...)
	sent := subrequest.New(d, r, h.server, i.URI, h.prefixFor(ctx), w)
	sent.Header[loopHeader] = []string{forwardedLoop(ctx)}
	caddyhttp.SetVar(sent.Context(), h.settings.PartylineKey, i.Operator)
	err := reasonOf(subrequest.Send(d, sent, w))
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
	status := "200 OK"
	if w.Status() != http.StatusOK {
		status = fmt.Sprintf("%d %s", w.Status(), http.StatusText(w.Status()))
	}
	var answer struct { // one allocation
		http.Response
		body responseBody
	}
	answer.body.of(w)
	answer.Response = http.Response{
		Status: status, StatusCode: w.Status(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: w.Header(),
		Body: &answer.body, ContentLength: answer.body.Size(), Request: sent,
	}
	return &answer.Response, nil
}

// responseBody is the body of a response that a guest gave.
type responseBody struct {
	bytes.Reader
	writer *subrequest.ResponseWriter
}

// of makes it what was written.
func (b *responseBody) of(w *subrequest.ResponseWriter) {
	b.writer = w
	b.Reset(w.Body())
}

func (*responseBody) Close() error { return nil }

// BodyOf returns the body of a response that Send returned, without a copy.
func BodyOf(response *http.Response) []byte { return response.Body.(*responseBody).writer.Body() }

// DropBody forgets the body of a response that Send returned, so that an ask can collect others in its place.
func DropBody(response *http.Response) { response.Body.(*responseBody).writer.Drop() }

// maxCollected is how many bytes of answers an ask, or a batch of asks, collects from
// applications. Where one of them may answer with more, it is as many as that.
const maxCollected = 8 << 20

// collecting bounds what an ask collects from applications.
type collecting struct {
	context.Context                // of the ask's remote handlers
	all             *budget.Budget // shared by a batch
	own             budget.Budget  // where there is none

	mu    sync.Mutex
	first *collectedOf

	encoding   sync.Once
	payload    []byte // as JSON, once a guest was sent it
	payloadErr error
}

// collectedOf bounds what an ask collects from one guest.
type collectedOf struct {
	guest string
	budget.Budget
	next *collectedOf
}

type collectingKey struct{}

func (c *collecting) Value(key any) any {
	if key == (collectingKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// batch is what the asks of a batch share. Asks that they lead to do not.
type batch struct {
	ctx context.Context // that it is asked in
	all *budget.Budget
}

type batchKey struct{}

// WithBatch returns the context for asks that collect from applications together: what they
// collect is bounded as that of one ask is.
func WithBatch(ctx context.Context) context.Context {
	return context.WithValue(ctx, batchKey{}, batch{ctx, budget.New(maxCollected)})
}

// withCollecting returns the context of an ask's remote handlers, for an ask's.
func withCollecting(ctx context.Context) context.Context {
	c := &collecting{Context: ctx}
	if b, ok := ctx.Value(batchKey{}).(batch); ok && partyline.Depth(ctx) == partyline.Depth(b.ctx)+1 {
		c.all = b.all
	} else {
		c.all = &c.own
		c.all.Raise(maxCollected)
	}
	return c
}

// collectingOf returns what bounds the ask that led to a request to a guest, nil if none did.
func collectingOf(ctx context.Context) *collecting {
	c, _ := ctx.Value(collectingKey{}).(*collecting)
	return c
}

// charges returns what an answer of the guest is charged to, if all that it answers to one ask
// may be that long.
func (c *collecting) charges(guest string, most int) []subrequest.Charge {
	if c == nil {
		return nil
	}
	c.all.Raise(int64(most))
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.first
	for of != nil && of.guest != guest {
		of = of.next
	}
	if of == nil {
		of = &collectedOf{guest: guest, next: c.first}
		of.Raise(int64(most))
		c.first = of
	}
	return []subrequest.Charge{
		{Budget: &of.Budget, TooLong: "its answer to one ask is longer than %d bytes (max_answer)"},
		{Budget: c.all, TooLong: "all answers to one ask, or one batch of asks, are longer than %d bytes together: ask for less at a time"},
	}
}

// TakeAnswer counts what the guest answers to the ask whose context is ctx, of up to limit bytes, as SendWith does.
func (i *Invitation) TakeAnswer(ctx context.Context, answer []byte, limit int) error {
	return TakeAnswerOf(ctx, i.invited.guest, answer, limit)
}

// TakeAnswerOf is Invitation.TakeAnswer for any guest. It is experimental.
func TakeAnswerOf(ctx context.Context, guest string, answer []byte, limit int) error {
	charges := collectingOf(ctx).charges(guest, limit)
	for n, c := range charges {
		if !c.Take(len(answer)) {
			for _, c := range charges[:n] {
				c.Give(len(answer))
			}
			return c.Exceeded()
		}
	}
	return nil
}
