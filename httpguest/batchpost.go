// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The request that is a batch, and what is answered to it.

package httpguest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/sony/gobreaker/v2"
	"github.com/wsgiparty/wsgiparty/internal/excerpt"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// elementOf returns what an ask is in the list.
func (b *batcher) elementOf(ctx context.Context, payload any, path []partyline.Step) ([]byte, error) {
	encoded, err := payloadJSON(ctx, b.service, payload)
	if err != nil {
		return nil, err
	}
	trace, signed := party.Forwarded(ctx, party.TraceHeaders[0]), ""
	if !b.invitation.Keys().IsZero() {
		now, t := time.Now(), party.Token{Guest: b.guest(), Method: "BATCH", URI: "/"} // which no request has: it proves none
		b.invitation.SignPath(ctx, &t, path, now)
		if signed, err = b.invitation.Keys().Sign(t, now); err != nil {
			return nil, err
		}
	}
	element := make([]byte, 0, len(encoded)+len(signed)+len(trace)+64)
	element = append(append(element, `{"payload":`...), encoded...)
	if signed != "" {
		element, _ = jsontext.AppendQuote(append(element, `,"token":`...), signed)
	}
	if trace != "" {
		element, err = jsontext.AppendQuote(append(element, `,"traceparent":`...), trace)
	}
	return append(element, '}'), err
}

// post sends a request, and gives its asks what is answered.
func (b *batcher) post(r *batch, held *slot) error {
	body := make([]byte, 0, r.size+len("[]"))
	for i, e := range r.asks {
		body = append(append(body, "[,"[min(i, 1)]), e.body...)
	}
	body = append(body, ']')
	sent, err := b.requestWith(r.ctx, b.service, b.handler, nil, body)
	if err != nil {
		return err
	}
	waited, err := b.slots.acquire(r.ctx, held, r.asks[0].asker, r.holds)
	if err != nil {
		return &abandonedError{err}
	}
	if waited > 0 && b.breaker(b.service).State() == gobreaker.StateOpen { // meanwhile
		held.done()
		return &abandonedError{gobreaker.ErrOpenState}
	}
	options := party.SendOptions{
		Limit: len(r.asks)*(int(b.MaxAnswer)+maxElement) + len("[]"), Done: held.done, Ends: true,
		Prepare: func(sent *http.Request) {
			for name, values := range r.header {
				if _, own := sent.Header[name]; !own {
					sent.Header[name] = values
				}
			}
		},
	}
	response, err := b.send(sent.WithContext(r.ctx), options, body, nil)
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
		return errors.New("the answer is not JSON (application/json)")
	}
	var elements [maxBatch + 1]json.RawMessage // further ones, of which there may be millions, are not kept
	if err := json.Unmarshal(party.BodyOf(response), &elements); err != nil {
		return fmt.Errorf("the answer to a batch of asks is not a list of objects: %w", err)
	}
	n := slices.IndexFunc(elements[:], func(raw json.RawMessage) bool { return raw == nil })
	if n < 0 {
		return fmt.Errorf("the answer to a batch of %d asks is a list of more than %d", len(r.asks), maxBatch)
	}
	if n != len(r.asks) {
		return fmt.Errorf("the answer to a batch of %d asks is a list of %d", len(r.asks), n)
	}
	for i, e := range r.asks {
		if !e.settled.Load() { // or its asker has gone, and the answer would be charged to those who ask with it
			e.answer, e.err = b.answerOf(e.ctx, elements[i])
		}
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
		return nil, fmt.Errorf(`an element of the answer to a batch of asks is neither {"answer": …} nor {"declined": true} nor {"error": "…"}: %s`, excerpt.Of(string(raw)))
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
