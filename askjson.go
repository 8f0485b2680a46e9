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
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wsgiparty/wsgiparty/internal/budget"
	"github.com/wsgiparty/wsgiparty/internal/strictjson"
)

// askJSON is what came of an ask, for whoever asks from outside the process. The n-th
// answer is that of the n-th reply that answered.
type askJSON struct {
	Answers  []json.RawMessage `json:"answers"`
	Replies  []replyJSON       `json:"replies"`
	Duration float64           `json:"duration"` // 0 if not timed
}

type replyJSON struct {
	Guest    string  `json:"guest"`
	Mount    string  `json:"mount"`
	Status   string  `json:"status"`
	Note     string  `json:"note"`
	Error    string  `json:"error"`
	Duration float64 `json:"duration"`
}

const (
	statusAnswered = "answered"
	statusDeclined = "declined"
	statusFailed   = "failed"
)

// defaultMaxResponse is how long a response to asks may be, in bytes.
const defaultMaxResponse = 8 << 20

// askWriter asks around and writes what comes of it as the JSON of an askJSON. It
// does so by hand because asks may be many, and of most the JSON is short.
type askWriter struct {
	line  *line
	room  *budget.Budget // of the response
	whole bool           // an answer for which there is no room refuses all others, too
	timed bool           // write durations, too

	json    []byte
	begun   int      // where the ask under way, or its next part, begins in the JSON
	parts   [][]byte // before that, of the ask under way
	taken   int      // of the room, by the ask under way
	replies []byte   // to the ask under way
}

// errNoRoom says that a response would be too long.
var errNoRoom = errors.New("the response would be longer than max_response: ask for less at a time")

// maxCopied is how long an answer may be that is copied into the JSON, and no part of
// its own.
const maxCopied = 4 << 10

// ask asks around and returns what comes of it, in parts. With first, it stops at the
// first answer, and leaves out who declined. An error concerns the ask as a whole.
func (w *askWriter) ask(ctx context.Context, o *Operator, service string, payload any, first bool) (_ [][]byte, err error) {
	w.begin()
	defer func() {
		if err != nil {
			w.json = w.json[:w.begun]
			w.room.Give(w.taken)
		}
	}()
	if !w.take(len(`{"answers":[],"replies":[],"duration":123456789.123456789},`)) {
		return nil, errNoRoom
	}
	w.json = append(w.json, `{"answers":[`...)
	began := w.now()
	asked := began
	var in *root // where who asks may be asked for a URL itself
	if service == URLService && askOf(ctx) != nil {
		in = rootOf(ctx)
	}
	answered := 0
	for reply := range o.Replies(ctx, service, payload) {
		if reply.Guest == "" {
			return nil, reply.Err
		}
		now := w.now()
		if reply.Duration == 0 {
			reply.Duration = now.Sub(asked)
		}
		asked = now
		if first && reply.Err == ErrHighAndDry {
			continue
		}
		took, err := w.reply(ctx, reply, answered)
		if err != nil {
			return nil, err
		}
		if took {
			in.give(reply.Answer)
			answered++
			if first {
				break
			}
		}
	}
	w.json = append(append(append(w.json, `],"replies":[`...), w.replies...), ']')
	w.duration(&w.json, w.now().Sub(began))
	w.json = append(w.json, '}')
	return w.end(), nil
}

// problem returns a problem's JSON in place of an ask's, if there is room for it.
func (w *askWriter) problem(p *problem) ([][]byte, error) {
	encoded, err := encode(p)
	if err != nil {
		return nil, err
	}
	w.begin()
	if !w.take(len(encoded) + 1) {
		return nil, errNoRoom
	}
	w.json = append(w.json, encoded...)
	return w.end(), nil
}

// begin begins to write what comes of an ask.
func (w *askWriter) begin() {
	if cap(w.json)-len(w.json) < 256 { // what is written so far is not to be copied
		w.json = make([]byte, 0, min(max(256, 2*cap(w.json)), 16<<10))
	}
	w.begun, w.parts, w.taken, w.replies = len(w.json), nil, 0, w.replies[:0]
}

