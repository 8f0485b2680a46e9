// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

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
