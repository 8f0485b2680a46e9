// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package php

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func plain(t testing.TB, f partytest.FPM) string {
	return fmt.Sprintf("root %s\nphp_fastcgi unix/%s {\nindex plain.php\n}", here(t, "testdata"), f.Socket)
}

// startPlain starts a plain application at /php that has only its key.
func startPlain(t *testing.T, arguments ...string) (*party, partytest.FPM) {
	t.Helper()
	f := partytest.StartFPM(t, map[string]string{"WSGI_PARTY_KEY": partytest.Key(t, "php")}, arguments...)
	p := newParty(t, "php", plain(t, f))
	p.joined("php")
	return p, f
}

func TestAPlainApplicationIsAGuest(t *testing.T) {
	p, f := startPlain(t, "-n")
	for path, want := range map[string]string{
		"/php/":                     `{"page":"home","path":"/","mount":"/php","post":"/php/posts/%C3%A9%20b%2Fc"}`,
		"/php/posts/%C3%A9%20?q=/a": `{"page":"post","path":"/posts/%C3%A9%20","mount":"/php","post":"/php/posts/%C3%A9%20b%2Fc"}`,
		"/php/docs/a/b":             `{"page":"docs","path":"/docs/a/b","mount":"/php","post":"/php/posts/%C3%A9%20b%2Fc"}`,
		"/php/php/links":            `{"page":"nested","path":"/php/links","mount":"/php","post":"/php/posts/%C3%A9%20b%2Fc"}`,
		"/PHP/search":               `{"page":"search","path":"/search","mount":"/php","post":"/php/posts/%C3%A9%20b%2Fc"}`,
		"/%70hp/search?q=%2F":       `{"page":"search","path":"/search","mount":"/php","post":"/php/posts/%C3%A9%20b%2Fc"}`,
		"/php/ask":                  `[[9],9,"default",[],{"cart":"/shop/cart","own":"/php/","nobody":null,"3":"/shop/items/a%20b"}]`,
		links("/php", "with[id]=7&with[ref]=%C3%A9&with[slug]=x", "home", "post", "shop:item", "shop:cart", "shop:none", "none", "colon"): `{"home":"/php/","post":"/php/posts/x","shop:item":"/shop/items/7?ref=%C3%A9","shop:cart":"/shop/cart",` +
			`"shop:none":"OutOfBoundsException: nobody has the page \"shop:none\"","none":"OutOfBoundsException: nobody has the page \"none\"",` +
			`"colon":"/php/posts/:slug"}`,
		links("/php", "", "post", "up", "shop:item"): `{"post":"InvalidArgumentException: the page \"post\": the template /posts/{slug} needs a value for slug",` +
			`"up":"InvalidArgumentException: the page \"up\": the template /a/../b cannot be a link: its path has a segment that is empty, . or ..","shop:item":"OutOfBoundsException: nobody has the page \"shop:item\""}`,
	} {
		p.pageIs(path, want)
	}
	for service, want := range map[string]string{"ping": `["pong"]`, "echo": `[{"id":7}]`, "user": `[{"name":"Ann","price":9,"home":"/php/"}]`} {
		if got := p.ask(service, map[string]any{"id": 7}); got != want {
			t.Errorf("%s: %s, want %s", service, got, want)
		}
	}
	for id, want := range map[int]string{1: "[]", 13: "see its log", 14: "see its log", 15: "[1]"} {
		if got := p.ask("user", map[string]any{"id": id}); !strings.Contains(got, want) || strings.Contains(got, "unlucky") {
			t.Errorf("%d: %s, want %s", id, got, want)
		}
	}
	for _, want := range []string{
		`wsgi_party info: Caddy is told of 9 pages and 3 services, but not of "\u00fcber" (its name is not 1 to 64 letters, digits and . _ : -), "up" (its path has a segment that is empty, . or ..), "\"</script>" (its name `,
		"wsgi_party error: the service user failed: LogicException: unlucky in ",
		"wsgi_party error: the service user failed: InvalidArgumentException: the answer cannot be JSON: Inf and NaN",
	} {
		if !strings.Contains(f.Logged(t), want) {
			t.Errorf("not in the log: %s", want)
		}
	}
	if n := strings.Count(f.Logged(t), "Caddy is told of"); n != 1 {
		t.Errorf("%d times", n)
	}
}

func TestLinksOfAPageAreAskedForAtOnce(t *testing.T) {
	for name, test := range map[string]struct {
		arguments []string
		later     int
	}{"without APCu": {[]string{"-n"}, 50}, "with APCu": {apcu, 1}} {
		t.Run(name, func(t *testing.T) {
			p, _ := startPlain(t, test.arguments...)
			first := p.page("/php/many")
			if n := p.asking.count(); n != 50 || !strings.Contains(first, `"/shop/items/49"`) {
				t.Errorf("first %d requests, %s", n, first)
			}
			for range 4 { // processes
				if again := p.page("/php/many"); again != first {
					t.Errorf("%s, then %s", first, again)
				}
				if n := p.asking.count(); n != test.later {
					t.Errorf("later %d requests", n)
				}
			}
			p.page("/php/many?from=25")
			p.asking.count()
			p.page("/php/many?from=25")
			_, bodies := p.asking.seen()
			if test.later == 1 && (len(bodies) != 1 || strings.Contains(bodies[0], `"id":"24"`)) {
				t.Errorf("what is not used any more is still asked for: %s", bodies)
			}
		})
	}
}

