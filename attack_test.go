// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

// withHeaderAliases has Caddy let headers with "_" and "." in that its users' own
// applications may expect.
func withHeaderAliases(t testing.TB, config []byte) []byte {
	t.Helper()
	var decoded map[string]any
	if err := json.Unmarshal(config, &decoded); err != nil {
		t.Fatal(err)
	}
	for _, server := range decoded["apps"].(map[string]any)["http"].(map[string]any)["servers"].(map[string]any) {
		server := server.(map[string]any)
		server["expected_underscore_headers"] = []string{"party_*", "x_*", "X_forwarded-Prefix", "X-Forwarded_prefix", "X_forwarded.prefix", "X.forwarded_prefix"}
		server["expected_dot_headers"] = []string{"party.*", "x.*", "X-Forwarded.prefix"}
	}
	changed, err := json.Marshal(decoded)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// startPHP starts php-fpm and returns where it listens.
func startPHP(t testing.TB) (socket string) {
	t.Helper()
	debian.Install(t, "php-fpm")
	binaries, err := filepath.Glob("/usr/sbin/php-fpm*")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "fpm") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	config := "[global]\ndaemonize = no\nerror_log = " + dir + "/log\n[www]\nlisten = " + socket + "\npm = static\npm.max_children = 4\n"
	arguments := []string{"--nodaemonize", "--fpm-config", dir + "/conf", "--no-php-ini"}
	if os.Getuid() == 0 {
		config += "user = root\ngroup = root\n"
		arguments = append(arguments, "--allow-to-run-as-root")
	}
	if err := os.WriteFile(dir+"/conf", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	fpm := exec.Command(binaries[len(binaries)-1], arguments...)
	if err := fpm.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = fpm.Process.Signal(os.Interrupt)
		_ = fpm.Wait()
	})
	partytest.Eventually(t, "php-fpm listens", func() bool {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return socket
}

// scripts writes PHP scripts and returns their directory.
func scripts(t testing.TB, byName map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range byName {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("<?php\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// reservedSeen are the values of all headers and trailers that an application may
// take for the party's.
type reservedSeen struct{ Token, Prefix []string }

func reservedIn(headers ...http.Header) (seen reservedSeen) {
	for _, h := range headers {
		for name, values := range h {
			switch strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(name)) {
			case "party-token":
				seen.Token = append(seen.Token, values...)
			case "x-forwarded-prefix":
				seen.Prefix = append(seen.Prefix, values...)
			}
		}
	}
	return seen
}

// TestForgedHeadersDoNotReachApplications has the same applications at /http and /php
// behind a guest handler, and at /open/http and /open/php without one: an attack that
// fails there, too, would show nothing.
func TestForgedHeadersDoNotReachApplications(t *testing.T) {
	socket := startPHP(t)
	root := scripts(t, map[string]string{"index.php": `
		$seen = ["Token" => [], "Prefix" => []];
		foreach ($_SERVER as $name => $value) {
			if ($name == "HTTP_PARTY_TOKEN") $seen["Token"][] = $value;
			if ($name == "HTTP_X_FORWARDED_PREFIX") $seen["Prefix"][] = $value;
		}
		echo json_encode($seen);`})
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(reservedIn(r.Header, r.Trailer))
	})
	http1, php := "reverse_proxy "+a.Address(), "root "+root+"\nphp_fastcgi unix/"+socket
	config := c.Adapt("ADDRESS {\nwsgi_party " + partytest.FreshParty() + ` {
		invite /http/__invite__/ /php/__invite__/
		handle_path /http/* {
			wsgi_party_guest {
				answer ping pong
			}
			` + http1 + `
		}
		handle_path /php/* {
			wsgi_party_guest {
				answer ping pong
			}
			` + php + `
		}
		handle_path /open/http/* {
			` + http1 + `
		}
		handle_path /open/php/* {
			` + php + `
		}
	}
	}`)
	if err := caddy.Load(withHeaderAliases(t, config), true); err != nil {
		t.Fatal(err)
	}
	type attack struct{ head, trailer string }
	attacks := map[string]attack{
		"as they are":       {"Party-Token: forged\r\nX-Forwarded-Prefix: forged\r\n", ""},
		"several of one":    {"Party-Token: forged\r\nParty-Token: again\r\n", ""},
		"announced trailer": {"Trailer: Party-Token, x_forwarded.prefix\r\n", "Party-Token: forged\r\nx_forwarded.prefix: forged\r\n"},
		"late trailers":     {"Trailer: X-Sum\r\n", "X-Sum: 1\r\nPARTY_TOKEN: forged\r\nparty.token: forged\r\n"},
	}
	for _, name := range []string{
		"Party_Token", "PARTY_TOKEN", "PARTY.TOKEN", "party.token", "X_Forwarded_Prefix", "X.FORWARDED.PREFIX",
		"X-Forwarded_Prefix", "X_Forwarded-Prefix", "X-Forwarded.Prefix", "X_Forwarded.Prefix", "X.Forwarded_Prefix",
	} {
		attacks[name] = attack{name + ": forged\r\n", ""}
	}
	send := func(path string, a attack) (seen reservedSeen) {
		request := "GET " + path + " HTTP/1.1\r\nHost: " + c.Address + "\r\nConnection: close\r\n" + a.head
		if a.trailer != "" {
			request += "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n" + a.trailer
		}
		response := c.Raw(request + "\r\n")
		status, body := response.Status, response.Body
		if err := json.Unmarshal([]byte(body), &seen); status != 200 || err != nil {
			t.Fatalf("%s: status %d, %v, body %q", path, status, err, body)
		}
		return seen
	}
	for name, attack := range attacks {
		for _, path := range []string{"/http/", "/php/"} {
			succeeds := false
			// FastCGI takes one of two names that become the same at random. Caddy by
			// itself drops what is written with "-" where it lets "_" or "." pass.
			for range 32 {
				if seen := send("/open"+path, attack); len(seen.Token)+len(seen.Prefix) > 0 {
					succeeds = true
					break
				}
			}
			if !succeeds && !(path == "/php/" && attack.trailer != "") && strings.ContainsAny(attack.head+attack.trailer, "_.") {
				t.Errorf("%s%s succeeds nowhere", path, name)
			}
			for range 4 {
				seen := send(path, attack)
				if len(seen.Token) > 0 || !slices.Equal(seen.Prefix, []string{strings.TrimSuffix(path, "/")}) {
					t.Errorf("%s, %s: the application has %+v", path, name, seen)
				}
			}
		}
	}

	// Named in Connection, the party's own header would be dropped by the proxy.
	for _, path := range []string{"/http/", "/php/"} {
		seen := send(path, attack{"Connection: X-Forwarded-Prefix, Party-Token\r\n", ""})
		if !slices.Equal(seen.Prefix, []string{strings.TrimSuffix(path, "/")}) {
			t.Errorf("%s: named in Connection, the prefix is %q", path, seen.Prefix)
		}
	}
}

func TestPrivatePathsAreHiddenFromOutside(t *testing.T) {
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", nil)
	c.Site("wsgi_party " + partytest.FreshParty() + " {\ninvite /a/__invite__/ /__invite__/\n" + partytest.Mounted("a", "answer ping pong", a) + `
		handle {
			wsgi_party_guest {
				answer ping pong
			}
			reverse_proxy ` + a.Address() + "\n}\n}")
	targets := []string{
		"/a/__invite__", "/a/__invite__/", "/A/__Invite__/", "/a/__INVITE__/x", "//a/__invite__/", "/a//__invite__", "/a/__invite__//x", "///__invite__/",
		"/a%2f__invite__/", "/a%2F__invite__%2Fx", "/a/%5f_invite__/", "/%61/%5F%5Finvite%5f%5f", "/a/__%69nvite__/", "/a%5c__invite__", "/%5c__invite__",
		"/a/./__invite__/", "/a/%2e/__invite__/", "/a/x/../__invite__/", "/a/x/%2e%2e/__invite__", "/a/x/%2E./__invite__", "/x/../a/__invite__/", "/a/%2e%2e/__invite__/", "/x%2f..%2f__invite__",
		"/a/__invite__;x", "/a/__invite__;x=1/y", "/a;x/__invite__/", "/a/__invite__%3bx/", "/a/x/..;/__invite__/", "/;/__invite__", "/a/.;x/__invite__",
		"/a/__invite__.", "/a/__invite__...", "/a/__invite__./x", "/a./__invite__/", "/a/__invite__%2e", "/a/__invite__%20", "/a/__invite__%0a", "/__invite__/%0A", "/a/__invite__%00",
		"/a/__invite__.json", "/a/__invite__.php/x", "/a/index.php/__invite__/", "/index.php/__invite__",
		"//host/a/__invite__/", "http://" + c.Address + "/a/__invite__/", "/a/__invite__/?x", "/a/__invite__?/..",
	}
	for _, target := range targets {
		for _, method := range []string{"GET", "POST", "OPTIONS"} {
			response := c.Raw(method + " " + target + " HTTP/1.1\r\nHost: " + c.Address + "\r\nAccept: " + partytest.ManifestType + "\r\nConnection: close\r\n\r\n")
			status, body := response.Status, response.Body
			if status != 404 || body != "" {
				t.Errorf("%s %s: %d %q, want 404", method, target, status, body)
			}
		}
	}
	for _, r := range a.Requests() {
		t.Errorf("%s %s came to the application", r.Method, r.RequestURI)
	}
	if status, body := c.Get("/a/invite"); status != 200 || len(a.Requests()) != 1 {
		t.Errorf("a public path: %d %q", status, body)
	}
}

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
				link, err := URLFor(context.Background(), operatorOf(c, party), name, map[string]any{"v": v})
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
						if segment == ".." || segment == "." {
							t.Errorf("%s with %q: %q climbs", name, v, link)
						}
					}
					if strings.HasPrefix(below, "/") || strings.Contains(below, "//") {
						t.Errorf("%s with %q: %q has an empty segment", name, v, link)
					}
					if unescaped, err := url.PathUnescape(below); err == nil {
						below = unescaped
					}
				}
			}
		}
	}
	if expanded < 100 {
		t.Errorf("only %d URLs were made", expanded)
	}
}

