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
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/subrequest"
)

// Invite says which application to invite.
type Invite struct {
	// Required. The path of the application's invite route as requests have it
	// when they reach the party, such as `/blog/__invite__/`; or an http or https
	// URL, whose host then is the host of the invite. An invite to an https URL
	// counts as having come over TLS. From outside, this path and all below it
	// are 404, so it cannot be `/`. Global placeholders such as `{env.HOST}` are
	// replaced when the config loads.
	URI string `json:"uri"`

	// The guest's name, in which global placeholders are replaced, too. Default:
	// the path up to `/__invite__`, without slashes around it, or `root` where
	// nothing is left.
	Guest string `json:"guest,omitempty"`
}

// UnmarshalJSON takes an object or the plain string of the URI.
func (i *Invite) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte(`"`)) {
		return json.Unmarshal(b, &i.URI)
	}
	type invite Invite // without this method
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode((*invite)(i)); err != nil {
		return fmt.Errorf("an invite is the string of its URI, or an object with uri and guest: %w", err)
	}
	return nil
}

const (
	inviteSegment = "__invite__"
	rootGuest     = "root"
)

// invited is an invite and what came of it.
type invited struct {
	uri   *url.URL
	guest string
	outcome
}

// parse checks the invite and returns what it means.
func (i Invite) parse() (*invited, error) {
	if i.URI == "" {
		return nil, errors.New("an invite is empty: write the path of an application's invite route, such as /blog/__invite__/")
	}
	uri, err := url.Parse(i.URI)
	if err != nil {
		return nil, fmt.Errorf("invite %q is not a URI: %w", i.URI, errors.Unwrap(err))
	}
	switch {
	case uri.Scheme == "" && !strings.HasPrefix(i.URI, "/"):
		return nil, fmt.Errorf("invite %q is a relative URI: write \"/%s\", or a URL beginning with https://", i.URI, i.URI)
	case uri.Scheme == "" && uri.Host != "":
		return nil, fmt.Errorf("invite %q has a host but no scheme: write \"https:%s\"", i.URI, i.URI)
	case uri.Scheme != "" && uri.Scheme != "http" && uri.Scheme != "https":
		return nil, fmt.Errorf("invite %q has the scheme %s: write a path, or a URL beginning with https:// or http://", i.URI, uri.Scheme)
	case uri.Scheme != "" && uri.Hostname() == "":
		return nil, fmt.Errorf("invite %q has a scheme but no host: write it as in https://example.com/blog/__invite__/", i.URI)
	case uri.User != nil || uri.Fragment != "":
		return nil, fmt.Errorf("invite %q: leave out the user and the fragment", i.URI)
	}
	guest := i.Guest
	if guest == "" {
		guest = guestOf(uri.Path)
	}
	return &invited{uri: uri, guest: guest}, nil
}

// guestOf returns the name of a guest whose invite does not say it.
func guestOf(path string) string {
	segments := strings.Split(path, "/")
	if i := slices.Index(segments, inviteSegment); i >= 0 {
		segments = segments[:i]
	}
	return cmp.Or(strings.Trim(strings.Join(segments, "/"), "/"), rootGuest)
}

// admitInvites admits the configured invites, with placeholders replaced.
func (p *Party) admitInvites() error {
	placeholders := caddy.NewReplacer()
	for _, i := range p.Invites {
		var err error
		if i.URI, err = placeholders.ReplaceOrErr(i.URI, true, true); err != nil {
			return fmt.Errorf("the URI of an invite: %w", err)
		}
		if i.Guest, err = placeholders.ReplaceOrErr(i.Guest, true, true); err != nil {
			return fmt.Errorf("the guest of invite %q: %w", i.URI, err)
		}
		if err := p.admit(i); err != nil {
			return err
		}
	}
	return nil
}

// admit makes the invite one to be sent, and its path private.
func (p *Party) admit(i Invite) error {
	parsed, err := i.parse()
	if err != nil {
		return err
	}
	if p.invites(parsed.guest) {
		return fmt.Errorf("guest %q is invited twice: write \"invite %s as <guest>\" with another name (\"guest\" in JSON)", parsed.guest, i.URI)
	}
	if !p.private.Add(parsed.uri.Path) {
		return fmt.Errorf("invite %q would hide everything from outside: write the path of an invite route, such as /__invite__/", i.URI)
	}
	p.invited = append(p.invited, parsed)
	return nil
}

// invites reports whether the party invites that guest.
func (p *Party) invites(guest string) bool {
	return slices.ContainsFunc(p.invited, func(i *invited) bool { return i.guest == guest })
}

// Invitation is what an invite brings its guest.
type Invitation struct {
	// Operator is the guest's handle on the partyline.
	Operator *Operator

	// URI is the invite's. Its path is the one that requests have when they
	// reach the party. Where it has a scheme and a host, links to the guest
	// begin with them.
	URI *url.URL

	// Prefix is what was stripped from the path before that. It is the beginning
	// of every path that the guest links to.
	Prefix string

	taken atomic.Bool
}

type invitationKey struct{}

// invitationOf returns the invitation without taking it, nil if there is none.
func invitationOf(r *http.Request) *Invitation {
	i, _ := r.Context().Value(invitationKey{}).(*Invitation)
	return i
}

// InvitationFrom returns what an invite brings its guest, and takes it: the guest
// has joined if it then answers with a 2xx status. It returns false on an
// ordinary request, whatever that contains. The request's context ends with the
// invite and is not to be kept for asking later.
func InvitationFrom(r *http.Request) (*Invitation, bool) {
	i := invitationOf(r)
	if i == nil {
		return nil, false
	}
	i.taken.Store(true)
	return i, true
}

