// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// problem is an error as RFC 9457 has it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func (p *problem) Error() string { return p.Detail }

func newProblem(status int, format string, arguments ...any) *problem {
	return &problem{"about:blank", http.StatusText(status), status, fmt.Sprintf(format, arguments...)}
}

// problemOf returns the problem that the error of an ask as a whole is to the asker.
func (a *Ask) problemOf(err error) error {
	if _, ok := errors.AsType[*NoSuchServiceError](err); ok {
		return newProblem(http.StatusNotFound, "%v", err)
	}
	if errors.Is(err, ErrLoop) {
		return newProblem(http.StatusLoopDetected, "%v", err)
	}
	if errors.Is(err, wire.ErrNoRoom) {
		return newProblem(http.StatusRequestEntityTooLarge, "the response is longer than max_response, %d bytes: ask for less at a time, or, in a batch, for this by itself", a.MaxResponse)
	}
	return err
}
