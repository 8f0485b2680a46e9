// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Reply is what one handler made of an ask.
type Reply struct {
	// Guest is who replied, empty where Err concerns the ask as a whole.
	Guest string

	// Answer is the answer, nil if Err is not.
	Answer any

	// Err is nil for an answer, ErrHighAndDry if the handler declined, and
	// its *HandlerError if it failed. In the last reply of an ask it may be a
	// *NoSuchServiceError, ErrLoop, or the context's error.
	Err error

	// Duration is how long a remote handler took; zero for others.
	Duration time.Duration
}

// AskAround calls the handlers that every other guest has connected under the
// service, one after the other in the order they were connected, and returns
// their answers in that order. Handlers that decline are skipped. The error
// joins the *HandlerError of each handler that failed and, if ctx ended before
// everybody was asked, its error; the answers that were given are returned
// with it. If nobody is connected under the service, it is a
// *NoSuchServiceError, unless the partyline ignores missing services.
//
// Asking takes no lock, sees the connections as they were when it began, and
// allocates once for up to 16 handlers or four answers, twice beyond.
func (o *Operator) AskAround(ctx context.Context, service string, payload any) ([]any, error) {
	s, connections, err := o.lookup(service)
	if connections == nil {
		return nil, err
	}
	a, answers := newAsk(len(connections))
	a.Context, a.guest, a.service = ctx, o.guest, s
	var failures []error
	err = a.around(connections, payload, &answers, func(_ string, _ any, err error, _ time.Duration) bool {
		if err != ErrHighAndDry {
			failures = append(failures, err)
		}
		return true
	})
	return answers, joinErrors(failures, err)
}

// Replies is AskAround one reply at a time: each handler is called when the
// loop asks for the next reply. Breaking out of the loop asks nobody else and
// cancels the context of remote handlers under way. An error that concerns the
// ask as a whole comes as the last reply.
func (o *Operator) Replies(ctx context.Context, service string, payload any) iter.Seq[Reply] {
	return func(yield func(Reply) bool) {
		err := o.each(ctx, service, payload, func(guest string, answer any, err error, took time.Duration) bool {
			return yield(Reply{guest, answer, err, took})
		})
		if err != nil {
			yield(Reply{Err: err})
		}
	}
}

// lookup returns a service and whom to ask, or, if that is nobody, the error that
// says so.
func (o *Operator) lookup(name string) (*service, []connection, error) {
	if o == nil {
		return nil, nil, errNoOperator
	}
	if s := o.partyline.service(name); s != nil {
		if connections := s.connections(); len(connections) > 0 {
			return s, connections, nil
		}
	}
	var err error
	if !o.partyline.ignoreMissingServices.Load() {
		err = &NoSuchServiceError{Party: o.partyline.name, Service: name}
	}
	if observer := o.partyline.observing(); observer != nil {
		observer.BeginAsk(o.Guest(), name)(0, 0, 0, err)
	}
	return nil, nil, err
}

// each calls yield with every reply until yield returns false. The error, nil in that
// case, concerns the ask as a whole.
func (o *Operator) each(ctx context.Context, service string, payload any, yield yieldFunc) error {
	s, connections, err := o.lookup(service)
	if connections == nil {
		return err
	}
	a := &ask{Context: ctx, guest: o.guest, service: s}
	return a.around(connections, payload, nil, yield)
}

// yieldFunc takes a reply - the error is nil, ErrHighAndDry itself or a
// *HandlerError - and says whether to go on.
type yieldFunc func(guest string, answer any, err error, took time.Duration) (more bool)

// newAsk returns an ask, allocated together with room for some answers: for those
// of up to 16 guests, or of the few among many that do not decline.
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
