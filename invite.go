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
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/privatepath"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
)

// Invite says which application to invite.
type Invite struct {
	// Required. The path of the application's invite route as requests have it
	// when they reach the party, such as `/blog/__invite__/`; or an http or https
	// URL, whose host then is the host of the invite. An invite to an https URL
	// counts as having come over TLS. From outside, this path and all below it
	// are 404, so it cannot be `/`, and one without a segment `__invite__` is warned
	// of; so they are where a rewrite inside the party leads there, if a
	// `wsgi_party_guest` stands behind it. Global placeholders such as `{env.HOST}`
	// are replaced when the config loads.
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
	uri     *url.URL
	guest   string
	base    string          // unescaped, and empty or with a slash at its beginning
	private privatepath.Set // what of the party's is the guest's
	last    atomic.Pointer[outcome]
	sending *sending // again; nil if it is not; guarded by the party
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
	case strings.HasSuffix(uri.Path, "*"):
		return nil, fmt.Errorf("invite %q is for one path, and hides all below it, too: leave out the *", i.URI)
	}
	guest := i.Guest
	if guest == "" {
		guest = guestOf(uri.Path)
	}
	return &invited{uri: uri, guest: guest, base: baseOf(uri.Path)}, nil
}

// guestOf returns the name of a guest whose invite does not say it.
func guestOf(path string) string {
	before, _ := cutInvite(path)
	return cmp.Or(strings.Trim(before, "/"), rootGuest)
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
		p.warnOfHidden(i, p.invited[len(p.invited)-1].uri)
	}
	return nil
}

// warnOfHidden warns of an invite that may hide an application and not just its invite
// route.
func (p *Party) warnOfHidden(i Invite, uri *url.URL) {
	if _, found := cutInvite(uri.Path); found {
		return
	}
	write := "invite " + uri.JoinPath(inviteSegment, "/").String()
	if i.Guest != "" {
		write += " as " + i.Guest
	}
	p.logger.Warn("an invite's path, and everything below it, is hidden from outside",
		zap.String("party", p.partyName()),
		zap.String("uri", uri.String()),
		zap.String("hidden", strings.TrimSuffix(uri.Path, "/")+"/*"),
		zap.String("hint", "if there are pages of the application, write `"+write+"`; an invite is for a path that nobody visits"))
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
	parsed.private.Add(parsed.uri.Path)
	for end := parsed.uri.Path; end != ""; {
		p.privateEnds.Add(end)
		_, end, _ = strings.Cut(end, "/")
	}
	p.invited = append(p.invited, parsed)
	return nil
}

// invites reports whether the party invites that guest.
func (p *Party) invites(guest string) bool {
	return slices.ContainsFunc(p.invited, func(i *invited) bool { return i.guest == guest })
}

// Invitation is what an invite brings its guest. It keeps its config in memory, so that a
// guest that keeps it lets go of it when its next invite comes.
type Invitation struct {
	// Operator is the guest's handle on the partyline.
	Operator *Operator

	// URI is the invite's. Its path is the one that requests have when they
	// reach the party. Where it has a scheme and a host, links to the guest
	// begin with them.
	URI *url.URL

	// Prefix is what was stripped from the path before that. It is the beginning
	// of every path that the guest links to. It is empty where that differs for each
	// request: see PrefixFor.
	Prefix string

	party   *Party
	invited *invited
	taken   atomic.Bool
	again   bool                   // it is not the first
	hint    string                 // what to do about the manifest by which the guest joins
	old     time.Time              // when the manifest was fetched by which the guest joins, zero unless it is an old one
	passed  atomic.Pointer[string] // why a guest's handler did not take it, and what to write
	pending chan struct{}          // nil, or closed when the guest knows whether it joins
	judged  chan struct{}          // nil, or closed when the application has been asked
}

// PrefixFor returns the Prefix, escaped, of links that are made for a request, or in
// answer to an ask, whose context that is. It is always the same unless the party's
// prefix is that of a header which a trusted proxy sets.
func (i *Invitation) PrefixFor(ctx context.Context) string {
	return escapePath(i.party.prefixFor(ctx))
}

type invitationKey struct{}

// invitationOf returns the invitation without taking it, nil if there is none.
func invitationOf(r *http.Request) *Invitation {
	i, _ := r.Context().Value(invitationKey{}).(*Invitation)
	return i
}

// InvitationFrom returns what an invite brings its guest, and takes it: the guest
// has joined if it then answers with a 2xx status. It returns false on an
// ordinary request, whatever that contains, and whatever path a rewrite has given it.
// The request's context ends with the invite and is not to be kept for asking later. It
// also ends as soon as somebody is about to connect to something in it, since an invite
// stays in the process: a guest that has to, to join, uses a context of its own.
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

