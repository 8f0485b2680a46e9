// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// cookbook has a test for each recipe, by its heading.
var cookbook = map[string]func(*kitchen){
	"An application that does not know its mount": testMount,
	"API catalog":                         testCatalog,
	"Sitemap index":                       testSitemaps,
	"security.txt":                        testSecurityTxt,
	"Matrix":                              testMatrix,
	"Agent cards":                         testAgentCards,
	"One health page":                     testHealth,
	"OpenAPI":                             testOpenAPI,
	"The first that knows":                testFirst,
	"WebFinger":                           testWebFinger,
	"MCP servers":                         testMCP,
	"Redirects to pages that moved":       testRedirects,
	"Links between hosts":                 testHosts,
	"Upstreams that an application names": testUpstreams,
}

// TestTheRecipes loads each recipe with applications behind it.
func TestTheRecipes(t *testing.T) {
	found := 0
	for _, recipe := range strings.Split(pages(t)["docs/recipes.md"], "\n## ")[1:] {
		heading, text, _ := strings.Cut(recipe, "\n")
		_, text, ok := strings.Cut(text, "```caddyfile\n")
		check.FatalIf(t, !ok, "%s has no Caddyfile", heading)
		text, rest, _ := strings.Cut(text, "```")
		check.ErrorIf(t, strings.Contains(rest, "```caddyfile"), "%s has two Caddyfiles", heading)
		check.ErrorIf(t, strings.Count(text, "\n") > 25, "%s has %d lines, and may have 25", heading, strings.Count(text, "\n"))
		test := cookbook[heading]
		check.FatalIf(t, test == nil, "nothing tests %q: add it to cookbook", heading)
		found++
		t.Run(heading, func(t *testing.T) { test(newKitchen(t, text)) })
	}
	check.Equal(t, found, len(cookbook), "recipes")
}

// kitchen is where a recipe is tried.
type kitchen struct {
	*testing.T
	recipe string
	caddy  *partytest.Caddy
}

func newKitchen(t *testing.T, recipe string) *kitchen {
	return &kitchen{T: t, recipe: recipe, caddy: partytest.NewCaddy(t)}
}

// cook loads the recipe with what listens at localhost:8000 and at localhost:9000.
func (k *kitchen) cook(upstreams ...string) {
	k.Helper()
	_, port, _ := net.SplitHostPort(k.caddy.Address)
	config := regexp.MustCompile(`(?m)^(\S*example\.com) \{\n`).ReplaceAllString(k.recipe, "http://$1:"+port+" {\n\tbind 127.0.0.1\n")
	for i, upstream := range upstreams {
		config = strings.ReplaceAll(config, []string{"localhost:8000", "localhost:9000"}[i], upstream)
	}
	k.caddy.Load(config)
}

// apps starts two applications, with the manifest of the second, and cooks.
func (k *kitchen) apps(manifest string, first, second http.HandlerFunc) (one, two *partytest.Application) {
	k.Helper()
	one, two = partytest.NewApplication(k.T, "", first), partytest.NewApplication(k.T, manifest, second)
	k.cook(one.Address(), two.Address())
	return one, two
}

// get visits a URL of the site.
func (k *kitchen) get(url string) partytest.Response {
	k.Helper()
	r := check.Value(http.NewRequest("GET", url, nil))(k)
	r.Host, r.URL.Host, r.URL.Scheme = r.URL.Host, k.caddy.Address, "http"
	return check.Value(partytest.Send(r))(k)
}

// soon visits a URL until the response has that status and body, as it has when all manifests have come.
func (k *kitchen) soon(url string, status int, body string) (response partytest.Response) {
	k.Helper()
	defer func() {
		if k.Failed() {
			k.Logf("%s is %d %v %s", url, response.Status, response.Header, response.Body)
		}
	}()
	partytest.Eventually(k, fmt.Sprintf("%s is %d %s", url, status, body), func() bool {
		response = k.get(url)
		return response.Status == status && response.Body == body
	})
	return response
}

func testMount(k *kitchen) {
	k.apps("", func(w http.ResponseWriter, r *http.Request) {
		check.Equal(k, r.Header.Get("X-Forwarded-Prefix"), "/blog")
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1", Path: "/"})
		http.Redirect(w, r, "/login?next="+r.URL.Path, http.StatusFound)
	}, nil)
	response := k.get("https://example.com/blog/admin")
	check.Equal(k, response.Header.Get("Location"), "/blog/login?next=/admin")
	check.Equal(k, response.Header.Get("Set-Cookie"), "session=1; Path=/blog")
}

