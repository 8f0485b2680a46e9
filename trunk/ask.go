// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Asking a guest of another node, over NATS.

package trunk

import (
	"cmp"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go"

	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// askMessage is an ask of a guest of the node that it is sent to.
type askMessage struct {
	Node    string         `json:"node"` // that asks
	ID      string         `json:"id"`   // of the ask among those of the node
	Party   string         `json:"party"`
	Guest   string         `json:"guest"`
	Service string         `json:"service"`
	Payload jsontext.Value `json:"payload"`
	Left    int64          `json:"left,omitzero"` // nanoseconds until the asker no longer waits; zero if it waits as long as it takes
	party.Baggage
}

// replyMessage is what came of it.
type replyMessage struct {
	Replies []replyJSON `json:"replies,omitempty"` // one of each handler
	Gone    bool        `json:"gone,omitzero"`     // the guest is not on the line there
}

type replyJSON struct {
	Answer   jsontext.Value `json:"answer,omitzero"`
	Declined bool           `json:"declined,omitzero"`
	Error    string         `json:"error,omitzero"` // if it is neither
	Refused  bool           `json:"refused,omitzero"`
	Looped   bool           `json:"looped,omitzero"`
}

// asWritten leaves payloads and answers as they are: what JSON they may be is for those who make them.
var asWritten = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

var askIDs atomic.Uint64

// graceFor is how much longer than the guest's own node this one waits for an answer.
const graceFor = 500 * time.Millisecond

// ask asks the guest on the node whose last answer was quickest, and on another one if that is gone.
func (a *away) ask(ctx context.Context, service string, payload any) (any, error) {
	encodingCtx := ctx
	if service == party.ClaimsService || service == party.HostsService { // of which each guest gets what is made for it
		encodingCtx = context.Background()
	}
	encoded, err := party.PayloadJSON(encodingCtx, payload)
	if err != nil {
		return nil, err
	}
	asked := make(map[string]bool) // sessions
	for {
		s := a.nextSource(service, asked)
		if s == nil {
			return nil, cmp.Or(err, error(&errNodeGone{a.source.Node}))
		}
		asked[s.Session] = true
		var answer any
		var again bool
		if answer, again, err = a.askNode(ctx, s, service, encoded); !again {
			return answer, err
		}
	}
}

// nextSource returns the quickest of the nodes that have the guest under that service, and have not been asked yet. One
// whose guest has never been asked is first, since it may be quicker, and one whose guest has failed last.
func (a *away) nextSource(service string, asked map[string]bool) *source {
	a.link.mu.Lock()
	defer a.link.mu.Unlock()
	var next *source
	var least int64
	for _, n := range a.link.nodes {
		s := n.guests[a.key]
		if s == nil || asked[s.Session] || !slices.Contains(s.Services, service) {
			continue
		}
		if latency := s.latency.Load(); next == nil || latency < least || latency == least && s.Node < next.Node {
			next, least = s, latency
		}
	}
	return next
}

// askNode asks one node, and returns whether to ask another one instead.
func (a *away) askNode(ctx context.Context, s *source, service string, payload []byte) (answer any, again bool, err error) {
	l := a.link
	l.asking.Add(1)
	defer l.asking.Add(-1)
	if !l.nats.IsConnected() {
		return nil, false, natsError(l.nats)
	}
	m := askMessage{Node: l.settings.Node, ID: l.session + strconv.FormatUint(askIDs.Add(1), 36), Party: a.key.party, Guest: a.key.guest, Service: service, Payload: payload,
		Baggage: a.entry.BaggageOf(ctx, s.Forward)}
	if deadline, ok := ctx.Deadline(); ok {
		m.Left = int64(max(time.Until(deadline), time.Millisecond))
	}
	data, err := json.Marshal(&m, asWritten)
	if err != nil {
		return nil, false, err
	}
	if most := l.nats.MaxPayload(); int64(len(data)) > most {
		return nil, false, fmt.Errorf("the payload makes a message of %d bytes, and NATS takes %d (max_payload)", len(data), most)
	}
	waiting, end := context.WithCancel(ctx)
	if s.Timeout > 0 {
		end()
		waiting, end = context.WithTimeoutCause(ctx, s.Timeout+graceFor, &party.TimeoutError{After: s.Timeout})
	}
	defer end()
	defer context.AfterFunc(s.gone, end)()
	began := time.Now()
	defer func() {
		switch took := int64(time.Since(began)); {
		case err == nil || err == partyline.ErrHighAndDry:
			s.latency.Store(took)
		case ctx.Err() != nil: // nobody waits for what it would have answered
			s.latency.Store(max(took, s.latency.Load()))
		case err != partyline.ErrLoop:
			s.latency.Store(math.MaxInt64)
		}
	}()
	l.counts.add(kindAsk, sent)
	response, err := l.nats.RequestMsgWithContext(waiting, &nats.Msg{Subject: s.asks, Data: data})
	if err == nil {
		return a.take(ctx, s, response.Data)
	}
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, true, &errNodeGone{s.Node}
	}
	if waiting.Err() == nil {
		return nil, false, fmt.Errorf("node %s: %w", s.Node, err)
	}
	l.cancel(s.node, m.ID)
	if ctx.Err() != nil {
		return nil, false, context.Cause(ctx)
	}
	if gone := context.Cause(s.gone); gone != nil {
		return nil, true, gone
	}
	return nil, false, fmt.Errorf("no answer of node %s in %v", s.Node, s.Timeout)
}

// cancel tells a node that nobody waits for an answer any more.
func (l *link) cancel(n *node, id string) {
	if l.nats.Publish(l.subject(kindCancel, n.Node, n.Process), []byte(id)) == nil {
		l.counts.add(kindCancel, sent)
	}
}

// take returns what a node has replied.
func (a *away) take(ctx context.Context, s *source, data []byte) (answer any, again bool, err error) {
	a.link.counts.add(kindReply, received)
	var m replyMessage
	if err := json.Unmarshal(data, &m, asWritten); err != nil {
		a.link.counts.drop(a.link.logger, kindReply, s.Node, err)
		return nil, false, fmt.Errorf("what node %s replied is not valid: %w", s.Node, err)
	}
	if m.Gone || len(m.Replies) == 0 {
		return nil, true, fmt.Errorf("the guest is no longer on node %s", s.Node)
	}
	replies := make(partyline.Replies, len(m.Replies))
	for i, r := range m.Replies {
		replies[i].Answer, replies[i].Err = a.replied(ctx, s, r)
	}
	if len(replies) == 1 {
		return replies[0].Answer, false, replies[0].Err
	}
	return replies, false, nil
}

// replied returns what one handler has.
func (a *away) replied(ctx context.Context, s *source, r replyJSON) (any, error) {
	switch {
	case r.Declined:
		return nil, partyline.ErrHighAndDry
	case r.Looped:
		return nil, partyline.ErrLoop
	case r.Refused:
		return nil, fmt.Errorf("node %s: %w: %s", s.Node, partyline.ErrRefused, r.Error)
	case r.Error != "":
		return nil, fmt.Errorf("node %s: %s", s.Node, r.Error)
	case r.Answer == nil:
		return nil, fmt.Errorf("node %s: a reply without an answer", s.Node)
	}
	if err := party.TakeAnswerOf(ctx, a.key.guest, r.Answer, int(a.link.nats.MaxPayload())); err != nil {
		return nil, err
	}
	return stdjson.RawMessage(r.Answer), nil
}
