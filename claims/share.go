// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// A part of the visitors first.

package claims

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/cespare/xxhash/v2"
)

// byClientIP is what is hashed by default.
const byClientIP = "{http.vars." + caddyhttp.ClientIPVarKey + "}"

// share is a part of the visitors.
type share struct {
	percent float64
	below   uint64 // the hashes that are in it, unless all are
}

// parseShare returns the share of a text such as 12.5%.
func parseShare(text string) (share, error) {
	digits, ok := strings.CutSuffix(text, "%")
	percent, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || strings.Trim(digits, "0123456789.") != "" || percent > 100 {
		return share{}, fmt.Errorf("share %q: write a percentage from 0%% to 100%%, such as 10%% or 0.5%%", text)
	}
	s := share{percent: percent}
	if !s.all() {
		s.below = uint64(percent / 100 * (1 << 64))
	}
	return s, nil
}

func (s share) all() bool { return s.percent == 100 }

// has reports whether a visitor of the guest is in the share.
func (s share) has(guest, visitor string) bool {
	if s.all() || s.percent == 0 || visitor == "" {
		return s.all()
	}
	var hash xxhash.Digest
	hash.Reset()
	_, _ = hash.WriteString(guest)
	_, _ = hash.WriteString("\x00")
	_, _ = hash.WriteString(visitor)
	return hash.Sum64() < s.below
}

func (s share) String() string { return strconv.FormatFloat(s.percent, 'f', -1, 64) + "%" }

// state is what is known of the matchers of a party in a config.
type state struct {
	shares atomic.Pointer[map[string]share] // that were set since the config was loaded, by guest

	mu       sync.Mutex
	matchers []*Matcher // in the order of the config, within a server
}

func (s *state) add(m *Matcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.matchers {
		if other.ClaimedBy == m.ClaimedBy {
			other.several.Store(true)
			m.several.Store(true)
		}
	}
	s.matchers = append(s.matchers, m)
}

func (s *state) remove(m *Matcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.matchers = slices.DeleteFunc(s.matchers, func(other *Matcher) bool { return other == m })
}

// all returns the matchers.
func (s *state) all() []*Matcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.matchers)
}

// set sets the share of a guest, in all matchers.
func (s *state) set(guest string, to share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shares := maps.Clone(s.setShares())
	if shares == nil {
		shares = make(map[string]share)
	}
	shares[guest] = to
	s.shares.Store(&shares)
}

// setShares returns the shares that were set since the config was loaded.
func (s *state) setShares() map[string]share {
	if shares := s.shares.Load(); shares != nil {
		return *shares
	}
	return nil
}

// shareNow returns the share of the visitors whose requests match.
func (m *Matcher) shareNow() share { return m.shareIn(m.state.setShares()) }

// shareIn is shareNow when these have been set.
func (m *Matcher) shareIn(shares map[string]share) share {
	if set, ok := shares[m.ClaimedBy]; ok {
		return set
	}
	return m.share
}

// visitor returns who makes the request, by what visitors are told apart by.
func (m *Matcher) visitor(r *http.Request) (visitor string) {
	if m.By == byClientIP { // mostly
		visitor, _ = caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	} else if placeholders, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		visitor = placeholders.ReplaceAll(m.By, "")
	}
	return visitor
}
