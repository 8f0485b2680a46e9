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
	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"go.uber.org/zap"
)

// maxResponse is how long a response to an invite, or to Send, may be, in bytes.
const maxResponse = 1 << 20

// send sends one invite through the party's routes, with a new operator. It returns nil if ctx
// ended before the config did: nobody wants to know.
func (i *invited) send(ctx context.Context, timeout time.Duration) *InviteInfo {
	h, invitation := i.host, i.newInvitation()
	defer close(invitation.over)
	operator := invitation.Operator
	timeoutCtx, cancel := context.WithTimeoutCause(ctx, timeout, &TimeoutError{timeout})
	defer cancel()
	requestCtx := newStaying(timeoutCtx)
	w := subrequest.NewResponseWriter(maxResponse)
	r := subrequest.New(context.WithValue(requestCtx, invitationKey{}, invitation), &http.Request{Method: http.MethodGet, URL: i.uri}, h.server, i.uri, invitation.Prefix, w)
	caddyhttp.SetVar(r.Context(), h.settings.PartylineKey, operator)

	info := &InviteInfo{Time: time.Now()}
	invitation.describe(info)
	info.Err = subrequest.Send(h.chain, r, w)
	if ctx.Err() != nil && h.ctx.Err() == nil {
		operator.Leave()
		return nil
	}
	info.Duration, info.Status, info.Services = time.Since(info.Time), w.Status(), operator.Services()
	if requestCtx.Err() != nil { // the guest may still be at it
		operator.Leave()
		info.Services = nil
		if info.Err = context.Cause(requestCtx); info.Err == errLeavesProcess {
			info.Status = 0 // it may be 499, reverse_proxy's word for a client that has gone
		}
	} else {
		info.SetAnswer(w.Header(), w.Body())
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

// newInvitation returns what an invite brings its guest: an operator that is not on the line
// yet, and the mount that the invite's path says, unless the guest knows better.
func (i *invited) newInvitation() *Invitation {
	h, uri := i.host, *i.uri // a copy for the guest to keep
	operator := h.entry.operatorUntil(h.ctx, i.guest)
	invitation := &Invitation{Operator: operator, URI: &uri, Prefix: h.prefixFor(h.ctx), Again: i.last.Load() != nil,
		host: h, invited: i, over: make(chan struct{}), operator: operator}
	base, _ := invitepath.Cut(uri.EscapedPath())
	base = strings.TrimSuffix(base, "/")
	unseen, taken := cleanMount(base), false
	if last, ok := h.entry.mounts.Load(i.guest); ok && last.(*mount).taken { // by a replica, or before
		unseen, taken = last.(*mount).unseen, true
	}
	invitation.setMount(base, unseen, taken)
	return invitation
}

// hangingGuests is the set of a party's guests that did not answer their last invite in time,
// in the config that is running. Their next one is given less: Caddy loads one config at a
// time, and would soon do nothing but wait for them.
func hangingGuests(party string) map[string]bool {
	hung := make(map[string]bool)
	if a, ok := Running(); ok {
		for _, i := range a.invitesOf(party) {
			if info := i.last.Load(); info != nil && TimedOut(info.Err) {
				hung[i.guest] = true
			}
		}
	}
	return hung
}

// SendInvites is SendInvitesContext without a context: it waits for as long as it takes.
func SendInvites(party, guest string) []InviteInfo {
	infos, _ := SendInvitesContext(context.Background(), party, guest)
	return infos
}

// SendInvitesContext sends the invites of a party of the running config again, to the guests that are not on the
// line. With a guest's name it sends only the invite of that guest. If that guest is on the line and has called
// OnRefresh, it is asked what it now answers for. Every other guest gets a new operator, and whatever it had
// connected with the old one is disconnected. SendInvitesContext waits for these invites, each up to its
// invite_timeout, also for applications that are invited over HTTP, and returns them all. A guest must not call
// it while it is being invited.
//
// A guest is sent one invite at a time, and all who ask for another one meanwhile wait for that one. The invite
// ends with the context of the last of them, and then leaves everything as it was. When ctx ends,
// SendInvitesContext returns its cause.
func SendInvitesContext(ctx context.Context, party, guest string) ([]InviteInfo, error) {
	a, ok := Running()
	if !ok {
		return nil, nil
	}
	var all []*sending
	for _, i := range a.invitesOf(party) {
		if guest != "" && i.guest != guest || i.last.Load() == nil { // or it is being sent for the first time
			continue
		}
		s := i.sendAgain()
		defer s.leave()
		all = append(all, s)
		if err := await(ctx, s.sent); err != nil {
			return nil, err
		}
	}
	infos := make([]InviteInfo, 0, len(all))
	for _, s := range all { // which applications answer all at once
		if err := await(ctx, s.done); err != nil {
			return nil, err
		}
		refreshed := s.needless && guest != "" && s.refresh(ctx)
		info := s.info()
		info.Sent = !s.needless || refreshed
		infos = append(infos, info)
	}
	return infos, nil
}

// await waits until done is closed. It returns the cause if ctx ends before.
func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
	case <-ctx.Done():
		select {
		case <-done: // before
		default:
			return context.Cause(ctx)
		}
	}
	return nil
}

// sending is an invite that is being sent again.
type sending struct {
	*invited
	needless bool // since the guest is on the line: it is not sent
	end      context.CancelFunc
	waiting  int           // how many wait for it; guarded by the host
	sent     chan struct{} // closed when the guest has had it
	done     chan struct{} // closed when its application, if it is one, has been asked, too
}

// sendAgain begins to send the invite, unless that is under way, to a guest that is not on the
// line. Whoever calls it waits, and then calls leave.
func (i *invited) sendAgain() *sending {
	i.host.mu.Lock()
	defer i.host.mu.Unlock()
	if i.sending != nil {
		i.sending.waiting++
		return i.sending
	}
	ctx, end := context.WithCancel(i.host.ctx)
	s := &sending{invited: i, end: end, waiting: 1, sent: make(chan struct{}), done: make(chan struct{})}
	last := i.last.Load()
	if s.needless = last.Result == InviteJoined && last.invitation.OnLine(); s.needless {
		close(s.sent)
		close(s.done)
	} else {
		i.sending = s
		go s.run(ctx, last.invitation)
	}
	return s
}

// refresh has the guest look what it answers for, for as long as an invite may take. It returns false for
// one that does not do that.
func (i *invited) refresh(ctx context.Context) bool {
	invitation := i.last.Load().invitation
	refresh := invitation.refresh.Load()
	if refresh == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, invitation.Timeout())
	defer cancel()
	(*refresh)(ctx)
	return true
}

// run sends the invite. If somebody still waits for it, the guest leaves the line by the invitation before.
func (s *sending) run(ctx context.Context, before *Invitation) {
	defer close(s.done)
	defer s.forget()
	defer func() { // on behalf of a request
		if value := recover(); value != nil {
			s.host.logger.Error("sending an invite panicked", zap.String("party", s.host.name), zap.String("guest", s.guest),
				zap.String("error", fmt.Sprint(value)), zap.ByteString("stack", debug.Stack()))
		}
	}()
	if info := s.send(ctx); info != nil {
		before.Leave() // now that another one is there
		info.invitation.awaitReport(ctx)
	}
}

func (s *sending) send(ctx context.Context) *InviteInfo {
	defer close(s.sent)
	return s.invited.send(ctx, s.host.settings.InviteTimeout)
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
