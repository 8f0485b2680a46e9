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
	"slices"
	"sync"
	"sync/atomic"
)

// call is what an outermost ask shares with all that are nested in it.
type call struct {
	looped   atomic.Bool // one was nested too deep
	spending sync.Map    // of *service to *spending

	mu       sync.Mutex
	ended    bool
	attached any
	detach   func() // called when the call ends
}

// callOf returns the call that an ask, which must be outermost, is of.
func (a *ask) callOf() *call {
	if c := a.nested.Load(); c != nil {
		return c
	}
	a.nested.CompareAndSwap(nil, new(call))
	return a.nested.Load()
}

// attach returns what is attached to the call, and attaches what the function returns
// if that is nothing yet. The call's end is told to the second one it returns. Nothing
// can be attached after that.
func (c *call) attach(make func() (attached any, detach func())) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attached == nil && !c.ended {
		c.attached, c.detach = make()
	}
	return c.attached
}

// end is called when the outermost ask has ended. Handlers may go on, and ask.
func (c *call) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.detach != nil {
		c.detach()
		c.detach = nil
	}
}

// spending is how many handlers of one service a call has called in asks beyond the
// second level, and how many it may: n² of n. Without an end to it, a miss among n
// guests that all ask around costs n! calls.
type spending struct{ spent, allowed atomic.Int64 }

// spendingOn returns the spending for an ask of the service, nil for one that needs
// none. The level is how many asks for the service lead to it, itself included.
func (c *call) spendingOn(s *service, level, handlers int) *spending {
	if level == 2 {
		return nil
	}
	loaded, known := c.spending.Load(s)
	if !known {
		loaded, known = c.spending.LoadOrStore(s, new(spending))
	}
	spending := loaded.(*spending)
	if level == 1 || !known {
		spending.allowed.Add(int64(handlers) * int64(handlers))
	}
	if level == 1 {
		return nil
	}
	return spending
}

// spend takes down a call, and returns false if it is one too many.
func (s *spending) spend() bool {
	if s.spent.Add(1) <= s.allowed.Load() {
		return true
	}
	s.spent.Add(-1)
	return false
}

// nest finds whom not to ask in an ask that a handler makes. It returns false if
// nobody is to be asked.
func (c *calls) nest() bool {
	depth, level := 1, 1
	maxAbove := maxAskers
	if c.guest != noGuest {
		maxAbove-- // it is one of them itself
	}
	outermost := c.up
	for up := c.up; up != nil; up = askOf(up.Context) {
		depth++
		outermost = up
		if up.service.name != c.service.name || up.service.partyline != c.service.partyline {
			continue
		}
		level++
		if up.guest == noGuest || up.guest == c.guest || slices.Contains(c.above, up.guest) {
			continue
		}
		if c.above = append(c.above, up.guest); len(c.above) > maxAbove {
			return false
		}
	}
	shared := outermost.callOf()
	if depth > maxDepth {
		shared.looped.Store(true)
		return false
	}
	if level > 1 && shared.looped.Load() { // else a circle of many goes on for ever
		return false
	}
	if spending := shared.spendingOn(c.service, level, len(c.connections)); c.guest != noGuest {
		c.spending = spending // others skip nobody and go in circles, which the depth ends
	}
	return true
}

// end is called when nobody is asked any more.
func (c *calls) end() {
	if c.up != nil {
		return
	}
	if shared := c.nested.Load(); shared != nil {
		shared.end()
	}
}
