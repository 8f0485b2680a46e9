// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/wsgiparty/wsgiparty/internal/excerpt"
)

const (
	maxBatch    = 64      // asks
	maxBesides  = 1 << 10 // bytes of an answer's element beside the answer
	batchMethod = "BATCH" // no request has it, so that an element's token proves none
)

// element is an ask in a batch, as Caddy sends it.
func (h *href) element(payload []byte) []byte {
	element := slices.Concat([]byte(`{"payload":`), payload)
	if h.token != "" {
		element = fmt.Appendf(element, `,"token":%q`, h.token)
	}
	return append(element, '}')
}

// batchOf is the body of a request with asks.
func (h *href) batchOf(payloads ...[]byte) []byte {
	elements := make([][]byte, len(payloads))
	for i, payload := range payloads {
		elements[i] = h.element(payload)
	}
	return slices.Concat([]byte("["), bytes.Join(elements, []byte(",")), []byte("]"))
}

// elementToken is one for an element.
func (c *checker) elementToken() string {
	if len(c.keys) == 0 {
		return ""
	}
	return sign(c.keys[0], joseHeader, c.claimsOf(&request{method: batchMethod, target: "/"}))
}

// ask makes a request of one ask. In a batch its response becomes what it would be to the ask alone, if it can.
func (c *checker) ask(h *href, q request) response {
	a := c.do(q)
	if h.Batch {
		if outcomes, problem := outcomesIn(a, 1); problem == "" {
			return outcomes[0]
		}
	}
	return a
}

// outcomesIn returns what a response to a batch says of each of its asks, as if that had come alone,
// or what is wrong with it.
func outcomesIn(a response, asks int) (outcomes []response, problem string) {
	switch {
	case a.err != nil || a.status != http.StatusOK:
		return slices.Repeat([]response{a}, asks), "" // what it says of all
	case !a.isJSON():
		return nil, cmp.Or(a.header.Get("Content-Type"), "no Content-Type")
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(a.body, &elements); err != nil {
		return nil, "not a list, but " + excerpt.Of(string(a.body))
	}
	if len(elements) != asks {
		return nil, fmt.Sprintf("a list of %d to %d asks", len(elements), asks)
	}
	for _, raw := range elements {
		var element struct {
			Answer   json.RawMessage `json:"answer"`
			Declined *bool           `json:"declined"`
			Error    *string         `json:"error"`
		}
		err := json.Unmarshal(raw, &element)
		outcome, said := a, 0
		outcome.body, outcome.element = nil, string(raw)
		if element.Answer != nil {
			outcome.body, outcome.long, outcome.element = element.Answer, len(element.Answer) > maxBody, ""
			said++
		}
		if element.Declined != nil && *element.Declined {
			outcome.status = http.StatusNoContent
			said++
		}
		if element.Error != nil {
			outcome.status = http.StatusInternalServerError
			said++
		}
		if err != nil || said != 1 {
			return nil, "an element that is " + excerpt.Of(string(raw))
		}
		outcomes = append(outcomes, outcome)
	}
	return outcomes, ""
}

// checkBatch asks for several things at once.
func (c *checker) checkBatch(h *href) {
	batch := func(body []byte) response {
		q := h.right
		q.body, q.most = body, maxBatch*(maxBody+maxBesides)
		return c.do(c.signed(q))
	}
	other, said := c.otherPayload(h)
	a := batch(h.batchOf(h.payload, other, h.payload))
	outcomes, problem := outcomesIn(a, 3)
	switch {
	case problem != "":
		c.see("batch.form", Fail, h.place+": "+problem)
		return
	case a.err != nil || a.status != http.StatusOK:
		c.see("batch.alone", Fail, fmt.Sprintf("%s: %s to all of three asks, of which one alone gets %s", h.place, a, said))
		return
	}
	c.see("batch.form", OK, h.place+": a list of 3")
	first, second, third := outcomes[0], outcomes[1], outcomes[2]
	if said.status != http.StatusOK {
		c.expect("batch.alone", slices.ContainsFunc(outcomes, h.answered.isLike), fmt.Sprintf("%s: %s, %s, %s", h.place, first, second, third))
	}
	right := second.isLike(said) && first.isLike(h.answered) && third.isLike(h.answered)
	wrong := second.isLike(h.answered) && (first.isLike(said) || third.isLike(said))
	if !said.isLike(h.answered) && (right || wrong) { // else it differs each time
		c.expect("batch.order", right, fmt.Sprintf("%s: %s, %s, %s to asks that alone get %s, %s, %[5]s", h.place, first, second, third, h.answered, said))
	}
	for _, none := range [][]byte{[]byte("[]"), []byte("{}"), []byte("[1]"), []byte("[{}]"), h.batchOf(slices.Repeat([][]byte{h.payload}, maxBatch+1)...)} {
		a, result := batch(none), OK
		if a.crashed() {
			result = Fail
		} else if a.status/100 == 2 {
			result = Warn
		}
		c.see("batch.refused", result, fmt.Sprintf("%s: %s to %s", h.place, a, excerpt.Of(string(none))))
	}
	full := batch(h.batchOf(slices.Repeat([][]byte{h.payload}, maxBatch)...))
	if _, problem := outcomesIn(full, maxBatch); problem != "" || full.crashed() || full.status/100 != 2 {
		c.see("batch.time", Fail, fmt.Sprintf("%s: %s to %d asks", h.place, cmp.Or(problem, full.String()), maxBatch))
		return
	}
	c.judgeTime("batch.time", h.place+": ", full.took, c.timeout/2, c.timeout)
}

// otherPayload returns one of which the href says something else than of its own, if there is one, and what it says.
func (c *checker) otherPayload(h *href) (other []byte, said response) {
	candidates := [][]byte{[]byte("null"), []byte(fmt.Sprintf("%q", noPage)), h.probe(0), []byte("[]")}
	if nothing, ok := nothings[h.service]; ok {
		candidates = slices.Insert(candidates, 0, []byte(nothing))
	}
	for _, other := range candidates {
		if a := c.ask(h, c.signed(c.requestFor(h, h.right.target, other))); a.err == nil && !a.isLike(h.answered) && (a.element != "" || a.status == http.StatusOK) {
			return other, a
		}
	}
	return h.payload, h.answered
}

// isLike reports whether both are answers, and the same one, or neither is and both are for the same reason.
func (a response) isLike(other response) bool {
	return a.status == other.status && bytes.Equal(bytes.TrimSpace(a.body), bytes.TrimSpace(other.body))
}
