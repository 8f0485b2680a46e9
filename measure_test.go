// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"testing"
	"time"
)

// takesAtMost fails the test if what is measured takes more than so many times as long
// as the reference. Both are measured in turns, and the least of each counts: whatever
// else the machine does makes them longer, and never shorter.
func takesAtMost(t *testing.T, times float64, reference, measured func() time.Duration) {
	t.Helper()
	leastReference, least := reference(), measured()
	for range 30 {
		if float64(least) <= times*float64(leastReference) {
			break
		}
		leastReference, least = min(leastReference, reference()), min(least, measured())
	}
	ratio := float64(least) / float64(leastReference)
	t.Logf("%v, %.2f times as long as %v", least, ratio, leastReference)
	if ratio > times {
		t.Errorf("it takes %v, %.2f times as long as %v, which may be %v times", least, ratio, leastReference, times)
	}
}
