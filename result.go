// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/subrequest"
)

// InviteInfo is an invite and what came of it when it was sent last.
type InviteInfo struct {
	// Server is the name of the HTTP server the party's handler is in.
	Server string

	// URI and Guest are the invite's.
	URI, Guest string

	// Result is what came of it.
	Result InviteResult

	// Status is that of the answer, 0 where nobody answered.
	Status int

	// Err is why it failed, nil if there was no error.
	Err error

	// Hint says what to do about an invite by which nobody joined, or about a
	// manifest that is hardly what is meant.
	Hint string

	// OldManifest is when the manifest was fetched by which the guest is on the line
	// while its application does not confirm it. Zero for others.
	OldManifest time.Time

	// Time is when it was sent.
	Time time.Time

	// Duration is how long the answer took.
	Duration time.Duration

	// Sent is whether SendInvites has sent it, or waited for it while it was being
	// sent. A guest that is on the line has had its invite.
	Sent bool
}

// InviteResult is what became of an invite.
type InviteResult string

const (
	// InviteJoined: the guest took the operator, or connected something, and
	// answered with a 2xx status.
	InviteJoined InviteResult = "joined"

	// InviteNotAnswered: nobody took it, or the answer was 404 or a redirect.
	InviteNotAnswered InviteResult = "not_answered"

	// InviteRefused: the answer was another 4xx status.
	InviteRefused InviteResult = "refused"

	// InviteFailed: there was an error, a panic, a time-out, or a 5xx status.
	InviteFailed InviteResult = "failed"
)

var inviteResults = [...]InviteResult{InviteJoined, InviteNotAnswered, InviteRefused, InviteFailed}

// message says it in the words of the log.
func (r InviteResult) message() string {
	if r == InviteJoined {
		return "guest joined"
	}
	return "invite " + strings.ReplaceAll(string(r), "_", " ")
}

// outcome is what became of an invite.
type outcome struct {
	*invited
	operator    *Operator
	result      InviteResult
	status      int // 0 where nobody answered
	err         error
	taken       bool
	services    []string      // connected by the guest
	changed     bool          // the guest's manifest
	early       bool          // the application may be starting
	again       time.Duration // until it is asked again
	oldManifest time.Time     // when that was fetched by which the guest is on the line, zero if it is a new one
	time        time.Time
	duration    time.Duration
	received
	ofCaddy bool          // whether a handler of Caddy answered, by an error
	advice  string        // what to do about it, if the guest knows that better
	pending chan struct{} // nil, or closed when the guest knows whether it joins
	judged  chan struct{} // nil, or closed when the application has been asked
}

// judge sets the result.
func (o *outcome) judge(taken bool) {
	o.taken = taken
	err := o.err
	if handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err); ok && handlerErr.StatusCode != 0 {
		o.status = handlerErr.StatusCode
		if o.status < 500 {
			err = nil // it is how Caddy's handlers respond with that status
		}
	}
	if err == nil && o.status == 0 && len(o.services) > 0 {
		o.status = http.StatusOK // what net/http makes of writing nothing
	}
	switch {
	case o.err == errLeavesProcess && !taken:
		o.result = InviteNotAnswered
	case err != nil || o.status >= 500:
		o.result = InviteFailed
	case taken && o.status >= 200 && o.status < 300:
		o.result = InviteJoined
	case o.status < 400 || o.status == http.StatusNotFound:
		o.result = InviteNotAnswered
	default:
		o.result = InviteRefused
	}
}

// problem is an invite that did not join as an error.
func (o *outcome) problem() error {
	problem := fmt.Errorf("inviting guest %q at %s", o.guest, o.uri)
	if o.status != 0 {
		problem = fmt.Errorf("%w: status %d", problem, o.status)
	}
	if o.err != nil {
		problem = fmt.Errorf("%w: %w", problem, o.err)
	}
	return problem
}

// tell puts a guest that has joined on the line, and makes known what became of the
// invite.
func (h *Host) tell(o *outcome) {
	h.entry.history.invites[slices.Index(inviteResults[:], o.result)].Add(1)
	h.log(o)
	if o.result == InviteJoined {
		o.operator.join()
	} else {
		h.app.events.invited(h.entry.Partyline, o)
	}
}

func (h *Host) info(i *invited) InviteInfo {
	o := i.last.Load()
	info := InviteInfo{
		Server: h.server.Name(), URI: i.uri.String(), Guest: i.guest,
		Result: o.result, Status: o.status, Err: o.err,
		OldManifest: o.oldManifest, Time: o.time, Duration: o.duration,
	}
	if info.Hint = o.advice; o.result != InviteJoined {
		info.Hint = h.hint(o)
	}
	return info
}

// log logs what became of the invite.
func (h *Host) log(o *outcome) {
	fields := []zap.Field{
		zap.String("party", h.name),
		zap.String("guest", o.guest),
		zap.String("uri", o.uri.String()),
		zap.Strings("services", o.services),
		zap.Duration("duration", o.duration),
	}
	if !o.oldManifest.IsZero() && o.result == InviteJoined {
		fields = append(fields, zap.String("manifest", "joined with the manifest of "+o.oldManifest.Format(time.RFC3339)))
	}
	if o.result == InviteJoined {
		h.logger.Info(o.result.message(), fields...)
		return
	}
	if o.again > 0 {
		fields = append(fields, zap.Duration("asked_again_in", o.again))
	}
	fields = append(fields,
		zap.Int("status", o.status),
		zap.Error(o.err),
		zap.String("answer", o.answer),
		zap.String("hint", h.hint(o)))
	if panicked, ok := errors.AsType[*subrequest.PanicError](o.err); ok {
		fields = append(fields, zap.ByteString("stack", panicked.Stack))
	}
	level := zap.WarnLevel
	if o.early {
		level = zap.InfoLevel
	}
	h.logger.Log(level, o.result.message(), fields...)
}

// guestError fails the load of the config.
type guestError struct{ message string }

func (e *guestError) Error() string { return e.message }

type timeoutError struct{ timeout time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("it took longer than %v", e.timeout) }

func timedOut(err error) bool {
	_, ok := errors.AsType[*timeoutError](err)
	return ok
}
