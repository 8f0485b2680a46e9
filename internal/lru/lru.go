// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package lru keeps a bounded number of values, each for its time. What was used least lately
// makes room for others.
package lru

import (
	"container/list"
	"sync"
	"time"
)

// Cache keeps values by key. Its methods may be called from any goroutine.
type Cache[K comparable, V any] struct {
	most int

	mu       sync.Mutex
	elements map[K]*list.Element // of used
	used     list.List           // of *entry, the last one used in front
}

type entry[K comparable, V any] struct {
	key   K
	value V
	until time.Time
}

// New returns a cache of so many values at most.
func New[K comparable, V any](most int) *Cache[K, V] {
	return &Cache[K, V]{most: most, elements: make(map[K]*list.Element)}
}

// Get returns the value of a key, if it is kept and its time has not passed.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.elements[key]
	if !ok {
		return value, false
	}
	e := element.Value.(*entry[K, V])
	if !time.Now().Before(e.until) {
		c.remove(element)
		return value, false
	}
	c.used.MoveToFront(element)
	return e.value, true
}

// Put keeps a value for that time, instead of what was kept by its key.
func (c *Cache[K, V]) Put(key K, value V, during time.Duration) {
	until := time.Now().Add(during)
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.elements[key]; ok {
		*element.Value.(*entry[K, V]) = entry[K, V]{key, value, until}
		c.used.MoveToFront(element)
		return
	}
	if len(c.elements) >= c.most {
		c.remove(c.used.Back())
	}
	c.elements[key] = c.used.PushFront(&entry[K, V]{key, value, until})
}

// Len returns how many values are kept, those whose time has passed included.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.elements)
}

func (c *Cache[K, V]) remove(element *list.Element) {
	delete(c.elements, element.Value.(*entry[K, V]).key)
	c.used.Remove(element)
}