// end returns what has been written of the ask.
func (w *askWriter) end() [][]byte { return append(w.parts, w.json[w.begun:]) }

// take takes n bytes of the room.
func (w *askWriter) take(n int) bool {
	if !w.room.Take(n) {
		return false
	}
	w.taken += n
	return true
}

// now returns the time, if that is of interest.
func (w *askWriter) now() time.Time {
	if !w.timed {
		return time.Time{}
	}
	return time.Now()
}

// reply writes a reply, and its answer among the answers, of which there are so many
// already. It reports whether it did that.
func (w *askWriter) reply(ctx context.Context, reply Reply, answered int) (answers bool, err error) {
	replies, written, begun, parts := len(w.replies), len(w.json), w.begun, w.parts
	size, note := 0, ""
	if reply.Err == nil {
		if answered > 0 {
			w.json = append(w.json, ',')
		}
		if size, note, err = w.answer(reply.Answer); err != nil {
			w.json = w.json[:written]
			reply.Err = fmt.Errorf("the answer is %w", err)
		}
	}
	w.describe(ctx, reply, note)
	if w.take(size + 1 + len(w.replies) - replies) {
		return reply.Err == nil, nil
	}
	if reply.Err != nil || w.whole {
		return false, errNoRoom
	}
	w.replies, w.json, w.begun, w.parts = w.replies[:replies], w.json[:written], begun, parts
	reply.Err = errNoRoom
	w.describe(ctx, reply, "")
	if !w.take(1 + len(w.replies) - replies) {
		return false, errNoRoom
	}
	return false, nil
}

// answer writes an answer as JSON, or its type with a note that says so. It returns
// how long that is. The error is for JSON that some asker could not read.
func (w *askWriter) answer(answer any) (size int, note string, err error) {
	if text, ok := answer.(string); ok {
		before := len(w.json)
		w.json = appendString(w.json, text)
		return len(w.json) - before, "", nil
	}
	raw, ok := answer.(json.RawMessage)
	encoded := bytes.TrimSpace(raw)
	if !ok || raw == nil {
		encoded, err = encodeAnswer(answer)
	}
	if err == nil {
		err = strictjson.Check(encoded)
	}
	if strict, ok := errors.AsType[*strictjson.Error](err); ok {
		return 0, "", strict
	}
	if err != nil {
		encoded = appendString(nil, fmt.Sprintf("%T", answer))
		note = "this is the type of the answer, which JSON cannot carry: " + message(err)
	}
	if len(encoded) <= maxCopied {
		w.json = append(w.json, encoded...)
	} else {
		w.parts = append(w.parts, w.json[w.begun:], encoded)
		w.begun = len(w.json)
	}
	return len(encoded), note, nil
}

// describe writes a reply without its answer.
func (w *askWriter) describe(ctx context.Context, reply Reply, note string) {
	b := w.replies
	if len(b) > 0 {
		b = append(b, ',')
	}
	b = appendString(append(b, `{"guest":`...), reply.Guest)
	b = appendString(append(b, `,"mount":`...), w.line.mountOf(ctx, reply.Guest))
	switch reply.Err {
	case nil:
		b = append(b, `,"status":"`+statusAnswered+`"`...)
		if note != "" {
			b = appendString(append(b, `,"note":`...), note)
		}
	case ErrHighAndDry:
		b = append(b, `,"status":"`+statusDeclined+`"`...)
	default:
		b = appendString(append(b, `,"status":"`+statusFailed+`","error":`...), message(reply.Err))
	}
	w.duration(&b, reply.Duration)
	w.replies = append(b, '}')
}

func (w *askWriter) duration(b *[]byte, d time.Duration) {
	if w.timed {
		*b = strconv.AppendFloat(append(*b, `,"duration":`...), d.Seconds(), 'f', 9, 64)
	}
}

// encodeAnswer returns the answer as JSON, by methods that may be the guest's own and
// panic.
func encodeAnswer(answer any) (encoded []byte, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v", value)
		}
	}()
	return encode(answer)
}

