// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// documentedFilter returns the format of the log that docs/guests.md says to write.
func documentedFilter(t *testing.T) string {
	t.Helper()
	text := check.Value(os.ReadFile("../docs/guests.md"))(t)
	format := regexp.MustCompile(`(?s)log \{\n\t(format filter \{.*?\n\t\})\n\}\n`).FindSubmatch(text)
	check.FatalIf(t, format == nil, "docs/guests.md has no filter")
	return string(format[1])
}

// TestTheDocumentedFilterKeepsTokensOutOfCaddysLog has every line logged that Caddy has
// for what passes a party, with and without the filter.
func TestTheDocumentedFilterKeepsTokensOutOfCaddysLog(t *testing.T) {
	socket := partytest.StartPHP(t)
	root := partytest.Scripts(t, map[string]string{"index.php": `<?php header('Content-Type: application/json'); echo json_encode(strlen($_SERVER['HTTP_PARTY_TOKEN']));`})
	for _, format := range []string{"format json", documentedFilter(t)} {
		c := partytest.NewCaddy(t)
		one := c.NewGuest("one", func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
			if service == "long" {
				return partytest.Answer(200, strings.Repeat("x", 10000))
			}
			if _, err := answersBack(a, r, "php"); err != nil {
				return partytest.Answer(500, err.Error())
			}
			return partytest.Answer(200, 1)
		})
		key := partytest.Key(t, "php")
		config := strings.Replace(partytest.GlobalOptions, "format json", format, 1) + `
		http://` + c.Address + ` {
			wsgi_party main {
				` + strings.Replace(one.Directives("short", "long"), "timeout", "max_answer 1000B\nforward Cookie Authorization\ntimeout", 1) + `
				invite /php/__invite__/
				handle_path /php/* {
					wsgi_party_guest {
						key {env.php_PARTY_KEY}
						service php /elsewhere
					}
					root ` + root + `
					php_fastcgi unix/` + socket + `
				}
			}
		}
		http://` + c.Endpoint + " {\nlog {\noutput test_memory\n" + format + "\n}\nwsgi_party_ask main\n}"
		adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil)
		check.Must(t, err)
		check.Must(t, caddy.Load(adapted, true))
		header := http.Header{"Party-Forward-Cookie": {"session=secret-of-a-visitor"}, "Party-Forward-Authorization": {"Basic secret-of-a-visitor"}}
		for path, want := range map[string]string{"/short": `"answers":[1]`, "/long": "longer than 1000 bytes"} {
			check.Has(t, c.Ask(partytest.Asking{Key: key, Path: path, Header: header}).Body, want, path)
		}
		partytest.Eventually(t, "all requests are logged", func() bool { return len(partytest.LogEntries(t, "handled request")) >= 3 })
		var messages []string // that have a secret in them
		for line := range strings.Lines(partytest.Logged()) {
			if strings.Contains(line, "eyJ") || strings.Contains(line, "secret-of-a-visitor") {
				var e struct{ Msg string }
				check.Nil(t, json.Unmarshal([]byte(line), &e))
				messages = append(messages, e.Msg)
			}
			check.ErrorIf(t, strings.Contains(line, key) || strings.Contains(line, one.Key), "a key is logged: %s", line)
		}
		if format == "format json" {
			for _, message := range []string{"aborting with incomplete response", "handled request", "rewrote request", "roundtrip", "upstream roundtrip"} {
				check.ErrorIf(t, !slices.Contains(messages, message), "without the filter, no secret is in %q, but in %q", message, messages)
			}
		} else {
			check.ErrorIf(t, len(messages) > 0, "with the filter, a secret is in %q", messages)
		}
		check.Nil(t, caddy.Stop())
	}
}
