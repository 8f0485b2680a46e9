// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/excerpt"
	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
	"github.com/wsgiparty/wsgiparty/party"
	"go.uber.org/zap"
)

// checkOthers says under which other guest's base an escaped path of the party lies.
func (a *application) checkOthers(target string) error {
	if guest, base, ok := a.invitation.OtherGuestAt(target); ok {
		return fmt.Errorf("%.200q lies under %s, which is guest %q's", target, base, guest)
	}
	return nil
}

// checkURL says why a URL of the guest's manifest is not to lead to an escaped path of the party.
func (a *application) checkURL(target string) error {
	unescaped := a.invitation.Base()
	if unescaped == "" || isUnder(target, unescaped) {
		return a.checkOthers(target)
	}
	base, before := invitepath.Escape(unescaped), invitepath.Segment
	if _, ok := invitepath.Cut(a.invitation.URI.Path); !ok {
		before = "the last slash"
	}
	err := fmt.Errorf("%.200q does not lie under %s, which comes before %s in the path of the guest's invite", target, base, before)
	if a.path == "" { // the commonest mistake
		err = fmt.Errorf("%w; if the application's own paths do not begin with that, write `handle_path %s/*` where `handle` leaves it in the path", err, base)
	}
	return err
}

// checkHref is checkURL for an href, which stays with the guest also if all paths are its.
func (a *application) checkHref(target string) error {
	if invite := a.invitation.URI; a.invitation.Base() == "" && !isUnder(target, invite.Path) && !isUnder(target, a.hrefs...) {
		return fmt.Errorf("%.200q lies neither under the path of the invite, %s, nor under what hrefs of wsgi_party_guest lists", target, invite.EscapedPath())
	}
	return a.checkURL(target)
}

// isUnder reports whether an escaped path lies under one of the others, which are not escaped.
func isUnder(target string, others ...string) bool {
	unescaped, err := url.PathUnescape(target)
	return err == nil && slices.ContainsFunc(others, func(other string) bool { return invitepath.IsUnder(unescaped, other) })
}

// checkManifest says what the application's manifest names that is not the guest's to
// name. What the Caddyfile declares is.
func (a *application) checkManifest(m *manifest.Manifest) error {
	start := func(t *urltemplate.Template) string { return a.path + t.Start() }
	refuse := func(what, name string, err error, declaration string, arguments ...any) error {
		return fmt.Errorf("manifest: %s %q: %w: correct it, or have the operator write `%s` in wsgi_party_guest, for which this does not hold", what, name, err, excerpt.Of(fmt.Sprintf(declaration, arguments...)))
	}
	for _, name := range slices.Sorted(maps.Keys(m.URLs)) {
		if a.declared.URLs[name] != nil {
			continue
		}
		if err := a.checkURL(start(m.URLs[name])); err != nil {
			return refuse("url", name, err, "url %s %s", name, m.URLs[name])
		}
	}
	for _, service := range slices.Sorted(maps.Keys(m.Services)) {
		if a.declaresService(service) {
			continue
		}
		for _, h := range m.Services[service] {
			if h.Href != nil {
				if err := a.checkHref(start(h.Href)); err != nil {
					return refuse("the href of service", service, err, "service %s %s %s", service, h.Method, h.Href)
				}
			} else if service == party.URLService {
				link, err := a.linkOf(a.mount, h.Answer)
				if err != nil {
					continue // whether that is a link at all is seen when it is asked for
				}
				if err := a.checkConstant(a.mount, link); err != nil {
					return refuse("the answer of service", service, err, "answer %s %s", service, h.Answer)
				}
			}
		}
	}
	return nil
}

// checkConstant is checkURL for the link, below that mount or not, that is a constant
// answer to the service url.
func (a *application) checkConstant(mount, link string) error {
	link = strings.TrimPrefix(link, a.origin)
	if below, ok := strings.CutPrefix(link, strings.TrimSuffix(mount, a.path)); ok && strings.HasPrefix(below, "/") {
		link = below
	}
	return a.checkURL(pathOf(link))
}

// checkPage is checkOthers for the URL of a page, to which values may have led.
func (a *application) checkPage(name, expanded string) error {
	if a.declared.URLs[name] != nil {
		return nil
	}
	return a.checkOthers(pathOf(expanded))
}

func pathOf(url string) string {
	if end := strings.IndexAny(url, "?#"); end >= 0 {
		return url[:end]
	}
	return url
}

func (a *application) declaresService(name string) bool { return a.declared.Services[name] != nil }

// dropStrayed drops a last good manifest that is not to be taken any more, since other
// guests are invited now.
func (f *fetcher) dropStrayed() (dropped bool) {
	if f.last.manifest == nil || f.checkManifest(f.withDeclared(f.last.manifest)) == nil {
		return false
	}
	f.standing, f.last = unknown, lastManifest{}
	return true
}

// recheck is dropStrayed when all guests of the config are known.
func (f *fetcher) recheck() {
	if !f.dropStrayed() {
		return
	}
	if err := f.withdraw(); err != nil && f.ctx.Err() == nil {
		f.logger.Error("what is declared cannot be connected", zap.Error(err))
	}
}