// evilTemplates leave the mount by their form.
var evilTemplates = []string{
	"../evil", "/../evil", "/x/../../evil", "/%2e%2e/evil", "/.%2E/evil", "/%252e%252e/evil", "//evil", "///evil", "http://evil/", "https:evil", "javascript:alert(1)", "/\\evil", "\\\\evil", "/%5cevil",
	"/{+x}", "{+x}", "{#x}", "/..;/evil", "/x/..%2fevil", "/./x", "/a\r\nb", "/a%0d%0ab", "/a%00b", "/a b", "/x//evil", "{", "/{x", "{/x}/../evil", "mailto:a@b",
}

func TestManifestsWithHrefsOrURLsThatLeaveTheMountAreRefused(t *testing.T) {
	c := partytest.NewCaddy(t)
	for _, template := range evilTemplates {
		quoted, err := json.Marshal(template)
		if err != nil {
			t.Fatal(err)
		}
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
	if len(seen) < 50 {
		t.Errorf("only %d asks came", len(seen))
	}
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
		if err := c.Failure(party, service, map[string]any{"x": "own"}); !errors.Is(err, ErrMisrouted) {
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
	partytest.GuestWith(t, "module", map[string]Handler{"url": func(context.Context, any) (any, error) {
		if link := raw.Load().(string); link != "-" {
			return link, nil
		}
		return nil, ErrHighAndDry
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
		if answers, err := operatorOf(c, party).AskAround(context.Background(), URLService, URLRequest{Name: "home"}); err == nil || len(answers) > 0 {
			t.Errorf("%q: an application's is the answer %q", evil, answers)
		}
		if slices.Contains(evilLinks, evil) {
			raw.Store(evil)
		}
		if got, err := URLFor(context.Background(), operatorOf(c, party), "home", nil); err == nil {
			t.Errorf("%q: URLFor gives %q", evil, got)
		}
		if status, body := c.Get("/page?t=" + url.QueryEscape(`{{urlFor "home"}}`)); status != 500 || body != "" {
			t.Errorf("%q: the page is %d %q", evil, status, body)
		}
	}
	link.Store(`"/home"`)
	raw.Store("-")
	if got, err := URLFor(context.Background(), operatorOf(c, party), "home", nil); got != "/a/home" || err != nil {
		t.Errorf("a good link: %q, %v", got, err)
	}
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
		if got := err == nil && len(answers) == 1; got != want || strings.Contains(fmt.Sprint(err), "it took longer") {
			t.Errorf("%s: answers %.50s, error %v", service, answers, err)
		}
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
	if _, ok := operatorOf(c, party).Partyline().Services()["x"]; ok {
		t.Error("a manifest over the limit was taken")
	}
	// What is beyond the limit is in the buffers of sockets and proxies at most.
	if n := answered.Load(); n > 16<<20 {
		t.Errorf("%d bytes of an endless answer were read", n)
	}
	if n := manifests.Load(); n > 64<<20 {
		t.Errorf("%d bytes of endless manifests were read", n)
	}
}

// TestUnusableKeysFailTheLoad says what to write, and never the key.
func TestUnusableKeysFailTheLoad(t *testing.T) {
	good := partytest.Key(t, "a")
	t.Setenv("ATTACK_SHARED", good)
	t.Setenv("ATTACK_EMPTY", "")
	t.Setenv("ATTACK_BLANK", "   ")
	short := good[:31]
	t.Setenv("ATTACK_SHORT", short)
	t.Setenv("ATTACK_BROKEN", good+"\n"+good)
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(short+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", nil)
	for name, each := range map[string]struct {
		a, b  string
		write []string
	}{
		"empty":                    {"{env.ATTACK_EMPTY}", "", []string{`guest "a"`, "{env.ATTACK_EMPTY}, is empty", "openssl rand -base64 32"}},
		"unset":                    {"{env.ATTACK_UNSET}", "", []string{`guest "a"`, "the variable ATTACK_UNSET is unset"}},
		"blank":                    {"{env.ATTACK_BLANK}", "", []string{"empty"}},
		"no such file":             {"{file." + file + ".missing}", "", []string{"empty: ", "no such file"}},
		"short":                    {"{env.ATTACK_SHORT}", "", []string{"has 31 bytes, and needs at least 32", "openssl rand -base64 32"}},
		"short in a file":          {"{file." + file + "}", "", []string{"has 31 bytes, and needs at least 32", "openssl rand -base64 32"}},
		"short second":             {"{env.a_PARTY_KEY} {env.ATTACK_SHORT}", "", []string{"key 2", "has 31 bytes, and needs at least 32", "openssl rand -base64 32"}},
		"with a line break":        {"{env.ATTACK_BROKEN}", "", []string{"line break"}},
		"literal":                  {good, "", []string{"placeholder", "{env."}},
		"literal from the adapter": {"{$a_PARTY_KEY}", "", []string{"placeholder", "{env."}},
		"literal with more":        {"{env.a_PARTY_KEY}" + good, "", []string{"placeholder", "{env."}},
		"literal before":           {good + "{env.a_PARTY_KEY}", "", []string{"placeholder", "{env."}},
		"shared":                   {"{env.a_PARTY_KEY}", "{env.ATTACK_SHARED}", []string{`"a"`, `"b"`, "its own", "openssl rand"}},
	} {
		options := func(keys string) string {
			if keys == "" {
				return "answer ping pong"
			}
			return "answer ping pong\nkey " + keys
		}
		caddyfile := "ADDRESS {\nwsgi_party " + partytest.FreshParty() + " {\ninvite /a/__invite__/ /b/__invite__/\n" + partytest.Mounted("a", options(each.a), a) + partytest.Mounted("b", options(each.b), a) + "}\n}"
		adapted, _, err := c.TryAdapt(caddyfile)
		if err == nil {
			err = caddy.Load(adapted, true)
		}
		if err == nil {
			t.Errorf("%s: the config loads", name)
			continue
		}
		for _, part := range each.write {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error %q does not say %s", name, err, part)
			}
		}
		if strings.Contains(err.Error(), short) {
			t.Errorf("%s: the error has the key", name)
		}
	}
	if strings.Contains(partytest.Logged(), short) {
		t.Error("the log has the key")
	}
}

// TestGuestsOfOneNameInTwoPartiesShareNoKey: a token of one would be good for the other.
func TestGuestsOfOneNameInTwoPartiesShareNoKey(t *testing.T) {
	key := partytest.Key(t, "a")
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", nil)
	one, two := partytest.FreshParty(), partytest.FreshParty()
	config := func(path string) string {
		return "invite /" + path + "/__invite__/ as blog\n" + partytest.Mounted(path, "answer ping pong\nkey {env.a_PARTY_KEY}", a) + "}\n"
	}
	err := c.TryLoad("ADDRESS {\nwsgi_party /a/* " + one + " {\n" + config("a") + "wsgi_party /b/* " + two + " {\n" + config("b") + "}")
	if err == nil || !strings.Contains(err.Error(), "its own") || !strings.Contains(err.Error(), one) || !strings.Contains(err.Error(), two) || strings.Contains(err.Error(), key) {
		t.Errorf("error %v", err)
	}
}

func signed(t testing.TB, key, guest string, at time.Time, path ...token.Ask) string {
	t.Helper()
	text, err := partytest.Keys(t, key).Sign(token.Token{Guest: guest, Method: "POST", URI: "/x", Path: path}, at)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestAStolenKeyIsOnlyItsOwnGuests(t *testing.T) {
	keyA, keyB := partytest.Key(t, "a"), partytest.Key(t, "b")
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	a, b := partytest.NewApplication(t, "", partytest.JSON(`"a"`)), partytest.NewApplication(t, "", partytest.JSON(`"b"`))
	c.TwoGuests(party, "service who /who", "service who /who", a, b)

	// Whose key it is, that guest asks, and is not asked.
	for key, want := range map[string]string{keyA: `["b"]`, keyB: `["a"]`} {
		status, answer := c.AskAs(key, "who", "null", "")
		if got, _ := json.Marshal(answer.Answers); status != 200 || string(got) != want {
			t.Errorf("status %d, answers %s, want %s", status, got, want)
		}
	}
	// With it nobody makes, or passes on, the other's tokens.
	for name, text := range map[string]string{
		"for the other, signed with this key":       signed(t, keyA, "b", time.Now()),
		"for the other, signed with the other's":    signed(t, keyB, "b", time.Now()),
		"for this one, signed with the other's key": signed(t, keyB, "a", time.Now()),
	} {
		if status, _ := c.AskAs(keyA, "who", "null", text); status != 400 {
			t.Errorf("a token %s: status %d, want 400", name, status)
		}
	}
	for _, r := range b.Requests() {
		if _, err := partytest.Token(r, "b", partytest.Keys(t, keyB)); err != nil {
			t.Errorf("the token of the guest's own key: %v", err)
		}
		if _, err := partytest.Token(r, "b", partytest.Keys(t, keyA)); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("a token of the other's key: %v", err)
		}
	}
	if len(b.Requests()) != 1 {
		t.Errorf("%d requests", len(b.Requests()))
	}
	for _, key := range []string{"", keyA[:len(keyA)-1], keyA + "x", strings.ToLower(keyA), "a", "null"} {
		if status, _ := c.AskAs(key, "who", "null", ""); status != 401 {
			t.Errorf("key %q: status %d, want 401", key, status)
		}
	}
}

func TestForgedTokensAreRefusedWhereGuestsAsk(t *testing.T) {
	key, _ := partytest.Key(t, "a"), partytest.Key(t, "b")
	c := partytest.NewCaddy(t)
	a, b := partytest.NewApplication(t, "", nil), partytest.NewApplication(t, "", partytest.JSON("1"))
	c.TwoGuests(partytest.FreshParty(), "answer ping pong", "service who /who", a, b)
	good := signed(t, key, "a", time.Now(), token.Ask{Guest: "b", Service: "other"})
	parts := strings.Split(good, ".")
	reheaded := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + parts[1] + "."
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	hs512 := strings.TrimSuffix(reheaded(`{"alg":"HS512","typ":"JWT"}`), ".")
	mac := hmac.New(sha512.New, []byte(key))
	mac.Write([]byte(hs512))
	hs512 += "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	altered := base64.RawURLEncoding.EncodeToString(bytes.Replace(payload, []byte(`"other"`), []byte(`"x"`), 1))
	for name, text := range map[string]string{
		"old":                 signed(t, key, "a", time.Now().Add(-2*time.Minute)),
		"of the future":       signed(t, key, "a", time.Now().Add(2*time.Minute)),
		"altered":             parts[0] + "." + altered + "." + parts[2],
		"altered signature":   parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"unsigned":            parts[0] + "." + parts[1] + ".",
		"alg none":            reheaded(`{"alg":"none","typ":"JWT"}`),
		"alg None, signed":    reheaded(`{"alg":"None","typ":"JWT"}`) + parts[2],
		"alg none, signed":    reheaded(`{"alg":"none","typ":"JWT"}`) + parts[2],
		"alg RS256":           reheaded(`{"alg":"RS256","typ":"JWT"}`) + parts[2],
		"alg HS512, signed":   hs512,
		"without an alg":      reheaded(`{"typ":"JWT"}`) + parts[2],
		"no token at all":     "x",
		"two in one":          good + "," + good,
		"without a signature": parts[0] + "." + parts[1],
		"too long":            good + strings.Repeat("A", 9000),
	} {
		if status, _ := c.AskAs(key, "who", "null", text); status != 400 {
			t.Errorf("%s: status %d, want 400", name, status)
		}
	}
	if n := len(b.Requests()); n != 0 {
		t.Errorf("%d asks came of forged tokens", n)
	}
	if status, answer := c.AskAs(key, "who", "null", good); status != 200 || len(answer.Answers) != 1 {
		t.Errorf("a good token: status %d, %+v", status, answer)
	}
}

// TestGuestsThatAskEachOtherForEverEnd has them ask for another service each time,
// and hand back their tokens or drop them. However few or many asks they take at once.
func TestGuestsThatAskEachOtherForEverEnd(t *testing.T) {
	keyA, keyB := partytest.Key(t, "a"), partytest.Key(t, "b")
	for name, test := range map[string]struct {
		handsBack bool
		maxAsks   int
	}{
		"with their tokens":                 {true, defaultMaxAsks},
		"without them":                      {false, defaultMaxAsks},
		"without them, one at once":         {false, 1},
		"without them, three at once":       {false, 3},
		"without them, six at once":         {false, 6},
		"without them, twenty-four at once": {false, 24},
	} {
		t.Run(name, func(t *testing.T) {
			handsBack, ofOne := test.handsBack, newSlots(test.maxAsks, 0, nil).ofOne
			c := partytest.NewCaddy(t)
			var depth, deepest, asks, refused, tooDeep atomic.Int64
			asking := func(key string) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					asks.Add(1)
					now := depth.Add(1)
					defer depth.Add(-1)
					for {
						seen := deepest.Load()
						if now <= seen || deepest.CompareAndSwap(seen, now) {
							break
						}
					}
					header := http.Header{"Authorization": {"Bearer " + key}}
					if handsBack {
						header["Party-Token"] = r.Header["Party-Token"]
					}
					var n int
					_, _ = fmt.Sscanf(r.URL.Path, "/s%d", &n)
					status, body, err := c.TryDo(context.WithoutCancel(r.Context()), "POST", fmt.Sprintf("/ask/s%d", (n+1)%12), "null", header)
					switch {
					case status == http.StatusLoopDetected:
						tooDeep.Add(1)
					case err != nil || strings.Contains(body, `"failed"`):
						refused.Add(1)
					}
					w.WriteHeader(http.StatusNoContent)
				}
			}
			a, b := partytest.NewApplication(t, "", asking(keyA)), partytest.NewApplication(t, "", asking(keyB))
			options := fmt.Sprintf("timeout 1s\nmax_asks %d\n", test.maxAsks)
			for i := range 12 {
				options += fmt.Sprintf("service s%d /s%d\n", i, i)
			}
			party := partytest.FreshParty()
			c.TwoGuests(party, options, options, a, b)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			_, _ = operatorOf(c, party).AskAround(ctx, "s0", nil)
			partytest.Eventually(t, "all asks have ended", func() bool { return depth.Load() == 0 })
			if err := ctx.Err(); err != nil {
				t.Errorf("it went on: %v", err)
			}
			if n := deepest.Load(); n > 2*int64(ofOne+1)+2 {
				t.Errorf("%d asks were under way at once", n)
			}
			switch {
			case handsBack && (tooDeep.Load() == 0 || asks.Load() > 40):
				t.Errorf("%d asks, %d of them too deep", asks.Load(), tooDeep.Load())
			case !handsBack && refused.Load() == 0:
				t.Errorf("%d asks, none of them refused", asks.Load())
			}
		})
	}
}

// TestGuestsThatAskForWhatTheyAreAskedForEnd, as in one process.
func TestGuestsThatAskForWhatTheyAreAskedForEnd(t *testing.T) {
	keyA, keyB := partytest.Key(t, "a"), partytest.Key(t, "b")
	c := partytest.NewCaddy(t)
	asking := func(key string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = c.Do("POST", "/ask/who", "null", http.Header{"Authorization": {"Bearer " + key}, "Party-Token": r.Header["Party-Token"]})
			w.WriteHeader(http.StatusNoContent)
		}
	}
	a, b := partytest.NewApplication(t, "", asking(keyA)), partytest.NewApplication(t, "", asking(keyB))
	party := partytest.FreshParty()
	c.TwoGuests(party, "service who /who", "service who /who", a, b)
	if answers, err := operatorOf(c, party).AskAround(context.Background(), "who", nil); err != nil || len(answers) > 0 {
		t.Errorf("answers %s, error %v", answers, err)
	}
	if n, m := len(a.Requests()), len(b.Requests()); n != 2 || m != 2 { // by the caller and by the other
		t.Errorf("a was asked %d times, b %d times, want each twice", n, m)
	}
}

func TestOneAskerCannotFillAGuest(t *testing.T) {
	keyA, keyB := partytest.Key(t, "a"), partytest.Key(t, "b")
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	held, waiting, let := partytest.NewHeld(t)
	other := partytest.NewApplication(t, "", nil)
	c.Site("wsgi_party " + party + " {\ninvite /a/__invite__/ /b/__invite__/ /c/__invite__/\n" +
		partytest.Mounted("a", "key {env.a_PARTY_KEY}\nanswer ping pong", other) + partytest.Mounted("b", "key {env.b_PARTY_KEY}\nanswer ping pong", other) +
		partytest.Mounted("c", "timeout 9s\nservice held /held\nservice quick /quick", held) + "}\nhandle_path /ask/* {\nwsgi_party_ask " + party + "\n}")
	var group sync.WaitGroup
	for range 60 {
		group.Go(func() {
			if _, answer := c.AskAs(keyA, "held", "null", ""); len(answer.Replies) != 1 || answer.Replies[0].Status == "failed" {
				t.Errorf("an ask: %+v", answer)
			}
		})
	}
	partytest.Eventually(t, "three quarters of the guest's asks are under way", func() bool { return waiting.Load() == 48 })
	if status, answer := c.AskAs(keyB, "quick", "null", ""); status != 200 || len(answer.Answers) != 1 {
		t.Errorf("another asker: %d %+v", status, answer)
	}
	if n := waiting.Load(); n != 48 {
		t.Errorf("%d asks of the asker are under way", n)
	}
	let()
	group.Wait()
	if status, answer := c.AskAs(keyA, "quick", "null", ""); status != 200 || len(answer.Answers) != 1 {
		t.Errorf("the asker, later: %d %+v", status, answer)
	}
}

func TestAllAskersTogetherCannotFillAGuestFurther(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	held, waiting, let := partytest.NewHeld(t)
	c.Site("wsgi_party " + party + " {\ninvite /c/__invite__/\n" + partytest.Mounted("c", "timeout 9s\nservice held /held", held) + "}")
	var group sync.WaitGroup
	for i := range defaultMaxAsks + 10 {
		operator := operatorOf(c, party).Partyline().Operator([]string{"a", "b", ""}[i%3])
		group.Go(func() {
			if answers, err := operator.AskAround(context.Background(), "held", nil); err != nil || len(answers) != 1 {
				t.Errorf("%v %v", answers, err)
			}
		})
	}
	partytest.Eventually(t, "all slots are taken", func() bool { return waiting.Load() == defaultMaxAsks })
	time.Sleep(50 * time.Millisecond) // for others to come, too
	if n := waiting.Load(); n != defaultMaxAsks {
		t.Errorf("%d asks are under way", n)
	}
	let()
	group.Wait()
}

// TestAsksThatNobodyWaitsForStillCount has an application behind a handler that, as
// php_fastcgi, does not end a request when nobody waits for it.
func TestAsksThatNobodyWaitsForStillCount(t *testing.T) {
	key, _ := partytest.Key(t, "a"), partytest.Key(t, "b")
	hold := make(chan struct{})
	var running atomic.Int64
	partytest.App(t, "stubborn", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		running.Add(1)
		defer running.Add(-1)
		<-hold
		return nil
	})
	c := partytest.NewCaddy(t)
	t.Cleanup(sync.OnceFunc(func() { close(hold) }))
	party := partytest.FreshParty()
	a := partytest.NewApplication(t, "", nil)
	c.Site("wsgi_party " + party + " {\ninvite /a/__invite__/ /b/__invite__/\n" + partytest.Mounted("a", "key {env.a_PARTY_KEY}\nanswer ping pong", a) + `
		handle_path /b/* {
			wsgi_party_guest {
				service held /held
				timeout 10m
			}
			test_app stubborn
		}
	}
	handle_path /ask/* {
		wsgi_party_ask ` + party + "\n}")
	for more := 4; more > 0; {
		if running.Load() == 48 {
			more--
		}
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		_, body, err := c.TryDo(ctx, "POST", "/ask/held", "null", http.Header{"Authorization": {"Bearer " + key}})
		cancel()
		if err == nil {
			t.Errorf("an ask: %s", body)
		}
	}
	if n := running.Load(); n != 48 {
		t.Errorf("%d are under way", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	operator := operatorOf(c, party).Partyline().Operator("a")
	if answers, err := operator.AskAround(ctx, "held", nil); err == nil || running.Load() != 48 {
		t.Errorf("one more: %v, with %d under way", answers, running.Load())
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
		for range 2 * breakerFailures {
			_ = c.Failure(party, "try", payload)
		}
		if answers, err := operatorOf(c, party).AskAround(context.Background(), "try", "good"); err != nil || len(answers) != 1 {
			t.Errorf("after %s: answers %s, error %v", payload, answers, err)
		}
	}
	// An asker that waits for no answer says nothing of the guest.
	for range 2 * breakerFailures {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		_, _ = operatorOf(c, party).AskAround(ctx, "try", "slow")
		cancel()
	}
	if answers, err := operatorOf(c, party).AskAround(context.Background(), "try", "good"); err != nil || len(answers) != 1 {
		t.Errorf("after askers in a hurry: answers %s, error %v", answers, err)
	}
	// What does mute it mutes one service only.
	for range breakerFailures {
		_ = c.Failure(party, "muted", "503")
	}
	before := len(a.Requests())
	_ = c.Failure(party, "muted", "good")
	if len(a.Requests()) != before {
		t.Error("the muted service was asked")
	}
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
		if err := c.Failure(party, service, nil); !errors.Is(err, ErrMisrouted) {
			t.Errorf("%s: error %v, want that it was misrouted", service, err)
		}
	}
	for service, want := range map[string]string{"own": `"a"`, "root": `"other"`} {
		if got := c.Answered(party, service, nil); fmt.Sprintf("%s", got) != "["+want+"]" {
			t.Errorf("%s: %s", service, got)
		}
	}
}

// TestHeadersThatAreNotNamedStay are a visitor's, and a guest's that asks.
func TestHeadersThatAreNotNamedStay(t *testing.T) {
	keyA, keyB := partytest.Key(t, "a"), partytest.Key(t, "b")
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	partytest.App(t, "page", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		answers, err := operatorOf(c, party).AskAround(r.Context(), "ask", nil)
		fmt.Fprintf(w, "%s %v", answers, err)
		return nil
	})
	setsCookie := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "stolen=1")
		w.Header().Set("X-Evil", "1")
		partytest.JSON(`"1"`)(w, r)
	}
	a, b := partytest.NewApplication(t, "", setsCookie), partytest.NewApplication(t, "", setsCookie)
	c.Site("wsgi_party " + party + " {\ninvite /a/__invite__/ /b/__invite__/\n" +
		partytest.Mounted("a", "key {env.a_PARTY_KEY}\nservice ask /ask\nforward Authorization Cookie X-Own Cache-Control Accept", a) +
		partytest.Mounted("b", "key {env.b_PARTY_KEY}\nservice ask /ask", b) + `
		handle /page {
			test_app page
		}
	}
	handle_path /ask/* {
		wsgi_party_ask ` + party + "\n}")
	r, err := http.NewRequest("GET", "http://"+c.Address+"/page", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Authorization": "Basic visitor", "Cookie": "session=visitor", "X-Own": "visitor", "X-Other": "visitor", "Proxy-Authorization": "visitor",
		"Cache-Control": "visitor", "Accept": partytest.ManifestType,
	} {
		r.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); response.StatusCode != 200 || strings.Count(string(body), "1") != 2 || response.Header.Get("Set-Cookie") != "" || response.Header.Get("X-Evil") != "" {
		t.Errorf("the page: %d %s, %s%s", response.StatusCode, body, response.Header, partytest.LastHTTPError(t))
	}
	expect := func(what string, a *partytest.Application, authorization, cookie, own string) {
		t.Helper()
		requests := a.Requests()
		if len(requests) == 0 {
			t.Fatalf("%s: no request", what)
		}
		h := requests[len(requests)-1].Header
		if h.Get("Authorization") != authorization || h.Get("Cookie") != cookie || h.Get("X-Own") != own || h.Get("X-Other") != "" || h.Get("Proxy-Authorization") != "" ||
			h.Get("Cache-Control") != "no-store" || h.Get("Accept") != "application/json" {
			t.Errorf("%s: %v", what, h)
		}
	}
	expect("what the guest is to have", a, "Basic visitor", "session=visitor", "visitor")
	expect("what the guest is not to have", b, "", "", "")

	// The key of a guest that asks is nobody else's.
	for key, asked := range map[string]*partytest.Application{keyA: b, keyB: a} {
		header := http.Header{"Authorization": {"Bearer " + key}, "Cookie": {"session=guest"}, "X-Own": {"guest"}}
		if status, body := c.Do("POST", "/ask/ask", "null", header); status != 200 || !strings.Contains(body, "answered") {
			t.Errorf("asking: %d %s", status, body)
		}
		if status, body := c.Do("POST", "/ask/", `[{"service": "ask"}]`, header); status != 200 || !strings.Contains(body, "answered") {
			t.Errorf("asking: %d %s", status, body)
		}
		expect("what a guest that asks has", asked, "", "", "")
	}
	for _, a := range []*partytest.Application{a, b} {
		for _, r := range a.Requests() {
			if text := fmt.Sprint(r.Header, r.URL); strings.Contains(text, keyA) || strings.Contains(text, keyB) {
				t.Errorf("a key came along: %s", text)
			}
		}
	}
}

