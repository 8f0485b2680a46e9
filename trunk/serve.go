// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Answering what other nodes ask guests of this one.

package trunk

import (
	"cmp"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/excerpt"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/partyline"
)

const (
	maxServing   = 4096             // asks at once
	maxWaiting   = 64               // goroutines, for asks to come
	maxAskFor    = 10 * time.Minute // of an asker that says nothing of it
	maxErrorText = 4 << 10          // bytes
)

// serving is the asks of other nodes that are under way.
type serving struct {
	messages     chan *nats.Msg     // asks
	waiting      atomic.Int64       // goroutines, for asks to come
	busy         atomic.Int64       // goroutines that answer one
	asks         sync.WaitGroup     // that have begun
	subscription *nats.Subscription // to asks, nil if none are taken; guarded by the link

	mu     sync.Mutex
	closed bool
	cancel map[string]context.CancelFunc // by the asks' ids
}

func (s *serving) init() {
	s.messages, s.cancel = make(chan *nats.Msg, maxServing), make(map[string]context.CancelFunc)
}

// drain takes no more asks. Those that have come are answered.
func (s *serving) drain(subscription *nats.Subscription) {
	if subscription.Drain() != nil {
		return
	}
	for range 100 {
		if !subscription.IsValid() && len(s.messages) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// wait waits until no ask is under way, and none begins any more.
func (s *serving) wait() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.asks.Wait()
}

// begin notes an ask. It returns false if it cannot begin.
func (s *serving) begin(id string, cancel context.CancelFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.cancel[id] != nil {
		return false
	}
	s.cancel[id] = cancel
	s.asks.Add(1)
	return true
}

func (s *serving) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cancel, id)
	s.asks.Done()
}

// serve answers asks from now on, if it does not yet. The link must be locked.
func (l *link) serve() (err error) {
	if l.serving.subscription != nil {
		return nil
	}
	// In a queue, since the node has two links while a reload changes its settings.
	l.serving.subscription, err = l.nats.ChanQueueSubscribe(l.subject(kindAsk, l.settings.Node, processID), "links", l.serving.messages)
	return err
}

// answerAll answers one ask after the other, until the link ends: a goroutine that has answered before need not have its
// stack grown. Another one always waits meanwhile.
func (l *link) answerAll() {
	for {
		select {
		case m := <-l.serving.messages:
			if l.serving.waiting.Add(-1) == 0 {
				l.serving.waiting.Add(1)
				go l.answerAll()
			}
			l.answerOne(m)
			if l.serving.waiting.Add(1) > maxWaiting {
				l.serving.waiting.Add(-1)
				return
			}
		case <-l.ctx.Done():
			return
		}
	}
}

func (l *link) answerOne(m *nats.Msg) {
	defer recovered(l.logger, "another node asked")
	defer l.serving.busy.Add(-1)
	if l.serving.busy.Add(1) > maxServing {
		l.respond(m, failed(fmt.Errorf("%w: %d asks of other nodes are under way", partyline.ErrRefused, maxServing)))
		return
	}
	l.answer(m)
}

// takeCancels ends asks for which nobody waits any more.
func (l *link) takeCancels() error {
	_, err := l.nats.Subscribe(l.subject(kindCancel, l.settings.Node, processID), func(m *nats.Msg) {
		l.counts.add(kindCancel, received)
		l.serving.mu.Lock()
		cancel := l.serving.cancel[string(m.Data)]
		l.serving.mu.Unlock()
		if cancel != nil {
			cancel()
		}
	})
	return err
}

