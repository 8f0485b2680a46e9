// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/excerpt"
	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

// application is a guest handler's application on the line, from an invite on.
type application struct {
	*Guest
	invitation *party.Invitation
	meter      *party.Meter
	logger     *zap.Logger // says whose messages they are
	path       string      // where the application is mounted in the party, escaped
	stripped   string      // the same, unescaped
	mount      string      // the same with the party's prefix, where that is the same for all requests
	origin     string      // what comes before the mount in links; empty for an invite without one
	slots      *slots
	claimed    *claimState

	ctx  context.Context // ended by end
	end  context.CancelFunc
	wake chan struct{} // to ask for the manifest again

	connected atomic.Pointer[manifest.Manifest] // to what
	started   atomic.Bool
	breakers  sync.Map // of service to *breaker
	upstreams upstreams
	gathered  places // of asks that wait for a batch that is under way

	hostCookie sync.Once // warned of it
}

func newApplication(g *Guest, i *party.Invitation, path string) *application {
	a := &application{Guest: g, invitation: i, meter: i.Meter(), path: path, mount: invitepath.Escape(i.Prefix) + path, origin: i.Origin(), wake: make(chan struct{}, 1)}
	a.logger = g.logger.With(zap.String("party", i.Party()), zap.String("guest", a.guest()))
	a.stripped, _ = url.PathUnescape(path) // it is a part of a URL's escaped path
	a.ctx, a.end = context.WithCancel(i.Context())
	a.claimed = kept.Hold(&g.holds, claimStates, manifestKey{i.Party(), a.guest(), i.URI.String()})
	if i.Again {
		a.claimed.round.Add(1)
	}
	a.slots = newSlots(g.MaxAsks, time.Duration(g.Timeout), &overload{application: a})
	i.OnConditions(a.conditions)
	i.OnStatement(a.statement)
	return a
}

func (a *application) guest() string { return a.invitation.Operator.Guest() }

// isAnothers reports whether a page's name begins with that of another guest of the party.
func (a *application) isAnothers(page string) bool {
	guest, _, named := strings.Cut(page, ":")
	return named && guest != a.guest() && a.invitation.Operator.Partyline().IsInOrder(guest)
}

func (a *application) fetchSoon() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// sayWhatIsCalledAsAnothers says in the log which pages of the application's manifest have
// names that belong to another guest, as those of a Django namespace may.
func (a *application) sayWhatIsCalledAsAnothers(m *manifest.Manifest) {
	var names []string
	for name := range m.URLs {
		if a.isAnothers(name) && a.declared.URLs[name] == nil {
			names = append(names, name)
		}
	}
	if names == nil {
		return
	}
	first := slices.Min(names)
	guest, _, _ := strings.Cut(first, ":")
	a.logger.Info("pages have the same names as those of another guest", zap.Int("pages", len(names)),
		zap.String("hint", fmt.Sprintf("only guest %s is asked for %s: ask for this guest's as %s:%[2]s", guest, first, a.guest())))
}

// answerURL answers where the application's pages are.
func (a *application) answerURL(ctx context.Context, payload any) (any, error) {
	party.SayLasting(ctx, a.guest())
	request, err := party.URLRequestOf(payload)
	if err != nil {
		return nil, err
	}
	name, template := a.pageOf(a.connected.Load(), request.Name)
	if template == nil {
		return nil, partyline.ErrHighAndDry
	}
	mount := a.invitation.MountFor(ctx)
	expanded, err := template.Expand(ctx, mount, request.Values)
	if errors.Is(err, urltemplate.ErrMissing) {
		return nil, partyline.ErrHighAndDry
	}
	if err == nil {
		err = a.checkPage(name, expanded[len(mount)-len(a.path):])
	}
	if err != nil {
		return nil, err
	}
	return a.origin + expanded, nil
}

// pageOf returns the page that is asked for by that name, and its template, nil if it is none of the
// application's.
func (a *application) pageOf(m *manifest.Manifest, name string) (page string, template *urltemplate.Template) {
	if a.isAnothers(name) {
		return name, a.declared.URLs[name] // it is another guest's, but for what the operator declares
	}
	if template = m.URLs[name]; template == nil {
		if guest, page, named := strings.Cut(name, ":"); named && guest == a.guest() {
			return page, m.URLs[page]
		}
	}
	return name, template
}

// linkIn returns what the application answered to the service url in a call as a link. One
// that Caddy gave out in the same call, as that of a page by another name, stays as it is.
func (a *application) linkIn(ctx context.Context, answer []byte) (string, error) {
	var text string
	if err := json.Unmarshal(answer, &text); err == nil && party.GaveURL(ctx, text) {
		return text, a.checkLink(text)
	}
	return a.linkOf(a.invitation.MountFor(ctx), answer)
}

// linkOf returns an answer to the service url as a link. It is relative to the mount, unless it
// begins with the mount or the origin, as that of a framework does which knows them.
func (a *application) linkOf(mount string, answer []byte) (string, error) {
	var text string
	if err := json.Unmarshal(answer, &text); err != nil {
		return "", errors.New("the answer is not a string")
	}
	if below, ok := strings.CutPrefix(text, a.origin); ok && a.origin != "" && strings.HasPrefix(below, "/") {
		return text, urltemplate.Check(below)
	}
	if below, ok := strings.CutPrefix(text, mount); ok && mount != "" && (below == "" || strings.ContainsAny(below[:1], "/?#")) {
		return a.origin + text, urltemplate.Check(text)
	}
	link, err := urltemplate.Join(mount, text)
	if err != nil {
		return "", err
	}
	return a.origin + link, nil
}

// checkLink checks a link to any guest.
func (a *application) checkLink(text string) error {
	link, err := party.Linkable(a.invitation.Operator.Partyline(), text)
	if err != nil {
		return err
	}
	if parsed, err := url.Parse(link); err == nil && parsed.IsAbs() {
		link = cmp.Or(strings.TrimPrefix(link, parsed.Scheme+"://"+parsed.Host), "/")
	}
	return urltemplate.Check(link)
}

// checkOthers says under which other guest's base an escaped path of the party lies.
func (a *application) checkOthers(target string) error {
	if guest, base, ok := a.invitation.OtherGuestAt(target); ok {
		return fmt.Errorf("%.200q is under %s, which is guest %q's", target, base, guest)
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
	err := fmt.Errorf("%.200q is not under %s, which comes before %s in the path of the guest's invite", target, base, before)
	if a.path == "" { // the commonest mistake
		err = fmt.Errorf("%w; if the application's own paths do not begin with that, write `handle_path %s/*` instead of `handle`, which leaves it in the path", err, base)
	}
	return err
}

// checkHref is checkURL for an href, which stays with the guest also if all paths are its.
func (a *application) checkHref(target string) error {
	if invite := a.invitation.URI; a.invitation.Base() == "" && !isUnder(target, invite.Path) && !isUnder(target, a.hrefs...) {
		return fmt.Errorf("%.200q is neither under the path of the invite, %s, nor under a path that hrefs in wsgi_party_guest lists", target, invite.EscapedPath())
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
		return fmt.Errorf("manifest: %s %q: %w: correct it, or have the operator write `%s` in wsgi_party_guest, where this rule does not hold", what, name, err, excerpt.Of(fmt.Sprintf(declaration, arguments...)))
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