// TestKeysDoNotShow looks at all that can be seen of a party, also of one where
// everything goes wrong.
func TestKeysDoNotShow(t *testing.T) {
	keyA, keyB := partytest.Key(t, "a"), partytest.Key(t, "b")
	second := partytest.Key(t, "second")
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(second+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := partytest.NewCaddyWithAdmin(t)
	party := partytest.FreshParty()
	a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fail" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		partytest.JSON("1")(w, r)
	})
	b := partytest.NewApplication(t, `{"services": {"who": {"href": "/who"}, "fail": {"href": "/fail"}}}`, a.Config.Handler.ServeHTTP)
	c.Site("log\nwsgi_party " + party + " {\ninvite /a/__invite__/ /b/__invite__/ /down/__invite__/\n" +
		partytest.Mounted("a", "key {env.a_PARTY_KEY} {file."+file+"}\nservice who /who\nservice fail /fail", a) + partytest.Mounted("b", "key {env.b_PARTY_KEY}", b) + `
		handle_path /down/* {
			wsgi_party_guest {
				service fail /fail
			}
			reverse_proxy 127.0.0.1:1
		}
	}
	handle_path /ask/* {
		wsgi_party_ask ` + party + "\n}")
	c.Connected(party, "who", "a", "b")
	var shown strings.Builder
	note := func(status int, body string) { fmt.Fprintln(&shown, status, body) }
	for _, key := range []string{keyA, keyB, second} {
		header := http.Header{"Authorization": {"Bearer " + key}}
		for _, service := range []string{"who", "fail", "missing", "who?first=maybe", "%zz"} {
			if status, body, err := c.TryDo(context.Background(), "POST", "/ask/"+service, `{"x": 1}`, header); err == nil {
				note(status, body)
			}
		}
		note(c.Do("POST", "/ask/who", "{", header))
		note(c.Do("POST", "/ask/", `[{"service": "fail"}, {"service": "missing"}]`, header))
		note(c.Do("GET", "/ask/", "", header))
		note(c.Do("PUT", "/ask/who", "", header))
		header["Party-Token"] = []string{signed(t, key, "b", time.Now())}
		note(c.Do("POST", "/ask/who", "null", header))
		note(c.Do("POST", "/ask/who", "null", http.Header{"Authorization": {"Basic " + key}}))
		note(c.Do("POST", "/ask/who", "null", http.Header{"Authorization": {"Bearer " + key + "x"}}))
		note(c.Do("GET", "/a/__invite__/", "", header))
		note(c.Do("GET", "/b/x", "", http.Header{"Authorization": {"Bearer " + key}}))
	}
	for _, path := range []string{"/config/", "/wsgi_party/", "/wsgi_party/" + party, "/wsgi_party/" + party + "/", "/metrics", "/wsgi_party/missing", "/debug/vars"} {
		response := c.Call("GET", path, "")
		note(response.Status, response.Body)
	}
	for _, service := range []string{"who", "fail"} {
		response := c.Call("POST", "/wsgi_party/"+party+"/ask/"+service, "null")
		note(response.Status, response.Body)
	}
	response := c.Call("POST", "/wsgi_party/"+party+"/invite", "")
	note(response.Status, response.Body)
	for _, service := range []string{"who", "fail"} {
		answers, err := operatorOf(c, party).AskAround(context.Background(), service, nil)
		fmt.Fprintf(&shown, "%s %v %+v %#v\n", answers, err, err, err)
	}
	stored, err := filepath.Glob(filepath.Join(caddy.DefaultStorage.Path, "wsgi_party", "*", "*"))
	if err != nil || len(stored) == 0 {
		t.Errorf("stored manifests: %q, %v", stored, err)
	}
	for _, path := range stored {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		shown.Write(text)
	}
	shown.WriteString(partytest.Logged())
	for _, part := range []string{`"logger":"http.log.access`, `"upstream roundtrip"`, "REDACTED", "{env.a_PARTY_KEY}", `"level":"debug"`, "500", "caddy_wsgi_party"} {
		if !strings.Contains(shown.String(), part) {
			t.Errorf("there is no %s in what was looked at", part)
		}
	}
	for variable, key := range map[string]string{"A": keyA, "B": keyB, "second": second} {
		for name, form := range map[string]string{
			"as it is": key, "in base64": base64.StdEncoding.EncodeToString([]byte(key)), "in base64url": base64.RawURLEncoding.EncodeToString([]byte(key)),
			"in hexadecimal": fmt.Sprintf("%x", key), "its hash": fmt.Sprintf("%x", sha256.Sum256([]byte(key))), "as bytes": fmt.Sprint([]byte(key)), "in part": key[:20],
		} {
			if i := strings.Index(shown.String(), form); i >= 0 {
				t.Errorf("key %s shows %s: …%s…", variable, name, shown.String()[max(0, i-200):min(shown.Len(), i+len(form)+50)])
			}
		}
	}
}

