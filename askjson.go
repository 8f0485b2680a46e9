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
	"fmt"
	"slices"
	"strconv"
	"time"
)

// askJSON is what came of an ask, for whoever asks from outside the process.
type askJSON struct {
	Answers  []json.RawMessage `json:"answers"`
	Replies  []replyJSON       `json:"replies"`
	Duration float64           `json:"duration"`
}

type replyJSON struct {
	Guest    string          `json:"guest"`
	Status   string          `json:"status"`
	Answer   json.RawMessage `json:"answer,omitempty"`
	Note     string          `json:"note,omitempty"`
	Error    string          `json:"error,omitempty"`
	Duration float64         `json:"duration"`
}

// collect asks around and returns what came of it as JSON.
func collect(ctx context.Context, o *Operator, service string, payload any, first bool) (*askJSON, error) {
	response := new(askJSON)
	began := time.Now()
	asked := began
	for reply := range o.Replies(ctx, service, payload) {
		if reply.Guest == "" {
			return nil, reply.Err
		}
		now := time.Now()
		if reply.Duration == 0 {
			reply.Duration = now.Sub(asked)
		}
		view := replyToJSON(reply)
		response.Replies = append(response.Replies, view)
		if reply.Err == nil {
			response.Answers = append(response.Answers, view.Answer)
			if first {
				break
			}
		}
		asked = now
	}
	response.Duration = time.Since(began).Seconds()
	return response, nil
}

func replyToJSON(reply Reply) replyJSON {
	view := replyJSON{Guest: reply.Guest, Status: "answered", Duration: reply.Duration.Seconds()}
	switch reply.Err {
	case nil:
		var err error
		if view.Answer, err = encodeAnswer(reply.Answer); err != nil {
			view.Answer = appendString(nil, fmt.Sprintf("%T", reply.Answer))
			view.Note = "this is the type of the answer, which JSON cannot carry: " + message(err)
		}
	case ErrHighAndDry:
		view.Status = "declined"
	default:
		view.Status = "failed"
		view.Error = message(reply.Err)
	}
	return view
}

// encodeAnswer returns the answer as JSON, by methods that may be the guest's own and
// panic.
func encodeAnswer(answer any) (encoded json.RawMessage, err error) {
	if text, ok := answer.(string); ok {
		return appendString(nil, text), nil
	}
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v", value)
		}
	}()
	return encode(answer)
}

// encode returns the value as JSON, in which HTML is left as it is.
func encode(value any) ([]byte, error) {
	if asked, ok := value.(*askJSON); ok {
		return asked.append(nil), nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSpace(text.Bytes()), err
}

// append appends the JSON. It is written here because asks may be many, and of most
// the JSON is short.
func (a *askJSON) append(b []byte) []byte {
	b = append(slices.Grow(b, 256), `{"answers":[`...)
	for i, answer := range a.Answers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, answer...)
	}
	b = append(b, `],"replies":[`...)
	for i := range a.Replies {
		if i > 0 {
			b = append(b, ',')
		}
		b = a.Replies[i].append(b)
	}
	b = append(b, `],"duration":`...)
	b = appendSeconds(b, a.Duration)
	return append(b, '}')
}

func (r *replyJSON) append(b []byte) []byte {
	b = appendString(append(b, `{"guest":`...), r.Guest)
	b = appendString(append(b, `,"status":`...), r.Status)
	if r.Answer != nil {
		b = append(append(b, `,"answer":`...), r.Answer...)
	}
	if r.Note != "" {
		b = appendString(append(b, `,"note":`...), r.Note)
	}
	if r.Error != "" {
		b = appendString(append(b, `,"error":`...), r.Error)
	}
	b = appendSeconds(append(b, `,"duration":`...), r.Duration)
	return append(b, '}')
}

func appendSeconds(b []byte, seconds float64) []byte {
	return strconv.AppendFloat(b, seconds, 'f', 9, 64)
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

// parseJSON returns the one JSON value that the text is.
func parseJSON(text []byte) (value any, err error) {
	err = decodeOne(text, &value)
	return value, err
}

// decodeOne decodes the one JSON value that the text is. Numbers keep their digits
// where nothing says what they are.
func decodeOne(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("no JSON: %w", err)
	}
	end := decoder.InputOffset()
	if rest := bytes.TrimLeft(text[end:], " \t\r\n"); len(rest) > 0 {
		return fmt.Errorf("more than one JSON value, from byte %d on", len(text)-len(rest))
	}
	return nil
}
