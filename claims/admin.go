// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The endpoints /wsgi_party/{party}/route and /wsgi_party/{party}/share of the admin API.

package claims

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/nearest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"go.uber.org/zap"
)

func init() {
	party.RegisterAdmin("route", endpoint("/route", serveRoute, http.MethodGet, http.MethodHead))
	party.RegisterAdmin("share", endpoint("/share", serveShare, http.MethodGet, http.MethodHead, http.MethodPost))
}

// endpoint serves as JSON what the function returns.
func endpoint(path string, serve func(r *http.Request, e *party.Entry, query url.Values) (any, error), methods ...string) party.AdminHandler {
	return func(w http.ResponseWriter, r *http.Request, name string) error {
		if !strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), path) {
			return apiError(http.StatusNotFound, errors.New("there is nothing at this path: write /wsgi_party/{party}"+path))
		}
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			return apiError(http.StatusMethodNotAllowed, fmt.Errorf("method %s is not allowed here, only %s", r.Method, strings.Join(methods, " and ")))
		}
		query, err := wire.Query(r)
		if err != nil {
			return apiError(http.StatusBadRequest, fmt.Errorf("%w: a %% is written as %%25", err))
		}
		e, err := findEntry(name)
		if err != nil {
			return err
		}
		response, err := serve(r, e, query)
		if err != nil {
			return err
		}
		encoded, err := wire.Encode(response)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		_, err = w.Write(append(encoded, '\n'))
		return err
	}
}

func apiError(status int, err error) error { return caddy.APIError{HTTPStatus: status, Err: err} }

// findEntry returns the party of the running config, or an error that says which there are.
func findEntry(name string) (*party.Entry, error) {
	var names []string
	for _, p := range party.Parties() {
		if p.Partyline.Name() == name {
			return p.Partyline.Owner().(*party.Entry), nil
		}
		names = append(names, p.Partyline.Name())
	}
	return nil, apiError(http.StatusNotFound, fmt.Errorf("no party is called %q: %s", name, nearest.ThereAre("party", names)))
}

func serveRoute(r *http.Request, e *party.Entry, query url.Values) (any, error) {
	wanted, err := parseRouted(query)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	return route(r.Context(), e, wanted), nil
}

type (
	sharesJSON struct {
		Party  string      `json:"party"`
		Shares []shareJSON `json:"shares"`
	}
	shareJSON struct {
		Guest    string        `json:"guest"`
		Share    string        `json:"share,omitempty"` // set since the config was loaded
		Until    string        `json:"until,omitempty"` // when that ends
		Matchers []matcherJSON `json:"matchers"`
	}
)

// untilReload is when a share ends that was set at runtime.
const untilReload = "the config is loaded again"

// serveShare tells the shares of a party's guests, or of one, which it sets before.
func serveShare(r *http.Request, e *party.Entry, query url.Values) (any, error) {
	s, guest := party.StateOf[state](e), query.Get("guest")
	matchers := s.all()
	var guests []string
	for _, m := range matchers {
		if !slices.Contains(guests, m.ClaimedBy) {
			guests = append(guests, m.ClaimedBy)
		}
	}
	if guest != "" && !slices.Contains(guests, guest) {
		return nil, apiError(http.StatusNotFound, fmt.Errorf("no matcher of party %q says `claimed_by %s`%s; %s", e.Name(), guest, nearest.DidYouMean(guest, guests...), thereAre(guests)))
	}
	if r.Method == http.MethodPost {
		if guest == "" {
			return nil, apiError(http.StatusBadRequest, fmt.Errorf("the guest is missing: write ?guest=<guest>&share=<n>%%25; %s", thereAre(guests)))
		}
		to, err := parseShare(query.Get("share"))
		if err != nil {
			return nil, apiError(http.StatusBadRequest, err)
		}
		s.set(guest, to)
		m := matchers[slices.IndexFunc(matchers, func(m *Matcher) bool { return m.ClaimedBy == guest })]
		m.logger.Info("share changed", zap.String("party", e.Name()), zap.String("guest", guest), zap.Stringer("share", to), zap.Stringer("configured", m.share), zap.String("until", untilReload))
	}
	j := sharesJSON{e.Name(), []shareJSON{}}
	for _, name := range guests {
		if guest != "" && guest != name {
			continue
		}
		own := shareJSON{Guest: name, Matchers: []matcherJSON{}}
		if set, ok := s.setShares()[name]; ok {
			own.Share, own.Until = set.String(), untilReload
		}
		for _, m := range matchers {
			if m.ClaimedBy == name {
				own.Matchers = append(own.Matchers, toJSON(m))
			}
		}
		j.Shares = append(j.Shares, own)
	}
	return j, nil
}

// thereAre says for which guests there are matchers.
func thereAre(guests []string) string {
	if len(guests) == 0 {
		return "there is no matcher `wsgi_party claimed_by <guest>` in the party"
	}
	return "there are matchers for " + strings.Join(guests, ", ")
}