const (
	maxInviteResponse = 1 << 20
	maxLoggedAnswer   = 200
)

// sendInvites sends the invites, one after the other.
func (p *Party) sendInvites() error {
	hung := hangingGuests(p.partyName())
	for _, i := range p.invited {
		o := p.send(p.ctx, i, p.timeoutOf(hung[i.guest]))
		if err, ok := errors.AsType[*guestError](o.err); ok {
			return fmt.Errorf("inviting guest %q at %s: %w", o.guest, o.uri, err)
		}
		if p.StrictInvites && o.result != InviteJoined && o.pending == nil {
			return fmt.Errorf("%s, and strict_invites is set: %w: %s", o.result.message(), o.problem(), p.hint(o))
		}
	}
	return nil
}

// wait waits, for a while, until the application has been asked.
func (o *outcome) wait(ctx context.Context, timeout time.Duration) {
	if o.judged == nil {
		return
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-o.judged:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// send sends one invite through the party's routes, with a new operator. It returns nil
// if ctx ended before the config did: nobody wants to know.
func (p *Party) send(ctx context.Context, i *invited, timeout time.Duration) *outcome {
	last := i.last.Load()
	timeoutCtx, cancel := context.WithTimeoutCause(ctx, timeout, &timeoutError{timeout})
	defer cancel()
	requestCtx := newStaying(timeoutCtx)
	uri := *i.uri // for the guest to keep
	operator := p.app.operator(p.ctx, p.line, i.guest)
	prefix := p.prefixFor(p.ctx)
	invitation := &Invitation{Operator: operator, URI: &uri, Prefix: prefix, party: p, invited: i, again: last != nil}
	mount, _ := cutInvite(i.uri.EscapedPath())
	p.line.mounts.Store(i.guest, &guestMount{p, strings.TrimSuffix(mount, "/")})
	w := subrequest.NewResponseWriter(maxInviteResponse)
	request := (&http.Request{Method: http.MethodGet, URL: i.uri}).WithContext(context.WithValue(requestCtx, invitationKey{}, invitation))
	r := subrequest.New(request, p.server, i.uri, prefix, w)
	caddyhttp.SetVar(r.Context(), p.PartylineKey, operator)

	o := &outcome{invited: i, operator: operator, time: time.Now()}
	o.err = subrequest.Send(p.chain, r, w)
	if ctx.Err() != nil && p.ctx.Err() == nil {
		operator.Leave()
		return nil
	}
	o.duration = time.Since(o.time)
	o.status = w.Status()
	o.services = operator.services()
	body := w.Body()
	if requestCtx.Err() != nil { // the guest may still be at it
		operator.Leave()
		o.services = nil
		if o.err = context.Cause(requestCtx); o.err == errLeavesProcess {
			o.status = 0 // it may be 499, reverse_proxy's word for a client that has gone
		}
	} else {
		o.take(w.Header(), body)
	}
	o.judge(invitation.taken.Load() || len(o.services) > 0)
	if o.result == InviteJoined {
		o.judged, o.oldManifest, o.advice = invitation.judged, invitation.old, invitation.hint
		if o.pending = invitation.pending; o.pending != nil {
			o.result, o.status, o.advice = InviteNotAnswered, 0, "the application is asked for its manifest when the config has started"
		}
	}
	if why := invitation.passed.Load(); why != nil && !o.taken {
		if o.advice = *why; o.err == errLeavesProcess {
			o.err = nil // it is no matter where it went on to
		}
	}
	i.last.CompareAndSwap(last, o) // the application may have answered meanwhile
	if o.pending == nil {
		p.tell(o)
	}
	return o
}

// guestError fails the load of the config.
type guestError struct{ message string }

func (e *guestError) Error() string { return e.message }

// tell puts a guest that has joined on the line, and makes known what became of the
// invite.
func (p *Party) tell(o *outcome) {
	p.line.history.invites[slices.Index(inviteResults[:], o.result)].Add(1)
	p.log(o)
	if o.result == InviteJoined {
		o.operator.join()
	} else {
		p.app.events.invited(p.line.Partyline, o)
	}
}

func (p *Party) info(i *invited) InviteInfo {
	o := i.last.Load()
	info := InviteInfo{
		Server: p.server.Name(), URI: i.uri.String(), Guest: i.guest,
		Result: o.result, Status: o.status, Err: o.err,
		OldManifest: o.oldManifest, Time: o.time, Duration: o.duration,
	}
	if info.Hint = o.advice; o.result != InviteJoined {
		info.Hint = p.hint(o)
	}
	return info
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

type timeoutError struct{ timeout time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("it took longer than %v", e.timeout) }

func isRewritten(err error) bool {
	_, ok := errors.AsType[*rewrittenError](err)
	return ok
}

func timedOut(err error) bool {
	_, ok := errors.AsType[*timeoutError](err)
	return ok
}

// log logs what became of the invite.
func (p *Party) log(o *outcome) {
	fields := []zap.Field{
		zap.String("party", p.partyName()),
		zap.String("guest", o.guest),
		zap.String("uri", o.uri.String()),
		zap.Strings("services", o.services),
		zap.Duration("duration", o.duration),
	}
	if !o.oldManifest.IsZero() && o.result == InviteJoined {
		fields = append(fields, zap.String("manifest", "joined with the manifest of "+o.oldManifest.Format(time.RFC3339)))
	}
	if o.result == InviteJoined {
		p.logger.Info(o.result.message(), fields...)
		return
	}
	if o.again > 0 {
		fields = append(fields, zap.Duration("asked_again_in", o.again))
	}
	fields = append(fields,
		zap.Int("status", o.status),
		zap.Error(o.err),
		zap.String("answer", o.answer),
		zap.String("hint", p.hint(o)))
	if panicked, ok := errors.AsType[*subrequest.PanicError](o.err); ok {
		fields = append(fields, zap.ByteString("stack", panicked.Stack))
	}
	level := zap.WarnLevel
	if o.early {
		level = zap.InfoLevel
	}
	p.logger.Log(level, o.result.message(), fields...)
}

// hint says what to do about an invite that did not join.
func (p *Party) hint(o *outcome) string {
	switch {
	case o.advice != "":
		return o.advice
	case o.err == errLeavesProcess && o.taken:
		return "the guest made a connection in the context of its invite: let it use a context of its own for that"
	case o.err == errLeavesProcess && p.app.expects(p, o.guest):
		return forgotten + "; where it stands behind forward_auth or the like, let the guest's invites pass that with the matcher `" + p.recipe(o.guest) + "`"
	case o.err == errLeavesProcess:
		return forgotten
	case o.manifest:
		return "an application's manifest came back: " + forgotten
	case isRewritten(o.err):
		return "what stands in front of wsgi_party_guest rewrites the path (rewrite, try_files, uri). Directives are sorted, so it does not help to move their lines: write `route { … }` around them, which runs them as written, and wsgi_party_guest as the first. Only a prefix may be stripped before, by handle_path or uri strip_prefix"
	case errors.Is(o.err, subrequest.ErrBrokeOff):
		return "what answers at this path ended the connection in the middle of its response, as `abort` does: correct it, or do not invite it"
	case timedOut(o.err):
		hint := "the guest has to answer its invite at once and do slow work later; invite_timeout says how long it may take"
		if err, _ := errors.AsType[*timeoutError](o.err); err.timeout < time.Duration(p.InviteTimeout) {
			hint += ", of which it had a tenth because it took too long the time before: `caddy wsgi-party invite` lets it take all"
		}
		return hint
	case o.result == InviteFailed && o.status < 500:
		return "correct what fails at this path, or do not invite it"
	case o.result == InviteFailed:
		return "what answers at this path fails: Caddy's log, or its own, says why. When that is mended, `caddy wsgi-party invite` sends the invite again"
	case o.result == InviteNotAnswered && o.taken:
		return "the guest took the operator, but to join it has to answer with a 2xx status, such as 204"
	case o.status == 0 && strings.Contains(p.identity, `"handler":"invoke"`):
		return "nothing in the party answers at this path; a named route, which invoke leads to, is not ready while the config loads: put the guest's handler in the party itself"
	case o.status == 0, o.status == http.StatusNotFound:
		return "nothing in the party takes the operator at this path: correct the invite's URI, or mount a guest there"
	case o.location != "":
		return "a redirect, to " + o.location + ", is not followed: let the guest's invites pass what redirects them with the matcher `" + p.recipe(o.guest) + "`, or invite the URI where it leads"
	case o.result == InviteNotAnswered:
		return "what answered did not take the operator: does another route answer before the guest? If it is an application that answers, " + forgotten
	default:
		return "what refuses it may be in front of the guest, such as authentication: let the guest's invites pass it with the matcher `" + p.recipe(o.guest) + "`"
	}
}

// forgotten is the hint for an application without a handler that speaks for it.
const forgotten = "write `wsgi_party_guest` in front of the reverse_proxy, php_fastcgi or other handler that leads to the application: that takes the invite, and asks the application for its manifest when the config has started"

// recipe is a matcher of what is not the party's own request to that guest. Those to
// others are to meet its password: a guest says itself where its asks lead.
func (p *Party) recipe(guest string) string {
	if strings.ContainsAny(guest, " \t`\"{}") {
		guest = strconv.Quote(guest)
	}
	return "not vars " + p.PartylineKey + " " + guest
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
