// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/claimpattern"
	"github.com/wsgiparty/wsgiparty/internal/guestname"
	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/party"
	"go.uber.org/zap"
)

// adviceOn says what to do about an application that has not joined: what came, where,
// and what to write.
func (f *fetcher) adviceOn(info *party.InviteInfo, v verdict, ofCaddy bool) string {
	asked := f.askedFor()
	authentication := "authentication in Caddy in front of it lets the party pass with the matcher `" + f.invitation.Matcher() + "`"
	again := "; Caddy asks again by itself"
	if v == broken {
		again = fmt.Sprintf("; Caddy asks again in %v, or at once if you run `%s`", fetchWaits.broken, f.inviteCommand())
	}
	switch {
	case info.Location != "":
		return f.adviceOnRedirect(info, asked)
	case errors.Is(info.Err, party.ErrMisrouted):
		return "another route answers at this path: put wsgi_party_guest where requests to the application pass through it"
	case errors.Is(info.Err, party.ErrUnanswered):
		return "no handler behind wsgi_party_guest answers: write the one that leads to the application there, such as reverse_proxy"
	case errors.Is(info.Err, party.ErrBrokeOff):
		return "the application closed the connection in the middle of its answer to GET " + asked + ": its own log may say why" + again
	case party.TimedOut(info.Err):
		return fmt.Sprintf("GET %s was not answered in time: the application must answer with its manifest at once; or write an invite_timeout of more than %v in wsgi_party", asked, f.invitation.Timeout()) + again
	case info.Result == party.InviteNotAnswered:
		return f.adviceOnNoManifest(info, asked, ofCaddy)
	case info.Status == http.StatusOK && f.unstripped() != "":
		return "correct the application's manifest, its answer to GET " + asked + ". " + f.unstripped()
	case info.Status == http.StatusOK:
		return "correct the application's manifest, its answer to GET " + asked + "; until then, the last good one counts"
	case info.Status == http.StatusBadRequest:
		host := cmp.Or(f.invitation.URI.Host, "localhost, as for every invite that is a path")
		return "does the application know the host of the invite? It was " + host + ". Invite a URL whose host it allows, such as https://example.com" + f.invitation.URI.Path
	case (info.Status == http.StatusUnauthorized || info.Status == http.StatusForbidden) && ofCaddy:
		return "a handler in Caddy refuses it before it reaches the application: " + authentication
	case (info.Status == http.StatusUnauthorized || info.Status == http.StatusForbidden) && f.invitation.Keys().IsZero():
		return "the application refuses GET " + asked + ". Does it want a Party-Token? None is sent, because wsgi_party_guest has no key: write `key {env.BLOG_PARTY_KEY}` in it, with the application's key in that variable. Does it want a login? It must answer with its manifest without one; " + authentication
	case info.Status == http.StatusUnauthorized || info.Status == http.StatusForbidden:
		return fmt.Sprintf("the application refuses GET %s, which was sent with a Party-Token for guest %q: is its key the same as the first in wsgi_party_guest, and does it know itself by that name? Or does it want a login? It must answer with its manifest without one; %s", asked, f.guest(), authentication)
	case info.Status == http.StatusTooManyRequests && ofCaddy:
		return "a handler in Caddy limits the rate of requests: let the party pass it with the matcher `" + f.invitation.Matcher() + "`" + again
	case info.Status == http.StatusServiceUnavailable:
		return "the application, or what is in front of it, says that it is unavailable" + again
	case info.Status == http.StatusBadGateway, info.Status == http.StatusGatewayTimeout:
		return "is the application running? The error says what happened at its address" + again
	default:
		return fmt.Sprintf("the application answers GET %s with status %d: its own log may say why", asked, info.Status) + again
	}
}

// warnOf warns of what is probably not meant in the manifest, unless that is what it
// warned of before, and returns it.
func (a *application) warnOf(m *manifest.Manifest, before string) string {
	warnings := a.warningsOf(m)
	if warnings != "" && warnings != before {
		a.logger.Warn("the guest's manifest is valid, but probably not what was meant", zap.String("uri", a.invitation.URI.String()), zap.String("hint", warnings))
	}
	return warnings
}

// hardlyMeant returns what is warned of while the guest is on the line: in what is
// declared, and in the application's manifest.
func (a *application) hardlyMeant(fetched string) string {
	hints := []string{a.warningsOf(a.declared), fetched, a.noClaims()}
	return strings.Join(slices.DeleteFunc(hints, func(hint string) bool { return hint == "" }), "; ")
}

