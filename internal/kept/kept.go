// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package kept is what the process keeps by key from config to config: while a config
// holds it, and for a while after the last one has released it.
package kept

import (
	"sync"
	"time"
)

// ForgetAfter is how long the process keeps what no config holds. Only tests change it.
var ForgetAfter = time.Hour

// Map is what is kept by key.
type Map[K comparable, V any] struct {
	make   func(K) V
	forget func(K, V) // nil, or called when it is no longer kept

	mu     sync.Mutex
	values map[K]*value[V]
}

type value[V any] struct {
	value   V
	holders int
	timer   *time.Timer // nil while somebody holds it
}

// all clear the maps of the process.
var all []func()

// New returns a map of the process, to be made in a package's variables. The first hold of a key makes its
// value. If forget is not nil, it is called when a value is no longer kept.
func New[K comparable, V any](make func(K) V, forget func(K, V)) *Map[K, V] {
	m := &Map[K, V]{make: make, forget: forget, values: map[K]*value[V]{}}
	all = append(all, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		clear(m.values)
	})
	return m
}

// Clear forgets everything, as a new process has. It is for tests.
func Clear() {
	for _, clear := range all {
		clear()
	}
}

// hold returns what is kept for the key, and keeps it until release.
func (m *Map[K, V]) hold(key K) V {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.values[key]
	if v == nil {
		v = &value[V]{value: m.make(key)}
		m.values[key] = v
	}
	v.holders++
	if v.timer != nil {
		v.timer.Stop()
		v.timer = nil
	}
	return v.value
}

// release undoes one hold. When all are undone it is kept for a while.
func (m *Map[K, V]) release(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.values[key]
	if v == nil {
		return // a test has cleared it
	}
	if v.holders--; v.holders == 0 {
		v.timer = time.AfterFunc(ForgetAfter, func() { m.drop(key, v) })
	}
}

// drop forgets a value, unless somebody took hold of it at the last moment.
func (m *Map[K, V]) drop(key K, v *value[V]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values[key] == v && v.holders == 0 {
		delete(m.values, key)
		if m.forget != nil {
			m.forget(key, v.value)
		}
	}
}

// Lookup returns what is kept for the key, if there is something.
func (m *Map[K, V]) Lookup(key K) (kept V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.values[key]; v != nil {
		return v.value, true
	}
	return kept, false
}

// Len returns how many keys something is kept for.
func (m *Map[K, V]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.values)
}

// Holds are what a config holds until it ends, each once.
type Holds struct {
	mu       sync.Mutex
	released bool
	by       map[any]func() // by what is held
}

// Hold returns what is kept for the key, which the config holds from now on.
func Hold[K comparable, V any](h *Holds, m *Map[K, V], key K) V {
	type held struct {
		kept *Map[K, V]
		key  K
	}
	value := m.hold(key)
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.by[held{m, key}]; ok || h.released {
		m.release(key)
		return value
	}
	if h.by == nil {
		h.by = make(map[any]func())
	}
	h.by[held{m, key}] = func() { m.release(key) }
	return value
}

// Release undoes all holds, and those that are yet to come.
func (h *Holds) Release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.released = true
	for _, release := range h.by {
		release()
	}
	h.by = nil
}
