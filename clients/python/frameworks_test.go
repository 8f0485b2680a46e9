// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package python

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/conformance"
	"github.com/wsgiparty/wsgiparty/internal/debian"
)

// debianPython is the Python that the frameworks are installed for.
const debianPython = "/usr/bin/python3"

func installFrameworks(t *testing.T) {
	t.Helper()
	debian.Install(t, "python3", "gunicorn", "python3-flask", "python3-django", "python3-fastapi", "python3-jinja2", "python3-uvicorn", "python3-websockets")
}

// TestTheAdaptersOfFrameworksPassTheirOwnTests runs those of the folder frameworks.
func TestTheAdaptersOfFrameworksPassTheirOwnTests(t *testing.T) {
	installFrameworks(t)
	t.Parallel()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, debianPython, "-W", "error::SyntaxWarning", "-m", "unittest", "discover", "-q", "-s", "frameworks")
	command.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH="+here)
	if output, err := command.CombinedOutput(); err != nil || !bytes.Contains(output, []byte("\nOK")) {
		t.Errorf("%v\n%s", err, output)
	}
}

// party is a Caddy with TLS, which guests ask where it says so itself.
type frameworks struct {
	*testCaddy
	origin string
	client *http.Client
}

func newFrameworks(t *testing.T) *frameworks {
	t.Helper()
	installFrameworks(t)
	f := &frameworks{testCaddy: newCaddy(t)}
	_, port, err := net.SplitHostPort(f.site)
	if err != nil {
		t.Fatal(err)
	}
	f.origin = "https://localhost:" + port
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	f.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return f
}

// underUvicorn serves an ASGI application.
func (g *guest) underUvicorn(application string, rootPath ...string) *guest {
	g.t.Helper()
	_, port, err := net.SplitHostPort(g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.start(g.key, append([]string{debianPython, "serve.py", port, application}, rootPath...)...)
	return g
}

// load has the guests in one party, those of whole by the URLs of their invites.
func (f *frameworks) load(whole []*guest, guests ...*guest) {
	f.t.Helper()
	config := "{\nadmin off\npersist_config off\nauto_https disable_redirects\nskip_install_trust\nstorage_check off\nstorage_clean_interval off\ngrace_period 5s\nlog {\noutput discard\n}\n}\n" +
		f.origin + " {\ntls internal\nwsgi_party " + f.party + " {\nask_on " + f.ask + "\n"
	for _, g := range slices.Concat(whole, guests) {
		mount := g.mount()
		if slices.Contains(whole, g) {
			mount = strings.Replace(mount, "invite ", "invite "+f.origin, 1)
		}
		config += mount
	}
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config+"}\n}\n"), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := caddy.Load(adapted, true); err != nil {
		f.t.Fatal(err)
	}
	eventually(f.t, "they have joined", func() bool {
		return !slices.ContainsFunc(wsgiparty.Parties()[0].Invites, func(i wsgiparty.InviteInfo) bool { return i.Result != wsgiparty.InviteJoined })
	})
	eventually(f.t, "there is a certificate", func() bool {
		response, err := f.client.Get(f.origin)
		if err != nil {
			return false
		}
		response.Body.Close()
		return true
	})
}

