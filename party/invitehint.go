// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/subrequest"
)

// hint says what to do about an invite that did not join.
func (h *Host) hint(info *InviteInfo) string {
	switch {
	case info.Hint != "":
		return info.Hint
	case info.Err == errLeavesProcess && info.Accepted:
		return "the guest made a connection in the context of its invite: let it use a context of its own for that"
	case info.Err == errLeavesProcess && h.expects(info.Guest):
		return forgotten + "; where it stands behind forward_auth or the like, let the guest's invites pass that with the matcher `" + h.matcher(info.Guest) + "`"
	case info.Err == errLeavesProcess:
		return forgotten
	case info.IsManifest:
		return "an application's manifest came back: " + forgotten
	case errors.Is(info.Err, subrequest.ErrBrokeOff):
		return "what answers at this path ended the connection in the middle of its response, as `abort` does: correct it, or do not invite it"
	case TimedOut(info.Err):
		hint := "the guest has to answer its invite at once and do slow work later; invite_timeout says how long it may take"
		if err, _ := errors.AsType[*TimeoutError](info.Err); err.After < h.settings.InviteTimeout {
			hint += ", of which it had a tenth because it took too long the time before: `caddy wsgi-party invite` lets it take all"
		}
		return hint
	case info.Result == InviteFailed && info.Status < 500:
		return "correct what fails at this path, or do not invite it"
	case info.Result == InviteFailed:
		return "what answers at this path fails: Caddy's log, or its own, says why. When that is mended, `caddy wsgi-party invite` sends the invite again"
	case info.Result == InviteNotAnswered && info.Accepted:
		return "the guest took the operator, but to join it has to answer with a 2xx status, such as 204"
	case info.Status == 0 && strings.Contains(h.settings.Identity, `"handler":"invoke"`):
		return "nothing in the party answers at this path; a named route, which invoke leads to, is not ready while the config loads: put the guest's handler in the party itself"
	case info.Status == 0, info.Status == http.StatusNotFound:
		return "nothing in the party takes the operator at this path: correct the invite's URI, or mount a guest there"
	case info.Location != "":
		return "a redirect, to " + info.Location + ", is not followed: let the guest's invites pass what redirects them with the matcher `" + h.matcher(info.Guest) + "`, or invite the URI where it leads"
	case info.Result == InviteNotAnswered:
		return "what answered did not take the operator: does another route answer before the guest? If it is an application that answers, " + forgotten
	default:
		return "what refuses it may be in front of the guest, such as authentication: let the guest's invites pass it with the matcher `" + h.matcher(info.Guest) + "`"
	}
}

// forgotten is the hint for an application without a handler that speaks for it.
const forgotten = "write `wsgi_party_guest` in front of the reverse_proxy, php_fastcgi or other handler that leads to the application: that takes the invite, and asks the application for its manifest when the config has started"

// matcher is one of what is not the party's own request to that guest. Those to
// others are to meet its password: a guest says itself where its asks lead.
func (h *Host) matcher(guest string) string {
	if strings.ContainsAny(guest, " \t`\"{}") {
		guest = strconv.Quote(guest)
	}
	return "not vars " + h.settings.PartylineKey + " " + guest
}
