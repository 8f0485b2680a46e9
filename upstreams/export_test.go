// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package upstreams

// What tests need beyond the API.

import "time"

// Age makes what is kept older.
func (u *Upstreams) Age(by time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.kept.at = u.kept.at.Add(-by)
}