// encode returns the value as JSON, in which HTML is left as it is.
func encode(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSpace(text.Bytes()), err
}

// appendString appends a string as JSON.
func appendString(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			encoded, _ := encode(text) // a string always has JSON
			return append(b, encoded...)
		}
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
}

const maxPayload = 1 << 20

// readPayload returns the body of a request, or an error with its status.
func readPayload(w http.ResponseWriter, r *http.Request) (body []byte, status int, err error) {
	buffer := bytes.NewBuffer(make([]byte, 0, min(max(r.ContentLength, 0), maxPayload)+bytes.MinRead))
	_, err = buffer.ReadFrom(http.MaxBytesReader(w, r.Body, maxPayload))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the payload is larger than %d bytes", maxPayload)
	}
	if err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("reading the payload: %w", err)
	}
	return buffer.Bytes(), 0, nil
}

// parsePayload returns the JSON value of a request's body, nil for an empty one.
// Numbers are json.Number, so that they keep their digits.
func parsePayload(body []byte) (any, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	payload, err := parseJSON(body)
	if err != nil {
		return nil, fmt.Errorf("the payload is %w", err)
	}
	return payload, nil
}

// parseJSON returns the one JSON value that the text is, if that is such as every parser
// takes. Its numbers are json.Number, and keep their digits.
func parseJSON(text []byte) (any, error) {
	r := newJSONReader(text)
	value, err := r.value()
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return nil, cmp.Or(strictjson.Check(text), err) // which says better what it is
	}
	return value, nil
}

// jsonReader reads a JSON value.
type jsonReader struct {
	*jsontext.Decoder
	json  []byte
	texts map[string]string // names of members, by their JSON: in lists they are often the same
}

func newJSONReader(json []byte) *jsonReader {
	return &jsonReader{jsontext.NewDecoder(bytes.NewBuffer(json)), json, make(map[string]string)}
}

// end returns an error if the value is not all there is, or some parser would not take
// it.
func (r *jsonReader) end() error {
	if rest := bytes.TrimLeft(r.json[r.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return fmt.Errorf("more than one JSON value, from byte %d on", len(r.json)-len(rest))
	}
	return strictjson.Limits(r.json)
}

func (r *jsonReader) value() (any, error) {
	switch r.PeekKind() {
	case jsontext.KindBeginArray:
		list := []any{}
		err := r.list(func() error {
			element, err := r.value()
			list = append(list, element)
			return err
		})
		return list, err
	case jsontext.KindBeginObject:
		object := make(map[string]any)
		err := r.object(func(name string) (err error) {
			object[name], err = r.value()
			return err
		})
		return object, err
	}
	token, err := r.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case jsontext.KindTrue, jsontext.KindFalse:
		return token.Bool(), nil
	case jsontext.KindString:
		return token.String(), nil
	case jsontext.KindNumber:
		return json.Number(token.String()), nil
	}
	return nil, nil // null
}

// list reads a list, having each element read.
func (r *jsonReader) list(element func() error) error {
	return r.between(jsontext.KindEndArray, element)
}

// object reads an object, having each member's value read.
func (r *jsonReader) object(member func(name string) error) error {
	return r.between(jsontext.KindEndObject, func() error {
		name, err := r.string()
		if err != nil {
			return err
		}
		return member(name)
	})
}

// string reads a string that is likely to come again.
func (r *jsonReader) string() (string, error) {
	quoted, err := r.ReadValue()
	if err != nil {
		return "", err
	}
	text, ok := r.texts[string(quoted)]
	if !ok {
		unquoted, _ := jsontext.AppendUnquote(nil, quoted) // the decoder has read it
		text = string(unquoted)
		r.texts[string(quoted)] = text
	}
	return text, nil
}

// between reads a token, the last one, and what is between.
func (r *jsonReader) between(last jsontext.Kind, read func() error) error {
	_, err := r.ReadToken()
	for err == nil && r.PeekKind() != last {
		err = read()
	}
	if err == nil {
		_, err = r.ReadToken()
	}
	return err
}
