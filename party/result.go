// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/excerpt"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

// AskedOnceStarted is the hint about an invite of which nothing has come yet.
const AskedOnceStarted = "Caddy asks the application for its manifest once the config has started"

// InviteInfo is an invite and what came of it when it was sent last.
type InviteInfo struct {
	Server     string       // the name of the HTTP server the party's handler is in
	URI, Guest string       // the invite's
	Result     InviteResult // what came of it
	Status     int          // of the answer, 0 where nobody answered
	Err        error        // why it failed, nil if there was no error
	Hint       string       // what to do if nobody joined by the invite, or about a manifest that is probably not what is meant
	Accepted   bool         // whether a guest took the invite
	Services   []string     // that the guest was connected under then

	// Answer, MediaType and Location are how the body of the answer began, its type, and where it
	// redirected to: for people, so cut short and printable.
	Answer, MediaType, Location string

	// IsManifest is whether the body was a manifest, of whatever type.
	IsManifest bool

	// Manifest is by which manifest the guest is on the line. Zero for others.
	Manifest ManifestInfo

	// OldManifest is when the manifest was fetched by which the guest is on the line while its
	// application does not confirm it. Zero for others.
	OldManifest time.Time

	Time       time.Time     // when it was sent
	Duration   time.Duration // how long the answer took
	AskedAgain time.Duration // after how long the guest asks its application again, 0 if it does not

	// Starting is whether the application may just be starting, so that a failure is not worth a warning yet.
	Starting bool

	// Sent is whether SendInvites has sent it, or waited for it while it was being sent, or has had the guest
	// look what it answers for now. Any other guest on the line has had its invite.
	Sent bool

	invitation *Invitation // that was sent
	pending    bool        // whether that is all that is known, since the guest is yet to report
}

// ManifestInfo tells which of its manifests an application is on the line by. A reload, and as far
// as it is stored a restart of Caddy, takes it over with its times.
type ManifestInfo struct {
	Accepted  time.Time // when the application first answered with it
	Confirmed time.Time // when the application last said that it still holds
}

// SetAnswer sets what the answer was like.
func (info *InviteInfo) SetAnswer(header http.Header, body []byte) {
	info.Answer = excerpt.Of(string(body))
	info.Location = excerpt.Of(header.Get("Location"))
	mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	info.MediaType = excerpt.Of(mediaType)
	m, err := manifest.Parse(body)
	info.IsManifest = err == nil && (len(m.URLs)+len(m.Services) > 0 || m.Claims != nil || m.Hosts != nil)
}

// InviteResult is what became of an invite.
type InviteResult string

const (
	InviteJoined      InviteResult = "joined"       // the guest took the operator, or connected something, and answered with a 2xx status
	InviteNotAnswered InviteResult = "not_answered" // nobody took it, or the answer was 404 or a redirect
	InviteRefused     InviteResult = "refused"      // the answer was another 4xx status
	InviteFailed      InviteResult = "failed"       // there was an error, a panic, a time-out, or a 5xx status
)

var inviteResults = [...]InviteResult{InviteJoined, InviteNotAnswered, InviteRefused, InviteFailed}

// message says it in the words of the log.
func (r InviteResult) message() string {
	if r == InviteJoined {
		return "guest joined"
	}
	return "invite " + strings.ReplaceAll(string(r), "_", " ")
}

// judge sets the result, and the status where it is not that of the response.
func (info *InviteInfo) judge() {
	err := info.Err
	if handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err); ok && handlerErr.StatusCode != 0 {
		info.Status = handlerErr.StatusCode
		if info.Status < 500 {
			err = nil // it is how Caddy's handlers respond with that status
		}
	}
	if err == nil && info.Status == 0 && len(info.Services) > 0 {
		info.Status = http.StatusOK // what net/http makes of writing nothing
	}
	switch {
	case info.Err == errLeavesProcess && !info.Accepted:
		info.Result = InviteNotAnswered
	case err != nil || info.Status >= 500:
		info.Result = InviteFailed
	case info.Accepted && info.Status >= 200 && info.Status < 300:
		info.Result = InviteJoined
	case info.Status < 400 || info.Status == http.StatusNotFound:
		info.Result = InviteNotAnswered
	default:
		info.Result = InviteRefused
	}
}

// asError is an invite that did not join as an error.
func (info *InviteInfo) asError() error {
	err := fmt.Errorf("inviting guest %q at %s", info.Guest, info.URI)
	if info.Status != 0 {
		err = fmt.Errorf("%w: status %d", err, info.Status)
	}
	if info.Err != nil {
		err = fmt.Errorf("%w: %w", err, info.Err)
	}
	return err
}

// news is what makes an InviteInfo worth telling, if it differs from the one before.
type news struct {
	result                             InviteResult
	status                             int
	err, location, mediaType, services string
}

func newsOf(info *InviteInfo) news {
	if info.Result == InviteJoined {
		return news{result: info.Result}
	}
	err := info.Err
	if operation, ok := errors.AsType[*net.OpError](err); ok {
		err = operation.Err // the rest has a port that is another one each time
	}
	return news{info.Result, info.Status, fmt.Sprint(err), info.Location, info.MediaType, strings.Join(info.Services, " ")}
}

