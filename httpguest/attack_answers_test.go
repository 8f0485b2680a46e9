// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// evilValues would lead out of a mount, or do worse, where they came into a URL as
// they are.
var evilValues = []string{
	"..", "../..", "../evil", "/../evil", "..\\evil", "\\\\evil", "//evil", "///evil", "/evil", "%2e%2e", "%2e%2e%2fevil", "%252e%252e/evil", "%2f%2fevil",
	"\u2e2e", "\u2e2e/evil", "..;/evil", "..;x", ".", "", "a\r\nEvil: 1", "\r\n\r\nGET /evil HTTP/1.1", "a\nb", "a\x00b", "a\u0085b", "a\u2028b", "?evil", "#evil", "a b", "{evil}",
	"javascript:alert(1)", "http://evil/", "@evil", "x:y", "a/b", "\xff",
}

func TestURLsOfTemplatesStayBelowTheMount(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	a := partytest.NewApplication(t, "", nil)
	c.Site("wsgi_party " + party + " {\ninvite http://" + c.Address + "/a/__invite__/ as a\n" + partytest.Mounted("a", `
		url path  /p/{v}
		url label /p/x{.v}
		url list  /p{/v*}
		url semi  /p{;v}
		url query /p{?v}
		url hash  /p#{v}
		url at    /{v}
		url bare  {v}`, a) + "}")
	base := "http://" + c.Address + "/a/"
	expanded := 0
	for _, name := range []string{"path", "label", "list", "semi", "query", "hash", "at", "bare"} {
		for _, value := range evilValues {
			for _, v := range []any{value, []any{value, value}, []any{"x", value}, map[string]any{value: value}} {
				link, err := wsgiparty.URLFor(context.Background(), operatorOf(c, party), name, map[string]any{"v": v})
				if err != nil {
					continue
				}
				expanded++
				below, ok := strings.CutPrefix(link, base)
				parsed, parseErr := url.Parse(link)
				if !ok || parseErr != nil || parsed.Host != c.Address || strings.ContainsFunc(link, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
					t.Errorf("%s with %q: %q", name, v, link)
					continue
				}
				below, _, _ = strings.Cut(below, "?")
				below, _, _ = strings.Cut(below, "#")
				for range 3 { // whatever unescapes it how often
					for _, segment := range strings.FieldsFunc(below, func(r rune) bool { return r == '/' || r == '\\' }) {
						segment, _, _ = strings.Cut(segment, ";")
						check.ErrorIf(t, segment == ".." || segment == ".", "%s with %q: %q climbs", name, v, link)
					}
					check.ErrorIf(t, strings.HasPrefix(below, "/") || strings.Contains(below, "//"), "%s with %q: %q has an empty segment", name, v, link)
					if unescaped, err := url.PathUnescape(below); err == nil {
						below = unescaped
					}
				}
			}
		}
	}
	check.ErrorIf(t, expanded < 100, "only %d URLs were made", expanded)
}

// evilTemplates leave the mount by their form.
var evilTemplates = []string{
	"../evil", "/../evil", "/x/../../evil", "/%2e%2e/evil", "/.%2E/evil", "/%252e%252e/evil", "//evil", "///evil", "http://evil/", "https:evil", "javascript:alert(1)", "/\\evil", "\\\\evil", "/%5cevil",
	"/{+x}", "{+x}", "{#x}", "/..;/evil", "/x/..%2fevil", "/./x", "/a\r\nb", "/a%0d%0ab", "/a%00b", "/a b", "/x//evil", "{", "/{x", "{/x}/../evil", "mailto:a@b",
}

func TestManifestsWithHrefsOrURLsThatLeaveTheMountAreRefused(t *testing.T) {
	c := partytest.NewCaddy(t)
	for _, template := range evilTemplates {
		quoted := check.Value(json.Marshal(template))(t)
		for _, declared := range []string{`"urls": {"x": ` + string(quoted) + `}`, `"services": {"x": {"href": ` + string(quoted) + `}}`} {
			config := fmt.Sprintf(`{"admin": {"disabled": true}, "apps": {"http": {"http_port": 1, "servers": {"s": {"listen": [%q], "automatic_https": {"disable": true}, "routes": [{"handle": [
				{"handler": "wsgi_party", "name": %q, "invites": ["/__invite__/"], "routes": [{"handle": [{"handler": "wsgi_party_guest", %s}]}]}]}]}}}}}`, c.Address, partytest.FreshParty(), declared)
			if err := caddy.Load([]byte(config), true); err == nil || !strings.Contains(err.Error(), "template") && !strings.Contains(err.Error(), "byte") {
				t.Errorf("%s: error %v", declared, err)
			}
		}
	}
}

