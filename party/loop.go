// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/reservedheader"
)

// What CDN-Loop (RFC 8586) says of a request: which Caddys it, and what led to it, have
// passed. Asks are nested in ways that nothing else shows where they lead through other
// Caddys, or through applications that hand no token back.
const (
	loopHeader    = reservedheader.Loop
	maxLoopHeader = 4 << 10
	maxLoops      = 4 // of a request through this process
)

// loopID is this process's in CDN-Loop.
var loopID = "wsgi-party-" + processID

// loopsIn returns how often a request has come through this process.
func loopsIn(values []string) (n int) {
	for _, value := range values {
		for info := range strings.SplitSeq(value, ",") {
			id, _, _ := strings.Cut(info, ";")
			if strings.TrimSpace(id) == loopID {
				n++
			}
		}
	}
	return n
}

// CheckLoops returns an error for a request that is to be answered with status 508. It is
// experimental.
func CheckLoops(header http.Header) error {
	if values, ok := header[loopHeader]; ok && loopsIn(values) >= maxLoops {
		return errLoops
	}
	return nil
}

var errLoops = fmt.Errorf("the request has come through this Caddy %d times (CDN-Loop)", maxLoops)

// loopOf returns the CDN-Loop of an ask's requests, from that of the request that led to
// it. Of asks that lead to each other, which are bounded by other means, the first counts.
func loopOf(before string, nested bool) string {
	if len(before) > maxLoopHeader { // the last ones count
		_, before, _ = strings.Cut(before[len(before)-maxLoopHeader:], ",")
	}
	switch {
	case strings.Trim(before, ", \t") == "":
		return loopID
	case nested && loopsIn([]string{before}) > 0:
		return before
	}
	return before + ", " + loopID
}

// forwardedLoop returns the CDN-Loop of a request in that context.
func forwardedLoop(ctx context.Context) string {
	if forwarded, ok := ctx.Value(forwardedKey{}).(http.Header); ok {
		return forwarded[loopHeader][0]
	}
	return loopID
}
