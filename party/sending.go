// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
)

const maxInviteResponse = 1 << 20

// send sends one invite through the party's routes, with a new operator. It returns nil
// if ctx ended before the config did: nobody wants to know.
func (h *Host) send(ctx context.Context, i *invited, timeout time.Duration) *InviteInfo {
	timeoutCtx, cancel := context.WithTimeoutCause(ctx, timeout, &TimeoutError{timeout})
	defer cancel()
	requestCtx := newStaying(timeoutCtx)
	invitation := h.newInvitation(i)
	defer invitation.end()
	operator := invitation.Operator
	w := subrequest.NewResponseWriter(maxInviteResponse)
	request := (&http.Request{Method: http.MethodGet, URL: i.uri}).WithContext(context.WithValue(requestCtx, invitationKey{}, invitation))
	r := subrequest.New(request, h.server, i.uri, invitation.Prefix, w)
	caddyhttp.SetVar(r.Context(), h.settings.PartylineKey, operator)

	info := &InviteInfo{Time: time.Now()}
	invitation.describe(info)
	info.Err = subrequest.Send(h.chain, r, w)
	if ctx.Err() != nil && h.ctx.Err() == nil {
		operator.Leave()
		return nil
	}
	info.Duration = time.Since(info.Time)
	info.Status = w.Status()
	info.Services = operator.Services()
	body := w.Body()
	if requestCtx.Err() != nil { // the guest may still be at it
		operator.Leave()
		info.Services = nil
		if info.Err = context.Cause(requestCtx); info.Err == errLeavesProcess {
			info.Status = 0 // it may be 499, reverse_proxy's word for a client that has gone
		}
	} else {
		info.SetAnswer(w.Header(), body)
	}
	info.Accepted = invitation.Accepted() || len(info.Services) > 0
	info.judge()
	invitation.settle(info)
	i.last.Store(info)
	if !info.pending {
		h.tell(info, operator)
	}
	return info
}

// newInvitation returns what an invite brings its guest: an operator that is not on the
// line yet, and the mount that the invite's path says, unless the guest knows better.
func (h *Host) newInvitation(i *invited) *Invitation {
	uri := *i.uri // for the guest to keep
	operator := h.app.operator(h.ctx, h.entry, i.guest)
	invitation := &Invitation{Operator: operator, URI: &uri, Prefix: h.prefixFor(h.ctx), Again: i.last.Load() != nil, host: h, invited: i, operator: operator}
	base, _ := invitepath.Cut(i.uri.EscapedPath())
	invitation.Mount(strings.TrimSuffix(base, "/"))
	return invitation
}

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
	a, ok := Running()
	if !ok {
		return nil, nil
	}
	type invite struct {
		*Host
		*invited
		*sending // nil for a guest that is on the line
	}
	var invites []invite
	for _, h := range a.hostsOf(party) {
		for _, i := range h.guests.invited {
			if guest != "" && i.guest != guest || i.last.Load() == nil { // or it is being sent for the first time
				continue
			}
			s := h.sendAgain(i)
			invites = append(invites, invite{h, i, s})
			if s == nil {
				continue
			}
			defer s.leave()
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
	host    *Host
	end     context.CancelFunc
	waiting int           // how many wait for it; guarded by the host
	sent    chan struct{} // closed when the guest has had it
	done    chan struct{} // closed when its application, if it is one, has been asked, too
}

// sendAgain begins to send the invite, unless that is under way, to a guest that is not on
// the line. It returns nil for one that is. Whoever calls it waits, and then calls leave.
func (h *Host) sendAgain(i *invited) *sending {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := i.sending; s != nil {
		s.waiting++
		return s
	}
	last := i.last.Load()
	if last.Result == InviteJoined && last.invitation.OnLine() {
		return nil
	}
	ctx, end := context.WithCancel(h.ctx)
	s := &sending{invited: i, host: h, end: end, waiting: 1, sent: make(chan struct{}), done: make(chan struct{})}
	i.sending = s
	go s.run(ctx, last.invitation)
	return s
}

// run sends the invite. If somebody still waits for it, the guest leaves the line by the
// invitation before.
func (s *sending) run(ctx context.Context, before *Invitation) {
	defer close(s.done)
	defer s.forget()
	defer func() { // on behalf of a request
		if value := recover(); value != nil {
			s.host.logger.Error("sending an invite panicked",
				zap.String("party", s.host.name),
				zap.String("guest", s.guest),
				zap.String("error", fmt.Sprint(value)),
				zap.ByteString("stack", debug.Stack()))
		}
	}()
	info := s.send(ctx)
	if info == nil {
		return
	}
	before.Leave() // now that another one is there
	info.invitation.awaitReport(ctx, s.host.settings.InviteTimeout)
}

func (s *sending) send(ctx context.Context) *InviteInfo {
	defer close(s.sent)
	return s.host.send(ctx, s.invited, s.host.timeoutOf(false))
}

// leave says that one of those who wait for the invite does so no more.
func (s *sending) leave() {
	s.host.mu.Lock()
	s.waiting--
	left := s.waiting == 0
	s.host.mu.Unlock()
	if left {
		s.forget()
	}
}

// forget ends the invite, and lets another be sent.
func (s *sending) forget() {
	s.end()
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	if s.invited.sending == s {
		s.invited.sending = nil
	}
}

// timeoutOf returns how long an invite may take: less for a guest that hung before.
// Caddy loads one config at a time, and would soon do nothing but wait for that guest.
func (h *Host) timeoutOf(hung bool) time.Duration {
	timeout := h.settings.InviteTimeout
	if hung {
		timeout /= 10
	}
	return timeout
}

// hangingGuests returns the guests of a party that did not answer their last invite in
// time, in the config that is running.
func hangingGuests(party string) map[string]bool {
	a, ok := Running()
	if !ok {
		return nil
	}
	hung := make(map[string]bool)
	for _, h := range a.hostsOf(party) {
		for _, i := range h.guests.invited {
			if info := i.last.Load(); info != nil && TimedOut(info.Err) {
				hung[i.guest] = true
			}
		}
	}
	return hung
}
