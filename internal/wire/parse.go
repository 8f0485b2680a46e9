// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"cmp"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/go-json-experiment/json"
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
	var value any
	if err := parse(text, &value); err != nil {
		return nil, cmp.Or(strictjson.Check(text), err) // which says better what it is
	}
	return value, nil
}

// MaxAsks is how many asks a list may have.
const MaxAsks = 256

// Ask is one of a list of asks.
type Ask struct {
	Service string `json:"service"`
	Payload any    `json:"payload"`
	First   bool   `json:"first"` // stop at the first answer
}

// ParseAsks returns the asks of a list, also if there are more than MaxAsks.
func ParseAsks(text []byte) ([]Ask, error) {
	var asks []Ask
	err := parse(text, &asks)
	if err == nil && asks == nil { // it is null
		return nil, errNoList
	}
	if err == nil {
		return asks, nil
	}
	if check := strictjson.Check(text); check != nil && errors.Unwrap(check) == nil {
		return nil, check // of what err does not know
	}
	if mismatch, ok := errors.AsType[*json.SemanticError](err); ok {
		switch at := mismatch.JSONPointer; mismatch.GoType.Kind() {
		case reflect.Slice:
			return nil, errNoList
		case reflect.Struct:
			return nil, fmt.Errorf("%s is no object", at)
		case reflect.String:
			return nil, fmt.Errorf("%s is not a string", at)
		case reflect.Bool:
			return nil, fmt.Errorf("%s is neither true nor false", at)
		}
	}
	return nil, err
}

var errNoList = errors.New("it is no list")

// parse decodes JSON that every parser takes.
func parse(text []byte, value any) error {
	anys := json.WithUnmarshalers(json.UnmarshalFromFunc(make(anyDecoder).decode))
	if err := json.Unmarshal(text, value, anys); err != nil {
		return err
	}
	return strictjson.Limits(text)
}

// anyDecoder decodes an any, with numbers as json.Number. It has the names of members, which
// are often the same, by their JSON.
type anyDecoder map[string]string

func (a anyDecoder) decode(d *jsontext.Decoder, value *any) (err error) {
	*value, err = a.value(d)
	return err
}

func (a anyDecoder) value(d *jsontext.Decoder) (any, error) {
	token, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case jsontext.KindTrue, jsontext.KindFalse:
		return token.Bool(), nil
	case jsontext.KindString:
		return token.String(), nil
	case jsontext.KindNumber:
		return stdjson.Number(token.String()), nil
	case jsontext.KindBeginArray:
		list := []any{}
		for d.PeekKind() != jsontext.KindEndArray {
			element, err := a.value(d)
			if err != nil {
				return nil, err
			}
			list = append(list, element)
		}
		_, err = d.ReadToken()
		return list, err
	case jsontext.KindBeginObject:
		object := make(map[string]any)
		for d.PeekKind() != jsontext.KindEndObject {
			quoted, err := d.ReadValue()
			if err != nil {
				return nil, err
			}
			name := a.unquote(quoted)
			if object[name], err = a.value(d); err != nil {
				return nil, err
			}
		}
		_, err = d.ReadToken()
		return object, err
	}
	return nil, nil // null
}

func (a anyDecoder) unquote(quoted jsontext.Value) string {
	name, ok := a[string(quoted)]
	if !ok {
		unquoted, _ := jsontext.AppendUnquote(nil, quoted) // the decoder has read it
		name = string(unquoted)
		a[string(quoted)] = name
	}
	return name
}

// EachObject calls do for each object in decoded JSON, the outer ones first.
func EachObject(decoded any, do func(map[string]any)) {
	switch decoded := decoded.(type) {
	case map[string]any:
		do(decoded)
		for _, member := range decoded {
			EachObject(member, do)
		}
	case []any:
		for _, element := range decoded {
			EachObject(element, do)
		}
	}
}