// TestOrdinaryRequestsAreNotTakenForThePartys whatever they say of themselves.
func TestOrdinaryRequestsAreNotTakenForThePartys(t *testing.T) {
	key, _ := partytest.Key(t, "a"), partytest.Key(t, "b")
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	a := partytest.NewApplication(t, "", partytest.JSON("1"))
	var invitations atomic.Int64
	partytest.App(t, "spy", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		if _, ok := InvitationFrom(r); ok || DeliveredTo(r, "a") || DeliveredTo(r, "") || caddyhttp.GetVar(r.Context(), "partyline") != nil {
			invitations.Add(1)
		}
		return next.ServeHTTP(w, r)
	})
	// The password is "x".
	c.Site("wsgi_party " + party + ` {
		invite /a/__invite__/
		handle_path /a/* {
			@people not vars partyline a
			basic_auth @people {
				visitor $2a$04$EBDVlyq/lEnq4OlXsIQEeOnQkwgW/5IhcHiZo2dpZCbVZwW4Z5wqe
			}
			wsgi_party_guest {
				key {env.a_PARTY_KEY}
				service own /own
			}
			reverse_proxy ` + a.Address() + `
		}
		handle_path /spy/* {
			test_app spy
			reverse_proxy ` + a.Address() + `
		}
	}
	handle_path /ask/* {
		wsgi_party_ask ` + party + "\n}")
	if got := c.Answered(party, "own", nil); len(got) != 1 || len(a.Requests()) != 1 {
		t.Fatalf("the party itself: %s, %d requests", got, len(a.Requests()))
	}
	good := signed(t, key, "a", time.Now())
	claims := "Accept: " + partytest.ManifestType + "\r\nCache-Control: no-store\r\nContent-Type: application/json\r\nParty-Token: " + good + "\r\nX-Forwarded-Prefix: /a\r\npartyline: a\r\nX-Forwarded-For: 192.0.2.1\r\n" +
		"Forwarded: for=192.0.2.1\r\nX-Real-Ip: 192.0.2.1\r\nVia: 1.1 Caddy\r\n"
	for _, target := range []string{"/a/own", "/a/own?partyline=a", "/a/own?vars.partyline=a", "/a/own#partyline", "/A/own", "//a/own"} {
		for _, method := range []string{"GET", "POST", "INVITE"} {
			status := c.Raw(method + " " + target + " HTTP/1.1\r\nHost: " + c.Address + "\r\nConnection: close\r\nCookie: partyline=a\r\nContent-Length: 4\r\n" + claims + "\r\nnull").Status
			if status != 401 {
				t.Errorf("%s %s: status %d, want 401", method, target, status)
			}
		}
	}
	if n := len(a.Requests()); n != 1 {
		t.Errorf("%d requests came to the application", n-1)
	}
	if status := c.Raw("GET /spy/x HTTP/1.1\r\nHost: " + c.Address + "\r\nConnection: close\r\n" + claims + "\r\n").Status; status != 200 || invitations.Load() != 0 {
		t.Errorf("status %d, %d taken for the party's", status, invitations.Load())
	}
	// A token is no key.
	if status, _ := c.AskAs(good, "own", "null", good); status != 401 {
		t.Errorf("asking with a token for a key: status %d", status)
	}
	if status, _ := c.AskAs("", "own", "null", good); status != 401 {
		t.Errorf("asking with a token without a key: status %d", status)
	}
}

