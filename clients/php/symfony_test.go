// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package php

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// startSymfony starts a Symfony application at /sf, with that environment besides its key.
func startSymfony(t *testing.T, environment map[string]string) (*party, partytest.FPM) {
	t.Helper()
	debian.Install(t, "php-fpm", "php-symfony-framework-bundle", "php-symfony-twig-bundle", "php-apcu")
	all := map[string]string{"CACHE": cache(environment["MISSING"]), "WSGI_PARTY_KEY": partytest.Key(t, "sf")}
	maps.Copy(all, environment)
	f := partytest.StartFPM(t, all)
	p := newParty(t, "sf", fmt.Sprintf("root %s\nphp_fastcgi unix/%s", here(t, "testdata/symfony"), f.Socket))
	return p, f
}

func TestASymfonyApplicationIsAGuest(t *testing.T) {
	p, f := startSymfony(t, nil)
	p.joined("sf")
	origin := "http:\\/\\/" + p.Address
	for path, want := range map[string]string{
		"/sf/":                    `{"base":"\/sf","path":"\/","uri":"\/sf\/","home":"\/sf\/","post":"` + origin + `\/sf\/posts\/%C3%A9%20b","form":[],"content":""}`,
		"/sf/posts/x?q=1%2F":      `{"base":"\/sf","path":"\/posts\/x","uri":"\/sf\/posts\/x?q=1%2F","home":"\/sf\/","post":"` + origin + `\/sf\/posts\/%C3%A9%20b","form":[],"content":""}`,
		"/SF/posts/x":             `{"base":"\/sf","path":"\/posts\/x","uri":"\/sf\/posts\/x","home":"\/sf\/","post":"` + origin + `\/sf\/posts\/%C3%A9%20b","form":[],"content":""}`,
		"/sf/sf/links":            `{"base":"\/sf","path":"\/sf\/links","uri":"\/sf\/sf\/links","home":"\/sf\/","post":"` + origin + `\/sf\/posts\/%C3%A9%20b","form":[],"content":""}`,
		"/sf/index.php/numbers/7": `{"base":"\/sf\/index.php","path":"\/numbers\/7","uri":"\/sf\/index.php\/numbers\/7","home":"\/sf\/index.php\/","post":"` + origin + `\/sf\/index.php\/posts\/%C3%A9%20b","form":[],"content":""}`,
		"/sf/ask":                 `[[9],"default","\/sf\/","\/shop\/cart"]`,
		"/sf/twig":                `<a href="/shop/cart">cart</a> <a href="http://` + p.Address + `/shop/items/7#more">item</a> <a href="/sf/">home</a>` + "\n",
		links("/sf", "with[id]=7&with[ref]=%C3%A9", "home", "shop:item", "shop:cart"): `{"home":"\/sf\/?id=7\u0026ref=%C3%A9","shop:item":"\/shop\/items\/7?ref=%C3%A9","shop:cart":"\/shop\/cart"}`,
		links("/sf", "type=0", "shop:cart"):                                           `{"shop:cart":"` + origin + `\/shop\/cart"}`,
		links("/sf", "type=3", "shop:cart"):                                           `{"shop:cart":"\/\/` + p.Address + `\/shop\/cart"}`,
		links("/sf", "type=2", "shop:cart"):                                           `{"shop:cart":"\/shop\/cart"}`,
		links("/sf", "", "none", "shop:none", "post"): `{"none":"Symfony\\Component\\Routing\\Exception\\RouteNotFoundException: Unable to generate a URL for the route \u0022none\u0022, which is none of this application\u0027s: nobody has the page \u0022none\u0022.",` +
			`"shop:none":"Symfony\\Component\\Routing\\Exception\\RouteNotFoundException: Unable to generate a URL for the route \u0022shop:none\u0022, which is none of this application\u0027s: nobody has the page \u0022shop:none\u0022.",` +
			`"post":"Symfony\\Component\\Routing\\Exception\\MissingMandatoryParametersException: Some mandatory parameters are missing (\u0022slug\u0022) to generate a URL for route \u0022post\u0022."}`,
	} {
		p.pageIs(path, want)
	}
	for id, want := range map[int]string{7: `[{"name":"Ann","cart":"/shop/cart","home":"/sf/"}]`, 1: "[]", 13: "see its log"} {
		if got := p.ask("user", map[string]any{"id": id}); !strings.Contains(got, want) || strings.Contains(got, "unlucky") {
			t.Errorf("%d: %s, want %s", id, got, want)
		}
	}
	// Links of others are those that Symfony makes itself, as far as a template can say them.
	for name, test := range map[string]struct{ values, want string }{
		"home":     {`{}`, "/sf/"},
		"post":     {`{"slug":"é b"}`, "/sf/posts/%C3%A9%20b"},
		"docs":     {`{"path":["a","b c"]}`, "/sf/docs/a/b%20c"},
		"number":   {`{"n":7}`, "/sf/numbers/7"},
		"list":     {`{"page":2}`, "/sf/list/2"},
		"feed":     {`{"_format":"rss"}`, "/sf/feed.rss"},
		"about":    {`{}`, "/sf/about"},
		"about.de": {`{}`, "/sf/%C3%BCber"},
		"about.en": {`{}`, "/sf/about"},
		"odd":      {`{}`, "/sf/odd%20%27path%27/%C3%BC%26=%25"},
		"save":     {`{}`, "/sf/save"},
		"secure":   {`{}`, "/sf/secure"},
		"admin":    {`{}`, "error"},
		"here":     {`{}`, "error"},
	} {
		got := p.urlFor("sf:"+name, test.values)
		if got != test.want {
			t.Errorf("%s with %s: %s, want %s", name, test.values, got, test.want)
		}
		if test.want != "error" && name != "save" {
			if status, _ := p.Get(got); status != http.StatusOK {
				t.Errorf("%s: %d", got, status)
			}
		}
	}
	for _, want := range []string{
		"Caddy is told of 17 pages and 1 service, but not of ", `"list without page" (a template has no default values)`,
		`"here" (it is at another host, {any})`, `"admin" (it is at another host, admin.example.com)`, `"_private" (it begins with _`, `"App\\Controller\\Invokable" (its name is`,
		`"dots" (its path has`, `"double" (its path has`, `"bad name\"</script>" (its name is`,
		"unlucky",
	} {
		if !strings.Contains(f.Logged(t), want) {
			t.Errorf("not in the log: %s", want)
		}
	}
}

