// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/templates"
)

// begin returns the context of a page's ask: its request's, or one that ends soon.
func (f *TemplateFunctions) begin(dot *templates.TemplateContext, service string) (context.Context, func(), error) {
	if dot != nil {
		return dot.Req.Context(), func() {}, nil
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), dotlessTimeout, fmt.Errorf("it took longer than %v", dotlessTimeout))
	if f.operator.Partyline().RemoteHandlers(service, nil) == 0 {
		return ctx, cancel, nil
	}
	if !f.dotless.begin() {
		cancel()
		return nil, nil, fmt.Errorf("asking party %[1]q for %[2]q: %[3]d asks of pages without the page's dot are under way already: write the dot as first argument, as in {{urlFor . \"shop:cart\"}}, which is $ inside range and with", f.Party, service, maxDotless)
	}
	return ctx, func() { cancel(); f.dotless.end() }, nil
}

const (
	dotlessTimeout = 5 * time.Second
	maxDotless     = 16
)

// dotlessAsks are the asks of a party's pages that belong to no request, which nothing
// else bounds: a page may come to ask itself.
type dotlessAsks struct {
	mu       sync.Mutex
	underWay int

	// Once one is refused, all are until those under way have ended. Else a page that
	// asks itself twice would be asked 2^16 times.
	refusing bool
}

func (d *dotlessAsks) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refusing = d.refusing || d.underWay >= maxDotless; d.refusing {
		return false
	}
	d.underWay++
	return true
}

func (d *dotlessAsks) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.underWay--; d.underWay == 0 {
		d.refusing = false
	}
}