// TestStoredManifestsAreTheirOwnGuests, also where the storage's names are the same.
func TestStoredManifestsAreTheirOwnGuests(t *testing.T) {
	seen := make(map[string]manifestKey)
	for _, key := range []manifestKey{
		{"main", "a/b", "/a/b/__invite__/"}, {"main", "ab", "/ab/__invite__/"}, {"main", "AB", "/AB/__invite__/"}, {"main", "AB", "/ab/__invite__/"},
		{"Main", "ab", "/ab/__invite__/"}, {"main", "ab", "/a.b/__invite__/"}, {"main", "..", "/../__invite__/"}, {"main", "", "/__invite__/"}, {"..", "ab", "/__invite__/"},
		{"main", "ab", "https://example.com/ab/__invite__/"}, {"main", "ab", "https://example.com:8443/ab/__invite__/"}, {"main ab", "", "/"}, {"main", "ab ", "/"},
	} {
		stored := key.storageKey(nil)
		if other, ok := seen[stored]; ok || !strings.HasPrefix(stored, "wsgi_party/") || strings.Contains(stored, "..") {
			t.Errorf("%q and %q are both stored at %q", key, other, stored)
		}
		seen[stored] = key
	}
}

// TestTokensNameThePathAsSent, also below a prefix that is escaped.
func TestTokensNameThePathAsSent(t *testing.T) {
	key := partytest.Key(t, "a")
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	a := partytest.NewApplication(t, "", partytest.JSON("1"))
	c.Site("handle_path /my%20apps/* {\nwsgi_party " + party + " {\nprefix \"/my apps\"\ninvite /a/__invite__/\n" + partytest.Mounted("a", "key {env.a_PARTY_KEY}\nservice own /own{?q}\nservice post /own", a) + "}\n}")
	for _, service := range []string{"own", "post"} {
		if answers := c.Answered(party, service, map[string]any{"q": "ä /"}); len(answers) != 1 {
			t.Errorf("%s: %s", service, answers)
		}
	}
	for _, r := range a.Requests() {
		got, err := partytest.Token(r, "a", partytest.Keys(t, key))
		if err != nil || got.Mount != "/my%20apps/a" || !strings.HasPrefix(got.URI, "/my%20apps/a/own") {
			t.Errorf("%s: %+v, %v", r.RequestURI, got, err)
		}
	}
}