func testCatalog(k *kitchen) {
	k.apps(`{"services": {"api-catalog": {"answer": {"anchor": "/v2", "service-doc": [{"href": "/help"}]}}}}`, nil, nil)
	response := k.soon("https://example.com/.well-known/api-catalog", 200, `{"linkset":[`+
		`{"anchor":"http://example.com/blog/api/","service-desc":[{"href":"http://example.com/blog/openapi.json"}]},`+
		`{"anchor":"http://example.com/shop/v2","service-doc":[{"href":"http://example.com/shop/help"}]}]}`)
	check.Equal(k, response.Header.Get("Content-Type"), `application/linkset+json; profile="https://www.rfc-editor.org/info/rfc9727"`)
	check.Equal(k, response.Header.Get("Link"), "</.well-known/api-catalog>; rel=api-catalog")
}

func testSitemaps(k *kitchen) {
	k.apps(`{"urls": {"sitemap": "/maps/all.xml"}}`, nil, nil)
	k.soon("https://example.com/sitemap.xml", 200, `<?xml version="1.0" encoding="UTF-8"?>
<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
<sitemap><loc>http://example.com/blog/sitemap.xml</loc></sitemap>
<sitemap><loc>http://example.com/shop/maps/all.xml</loc></sitemap>
</sitemapindex>
`)
}

func testSecurityTxt(k *kitchen) {
	const contact = "Contact: mailto:shop@example.com\n"
	const document = "Contact: mailto:security@example.com\nExpires: 2027-12-31T23:00:00Z\n" + contact
	shop := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, contact)
	}
	recipe := k.recipe
	k.Run("a constant", func(t *testing.T) {
		k := newKitchen(t, recipe)
		k.apps(`{"services": {"security": {"answer": "Contact: mailto:shop@example.com"}}}`, nil, shop)
		response := k.soon("https://example.com/.well-known/security.txt", 200, document)
		check.Equal(k, response.Header.Get("Content-Type"), "text/plain; charset=utf-8")
	})
	k.Run("a file", func(t *testing.T) {
		line := regexp.MustCompile("`(service security GET [^`]*)`").FindStringSubmatch(pages(t)["docs/recipes.md"])[1]
		k := newKitchen(t, strings.Replace(recipe, "wsgi_party_guest\n", "wsgi_party_guest {\n"+line+"\n}\n", 1))
		_, two := k.apps("", nil, shop)
		k.soon("https://example.com/.well-known/security.txt", 200, document)
		check.Equal(k, two.Requests()[0].URL.Path, "/contact.txt")
	})
}

func testMatrix(k *kitchen) {
	k.apps(`{"services": {"matrix-client": {"answer": {"m.homeserver": {"base_url": "https://evil"}, "org.matrix.msc4143.rtc_foci": [{"type": "livekit"}]}}}}`, nil, nil)
	response := k.soon("https://example.com/.well-known/matrix/client", 200, `{"m.homeserver":{"base_url":"https://matrix.example.com"},"org.matrix.msc4143.rtc_foci":[{"type":"livekit"}]}`)
	check.Equal(k, response.Header.Get("Access-Control-Allow-Origin"), "*")
	check.Equal(k, response.Header.Get("Content-Type"), "application/json")
}

func testAgentCards(k *kitchen) {
	const provider = `"provider":{"url":"https://company.example"}`
	k.apps(`{"services": {"agent-card": {"answer": {"name": "Buyer", "supportedInterfaces": [{"url": "/a2a"}]}}}}`,
		partytest.JSON(`{"name": "Writer", "supportedInterfaces": [{"url": "/a2a/v1"}], "url": "/a2a", "additionalInterfaces": [{"url": "/rpc"}], `+provider+`}`), nil)
	k.soon("https://example.com/agents.json", 200, `[{"additionalInterfaces":[{"url":"https://example.com/writer/rpc"}],"name":"Writer",`+provider+`,"supportedInterfaces":[{"url":"https://example.com/writer/a2a/v1"}],`+
		`"url":"https://example.com/writer/a2a"},{"name":"Buyer","supportedInterfaces":[{"url":"https://example.com/buyer/a2a"}]}]`)
	elsewhere := newKitchen(k.T, k.recipe)
	elsewhere.apps(`{"services": {"agent-card": {"answer": {"name": "Buyer"}}}}`, partytest.JSON(`{"name": "Writer", "url": "https://company.example"}`), nil)
	elsewhere.soon("https://example.com/agents.json", 200, `[{"name":"Buyer"}]`)
	check.Contains(k, partytest.Logged(), []string{"https://company.example", "does not lead to the guest"})
}