// tell puts a guest that has joined on the line, and makes known what came of the invite.
func (h *Host) tell(info *InviteInfo, operator *partyline.Operator) {
	h.entry.history.invites[slices.Index(inviteResults[:], info.Result)].Add(1)
	h.log(info)
	if info.Result == InviteJoined {
		operator.Join()
		return
	}
	h.app.events.add("invite_"+string(info.Result), func() map[string]any {
		data := h.entry.eventData(info.Guest, info.Services, "")
		data["uri"], data["status"], data["error"] = info.URI, info.Status, wire.Message(info.Err)
		return data
	})
}

// info returns what came of an invite that has been sent.
func (i *invited) info() InviteInfo {
	info := *i.last.Load()
	if info.Result != InviteJoined {
		info.Hint = i.host.hint(&info)
	}
	info.invitation = nil
	return info
}

// log logs what came of the invite.
func (h *Host) log(info *InviteInfo) {
	logger := h.logger.With(zap.String("party", h.name), zap.String("guest", info.Guest), zap.String("uri", info.URI),
		zap.Strings("services", info.Services), zap.Duration("duration", info.Duration))
	if info.Result == InviteJoined {
		if !info.OldManifest.IsZero() {
			logger = logger.With(zap.String("manifest", "joined with the manifest of "+info.OldManifest.Format(time.RFC3339)))
		}
		logger.Info(info.Result.message())
		return
	}
	if info.AskedAgain > 0 {
		logger = logger.With(zap.Duration("asked_again_in", info.AskedAgain))
	}
	fields := []zap.Field{zap.Int("status", info.Status), zap.Error(info.Err), zap.String("answer", info.Answer), zap.String("hint", h.hint(info))}
	if panicked, ok := errors.AsType[*subrequest.PanicError](info.Err); ok {
		fields = append(fields, zap.ByteString("stack", panicked.Stack))
	}
	level := zap.WarnLevel
	if info.Starting {
		level = zap.InfoLevel
	}
	logger.Log(level, info.Result.message(), fields...)
}

// hint says what to do about an invite that did not join.
func (h *Host) hint(info *InviteInfo) string {
	switch {
	case info.Hint != "":
		return info.Hint
	case info.Err == errLeavesProcess && info.Accepted:
		return "the guest opened a connection in the context of its invite: let it use a context of its own for that"
	case info.Err == errLeavesProcess && h.expects(info.Guest):
		return forgotten + "; if it is behind forward_auth or the like, let the guest's invites pass that with the matcher `" + h.matcher(info.Guest) + "`"
	case info.Err == errLeavesProcess:
		return forgotten
	case info.IsManifest:
		return "an application's manifest came back: " + forgotten
	case errors.Is(info.Err, subrequest.ErrBrokeOff):
		return "what answers at this path closed the connection in the middle of its response, as `abort` does: correct it, or do not invite it"
	case TimedOut(info.Err):
		hint := "the guest must answer its invite at once and do slow work later; invite_timeout sets how long it may take"
		if err, _ := errors.AsType[*TimeoutError](info.Err); err.After < h.settings.InviteTimeout {
			hint += ", of which it had only a tenth, because it took too long the time before: `caddy wsgi-party invite` gives it all of that"
		}
		return hint
	case info.Result == InviteFailed && info.Status < 500:
		return "correct what fails at this path, or do not invite it"
	case info.Result == InviteFailed:
		return "what answers at this path fails: Caddy's log, or its own, says why. Once that is fixed, `caddy wsgi-party invite` sends the invite again"
	case info.Result == InviteNotAnswered && info.Accepted:
		return "the guest took the operator, but to join it must answer with a 2xx status, such as 204"
	case info.Status == 0 && strings.Contains(h.settings.Identity, `"handler":"invoke"`):
		return "nothing in the party answers at this path; a named route, which invoke leads to, is not ready while the config loads: put the guest's handler in the party itself"
	case info.Status == 0, info.Status == http.StatusNotFound:
		return "no guest is at this path: correct the invite's URI, or mount a guest there, such as `wsgi_party_guest` in front of the application"
	case info.Location != "":
		return "a redirect, to " + info.Location + ", is not followed: let the guest's invites pass what redirects them with the matcher `" + h.matcher(info.Guest) + "`, or invite the URI that it leads to"
	case info.Result == InviteNotAnswered:
		return "what answered did not take the operator: does another route answer before the guest? If an application answers there, " + forgotten
	default:
		return "something in front of the guest, such as authentication, may refuse the invite: let the guest's invites pass it with the matcher `" + h.matcher(info.Guest) + "`"
	}
}

// forgotten is the hint for an application without a handler that speaks for it.
const forgotten = "write `wsgi_party_guest` in front of the reverse_proxy, php_fastcgi or other handler that leads to the application: that takes the invite, and asks the application for its manifest once the config has started"

// matcher is one of what is not the party's own request to that guest. Those to
// others are to meet its password: a guest says itself where its asks lead.
func (h *Host) matcher(guest string) string {
	if strings.ContainsAny(guest, " \t`\"{}") {
		guest = strconv.Quote(guest)
	}
	return "not vars " + h.settings.PartylineKey + " " + guest
}

// ConfigError is the error with which an invite ends that makes the config wrong: it does not load.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }
