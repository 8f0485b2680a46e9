// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package page_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/page"
)

func TestTheDirective(t *testing.T) {
	for directive, want := range map[string]string{
		"wsgi_party_page":                             `{}`,
		"wsgi_party_page main":                        `{"party":"main"}`,
		"wsgi_party_page {\n}":                        `{}`,
		"wsgi_party_page /party main":                 `{"party":"main"}`,
		"@m remote_ip 127.0.0.1\nwsgi_party_page @m":  `{}`,
		"wsgi_party main {\nwsgi_party_page /look\n}": `{}`,
	} {
		caddyfile := "localhost {\n" + directive + "\n}"
		config, _, err := partytest.AdaptCaddyfile(caddyfile)
		check.Must(t, err)
		handlers := partytest.HandlersIn(partytest.DecodeJSON(t, config), "wsgi_party_page")
		check.FatalIf(t, len(handlers) != 1, string(config))
		partytest.CheckAdaptedAgain(t, caddyfile, config)
		partytest.CheckHandlers[page.Page](t, config, "wsgi_party_page")
		delete(handlers[0], "handler")
		check.Equal(t, string(check.Value(json.Marshal(handlers[0]))(t)), want, directive)
	}
	for directive, want := range map[string]string{
		"wsgi_party_page a b":             "write `wsgi_party_page [<party>]`",
		"wsgi_party_page \"\"":            "the party's name is empty: write a name, or leave it out",
		"wsgi_party_page main {\nlive\n}": `unrecognized subdirective "live" of wsgi_party_page: it has none`,
	} {
		_, _, err := partytest.AdaptCaddyfile("localhost {\n" + directive + "\n}")
		check.Fails(t, err, want)
	}
}

// TestTheDirectivesPlace has the page behind a password wherever that is written, and in front of a party and a handle
// that answer everything.
func TestTheDirectivesPlace(t *testing.T) {
	config, _, err := partytest.AdaptCaddyfile("localhost {\nwsgi_party {\nrespond all\n}\nhandle {\nrespond all\n}\nwsgi_party_page /party\nbasic_auth {\nme $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}\n}")
	check.Must(t, err)
	text := string(config)
	password, shown, answer := strings.Index(text, `"handler":"authentication"`), strings.Index(text, `"handler":"wsgi_party_page"`), strings.Index(text, `"handler":"subroute","routes":[{"handle":[{"body":"all"`)
	check.ErrorIf(t, !(0 < password && password < shown && shown < answer), text)
}

func get(c *partytest.Caddy, method, path string, header ...string) (*http.Response, string) {
	c.Helper()
	r := check.Value(http.NewRequestWithContext(c.Context(), method, "http://"+c.Address+path, nil))(c)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response := check.Value(http.DefaultClient.Do(r))(c)
	return response, partytest.ReadAll(c, response)
}

// shownAt returns what there is at a path in the JSON, where the name of a guest or service leads into a list.
func shownAt(t testing.TB, body string, path ...string) string {
	t.Helper()
	value := partytest.DecodeJSON(t, []byte(body))
	for _, key := range path {
		if list, ok := value.([]any); ok {
			for _, one := range list {
				object := one.(map[string]any)
				if name := object["guest"]; name == key || object["service"] == key {
					value = one
				}
			}
			continue
		}
		value = value.(map[string]any)[key]
	}
	return string(check.Value(json.Marshal(value))(t))
}

