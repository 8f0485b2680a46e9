// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package wire is what asks look like to whoever asks from outside the process: payloads
// and what came of them as JSON, the messages of errors, query parameters and ETags.
package wire

import (
	"bytes"
	"cmp"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wsgiparty/wsgiparty/internal/strictjson"
)

const maxPayload = 1 << 20

// ReadPayload returns the body of a request, or an error with its status.
func ReadPayload(w http.ResponseWriter, r *http.Request) (body []byte, status int, err error) {
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

// HasETag reports whether a client says that it has what this ETag is of.
func HasETag(r *http.Request, etag string) bool {
	for _, list := range r.Header["If-None-Match"] {
		for one := range strings.SplitSeq(list, ",") {
			if one = strings.TrimPrefix(strings.Trim(one, " \t"), "W/"); one == etag || one == "*" {
				return true
			}
		}
	}
	return false
}

// Query returns the parameters of a request, all of them or none.
func Query(r *http.Request) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the query %q: %w", r.URL.RawQuery, err)
	}
	return query, nil
}

// AskQuery returns the ask that a request's query makes of one for a service: whether it stops at the first
// answer, and of which guest it is. The parameter first may say true or false.
func AskQuery(r *http.Request, service string) (Ask, error) {
	ask := Ask{Service: service}
	if r.URL.RawQuery == "" {
		return ask, nil
	}
	query, err := Query(r)
	if err != nil {
		return ask, err
	}
	switch guests := query["guest"]; {
	case len(guests) > 1:
		return ask, fmt.Errorf("guest is written %d times: write one guest's name, or leave guest out to ask everyone", len(guests))
	case len(guests) == 1:
		ask.Guest = &guests[0]
		if err := ask.CheckGuest(); err != nil {
			return ask, err
		}
	}
	value := query.Get("first")
	if value == "" {
		ask.First = query.Has("first")
		return ask, nil
	}
	if ask.First, err = strconv.ParseBool(value); err != nil {
		return ask, fmt.Errorf("first is %q: write true or false, or nothing after it", value)
	}
	return ask, nil
}

// CheckGuest returns an error if the only guest to ask has no name.
func (a *Ask) CheckGuest() error {
	if a.Guest != nil && *a.Guest == "" {
		return errors.New("guest is empty: write the guest's name, or leave guest out to ask everyone")
	}
	return nil
}

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
	if err := parse(text, &value, anys); err != nil {
		return nil, cmp.Or(strictjson.Check(text), err) // which says better what it is
	}
	return value, nil
}

// MaxAsks is how many asks a list may have.
const MaxAsks = 256

// Ask is one of a list of asks.
type Ask struct {
	Service string  `json:"service"`
	Payload any     `json:"payload"`
	First   bool    `json:"first"` // stop at the first answer
	Guest   *string `json:"guest"` // the only one to ask; nil for everyone
}

// ParseAsks returns the asks of a list, also if there are more than MaxAsks.
func ParseAsks(text []byte) ([]Ask, error) {
	if kind := jsontext.Value(text).Kind(); kind != jsontext.KindInvalid && kind != jsontext.KindBeginArray {
		return nil, errors.New("it is not a list")
	}
	var asks []Ask
	err := parse(text, &asks, json.WithUnmarshalers(json.UnmarshalFromFunc(make(anyDecoder).decode)))
	if err == nil {
		return asks, nil
	}
	if check := strictjson.Check(text); check != nil && errors.Unwrap(check) == nil {
		return nil, check // of what err does not know
	}
	mismatch, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return nil, err
	}
	what := map[reflect.Kind]string{reflect.Struct: "not an object", reflect.String: "not a string", reflect.Bool: "neither true nor false"}
	return nil, fmt.Errorf("%s is %s", mismatch.JSONPointer, what[mismatch.GoType.Kind()])
}

// parse decodes JSON that every parser accepts.
func parse(text []byte, value any, anys json.Options) error {
	if err := json.Unmarshal(text, value, anys); err != nil {
		return err
	}
	return strictjson.Limits(text)
}

// anyDecoder decodes an any, with numbers as json.Number. It has the names of members, which
// are often the same, by their JSON.
type anyDecoder map[string]string

// anys are for text that is one value. What comes of making some, once for each text, is more than most take to decode.
var anys = json.WithUnmarshalers(json.UnmarshalFromFunc(func(d *jsontext.Decoder, value *any) error {
	return make(anyDecoder).decode(d, value)
}))

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
