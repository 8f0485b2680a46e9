// Copyright 2026 The wsgi_party Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

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
