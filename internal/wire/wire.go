// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package wire is what asks look like to whoever asks from outside the process: payloads
// and what came of them as JSON, the messages of errors, and query parameters.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
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

// Query returns the parameters of a request, all of them or none.
func Query(r *http.Request) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the query %q: %w", r.URL.RawQuery, err)
	}
	return query, nil
}

// First reports whether a request has the query parameter first; it may say true or false.
func First(r *http.Request) (bool, error) {
	query, err := Query(r)
	value := query.Get("first")
	if err != nil || value == "" {
		return query.Has("first"), err
	}
	first, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("first is %q: write true or false, or nothing after it", value)
	}
	return first, nil
}

// Message returns an error's in UTF-8. The error may be an application's own and panic.
func Message(err error) (text string) {
	if err == nil {
		return ""
	}
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("a %T, whose message cannot be had", err)
		}
	}()
	return strings.ToValidUTF8(err.Error(), "\uFFFD")
}

// Encode returns the value as JSON, in which HTML is left as it is.
func Encode(value any) ([]byte, error) {
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
			encoded, _ := Encode(text) // a string always has JSON
			return append(b, encoded...)
		}
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
}
