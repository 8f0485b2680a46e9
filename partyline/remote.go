// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"errors"
	"time"
)

// remoteCalls are the calls to the remote handlers of one ask, all begun when the first
// of them is reached.
type remoteCalls struct {
	first   int
	replies []chan remoteReply // of connections[first:]; nil where none is to come
	cancel  context.CancelFunc
}

type remoteReply struct {
	answer any
	err    error // ErrHighAndDry itself or a *HandlerError
	came   counted
	took   time.Duration
}

// errExited is the failure of a handler that called runtime.Goexit.
var errExited = errors.New("the handler ended its goroutine")

// await waits for the reply of a remote connection, which is next, and says whether to
// go on.
func (r *round) await(connection *connection, answers *[]any, yield yieldFunc) bool {
	reply, ended := r.reply()
	if ended != nil {
		r.ended = ended
		return true
	}
	if r.observed != nil {
		r.observed[reply.came]++
	}
	if reply.err == nil && answers != nil {
		r.accept(reply.answer, answers)
		return true
	}
	return yield(connection.guest, reply.answer, reply.err, reply.took)
}

// reply returns the reply of the next connection, or why there is none: the context
// ended first, or nobody is called any more.
func (r *round) reply() (reply remoteReply, ended error) {
	if r.remote == nil {
		if ended := r.Err(); ended != nil {
			return remoteReply{}, ended
		}
		r.callRemote()
	}
	replied := r.remote.replies[r.next-r.remote.first]
	if replied == nil {
		return remoteReply{}, ErrLoop
	}
	select {
	case reply = <-replied:
	case <-r.Done():
		select {
		case reply = <-replied:
		default:
			return remoteReply{}, r.Err()
		}
	}
	if reply.came >= remoteFailed && r.Err() == context.Canceled {
		return remoteReply{}, context.Canceled
	}
	return reply, nil
}

// callRemote begins the calls to the next connection and all remote ones behind it.
func (r *round) callRemote() {
	ctx := context.Context(r.ask)
	if remoteContext := r.service.partyline.options.RemoteContext; remoteContext != nil {
		ctx = remoteContext(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	r.remote = &remoteCalls{r.next, make([]chan remoteReply, len(r.connections)-r.next), cancel}
	for i := range r.remote.replies {
		connection := &r.connections[r.next+i]
		if !connection.remote || r.skips(connection) || r.spending != nil && !r.spending.spend() {
			continue
		}
		replied := make(chan remoteReply, 1) // so that nobody need wait for it
		r.remote.replies[i] = replied
		go r.ask.callRemote(ctx, connection, r.payload, r.shard, replied)
	}
}

func (a *ask) callRemote(ctx context.Context, connection *connection, payload any, shard uint32, replied chan<- remoteReply) {
	connection.counter.add(shard, called)
	began := time.Now()
	fail := func(err error) remoteReply {
		failure := a.failure(connection.guest, err)
		switch {
		case failure == nil:
			return remoteReply{err: ErrHighAndDry, came: remoteDeclined}
		case errors.Is(err, ErrRefused):
			return remoteReply{err: failure, came: refused}
		}
		return remoteReply{err: failure, came: remoteFailed}
	}
	reply := fail(errExited)
	defer func() {
		if value := recover(); value != nil { // maybe of methods of an error
			reply = fail(newPanicError(value))
		}
		reply.took = time.Since(began)
		if reply.came < remoteFailed || ctx.Err() != context.Canceled {
			connection.counter.reply(shard, &reply)
		} // else the asker has gone, which is nobody's failure
		replied <- reply
	}()
	answer, err := connection.handler(ctx, payload)
	if err != nil {
		reply = fail(err)
	} else {
		reply = remoteReply{answer: answer, came: remoteAnswered}
	}
}

// RemoteHandlers returns how many handlers an ask calls at once that wait for something
// outside this process, those of the asker itself included. It is experimental.
func (p *Partyline) RemoteHandlers(name string, payload any) (n int) {
	loaded, ok := p.services.Load(name)
	if !ok {
		return 0
	}
	s := loaded.(*service)
	only := s.only(payload)
	for _, c := range s.connections() {
		if c.remote && (only == noGuest || only == c.guest || c.forAll) {
			n++
		}
	}
	return n
}