func (a *application) warningsOf(m *manifest.Manifest) string {
	mounts := []string{a.path}
	if a.mount != a.path {
		mounts = append(mounts, a.mount)
	}
	warnings := m.Warnings(mounts...)
	if m != a.declared && m.Claims != nil && m.Claims.URLs && len(m.URLs)+len(a.declared.URLs) == 0 {
		warnings = append(warnings, "it claims all requests to its pages, but has none: write urls, or list patterns as claims")
	}
	return strings.Join(warnings, "; ")
}

// noClaims says what of what it is connected to claims nothing, and why. Before the config has
// started, nobody knows.
func (a *application) noClaims() string {
	m := a.connected.Load()
	if !a.started.Load() || m == nil {
		return ""
	}
	var hints []string
	if m.Claims != nil {
		for _, text := range m.Claims.Texts {
			host, start := claimpattern.Start(text)
			if err := a.checkURL(a.path + start); err != nil && a.declared.Claims == nil {
				hints = append(hints, fmt.Sprintf("the claim %.200q has no effect: %v; only the operator may claim that, with `claim` in wsgi_party_guest", text, err))
			} else if host != "" && !a.app.HasHost(host) {
				hints = append(hints, fmt.Sprintf("the claim %.200q has no effect: no site of this Caddy has its host", text))
			}
		}
	}
	if m.Hosts != nil {
		for _, text := range m.Hosts.Texts {
			if host, err := claimpattern.Host(text); err == nil && !a.app.HasHost(host) {
				hints = append(hints, fmt.Sprintf("the host %.200q has no effect: no site of this Caddy has it", text))
			}
		}
	}
	if more := len(hints) - maxNoClaims; more > 0 {
		hints = append(hints[:maxNoClaims], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(hints, "; ")
}

// maxNoClaims bounds what is told.
const maxNoClaims = 4

// sayWhatIsNoClaim warns of that.
func (a *application) sayWhatIsNoClaim() {
	if hint := a.noClaims(); hint != "" {
		a.logger.Warn("a guest claims what it may not claim", zap.String("uri", a.invitation.URI.String()), zap.String("hint", hint))
	}
}

// askedFor is the path of the manifest as the application sees it.
func (a *application) askedFor() string {
	return "/" + strings.TrimPrefix(strings.TrimPrefix(a.invitation.URI.EscapedPath(), a.path), "/")
}

// adviceOnNoManifest is adviceOn for an application that says to be no guest.
func (f *fetcher) adviceOnNoManifest(info *party.InviteInfo, asked string, ofCaddy bool) string {
	mediaType := cmp.Or(info.MediaType, "no media type")
	switch {
	case info.IsManifest && mediaType == manifestType:
		return fmt.Sprintf("the application answers GET %s with its manifest, but with status %d: answer with 200", asked, info.Status)
	case info.IsManifest:
		return fmt.Sprintf("the application answers GET %s with its manifest, but as %s: send it with `Content-Type: %s`", asked, mediaType, manifestType)
	}
	advice := []string{fmt.Sprintf("the application has no manifest (%s) at %s, where it answers with status %d", manifestType, asked, info.Status)}
	if info.Status == http.StatusOK {
		advice[0] = fmt.Sprintf("the application has no manifest (%s) at %s, where it answers with %s", manifestType, asked, mediaType)
	}
	if question := f.unstripped(); question != "" {
		advice = append(advice, question)
	}
	// Clients leave an invite that they cannot verify to the application, which knows nothing of it.
	switch {
	case ofCaddy || info.Status < 400 || f.last.manifest != nil:
	case f.invitation.Keys().IsZero():
		advice = append(advice, "Does it have a key? Then it wants a Party-Token, but none was sent: write `key {env.BLOG_PARTY_KEY}` in wsgi_party_guest, with that key in the variable")
	default:
		advice = append(advice, "The request had a Party-Token: the application needs the key of wsgi_party_guest, too, in WSGI_PARTY_KEY for the Python client")
	}
	last := "correct the invite's URI, let the application answer it, or write the manifest in wsgi_party_guest"
	if len(advice) == 1 {
		return advice[0] + ": " + last
	}
	return strings.Join(append(advice, "Otherwise "+last), ". ")
}

// unstripped asks whether what comes before __invite__ is to be stripped, if it is not.
func (f *fetcher) unstripped() string {
	base := f.invitation.Base()
	if base == "" || f.path != "" {
		return ""
	}
	return fmt.Sprintf("Do its own paths begin with %[1]s? If not, write `handle_path %[1]s/*` instead of `handle`, which leaves that in the path", base)
}

var loginWords = regexp.MustCompile(`(?i)log_?-?in|sign_?-?in|auth|sso|session`)

// adviceOnRedirect is adviceOn for a redirect of a request for a path.
func (f *fetcher) adviceOnRedirect(info *party.InviteInfo, asked string) string {
	advice := "a redirect, to " + info.Location + ", is not followed: "
	location, err := url.Parse(info.Location)
	permanent := info.Status == http.StatusMovedPermanently || info.Status == http.StatusPermanentRedirect
	switch {
	case err == nil && strings.HasSuffix(strings.TrimSuffix(location.EscapedPath(), "/"), strings.TrimSuffix(asked, "/")):
		return advice + "invite the URI that it leads to: write " + f.invitationTo(location)
	case permanent && !loginWords.MatchString(info.Location):
		return advice + "invite the URI that it leads to, if the manifest is there"
	}
	return advice + "it seems to lead to a login, but an invite cannot log in. Let the application answer GET " + asked + " without one (if wsgi_party_guest has a key, the Party-Token proves that Caddy asks); authentication in Caddy lets the party pass with the matcher `" + f.invitation.Matcher() + "`"
}

// invitationTo is what to write for an application that wants to be asked for its
// manifest at another URL, with its mount or without.
func (f *fetcher) invitationTo(location *url.URL) string {
	path := location.EscapedPath()
	for _, mount := range []string{f.mount, f.path} { // with the prefix, and without
		if below, ok := strings.CutPrefix(path, mount+"/"); ok {
			path = "/" + below
			break
		}
	}
	path = f.path + path
	origin, note := f.origin, ""
	switch {
	case location.Host == "":
	case f.invitation.URI.Host == "" && location.Hostname() == "localhost":
		origin, note = location.Scheme+"://example.com", ", with the site's host in place of example.com: an invite that is a path has localhost"
	default:
		origin = location.Scheme + "://" + location.Host
	}
	as := ""
	if unescaped, err := url.PathUnescape(path); err != nil || invitepath.Guest(unescaped) != f.guest() {
		as = " as " + f.guest()
	}
	return "`invite " + origin + path + as + "`" + note
}

// warn warns of a handler that no invite reached, unless its invite has told why, and
// of what it declares but hardly means.
func (g *Guest) warn() {
	if a := g.speaksFor.Load(); a != nil {
		a.warnOf(g.declared, "")
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	invites := g.host.Invites()
	if g.rewritten || slices.ContainsFunc(invites, func(i party.InviteInfo) bool { return !i.Accepted && slices.Contains(g.passed, i.Guest) }) {
		return
	}
	guest, uri := g.whom()
	hint := "write `invite " + uri + " as " + cmp.Or(guest, "<name>") + "` in the wsgi_party block"
	if strings.HasPrefix(uri, "<") {
		hint += "; <mount> is what the paths of the application's pages begin with"
	}
	if len(g.passed) > 0 {
		hint = fmt.Sprintf("the invites that come here are for %q: write `invite <uri> as %s` in the wsgi_party block, or leave out the name in wsgi_party_guest", g.passed, g.Name)
	} else {
		for _, i := range invites {
			if i.URI == uri && i.Accepted {
				hint = fmt.Sprintf("the invite to %s is taken before it comes here: leave out this handler or what takes it, or mount this application at another path, with an invite of its own", i.URI)
				break
			}
			if i.Accepted || i.Status == 0 && i.Err == nil || g.Name != "" && g.Name != i.Guest {
				continue
			}
			became := fmt.Sprintf("was answered with status %d", i.Status)
			if i.Status == 0 {
				became = "ended with the error: " + i.Err.Error()
			}
			if i.URI == uri {
				hint = fmt.Sprintf("the invite to %s %s before it reached this handler: %s", i.URI, became, i.Hint)
			} else {
				hint = fmt.Sprintf("is this the application of the invite to %s, which %s before it reached this handler? Then: %s. Otherwise %s", i.URI, became, i.Hint, hint)
			}
			break
		}
	}
	named := zap.Skip()
	if guest != "" {
		named = zap.String("guest", guest)
	}
	g.logger.Warn("no invite reached a wsgi_party_guest handler: its application is not on the line",
		zap.String("party", g.host.Name()), named, zap.String("hint", hint))
}

// whom returns whose invite would come to the handler, as far as its name and its place in the routes say, and to where.
func (g *Guest) whom() (guest, uri string) {
	path, ok := g.host.PathTo(g)
	if !ok {
		return g.Name, "<mount>/" + invitepath.Segment + "/"
	}
	path += "/" + invitepath.Segment + "/"
	if guest = cmp.Or(g.Name, invitepath.Guest(path)); guestname.Check(guest) != nil {
		guest = ""
	}
	return guest, invitepath.Escape(path)
}

// wrap says which handler an error is of.
func (s *speaker) wrap(err error) error {
	if guest, _ := (*Guest)(s).whom(); guest != "" {
		return fmt.Errorf("wsgi_party_guest of guest %q: %w", guest, err)
	}
	return fmt.Errorf("a wsgi_party_guest: %w", err)
}