// TestAGuestThatIsInvitedAnewLeavesNothingBehind of what the invite before is still at.
func TestAGuestThatIsInvitedAnewLeavesNothingBehind(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	a := partytest.NewApplication(t, `{"services": {"who": {"answer": "new"}}}`, nil)
	c.Site("wsgi_party " + party + " {\ninvite /a/__invite__/\n" + partytest.Mounted("a", "", a) + "}")
	c.Connected(party, "who", "a")
	var handler *Guest
	running, _ := running()
	running.mu.RLock()
	for _, g := range running.guests {
		handler = g
	}
	running.mu.RUnlock()
	last := handler.visit.Load()
	last.end()
	last.invitation.Leave()
	m := manifestWith(t, `{"services": {"who": {"answer": "old"}}}`)
	if err := last.adopt(m); err == nil {
		t.Error("it joined again")
	}
	if services := operatorOf(c, party).Partyline().Services(); len(services) != 0 {
		t.Errorf("on the line is still %v", services)
	}
}

func manifestWith(t testing.TB, text string) *manifest.Manifest {
	t.Helper()
	m, err := manifest.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestHeadersThatWouldChangeAnAskAreNotForwarded(t *testing.T) {
	for _, name := range []string{
		"Party-Token", "party_token", "PARTY.TOKEN", "X-Forwarded-Prefix", "x_forwarded_prefix", "Connection", "Host", "Content-Length", "Transfer-Encoding", "TE", "Trailer", "Upgrade",
		"Keep-Alive", "Content-Type", "Content-Encoding", "Accept-Encoding", "Range", "If-None-Match", "If-Modified-Since", "Expect", "a b", "", "a:b", "a\r\nb",
	} {
		if err := checkForwarded([]string{"Cookie", name}); err == nil || !strings.Contains(err.Error(), "forward") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := checkForwarded([]string{"Cookie", "Authorization", "Accept-Language"}); err != nil {
		t.Error(err)
	}
}