// OperatorFrom is InvitationFrom for a guest that needs only the operator.
func OperatorFrom(r *http.Request) (*Operator, bool) {
	i, ok := InvitationFrom(r)
	if !ok {
		return nil, false
	}
	return i.Operator, true
}

// outcome is what became of an invite.
type outcome struct {
	result   result
	status   int // 0 where nobody answered
	err      error
	taken    bool
	services []string // connected by the guest
	duration time.Duration
	answer   string // how the response began
	location string // where a redirect led
}

type result string

const (
	resultJoined      result = "guest joined"
	resultNotAnswered result = "invite not answered"
	resultRefused     result = "invite refused"
	resultFailed      result = "invite failed"
)

const (
	maxInviteResponse = 1 << 20
	maxLoggedAnswer   = 200
)

// sendInvites sends the invites, one after the other.
func (p *Party) sendInvites(ctx caddy.Context, line *line) error {
	for _, i := range p.invited {
		i.outcome = p.send(ctx, line, i)
		p.log(i)
		if p.StrictInvites && i.result != resultJoined {
			return fmt.Errorf("%s, and strict_invites is set: %w: %s", i.result, i.problem(), p.hint(i))
		}
	}
	return nil
}

// send sends one invite through the party's routes.
func (p *Party) send(ctx caddy.Context, line *line, i *invited) outcome {
	timeout := time.Duration(p.InviteTimeout)
	requestCtx, cancel := context.WithTimeoutCause(ctx.Context, timeout, &timeoutError{timeout})
	defer cancel()
	uri := *i.uri // for the guest to keep
	invitation := &Invitation{Operator: p.app.operator(ctx, line, i.guest), URI: &uri, Prefix: p.Prefix}
	w := subrequest.NewResponseWriter(maxInviteResponse)
	r := subrequest.New(context.WithValue(requestCtx, invitationKey{}, invitation), p.server, i.uri, w)
	caddyhttp.SetVar(r.Context(), p.PartylineKey, invitation.Operator)

	began := time.Now()
	err := subrequest.Send(p.chain, r, w)
	o := outcome{status: w.Status(), err: err, duration: time.Since(began)}
	o.services = invitation.Operator.services()
	body := w.Body()
	o.answer = strings.ToValidUTF8(string(body[:min(len(body), maxLoggedAnswer)]), "\uFFFD")
	if requestCtx.Err() != nil { // the guest may still be at it
		invitation.Operator.Leave()
		o.services = nil
		o.err = context.Cause(requestCtx)
	} else {
		o.location = w.Header().Get("Location")
	}
	o.judge(invitation.taken.Load() || len(o.services) > 0)
	return o
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
	case err != nil || o.status >= 500:
		o.result = resultFailed
	case taken && o.status >= 200 && o.status < 300:
		o.result = resultJoined
	case o.status < 400 || o.status == http.StatusNotFound:
		o.result = resultNotAnswered
	default:
		o.result = resultRefused
	}
}

type timeoutError struct{ timeout time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("it took longer than %v", e.timeout) }

func timedOut(err error) bool {
	_, ok := errors.AsType[*timeoutError](err)
	return ok
}

// log logs what became of the invite.
func (p *Party) log(i *invited) {
	fields := []zap.Field{
		zap.String("party", p.partyName()),
		zap.String("guest", i.guest),
		zap.String("uri", i.uri.String()),
		zap.Strings("services", i.services),
		zap.Duration("duration", i.duration),
	}
	if i.result == resultJoined {
		p.logger.Info(string(i.result), fields...)
		return
	}
	fields = append(fields,
		zap.Int("status", i.status),
		zap.Error(i.err),
		zap.String("answer", i.answer),
		zap.String("hint", p.hint(i)))
	if panicked, ok := errors.AsType[*subrequest.PanicError](i.err); ok && panicked.Value != http.ErrAbortHandler {
		fields = append(fields, zap.ByteString("stack", panicked.Stack))
	}
	p.logger.Warn(string(i.result), fields...)
}

// hint says what to do about an invite that did not join.
func (p *Party) hint(i *invited) string {
	switch {
	case timedOut(i.err):
		return "the guest has to answer its invite at once and do slow work later; invite_timeout says how long it may take"
	case i.result == resultFailed && i.status < 500:
		return "correct what fails at this path, or do not invite it"
	case i.result == resultFailed:
		return "is the application running, and does its invite route work? The invites are sent again when the config is loaded again"
	case i.result == resultNotAnswered && i.taken:
		return "the guest took the operator, but to join it has to answer with a 2xx status, such as 204"
	case i.status == 0 && strings.Contains(p.identity, `"handler":"invoke"`):
		return "nothing in the party answers at this path; a named route, which invoke leads to, is not ready while the config loads: put the guest's handler in the party itself"
	case i.status == 0, i.status == http.StatusNotFound:
		return "nothing in the party takes the operator at this path: correct the invite's URI, or mount a guest there"
	case i.location != "":
		return "a redirect, to " + i.location + ", is not followed: invite the URI where it leads, such as one with a trailing slash or beginning with https://"
	case i.result == resultNotAnswered:
		return "what answered did not take the operator (OperatorFrom): does another route answer before the guest, or is it no guest?"
	default:
		return "what refuses it may be in front of the guest, such as authentication: let invites pass it with the matcher `not vars_regexp " + p.PartylineKey + " .+`"
	}
}

// problem is an invite that did not join as an error.
func (i *invited) problem() error {
	problem := fmt.Errorf("inviting guest %q at %s", i.guest, i.uri)
	if i.status != 0 {
		problem = fmt.Errorf("%w: status %d", problem, i.status)
	}
	if i.err != nil {
		problem = fmt.Errorf("%w: %w", problem, i.err)
	}
	return problem
}
