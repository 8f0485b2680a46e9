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
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// askJSON is what came of an ask, for whoever asks from outside the process.
type askJSON struct {
	Answers  []json.RawMessage `json:"answers"`
	Replies  []replyJSON       `json:"replies"`
	Duration float64           `json:"duration"` // 0 if not timed
}

type replyJSON struct {
	Guest    string          `json:"guest"`
	Status   string          `json:"status"`
	Answer   json.RawMessage `json:"answer"`
	Note     string          `json:"note"`
	Error    string          `json:"error"`
	Duration float64         `json:"duration"`
}

// askWriter asks around and writes what comes of it as the JSON of an askJSON. It
// does so by hand because asks may be many, and of most the JSON is short.
type askWriter struct {
	json    []byte
	timed   bool           // write durations, too
	replies []writtenReply // of the ask under way
}

// writtenReply is a reply whose answer has been written.
type writtenReply struct {
	Reply
	answer, end int // where the answer is in the JSON
	note        string
}

// ask asks around and appends what comes of it. An error concerns the ask as a whole,
// and leaves the JSON as it was.
func (w *askWriter) ask(ctx context.Context, o *Operator, service string, payload any, first bool) error {
	written := len(w.json)
	w.json = append(slices.Grow(w.json, 256), `{"answers":[`...)
	w.replies = w.replies[:0]
	began := w.now()
	asked := began
	var in *root // where who asks may be asked for a URL itself
	if service == URLService && askOf(ctx) != nil {
		in = rootOf(ctx)
	}
	for reply := range o.Replies(ctx, service, payload) {
		if reply.Guest == "" {
			w.json = w.json[:written]
			return reply.Err
		}
		now := w.now()
		if reply.Duration == 0 {
			reply.Duration = now.Sub(asked)
		}
		w.take(reply)
		in.give(reply.Answer)
		if first && reply.Err == nil {
			break
		}
		asked = now
	}
	w.json = append(w.json, `],"replies":[`...)
	for i := range w.replies {
		w.reply(i)
	}
	w.json = append(w.json, ']')
	w.duration(w.now().Sub(began))
	w.json = append(w.json, '}')
	return nil
}

// now returns the time, if that is of interest.
func (w *askWriter) now() time.Time {
	if !w.timed {
		return time.Time{}
	}
	return time.Now()
}

// take writes the reply's answer, if it has one, among the answers.
func (w *askWriter) take(reply Reply) {
	if reply.Err != nil {
		w.replies = append(w.replies, writtenReply{Reply: reply})
		return
	}
	if w.json[len(w.json)-1] != '[' {
		w.json = append(w.json, ',')
	}
	written := writtenReply{Reply: reply, answer: len(w.json)}
	w.json, written.note = appendAnswer(w.json, reply.Answer)
	written.end = len(w.json)
	w.replies = append(w.replies, written)
}

// reply writes the i-th reply.
func (w *askWriter) reply(i int) {
	reply := &w.replies[i]
	if i > 0 {
		w.json = append(w.json, ',')
	}
	w.json = appendString(append(w.json, `{"guest":`...), reply.Guest)
	switch reply.Err {
	case nil:
		w.json = append(w.json, `,"status":"answered","answer":`...)
		w.json = append(w.json, w.json[reply.answer:reply.end]...)
		if reply.note != "" {
			w.json = appendString(append(w.json, `,"note":`...), reply.note)
		}
	case ErrHighAndDry:
		w.json = append(w.json, `,"status":"declined"`...)
	default:
		w.json = appendString(append(w.json, `,"status":"failed","error":`...), message(reply.Err))
	}
	w.duration(reply.Duration)
	w.json = append(w.json, '}')
}

func (w *askWriter) duration(d time.Duration) {
	if w.timed {
		w.json = strconv.AppendFloat(append(w.json, `,"duration":`...), d.Seconds(), 'f', 9, 64)
	}
}

// appendAnswer appends an answer as JSON, or its type with a note that says so.
func appendAnswer(b []byte, answer any) ([]byte, string) {
	if text, ok := answer.(string); ok {
		return appendString(b, text), ""
	}
	encoded, err := encodeAnswer(answer)
	if err != nil {
		return appendString(b, fmt.Sprintf("%T", answer)), "this is the type of the answer, which JSON cannot carry: " + message(err)
	}
	return append(b, encoded...), ""
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

// parseJSON returns the one JSON value that the text is. Its numbers are json.Number,
// and keep their digits. As with encoding/json, of members of one name the last
// counts, and what is no UTF-8 becomes U+FFFD.
func parseJSON(text []byte) (any, error) {
	r := newJSONReader(text)
	value, err := r.value()
	if err != nil {
		return nil, fmt.Errorf("no JSON: %w", err)
	}
	return value, r.end()
}

// jsonReader reads a JSON value.
type jsonReader struct {
	*jsontext.Decoder
	json  []byte
	texts map[string]string // names of members, by their JSON: in lists they are often the same
}

func newJSONReader(json []byte) *jsonReader {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(json), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return &jsonReader{decoder, json, make(map[string]string)}
}

// end returns an error if the value is not all there is.
func (r *jsonReader) end() error {
	if rest := bytes.TrimLeft(r.json[r.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return fmt.Errorf("more than one JSON value, from byte %d on", len(r.json)-len(rest))
	}
	return nil
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
