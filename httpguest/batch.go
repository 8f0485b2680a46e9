// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Asks of an application that travel together.

package httpguest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"github.com/wsgiparty/wsgiparty/internal/excerpt"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

const (
	maxBatch     = 64              // asks
	maxBatchBody = 1 << 20         // bytes, but for a single ask
	maxGathered  = 1024            // asks of one guest that wait
	maxElement   = 2 * excerpt.Max // bytes of an element beside its answer
)

var gatherFor = 10 * time.Millisecond // at most

// batcher asks an application for one service, many asks in one request. An ask that comes while such a request is
// under way waits until it is answered, or has been under way for gatherFor, and goes with those that wait like it.
type batcher struct {
	*application
	service string
	handler manifest.Handler

	mu       sync.Mutex
	underWay int
	began    time.Time // when the last of them was sent
	waiting  []*batch  // the first one first
	timer    *time.Timer
}

// batch is one request.
type batch struct {
	ctx    context.Context // of the first ask, apart from its end
	end    context.CancelCauseFunc
	asker  string
	holds  bool   // whether it comes of an ask that the guest is being asked
	mount  string // of which all are
	header http.Header
	asks   []*batched
	size   int // of the body
	stayed int // how many of the asks still wait for an answer; guarded by the batcher
}

// batched is an ask.
type batched struct {
	ctx    context.Context
	body   []byte
	done   chan struct{} // closed when it has an answer or an error
	answer any
	err    error
}

// ask asks the application, and returns its answer to that ask.
func (b *batcher) ask(ctx context.Context, payload any) (any, error) {
	requestCtx, cancel := party.WithTimeout(ctx, time.Duration(b.Timeout))
	defer cancel()
	e := &batched{ctx: ctx, done: make(chan struct{})}
	r, err := b.newBatch(e, payload)
	if err != nil {
		return nil, err
	}
	if r, err = b.join(r, e); err != nil {
		return nil, err
	}
	select {
	case <-e.done:
	case <-requestCtx.Done():
		cause := context.Cause(requestCtx)
		b.leave(r, cause)
		if ctx.Err() != nil {
			return nil, &abandonedError{cause}
		}
		return nil, &party.TimeoutError{After: time.Duration(b.Timeout)}
	}
	return e.answer, e.err
}

// newBatch returns the request that the ask would be by itself.
func (b *batcher) newBatch(e *batched, payload any) (*batch, error) {
	encoded, err := json.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("the payload is a %T, which JSON cannot carry: %w", payload, err)
	}
	path := partyline.PathOf(e.ctx, b.invitation.Operator.Partyline())
	element := struct {
		Payload     json.RawMessage `json:"payload"`
		Token       string          `json:"token,omitempty"`
		Traceparent string          `json:"traceparent,omitempty"`
	}{Payload: encoded}
	trace := make(http.Header)
	party.AddForwarded(e.ctx, trace, party.TraceHeaders[:1])
	element.Traceparent = trace.Get(party.TraceHeaders[0])
	if !b.invitation.Keys().IsZero() {
		now, t := time.Now(), party.Token{Guest: b.guest(), Method: "BATCH", URI: "/"} // which no request has: it proves none
		b.invitation.SignPath(e.ctx, &t, path, now)
		if element.Token, err = b.invitation.Keys().Sign(t, now); err != nil {
			return nil, err
		}
	}
	if e.body, err = json.Marshal(element); err != nil {
		return nil, err
	}
	r := &batch{asker: path[len(path)-1].Guest, mount: b.invitation.MountFor(e.ctx), header: make(http.Header), asks: []*batched{e}, size: len(e.body), stayed: 1}
	r.holds = slices.ContainsFunc(path[1:], func(step partyline.Step) bool { return step.Guest == b.guest() })
	r.ctx, r.end = context.WithCancelCause(party.Apart(e.ctx))
	if b.service != party.ClaimsService { // whose answer is for everybody
		party.AddForwarded(e.ctx, r.header, b.Forward)
	}
	return r, nil
}

// alone reports whether no other ask may travel with the one in the request.
func (r *batch) alone() bool {
	return r.holds || len(r.header) > 0 || party.ComesFromOutside(r.ctx)
}

// join has an ask sent at once, or wait, and returns the request it is in.
func (b *batcher) join(r *batch, e *batched) (*batch, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	age := time.Since(b.began)
	switch {
	case b.underWay == 0 || r.alone() || age >= gatherFor && len(b.waiting) == 0:
		b.begin(r)
		return r, nil
	case b.gathered.Load() >= maxGathered:
		err := fmt.Errorf("%w: %d asks wait for batches that are under way: %s", partyline.ErrRefused, maxGathered, moreAsks(b.MaxAsks))
		b.slots.overload.refuse(err)
		return nil, &abandonedError{err}
	}
	b.gathered.Add(1)
	for _, other := range b.waiting {
		if other.stayed > 0 && other.mount == r.mount && len(other.asks) < maxBatch && other.size+r.size < maxBatchBody {
			other.asks = append(other.asks, e)
			other.size += r.size + len(",")
			other.stayed++
			return other, nil
		}
	}
	if b.waiting = append(b.waiting, r); len(b.waiting) == 1 {
		b.timer = time.AfterFunc(gatherFor-age, b.sendWaiting)
	}
	return r, nil
}

