// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package page_test

import (
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

const password = "basic_auth {\nme $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}\n"

// TestAnOpenPageIsWarnedOf loads sites that listen everywhere, or on this machine only.
func TestAnOpenPageIsWarnedOf(t *testing.T) {
	at := func(path string) string { return strings.Replace(password, "basic_auth", "basic_auth "+path, 1) }
	for name, test := range map[string]struct {
		directives string
		warned     bool
	}{
		"nothing":                            {"wsgi_party_page main", true},
		"on this machine only":               {"bind 127.0.0.1\nwsgi_party_page main", false},
		"a password":                         {password + "wsgi_party_page main", false},
		"a password for other paths":         {at("/admin/*") + "wsgi_party_page main", true},
		"a password for some paths":          {at("/admin/*") + "wsgi_party_page /admin* main", true},
		"a password for the paths":           {at("/admin/*") + "wsgi_party_page /admin/party main", false},
		"a password for the path":            {at("/party") + "wsgi_party_page /party main", false},
		"the same matcher":                   {"@look path_regexp ^/look\n" + at("@look") + "wsgi_party_page @look main", false},
		"another matcher":                    {"@look path_regexp ^/look\n@other path_regexp ^/other\n" + at("@other") + "wsgi_party_page @look main", true},
		"a password in its handle":           {"handle /look {\n" + password + "wsgi_party_page main\n}", false},
		"a password in another handle":       {"handle /other {\n" + password + "}\nhandle /look {\nwsgi_party_page main\n}", true},
		"a password in front of the handle":  {at("/look/*") + "handle_path /look/* {\nwsgi_party_page main\n}", false},
		"a password for what it is stripped": {at("/x/*") + "handle_path /look/* {\nwsgi_party_page /x/* main\n}", true},
		"a password behind it":               {"route {\nwsgi_party_page main\n" + password + "}", true},
		"a password in a route before":       {"route {\nroute {\n" + password + "}\nwsgi_party_page main\n}", false},
		"in the party's routes":              {"wsgi_party main {\n" + password + "wsgi_party_page /look\n}", false},
		"in the party's routes, open":        {"wsgi_party main {\nwsgi_party_page /look\n}", true},
		"only for some addresses":            {"@near remote_ip private_ranges\nwsgi_party_page @near main", false},
		"in a handle for some addresses":     {"@near client_ip private_ranges\nhandle @near {\nwsgi_party_page main\n}", false},
		"forward_auth":                       {"forward_auth 127.0.0.1:9 {\nuri /verify\n}\nwsgi_party_page main", false},
		"a proxy is not a password":          {"reverse_proxy /x 127.0.0.1:9\nwsgi_party_page main", true},
		"invoked":                            {"route {\n" + password + "invoke shown\n}", false},
		"invoked, open":                      {"invoke shown", true},
		"in error routes":                    {"handle_errors {\nwsgi_party_page main\n}", true},
	} {
		t.Run(name, func(t *testing.T) {
			c := partytest.NewCaddy(t)
			_, port, _ := strings.Cut(testport.Address(t), ":")
			named := ""
			if strings.Contains(test.directives, "invoke") {
				named = "&(shown) {\nroute {\nwsgi_party_page main\n}\n}\n"
			}
			party := "wsgi_party main\n"
			if strings.Contains(test.directives, "wsgi_party main") {
				party = ""
			}
			c.Load(named + "http://:" + port + " {\n" + party + test.directives + "\n}")
			warnings := partytest.LogEntries(t, "wsgi_party_page can be seen from other machines without a password")
			check.Equal(t, len(warnings) > 0, test.warned, warnings)
			for _, w := range warnings {
				check.Equal(t, w["logger"], any("http.handlers.wsgi_party_page"))
				check.Has(t, w["hint"].(string), "caddy wsgi-party page main")
			}
		})
	}
}
