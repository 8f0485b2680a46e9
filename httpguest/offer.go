// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/party"
	"go.uber.org/zap"
)

// offer is called with each invite that comes to the handler:
//
//	the invite is                       answered  passOn
//	accepted already, by a handler before   no      no
//	this handler's                          yes     no
//	this handler's, but cannot be accepted  no      no    with an error
//	for another handler, which awaits it    no      yes
//	for no handler                          no      no    or an application would get it
func (g *Guest) offer(i *party.Invitation, r *http.Request) (answered, passOn bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i.Accepted() {
		return false, false, nil
	}
	guest := i.Operator.Guest()
	if why := g.notFor(i); why != "" {
		g.passed = append(g.passed, guest)
		i.Advise(why)
		return false, g.app.Awaits(guest), nil
	}
	mount, err := mountOf(i.URI.EscapedPath(), r.URL.EscapedPath())
	if err != nil {
		g.rewritten = true
		i.Advise("what stands in front of wsgi_party_guest rewrites the path (rewrite, try_files, uri). Directives are sorted, so it does not help to move their lines: write `route { … }` around them, which runs them as written, and wsgi_party_guest as the first. Only a prefix may be stripped before, by handle_path or uri strip_prefix")
		return false, false, err
	}
	err = g.accept(i, mount)
	return err == nil, false, err
}

// notFor says why an invite is another handler's, and what to write. It is empty for the
// guest's own.
func (g *Guest) notFor(i *party.Invitation) string {
	a, guest := g.speaksFor.Load(), i.Operator.Guest()
	switch {
	case a != nil && (a.guest() != guest || a.invitation.Operator.Partyline() != i.Operator.Partyline()):
		return fmt.Sprintf("it comes to the wsgi_party_guest that speaks for %q already: give %q a wsgi_party_guest of its own, or its name to one more", a.guest(), guest)
	case g.Name != "" && g.Name != guest:
		return fmt.Sprintf("it comes to `wsgi_party_guest %s`, which takes the invite of its own name only: write `invite %s as %[1]s`, or leave out the name in wsgi_party_guest", g.Name, i.URI)
	}
	return ""
}

// accept makes the application the guest that is invited.
func (g *Guest) accept(i *party.Invitation, mount string) error {
	if g.keysErr != nil {
		return &party.ConfigError{Err: fmt.Errorf("wsgi_party_guest: %w", g.keysErr)}
	}
	if err := i.SetKeys(g.keys); err != nil {
		return &party.ConfigError{Err: err}
	}
	i.Accept()
	i.Mount(mount)
	a := newApplication(g, i, mount)
	begin := a.connectDeclared
	if g.fetches() {
		begin = newFetcher(a).begin
	}
	if err := begin(); err != nil {
		a.end()
		return err
	}
	if last := g.speaksFor.Swap(a); last != nil {
		last.end()
		last.invitation.Leave()
	}
	return nil
}

// speaker is what the party knows of the handler.
type speaker Guest

// Awaits reports whether the handler takes the invite of that guest if it comes.
func (s *speaker) Awaits(guest string) bool {
	a := s.speaksFor.Load()
	return s.Name == guest || s.Name == "" && (a == nil || a.guest() == guest)
}

// Speaks reports whether it has taken an invite.
func (s *speaker) Speaks() bool { return s.speaksFor.Load() != nil }

// Check returns what is wrong with the keys.
func (s *speaker) Check() error {
	if s.keysErr != nil {
		return fmt.Errorf("wsgi_party_guest %q: %w", s.Name, s.keysErr)
	}
	return nil
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
	as := ""
	if g.Name != "" {
		as = " as " + g.Name
	}
	hint := "write `invite <mount>/" + invitepath.Segment + "/" + as + "` in the wsgi_party block; <mount> is what the paths of the application's pages begin with"
	if len(g.passed) > 0 {
		hint = fmt.Sprintf("the invites that come here are for %q: write `invite <uri> as %s` in the wsgi_party block, or leave out the name in wsgi_party_guest", g.passed, g.Name)
	} else {
		for _, i := range invites {
			if i.Accepted || i.Status == 0 && i.Err == nil || g.Name != "" && g.Name != i.Guest {
				continue
			}
			became := fmt.Sprintf("was answered with status %d", i.Status)
			if i.Status == 0 {
				became = "ended with the error: " + i.Err.Error()
			}
			hint = fmt.Sprintf("is it the application of the invite to %s, which %s before it came here? Then: %s. Otherwise %s", i.URI, became, i.Hint, hint)
			break
		}
	}
	g.logger.Warn("no invite reached a wsgi_party_guest handler: its application is not on the line",
		zap.String("party", g.host.Name()), zap.String("guest", g.Name), zap.String("hint", hint))
}

// mountOf returns the beginning of the invite's path that was stripped before the
// handler saw it. Both are escaped.
func mountOf(invite, seen string) (string, error) {
	mount, ok := strings.CutSuffix(invite, seen)
	if !ok { // the guest would build wrong links
		return "", fmt.Errorf("the invite to %s comes to wsgi_party_guest as %s, which is not the end of it: where the application is mounted is not known", invite, seen)
	}
	return strings.TrimSuffix(mount, "/"), nil
}