func TestAsksStayAtTheHrefWhateverThePayload(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	a := partytest.NewApplication(t, "", partytest.JSON("1"))
	other := partytest.NewApplication(t, "", partytest.JSON("2"))
	c.Site("wsgi_party " + party + " {\ninvite /a/__invite__/\n" + partytest.Mounted("a", `
		service path  /api/{v}
		service list  /api{/v*}
		service query /api{?v}
		timeout 5s`, a) + "handle {\nreverse_proxy " + other.Address() + "\n}\n}")
	for _, service := range []string{"path", "list", "query"} {
		for _, value := range evilValues {
			for _, v := range []any{value, []any{"x", value}} {
				_, _ = operatorOf(c, party).AskAround(context.Background(), service, map[string]any{"v": v})
			}
		}
	}
	seen := a.Requests()
	check.ErrorIf(t, len(seen) < 50, "only %d asks came", len(seen))
	for _, r := range seen {
		if !strings.HasPrefix(r.RequestURI, "/api/") && !strings.HasPrefix(r.RequestURI, "/api?") || r.Header.Get("Evil") != "" || strings.Contains(r.URL.Path, "..") && slices.Contains(strings.Split(r.URL.Path, "/"), "..") {
			t.Errorf("the application was asked %s %s", r.Method, r.RequestURI)
		}
	}
	for _, r := range other.Requests() {
		t.Errorf("another one was asked %s %s", r.Method, r.RequestURI)
	}
}

// TestHrefsLeadToNoOtherGuestsPrivatePaths: one at the root could have requests come
// there, from the party, if without a token.
func TestHrefsLeadToNoOtherGuestsPrivatePaths(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	root, blog := partytest.NewApplication(t, "", partytest.JSON("1")), partytest.NewApplication(t, "", partytest.JSON("2"))
	c.Site("wsgi_party " + party + " {\ninvite /__invite__/ /blog/__invite__/\n" + partytest.Mounted("blog", "service own /__invite__/own", blog) + `
		handle {
			wsgi_party_guest {
				service own  /__invite__/own
				service evil /blog/__invite__/own
				service case /blog/%5F_INVITE__/{x}
			}
			reverse_proxy ` + root.Address() + "\n}\n}")
	for _, service := range []string{"evil", "case"} {
		if err := c.Failure(party, service, map[string]any{"x": "own"}); !errors.Is(err, wsgiparty.ErrMisrouted) {
			t.Errorf("%s: error %v, want that it was misrouted", service, err)
		}
	}
	if got := c.Answered(party, "own", nil); len(got) != 2 || len(blog.Requests()) != 1 || len(root.Requests()) != 1 {
		t.Errorf("answers %s, %d and %d requests", got, len(blog.Requests()), len(root.Requests()))
	}
}

// evilLinks are no answers to the service url: neither of an application, whose are
// relative to its mount, nor of anybody else.
var evilLinks = []string{
	"javascript:alert(1)", "JavaScript:alert(1)", "java\tscript:alert(1)", " javascript:alert(1)", "data:text/html,x", "//evil", "///evil", "/\\evil", "\\\\evil", "/\t/evil", "http://evil/", "https://evil/",
	"/a\r\nb", "/../evil\r\n", "http:evil", "",
}

