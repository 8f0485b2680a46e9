// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/excerpt"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
)

// baseOf returns the base of a guest that is invited at an unescaped path: what comes
// before the segment __invite__, or else before the last slash. It is empty for one
// that has all paths which are no other guest's.
func baseOf(invite string) string {
	before, ok := cutInvite(invite)
	if !ok {
		before = invite[:strings.LastIndexByte(invite, '/')+1]
	}
	return strings.TrimSuffix(path.Clean("/"+before), "/")
}

// cutInvite returns what comes before the segment __invite__ of a path, or all of it and
// false.
func cutInvite(path string) (before string, found bool) {
	segments := strings.Split(path, "/")
	i := slices.Index(segments, inviteSegment)
	if i < 0 {
		return path, false
	}
	return strings.Join(segments[:i], "/"), true
}

func escapePath(unescaped string) string { return (&url.URL{Path: unescaped}).EscapedPath() }

// based is a guest of a party, as far as its base is concerned.
type based struct {
	*invited
	host *Host
}

// otherBases are the bases of other guests that lie below a guest's own.
type otherBases struct {
	of     *[]based          // whose they were when they were looked up
	guests map[string]string // by base, as cleanPath has it
}

// otherBases returns those that what the guest's manifest names must not lie under.
// They may become more while the config loads.
func (v *visit) otherBases() map[string]string {
	all := v.invitation.host.entry.bases.Load()
	if known := v.others.Load(); known != nil && known.of == all {
		return known.guests
	}
	own := v.invitation.invited
	below := cleanPath(escapePath(own.base)) + "/"
	guests := make(map[string]string)
	for _, other := range *all {
		if other.guest == own.guest || other.base == "" || other.host != v.invitation.host && onAnotherSite(other.uri, own.uri) {
			continue
		}
		if base := cleanPath(escapePath(other.base)); strings.HasPrefix(base, below) {
			guests[base] = other.guest
		}
	}
	v.others.Store(&otherBases{all, guests})
	return guests
}

// onAnotherSite reports whether both invites say their host, and another one.
func onAnotherSite(a, b *url.URL) bool {
	return a.IsAbs() && b.IsAbs() && !strings.EqualFold(a.Hostname(), b.Hostname())
}

// checkOthers says under which other guest's base an escaped path of the party lies.
func (v *visit) checkOthers(target string) error {
	others := v.otherBases()
	if len(others) == 0 {
		return nil
	}
	cleaned := cleanPath(target)
	for i := 1; i <= len(cleaned); i++ {
		if i < len(cleaned) && cleaned[i] != '/' {
			continue
		}
		if guest, ok := others[cleaned[:i]]; ok {
			return fmt.Errorf("%.200q lies under %s, which is guest %q's", target, cleaned[:i], guest)
		}
	}
	return nil
}

// cleanPath returns what an escaped path may be taken for by whoever unescapes it again,
// drops parameters, or does not mind the case.
func cleanPath(escaped string) string {
	if isClean(escaped) {
		return escaped
	}
	unescaped := strings.ToLower(urltemplate.Unescape(escaped))
	if i := strings.IndexAny(unescaped, "?#\x00"); i >= 0 {
		unescaped = unescaped[:i]
	}
	segments := strings.Split(unescaped, "/")
	for i, segment := range segments {
		segment, _, _ = strings.Cut(segment, ";")
		segments[i] = strings.TrimRight(segment, ". ")
	}
	return path.Clean(strings.Join(segments, "/"))
}

// isClean reports whether a path, of which no segment is empty or only dots, is as
// cleanPath has it, but for a last slash.
func isClean(escaped string) bool {
	for i := range len(escaped) {
		switch c := escaped[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '/', c == '-', c == '_', c == '~':
		case c == '.' && i+1 < len(escaped) && escaped[i+1] != '/':
		default:
			return false
		}
	}
	return true
}

// isUnder reports whether a path is, or is below, another one. Both are unescaped; a
// spelling that is only taken for that does not count.
func isUnder(target, base string) bool {
	rest, ok := strings.CutPrefix(target, strings.TrimSuffix(base, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// checkHref says why an href of the guest's manifest is not to lead to an escaped path
// of the party.
func (v *visit) checkHref(target string) error {
	own := v.invitation.invited
	unescaped, err := url.PathUnescape(target)
	if err != nil {
		return err
	}
	under := []string{own.base}
	if own.base == "" {
		under = append([]string{own.uri.Path}, v.hrefs...)
	}
	if !slices.ContainsFunc(under, func(base string) bool { return isUnder(unescaped, base) }) {
		if own.base == "" {
			return fmt.Errorf("%.200q lies neither under the path of the invite, %s, nor under what hrefs of wsgi_party_guest lists", target, own.uri.EscapedPath())
		}
		return v.outsideBase(target)
	}
	return v.checkOthers(target)
}

// checkURL says why a URL of the guest's manifest is not to lead to an escaped path of
// the party.
func (v *visit) checkURL(target string) error {
	if base := v.invitation.invited.base; base != "" {
		if unescaped, err := url.PathUnescape(target); err != nil || !isUnder(unescaped, base) {
			return v.outsideBase(target)
		}
	}
	return v.checkOthers(target)
}

func (v *visit) outsideBase(target string) error {
	i := v.invitation.invited
	base := escapePath(i.base)
	before := inviteSegment
	if _, ok := cutInvite(i.uri.Path); !ok {
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
				link, err := v.linkOf(v.mount, nil, h.Answer)
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
	if len(v.otherBases()) == 0 || v.declaresURL(name) {
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