func (f *frameworks) do(method, path string, body io.Reader, headers ...string) (status int, header http.Header, content string) {
	f.t.Helper()
	request, err := http.NewRequest(method, f.origin+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := f.client.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(read)
}

// is checks what pages are, but for white space at their ends; those in JSON are compact.
func (f *frameworks) is(pages map[string]string) {
	f.t.Helper()
	for path, want := range pages {
		status, _, got := f.do("GET", path, nil)
		var plain bytes.Buffer
		if json.Compact(&plain, []byte(got)) == nil {
			got = plain.String()
		}
		want = strings.ReplaceAll(want, "ORIGIN", f.origin)
		if status != http.StatusOK || strings.TrimSpace(got) != want {
			f.t.Errorf("%s: %d %s, want %s", path, status, got, want)
		}
	}
}

// TestDjangoAndFastAPIAreGuestsOfOneParty has Django under gunicorn with three processes
// and under uvicorn, FastAPI, and an ASGI application without routes. Each knows nothing
// but its key.
func TestDjangoAndFastAPIAreGuestsOfOneParty(t *testing.T) {
	f := newFrameworks(t)
	shop := newGuest(t, "shop", "").underGunicornOf("django_site:application")
	store := newGuest(t, "store", "").underUvicorn("django_site:asgi")
	blog := newGuest(t, "blog", "").underUvicorn("fastapi_blog:app")
	plain := newGuest(t, "plain", "").underUvicorn("plain_asgi:party")
	f.load([]*guest{shop, store}, blog, plain)

	t.Run("pages", func(t *testing.T) {
		f.is(map[string]string{
			"/shop/":                 `["/shop/",{}]`,
			"/shop/item/a/":          `["/shop/item/a/",{"slug":"a"}]`,
			"/store/":                `["/store/",{}]`,
			"/store/files/a/%C3%BC":  `["/store/files/a/\u00fc",{"file":"a/\u00fc"}]`,
			"/blog/":                 `["/blog/","ORIGIN/blog/posts/a","/blog"]`,
			"/blog/posts/a%20b":      `["/blog/posts/a b","a b"]`,
			"/blog/blog/again":       `"/blog/blog/again"`,
			"/blog/admin/users/5":    `["/blog/admin/users/5","/blog/admin","/blog/admin/users/7","/blog/posts/b","ORIGIN/shop/cart/"]`,
			"/plain/x":               `["/plain/x","/plain"]`,
			"/plain/link":            `"/blog/posts/a"`,
			"/plain/missing":         `"nobody has a page 'nobody:knows' with a, b"`,
			"/blog/missing":          `"No route exists for name \"nobody:knows\" and params \"\"."`,
			"/plain/ask":             `["shop","store","blog"]`,
			"/shop/first/name/":      `"store"`,
			"/shop/first/decline/":   `"HighAndDry"`,
			"/blog/first/decline":    `"HighAndDry"`,
			"/blog/first/name":       `"shop"`,
			"/shop/ask/own/":         `["/store/item/a/"]`,
			"/blog/ask/fail":         `[]`,
			"/blog/sync/ask/name":    `["shop","store","plain"]`,
			"/blog/ask/nest":         `[["shop",["store"]],["store",["shop"]]]`,
			"/blog/events":           `["startup"]`,
			"/blog/files/a%2Fb/c":    `"a/b/c"`,
			"/store/own-fifty/?from": ownFifty("/store/item/%d/"),
			"/blog/own-fifty":        ownFifty("/posts/%d"),
		})
	})

	t.Run("links", func(t *testing.T) {
		links := "/NAME/item/b/\n/blog/posts/%3Ca%26b%3E\n/blog/posts/X\n[]"
		for range 3 {
			f.is(map[string]string{
				"/shop/links/":     strings.ReplaceAll(links, "NAME", "shop"),
				"/store/links/":    strings.ReplaceAll(links, "NAME", "store"),
				"/shop/stream/":    "\"/blog/posts/a\"\n\"/blog/posts/b\"",
				"/blog/stream":     "\"ORIGIN/shop/item/a/\"\n\"ORIGIN/shop/item/b/\"",
				"/shop/fifty/":     ownFifty("/blog/posts/%d"),
				"/store/fifty/":    ownFifty("/blog/posts/%d"),
				"/blog/fifty":      ownFifty("ORIGIN/shop/item/%d/"),
				"/blog/links":      "/blog/posts/b\nORIGIN/shop/item/a%26b/\nORIGIN/shop/files/x/y%20z",
				"/blog/sync/links": "/blog/posts/b\nORIGIN/shop/item/a%26b/\nORIGIN/shop/files/x/y%20z",
			})
		}
		for _, name := range []string{"shop", "store"} {
			_, _, got := f.do("GET", "/"+name+"/awaited/", nil)
			if !strings.Contains(got, `"/`+name+`/item/b/"`) || !strings.Contains(got, `"/blog/posts/a"`) || !strings.Contains(got, "write 'await aparty_url(") {
				t.Error(got)
			}
			if status, _, _ := f.do("GET", "/"+name+"/missing/", nil); status != http.StatusInternalServerError {
				t.Errorf("a link that nobody can make: %d", status)
			}
		}
	})

	t.Run("redirects have the mount", func(t *testing.T) {
		for path, want := range map[string]string{"/shop/cart": "/shop/cart/", "/store/cart": "/store/cart/", "/blog/slash": f.origin + "/blog/slash/"} {
			if status, header, _ := f.do("GET", path, nil); status/100 != 3 || header.Get("Location") != want {
				t.Errorf("%s: %d %v", path, status, header)
			}
		}
	})

	t.Run("visitors", func(t *testing.T) {
		for _, path := range []string{"/shop/item/a/", "/store/item/a/"} {
			eventually(t, "a POST without a CSRF token is refused at "+path, func() bool {
				status, _, got := f.do("POST", path, strings.NewReader("a=b"), "Content-Type", "application/x-www-form-urlencoded", "Referer", f.origin+"/")
				if status == http.StatusBadGateway {
					return false // on a connection that the server was just closing, as it was idle: Caddy repeats no POST
				}
				if status != http.StatusForbidden || !strings.Contains(got, "CSRF") {
					t.Errorf("a POST without a CSRF token to %s: %d %s", path, status, got)
				}
				return true
			})
		}
		for _, path := range []string{"/shop/__invite__/", "/store/__invite__/partyline/name", "/blog/__invite__/"} {
			if status, _, _ := f.do("GET", path, nil, "Accept", "application/vnd.wsgi-party+json"); status != http.StatusNotFound {
				t.Errorf("%s: %d", path, status)
			}
		}
	})

	t.Run("every worker answers and has said what it tells", func(t *testing.T) {
		operator, _ := wsgiparty.Lookup(f.party)
		processes := make(map[json.Number]bool)
		eventually(t, "all four of Django's processes answer", func() bool {
			pids, err := wsgiparty.All[json.Number](t.Context(), operator, "pid", nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, pid := range pids {
				processes[pid] = true
			}
			return len(processes) == 4
		})
		told := "tells the party of pages: 6, and services: 7 (decline, echo, fail, name, nest, own, pid)"
		for g, want := range map[*guest]map[string]int{
			shop:  {told: 3, "about (the language is in its path (i18n_patterns))": 3},
			store: {told: 1},
			blog:  {"the application blog tells the party of pages: 25, and services: 5 (decline, echo, fail, name, nest)": 1, "socket (it is a websocket)": 1},
			plain: {"tells the party of pages: 1, and services: 1 (name)": 1},
		} {
			for text, n := range want {
				if got := g.timesSaid(text); got != n {
					t.Errorf("%s says %q %d times, want %d: %s", g.name, text, got, n, g.said)
				}
			}
		}
	})
}

// TestApplicationsOfAllFrameworksPassTheCheck has them checked without a Caddy.
func TestApplicationsOfAllFrameworksPassTheCheck(t *testing.T) {
	installFrameworks(t)
	t.Setenv("WSGI_PARTY_GUEST", "shop")
	for name, serve := range map[string]func(*guest) *guest{
		"Django under gunicorn": func(g *guest) *guest { return g.underGunicornOf("django_site:application") },
		"Flask under gunicorn":  func(g *guest) *guest { return g.underGunicornOf("flask_blog:app") },
		"flask run":             func(g *guest) *guest { return g.underFlaskRun() },
		"Django under uvicorn":  func(g *guest) *guest { return g.underUvicorn("django_site:asgi") },
		"FastAPI":               func(g *guest) *guest { return g.underUvicorn("fastapi_blog:app") },
		"an ASGI application":   func(g *guest) *guest { return g.underUvicorn("plain_asgi:party") },
	} {
		t.Run(name, func(t *testing.T) {
			g := serve(newGuest(t, "shop", ""))
			url := "http://" + g.address
			if g.network == "unix" {
				url = "unix/" + g.address
			}
			report, err := conformance.Check(t.Context(), conformance.Options{URL: url + "/__invite__/", Origin: "https://localhost", Mount: "/shop", Guest: "shop", Keys: []string{g.key}, Timeout: 10 * time.Second, Page: map[string]string{"an ASGI application": "/link"}[name]})
			if err != nil {
				t.Fatal(err)
			}
			report.Expect(t, "ask.status", "ask.time", "batch.time", "manifest.time") // one of its services fails, and the machine may be busy
		})
	}
}

func ownFifty(format string) string {
	links := make([]string, 50)
	for i := range links {
		links[i] = fmt.Sprintf(`"`+format+`"`, i)
	}
	return "[" + strings.Join(links, ",") + "]"
}