func TestURLAnswersThatLeadElsewhereAreRefused(t *testing.T) {
	var raw atomic.Value
	raw.Store("")
	partytest.TemplateApp(t)
	partytest.GuestWith(t, "module", map[string]wsgiparty.Handler{"url": func(context.Context, any) (any, error) {
		if link := raw.Load().(string); link != "-" {
			return link, nil
		}
		return nil, wsgiparty.ErrHighAndDry
	}})
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	var link atomic.Value
	a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		partytest.JSON(link.Load().(string))(w, r)
	})
	var constants strings.Builder
	for _, evil := range evilLinks {
		quoted, _ := json.Marshal(evil)
		fmt.Fprintf(&constants, "answer url `%s`\n", quoted)
	}
	c.Site("wsgi_party " + party + " {\ninvite /a/__invite__/ /constant/__invite__/ /module/__invite__/\n" +
		partytest.Mounted("a", "service url /api/url", a) + partytest.Mounted("constant", constants.String(), a) + `
		handle_path /module/* {
			test_app module
		}
		handle /page {
			templates {
				extensions {
					wsgi_party ` + party + `
				}
			}
			test_app template
		}
	}`)
	for _, evil := range append([]string{"/../evil", "/%2e%2e/evil", "x/../../evil", "mailto:a@b"}, evilLinks...) {
		quoted, _ := json.Marshal(evil)
		link.Store(string(quoted))
		raw.Store("-")
		answers, err := operatorOf(c, party).AskAround(context.Background(), wsgiparty.URLService, wsgiparty.URLRequest{Name: "home"})
		check.ErrorIf(t, err == nil || len(answers) > 0, "%q: an application's is the answer %q", evil, answers)
		if slices.Contains(evilLinks, evil) {
			raw.Store(evil)
		}
		got, err := wsgiparty.URLFor(context.Background(), operatorOf(c, party), "home", nil)
		check.ErrorIf(t, err == nil, "%q: URLFor gives %q", evil, got)
		status, body := c.Get("/page?t=" + url.QueryEscape(`{{urlFor "home"}}`))
		check.ErrorIf(t, status != 500 || body != "", "%q: the page is %d %q", evil, status, body)
	}
	link.Store(`"/home"`)
	raw.Store("-")
	check.Equal(t, check.Value(wsgiparty.URLFor(context.Background(), operatorOf(c, party), "home", nil))(t), "/a/home", "a good link")
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	trap := partytest.NewApplication(t, "", partytest.JSON(`"caught"`))
	target := trap.URL + "/x"
	redirect := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", target)
		if strings.HasPrefix(r.URL.Path, "/local") || r.Header.Get("Accept") == partytest.ManifestType {
			w.Header().Set("Location", "/trap/x")
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTemporaryRedirect)
		_, _ = io.WriteString(w, `"redirected"`)
	}
	a := partytest.NewApplication(t, "", redirect)
	c.Site("wsgi_party " + party + " {\ninvite /a/__invite__/ /b/__invite__/\n" +
		partytest.Mounted("a", "service far /far\nservice near /local\nservice get /far{?x}", a) + partytest.Mounted("b", "", a) +
		"handle_path /trap/* {\nreverse_proxy " + trap.Address() + "\n}\n}")
	for _, service := range []string{"far", "near", "get"} {
		if err := c.Failure(party, service, map[string]any{}); err != nil && !strings.Contains(err.Error(), "307") {
			t.Errorf("%s: error %v", service, err)
		}
	}
	partytest.Eventually(t, "the manifest's redirect is reported", func() bool {
		for _, e := range partytest.LogEntries(t, "invite not answered") {
			if e["party"] == party && e["guest"] == "b" && strings.Contains(fmt.Sprint(e["hint"]), "not followed") {
				return true
			}
		}
		for _, e := range partytest.LogEntries(t, "invite failed") {
			if e["party"] == party && e["guest"] == "b" && strings.Contains(fmt.Sprint(e["hint"]), "not followed") {
				return true
			}
		}
		return false
	})
	for _, r := range trap.Requests() {
		t.Errorf("%s %s was followed", r.Method, r.RequestURI)
	}
}

// endless writes until it cannot, and notes how much that was.
func endless(written *atomic.Int64, first string, chunk string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Accept") == partytest.ManifestType {
			w.Header().Set("Content-Type", partytest.ManifestType)
		}
		_, err := io.WriteString(w, first)
		for err == nil && r.Context().Err() == nil {
			var n int
			n, err = io.WriteString(w, chunk)
			written.Add(int64(n))
		}
	}
}

func TestAnswersAndManifestsOverTheLimitFail(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	var answered, manifests atomic.Int64
	quoted := func(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/endless":
			endless(&answered, `"`, strings.Repeat("x", 4096))(w, r)
		case "/limit":
			partytest.JSON(quoted(4096))(w, r)
		case "/over":
			partytest.JSON(quoted(4097))(w, r)
		case "/cut": // valid JSON, as far as it goes
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "12")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/short":
			w.Header().Set("Content-Length", "5")
			partytest.JSON("12")(w, r)
		case "/deepest":
			partytest.JSON(nested(64))(w, r)
		case "/deep":
			partytest.JSON(nested(65))(w, r)
		case "/escaped":
			partytest.JSON(`["\"[[[[\\", {"`+strings.Repeat("[", 100)+`\\\"": []}]`)(w, r)
		case "/two":
			partytest.JSON("1 2")(w, r)
		}
	})
	m := partytest.NewApplication(t, "", endless(&manifests, `{"services": {"x": {"answer": "`, strings.Repeat("x", 4096)))
	var site strings.Builder
	site.WriteString("wsgi_party " + party + " {\ninvite /a/__invite__/ /endless/__invite__/\ninvite_timeout 5s\n" + partytest.Mounted("endless", "", m))
	options := "max_answer 4096B\ntimeout 30s\n"
	for _, service := range []string{"endless", "limit", "over", "cut", "short", "deepest", "deep", "escaped", "two"} {
		options += "service " + service + " /" + service + "\n"
	}
	site.WriteString(partytest.Mounted("a", options, a))
	for guest, text := range map[string]string{
		"large": `{"services": {"x": {"answer": ` + quoted(64<<10) + `}}}`,
		"deep":  `{"services": {"x": {"answer": ` + nested(65) + `}}}`,
		"bomb":  nested(200_000),
	} {
		fmt.Fprintf(&site, "invite /%s/__invite__/\n%s", guest, partytest.Mounted(guest, "", partytest.NewApplication(t, text, nil)))
	}
	site.WriteString("}")
	c.Site(site.String())
	for service, want := range map[string]bool{
		"endless": false, "limit": true, "over": false, "cut": false, "short": false, "deepest": true, "deep": false, "escaped": true, "two": false,
	} {
		answers, err := operatorOf(c, party).AskAround(context.Background(), service, nil)
		got := err == nil && len(answers) == 1
		check.ErrorIf(t, got != want || strings.Contains(fmt.Sprint(err), "it took longer"), "%s: answers %.50s, error %v", service, answers, err)
	}
	for _, guest := range []string{"large", "deep", "bomb", "endless"} {
		partytest.Eventually(t, guest+"'s manifest is refused", func() bool {
			for _, e := range partytest.LogEntries(t, "invite failed") {
				if e["party"] == party && e["guest"] == guest {
					return true
				}
			}
			return false
		})
	}
	_, ok := operatorOf(c, party).Partyline().Services()["x"]
	check.ErrorIf(t, ok, "a manifest over the limit was taken")
	// What is beyond the limit is in the buffers of sockets and proxies at most.
	if n := answered.Load(); n > 16<<20 {
		t.Errorf("%d bytes of an endless answer were read", n)
	}
	if n := manifests.Load(); n > 64<<20 {
		t.Errorf("%d bytes of endless manifests were read", n)
	}
}

