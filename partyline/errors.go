// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"errors"
	"fmt"
)

// ErrPartyline is what every error of a partyline is: errors.Is(err, ErrPartyline) holds for
// ErrHighAndDry, ErrLeft, ErrLoop, ErrRefused, *NoSuchServiceError and *HandlerError.
var ErrPartyline = errors.New("partyline error")

var (
	// ErrHighAndDry is what a handler returns, possibly wrapped, when it has no answer: it declines,
	// and is skipped. First returns it when nobody answered and nobody failed.
	ErrHighAndDry error = &partylineError{"no answer"}

	// ErrLeft is what Connect returns once the operator has left.
	ErrLeft error = &partylineError{"the operator has left the partyline"}

	// ErrLoop is what an ask gets that would go on in a circle: more than eight guests ask each
	// other for one service, each in turn, or what led to the ask has called too many handlers of
	// the service already, or the ask is nested in more than 32 others. In a call that was nested so
	// deep, later asks for a service that is being asked for already get ErrLoop, too.
	ErrLoop error = &partylineError{"handlers are asking each other in a circle"}

	// ErrRefused is what a remote handler returns, wrapped, when it is asked more than it can
	// answer. To the asker it has failed, but it is counted apart.
	ErrRefused error = &partylineError{"asked more than it can answer"}

	// errNoOperator is what a nil Operator says.
	errNoOperator error = &partylineError{"there is no operator: the application was not invited, or did not take its invite (the log says why)"}
)

// errExited is the failure of a handler that called runtime.Goexit.
var errExited = errors.New("the handler ended its goroutine")

// partylineError is an error that is ErrPartyline.
type partylineError struct{ message string }

func (e *partylineError) Error() string { return e.message }

func (*partylineError) Is(target error) bool { return target == ErrPartyline }

// NoSuchServiceError says that nobody is connected under a service, or that the one guest that was
// asked is not.
type NoSuchServiceError struct {
	Party   string // the name of the partyline that was asked
	Service string // the name that was asked for
	Guest   string // the only guest that was asked, empty if all were
}

func (e *NoSuchServiceError) Error() string {
	if e.Guest != "" {
		return fmt.Sprintf("guest %q on partyline %q is not connected under service %q", e.Guest, e.Party, e.Service)
	}
	return fmt.Sprintf("nobody on partyline %q is connected under service %q", e.Party, e.Service)
}

// Is reports whether target is ErrPartyline.
func (*NoSuchServiceError) Is(target error) bool { return target == ErrPartyline }

// HandlerError says that a guest's handler failed: it returned an error that does not decline,
// answered with the wrong type, or panicked. The message of a recovered panic contains its stack.
type HandlerError struct {
	Guest   string // who failed to answer
	Service string // what the guest was asked for
	Err     error  // what went wrong
}

func (e *HandlerError) Error() string {
	return fmt.Sprintf("guest %q failed to answer %q: %v", e.Guest, e.Service, e.Err)
}

// Unwrap returns what went wrong.
func (e *HandlerError) Unwrap() error { return e.Err }

// Is reports whether target is ErrPartyline.
func (*HandlerError) Is(target error) bool { return target == ErrPartyline }

// panicError is a recovered panic. It does not unwrap to the value that was panicked with:
// panic(ErrHighAndDry) is a failure, not a way to decline.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n\n%s", e.value, e.stack) }