// begin sends a request; b.mu is held.
func (b *batcher) begin(r *batch) {
	b.underWay++
	b.began = time.Now()
	go b.run(r)
}

// sendWaiting sends what waits.
func (b *batcher) sendWaiting() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.waiting {
		b.gathered.Add(-int64(len(r.asks)))
		b.begin(r)
	}
	b.waiting = nil
	if b.timer != nil {
		b.timer.Stop()
	}
}

// leave ends a request for whose answer nobody waits any more.
func (b *batcher) leave(r *batch, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.stayed--; r.stayed == 0 {
		r.end(cause)
	}
}

// run sends a request, and tells its asks what is answered.
func (b *batcher) run(r *batch) {
	defer r.end(nil)
	err := errors.New("the request was not answered")
	defer func() { // on behalf of several
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v", value)
			b.logger.Error("asking an application panicked", zap.String("service", b.service), zap.Any("error", value), zap.ByteString("stack", debug.Stack()))
		}
		b.mu.Lock()
		b.underWay--
		b.mu.Unlock()
		b.sendWaiting()
		for _, e := range r.asks {
			if e.answer == nil && e.err == nil {
				e.err = err
			}
			close(e.done)
		}
	}()
	_, err = b.guarded(b.service, func() (any, error) {
		err := b.post(r)
		if err != nil && r.ctx.Err() != nil && !party.TimedOut(context.Cause(r.ctx)) {
			err = &abandonedError{err}
		}
		return nil, err
	})
}

// post sends a request, and gives its asks what is answered.
func (b *batcher) post(r *batch) error {
	body := bytes.NewBuffer(make([]byte, 0, r.size+2))
	body.WriteByte('[')
	for i, e := range r.asks {
		if i > 0 {
			body.WriteByte(',')
		}
		body.Write(e.body)
	}
	body.WriteByte(']')
	sent, encoded, err := b.newRequest(r.ctx, b.service, b.handler, json.RawMessage(body.Bytes()))
	if err != nil {
		return err
	}
	release, waited, err := b.slots.acquire(r.ctx, r.asker, r.holds)
	if err != nil {
		return &abandonedError{err}
	}
	if waited > 0 && b.breaker(b.service).State() == gobreaker.StateOpen { // meanwhile
		release()
		return &abandonedError{gobreaker.ErrOpenState}
	}
	options := party.SendOptions{
		Limit: len(r.asks)*(int(b.MaxAnswer)+maxElement) + len("[]"), Done: release,
		Prepare: func(sent *http.Request) {
			for name, values := range r.header {
				if _, own := sent.Header[name]; !own {
					sent.Header[name] = values
				}
			}
		},
	}
	response, err := b.send(sent.WithContext(r.ctx), options, encoded, nil)
	if err != nil {
		return b.judge(err)
	}
	defer party.DropBody(response)
	if response.StatusCode != http.StatusOK {
		return b.judge(&statusError{Status: response.StatusCode})
	}
	return b.take(r, response)
}

// take gives the asks of a request their answers. An error is for those that have none.
func (b *batcher) take(r *batch, response *http.Response) error {
	if !isJSON(response.Header) {
		return errors.New("the answer is no JSON (application/json)")
	}
	var elements [maxBatch + 1]json.RawMessage // further ones, of which there may be millions, are not kept
	if err := json.Unmarshal(party.BodyOf(response), &elements); err != nil {
		return fmt.Errorf("the answer to a batch of asks is no list of objects: %w", err)
	}
	n := slices.IndexFunc(elements[:], func(raw json.RawMessage) bool { return raw == nil })
	if n < 0 {
		return fmt.Errorf("the answer to a batch of %d asks is a list of more than %d", len(r.asks), maxBatch)
	}
	if n != len(r.asks) {
		return fmt.Errorf("the answer to a batch of %d asks is a list of %d", len(r.asks), n)
	}
	for i, e := range r.asks {
		e.answer, e.err = b.answerOf(e.ctx, elements[i])
	}
	return nil
}

// answerOf returns what an element of the list says.
func (b *batcher) answerOf(ctx context.Context, raw json.RawMessage) (any, error) {
	var element struct {
		Answer   json.RawMessage `json:"answer"`
		Declined *bool           `json:"declined"`
		Error    *string         `json:"error"`
	}
	err := json.Unmarshal(raw, &element)
	declines, said := element.Declined != nil && *element.Declined, 0
	for _, one := range []bool{declines, element.Answer != nil, element.Error != nil} {
		if one {
			said++
		}
	}
	switch {
	case err != nil || said != 1:
		return nil, fmt.Errorf(`an element of the answer to a batch of asks is none of {"answer": …}, {"declined": true} and {"error": "…"}: %s`, excerpt.Of(string(raw)))
	case declines:
		return nil, partyline.ErrHighAndDry
	case element.Error != nil:
		return nil, fmt.Errorf("the application says: %s", excerpt.Of(*element.Error))
	case len(element.Answer) > int(b.MaxAnswer):
		return nil, fmt.Errorf("the answer is longer than %d bytes", b.MaxAnswer)
	}
	answer, err := b.checkAnswer(ctx, element.Answer, b.service)
	if err == nil {
		err = b.invitation.TakeAnswer(ctx, element.Answer, int(b.MaxAnswer))
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}