// TestOwnPagesHaveOneURL compares what PHP makes of a template with what Caddy does.
func TestOwnPagesHaveOneURL(t *testing.T) {
	templates := []string{
		"/", "/a", "/a/", "/{x}", "/a/{x}/b", "/{x}{y}", "/{x,y}", "/a{/x}", "/a{/x*}", "/a{/x,y}", "/a{/x,y*}", "/a{.x}", "/a{.x*}", "/a{;x}", "/a{;x,y*}", "/a{?x}", "/a{?x*}", "/a{?x,y}", "/a{?x*,y}",
		"/a?b=c{&x,y*}", "/a?b=c", "/{x:3}", "/a{/x:2,y}", "/é/{x}", "/%C3%A9{?x:1}", "/a-{x}.{y}", "/~a!$&'()*+,;=:@{x}", "/a{;x*}{?y}", "/{x.y}", "/{x_1}",
		// none that Caddy takes
		"", "a", "//a", "/a//b", "/a/./b", "/a/../b", "/a/%2e%2e/b", "/a/%252e%252e/b", "/a\\b", "/a b", "/a\"b", "/a|b", "/a^b", "/a`b", "/<a>", "/{+x}", "/{#x}", "/{x", "/x}", "/{}", "/{?}", "/{x,}", "/{x,x}", "/{x y}", "/{=x}",
		"/{http.x}", "/a{&x}", "/a{?x}b", "/a{?x}{?y}", "/a{?x}{y}", "/a?b{?x}", "/%", "/%zz", "/a\nb", "/a\x7fb", "/a\u0085b", "/a\u2028b", "/{x:0}", "/{x:99999}", "/{x*:3}", "/{é}", "/a/;x/b", "/a/%2f/b", "/a%00", "http://a/", "/a{/x}/..", "/a/{x..y}", "/a/{.x}", "/./{x}",
	}
	values := []string{
		`{}`, `{"x":"1","y":"2"}`, `{"x":"é/ ü?#&=%25+","y":"~-._"}`, `{"x":"","y":""}`, `{"x":["a","b c"],"y":["é"]}`, `{"x":{"k":"v","l/":"w&"},"y":{"k":""}}`, `{"x":[],"y":{}}`, `{"x":null,"y":"2"}`, `{"x":["a",null,""],"y":[null]}`,
		`{"x":7,"y":true}`, `{"x":1.5,"y":false}`, `{"x":12345678901234,"y":0}`, `{"x":"..","y":"."}`, `{"x":"%2e%2e","y":"a\\b"}`, `{"x":"/","y":"//"}`, `{"x":[["a"]],"y":"2"}`, `{"x.y":"7","x_1":"8"}`, `{"x":"日本語のテキスト","y":"2"}`, `{"x":"a\u0000b"}`, `{"x":["..","a"]}`, `{"x":";a","y":"a;b"}`, `{"x":{"..":"..","b":null}}`,
	}
	dir := partytest.Scripts(t, map[string]string{"index.php": "require '" + here(t, "src/Party.php") + `';
		[$templates, $values] = json_decode(file_get_contents(__DIR__ . '/cases.json'), true);
		$names = array_map(fn ($n) => "t$n", array_keys($templates));
		$party = WsgiParty\Party::plain(array_combine($names, $templates));
		foreach ($names as $name) foreach ($values as $value) {
			try { echo $party->urlFor($name, json_decode($value, true)), "\n"; } catch (InvalidArgumentException $error) { echo "error\n"; }
		}`})
	cases, err := jsonOf(templates, values)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/cases.json", cases, 0o600); err != nil {
		t.Fatal(err)
	}
	f := partytest.StartFPM(t, map[string]string{"WSGI_PARTY_KEY": partytest.Key(t, "php")}, "-n")
	p := newParty(t, "php", fmt.Sprintf("root %s\nphp_fastcgi unix/%s", dir, f.Socket))
	p.joined("php")
	lines := strings.Split(p.page("/php/"), "\n")
	made := 0
	for i, template := range templates {
		for j, value := range values {
			got, want := lines[i*len(values)+j], p.urlFor(fmt.Sprintf("php:t%d", i), value)
			if got != want {
				t.Errorf("%q with %s: %s, Caddy has %s", template, value, got, want)
			}
			if got != "error" {
				made++
			}
		}
	}
	if made < 300 {
		t.Errorf("only %d", made)
	}
}
