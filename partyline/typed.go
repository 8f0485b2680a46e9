// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"
)

// All is AskAround for answers of type T. An answer that is no T is its guest's
// *HandlerError naming both types; a json.RawMessage that is no T is decoded into
// one.
func All[T any](ctx context.Context, o *Operator, service string, payload any) ([]T, error) {
	var answers []T
	err := eachAs(ctx, o, service, payload, func(answer T) (bool, error) {
		answers = append(answers, answer)
		return true, nil
	})
	return answers, err
}

// First returns the first answer of type T and asks nobody after that. Without
// one it returns what failed, joined, as AskAround does - an answer that is no
// T among it - or ErrHighAndDry if nothing did.
func First[T any](ctx context.Context, o *Operator, service string, payload any) (T, error) {
	return FirstFunc[T](ctx, o, service, payload, nil)
}

// FirstFunc is First for answers that a function, if it is not nil, may change, or
// refuse by an error, which then is the guest's *HandlerError. It is experimental.
func FirstFunc[T any](ctx context.Context, o *Operator, service string, payload any, accept func(T) (T, error)) (T, error) {
	var first, none T
	found := false
	err := eachAs(ctx, o, service, payload, func(answer T) (more bool, err error) {
		if accept != nil {
			answer, err = accept(answer)
		}
		if err == nil {
			first, found = answer, true
		}
		return !found, err
	})
	switch {
	case found:
		return first, nil
	case err != nil:
		return none, err
	}
	return none, ErrHighAndDry
}

// eachAs calls yield with every answer as a T until yield returns false. An error that it
// returns is the guest's failure. All failures are returned, joined, with the error that
// concerns the ask as a whole.
func eachAs[T any](ctx context.Context, o *Operator, service string, payload any, yield func(T) (more bool, err error)) error {
	var failures []error
	err := o.each(ctx, service, payload, func(guest string, answer any, err error, _ time.Duration) bool {
		if err == nil {
			var typed T
			more := false
			if typed, err = answerAs[T](answer); err == nil {
				more, err = yield(typed)
			}
			if err == nil {
				return more
			}
			err = &HandlerError{Guest: guest, Service: service, Err: err}
		}
		if err != ErrHighAndDry {
			failures = append(failures, err)
		}
		return true
	})
	return joinErrors(failures, err)
}

// answerAs returns the answer as a T.
func answerAs[T any](answer any) (T, error) {
	if typed, ok := answer.(T); ok {
		return typed, nil
	}
	return decodeAnswer[T](answer)
}

// decodeAnswer is apart from answerAs because the variable it decodes into is
// allocated.
func decodeAnswer[T any](answer any) (typed T, err error) {
	want := reflect.TypeFor[T]()
	switch answer := answer.(type) {
	case nil:
		if want.Kind() == reflect.Interface {
			return typed, nil
		}
	case json.RawMessage:
		if err := json.Unmarshal(answer, &typed); err != nil {
			var none T
			return none, fmt.Errorf("the answer is a json.RawMessage that does not decode into a %v: %w", want, err)
		}
		return typed, nil
	}
	return typed, fmt.Errorf("the answer is a %T, not a %v", answer, want)
}

// PayloadAs returns a handler's payload as a T: as it is if it is one, else by
// way of JSON, where no payload is null. The error names both types.
func PayloadAs[T any](payload any) (T, error) {
	if typed, ok := payload.(T); ok {
		return typed, nil
	}
	return decodePayload[T](payload)
}

func decodePayload[T any](payload any) (typed T, err error) {
	encoded, err := json.Marshal(payload)
	if err == nil {
		err = json.Unmarshal(encoded, &typed)
	}
	if err != nil {
		var none T
		return none, fmt.Errorf("the payload is a %T, which does not convert to a %v: %w", payload, reflect.TypeFor[T](), err)
	}
	return typed, nil
}