func testHealth(k *kitchen) {
	one, _ := k.apps(`{"services": {"health": {"answer": {"status": "UP"}}}}`, partytest.JSON(`{"database": "ok"}`), nil)
	k.soon("https://example.com/health", 200, `{"blog":{"database":"ok"},"shop":{"status":"UP"}}`)
	check.Equal(k, one.Requests()[0].URL.Path, "/healthz")
	one.On(partytest.Status(503))
	partytest.Eventually(k, "the health page fails", func() bool { return k.get("https://example.com/health").Status == 503 })
	response := k.get("https://example.com/health")
	check.Equal(k, response.Header.Get("Content-Type"), "application/problem+json")
	check.Contains(k, response.Body, []string{`"no answer from blog"`, `"absent":["blog"]`})
	one.On(partytest.JSON(`{"database": "ok"}`))
	k.soon("https://example.com/health", 200, `{"blog":{"database":"ok"},"shop":{"status":"UP"}}`)
}

func testOpenAPI(k *kitchen) {
	document := func(title, path, kind string) string {
		return fmt.Sprintf(`{"openapi": "3.1.0", "info": {"title": %q, "version": "1"}, "paths": {%q: {"get": {"responses": {"200": {"description": "", "content":
			{"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}}}}}}}, "components": {"schemas": {"Item": {"type": %q}}}}`, title, path, kind)
	}
	k.apps(`{"services": {"openapi": {"answer": `+document("Shop", "/items", "object")+`}}}`, partytest.JSON(document("Blog", "/posts", "string")), nil)
	partytest.Eventually(k, "both APIs are there", func() bool {
		response := k.get("https://example.com/openapi.json")
		var all struct {
			Paths      map[string]any
			Components struct{ Schemas map[string]any }
		}
		if response.Status != 200 || json.Unmarshal([]byte(response.Body), &all) != nil {
			return false
		}
		for name := range all.Components.Schemas {
			check.ErrorIf(k, name != "Item" && !strings.HasPrefix(name, "blog") && !strings.HasPrefix(name, "shop"), name)
		}
		return all.Paths["/blog/posts"] != nil && all.Paths["/shop/items"] != nil && len(all.Paths) == 2 && len(all.Components.Schemas) == 2
	})
}

// knows answers what it knows by the value of a query or path, and else declines.
func knows(what, answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("resource") != what && !strings.HasSuffix(r.URL.Path, "/"+what) {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/jrd+json")
		_, _ = io.WriteString(w, answer)
	}
}

func testFirst(k *kitchen) {
	one := partytest.NewApplication(k.T, `{"services": {"order": {"href": "/orders/{id}"}}}`, knows("7", `{"from": "blog", "order": 7}`))
	two := partytest.NewApplication(k.T, "", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/9") {
			http.NotFound(w, r)
			return
		}
		knows("8", `{"from": "shop", "order": 8}`)(w, r)
	})
	k.cook(one.Address(), two.Address())
	response := k.soon("https://example.com/orders/7", 200, `{"from":"blog","order":7}`)
	check.Equal(k, response.Header.Get("Content-Type"), "application/json")
	k.soon("https://example.com/orders/8", 200, `{"from":"shop","order":8}`)
	k.soon("https://example.com/orders/6", 404, "")
	k.soon("https://example.com/orders/9", 404, "")
}

func testWebFinger(k *kitchen) {
	one := partytest.NewApplication(k.T, `{"services": {"webfinger": {"href": "/finger{?resource}"}}}`, knows("acct:ann@example.com", `{"subject": "acct:ann@example.com"}`))
	two := partytest.NewApplication(k.T, "", knows(`acct:{"bob}@example.com`, `{"subject": "acct:bob"}`))
	k.cook(one.Address(), two.Address())
	response := k.soon("https://example.com/.well-known/webfinger?resource=acct:ann@example.com", 200, `{"subject":"acct:ann@example.com"}`)
	check.Equal(k, response.Header.Get("Content-Type"), "application/jrd+json")
	k.soon("https://example.com/.well-known/webfinger?resource=acct:%7B%22bob%7D%40example.com", 200, `{"subject":"acct:bob"}`)
	k.soon("https://example.com/.well-known/webfinger?resource=acct:eve@example.com", 404, "")
	k.soon("https://example.com/.well-known/webfinger", 404, "")
}

