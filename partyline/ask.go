// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The ways to ask around, and to have answers and payloads as a type.

package partyline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"time"
)

// Reply is what one handler made of an ask.
type Reply struct {
	Guest  string // who replied, empty where Err concerns the ask as a whole
	Answer any    // nil if Err is not

	// Err is nil for an answer, ErrHighAndDry if the handler declined, and its *HandlerError if it
	// failed. In the last reply of an ask it may be a *NoSuchServiceError, ErrLoop, or the context's
	// error.
	Err error

	Duration time.Duration // how long a remote handler took; zero for others
}

// failed reports whether the handler has neither answered nor declined.
func (r *Reply) failed() bool { return r.Err != nil && r.Err != ErrHighAndDry }

// AskAround calls the handlers that every other guest has connected under the service, one after
// the other in the order of [Operator.Connect], and returns their answers in that order. Handlers
// that decline are skipped. The error joins the *HandlerError of each handler that failed and, if
// ctx ended before everybody was asked, its error; the answers that were given are returned with
// it. If nobody is connected under the service, it is a *NoSuchServiceError, unless the partyline
// ignores missing services.
//
// An ask waits for no lock, and sees the connections as they were when it began. It allocates once for
// up to 16 handlers or four answers, and twice beyond that.
func (o *Operator) AskAround(ctx context.Context, service string, payload any) ([]any, error) {
	var answers []any
	var failures []error
	err := o.each(ctx, service, payload, &answers, func(_ string, _ any, err error, _ time.Duration) bool {
		if err != ErrHighAndDry {
			failures = append(failures, err)
		}
		return true
	})
	return answers, joinErrors(failures, err)
}

// Replies is AskAround one reply at a time: each handler is called when the loop asks for the next
// reply. Breaking out of the loop asks nobody else and cancels the context of remote handlers under
// way. An error that concerns the ask as a whole comes as the last reply.
func (o *Operator) Replies(ctx context.Context, service string, payload any) iter.Seq[Reply] {
	return func(yield func(Reply) bool) {
		err := o.each(ctx, service, payload, nil, func(guest string, answer any, err error, took time.Duration) bool {
			return yield(Reply{guest, answer, err, took})
		})
		if err != nil {
			yield(Reply{Err: err})
		}
	}
}

// All is AskAround for answers of type T. An answer of another type becomes its guest's *HandlerError,
// which names both types. A json.RawMessage is decoded into a T, unless it is one.
func All[T any](ctx context.Context, o *Operator, service string, payload any) ([]T, error) {
	var answers []T
	err := eachAs(ctx, o, service, payload, func(answer T) (bool, error) {
		answers = append(answers, answer)
		return true, nil
	})
	return answers, err
}

// First returns the first answer of type T and asks nobody after that. If there is none, it returns the
// failures, joined as in AskAround and including answers that are not a T, or ErrHighAndDry if nothing
// failed.
func First[T any](ctx context.Context, o *Operator, service string, payload any) (T, error) {
	return FirstFunc[T](ctx, o, service, payload, nil)
}

// FirstFunc is First with a function that, if not nil, may change an answer, or refuse it with an error,
// which becomes the guest's *HandlerError. It is experimental.
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

// eachAs calls yield with every answer as a T until yield returns false. An error of yield's is the
// guest's failure. All failures are returned, joined, with the error of the ask as a whole.
func eachAs[T any](ctx context.Context, o *Operator, service string, payload any, yield func(T) (more bool, err error)) error {
	var failures []error
	err := o.each(ctx, service, payload, nil, func(guest string, answer any, err error, _ time.Duration) bool {
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

// yieldFunc takes a reply - the error is nil, ErrHighAndDry itself or a *HandlerError - and says
// whether to go on.
type yieldFunc func(guest string, answer any, err error, took time.Duration) (more bool)

// each calls yield with every reply, but for answers if they are to be collected, until yield
// returns false. The error, nil in that case, is that of the ask as a whole.
func (o *Operator) each(ctx context.Context, service string, payload any, answers *[]any, yield yieldFunc) (err error) {
	if o == nil {
		return errNoOperator
	}
	var order *order
	s := o.partyline.service(service)
	if s != nil {
		order = s.order.Load()
	}
	if order == nil || len(order.connections) == 0 || o.direct && !o.reaches(order) {
		if o.direct {
			err = o.noSuchGuest(service)
		} else if !o.partyline.ignoreMissingServices.Load() {
			err = &NoSuchServiceError{Party: o.partyline.name, Service: service}
		}
		if observer := o.partyline.observing(); observer != nil {
			observer.BeginAsk(o.Guest(), service)(0, 0, 0, err)
		}
		return err
	}
	var a *ask
	if answers != nil {
		a, *answers = newAsk(len(order.connections))
	} else {
		a = new(ask)
	}
	a.Context, a.guest, a.service = ctx, o.guest, s
	return a.around(o, order, payload, answers, yield)
}

// newAsk returns an ask, allocated together with room for some answers: for those of up to 16
// guests, or of the few among many that do not decline.
func newAsk(guests int) (*ask, []any) {
	if guests > 4 && guests <= 16 {
		a := new(struct {
			ask
			answers [16]any
		})
		return &a.ask, a.answers[:0]
	}
	a := new(struct {
		ask
		answers [4]any
	})
	return &a.ask, a.answers[:0]
}

// joinErrors joins the failures of handlers and the error of the ask as a whole.
func joinErrors(failures []error, err error) error {
	if len(failures) == 0 {
		return err
	}
	return errors.Join(append(failures, err)...)
}

// answerAs returns the answer as a T.
func answerAs[T any](answer any) (T, error) {
	if typed, ok := answer.(T); ok {
		return typed, nil
	}
	return decodeAnswer[T](answer)
}

// decodeAnswer is apart from answerAs because the variable it decodes into is allocated.
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

// PayloadAs returns a handler's payload as a T: unchanged if it is one, otherwise by way of JSON, in which
// a nil payload is null. The error names both types.
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
