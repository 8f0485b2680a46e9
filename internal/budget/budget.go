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

// Package budget bounds what several goroutines together may use up.
package budget

import "sync/atomic"

// Budget is so many bytes.
type Budget struct{ total, used atomic.Int64 }

// New returns a budget of that many bytes.
func New(total int64) *Budget {
	b := new(Budget)
	b.total.Store(total)
	return b
}

// Take takes n bytes, if there are as many left.
func (b *Budget) Take(n int) bool {
	for {
		used := b.used.Load()
		if int64(n) > b.total.Load()-used {
			return false
		}
		if b.used.CompareAndSwap(used, used+int64(n)) {
			return true
		}
	}
}

// Give gives back n bytes that were taken.
func (b *Budget) Give(n int) { b.used.Add(int64(-n)) }

// Raise makes the budget at least that large.
func (b *Budget) Raise(total int64) {
	for {
		before := b.total.Load()
		if before >= total || b.total.CompareAndSwap(before, total) {
			return
		}
	}
}

// Total returns how many bytes it is of.
func (b *Budget) Total() int64 { return b.total.Load() }
