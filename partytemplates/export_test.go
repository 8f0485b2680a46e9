// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytemplates

import "github.com/wsgiparty/wsgiparty/party"

const (
	DotlessTimeout = dotlessTimeout
	MaxDotless     = maxDotless
)

// NoDotless reports whether no ask without the dot is under way in the party, or refused.
func NoDotless(name string) bool {
	app, _ := party.Running()
	d := party.StateOf[dotlessAsks](app.Entry(name))
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.underWay == 0 && !d.refusing
}
