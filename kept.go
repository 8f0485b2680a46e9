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
	"sync"
	"time"
)

// forgetAfter is how long the process keeps what it knows of a party, a guest or an
// application that no loaded config has.
var forgetAfter = time.Hour

// kept is what the process keeps by key from config to config.
type kept[K comparable, V any] struct {
	make   func(K) V
	forget func(K, V) // nil, or called when it is no longer kept

	mu     sync.Mutex
	values map[K]*keptValue[V]
}

type keptValue[V any] struct {
	value   V
	holders int
	timer   *time.Timer // nil while somebody holds it
}

// hold returns what is kept for the key, and keeps it until release.
func (k *kept[K, V]) hold(key K) V {
	k.mu.Lock()
	defer k.mu.Unlock()
	v := k.values[key]
	if v == nil {
		v = &keptValue[V]{value: k.make(key)}
		if k.values == nil {
			k.values = make(map[K]*keptValue[V])
		}
		k.values[key] = v
	}
	v.holders++
	if v.timer != nil {
		v.timer.Stop()
		v.timer = nil
	}
	return v.value
}

// release undoes one hold. When all are undone it is kept for a while.
func (k *kept[K, V]) release(key K) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v := k.values[key]
	if v == nil {
		return // a test has cleared it
	}
	if v.holders--; v.holders == 0 {
		v.timer = time.AfterFunc(forgetAfter, func() { k.drop(key, v) })
	}
}

func (k *kept[K, V]) drop(key K, v *keptValue[V]) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.values[key] != v || v.holders > 0 {
		return // somebody took hold of it at the last moment
	}
	delete(k.values, key)
	if k.forget != nil {
		k.forget(key, v.value)
	}
}

// lookup returns what is kept for the key, if there is something.
func (k *kept[K, V]) lookup(key K) (value V, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v := k.values[key]
	if v == nil {
		return value, false
	}
	return v.value, true
}

// holds are what a config holds until it ends, each once.
type holds struct {
	mu       sync.Mutex
	released bool
	by       map[any]func() // by what is held
}

// hold returns what is kept for the key, which the config holds from now on.
func hold[K comparable, V any](h *holds, k *kept[K, V], key K) V {
	type held struct {
		kept *kept[K, V]
		key  K
	}
	value := k.hold(key)
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.by[held{k, key}]; ok || h.released {
		k.release(key)
		return value
	}
	if h.by == nil {
		h.by = make(map[any]func())
	}
	h.by[held{k, key}] = func() { k.release(key) }
	return value
}

// release undoes all holds, and those that are yet to come.
func (h *holds) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.released = true
	for _, release := range h.by {
		release()
	}
	h.by = nil
}
