// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package hosts_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// fenced returns the first block of the page in that language.
func fenced(t testing.TB, page, language string) string {
	t.Helper()
	_, rest, _ := strings.Cut(page, "\n```"+language+"\n")
	block, _, ok := strings.Cut(rest, "\n```\n")
	check.FatalIf(t, !ok, "the page has no block of %s", language)
	return block + "\n"
}

// TestThePageOnDomains runs what docs/domains.md says, with Caddy's internal issuer.
func TestThePageOnDomains(t *testing.T) {
	text, err := os.ReadFile("../docs/domains.md")
	check.Must(t, err)
	page := string(text)
	config := fenced(t, page, "caddyfile")
	_, warnings, err := partytest.AdaptCaddyfile(config)
	check.ErrorIf(t, err != nil || len(warnings) > 0, "%v, %v", warnings, err)

	c := partytest.NewHTTPS(t)
	says := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	shops := partytest.NewApplication(t, strings.Replace(fenced(t, page, "json"), `"hosts":  [`, `"hosts":  ["*.shops.example.com", `, 1), says("shops"))
	blogs := partytest.NewApplication(t, `{"hosts": ["bobs-diary.example"], "claims": ["bobs-diary.example/"]}`, says("blogs"))
	options, site, ok := strings.Cut(strings.TrimPrefix(config, "{\n"), "\n}\n")
	check.FatalIf(t, !ok, "the Caddyfile has no options")
	site = strings.NewReplacer("\ton_demand\n", "\ton_demand\n\t\tissuer internal\n", "localhost:8000", shops.Address(), "localhost:9000", blogs.Address()).Replace(site)
	c.Load(options, site)
	partytest.Eventually(t, "both have joined", func() bool { return len(partytest.LogEntries(t, "guest joined")) == 2 })

	for name, who := range map[string]string{"anns-hats.example": "shops", "www.anns-hats.example": "shops", "bobs-diary.example": "blogs"} {
		certified(c, name)
		check.Equal(t, visit(c, name), who, "who serves %s", name)
	}
	uncertified(c, "others.example", "example.com")

	_, rest, _ := strings.Cut(page, "\n```json\n")
	c.Load(options, strings.Replace(site, "@shops wsgi_party claimed_by shops\n", fenced(t, rest, "caddyfile"), 1))
	certified(c, "hats.shops.example.com")
	check.Equal(t, visit(c, "hats.shops.example.com"), "shops", "who serves a name with a wildcard")
}

// visit returns what the site of that name answers.
func visit(c *partytest.HTTPS, name string) string {
	c.Helper()
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{ServerName: name, InsecureSkipVerify: true}}
	r, err := http.NewRequest("GET", "https://"+net.JoinHostPort("127.0.0.1", c.Port)+"/", nil)
	check.Must(c, err)
	r.Host = name
	response, err := transport.RoundTrip(r)
	check.Must(c, err)
	return partytest.ReadAll(c, response)
}
