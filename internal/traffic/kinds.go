// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What requests are for, in bounded memory: the space-saving algorithm (Metwally, Agrawal and El Abbadi, 2005) behind a
// doorkeeper, as TinyLFU has one. What does not come twice lately takes nobody's place; what does takes that of the kind
// with the fewest requests, which has at most 2 % of the window's, since each counts for one kind and once more for that of
// its first segment. A kind is shown with those counted since it is listed, and so never with too many.

package traffic

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// MaxKinds is how many kinds of requests to a guest are listed.
	MaxKinds = 100

	maxName    = 128  // of a kind, in bytes
	doorkeeper = 1024 // how many names it remembers
)

// kinds are those that requests of a window are counted by. A request is one of the first that is listed of:
// the pattern that claims it, or the first two segments of its path, or the first alone.
type kinds struct {
	listed atomic.Pointer[list]
	seen   [doorkeeper]atomic.Uint32 // what came last of each hash
	mu     sync.Mutex                // of whoever changes the list
}

// list is not changed once it is there.
type list struct {
	claims, paths map[string]*kind
	all           []*kind // by place
}

func (l *list) of(claimed bool) map[string]*kind {
	if claimed {
		return l.claims
	}
	return l.paths
}

// kind is one that is listed.
type kind struct {
	name    string
	claimed bool
	place   int
	missed  uint64 // how many of its requests came before it was listed, at most
}

var seed = maphash.MakeSeed() // which nobody outside knows

// kind returns that of a request, nil if none that is listed is.
func (w *window) kind(claim, path string) *kind {
	if claim != "" {
		return w.find(claim[:min(len(claim), maxName)], true)
	}
	one, two := ends(path)
	if two <= maxName {
		if k := w.find(path[:two], false); k != nil {
			return k
		}
	}
	if one < two && one <= maxName {
		return w.find(path[:one], false)
	}
	return nil
}

// ends returns where the first segment of a path ends, with the slash behind it, and where the second one does.
// Both are the same for a path with only one, whether it has that slash or not.
func ends(path string) (one, two int) {
	if path == "" {
		return 0, 0
	}
	slash := strings.IndexByte(path[1:], '/')
	if slash < 0 {
		return len(path), len(path)
	}
	one = slash + 2
	if one == len(path) { // `/a/` is `/a`
		return one - 1, one - 1
	}
	if slash = strings.IndexByte(path[one:], '/'); slash < 0 {
		return one, len(path)
	}
	return one, one + slash
}

// find returns the kind of that name. One that is not listed is if there is room, or if it came before, lately.
func (w *window) find(name string, claimed bool) *kind {
	listed := w.kinds.listed.Load()
	if k := listed.of(claimed)[name]; k != nil {
		return k
	}
	if len(listed.all) == MaxKinds && !w.kinds.sawBefore(name) || !w.kinds.mu.TryLock() {
		return nil
	}
	defer w.kinds.mu.Unlock()
	return w.list(name, claimed)
}

func (k *kinds) sawBefore(name string) bool {
	hash := maphash.String(seed, name)
	tag := uint32(hash>>32) | 1
	last := &k.seen[hash%doorkeeper]
	if last.Load() == tag {
		return true
	}
	last.Store(tag)
	return false
}

// list lists a kind, if need be in the place of the one that was requested least. The kinds must be locked.
func (w *window) list(name string, claimed bool) *kind {
	listed := w.kinds.listed.Load()
	if k := listed.of(claimed)[name]; k != nil {
		return k
	}
	added := &kind{name: strings.Clone(name), claimed: claimed, place: len(listed.all)}
	changed := &list{maps.Clone(listed.claims), maps.Clone(listed.paths), slices.Clone(listed.all)}
	if added.place == MaxKinds {
		least, requests := w.least(listed.all)
		added.place, added.missed = least.place, least.missed+requests
		delete(changed.of(least.claimed), least.name)
		w.empty(least, changed)
		changed.all[added.place] = added
	} else {
		changed.all = append(changed.all, added)
	}
	changed.of(claimed)[added.name] = added
	w.kinds.listed.Store(changed)
	return added
}

// least returns the kind that had the fewest requests, those counted that it may have had before it was listed.
func (w *window) least(kinds []*kind) (least *kind, requests uint64) {
	for _, k := range kinds {
		if n := w.requests(k); least == nil || k.missed+n < least.missed+requests {
			least, requests = k, n
		}
	}
	return least, requests
}

func (w *window) requests(k *kind) (n uint64) {
	for s := range w.shards {
		n += w.shards[s].kinds[k.place].Load()
	}
	return n
}

// empty makes a kind's place another's. What was counted there goes to the kind of the first segment if
// that is listed. Of requests that are being counted a few may be taken for the other kind's.
func (w *window) empty(k *kind, listed *list) {
	var first *kind
	if one, two := ends(k.name); !k.claimed && one < two {
		first = listed.paths[k.name[:one]]
	}
	for s := range w.shards {
		n := w.shards[s].kinds[k.place].Swap(0)
		if first != nil {
			w.shards[s].kinds[first.place].Add(n)
		}
	}
}

// readKinds returns the kinds of some windows, which may be nil, most requested first.
func readKinds(windows ...*window) []Kind {
	type name struct {
		string
		claimed bool
	}
	requests := make(map[name]uint64)
	for _, w := range windows {
		if w == nil {
			continue
		}
		for _, k := range w.kinds.listed.Load().all {
			requests[name{k.String(), k.claimed}] += w.requests(k)
		}
	}
	read := make([]Kind, 0, len(requests))
	for of, n := range requests {
		if n > 0 {
			read = append(read, Kind{of.string, of.claimed, n})
		}
	}
	slices.SortFunc(read, func(a, b Kind) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), strings.Compare(a.Name, b.Name))
	})
	return read[:min(len(read), MaxKinds)]
}

// String returns the name for people.
func (k *kind) String() string {
	switch {
	case k.claimed:
		return strings.ToValidUTF8(k.name, "\uFFFD")
	case k.name == "":
		return "/"
	case len(k.name) > 1 && strings.HasSuffix(k.name, "/"):
		return k.name + "*"
	}
	return k.name
}
