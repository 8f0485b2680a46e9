// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

// sayWhatIsCalledAsAnothers says in the log which pages of the application's manifest have
// names that belong to another guest, as those of a Django namespace may.
func (a *application) sayWhatIsCalledAsAnothers(m *manifest.Manifest) {
	var names []string
	for name := range m.URLs {
		guest, _, named := strings.Cut(name, ":")
		invited := a.invitation.Operator.Partyline().IsInOrder(guest)
		if named && invited && !a.declaresURL(name) && guest != a.guest() {
			names = append(names, name)
		}
	}
	if names == nil {
		return
	}
	first := slices.Min(names)
	guest, _, _ := strings.Cut(first, ":")
	a.logger.Info("pages are called as those of another guest",
		zap.String("party", a.invitation.Party()),
		zap.String("guest", a.guest()),
		zap.Int("pages", len(names)),
		zap.String("hint", fmt.Sprintf("only guest %s is asked for %s: ask for this guest's as %s:%[2]s", guest, first, a.guest())))
}

// declaredURLs are those of the config.
func (a *application) declaredURLs() map[string]*urltemplate.Template {
	if a.declared == nil {
		return nil
	}
	return a.declared.URLs
}

// answerURL answers where the application's pages are.
func (a *application) answerURL(ctx context.Context, payload any) (any, error) {
	request, err := party.URLRequestOf(payload)
	if err != nil {
		return nil, err
	}
	urls := *a.urls.Load()
	guest, page, named := strings.Cut(request.Name, ":")
	if named && guest != a.guest() && a.invitation.Operator.Partyline().IsInOrder(guest) {
		urls = a.declaredURLs() // another guest's page, but for what the operator declares
	}
	name := request.Name
	template, ok := urls[name]
	if !ok && named && guest == a.guest() {
		name = page
		template, ok = urls[name]
	}
	if !ok {
		return nil, partyline.ErrHighAndDry
	}
	mount := a.invitation.MountFor(ctx)
	expanded, err := template.Expand(ctx, mount, request.Values)
	if errors.Is(err, urltemplate.ErrMissing) {
		return nil, partyline.ErrHighAndDry
	}
	if err != nil {
		return nil, err
	}
	if err := a.checkPage(name, expanded[len(mount)-len(a.path):]); err != nil {
		return nil, err
	}
	return a.origin + expanded, nil
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

// linkOf returns an answer to the service url as a link. It is relative to the mount,
// unless it begins with the mount or the origin, as that of a framework does which knows
// them.
func (a *application) linkOf(mount string, answer []byte) (string, error) {
	var text string
	if err := json.Unmarshal(answer, &text); err != nil {
		return "", errors.New("the answer is no string")
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
