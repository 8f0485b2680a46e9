// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The messages of a trunk, which are JSON, and their subjects:
//
//	<subject>.roster                   to all nodes: beat, guest, bye, want
//	<subject>.node.<node>              to one: hello, want, and in answer to that guest and whole
//	<subject>.ask.<node>.<process>     an ask of one of its guests, a request
//	<subject>.cancel.<node>.<process>  the end of such an ask
//
// Asks name the process, so that none gets to another node of the same name, which it may take some time to find out.
// Members that are not known are ignored: nodes may have different versions.

package trunk

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/party"
)

const (
	beatEvery   = 2 * time.Second
	silentFor   = 3 * beatEvery // after which a node is gone
	gatherFor   = 100 * time.Millisecond
	warnAfter   = time.Second // without NATS
	wantAtMost  = time.Second // apart
	maxGuests   = 1000        // of a node
	maxGuest    = 64 << 10    // bytes, as announced
	maxServices = 1024        // of a guest
	maxMessage  = 1 << 20     // of a roster, bytes
	maxNodes    = 1000
)

// message is one about the roster.
type message struct {
	Kind    string            `json:"kind"`
	From    sender            `json:"from"`
	Digest  string            `json:"digest,omitempty"`  // guest: of what is said; beat: of all that
	Version uint64            `json:"version,omitempty"` // guest, whole: which of two is newer
	Guests  map[string]string `json:"guests,omitempty"`  // whole: digests by party and guest
	Party   string            `json:"party,omitempty"`   // guest
	Guest   string            `json:"guest,omitempty"`   // guest
	Says    *announcement     `json:"says,omitempty"`    // guest: nil if it has left
}

// sender is the node that a message is from.
type sender struct {
	Node    string        `json:"node"`
	Session string        `json:"session"` // of the link
	Process string        `json:"process"` // which has another link while a reload changes the trunk's settings
	Address string        `json:"address"` // for people
	Age     time.Duration `json:"age"`     // of the link, which needs no clock that is right
}

// announcement is what a node says of one of its guests.
type announcement struct {
	Services []string `json:"services"`
	party.Statement
}

// guestKey is a guest of a party.
type guestKey struct{ party, guest string }

// text is the key as a member of an object.
func (k guestKey) text() string { return k.party + "\x00" + k.guest }

// token returns a name as a token of a subject: other characters than letters, digits, - and _ are escaped.
func token(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// The kinds of messages that are counted. Those of the roster have their own.
const (
	kindAsk    = "ask"
	kindReply  = "reply"
	kindCancel = "cancel"
)

// The outcomes of messages.
const (
	sent     = "sent"
	received = "received"
	dropped  = "dropped"
)

var kinds = []string{"beat", "bye", "guest", "hello", "want", "whole", kindAsk, kindCancel, kindReply}

// counts are of messages, by kind and outcome.
type counts struct {
	of map[[2]string]*atomic.Uint64 // never changed

	mu     sync.Mutex
	logged time.Time // when messages that were dropped were logged last
	since  int       // messages dropped since
}

func newCounts() *counts {
	c := &counts{of: make(map[[2]string]*atomic.Uint64)}
	for _, kind := range kinds {
		for _, outcome := range []string{sent, received, dropped} {
			c.of[[2]string{kind, outcome}] = new(atomic.Uint64)
		}
	}
	return c
}

func (c *counts) add(kind, outcome string) {
	if n := c.of[[2]string{kind, outcome}]; n != nil {
		n.Add(1)
	}
}

// drop counts a message that is dropped, and says so in the log once a minute.
func (c *counts) drop(logger *zap.Logger, kind, subject string, why error) {
	c.add(kind, dropped)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since++
	if now := time.Now(); now.Sub(c.logged) >= time.Minute {
		logger.Warn("the trunk dropped messages", zap.Int("messages", c.since), zap.String("last_subject", subject), zap.Error(why),
			zap.String("hint", "only nodes of the trunk may send to its subjects: see who else has the credentials of its NATS, and whether all nodes have the same version"))
		c.logged, c.since = now, 0
	}
}

// decode decodes a message of the roster.
func decode(data []byte) (m message, err error) {
	if len(data) > maxMessage {
		return m, fmt.Errorf("the message has %d bytes, and may have %d", len(data), maxMessage)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, err
	}
	if m.From.Node == "" || len(m.From.Node) > maxNode || m.From.Session == "" || len(m.From.Session) > maxNode || m.From.Process == "" || len(m.From.Process) > maxNode || len(m.From.Address) > 1<<10 {
		return m, fmt.Errorf("the message does not say which node it is from")
	}
	return m, nil
}