func TestABadPayloadDoesNotMuteAGuest(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch string(body) {
		case `"400"`:
			w.WriteHeader(400)
		case `"500"`:
			w.WriteHeader(500)
		case `"nojson"`:
			partytest.JSON("{")(w, r)
		case `"long"`:
			partytest.JSON(`"`+strings.Repeat("x", 5000)+`"`)(w, r)
		case `"404"`:
			w.WriteHeader(404)
		case `"429"`:
			w.WriteHeader(429)
		case `"503"`:
			w.WriteHeader(503)
		case `"slow"`:
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second):
			}
		default:
			partytest.JSON("1")(w, r)
		}
	})
	c.Site("wsgi_party " + party + " {\ninvite /a/__invite__/\n" + partytest.Mounted("a", "service try /try\nservice muted /muted\nmax_answer 4096B\ntimeout 5s", a) + "}")
	for _, payload := range []string{"400", "500", "nojson", "long", "404", "429"} {
		for range 2 * httpguest.BreakerFailures {
			_ = c.Failure(party, "try", payload)
		}
		if answers, err := operatorOf(c, party).AskAround(context.Background(), "try", "good"); err != nil || len(answers) != 1 {
			t.Errorf("after %s: answers %s, error %v", payload, answers, err)
		}
	}
	// An asker that waits for no answer says nothing of the guest.
	for range 2 * httpguest.BreakerFailures {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		_, _ = operatorOf(c, party).AskAround(ctx, "try", "slow")
		cancel()
	}
	if answers, err := operatorOf(c, party).AskAround(context.Background(), "try", "good"); err != nil || len(answers) != 1 {
		t.Errorf("after askers in a hurry: answers %s, error %v", answers, err)
	}
	// What does mute it mutes one service only.
	for range httpguest.BreakerFailures {
		_ = c.Failure(party, "muted", "503")
	}
	before := len(a.Requests())
	_ = c.Failure(party, "muted", "good")
	check.Equal(t, len(a.Requests()), before, "the muted service was asked")
	if answers, err := operatorOf(c, party).AskAround(context.Background(), "try", "good"); err != nil || len(answers) != 1 {
		t.Errorf("another service: answers %s, error %v", answers, err)
	}
}

func TestAnotherRouteCannotAnswerForAGuest(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	a, other := partytest.NewApplication(t, "", partytest.JSON(`"a"`)), partytest.NewApplication(t, "", partytest.JSON(`"other"`))
	c.Site("wsgi_party " + party + ` {
		invite /a/__invite__/ /__invite__/
		handle_path /a/taken* {
			reverse_proxy ` + other.Address() + `
		}
		handle /a/static {
			respond ` + "`\"static\"` 200" + `
		}
		` + partytest.Mounted("a", "service own /own\nservice taken /taken\nservice static /static", a) + `
		handle {
			wsgi_party_guest {
				service into /a/own
				service root /own
			}
			reverse_proxy ` + other.Address() + `
		}
	}`)
	for _, service := range []string{"taken", "static", "into"} {
		if err := c.Failure(party, service, nil); !errors.Is(err, wsgiparty.ErrMisrouted) {
			t.Errorf("%s: error %v, want that it was misrouted", service, err)
		}
	}
	for service, want := range map[string]string{"own": `"a"`, "root": `"other"`} {
		check.Equal(t, fmt.Sprintf("%s", c.Answered(party, service, nil)), "["+want+"]", service)
	}
}
