// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// A guest of other nodes, and what it answers here by value.

package trunk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/claimpattern"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// away is a guest of other nodes in the party of one config. What it says by value is what the first node says.
type away struct {
	link    *link
	app     *party.App
	entry   *party.Entry
	key     guestKey
	source  *source
	says    *manifest.Manifest
	pathFor func(context.Context) string // where it is mounted
}

// connect connects what the guest answers: by value what the first node says so, and all other services of any node by
// asking one of those that have it.
func (a *away) connect(o *partyline.Operator, sources []*source) error {
	services := make(map[string]bool)
	for _, s := range sources {
		for _, service := range s.Services {
			services[service] = true
		}
	}
	var errs []error
	morePages := len(a.says.URLs) == 0 || slices.ContainsFunc(sources, func(s *source) bool { return s.MorePages })
	for _, service := range slices.Sorted(maps.Keys(services)) {
		switch {
		case service == party.URLService:
			if len(a.says.URLs) > 0 {
				errs = append(errs, o.ConnectKeyed(service, func(name string) bool { return a.page(name) != nil }, a.answerURL))
			}
			if morePages {
				errs = append(errs, o.ConnectPrompt(service, a.askURL))
			}
		case service == party.ClaimsService && a.says.Claims != nil:
			errs = append(errs, o.Connect(service, a.answerClaims()))
		case service == party.HostsService && a.says.Hosts != nil:
			has := func(host string) bool {
				_, ok := a.says.Hosts.Match(host)
				return ok
			}
			errs = append(errs, o.ConnectKeyed(service, has, a.answerHosts))
		case service == party.HostsService:
			errs = append(errs, o.ConnectPrompt(service, a.askHosts))
		case a.says.Services[service] != nil:
			for _, h := range a.says.Services[service] {
				errs = append(errs, o.Connect(service, a.answerConstant(h.Answer)))
			}
		default:
			errs = append(errs, o.ConnectPrompt(service, func(ctx context.Context, payload any) (any, error) {
				return a.ask(ctx, service, payload)
			}))
		}
	}
	return errors.Join(errs...)
}

// page returns the template of a page, which other guests may name with the guest's name before it.
func (a *away) page(name string) *urltemplate.Template {
	if template := a.says.URLs[name]; template != nil {
		return template
	}
	if guest, page, named := strings.Cut(name, ":"); named && guest == a.key.guest {
		return a.says.URLs[page]
	}
	return nil
}

func (a *away) answerURL(ctx context.Context, payload any) (any, error) {
	party.SayLasting(ctx, a.key.guest)
	request, err := party.URLRequestOf(payload)
	if err != nil {
		return nil, err
	}
	template := a.page(request.Name)
	if template == nil {
		return nil, partyline.ErrHighAndDry
	}
	link, err := template.Expand(ctx, a.pathFor(ctx), request.Values)
	if errors.Is(err, urltemplate.ErrMissing) {
		return nil, partyline.ErrHighAndDry
	}
	if err != nil {
		return nil, err
	}
	if a.source.Mount.Origin == "" { // it is below the mount, as templates see to
		return link, nil
	}
	return a.checked(a.source.Mount.Origin + link)
}

// askURL asks for pages that are not known by value.
func (a *away) askURL(ctx context.Context, payload any) (any, error) {
	if request, err := party.URLRequestOf(payload); err == nil && a.page(request.Name) != nil {
		return nil, partyline.ErrHighAndDry
	}
	answer, err := a.ask(ctx, party.URLService, payload)
	if err != nil {
		return nil, err
	}
	if replies, ok := answer.(partyline.Replies); ok {
		for i := range replies {
			if replies[i].Err == nil {
				replies[i].Answer, replies[i].Err = a.checkedAnswer(replies[i].Answer)
			}
		}
		return replies, nil
	}
	return a.checkedAnswer(answer)
}

func (a *away) checkedAnswer(answer any) (any, error) {
	raw, _ := answer.(json.RawMessage)
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, errors.New("the answer is not a string")
	}
	return a.checked(text)
}

// checked returns a link that may lead to another site only if that is one of the party's here.
func (a *away) checked(text string) (any, error) {
	link, err := party.Linkable(a.entry.Partyline, text)
	if err != nil {
		return nil, fmt.Errorf("%w: write `origins` in wsgi_party_trunk if links may lead there", err)
	}
	return link, nil
}

func (a *away) answerConstant(answer json.RawMessage) partyline.Handler {
	return func(ctx context.Context, _ any) (any, error) {
		party.SayLasting(ctx, a.key.guest)
		return answer, nil
	}
}

func (a *away) answerClaims() partyline.Handler {
	patterns, pages := a.says.Claims.Patterns, new(claimpattern.Pages)
	if a.says.Claims.URLs {
		var templates []*urltemplate.Template
		for _, name := range slices.Sorted(maps.Keys(a.says.URLs)) {
			templates = append(templates, a.says.URLs[name])
		}
		pages = claimpattern.NewPages(templates)
	}
	return func(ctx context.Context, payload any) (any, error) {
		party.SayLasting(ctx, a.key.guest)
		r, err := party.CleanClaimRequestOf(payload)
		if err != nil {
			return nil, err
		}
		host := r.Host
		if host != "" && patterns.HasHosts() && !a.app.HasHost(host) {
			host = ""
		}
		by, ok := patterns.Match(r.Method, host, r.Path)
		if !ok {
			by, ok = pages.Match(r.Path)
		}
		if !ok {
			r.Because("none of its patterns is for it, as node " + a.source.Node + " says")
			return nil, partyline.ErrHighAndDry
		}
		r.By(by)
		return true, nil
	}
}

// hostIn returns the host that is asked for, if a site of this Caddy has it.
func (a *away) hostIn(payload any) (string, error) {
	host, err := partyline.PayloadAs[string](payload)
	if err == nil && !a.app.HasHost(host) {
		err = partyline.ErrHighAndDry
	}
	return host, err
}

func (a *away) answerHosts(_ context.Context, payload any) (any, error) {
	host, err := a.hostIn(payload)
	if err != nil {
		return nil, err
	}
	if _, ok := a.says.Hosts.Match(host); !ok {
		return nil, partyline.ErrHighAndDry
	}
	return true, nil
}

func (a *away) askHosts(ctx context.Context, payload any) (any, error) {
	host, err := a.hostIn(payload)
	if err != nil {
		return nil, err
	}
	return a.ask(ctx, party.HostsService, host)
}