func TestSymfonyAsksForAllLinksOfARouteAtOnce(t *testing.T) {
	p, _ := startSymfony(t, nil)
	p.joined("sf")
	first := p.page("/sf/many")
	if n := p.asking.count(); n != 50 {
		t.Errorf("first %d requests", n)
	}
	for range 4 {
		if again := p.page("/sf/many"); again != first {
			t.Errorf("%s, then %s", first, again)
		}
		if n := p.asking.count(); n != 1 {
			t.Errorf("later %d requests", n)
		}
	}
}

// TestSymfonyGetsTheMountOnce has it behind a server that sees the path with the mount, and
// behind one that does not, and has Symfony trust the header, or not.
func TestSymfonyGetsTheMountOnce(t *testing.T) {
	for name, test := range map[string]struct {
		environment map[string]string
		options     string
	}{
		"trusted":                                     {map[string]string{"TRUSTED_PROXIES": "REMOTE_ADDR"}, ""},
		"asked for early":                             {map[string]string{"EARLY": "1"}, ""},
		"trusted and asked for early":                 {map[string]string{"TRUSTED_PROXIES": "REMOTE_ADDR", "EARLY": "1"}, ""},
		"the server has done it":                      {nil, "env SCRIPT_NAME /sf/index.php"},
		"the server has done it, and is trusted":      {map[string]string{"TRUSTED_PROXIES": "REMOTE_ADDR"}, "env SCRIPT_NAME /sf/index.php"},
		"a server that sees no mount":                 {nil, "env SERVER_SOFTWARE nginx\nenv REQUEST_URI {uri}"},
		"a server that sees no mount, and is trusted": {map[string]string{"TRUSTED_PROXIES": "REMOTE_ADDR"}, "env SERVER_SOFTWARE nginx\nenv REQUEST_URI {uri}"},
	} {
		t.Run(name, func(t *testing.T) {
			debian.Install(t, "php-fpm", "php-symfony-framework-bundle", "php-symfony-twig-bundle", "php-apcu")
			all := map[string]string{"CACHE": cache(test.environment["TRUSTED_PROXIES"]), "WSGI_PARTY_KEY": partytest.Key(t, "sf")}
			maps.Copy(all, test.environment)
			f := partytest.StartFPM(t, all)
			rewritten := ""
			if strings.Contains(test.options, "{uri}") {
				rewritten = "vars seen {uri}\n"
				test.options = strings.ReplaceAll(test.options, "{uri}", "{vars.seen}")
			}
			p := newParty(t, "sf", fmt.Sprintf("%sroot %s\nphp_fastcgi unix/%s {\n%s\n}", rewritten, here(t, "testdata/symfony"), f.Socket, test.options))
			p.joined("sf")
			origin := "http:\\/\\/" + p.Address
			for path, seen := range map[string]string{"/sf/": `\/`, "/sf/posts/x": `\/posts\/x`, "/sf/sf/links": `\/sf\/links`} {
				p.pageIs(path, fmt.Sprintf(`{"base":"\/sf","path":"%s","uri":"%s","home":"\/sf\/","post":"%s\/sf\/posts\/%%C3%%A9%%20b","form":[],"content":""}`, seen, strings.ReplaceAll(path, "/", `\/`), origin))
			}
			if got := p.urlFor("sf:post", `{"slug":"x"}`); got != "/sf/posts/x" {
				t.Error(got)
			}
			// The body is still there.
			response, err := http.Post("http://"+p.Address+"/sf/save", "application/x-www-form-urlencoded", strings.NewReader("a=b"))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if body, _ := io.ReadAll(response.Body); !strings.Contains(string(body), `"form":{"a":"b"},"content":"a=b"`) {
				t.Errorf("%s", body)
			}
		})
	}
}

func TestSymfonyMayGoWithoutALink(t *testing.T) {
	p, _ := startSymfony(t, map[string]string{"MISSING": "1"})
	p.joined("sf")
	p.pageIs(links("/sf", "type=0", "none", "shop:cart"), `{"none":"","shop:cart":"http:\/\/`+p.Address+`\/shop\/cart"}`)
}

func TestSymfonyWithoutAKeyIsAsWithoutTheBundle(t *testing.T) {
	debian.Install(t, "php-fpm", "php-symfony-framework-bundle", "php-symfony-twig-bundle")
	f := partytest.StartFPM(t, map[string]string{"CACHE": cache()})
	p := newParty(t, "sf", fmt.Sprintf("root %s\nphp_fastcgi unix/%s", here(t, "testdata/symfony"), f.Socket))
	if status, _ := p.Get("/sf/"); status != http.StatusNotFound {
		t.Errorf("%d, though nobody has set the base URL", status)
	}
	p.Site(fmt.Sprintf("root %s\nphp_fastcgi unix/%s", here(t, "testdata/symfony"), f.Socket))
	p.ExpectSoon(links("", "", "none"), http.StatusOK, `{"none":"Symfony\\Component\\Routing\\Exception\\RouteNotFoundException: Unable to generate a URL for the named route \u0022none\u0022 as such route does not exist."}`)
}