func TestWhatThePageIsMadeOf(t *testing.T) {
	c := partytest.NewCaddyWithAdmin(t)
	directives := small(t)
	party := strings.Fields(directives)[1]
	c.Site("wsgi_party_page /party " + party + "\n" + directives)
	askSmall(t, party)

	response, html := get(c, "GET", "/party")
	check.Equal(t, response.StatusCode, 200)
	check.Has(t, html, "<!DOCTYPE html>")
	check.ErrorIf(t, strings.Contains(html, "http://") && strings.Contains(strings.ReplaceAll(html, "http://www.w3.org/2000/svg", ""), "http://"), "the page names other places")
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"Referrer-Policy": "no-referrer", "Vary": "Accept",
	} {
		check.Equal(t, response.Header.Get(name), want, name)
	}
	policy := response.Header.Get("Content-Security-Policy")
	check.Contains(t, policy, []string{"default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "frame-ancestors 'none'", "form-action 'none'", "base-uri 'none'"})
	check.ErrorIf(t, strings.Contains(policy, "unsafe"), policy)

	response, body := get(c, "GET", "/party", "Accept", "application/json")
	check.Equal(t, response.Header.Get("Content-Type"), "application/json")
	for path, want := range map[string]string{
		"totals":                   `{"answered":309,"asked":458,"asks":246,"declined":140,"failed":9,"guests":3,"not_joined":1,"refused":0,"services":5}`,
		"askers magazine":          `{"asks":140,"guest":"magazine","service":"price"}`,
		"guests shop mount":        `"/shop"`,
		"guests shop services":     `["price","url","stock"]`,
		"guests shop failed":       `9`,
		"guests shop on_line":      `true`,
		"guests magazine asks":     `149`,
		"guests wiki on_line":      `false`,
		"guests wiki conditions":   `[]`,
		"services price guests":    `["shop","search"]`,
		"services price asks":      `140`,
		"left_off":                 `{}`,
		"party":                    `"` + party + `"`,
		"guests search declined":   `140`,
		"guests magazine requests": `0`,
	} {
		check.Equal(t, shownAt(t, body, strings.Fields(path)...), want, path)
	}
	check.Has(t, shownAt(t, body, "guests", "wiki", "invites"), "correct the invite's URI, or mount a guest there")
	check.Has(t, shownAt(t, body, "guests", "shop", "last_error"), "connection refused")

	// Whoever has it is told so.
	etag := response.Header.Get("ETag")
	response, body = get(c, "GET", "/party", "Accept", "application/json", "If-None-Match", `"other", W/`+etag)
	check.Equal(t, response.StatusCode, 304)
	check.Equal(t, body, "")
	asks(t, party, "shop", "url", 1)
	partytest.Eventually(t, "there is something new", func() bool {
		response, _ := get(c, "GET", "/party", "Accept", "application/json", "If-None-Match", etag)
		return response.StatusCode == 200 && response.Header.Get("ETag") != etag
	})

	// The admin API has the same.
	_, body = get(c, "GET", "/party", "Accept", "application/json")
	admin := c.Call("GET", "/wsgi_party/"+party+"/page", "")
	check.Equal(t, admin.Body, body)
	check.Has(t, c.Call("GET", "/wsgi_party/mian/page", "").Body, `no party is called \"mian\"`)
	check.Equal(t, c.Call("POST", "/wsgi_party/"+party+"/page", "").Status, 405)
	check.Equal(t, c.Call("GET", "/wsgi_party/"+party+"/page/x", "").Status, 404)

	// It can be narrowed.
	_, body = get(c, "GET", "/party?guest=shop", "Accept", "application/json")
	check.Equal(t, strings.Count(body, `"asks":25}`), 1, body)
	check.Equal(t, shownAt(t, body, "replies", "index"), shownAt(t, body, "replies"), "there is no such reply")
	_, body = get(c, "GET", "/party?find=PRICE", "Accept", "application/json")
	check.Equal(t, strings.Count(shownAt(t, body, "guests"), `"mount"`), 2, body)
	check.Equal(t, shownAt(t, body, "askers"), `[{"asks":140,"guest":"magazine","service":"price"}]`)
	_, body = get(c, "GET", "/party?service=stock", "Accept", "application/json")
	check.Equal(t, strings.Count(shownAt(t, body, "replies"), `"guest"`), 1, body)

	response, _ = get(c, "POST", "/party")
	check.Equal(t, response.StatusCode, 405)
	check.Equal(t, response.Header.Get("Allow"), "GET, HEAD")
	response, _ = get(c, "GET", "/party?find="+strings.Repeat("x", 500), "Accept", "application/json")
	check.Equal(t, response.StatusCode, 400)
	response, body = get(c, "HEAD", "/party", "Accept", "application/json")
	check.ErrorIf(t, response.StatusCode != 200 || body != "" || response.Header.Get("ETag") == "", response.Header)
}

// TestWhatManyShowIsBounded has 300 guests with 50 services each, all of which ask.
func TestWhatManyShowIsBounded(t *testing.T) {
	c := partytest.NewCaddy(t)
	directives, party := large(t, 300, 50)
	c.Site("wsgi_party_page /party " + party + "\n" + directives)
	for g := range 300 {
		guest := fmt.Sprintf("team-%d/app-%03d", g%12, g)
		asks(t, party, guest, "url", 1)
		for s := range 10 {
			asks(t, party, guest, fmt.Sprintf("service-%d-of-%03d", s, (g+1)%300), 1+s)
		}
	}
	_, body := get(c, "GET", "/party", "Accept", "application/json")
	t.Logf("%d bytes", len(body))
	check.ErrorIf(t, len(body) > 512<<10, "%d bytes", len(body))
	check.Equal(t, strings.Count(body, `"mount"`), 300)
	check.Equal(t, shownAt(t, body, "totals", "services"), "14701")
	check.Equal(t, shownAt(t, body, "services", "url", "asks"), "300")
	check.Equal(t, shownAt(t, body, "left_off", "services"), "14501")
	_, body = get(c, "GET", "/party?find=service-7-of-123", "Accept", "application/json")
	check.Equal(t, strings.Count(shownAt(t, body, "guests"), `"mount"`), 1)
	check.Equal(t, shownAt(t, body, "askers"), `[{"asks":8,"guest":"team-2/app-122","service":"service-7-of-123"}]`)
	_, body = get(c, "GET", "/party?service=url", "Accept", "application/json")
	check.Equal(t, strings.Count(shownAt(t, body, "askers"), `"asks"`), 300)
	check.Equal(t, strings.Count(shownAt(t, body, "replies"), `"asked"`), 300)
}
