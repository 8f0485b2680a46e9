// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The commands `caddy wsgi-party route` and `caddy wsgi-party share`.

package claims

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/wsgiparty/wsgiparty/internal/admincommand"
	"github.com/wsgiparty/wsgiparty/party"
)

func init() {
	party.RegisterCommand(func() *cobra.Command {
		return &cobra.Command{
			Use:   "route <party> <method> <path>",
			Short: "Shows who claims a request, by what, and why others do not",
			Long: `
Shows which guest of a party claims a request, by which pattern, who else would,
and why each of the others does not get it. Write a URL instead of the path if
the host matters, too. Write the path as clients send it to the site, with the
mounts of the guests.

The guests are listed in the order of their matchers in the config. Other
matchers and routes around these are not taken into account.`,
			Example: "  caddy wsgi-party route main GET /invoices/7",
			Args:    admincommand.Args(cobra.ExactArgs(3)),
			RunE:    admincommand.Run(commandRoute),
		}
	})
	party.RegisterCommand(func() *cobra.Command {
		return &cobra.Command{
			Use:   "share <party> [<guest> [<n>%]]",
			Short: "Shows what share of the visitors goes to a guest, or sets it until the config is loaded again",
			Long: `
Shows what share of the visitors the matchers with 'claimed_by <guest>' let
through. With <n>%, sets it in all of these matchers until the config is loaded
again; to keep it, write it in the config, too. Caddy loads an unchanged config
only with 'caddy reload --force'. A larger share only adds visitors.`,
			Example: "  caddy wsgi-party share main new 25%",
			Args:    admincommand.Args(cobra.RangeArgs(1, 3)),
			RunE:    admincommand.Run(commandShare),
		}
	})
}

func commandRoute(fl caddycmd.Flags) error {
	query := url.Values{"method": {fl.Arg(1)}, "path": {fl.Arg(2)}}
	if u, err := url.Parse(fl.Arg(2)); err == nil && u.Scheme != "" && u.Host != "" {
		query.Set("host", u.Host)
		query.Set("path", u.RequestURI())
	}
	r, err := admincommand.Call[routeJSON](fl, http.MethodGet, admincommand.EscapeSegment(fl.Arg(0))+"/route?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	t := admincommand.NewTable("GUEST", "CLAIMS IT", "BY", "SEES", "WHY")
	for _, g := range r.Guests {
		claims := "no"
		switch {
		case g.Claims:
			claims = "yes"
		case g.Error != "":
			claims = "not known"
		}
		t.Row(g.Guest, claims, g.Pattern, g.Path, strings.Join(g.Why, "; "))
	}
	verdict := admincommand.NewTable(fmt.Sprintf("%s %s%s goes %s", r.Method, r.Host, r.Path, r.where()))
	return admincommand.Print(fl, verdict, t)
}

// where says where the request goes, which for a share of the visitors is not all.
func (r routeJSON) where() string {
	for _, g := range r.Guests {
		switch {
		case g.Guest != r.Guest:
		case g.Matchers[0].Share == "100%":
			return "to " + g.Guest
		default:
			return fmt.Sprintf("to %s for %s of the visitors", g.Guest, g.Matchers[0].Share)
		}
	}
	if slices.ContainsFunc(r.Guests, func(g claimantJSON) bool { return g.Claims }) {
		return "to the routes after the matchers: whoever claims it does not get it"
	}
	return "to the routes after the matchers: none of their guests claims it"
}

func commandShare(fl caddycmd.Flags) error {
	query, method := url.Values{}, http.MethodGet
	if guest := fl.Arg(1); guest != "" {
		query.Set("guest", guest)
	}
	if share := fl.Arg(2); share != "" {
		query.Set("share", share)
		method = http.MethodPost
	}
	path := admincommand.EscapeSegment(fl.Arg(0)) + "/share"
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	r, err := admincommand.Call[sharesJSON](fl, method, path, nil)
	if err != nil {
		return err
	}
	t := admincommand.NewTable("GUEST", "SHARE", "IN THE CONFIG", "BY", "SERVER", "UNTIL")
	for _, s := range r.Shares {
		for _, m := range s.Matchers {
			t.Row(s.Guest, m.Share, m.Configured, m.By, m.Server, s.Until)
		}
	}
	return admincommand.Print(fl, t)
}
