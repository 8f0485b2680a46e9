// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"errors"
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

// checkHref says why an href of the guest's manifest is not to lead to an escaped path
// of the party.
func (a *application) checkHref(target string) error {
	base, invite := a.invitation.Base(), a.invitation.URI
	unescaped, err := url.PathUnescape(target)
	if err != nil {
		return err
	}
	under := []string{base}
	if base == "" {
		under = append([]string{invite.Path}, a.hrefs...)
	}
	if !slices.ContainsFunc(under, func(base string) bool { return invitepath.IsUnder(unescaped, base) }) {
		if base == "" {
			return fmt.Errorf("%.200q lies neither under the path of the invite, %s, nor under what hrefs of wsgi_party_guest lists", target, invite.EscapedPath())
		}
		return a.outsideBase(target)
	}
	return a.checkOthers(target)
}

// checkURL says why a URL of the guest's manifest is not to lead to an escaped path of
// the party.
func (a *application) checkURL(target string) error {
	if base := a.invitation.Base(); base != "" {
		if unescaped, err := url.PathUnescape(target); err != nil || !invitepath.IsUnder(unescaped, base) {
			return a.outsideBase(target)
		}
	}
	return a.checkOthers(target)
}

func (a *application) outsideBase(target string) error {
	base := invitepath.Escape(a.invitation.Base())
	before := invitepath.Segment
	if _, ok := invitepath.Cut(a.invitation.URI.Path); !ok {
		before = "the last slash"
	}
	err := fmt.Errorf("%.200q does not lie under %s, which comes before %s in the path of the guest's invite", target, base, before)
	if a.path == "" { // the commonest mistake
		err = fmt.Errorf("%w; if the application's own paths do not begin with that, write `handle_path %s/*` where `handle` leaves it in the path", err, base)
	}
	return err
}

// checkManifest says what the application's manifest names that is not the guest's to
// name. What the Caddyfile declares is.
func (a *application) checkManifest(m *manifest.Manifest) error {
	start := func(t *urltemplate.Template) string { return a.path + t.Start() }
	const advice = "correct it, or have the operator write `%s` in wsgi_party_guest, for which this does not hold"
	for _, name := range slices.Sorted(maps.Keys(m.URLs)) {
		if a.declaresURL(name) {
			continue
		}
		if err := a.checkURL(start(m.URLs[name])); err != nil {
			return fmt.Errorf("manifest: url %q: %w: "+advice, name, err, excerpt.Of(fmt.Sprintf("url %s %s", name, m.URLs[name])))
		}
	}
	for _, service := range slices.Sorted(maps.Keys(m.Services)) {
		if a.declaresService(service) {
			continue
		}
		for _, h := range m.Services[service] {
			if h.Href == nil {
				if service != party.URLService {
					continue
				}
				link, err := a.linkOf(a.mount, h.Answer)
				if err != nil {
					continue // whether that is a link at all is seen when it is asked for
				}
				if err := a.checkConstant(a.mount, link); err != nil {
					return fmt.Errorf("manifest: the answer of service %q: %w: "+advice, service, err, excerpt.Of(fmt.Sprintf("answer %s %s", service, h.Answer)))
				}
				continue
			}
			if err := a.checkHref(start(h.Href)); err != nil {
				return fmt.Errorf("manifest: the href of service %q: %w: "+advice, service, err, excerpt.Of(fmt.Sprintf("service %s %s %s", service, h.Method, h.Href)))
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
	link, _, _ = strings.Cut(link, "?")
	link, _, _ = strings.Cut(link, "#")
	return a.checkURL(link)
}

// checkPage is checkOthers for the URL of a page, to which values may have led.
func (a *application) checkPage(name, expanded string) error {
	if a.declaresURL(name) {
		return nil
	}
	expanded, _, _ = strings.Cut(expanded, "?")
	expanded, _, _ = strings.Cut(expanded, "#")
	return a.checkOthers(expanded)
}

// dropStrayed drops a last good manifest that is not to be taken any more, since other
// guests are invited now.
func (f *fetcher) dropStrayed() (dropped bool) {
	if f.last == nil || f.checkManifest(f.lastMerged()) == nil {
		return false
	}
	f.standing, f.last = unknown, nil
	return true
}

// recheck is dropStrayed when all guests of the config are known.
func (f *fetcher) recheck() {
	if !f.dropStrayed() {
		return
	}
	if err := f.withdraw(); err != nil && f.ctx.Err() == nil {
		f.logger.Error("what is declared cannot be connected", zap.String("guest", f.guest()), zap.Error(err))
	}
}

func (a *application) declaresURL(name string) bool { return a.declaredURLs()[name] != nil }

func (a *application) declaresService(name string) bool {
	return a.declared != nil && a.declared.Services[name] != nil
}

// parseHrefs checks the paths under which hrefs of a manifest may lead, and returns
// them unescaped.
func parseHrefs(paths []string) ([]string, error) {
	unescaped := make([]string, len(paths))
	for i, p := range paths {
		joined, err := urltemplate.Join("", p)
		if err == nil && (p[0] != '/' || strings.ContainsAny(p, "?#*")) {
			err = errors.New("it is no path")
		}
		if err == nil {
			unescaped[i], err = url.PathUnescape(joined)
		}
		if err != nil {
			return nil, fmt.Errorf("hrefs: %q: write a path such as /api, which is for all below, too: %w", p, err)
		}
	}
	return unescaped, nil
}
