// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package traffic

// Turn ends the meter's period.
func Turn(m *Meter) { m.turn() }
