// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package reservedheader

import (
	"fmt"
	"net/http"

	"golang.org/x/net/http/httpguts"
)

// CheckForwarded returns an error for a header that asks cannot forward.
func CheckForwarded(names []string) error {
	for _, name := range names {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("forward: %q is not a header name", name)
		}
		if Reserves(name) {
			return fmt.Errorf("forward: the header %s is the party's own, which every ask has: leave it out", name)
		}
		switch http.CanonicalHeaderKey(name) {
		case Loop, "Connection", "Content-Length", "Content-Type", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
			"Accept-Encoding", "Content-Encoding", "Expect", "Range",
			"If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since":
			return fmt.Errorf("forward: the header %s belongs to one request, but an ask has its own: leave it out", name)
		}
	}
	return nil
}