func testMCP(k *kitchen) {
	k.apps(`{"urls": {"home": "/"}}`, nil, nil)
	const at = "https://example.com/.well-known/oauth-protected-resource"
	response := k.soon(at+"/blog/mcp", 200, `{"resource": "https://example.com/blog/mcp", "authorization_servers": ["https://auth.example.com"]}`)
	check.Equal(k, response.Header.Get("Content-Type"), "application/json")
	k.soon(at+"/shop/mcp", 404, "")
	k.soon(at+"/other/mcp", 404, "")
}

func testRedirects(k *kitchen) {
	k.apps("", nil, nil)
	response := k.get("https://example.com/articles/7.html")
	check.Equal(k, response.Status, 301)
	check.Equal(k, response.Header.Get("Location"), "/blog/posts/7")
	k.recipe = strings.Replace(k.recipe, "url post", "url other", 1)
	k.cook("127.0.0.1:9") // nobody listens
	check.Equal(k, k.soon("https://example.com/articles/7.html", 503, "").Header.Get("Location"), "")
}

func testHosts(k *kitchen) {
	k.apps("", nil, partytest.Echo)
	response := k.soon("https://cloud.example.com/files/a%20b.odt", 200, "/files/a%20b.odt")
	check.Equal(k, response.Header.Get("Link"), "<https://office.example.com/edit?file=a%20b.odt>; rel=edit")
}

func testUpstreams(k *kitchen) {
	media := httptest.NewServer(http.HandlerFunc(partytest.Echo))
	k.Cleanup(media.Close)
	k.recipe = strings.Replace(k.recipe, "10.0.0.0/8", "127.0.0.0/8", 1)
	shop := partytest.NewApplication(k.T, `{"services": {"media-servers": {"href": "/up", "method": "GET"}}}`, partytest.JSON(fmt.Sprintf("[%q]", media.Listener.Addr())))
	k.cook("", shop.Address())
	k.soon("https://example.com/media/cat.webm", 200, "/media/cat.webm")
	shop.On(partytest.Status(http.StatusNoContent))
	k.soon("https://example.com/media/cat.webm", 503, "")
}

// TestTheLinesOfASGI mounts applications of the page's middleware behind its first recipe.
func TestTheLinesOfASGI(t *testing.T) {
	debian.Install(t, "python3-uvicorn", "python3-fastapi")
	page := pages(t)["docs/recipes.md"]
	_, lines, _ := strings.Cut(page, "```python\n")
	lines, _, _ = strings.Cut(lines, "```")
	check.Equal(t, strings.Count(lines, "\n"), 6, "lines")
	old := strings.NewReplacer(`        path = prefix + scope.get("path", "")`+"\n", "", `, "path": path`, "").Replace(lines) // Debian's Starlette may be older than 0.35
	for name, test := range map[string]struct{ program, body string }{
		"a scope": {lines + `
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": (scope["root_path"] + " " + scope["path"]).encode()})
`, "/blog /blog/items/7"},
		"FastAPI": {`import starlette
` + "new = '''" + lines + "'''\nold = '''" + old + `'''
exec(new if tuple(map(int, starlette.__version__.split(".")[:2])) >= (0, 35) else old)
from fastapi import FastAPI, Request
app = FastAPI()
@app.get("/items/{id}")
def item(id: int, request: Request):
    return str(request.url_for("item", id=8).path)
`, `"/blog/items/8"`},
	} {
		t.Run(name, func(t *testing.T) {
			dir, address := t.TempDir(), testport.Address(t)
			_, port, _ := net.SplitHostPort(address)
			check.Must(t, os.WriteFile(filepath.Join(dir, "program.py"), []byte(test.program+"import uvicorn\nuvicorn.run(mounted(app), port="+port+", lifespan='off')\n"), 0o600))
			c := exec.Command("/usr/bin/python3", "program.py")
			output := new(strings.Builder)
			c.Dir, c.Stdout, c.Stderr = dir, output, output
			check.Must(t, c.Start())
			t.Cleanup(func() {
				_ = c.Process.Kill()
				_ = c.Wait()
				if t.Failed() {
					t.Log(output)
				}
			})
			_, recipe, _ := strings.Cut(page, "```caddyfile\n")
			recipe, _, _ = strings.Cut(recipe, "```")
			k := newKitchen(t, recipe)
			k.cook(address)
			k.soon("https://example.com/blog/items/7", 200, test.body)
		})
	}
}

// TestCaddyReplacesDollarsInBraces is the trap that the recipes name.
func TestCaddyReplacesDollarsInBraces(t *testing.T) {
	t.Setenv("x", "gone")
	c := partytest.NewCaddy(t)
	c.Site("respond `{{$x}} {{ $x }}`")
	c.Expect("/", 200, "{gone} {{ $x }}")
}
