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
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
)

// SendInvites is SendInvitesContext that waits for as long as it takes.
func SendInvites(party, guest string) []InviteInfo {
	infos, _ := SendInvitesContext(context.Background(), party, guest)
	return infos
}

// SendInvitesContext sends the invites of a party of the running config again, or only
// the one of that guest, if it is not empty, to the guests that are not on the line. Each
// gets a new operator; what it had connected with one before is disconnected. It
// returns all these guests' invites, and waits for them, each up to its
// invite_timeout, also for applications that are invited over HTTP. A guest is not to
// call it while it is being invited.
//
// A guest is sent one invite at a time, and all who ask for it meanwhile wait for that. It
// ends with the context of the last of them, and then leaves everything as it was. When
// ctx ends, SendInvitesContext returns its cause.
func SendInvitesContext(ctx context.Context, party, guest string) ([]InviteInfo, error) {
	a, ok := running()
	if !ok {
		return nil, nil
	}
	type invite struct {
		*Party
		*invited
		*sending // nil for a guest that is on the line
	}
	var invites []invite
	for _, p := range a.partiesOf(party) {
		for _, i := range p.invited {
			if guest != "" && i.guest != guest || i.last.Load() == nil { // or it is being sent for the first time
				continue
			}
			s := p.sendAgain(i)
			invites = append(invites, invite{p, i, s})
			if s == nil {
				continue
			}
			defer p.leave(s)
			select {
			case <-s.sent:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	}
	infos := make([]InviteInfo, 0, len(invites))
	for _, i := range invites {
		if i.sending != nil { // which applications answer all at once
			select {
			case <-i.done:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		info := i.info(i.invited)
		info.Sent = i.sending != nil
		infos = append(infos, info)
	}
	return infos, nil
}

// sending is an invite that is being sent again.
type sending struct {
	*invited
	end     context.CancelFunc
	waiting int           // how many wait for it
	sent    chan struct{} // closed when the guest has had it
	done    chan struct{} // closed when its application, if it is one, has been asked, too
}

// sendAgain has the invite sent, if that is not under way, to a guest that is not on the
// line, and nil for one that is.
func (p *Party) sendAgain(i *invited) *sending {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := i.sending; s != nil {
		s.waiting++
		return s
	}
	last := i.last.Load()
	if last.result == InviteJoined && last.operator.joined() {
		return nil
	}
	ctx, end := context.WithCancel(p.ctx)
	s := &sending{invited: i, end: end, waiting: 1, sent: make(chan struct{}), done: make(chan struct{})}
	i.sending = s
	go func() {
		defer close(s.done)
		defer p.forget(s)
		defer func() { // on behalf of a request
			if value := recover(); value != nil {
				p.logger.Error("sending an invite panicked",
					zap.String("party", p.partyName()),
					zap.String("guest", i.guest),
					zap.String("error", fmt.Sprint(value)),
					zap.ByteString("stack", debug.Stack()))
			}
		}()
		if o := s.send(ctx, p); o != nil {
			last.operator.Leave() // now that another one is there
			o.wait(ctx, time.Duration(p.InviteTimeout))
		}
	}()
	return s
}

func (s *sending) send(ctx context.Context, p *Party) *outcome {
	defer close(s.sent)
	return p.send(ctx, s.invited, p.timeoutOf(false))
}

// leave says that one of those who wait for the invite does so no more.
func (p *Party) leave(s *sending) {
	p.mu.Lock()
	s.waiting--
	left := s.waiting == 0
	p.mu.Unlock()
	if left {
		p.forget(s)
	}
}

// forget ends the invite, and lets another be sent.
func (p *Party) forget(s *sending) {
	s.end()
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.invited.sending == s {
		s.invited.sending = nil
	}
}

// timeoutOf returns how long an invite may take: less for a guest that hung before.
// Caddy loads one config at a time, and would soon do nothing but wait for that guest.
func (p *Party) timeoutOf(hung bool) time.Duration {
	timeout := time.Duration(p.InviteTimeout)
	if hung {
		timeout /= 10
	}
	return timeout
}

// hangingGuests returns the guests of a party that did not answer their last invite in
// time, in the config that is running.
func hangingGuests(party string) map[string]bool {
	a, ok := running()
	if !ok {
		return nil
	}
	hung := make(map[string]bool)
	for _, p := range a.partiesOf(party) {
		for _, i := range p.invited {
			if o := i.last.Load(); o != nil && timedOut(o.err) {
				hung[i.guest] = true
			}
		}
	}
	return hung
}
