// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

func TestPrefixesThatAreNoneAreRefused(t *testing.T) {
	for prefix, want := range map[string]string{
		"/caf%C3%A9": "has a %: write the path unescaped, such as /café", "/100%": "has a %",
		"/": "with a slash at the beginning and none at the end", "apps": "with a slash", "/apps/": "none at the end", "//x": "with a slash", "/a/../b": "with a slash", "/a?b": "with a slash",
		`/a\\b`:                  "backslash",
		"{env.HOME}":             "write a path, such as /apps, or a header that a trusted proxy sets, such as {http.request.header.X-Forwarded-Prefix}",
		"{http.request.header.}": "write a path", "{http.request.header.a b}": "write a path", "/x{http.request.header.X}": "write a path", "{http.request.header.X}/y": "write a path", "{path}": "write a path",
	} {
		_, _, err := partytest.AdaptCaddyfile("http://localhost {\nwsgi_party {\nprefix \"" + prefix + "\"\n}\n}")
		check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:3"), "%s: %v, want %s", prefix, err, want)
		encoded, _ := json.Marshal(strings.ReplaceAll(prefix, `\\`, `\`))
		c := partytest.NewCaddy(t)
		config := strings.Replace(string(c.Adapt("ADDRESS {\nwsgi_party main\n}")), `"handler":"wsgi_party"`, `"handler":"wsgi_party","prefix":`+string(encoded), 1)
		err = caddy.Load([]byte(config), true)
		check.ErrorIf(t, err == nil || prefix != "{path}" && !strings.Contains(err.Error(), want), "%s in JSON: %v, want %s", prefix, err, want)
	}
}

// prefixTest is a party whose prefix each request has, and whose applications say what
// prefix they were sent.
type prefixTest struct {
	*partytest.Caddy
	key  string // of a guest that asks
	mu   sync.Mutex
	sent []string
}

// newPrefixTest has the prefix in that header, and trusts proxies at that address.
func newPrefixTest(t *testing.T, prefix, trusted string) *prefixTest {
	t.Helper()
	c := &prefixTest{Caddy: partytest.NewCaddy(t), key: partytest.Key(t, "asker")}
	note := func(a *partytest.Application, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		mount := r.Header.Get("X-Forwarded-Prefix")
		if text := r.Header.Get("Party-Token"); text != "" {
			token, err := partytest.Keys(t, a.Key).Verify(a.Name, text, time.Now())
			check.ErrorIf(t, err != nil || token.Mount != mount || token.URI != mount+r.URL.RequestURI(), "%s was sent %+v, %v", mount+r.URL.RequestURI(), token, err)
		}
		c.sent = append(c.sent, mount)
	}
	one := c.NewGuest("one", func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		note(a, r)
		if service != "ask" {
			return partytest.Answer(200, "x")
		}
		response, err := c.TryAsk(r.Context(), partytest.Asking{Key: a.Key, Path: "/url?first", Body: `{"name": "two:page"}`,
			Header: http.Header{"Party-Token": r.Header["Party-Token"], "X-Forwarded-Prefix": r.Header["X-Forwarded-Prefix"]}})
		var got wire.Asked
		if err != nil || json.Unmarshal([]byte(response.Body), &got) != nil || len(got.Answers) != 1 {
			return partytest.Answer(500, response.Body)
		}
		return partytest.Answer(200, got.Answers[0])
	})
	two := c.NewGuest("two", func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		note(a, r)
		return partytest.Answer(200, "by-href")
	})
	partytest.TemplateApp(t)
	partytest.App(t, "go", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		if i, ok := wsgiparty.InvitationFrom(r); ok {
			return i.Operator.Connect("url", func(ctx context.Context, payload any) (any, error) {
				if payload.(wsgiparty.URLRequest).Name != "go:page" {
					return nil, wsgiparty.ErrHighAndDry
				}
				return i.PrefixFor(ctx) + "/go/page", nil
			})
		}
		link, err := wsgiparty.URLFor(r.Context(), operatorOf(t, "main"), r.URL.Query().Get("name"), nil)
		_, _ = io.WriteString(w, link)
		return err
	})
	servers := ""
	if trusted != "" {
		servers = "\nservers {\ntrusted_proxies static " + trusted + "\n}"
	}
	config, _, err := partytest.AdaptCaddyfile(strings.Replace(partytest.GlobalOptions, "\tadmin off", "\tadmin off"+servers, 1) + `
	http://` + c.Address + ` {
		wsgi_party main {
			prefix ` + prefix + `
			` + partytest.Asker + one.Directives("ask", "url") + strings.Replace(two.Directives("remote"), "timeout", "url page /pages/{x}\nurl two:page /page\ntimeout", 1) + `
			invite /go/__invite__/ /constant/__invite__/
			test_app /go/* go
			handle_path /constant/* {
				wsgi_party_guest {
					answer url there
				}
				` + partytest.Templates("") + `
				test_app template
			}
			` + partytest.Pages + `
		}
	}
	http://` + c.Endpoint + ` {
		wsgi_party_ask main
	}`)
	check.Must(t, err)
	check.Must(t, caddy.Load(config, true))
	return c
}

// visit returns the page that a visitor with these headers gets.
func (c *prefixTest) visit(path string, header http.Header) string {
	c.Helper()
	status, body := c.Do("GET", path, "", header)
	check.ErrorIf(c, status != http.StatusOK, "%s: %d %s%s", path, status, body, partytest.LastHTTPError(c))
	return body
}

// lastSent returns the prefix that an application was sent last.
func (c *prefixTest) lastSent() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent[len(c.sent)-1]
}

// expectPrefix expects all that is made for a request with these headers to have that
// prefix.
func (c *prefixTest) expectPrefix(header http.Header, prefix string) {
	c.Helper()
	for path, want := range map[string]string{
		partytest.Page(`{{urlFor . "two:page"}} {{maybeURL . "page" "x" "1"}}`):                                                            "P/two/page P/one/x",
		partytest.Page(`{{range askReplies . "url" (dict "name" "page" "values" (dict "x" 1))}}{{.guest}} {{.mount}} {{.answer}},{{end}}`): "one P/one P/one/x,two P/two P/two/pages/1,go P/go <no value>,constant P/constant P/constant/there,",
		partytest.Page(`{{(askFirst . "ask")}}`):                                                                                           "P/two/page",
		partytest.Page(`{{urlFor "two:page"}}`):                                                                                            "/two/page", // for no request
		strings.Replace(partytest.Page(`{{urlFor . "two:page"}} {{urlFor . "go:page"}}`), "/page", "/constant/page", 1):                    "P/two/page P/go/page",
		"/go/?name=two:page":      "P/two/page",
		"/go/?name=constant:page": "P/constant/there",
	} {
		want = strings.ReplaceAll(want, "P/", prefix+"/")
		check.Equal(c, c.visit(path, header), want, "%v: %s", header, path)
	}
	for path, want := range map[string]string{partytest.Page(`{{askFirst . "remote"}}`): "/two", "/one/": "/one", "/two/x": "/two"} {
		c.visit(path, header)
		check.Equal(c, c.lastSent(), prefix+want, "%v: %s: the application was sent", header, path)
	}
}

func TestAPrefixMayBeThatOfEachRequest(t *testing.T) {
	c := newPrefixTest(t, "{http.request.header.X-Forwarded-Prefix}", "127.0.0.1")
	for value, prefix := range map[string]string{
		"/pre": "/pre", "/a/b-c": "/a/b-c", "/api/hassio_ingress/x~1": "/api/hassio_ingress/x~1", "/caf%C3%A9": "/caf%C3%A9", "/a%20b": "/a%20b",
		"": "", "/": "", "pre": "", "/pre/": "", "//evil.example": "", "/a/../b": "", "/a/%2e%2e/b": "", `/\evil.example`: "", "https://evil.example": "", "/a?b": "", "/a#b": "", "/%2525": "", "/a%2": "",
		"/a, /b": "", "/" + strings.Repeat("x", 2000): "", "/%0a": "", `/"><script>`: "/%22%3E%3Cscript%3E",
	} {
		c.expectPrefix(http.Header{"X-Forwarded-Prefix": {value}}, prefix)
	}
	c.expectPrefix(nil, "")
	entries := partytest.LogEntries(t, "a request's prefix is ignored")
	check.ErrorIf(t, len(entries) != 1 || !strings.Contains(fmt.Sprint(entries[0]["hint"]), "trusted_proxies"), entries)
	// For nobody's request there is none.
	check.Equal(t, check.Value(wsgiparty.URLFor(t.Context(), operatorOf(c, "main"), "two:page", nil))(t), "/two/page")
}

func TestThePrefixOfWhoIsNoTrustedProxyIsNone(t *testing.T) {
	for _, trusted := range []string{"", "192.0.2.0/24 10.0.0.1"} {
		c := newPrefixTest(t, "{header.X-Forwarded-Prefix}", trusted)
		c.expectPrefix(http.Header{"X-Forwarded-Prefix": {"/pre"}}, "")
		entries := partytest.LogEntries(t, "a request's prefix is ignored")
		check.ErrorIf(t, len(entries) != 1 || entries[0]["header"] != "X-Forwarded-Prefix" || entries[0]["value"] != "/pre" ||
			!strings.Contains(fmt.Sprint(entries[0]["error"]), "did not come through one of the server's trusted_proxies"), entries)
	}
}

func TestThePrefixMayBeInAnotherHeader(t *testing.T) {
	c := newPrefixTest(t, "{header.x-ingress-path}", "127.0.0.1")
	c.expectPrefix(http.Header{"X-Ingress-Path": {"/ingress"}, "X-Forwarded-Prefix": {"/other"}}, "/ingress")
	c.expectPrefix(http.Header{"X-Forwarded-Prefix": {"/other"}}, "")
}

// TestAGuestsAskHasThePrefixThatItHandsBack asks from outside.
func TestAGuestsAskHasThePrefixThatItHandsBack(t *testing.T) {
	c := newPrefixTest(t, "{http.request.header.X-Forwarded-Prefix}", "127.0.0.1")
	for value, prefix := range map[string]string{
		"/pre/asker": "/pre", "/caf%C3%A9/asker": "/caf%C3%A9", "/asker": "", "": "", "/pre": "", "/pre/one": "", "asker": "", "/preasker": "", "/a/../b/asker": "", "//evil.example/asker": "", "/pre/asker/": "",
	} {
		header := http.Header{"X-Forwarded-Prefix": {value}}
		want := fmt.Sprintf(`{"answers": [%q], "replies": [{"guest": "two", "mount": %q, "status": "answered"}], "lasting": true}`, prefix+"/two/page", prefix+"/two")
		c.ExpectAsk(partytest.Asking{Key: c.key, Path: "/url", Body: `{"name": "two:page"}`, Header: header}, want)
		c.ExpectAsk(partytest.Asking{Key: c.key, Path: "/", Body: `[{"service": "url", "payload": {"name": "two:page"}}]`, Header: header}, "["+want+"]")
		c.ExpectAsk(partytest.Asking{Key: c.key, Path: "/remote", Header: header}, fmt.Sprintf(`{"answers": ["by-href"], "replies": [{"guest": "two", "mount": %q, "status": "answered"}]}`, prefix+"/two"))
		check.Equal(t, c.lastSent(), prefix+"/two", "%s: the application was sent", value)
	}
}

// TestAStaticPrefixIsNobodyElses has requests say another one.
func TestAStaticPrefixIsNobodyElses(t *testing.T) {
	c := newPrefixTest(t, "/static", "127.0.0.1")
	check.Equal(t, c.visit(partytest.Page(`{{urlFor . "two:page"}} {{urlFor "two:page"}}`), http.Header{"X-Forwarded-Prefix": {"/pre"}}), "/static/two/page /static/two/page")
	c.visit("/two/x", http.Header{"X-Forwarded-Prefix": {"/pre"}})
	check.Equal(t, c.lastSent(), "/static/two")
}
