// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/excerpt"
	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
)

// checkOthers says under which other guest's base an escaped path of the party lies.
func (v *visit) checkOthers(target string) error {
	if guest, base, ok := v.invitation.OtherGuestAt(target); ok {
		return fmt.Errorf("%.200q lies under %s, which is guest %q's", target, base, guest)
	}
	return nil
}

// checkHref says why an href of the guest's manifest is not to lead to an escaped path
// of the party.
func (v *visit) checkHref(target string) error {
	base, invite := v.invitation.Base(), v.invitation.URI
	unescaped, err := url.PathUnescape(target)
	if err != nil {
		return err
	}
	under := []string{base}
	if base == "" {
		under = append([]string{invite.Path}, v.hrefs...)
	}
	if !slices.ContainsFunc(under, func(base string) bool { return invitepath.IsUnder(unescaped, base) }) {
		if base == "" {
			return fmt.Errorf("%.200q lies neither under the path of the invite, %s, nor under what hrefs of wsgi_party_guest lists", target, invite.EscapedPath())
		}
		return v.outsideBase(target)
	}
	return v.checkOthers(target)
}

// checkURL says why a URL of the guest's manifest is not to lead to an escaped path of
// the party.
func (v *visit) checkURL(target string) error {
	if base := v.invitation.Base(); base != "" {
		if unescaped, err := url.PathUnescape(target); err != nil || !invitepath.IsUnder(unescaped, base) {
			return v.outsideBase(target)
		}
	}
	return v.checkOthers(target)
}

func (v *visit) outsideBase(target string) error {
	base := invitepath.Escape(v.invitation.Base())
	before := invitepath.Segment
	if _, ok := invitepath.Cut(v.invitation.URI.Path); !ok {
		before = "the last slash"
	}
	err := fmt.Errorf("%.200q does not lie under %s, which comes before %s in the path of the guest's invite", target, base, before)
	if v.path == "" { // the commonest mistake
		err = fmt.Errorf("%w; if the application's own paths do not begin with that, write `handle_path %s/*` where `handle` leaves it in the path", err, base)
	}
	return err
}

// checkManifest says what the application's manifest names that is not the guest's to
// name. What the Caddyfile declares is.
func (v *visit) checkManifest(m *manifest.Manifest) error {
	start := func(t *urltemplate.Template) string { return v.path + t.Start() }
	const advice = "correct it, or have the operator write `%s` in wsgi_party_guest, for which this does not hold"
	for _, name := range slices.Sorted(maps.Keys(m.URLs)) {
		if v.declaresURL(name) {
			continue
		}
		if err := v.checkURL(start(m.URLs[name])); err != nil {
			return fmt.Errorf("manifest: url %q: %w: "+advice, name, err, excerpt.Of(fmt.Sprintf("url %s %s", name, m.URLs[name])))
		}
	}
	for _, service := range slices.Sorted(maps.Keys(m.Services)) {
		if v.declaresService(service) {
			continue
		}
		for _, h := range m.Services[service] {
			if h.Href == nil {
				if service != URLService {
					continue
				}
				link, err := v.linkOf(v.mount, h.Answer)
				if err != nil {
					continue // whether that is a link at all is seen when it is asked for
				}
				if err := v.checkConstant(v.mount, link); err != nil {
					return fmt.Errorf("manifest: the answer of service %q: %w: "+advice, service, err, excerpt.Of(fmt.Sprintf("answer %s %s", service, h.Answer)))
				}
				continue
			}
			if err := v.checkHref(start(h.Href)); err != nil {
				return fmt.Errorf("manifest: the href of service %q: %w: "+advice, service, err, excerpt.Of(fmt.Sprintf("service %s %s %s", service, h.Method, h.Href)))
			}
		}
	}
	return nil
}

// checkConstant is checkURL for the link, below that mount or not, that is a constant
// answer to the service url.
func (v *visit) checkConstant(mount, link string) error {
	link = strings.TrimPrefix(link, v.origin)
	if below, ok := strings.CutPrefix(link, strings.TrimSuffix(mount, v.path)); ok && strings.HasPrefix(below, "/") {
		link = below
	}
	link, _, _ = strings.Cut(link, "?")
	link, _, _ = strings.Cut(link, "#")
	return v.checkURL(link)
}

// checkPage is checkOthers for the URL of a page, to which values may have led.
func (v *visit) checkPage(name, expanded string) error {
	if v.declaresURL(name) {
		return nil
	}
	expanded, _, _ = strings.Cut(expanded, "?")
	expanded, _, _ = strings.Cut(expanded, "#")
	return v.checkOthers(expanded)
}

// dropStrayed drops a last good manifest that is not to be taken any more, since other
// guests are invited now.
func (f *fetching) dropStrayed() (dropped bool) {
	if f.last == nil || f.checkManifest(f.lastMerged()) == nil {
		return false
	}
	f.standing, f.last = unknown, nil
	return true
}

// recheck is dropStrayed when all guests of the config are known.
func (f *fetching) recheck() {
	if !f.dropStrayed() {
		return
	}
	if err := f.withdraw(); err != nil && f.ctx.Err() == nil {
		f.logger.Error("what is declared cannot be connected", zap.String("guest", f.guest()), zap.Error(err))
	}
}

func (v *visit) declaresURL(name string) bool { return v.declaredURLs()[name] != nil }

func (v *visit) declaresService(name string) bool {
	return v.declared != nil && v.declared.Services[name] != nil
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