func (l *link) answer(m *nats.Msg) {
	var ask askMessage
	if err := json.Unmarshal(m.Data, &ask, asWritten); err != nil || ask.Node == "" || ask.ID == "" || len(ask.ID) > maxNode || m.Reply == "" {
		l.counts.drop(l.logger, kindAsk, m.Subject, cmp.Or(err, errors.New("the ask does not say from whom it is")))
		return
	}
	l.counts.add(kindAsk, received)
	ctx, cancel := context.WithTimeout(l.ctx, min(cmp.Or(max(time.Duration(ask.Left), 0), maxAskFor), maxAskFor))
	defer cancel()
	if !l.serving.begin(ask.ID, cancel) {
		l.respond(m, replyMessage{Gone: true})
		return
	}
	defer l.serving.end(ask.ID)
	if from := l.node(ask.Node); from != nil {
		defer context.AfterFunc(from.gone, cancel)()
	}
	reply := l.ask(ctx, ask)
	switch {
	case l.ctx.Err() != nil:
		reply = replyMessage{Gone: true}
	case ctx.Err() == context.Canceled: // nobody waits for it
		return
	}
	l.respond(m, reply)
}

func (l *link) node(name string) *node {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nodes[name]
}

// ask asks a guest of this node, and nobody else.
func (l *link) ask(ctx context.Context, ask askMessage) (reply replyMessage) {
	defer func() {
		if value := recover(); value != nil {
			l.logger.Error("a goroutine of the trunk panicked", zap.String("while", "another node asked"), zap.Any("error", value), zap.ByteString("stack", debug.Stack()))
			reply = failed(errors.New("its node panicked"))
		}
	}()
	l.mu.Lock()
	g := l.current()
	l.mu.Unlock()
	if g == nil || g.entries[ask.Party] == nil {
		return replyMessage{Gone: true}
	}
	e := g.entries[ask.Party]
	payload, err := wire.ParsePayload(ask.Payload)
	if err != nil {
		return failed(err)
	}
	ctx, asker, end, ok := e.Unpack(ctx, ask.Baggage)
	if !ok {
		return failed(errors.New("the asks that led to this one have ended, or are too many"))
	}
	defer end()
	for r := range e.Operator(asker).Here().Only(ask.Guest).Replies(ctx, ask.Service, payload) {
		if missing, ok := errors.AsType[*partyline.NoSuchServiceError](r.Err); ok && missing.Service == ask.Service && r.Guest == "" {
			break
		}
		reply.Replies = append(reply.Replies, replyOf(r))
	}
	reply.Gone = len(reply.Replies) == 0
	return reply
}

func replyOf(r partyline.Reply) replyJSON {
	switch {
	case r.Err == nil:
		encoded, err := stdjson.Marshal(r.Answer)
		if err != nil {
			return errorOf(fmt.Errorf("its answer is a %T, which JSON cannot carry: %w", r.Answer, err))
		}
		return replyJSON{Answer: encoded}
	case r.Err == partyline.ErrHighAndDry:
		return replyJSON{Declined: true}
	}
	if failure, ok := errors.AsType[*partyline.HandlerError](r.Err); ok {
		return errorOf(failure.Err)
	}
	return errorOf(r.Err)
}

func errorOf(err error) replyJSON {
	text := err.Error()
	if len(text) > maxErrorText {
		text = excerpt.Of(text)
	}
	return replyJSON{Error: cmp.Or(text, "failed"), Refused: errors.Is(err, partyline.ErrRefused), Looped: err == partyline.ErrLoop}
}

func failed(err error) replyMessage { return replyMessage{Replies: []replyJSON{errorOf(err)}} }

func (l *link) respond(m *nats.Msg, reply replyMessage) {
	data, err := json.Marshal(&reply, asWritten)
	if most := l.nats.MaxPayload(); err == nil && int64(len(data)) > most {
		reply = failed(fmt.Errorf("its answer makes a message of %d bytes, and NATS takes %d (max_payload)", len(data), most))
		data, err = json.Marshal(&reply, asWritten)
	}
	if err == nil {
		err = m.Respond(data)
	}
	if err != nil {
		l.counts.drop(l.logger, kindReply, m.Reply, err)
		return
	}
	l.counts.add(kindReply, sent)
}
