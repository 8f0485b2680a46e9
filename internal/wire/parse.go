// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wsgiparty/wsgiparty/internal/strictjson"
)

// ParsePayload returns the JSON value of a request's body, nil for an empty one.
// Numbers are json.Number, so that they keep their digits.
func ParsePayload(body []byte) (any, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	payload, err := ParseJSON(body)
	if err != nil {
		return nil, fmt.Errorf("the payload is %w", err)
	}
	return payload, nil
}

// ParseJSON returns the one JSON value that the text is, if every parser would take it.
// Its numbers are json.Number.
func ParseJSON(text []byte) (any, error) {
	r := newReader(text)
	value, err := r.value()
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return nil, cmp.Or(strictjson.Check(text), err) // which says better what it is
	}
	return value, nil
}

// MaxAsks is how many asks a list may have.
const MaxAsks = 256

// Ask is one of a list of asks.
type Ask struct {
	Service string
	Payload any
	First   bool // stop at the first answer
}

// ParseAsks returns the asks of a list, also if there are more than MaxAsks.
func ParseAsks(text []byte) ([]Ask, error) {
	r := newReader(text)
	if kind := r.PeekKind(); kind != jsontext.KindInvalid && kind != jsontext.KindBeginArray {
		return nil, errors.New("it is no list")
	}
	asks := make([]Ask, 0, min(bytes.Count(text, []byte(`"service"`)), MaxAsks))
	err := r.list(func() error {
		var ask Ask
		switch kind := r.PeekKind(); kind {
		case jsontext.KindInvalid, jsontext.KindBeginObject:
		case jsontext.KindNull:
			asks = append(asks, ask)
			return r.SkipValue()
		default:
			return fmt.Errorf("/%d is no object", len(asks))
		}
		err := r.object(func(name string) (err error) {
			switch name {
			case "service":
				ask.Service, err = r.service()
			case "payload":
				ask.Payload, err = r.value()
			case "first":
				ask.First, err = r.first()
			default:
				err = r.SkipValue()
			}
			return err
		})
		asks = append(asks, ask)
		return err
	})
	if err == nil {
		err = r.end()
	}
	if err != nil {
		if strict, ok := errors.AsType[*strictjson.Error](strictjson.Check(text)); ok {
			return nil, strict
		}
		return nil, err
	}
	return asks, nil
}

// reader reads a JSON value.
type reader struct {
	*jsontext.Decoder
	json  []byte
	texts map[string]string // names of members, by their JSON: in lists they are often the same
}

func newReader(json []byte) *reader {
	return &reader{jsontext.NewDecoder(bytes.NewBuffer(json)), json, make(map[string]string)}
}

// end returns an error if the value is not all there is, or some parser would not take
// it.
func (r *reader) end() error {
	if rest := bytes.TrimLeft(r.json[r.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return fmt.Errorf("more than one JSON value, from byte %d on", len(r.json)-len(rest))
	}
	return strictjson.Limits(r.json)
}

func (r *reader) service() (string, error) {
	switch r.PeekKind() {
	case jsontext.KindString:
		return r.string()
	case jsontext.KindNull, jsontext.KindInvalid:
		return "", r.SkipValue()
	}
	return "", fmt.Errorf("%s is not a string", r.StackPointer())
}

func (r *reader) first() (bool, error) {
	value, err := r.value()
	first, ok := value.(bool)
	if err == nil && !ok && value != nil {
		err = fmt.Errorf("%s is neither true nor false", r.StackPointer())
	}
	return first, err
}

func (r *reader) value() (any, error) {
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

// list reads a list with a function that reads an element.
func (r *reader) list(element func() error) error {
	return r.between(jsontext.KindEndArray, element)
}

// object reads an object with a function that reads a member's value.
func (r *reader) object(member func(name string) error) error {
	return r.between(jsontext.KindEndObject, func() error {
		name, err := r.string()
		if err != nil {
			return err
		}
		return member(name)
	})
}

// string reads a string that is likely to come again.
func (r *reader) string() (string, error) {
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
func (r *reader) between(last jsontext.Kind, read func() error) error {
	_, err := r.ReadToken()
	for err == nil && r.PeekKind() != last {
		err = read()
	}
	if err == nil {
		_, err = r.ReadToken()
	}
	return err
}
