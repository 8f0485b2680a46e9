// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package hosts_test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// internal is the beginning of a site for every host, with certificates on demand by Caddy's own issuer.
const internal = "https:// {\ntls {\nissuer internal\non_demand\n}\n"

// certificates returns the names that Caddy keeps certificates for.
func certificates(c *partytest.HTTPS) (names []string) {
	c.Helper()
	found, err := filepath.Glob(filepath.Join(c.Storage(), "certificates", "*", "*", "*.crt"))
	check.Must(c, err)
	for _, path := range found {
		names = append(names, strings.TrimSuffix(filepath.Base(path), ".crt"))
	}
	slices.Sort(names)
	return names
}

// certified fails the test unless a handshake for the name gives a certificate of that name.
func certified(c *partytest.HTTPS, name string) {
	c.Helper()
	state, err := c.Handshake(name)
	if err != nil {
		c.Errorf("%s: %v", name, err)
		return
	}
	check.Slices(c, state.PeerCertificates[0].DNSNames, []string{strings.ToLower(name)}, "the names of the certificate")
}

// uncertified fails the test unless a handshake for the name gives no certificate.
func uncertified(c *partytest.HTTPS, names ...string) {
	c.Helper()
	for _, name := range names {
		state, err := c.Handshake(name)
		if err == nil {
			c.Errorf("%s: a certificate for %q", name, state.PeerCertificates[0].DNSNames)
			continue
		}
		check.Fails(c, err, "internal error")
	}
}

func TestHandshakes(t *testing.T) {
	shop := guest(t, "shop", false, claims("shop.example.com", "www.shop.example.com", "next.example.com"))
	guest(t, "blog", true, claims("blog.example.org"))
	partytest.OnProvision(t, "permission", func(caddy.Context) error { return nil })
	c := partytest.NewHTTPS(t)
	load := func(guests ...string) {
		c.Load("on_demand_tls {\npermission wsgi_party main\n}", internal+party("main", guests...)+"}")
	}
	load("shop", "blog")
	all := []string{"blog.example.org", "shop.example.com", "www.shop.example.com"}
	for _, name := range []string{"shop.example.com", "blog.example.org", "WWW.shop.example.com"} {
		certified(c, name)
	}
	uncertified(c, "other.example.com", "example.com", "x.shop.example.com", "127.0.0.1", "")
	check.Slices(t, certificates(c), all, "certificates for")
	check.Equal(t, len(partytest.LogEntries(t, "on-demand certificate issuance denied")), 5, "denials that Caddy logs")
	failures := func() []partytest.Entry {
		return partytest.LogEntries(t, "failed to get permission for on-demand certificate")
	}
	check.Equal(t, len(failures()), 0, "errors that Caddy logs")

	// What a guest fails to say is an error in Caddy's log, and no certificate.
	shop.on(partytest.Fails)
	uncertified(c, "next.example.com", "next.example.com")
	check.Equal(t, len(failures()), 1, "errors that Caddy logs")
	check.Contains(t, fmt.Sprint(failures()), []string{"level:error", "next.example.com", `guest "shop"`, "oh no"})

	// The new config asks its own guests.
	load("blog")
	partytest.Eventually(t, "the new config has taken over", func() bool {
		_, err := c.Handshake("blog.example.org")
		return err == nil
	})
	uncertified(c, "next.example.com")
	check.Slices(t, certificates(c), all, "certificates for")
}

// TestHostsOfApplications has two be asked over HTTP, one by its manifest, the other by the Caddyfile.
func TestHostsOfApplications(t *testing.T) {
	c := partytest.NewHTTPS(t)
	a := partytest.NewApplication(t, `{"services": {"hosts": {"href": "/__invite__/hosts"}}}`, partytest.JSON("false"))
	b := partytest.NewApplication(t, "", partytest.JSON(`"true"`))
	c.Load("on_demand_tls {\npermission wsgi_party\n}", internal+"wsgi_party {\ninvite /a/__invite__/ /b/__invite__/\n"+
		partytest.Mounted("a", "", a)+partytest.Mounted("b", "service hosts /allowed", b)+"}\n}")
	partytest.Eventually(t, "the application has joined", func() bool {
		return len(partytest.LogEntries(t, "guest joined")) == 2
	})
	uncertified(c, "neither.example.com")
	a.On(partytest.JSON(" true\n"))
	certified(c, "a.example.com")
	a.On(partytest.JSON("[true]"))
	b.On(partytest.JSON("true"))
	certified(c, "b.example.com")
	b.On(partytest.Status(500))
	uncertified(c, "failing.example.com")
	failures := partytest.LogEntries(t, "failed to get permission for on-demand certificate")
	check.Has(t, fmt.Sprint(failures), `guest "b"`)
	check.Has(t, fmt.Sprint(failures), "status 500")
	check.Slices(t, certificates(c), []string{"a.example.com", "b.example.com"}, "certificates for")

	for at, requests := range map[string]string{"/__invite__/hosts": sent(t, a.Requests()), "/allowed": sent(t, b.Requests())} {
		for _, name := range []string{"neither.example.com", "failing.example.com"} {
			check.Equal(t, strings.Count(requests, "POST "+at+" \""+name+"\"\n"), 1, "requests to %s for %s", at, name)
		}
	}
}

// TestHostsThatAreListed has them be in a manifest, which changes, and in the Caddyfile.
func TestHostsThatAreListed(t *testing.T) {
	c := partytest.NewHTTPS(t)
	a := partytest.NewApplication(t, `{"hosts": ["shop.example.com", "*.example.org", "bücher.example"], "services": {"gone": {"href": "/__invite__/gone"}}}`, http.NotFound)
	b := partytest.NewApplication(t, "", nil)
	c.Load("on_demand_tls {\npermission wsgi_party main\n}", internal+"wsgi_party main {\ninvite /a/__invite__/ /b/__invite__/\n"+
		partytest.Mounted("a", "", a)+partytest.Mounted("b", "host blog.example.com *.blog.example.com\nfetch_manifest off", b)+"}\n}")
	partytest.Eventually(t, "the application has joined", func() bool {
		return len(partytest.LogEntries(t, "guest joined")) == 2
	})
	for _, name := range []string{"shop.example.com", "any.example.org", "blog.example.com", "a.blog.example.com", "xn--bcher-kva.example"} {
		certified(c, name)
	}
	uncertified(c, "new.example.com", "www.shop.example.com", "example.org", "a.b.example.org", "b.a.blog.example.com")

	a.OnInvite(partytest.Manifest(`{"hosts": ["new.example.com"]}`))
	invites := a.Invites()
	operator, _ := wsgiparty.Lookup("main")
	_, err := operator.AskAround(t.Context(), "gone", nil) // is not found, so that Caddy asks for the manifest again
	check.Fails(t, err, "404")
	partytest.Eventually(t, "the application is asked again", func() bool { return a.Invites() > invites })
	partytest.Eventually(t, "its new host is known", func() bool {
		_, err := c.Handshake("new.example.com")
		return err == nil
	})
	certified(c, "new.example.com")
	uncertified(c, "other.example.org")
	check.Equal(t, sent(t, a.Requests())+sent(t, b.Requests()), "POST /__invite__/gone null\n", "requests")
}

// sent is what these requests were.
func sent(t testing.TB, requests []*http.Request) (text string) {
	t.Helper()
	for _, r := range requests {
		body, err := io.ReadAll(r.Body)
		check.Must(t, err)
		text += r.Method + " " + r.URL.Path + " " + string(body) + "\n"
	}
	return text
}
